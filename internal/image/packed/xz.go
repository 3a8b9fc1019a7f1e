package packed

import (
	"io"
	"runtime"

	"clusterctrl/internal/format/xz"
	"github.com/ulikunitz/xz/lzma"
)

// An xzPacker makes blocks, and the index behind them.
type xzPacker struct{ stream xz.Stream }

func (p *xzPacker) head() []byte        { return p.stream.Header() }
func (p *xzPacker) add(block []byte)    { p.stream.Add(block) }
func (p *xzPacker) tail() []byte        { return p.stream.Footer() }
func (*xzPacker) pieceSize() int        { return 2 * xz.BlockDict }
func (*xzPacker) store(c []byte) []byte { return xz.NewStoredBlock(c) }

func (*xzPacker) pack(contents []byte) ([]byte, error) {
	defer runtime.GC() // an encoder leaves 60 MB, of which the collector would let many pile up
	lzma2, err := encode(contents, func(w io.Writer) (io.WriteCloser, error) {
		return lzma.Writer2Config{DictCap: xz.BlockDict}.NewWriter2(w)
	})
	if err != nil {
		return nil, err
	}
	return xz.NewBlock(lzma2, contents), nil
}
