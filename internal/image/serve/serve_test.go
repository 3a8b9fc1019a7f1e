package serve

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/image/packed"
	"clusterctrl/internal/image/provision"
	"clusterctrl/internal/image/sample"
	"clusterctrl/internal/image/settings"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/rootfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// build makes a controller's image, and those of p1 and p252, and returns the
// controller's.
func build(t *testing.T) string {
	t.Helper()
	o := provision.Options{
		Base: diskimage.Stdin, Input: bytes.NewReader(sample.Image), InputName: sample.Name,
		Dir: t.TempDir(), Settings: settings.Default(),
		Programs: func(rootfs.Arch) (map[string][]byte, error) {
			return map[string][]byte{node.ReconfigPath: []byte("a program")}, nil
		},
	}
	o.Settings.NAT = false
	o.Settings.SetNodes(0)
	result, err := provision.Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	controller := filepath.Join(o.Dir, result.Files[0].Name)
	_, err = provision.More(t.Context(), provision.MoreOptions{Image: controller, Dir: o.Dir, Roles: []node.Role{node.ID(1).Role(), node.ID(252).Role()}})
	if err != nil {
		t.Fatal(err)
	}
	return controller
}

// everyone is all the roles of the largest cluster.
func everyone() []node.Role {
	roles := []node.Role{node.CBridge, node.CNAT}
	for id := node.MinID; id <= node.MaxID; id++ {
		roles = append(roles, id.Role())
	}
	return roles
}

func silent(string, int64) io.WriteCloser { return discard{io.Discard} }

type discard struct{ io.Writer }

func (discard) Close() error { return nil }

// A served is a site at an address.
type served struct {
	*Site
	controller string // file name
	address    string
}

// open serves the images of roles over TCP until the test ends.
func open(t *testing.T, controller string, roles []node.Role, format packed.Format) served {
	t.Helper()
	c, err := provision.OpenController(controller)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := New(c, roles, format)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return served{s, controller, "http://" + l.Addr().String()}
}

// get asks for a name, with headers that are given as pairs.
func (s served) get(t rapid.TB, name string, headers ...string) (*http.Response, []byte) {
	return s.do(t, http.MethodGet, name, headers...)
}

func (s served) do(t rapid.TB, method, name string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequest(method, s.address+"/"+name, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, body
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	p, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// sibling is the file of another role beside the controller's.
func (s served) sibling(role string) string {
	return strings.Replace(s.controller, "CBRIDGE", role, 1)
}

// TestImages fetches images whole: they are those that a build makes.
func TestImages(t *testing.T) {
	s := open(t, build(t), everyone(), packed.Zstd)
	file, err := os.Create(filepath.Join(t.TempDir(), "packed"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := s.Compress(t.Context(), file, silent); err != nil {
		t.Fatal(err)
	}
	for role, name := range map[string]string{"cbridge": s.controller, "p1": s.sibling("p1"), "p252": s.sibling("p252")} {
		want := readFile(t, name)
		response, got := s.get(t, role+".img")
		if response.StatusCode != http.StatusOK || !bytes.Equal(got, want) {
			t.Errorf("%s: %s with %d bytes, others than those that were built", role, response.Status, len(got))
		}
		compressed := filepath.Join(t.TempDir(), "x.img.zst")
		if _, body := s.get(t, role+".img.zst"); os.WriteFile(compressed, body, 0o600) != nil || !bytes.Equal(unpack(t, compressed), want) {
			t.Errorf("%s: the compressed image unpacks to other bytes than were built", role)
		}
	}
}

func unpack(t *testing.T, name string) []byte {
	t.Helper()
	in, err := diskimage.Open(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(name + ".unpacked")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := in.Decode(t.Context(), []*os.File{out}, diskimage.Sparse, nil); err != nil {
		t.Fatal(err)
	}
	return readFile(t, out.Name())
}

// TestEveryNode looks at the command line of each of 252 nodes, and that no two
// have one ETag.
func TestEveryNode(t *testing.T) {
	s := open(t, build(t), everyone(), "")
	sector := s.images[0].file.patch.Offset
	seen := map[string]bool{}
	for _, role := range everyone() {
		response, line := s.get(t, role.String()+".img", "Range", fmt.Sprintf("bytes=%d-%d", sector, sector+511))
		words := strings.Fields(strings.TrimRight(string(line), "\x00"))
		if response.StatusCode != http.StatusPartialContent || len(words) < 2 || words[len(words)-1] != role.String() {
			t.Errorf("%v: %s, command line %q", role, response.Status, words)
		}
		if tag := response.Header.Get("ETag"); tag == "" || seen[tag] {
			t.Errorf("%v: ETag %q, as another has", role, tag)
		} else {
			seen[tag] = true
		}
	}
}

// TestRanges asks for ranges of all kinds, over TCP, most of them near the sector
// that is not in the file.
func TestRanges(t *testing.T) {
	s := open(t, build(t), []node.Role{node.ID(1).Role()}, "")
	want := readFile(t, s.sibling("p1"))
	size, sector := int64(len(want)), s.images[0].file.patch.Offset
	head, _ := s.do(t, http.MethodHead, "p1.img")
	tag := head.Header.Get("ETag")
	if head.ContentLength != size || head.Header.Get("Accept-Ranges") != "bytes" || tag == "" {
		t.Fatalf("HEAD tells %v, want %d bytes, ranges and an ETag", head.Header, size)
	}
	near := rapid.OneOf(rapid.Int64Range(sector-1000, sector+1000), rapid.Int64Range(0, size-1), rapid.SampledFrom([]int64{0, sector, sector + 511, sector + 512, size - 1}))
	rapid.Check(t, func(t *rapid.T) {
		start := near.Draw(t, "start")
		end := min(size, start+rapid.Int64Range(1, 9000).Draw(t, "length"))
		span, status := fmt.Sprintf("bytes=%d-%d", start, end-1), http.StatusPartialContent
		switch rapid.SampledFrom([]string{"range", "to the end", "last", "two", "behind the end", "another image", "same image"}).Draw(t, "kind") {
		case "to the end":
			start, end = max(start, size-100000), size
			span = fmt.Sprintf("bytes=%d-", start)
		case "last":
			start, end = size-(end-start), size
			span = fmt.Sprintf("bytes=-%d", end-start)
		case "two":
			checkTwo(t, s, want, start, end)
			return
		case "behind the end":
			response, _ := s.get(t, "p1.img", "Range", fmt.Sprintf("bytes=%d-", size+start))
			if response.StatusCode != http.StatusRequestedRangeNotSatisfiable {
				t.Fatalf("a range behind the end: %s", response.Status)
			}
			return
		case "another image": // all of it is sent then, of which HEAD shows the size
			response, _ := s.do(t, http.MethodHead, "p1.img", "Range", span, "If-Range", `"another"`)
			if response.StatusCode != http.StatusOK || response.ContentLength != size {
				t.Fatalf("If-Range with another ETag: %s, %d bytes", response.Status, response.ContentLength)
			}
			return
		case "same image":
			response, got := s.get(t, "p1.img", "Range", span, "If-Range", tag)
			if response.StatusCode != status || !bytes.Equal(got, want[start:end]) {
				t.Fatalf("If-Range with the ETag: %s, %d bytes", response.Status, len(got))
			}
			return
		}
		response, got := s.get(t, "p1.img", "Range", span)
		if response.StatusCode != status || !bytes.Equal(got, want[start:end]) {
			t.Fatalf("%s: %s, %d bytes, others than bytes %d to %d", span, response.Status, len(got), start, end)
		}
		if told, is := response.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/%d", start, end-1, size); told != is {
			t.Fatalf("%s: Content-Range %q, want %q", span, told, is)
		}
	})
}

// checkTwo asks for two ranges at once.
func checkTwo(t *rapid.T, s served, want []byte, start, end int64) {
	response, body := s.get(t, "p1.img", "Range", fmt.Sprintf("bytes=0-9,%d-%d", start, end-1))
	_, params, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil || response.StatusCode != http.StatusPartialContent {
		t.Fatalf("two ranges: %s, %v", response.Status, response.Header)
	}
	parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for _, span := range [][2]int64{{0, 10}, {start, end}} {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(part)
		if err != nil || !bytes.Equal(got, want[span[0]:span[1]]) {
			t.Fatalf("bytes %d to %d of two ranges: %d bytes, others than wanted, %v", span[0], span[1], len(got), err)
		}
	}
}

// TestRepository compares what Imager is told with what it gets.
func TestRepository(t *testing.T) {
	s := open(t, build(t), []node.Role{node.CBridge, node.ID(252).Role()}, "")
	if response, _ := s.get(t, ""); response.StatusCode != http.StatusOK {
		t.Errorf("the page before there are sums: %s", response.Status)
	}
	go s.Sum(context.Background(), "", silent) // the request waits for it
	_, text := s.get(t, ManifestName)
	var got struct {
		List []struct {
			URL     string
			Sum     string   `json:"extract_sha256"`
			Size    int64    `json:"extract_size"`
			Packed  int64    `json:"image_download_size"`
			Init    string   `json:"init_format"`
			Icon    string   `json:"icon"`
			Devices []string `json:"devices"`
		} `json:"os_list"`
	}
	if err := json.Unmarshal(text, &got); err != nil || len(got.List) != 2 {
		t.Fatalf("%s: %v", text, err)
	}
	for i, file := range []string{s.controller, s.sibling("p252")} {
		want, e := readFile(t, file), got.List[i]
		if sum := fmt.Sprintf("%x", sha256.Sum256(want)); e.Sum != sum || e.Size != int64(len(want)) || e.Packed != e.Size || e.Init != "none" {
			t.Errorf("%s: %+v, want SHA-256 %s and %d bytes", file, e, sum, len(want))
		}
		for _, url := range []string{e.URL, e.Icon} {
			if response, _ := s.get(t, strings.TrimPrefix(url, s.address+"/"), "Range", "bytes=0-0"); response.StatusCode >= 300 {
				t.Errorf("%s: %s", url, response.Status)
			}
		}
	}
	_, sums := s.get(t, diskimage.SumsName)
	if want := got.List[0].Sum + "  cbridge.img\n" + got.List[1].Sum + "  p252.img\n"; string(sums) != want {
		t.Errorf("sums are\n%swant\n%s", sums, want)
	}
	if _, page := s.get(t, ""); !bytes.Contains(page, []byte(got.List[1].Sum)) {
		t.Errorf("the page lacks a sum:\n%s", page)
	}
}

// TestRefused asks for what is not served.
func TestRefused(t *testing.T) {
	s := open(t, build(t), []node.Role{node.CBridge}, "")
	for _, name := range []string{
		"p1.img", "cbridge.img.xz", "CBRIDGE.img", "cbridge.img/", "./cbridge.img", "%2e%2e/etc/passwd", "../etc/passwd",
		"/etc/passwd", "..%2f..%2fetc%2fpasswd", "%00", filepath.Base(s.controller),
	} {
		if response, body := s.get(t, name); response.StatusCode != http.StatusNotFound {
			t.Errorf("/%s: %s with %d bytes, want 404", name, response.Status, len(body))
		}
	}
	for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodDelete} {
		if response, _ := s.do(t, method, "cbridge.img"); response.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %s, want 405", method, response.Status)
		}
	}
	for host, want := range map[string]int{
		"evil.example:8252": http.StatusMisdirectedRequest, "evil.example": http.StatusMisdirectedRequest,
		"localhost:8252": http.StatusOK, "[::1]:8252": http.StatusOK, "192.168.1.7": http.StatusOK,
	} {
		r, err := http.NewRequest(http.MethodGet, s.address, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("as %s: %s, want %d", host, response.Status, want)
		}
	}
	if _, err := New(s.Site.controller, []node.Role{node.CNAT, node.CNAT}, ""); err == nil {
		t.Error("a role that is there twice: no error")
	}
}

// TestChanged changes the image while it is served, in place and by another file.
func TestChanged(t *testing.T) {
	for name, change := range map[string]func(string) error{
		"written": func(name string) error { return os.Chtimes(name, time.Time{}, time.Now().Add(time.Hour)) },
		"other": func(name string) error {
			return errors.Join(os.Rename(name, name+".old"), os.WriteFile(name, nil, 0o600))
		},
		"removed": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, build(t), []node.Role{node.CBridge}, "")
			if err := change(s.controller); err != nil {
				t.Fatal(err)
			}
			if response, _ := s.get(t, "cbridge.img"); response.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%s, want 503", response.Status)
			}
		})
	}
}

// TestNoted: a noted sum is used only where it can be relied on. The sums here are wrong,
// so that the test sees which are used.
func TestNoted(t *testing.T) {
	wrong := strings.Repeat("ab", 32)
	now := time.Now().Truncate(time.Second)
	for _, tt := range []struct {
		name                    string
		controller, image, list time.Duration // when each was written
		want                    bool          // the sum is taken
	}{
		{"as built", 0, 0, 1, true},
		{"controller changed since", 1, 0, 2, false},
		{"image changed since", 0, 2, 1, false},
		{"all at once", 0, 0, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, build(t), []node.Role{node.CBridge, node.ID(1).Role(), node.ID(2).Role()}, "")
			dir := filepath.Dir(s.controller)
			list := filepath.Join(dir, diskimage.SumsName)
			text := ""
			for _, role := range []string{"CBRIDGE", "p1", "p2"} { // there is no image of p2
				text += wrong + "  " + filepath.Base(s.sibling(role)) + "\n"
			}
			if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			for file, at := range map[string]time.Duration{s.controller: tt.controller, s.sibling("p1"): tt.image, list: tt.list} {
				if err := os.Chtimes(file, time.Time{}, now.Add(at*time.Second)); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Sum(t.Context(), "", silent); err != nil {
				t.Fatal(err)
			}
			got := []bool{}
			for _, i := range s.images {
				got = append(got, i.Sum.String() == wrong)
			}
			if want := []bool{false, tt.want, false}; !cmp.Equal(got, want) {
				t.Errorf("noted sums were taken: %v, want %v", got, want)
			}
		})
	}
}

// TestEnd ends the server in the middle of a download. The download goes on to its end,
// and new connections are refused.
func TestEnd(t *testing.T) {
	c, err := provision.OpenController(build(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := New(c, []node.Role{node.CBridge}, "")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	url := "http://" + l.Addr().String() + "/cbridge.img"
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for { // until the listener is closed
		another, err := client.Head(url)
		if err != nil {
			break
		}
		another.Body.Close()
	}
	select {
	case err := <-ended:
		t.Fatalf("it ended during a download: %v", err)
	default:
	}
	n, err := io.Copy(io.Discard, response.Body)
	if n != c.Size || err != nil {
		t.Errorf("%d bytes of %d came, %v", n, c.Size, err)
	}
	response.Body.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestSumFails: requests that wait for sums are answered when the summing fails.
func TestSumFails(t *testing.T) {
	s := open(t, build(t), []node.Role{node.CBridge}, packed.XZ)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Sum(canceled, "", silent); !errors.Is(err, context.Canceled) {
		t.Errorf("a sum after the end: %v", err)
	}
	file, err := os.Open(os.DevNull) // which cannot be written to
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := s.Compress(t.Context(), file, silent); err == nil {
		t.Error("compressed into a file that cannot be written to")
	}
	for _, name := range []string{ManifestName, diskimage.SumsName, "cbridge.img.xz"} {
		if response, _ := s.get(t, name); response.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: %s, want 503", name, response.Status)
		}
	}
}

// TestCache sums up images twice: the second time, and with another role besides,
// only what is new is read, unless the image has changed.
func TestCache(t *testing.T) {
	controller, dir := build(t), filepath.Join(t.TempDir(), "sums")
	for _, tt := range []struct {
		name string
		id   node.ID // besides p1
		want int64   // images that are read
	}{{"first", 2, 2}, {"again", 2, 0}, {"another role", 3, 1}, {"all known", 2, 0}, {"changed", 2, 2}} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "changed" {
				if err := os.Chtimes(controller, time.Time{}, time.Now().Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			s := open(t, controller, []node.Role{node.ID(1).Role(), tt.id.Role()}, "")
			var seen counted
			if err := s.Sum(t.Context(), dir, func(string, int64) io.WriteCloser { return &seen }); err != nil {
				t.Fatal(err)
			}
			size := s.images[0].Size
			if got := int64(seen) / size; got != tt.want {
				t.Errorf("%d images were read, want %d", got, tt.want)
			}
			if want := sha256.Sum256(readFile(t, s.sibling("p1"))); s.images[0].Sum != want {
				t.Errorf("p1 has sum %v, want %x", s.images[0].Sum, want)
			}
			if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
				t.Errorf("files %v, %v; want one", files, err)
			}
		})
	}
}

type counted int64

func (c *counted) Write(p []byte) (int, error) {
	*c += counted(len(p))
	return len(p), nil
}

func (*counted) Close() error { return nil }
