// Package serve offers the images of a cluster over HTTP, to Raspberry Pi Imager and to
// other clients. The only file is the controller's image: the image of another role is
// made while it is sent, from that file and one sector.
//
// Clients can write nothing, and no path of a request gets to a file system: a table
// holds the name of each thing that is served.
package serve

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/image/packed"
	"clusterctrl/internal/image/provision"
	"clusterctrl/internal/node"
)

// ManifestName is what the repository for Raspberry Pi Imager is called: where
// it is served, and as a file that opens Imager.
const ManifestName = "clusterctrl.rpi-imager-manifest"

// A Site is the images of a cluster and the facts about them. It is an [http.Handler],
// which may be used before the site is complete: a request for something missing waits.
type Site struct {
	controller *provision.Controller
	images     []*image
	handler    http.Handler
	blocks     blockMap

	format   packed.Format // in which the images can be had too; none if it is empty
	summed   stage         // all sums are known
	compress stage         // the compressed images can be had
}

// An image is the image of a role.
type image struct {
	Role node.Role
	Name string // of the file that is served, such as p7.img
	Size int64
	Sum  diskimage.Sum // once the site is summed

	Packed     string // name of the compressed file, if there is one
	PackedSize int64  // once the site is compressed

	file, packed version
}

// A stage is work that goes on while the site is served.
type stage struct {
	once sync.Once
	done chan struct{}
	err  error // once done is closed
}

func (s *stage) finish(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.done)
	})
}

// wait waits until the work is done, or until the client has gone.
func (s *stage) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.done:
		return s.err
	}
}

// New returns the site of the roles' images. With a format, they can be had
// compressed too. [Site.Sum] and [Site.Compress] complete the site.
func New(c *provision.Controller, roles []node.Role, format packed.Format) (*Site, error) {
	s := &Site{controller: c, format: format, blocks: blockMap{turn: make(chan struct{}, 1)}}
	s.summed.done, s.compress.done = make(chan struct{}), make(chan struct{})
	if format == "" {
		s.compress.finish(nil)
	}
	raw, err := sourceOf(c.File)
	if err != nil {
		return nil, err
	}
	for n, role := range roles {
		if slices.Contains(roles[:n], role) {
			return nil, fmt.Errorf("%v is named twice: want each role once", role)
		}
		p, err := c.Patch(role)
		if err != nil {
			return nil, err
		}
		i := &image{Role: role, Name: role.String() + ".img", Size: c.Size, file: version{raw, p}}
		if format != "" {
			i.Packed = i.Name + format.Ext()
		}
		s.images = append(s.images, i)
	}
	s.handler = s.routes()
	return s, nil
}

// Compress compresses the controller's image into a temporary file; the compressed
// images of other roles are versions of it. The file must last as long as the site.
func (s *Site) Compress(ctx context.Context, file *os.File, progress provision.Progress) (err error) {
	defer func() { s.compress.finish(err) }()
	sector, err := s.controller.Patch(node.CBridge)
	if err != nil {
		return err
	}
	show := progress("compress", s.controller.Size)
	defer show.Close()
	slot, err := s.format.Write(ctx, file, s.controller.File, s.controller.Size, sector.Offset, show)
	if err != nil {
		return err
	}
	source, err := sourceOf(file)
	if err != nil {
		return err
	}
	for _, i := range s.images {
		i.packed = version{source, slot.Patch(i.file.patch.Data)}
		i.PackedSize = source.size
	}
	return nil
}

func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !named(r.Host) {
		http.Error(w, "this server goes by its address, or by the name of its computer", http.StatusMisdirectedRequest)
		return
	}
	if strings.LastIndexByte(r.URL.Path, '/') != 0 { // the mux would clean such a path
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'")
	s.handler.ServeHTTP(w, r)
}

// named reports whether the Host of a request is a name of this computer. Otherwise a
// web page whose own name leads here could read images through a user's browser, and
// images hold hashes of passwords.
func named(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "localhost" || net.ParseIP(host) != nil {
		return true
	}
	own, err := os.Hostname()
	own = strings.ToLower(own)
	return err == nil && (host == own || strings.HasPrefix(host, own+"."))
}

func (s *Site) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.servePage)
	mux.HandleFunc("GET /"+diskimage.SumsName, s.serveSums)
	mux.HandleFunc("GET /"+ManifestName, s.serveRepository)
	mux.HandleFunc("GET /icon.png", serveIcon)
	for _, i := range s.images {
		mux.HandleFunc("GET /"+i.Name, func(w http.ResponseWriter, r *http.Request) { i.file.serve(w, r) })
		mux.HandleFunc("GET /"+i.Name+mapExt, func(w http.ResponseWriter, r *http.Request) { s.serveMap(w, r, i) })
		if i.Packed != "" {
			mux.HandleFunc("GET /"+i.Packed, func(w http.ResponseWriter, r *http.Request) {
				if s.waited(w, r, &s.compress) {
					i.packed.serve(w, r)
				}
			})
		}
	}
	return mux
}

// waited waits for a stage, and answers the request if that failed.
func (s *Site) waited(w http.ResponseWriter, r *http.Request, stage *stage) bool {
	err := stage.wait(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
	return err == nil
}

func (s *Site) serveSums(w http.ResponseWriter, r *http.Request) {
	if !s.waited(w, r, &s.summed) {
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for _, i := range s.images {
		fmt.Fprintf(w, "%v  %s\n", i.Sum, i.Name)
	}
}

// A version is a file with a few bytes replaced.
type version struct {
	source source
	patch  diskimage.Patch
}

// etag tells the contents of versions apart.
func (v version) etag() string {
	id := fmt.Sprintf("%d %d %d ", v.source.size, v.source.modified.UnixNano(), v.patch.Offset)
	sum := sha256.Sum256(append([]byte(id), v.patch.Data...))
	return fmt.Sprintf(`"%x"`, sum[:16])
}

// A source is a file that must stay as it was found.
type source struct {
	name     string
	info     os.FileInfo
	size     int64
	modified time.Time
}

func sourceOf(f *os.File) (source, error) {
	info, err := f.Stat()
	if err != nil {
		return source{}, err
	}
	return source{f.Name(), info, info.Size(), info.ModTime()}, nil
}

// open opens the file once more, so that each request has its own position in it,
// which sendfile(2) moves.
func (s source) open() (*os.File, error) {
	f, err := os.Open(s.name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (!os.SameFile(info, s.info) || info.Size() != s.size || !info.ModTime().Equal(s.modified)) {
		err = fmt.Errorf("%s was changed: start \"clusterctrl serve\" again", s.name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
