package diskimage

import (
	"bufio"
	"io"

	"github.com/klauspost/compress/gzip"
)

// gzipMembers reads the members of a gzip file one after another. Zeros behind the
// last are padding, as gzip(1) has it: tapes and some programs write whole blocks.
type gzipMembers struct {
	*gzip.Reader
	packed *bufio.Reader
}

func openGzip(r io.Reader) (io.ReadCloser, error) {
	packed := bufio.NewReaderSize(r, 64<<10)
	member, err := gzip.NewReader(packed)
	if err != nil {
		return nil, err
	}
	member.Multistream(false)
	return &gzipMembers{member, packed}, nil
}

// Read implements [io.Reader].
func (g *gzipMembers) Read(p []byte) (int, error) {
	n, err := g.Reader.Read(p)
	if err == io.EOF {
		err = g.next()
	}
	return n, err
}

// next goes on to the next member. It returns io.EOF if there is none.
func (g *gzipMembers) next() error {
	head, err := g.packed.Peek(1)
	if err != nil {
		return err
	}
	if head[0] == 0 {
		return g.skipPadding()
	}
	if err := g.Reset(g.packed); err != nil {
		return err
	}
	g.Multistream(false)
	return nil
}

// skipPadding reads to the end of the file, where all is zero. It returns io.EOF then.
func (g *gzipMembers) skipPadding() error {
	for {
		switch b, err := g.packed.ReadByte(); {
		case err != nil:
			return err
		case b != 0:
			return gzip.ErrHeader
		}
	}
}
