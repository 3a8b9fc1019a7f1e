// Package download reads an image from an http or https address as a stream. A
// connection that breaks is taken up again where it broke, if the server can do
// that, and the checksum that lies beside the image is found.
package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Is reports whether the name of an image is an address to download it from.
func Is(name string) bool {
	scheme, _, found := strings.Cut(name, "://")
	return found && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https"))
}

const (
	// attempts is how often in a row a request may bring no bytes before we give up.
	attempts = 5
	// pause is the wait before the second attempt; each further wait is twice as long.
	pause = time.Second
	// patience is how long a server may say nothing.
	patience = 30 * time.Second
)

// A Download is a file that is being read from a server. It is read once, from its
// first byte to its last, by one goroutine.
type Download struct {
	Size int64 // in bytes, -1 if the server does not say

	ctx     context.Context
	cancel  context.CancelFunc
	client  *http.Client
	address string
	tag     string // of what is read: it must be the same after a break
	pos     int64
	body    io.ReadCloser // nil after a break
	ended   bool
	pause   time.Duration
}

// Open asks for the file at address. The download ends when ctx does.
func Open(ctx context.Context, address string) (*Download, error) {
	if u, err := url.Parse(address); err != nil || u.Host == "" {
		return nil, fmt.Errorf("%s: want an address such as https://example.org/image.img.xz", address)
	}
	ctx, cancel := context.WithCancel(ctx)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = patience
	transport.DisableCompression = true // else Go would unpack a packed file
	d := &Download{ctx: ctx, cancel: cancel, client: &http.Client{Transport: transport}, address: address, pause: pause}
	answer, err := d.get(d.address, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		d.body = answer.Body
		return nil, errors.Join(fmt.Errorf("%s: the server says %s", address, answer.Status), d.Close())
	}
	d.body, d.Size = answer.Body, answer.ContentLength
	if d.tag = answer.Header.Get("ETag"); d.tag == "" || strings.HasPrefix(d.tag, "W/") {
		d.tag = answer.Header.Get("Last-Modified")
	}
	return d, nil
}

// get asks the server for a file, with additional headers.
func (d *Download) get(address string, header map[string]string) (*http.Response, error) {
	ask, err := http.NewRequestWithContext(d.ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	for key, value := range header {
		ask.Header.Set(key, value)
	}
	answer, err := d.client.Do(ask)
	if failed, ok := errors.AsType[*url.Error](err); ok {
		return nil, fmt.Errorf("%s: %w", address, failed.Err)
	}
	return answer, err
}

// Name returns the file's name, the last part of the address.
func (d *Download) Name() string {
	u, err := url.Parse(d.address)
	if err != nil {
		return d.address
	}
	return path.Base(u.Path)
}

// Read reads on, over as many connections as that takes.
func (d *Download) Read(p []byte) (int, error) {
	for tries, wait := 0, d.pause; ; tries, wait = tries+1, 2*wait {
		if d.ended {
			return 0, io.EOF
		}
		n, err := d.read(p)
		d.pos += int64(n)
		d.ended = d.pos == d.Size || d.Size < 0 && err == io.EOF
		switch {
		case n > 0 || err == nil:
			return n, nil
		case d.ended:
			return 0, io.EOF
		case d.ctx.Err() != nil:
			return 0, context.Cause(d.ctx)
		case errors.Is(err, errChanged) || tries+1 == attempts:
			return 0, d.broken(err)
		}
		if err := d.sleep(wait); err != nil {
			return 0, err
		}
	}
}

func (d *Download) broken(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if d.Size < 0 {
		return fmt.Errorf("byte %d: %w", d.pos, err)
	}
	return fmt.Errorf("byte %d of %d: %w", d.pos, d.Size, err)
}

// sleep gives a server time to come back.
func (d *Download) sleep(wait time.Duration) error {
	select {
	case <-d.ctx.Done():
		return context.Cause(d.ctx)
	case <-time.After(wait):
		return nil
	}
}

// read reads from the connection, or from a new one where that broke. A connection
// that says nothing for long counts as broken.
func (d *Download) read(p []byte) (int, error) {
	if d.body == nil {
		if err := d.resume(); err != nil {
			return 0, err
		}
	}
	body := d.body
	silent := time.AfterFunc(patience, func() { body.Close() })
	n, err := body.Read(p)
	silent.Stop()
	if err != nil {
		body.Close()
		d.body = nil
	}
	return n, err
}

// errChanged says that a download cannot be resumed.
var errChanged = errors.New("the connection broke, and the server does not go on where it did")

// resume asks for what is still to come.
func (d *Download) resume() error {
	header := map[string]string{"Range": fmt.Sprintf("bytes=%d-", d.pos)}
	if d.tag != "" {
		header["If-Range"] = d.tag
	}
	answer, err := d.get(d.address, header)
	if err != nil {
		return err
	}
	start, sized := contentRange(answer.Header.Get("Content-Range"))
	switch {
	case answer.StatusCode == http.StatusPartialContent && start == d.pos && (d.Size < 0 || sized == d.Size):
		d.body = answer.Body
		return nil
	case answer.StatusCode >= 500:
		err = errors.New("the server says " + answer.Status)
	default:
		err = errChanged
	}
	answer.Body.Close()
	return err
}

var rangeHeader = regexp.MustCompile(`^bytes (\d+)-\d+/(\d+)$`)

// contentRange returns where an answer starts in a file, and the file's size; -1
// where it does not say.
func contentRange(header string) (start, size int64) {
	m := rangeHeader.FindStringSubmatch(header)
	if m == nil {
		return -1, -1
	}
	start, err := strconv.ParseInt(m[1], 10, 64)
	size, sizeErr := strconv.ParseInt(m[2], 10, 64)
	if err != nil || sizeErr != nil {
		return -1, -1
	}
	return start, size
}

// sumLine is what sha256sum prints, or the sum alone.
var sumLine = regexp.MustCompile(`(?m)^([0-9a-fA-F]{64})(?:[ *]+(\S+))?\s*$`)

// Sum returns the SHA-256 that the server has for the file, in hex digits, in a
// file of the same name with .sha256 behind it. It is empty if there is none.
func (d *Download) Sum() (string, error) {
	u, err := url.Parse(d.address)
	if err != nil {
		return "", err
	}
	u.Path += ".sha256"
	answer, err := d.get(u.String(), nil)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusNotFound || answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusGone:
		return "", nil
	case answer.StatusCode != http.StatusOK:
		return "", fmt.Errorf("%s: the server says %s", u, answer.Status)
	}
	const most = 4 << 10 // bytes; a sum and a name need far fewer
	text, err := io.ReadAll(io.LimitReader(answer.Body, most))
	if err != nil {
		return "", fmt.Errorf("%s: %w", u, err)
	}
	for _, m := range sumLine.FindAllStringSubmatch(string(text), -1) {
		if m[2] == "" || path.Base(m[2]) == d.Name() {
			return m[1], nil
		}
	}
	return "", nil // a page that a server sends for a missing file
}

// Close ends the download.
func (d *Download) Close() error {
	d.cancel()
	if d.body == nil {
		return nil
	}
	return d.body.Close()
}
