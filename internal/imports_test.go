package internal

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// districts says which districts the rooms of a district may use, apart from
// rooms of their own district. A district is the first part of a room's path.
var districts = map[string][]string{
	"node":       {},
	"format":     {},
	"linux":      {"format"},
	"tree":       {"node", "format"},
	"image":      {"node", "format", "linux", "tree"}, // linux for what is for Linux alone
	"pi":         {"node", "format", "linux", "tree"},
	"controller": {"node", "format", "linux", "tree"},
	"lab":        {"node", "format", "linux", "tree", "image", "pi", "controller"},
}

// rooms says which rooms of this module a room uses. A room without a row uses
// none.
var rooms = map[string][]string{
	"linux/kmod":              {"format/xz"},
	"linux/nbd":               {"format/mbr"},
	"linux/initramfs":         {"linux/kmod"},
	"tree/rootfs":             {"format/mbr", "format/fat", "format/ext4"},
	"tree/edit":               {"tree/defaults", "tree/rootfs"},
	"tree/recipe":             {"node", "format/mbr", "format/fat", "tree/defaults", "tree/rootfs", "tree/edit"},
	"image/sample/sampletest": {"tree/rootfs"},
	"image/settings":          {"node", "tree/defaults", "tree/rootfs"},
	"image/diskimage":         {"format/mbr", "format/xz"},
	"image/packed":            {"format/mbr", "format/xz", "image/diskimage"},
	"image/provision":         {"node", "format/mbr", "format/fat", "format/ext4", "tree/rootfs", "tree/defaults", "tree/edit", "tree/recipe", "image/settings", "image/diskimage", "image/packed", "image/nfsroot", "format/condensed", "image/card"},
	"image/serve":             {"node", "tree/rootfs", "image/card", "image/diskimage", "image/packed", "image/provision"},
	"image/payload":           {"node", "tree/rootfs"},
	"pi/firstboot":            {"node", "format/mbr", "format/fat", "tree/defaults", "tree/rootfs", "tree/edit", "tree/recipe", "linux/uevent"},
	"image/card":              {"format/mbr", "format/fat", "format/ext4", "linux/uevent", "image/diskimage"},
	"pi/hostname":             {"node", "tree/edit", "tree/recipe", "tree/rootfs"},
	"pi/gadget":               {"node", "linux/kmod", "linux/uevent", "tree/defaults"},
	"controller/cluster":      {"node", "linux/uevent"},
	"controller/power":        {"node", "linux/uevent", "tree/defaults", "controller/cluster"},
	"controller/nat":          {"node"},
	"lab":                     {"node", "image/provision", "format/mbr", "format/fat", "tree/rootfs", "image/diskimage", "linux/initramfs", "linux/kmod", "lab/board", "lab/bootrom", "lab/cable", "lab/inside", "lab/usb"},
	"controller/rpiboot":      {"linux/uevent", "linux/usbfs"},
	"controller/usbboot/nfs":  {"node", "format/xz", "linux/initramfs", "linux/kmod", "tree/edit", "tree/recipe", "tree/rootfs"},
	"pi/usbroot":              {"node", "linux/initramfs", "pi/gadget", "format/ext4", "format/mbr", "linux/nbd", "linux/uevent"},
	"image/archive":           {"format/ext4", "tree/rootfs"},
	"image/nfsroot":           {"image/archive", "image/packed", "linux/initramfs", "linux/kmod", "tree/edit", "tree/recipe", "tree/rootfs"},
	"lab/bootrom":             {"lab/usb", "linux/usbip"},
	"lab/cable":               {"linux/usbip", "linux/uevent"},
	"lab/inside":              {"format/mbr", "linux/initramfs", "linux/uevent", "linux/usbip", "lab/cable"},
	"lab/usb":                 {"linux/usbip", "lab/cable"},
	"lab/board":               {"node", "linux/uevent", "linux/usbip", "lab/usb"},
	"lab/labtest":             {"format/mbr", "linux/initramfs"},
	"lab/labtest/guest":       {"linux/initramfs", "linux/uevent"},
	"lab/labtest/vm":          {"lab", "lab/labtest", "lab/labtest/guest"},
	// Programs of the tests' machines.
	"lab/labtest/editor":    {"lab/labtest/guest"},
	"lab/labtest/restarter": {"lab/labtest/guest"},
	"lab/labtest/switcher":  {"controller/rpiboot", "lab/labtest/guest", "linux/uevent"},

	"controller/fence":        {"node"},
	"controller/usbboot/disk": {"node", "format/mbr", "format/fat", "linux/nbd", "linux/uevent", "tree/recipe", "tree/rootfs", "format/condensed"},
}

// tests says what the tests of a room use besides what the room itself uses.
var tests = map[string][]string{
	"image/nfsroot":   {"lab/labtest"},
	"image/card":      {"format/xz", "image/sample"},
	"format/fat":      {"lab/labtest"},
	"linux/initramfs": {"lab/labtest"},
	"linux/usbip":     {"lab/labtest", "lab/labtest/vm", "pi/gadget"},
	"tree/rootfs":     {"format/xz", "image/sample"},
	"image/provision": {"format/xz", "image/sample", "image/sample/sampletest"},
	"image/serve":     {"image/settings", "image/sample"},
	"pi/firstboot":    {"format/xz", "image/sample", "lab/labtest"},
	"pi/gadget":       {"lab/board", "lab/usb", "lab/labtest", "lab/labtest/traffic", "lab/labtest/vm", "linux/usbip", "tree/edit", "tree/recipe", "tree/rootfs"},
	"lab":             {"controller/rpiboot", "lab/labtest"},
	"lab/usb":         {"linux/uevent", "lab/labtest", "lab/labtest/vm"},

	"controller/power":       {"lab/board", "lab/labtest", "lab/labtest/vm", "lab/usb", "linux/usbip"},
	"image/archive":          {"image/sample"},
	"linux/nbd":              {"lab", "lab/labtest", "lab/labtest/guest", "linux/uevent"},
	"pi/usbroot":             {"lab", "lab/labtest", "lab/labtest/traffic", "lab/labtest/vm"},
	"controller/usbboot/nfs": {"image/archive", "image/sample", "format/xz", "node", "tree/edit", "tree/recipe", "tree/rootfs"},
	"controller/rpiboot":     {"lab/bootrom", "lab/labtest", "lab/labtest/vm", "lab/usb", "linux/usbip"},

	"controller/usbboot/disk": {"lab", "lab/labtest", "lab/labtest/vm"},
}

// imports returns which rooms of this module each room uses, and which its
// tests use, by walking every Go file below this folder.
func imports(t *testing.T) (code, inTests map[string][]string) {
	t.Helper()
	code, inTests = map[string][]string{}, map[string][]string{}
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".go" || strings.Contains(name, "/testdata/") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		room, uses := path.Dir(name), code
		if strings.HasSuffix(name, "_test.go") {
			uses = inTests
		}
		for _, spec := range file.Imports {
			_, used, ours := strings.Cut(strings.Trim(spec.Path.Value, `"`), "clusterctrl/internal/")
			if ours && used != room && !slices.Contains(uses[room], used) {
				uses[room] = append(uses[room], used)
			}
		}
		return nil
	})
	if err != nil || len(code) == 0 {
		t.Fatal("no imports were found: ", err)
	}
	return code, inTests
}

func TestImports(t *testing.T) {
	code, inTests := imports(t)
	for room, used := range code {
		for _, u := range used {
			if !slices.Contains(rooms[room], u) {
				t.Errorf("%s uses %s, which its row in rooms lacks", room, u)
			}
		}
	}
	for room, used := range inTests {
		for _, u := range used {
			if !slices.Contains(rooms[room], u) && !slices.Contains(tests[room], u) {
				t.Errorf("the tests of %s use %s, which its row in tests lacks", room, u)
			}
		}
	}
	rowsAreUsed(t, "rooms", rooms, code)
	rowsAreUsed(t, "tests", tests, inTests)
}

// rowsAreUsed fails for each entry of a table that no file makes use of.
func rowsAreUsed(t *testing.T, table string, rows, uses map[string][]string) {
	t.Helper()
	for room, row := range rows {
		for _, u := range row {
			if !slices.Contains(uses[room], u) {
				t.Errorf("%s says that %s uses %s; no file does", table, room, u)
			}
		}
	}
}

func TestDistricts(t *testing.T) {
	district := func(room string) string { first, _, _ := strings.Cut(room, "/"); return first }
	for _, room := range slices.Sorted(maps.Keys(rooms)) {
		for _, u := range rooms[room] {
			from, to := district(room), district(u)
			allowed, known := districts[from]
			if !known {
				t.Errorf("%s is in no district", room)
			}
			if from != to && !slices.Contains(allowed, to) {
				t.Errorf("%s uses %s: district %s may not use %s", room, u, from, to)
			}
		}
	}
}
