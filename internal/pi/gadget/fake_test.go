package gadget

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing/fstest"
)

// A fakeFS behaves as the kernel's directory of gadgets does, as far as the
// tests in a virtual machine found out. Links hold the name that they lead to.
type fakeFS struct {
	fstest.MapFS
	udcs    fstest.MapFS // the kernel's list of device controllers
	lacking []string     // functions that the kernel does not have, or their "NAME os_desc"
}

// newFake returns the gadgets of a machine with device controllers.
func newFake(udcs ...string) *fakeFS {
	f := &fakeFS{MapFS: fstest.MapFS{}, udcs: fstest.MapFS{}}
	for _, udc := range udcs {
		f.use(udc, "")
	}
	return f
}

func (f *fakeFS) use(udc, gadget string) {
	f.udcs[udc+"/function"] = &fstest.MapFile{Data: []byte(gadget + "\n")}
}

// user returns the gadget that a device controller shows.
func (f *fakeFS) user(udc string) (gadget string, ok bool) {
	function, ok := f.udcs[udc+"/function"]
	if !ok {
		return "", false
	}
	return strings.TrimSuffix(string(function.Data), "\n"), true
}

// initial are what the kernel makes in a new directory: attributes and what
// they say, and directories, whose names end in a slash.
var initial = []struct {
	dir   *regexp.Regexp
	items map[string]string
}{
	{regexp.MustCompile(`^[^/]+$`), map[string]string{
		"idVendor": "0x0000", "idProduct": "0x0000", "bcdDevice": "0x0601", "bcdUSB": "0x0000",
		"bDeviceClass": "0x00", "bDeviceSubClass": "0x00", "bDeviceProtocol": "0x00", "bMaxPacketSize0": "0x00",
		"max_speed": "super-speed-plus", "UDC": "", "configs/": "", "functions/": "", "strings/": "",
		"os_desc/": "", "os_desc/use": "0", "os_desc/b_vendor_code": "0x00", "os_desc/qw_sign": "",
	}},
	{regexp.MustCompile(`^[^/]+/strings/[^/]+$`), map[string]string{"manufacturer": "", "product": "", "serialnumber": ""}},
	{regexp.MustCompile(`^[^/]+/configs/[^/]+$`), map[string]string{"MaxPower": "0", "bmAttributes": "0x80", "strings/": ""}},
	{regexp.MustCompile(`^[^/]+/configs/[^/]+/strings/[^/]+$`), map[string]string{"configuration": ""}},
	{regexp.MustCompile(`^[^/]+/functions/(rndis|ncm|ecm)\.[^/]+$`), map[string]string{
		"dev_addr": "0e:1f:2a:00:00:01", "host_addr": "0e:1f:2a:00:00:02", "ifname": "usb%d", "qmult": "5"}},
	{regexp.MustCompile(`^[^/]+/functions/rndis\.[^/]+$`), map[string]string{"os_desc/": "", "os_desc/interface.rndis/": "",
		"os_desc/interface.rndis/compatible_id": "", "os_desc/interface.rndis/sub_compatible_id": ""}},
	{regexp.MustCompile(`^[^/]+/functions/ncm\.[^/]+$`), map[string]string{"os_desc/": "", "os_desc/interface.ncm/": "",
		"os_desc/interface.ncm/compatible_id": "", "os_desc/interface.ncm/sub_compatible_id": ""}},
	{regexp.MustCompile(`^[^/]+/functions/acm\.[^/]+$`), map[string]string{"port_num": "0"}},
}

// itemsOf returns what the kernel makes in a new directory, nothing if nobody
// may make it.
func itemsOf(name string) map[string]string {
	items := map[string]string{}
	for _, d := range initial {
		if d.dir.MatchString(name) {
			maps.Copy(items, d.items)
		}
	}
	return items
}

func (f *fakeFS) Mkdir(name string) error {
	items := itemsOf(name)
	function, _, _ := strings.Cut(path.Base(name), ".")
	if path.Base(path.Dir(name)) == "functions" && (len(items) == 0 || slices.Contains(f.lacking, function)) {
		return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOENT}
	}
	if len(items) == 0 {
		return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.EPERM}
	}
	if f.MapFS[name] != nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.EEXIST}
	}
	if dir := path.Dir(name); dir != "." && f.MapFS[dir] == nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOENT}
	}
	f.MapFS[name] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
	for item, value := range items {
		if strings.HasPrefix(item, "os_desc") && slices.Contains(f.lacking, function+" os_desc") {
			continue
		}
		if dir, ok := strings.CutSuffix(item, "/"); ok {
			f.MapFS[path.Join(name, dir)] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
		} else {
			f.set(path.Join(name, item), value)
		}
	}
	return nil
}

func (f *fakeFS) get(name string) string {
	return strings.TrimSuffix(string(f.MapFS[name].Data), "\n")
}

func (f *fakeFS) set(name, value string) {
	f.MapFS[name] = &fstest.MapFile{Data: []byte(value + "\n"), Mode: 0o644}
}

func (f *fakeFS) Write(name, value string) error {
	fail := func(err error) error { return &fs.PathError{Op: "write", Path: name, Err: err} }
	if info, err := f.Lstat(name); err != nil || !info.Mode().IsRegular() {
		return fail(cmp.Or(err, error(syscall.EISDIR)))
	}
	if path.Base(name) == "UDC" {
		if err := f.bind(name, value); err != nil {
			return fail(err)
		}
	}
	if path.Base(name) == "host_addr" || path.Base(name) == "dev_addr" {
		if f.linked(path.Dir(name)) {
			return fail(syscall.EBUSY)
		}
	}
	if path.Base(name) == "compatible_id" { // a text of fixed length
		value += strings.Repeat("\x00", 8-len(value))
	}
	if path.Base(name) == "b_vendor_code" { // on amd64
		value = strings.Replace(value, "0x", "0xffffff", 1)
	}
	f.set(name, value)
	return nil
}

func (f *fakeFS) bind(name, udc string) error {
	old := f.get(name)
	switch {
	case udc == "" && old == "":
		return syscall.ENODEV
	case udc == "":
		if _, ok := f.user(old); ok {
			f.use(old, "")
		}
		return nil
	case old != "":
		return syscall.EBUSY
	}
	if user, ok := f.user(udc); !ok || user != "" {
		return syscall.EBUSY // of a controller that is not there, too
	}
	configs, err := f.ReadDir(path.Join(path.Dir(name), "configs"))
	if err != nil || len(configs) == 0 {
		return syscall.EINVAL
	}
	for _, c := range configs {
		if len(f.links(path.Join(path.Dir(name), "configs", c.Name()))) == 0 {
			return syscall.EINVAL
		}
	}
	f.use(udc, path.Dir(name))
	return nil
}

// links returns where the links in a directory lead to.
func (f *fakeFS) links(dir string) (targets []string) {
	for name, file := range f.MapFS {
		if path.Dir(name) == dir && file.Mode.Type() == fs.ModeSymlink {
			targets = append(targets, string(file.Data))
		}
	}
	return targets
}

// linked tells whether a link leads to a directory.
func (f *fakeFS) linked(name string) bool {
	for _, file := range f.MapFS {
		if file.Mode.Type() == fs.ModeSymlink && string(file.Data) == name {
			return true
		}
	}
	return false
}

func (f *fakeFS) Symlink(target, name string) error {
	fail := func(err error) error { return &os.LinkError{Op: "symlink", Old: target, New: name, Err: err} }
	if f.MapFS[target] == nil || !f.MapFS[target].Mode.IsDir() {
		return fail(syscall.ENOENT)
	}
	from, to := path.Base(path.Dir(name)), path.Base(path.Dir(target))
	parent := path.Base(path.Dir(path.Dir(name)))
	if !(parent == "configs" && to == "functions" || from == "os_desc" && to == "configs") {
		return fail(syscall.EPERM)
	}
	if f.MapFS[name] != nil || slices.Contains(f.links(path.Dir(name)), target) {
		return fail(syscall.EEXIST)
	}
	f.MapFS[name] = &fstest.MapFile{Mode: fs.ModeSymlink | 0o777, Data: []byte(target)}
	return nil
}

func (f *fakeFS) Remove(name string) error {
	fail := func(err error) error { return &fs.PathError{Op: "remove", Path: name, Err: err} }
	info, err := f.Lstat(name)
	if err != nil {
		return err
	}
	if info.Mode().Type() == fs.ModeSymlink {
		if gadget, _, _ := strings.Cut(name, "/"); f.get(gadget+"/UDC") != "" { // it gets unbound
			if err := f.bind(gadget+"/UDC", ""); err != nil {
				return fail(err)
			}
			f.set(gadget+"/UDC", "")
		}
		delete(f.MapFS, name)
		return nil
	}
	items := itemsOf(name)
	if len(items) == 0 {
		return fail(syscall.EPERM)
	}
	if f.linked(name) {
		return fail(syscall.EBUSY)
	}
	for other := range f.MapFS {
		item, inside := strings.CutPrefix(other, name+"/")
		_, attribute := items[item]
		_, dir := items[item+"/"]
		if inside && !attribute && !dir {
			return fail(fmt.Errorf("%w: %s is in it", syscall.ENOTEMPTY, item))
		}
	}
	maps.DeleteFunc(f.MapFS, func(other string, _ *fstest.MapFile) bool {
		return other == name || strings.HasPrefix(other, name+"/")
	})
	return nil
}
