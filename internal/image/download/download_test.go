package download

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// content is what servers have; its bytes differ from one place to the next.
var content = func() (p []byte) {
	for n := range 100_000 {
		p = fmt.Appendf(p, "%d\n", n)
	}
	return p
}()

// A flaky server breaks connections.
type flaky struct {
	after   int  // bytes of a connection, 0 for all of the file
	whole   bool // it knows no ranges
	changes bool // the file is another after the first connection
	chunked bool // it does not say how long the file is
	asked   int
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/a.img.xz" {
		http.NotFound(w, r)
		return
	}
	f.asked++
	w.Header().Set("ETag", `"one"`)
	if f.changes && f.asked > 1 {
		w.Header().Set("ETag", `"two"`)
	}
	if f.whole {
		r.Header.Del("Range")
	}
	if f.after > 0 {
		w = &short{w, f.after, f.chunked}
	}
	if f.chunked && f.asked == 1 {
		w.Write(content)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// A short answer ends with the connection.
type short struct {
	http.ResponseWriter
	left    int
	chunked bool
}

func (s *short) Write(p []byte) (int, error) {
	n, err := s.ResponseWriter.Write(p[:min(len(p), s.left)])
	if s.left -= n; s.left == 0 {
		s.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

func TestRead(t *testing.T) {
	for _, tt := range []struct {
		name   string
		server flaky
		want   string // in the error; empty if all is to come
	}{
		{"whole", flaky{}, ""},
		{"no size", flaky{chunked: true}, ""},
		{"broken often", flaky{after: 50_000}, ""},
		{"broken, no size", flaky{after: 50_000, chunked: true}, ""},
		{"no ranges", flaky{after: 50_000, whole: true}, "byte 50000 of 588890: the connection broke, and the server does not go on where it did"},
		{"another file", flaky{after: 50_000, changes: true}, "byte 50000 of 588890: the connection broke, and the server does not go on where it did"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(&tt.server)
			defer server.Close()
			d, err := Open(t.Context(), server.URL+"/a.img.xz?x=y")
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			d.pause = 0
			got, err := io.ReadAll(d)
			if tt.want != "" {
				if err == nil || err.Error() != tt.want {
					t.Errorf("error %v, want %s", err, tt.want)
				}
				return
			}
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes, %v; want the %d of the file", len(got), err, len(content))
			}
			if tt.server.after > 0 && tt.server.asked < 10 {
				t.Errorf("%d connections: the server broke none", tt.server.asked)
			}
			if d.Name() != "a.img.xz" {
				t.Errorf("name %q", d.Name())
			}
		})
	}
}

// TestGone has the server go in the middle for good.
func TestGone(t *testing.T) {
	server := httptest.NewServer(&flaky{after: 50_000})
	d, err := Open(t.Context(), server.URL+"/a.img.xz")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.pause = 0
	if _, err := io.ReadFull(d, make([]byte, 40_000)); err != nil {
		t.Fatal(err)
	}
	server.Close()
	if _, err := io.ReadAll(d); err == nil || !strings.HasPrefix(err.Error(), "byte 50000 of 588890: ") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("error %v", err)
	}
}

func TestInterrupted(t *testing.T) {
	server := httptest.NewServer(&flaky{after: 50_000})
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	d, err := Open(ctx, server.URL+"/a.img.xz")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	cancel()
	if _, err := io.ReadAll(d); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	server := httptest.NewServer(&flaky{})
	defer server.Close()
	for address, want := range map[string]string{
		server.URL + "/b.img": server.URL + "/b.img: the server says 404 Not Found",
		"https://":            "https://: want an address such as https://example.org/image.img.xz",
		"http://[::1":         "http://[::1: want an address such as https://example.org/image.img.xz",
	} {
		if _, err := Open(t.Context(), address); err == nil || err.Error() != want {
			t.Errorf("Open(%q) = %v; want %s", address, err, want)
		}
	}
}

func TestSum(t *testing.T) {
	sum := strings.Repeat("0aF9", 16)
	for text, want := range map[string]string{
		sum + "  a.img.xz\n":       sum,
		sum + " *dir/a.img.xz\r\n": sum,
		sum:                        sum,
		sum + "  b.img.xz\n":       "",
		strings.Repeat("1", 64) + "  b\n" + sum + "  a.img.xz\n": sum,
		"<html>no such file</html>":                              "",
		"":                                                       "",
	} {
		mux := http.NewServeMux()
		mux.Handle("/a.img.xz", &flaky{})
		mux.HandleFunc("/a.img.xz.sha256", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
		server := httptest.NewServer(mux)
		d, err := Open(t.Context(), server.URL+"/a.img.xz")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := d.Sum(); got != want || err != nil {
			t.Errorf("Sum() of %q = %q, %v; want %q", text, got, err, want)
		}
		d.Close()
		server.Close()
	}
	server := httptest.NewServer(&flaky{})
	defer server.Close()
	d, err := Open(t.Context(), server.URL+"/a.img.xz")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got, err := d.Sum(); got != "" || err != nil {
		t.Errorf("Sum() where there is none = %q, %v", got, err)
	}
}
