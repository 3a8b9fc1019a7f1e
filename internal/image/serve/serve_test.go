package serve

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/image/packed"
	"clusterctrl/internal/node"
	"pgregory.net/rapid"
)

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
