package xz

import "fmt"

// The first byte of a chunk says what it is, section 5.3.1 of the format and
// the comments of its first implementations.
const (
	chunkEnd       = 0x00
	chunkNewDict   = 0x01 // uncompressed, dictionary starts over
	chunkPlain     = 0x02 // uncompressed
	chunkLZMA      = 0x80 // LZMA goes on with what it has learnt
	chunkLZMAState = 0xa0 // LZMA starts over
	chunkLZMAProps = 0xc0 // the same, with new properties
	chunkLZMADict  = 0xe0 // the same, and the dictionary starts over
)

// A chunks decodes the chunks of one block.
type chunks struct {
	decoder
	src *source

	needDict, needProps bool // the next chunk must bring a new dictionary, properties
}

// reset starts a block with a dictionary of dict bytes.
func (c *chunks) reset(src *source, dict int) {
	c.src, c.dict = src, dict
	c.needDict, c.needProps = true, true
}

// A chunk is a chunk's header.
type chunk struct {
	control byte
	size    int // of its contents
}

// header reads the header of the next chunk. Its size is 0 at the block's end.
func (c *chunks) header() (chunk, error) {
	control, err := c.src.takeByte()
	if err != nil || control == chunkEnd {
		return chunk{}, err
	}
	if control > chunkPlain && control < chunkLZMA {
		return chunk{}, fmt.Errorf("%w: chunk of unknown kind %#02x", ErrCorrupt, control)
	}
	p, err := c.src.take(2)
	if err != nil {
		return chunk{}, err
	}
	size := int(p[0])<<8 + int(p[1]) + 1
	if control >= chunkLZMA {
		size += int(control&0x1f) << 16
	}
	return chunk{control, size}, nil
}

// body decodes a chunk to w[pos:], where there is room for it and copySlack.
func (c *chunks) body(h chunk, w []byte, pos int) error {
	if h.control >= chunkLZMADict || h.control == chunkNewDict {
		c.base, c.needDict, c.needProps = pos, false, true
	} else if c.needDict {
		return fmt.Errorf("%w: first chunk is of kind %#02x, which needs a dictionary", ErrCorrupt, h.control)
	}
	if h.control < chunkLZMA {
		p, err := c.src.take(h.size)
		copy(w[pos:], p)
		return err
	}
	p, err := c.src.take(2)
	if err != nil {
		return err
	}
	packed := int(p[0])<<8 + int(p[1]) + 1
	if err := c.prepare(h.control); err != nil {
		return err
	}
	in, err := c.src.chunk(packed)
	if err != nil {
		return err
	}
	return c.decode(w, pos, pos+h.size, in, uint32(packed))
}

// prepare resets the parts of the decoder that a chunk of LZMA asks for.
func (c *chunks) prepare(control byte) error {
	if control >= chunkLZMAProps {
		props, err := c.src.takeByte()
		if err != nil {
			return err
		}
		if err := c.setProps(props); err != nil {
			return err
		}
		c.needProps = false
	} else if c.needProps {
		return fmt.Errorf("%w: chunk of kind %#02x without properties before it", ErrCorrupt, control)
	}
	if control >= chunkLZMAState {
		c.model.reset()
	}
	return nil
}

// setProps sets lc, lp and pb from the byte that encodes them.
func (c *chunks) setProps(props byte) error {
	lc, lp, pb := props%9, props/9%5, props/45
	if pb > maxPosLog || lc+lp > maxLitLog {
		return fmt.Errorf("%w: LZMA2 with lc %d, lp %d, pb %d", ErrCorrupt, lc, lp, pb)
	}
	c.litPrevBits, c.litPosMask, c.posMask = uint32(lc), 1<<lp-1, 1<<pb-1
	return nil
}
