package serve

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"clusterctrl/internal/image/diskimage"
)

const (
	// sendStep is how much is sent between two looks at the clock.
	sendStep = 4 << 20
	// stalled is how long a client may take for a step, so that a client that has
	// stopped reading does not hold a connection for ever.
	stalled = 2 * time.Minute
)

// serve answers a request for the version, or a range of it.
func (v version) serve(w http.ResponseWriter, r *http.Request) {
	f, err := v.source.open()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("ETag", v.etag())
	c := &content{file: f, size: v.source.size, patch: v.patch}
	http.ServeContent(&sender{w, c}, r, "", v.source.modified, c)
}

// A content is a version with a position in it.
type content struct {
	file  *os.File
	size  int64
	patch diskimage.Patch
	pos   int64
}

func (c *content) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.pos
	case io.SeekEnd:
		offset += c.size
	}
	if offset < 0 {
		return 0, errors.New("position before the start")
	}
	c.pos = offset
	return offset, nil
}

func (c *content) Read(p []byte) (int, error) {
	if c.pos >= c.size {
		return 0, io.EOF
	}
	replaced, n := c.next(int64(len(p)))
	if replaced != nil {
		n := copy(p, replaced)
		c.pos += int64(n)
		return n, nil
	}
	k, err := c.file.ReadAt(p[:n], c.pos)
	c.pos += int64(k)
	if k > 0 {
		err = nil
	}
	return k, err
}

// next returns up to n bytes that come next: bytes of the patch, or how many bytes of
// the file.
func (c *content) next(n int64) (replaced []byte, ofFile int64) {
	n = min(n, c.size-c.pos)
	into := c.pos - c.patch.Offset
	switch {
	case into < 0:
		return nil, min(n, -into)
	case into < int64(len(c.patch.Data)):
		rest := c.patch.Data[into:]
		return rest[:min(n, int64(len(rest)))], 0
	}
	return nil, n
}

// sendTo sends n bytes. The kernel sends bytes of the file itself where it can.
func (c *content) sendTo(w *sender, n int64) (sent int64, err error) {
	for sent < n && err == nil {
		replaced, ofFile := c.next(min(n-sent, sendStep))
		w.extend()
		var k int64
		if replaced != nil {
			var written int
			written, err = w.ResponseWriter.Write(replaced)
			k = int64(written)
		} else if _, err = c.file.Seek(c.pos, io.SeekStart); err == nil {
			k, err = io.CopyN(w.ResponseWriter, c.file, ofFile)
		}
		c.pos += k
		sent += k
	}
	return sent, err
}

// A sender is a response that knows its content, so that the content need not pass
// through our memory.
type sender struct {
	http.ResponseWriter
	content *content
}

// extend gives the client time for another step.
func (s *sender) extend() {
	// Where there is no deadline to be had, as in tests, there is none.
	_ = http.NewResponseController(s.ResponseWriter).SetWriteDeadline(time.Now().Add(stalled))
}

func (s *sender) Write(p []byte) (int, error) {
	s.extend()
	return s.ResponseWriter.Write(p)
}

// ReadFrom is what [http.ServeContent] ends in when it sends one range.
func (s *sender) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if !ok || limited.R != io.Reader(s.content) {
		return io.Copy(struct{ io.Writer }{s}, r)
	}
	n, err := s.content.sendTo(s, limited.N)
	limited.N -= n
	return n, err
}
