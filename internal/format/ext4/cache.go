package ext4

import (
	"fmt"
	"io"
	"maps"
	"slices"
)

// A blockNumber counts blocks from the start of the file system.
type blockNumber uint64

// A span is a run of blocks.
type span struct {
	first blockNumber
	count uint64
}

func (s span) end() blockNumber { return s.first + blockNumber(s.count) }

// A buffer is a block in memory.
type buffer struct {
	data  []byte
	dirty bool // differs from the device
}

// A cache keeps the blocks that an FS has read or changed. All state of an FS
// that operations change is in it, so undoing one is putting blocks back.
type cache struct {
	dev     Device
	size    int // of a block
	blocks  blockNumber
	buffers map[blockNumber]*buffer
	loaded  int                     // blocks since the last trim
	undo    map[blockNumber]*buffer // before the operation; nil: as on the device
}

// cachedBytes is about how many bytes of unchanged blocks are kept from one operation to
// the next.
const cachedBytes = 16 << 20

func newCache(dev Device, size int, blocks blockNumber) cache {
	return cache{dev: dev, size: size, blocks: blocks, buffers: map[blockNumber]*buffer{}}
}

// block returns a block to be read only.
func (c *cache) block(n blockNumber) ([]byte, error) {
	if b := c.buffers[n]; b != nil {
		return b.data, nil
	}
	if n >= c.blocks {
		return nil, fmt.Errorf("%w: block %d of %d", ErrCorrupt, n, c.blocks)
	}
	data := make([]byte, c.size)
	if err := readFull(c.dev, data, int64(n)*int64(c.size)); err != nil {
		return nil, fmt.Errorf("block %d: %w", n, err)
	}
	c.buffers[n] = &buffer{data: data}
	c.loaded++
	return data, nil
}

// edit returns a block to be changed: the same bytes as block.
func (c *cache) edit(n blockNumber) ([]byte, error) {
	data, err := c.block(n)
	if err != nil {
		return nil, err
	}
	b := c.buffers[n]
	if _, ok := c.undo[n]; !ok && b.dirty {
		c.remember(n, &buffer{slices.Clone(data), true})
	} else if !ok {
		c.remember(n, nil)
	}
	b.dirty = true
	return data, nil
}

// put replaces a block by data, which it keeps.
func (c *cache) put(n blockNumber, data []byte) {
	c.forget(n)
	c.buffers[n] = &buffer{data, true}
}

// forget drops a block whose content is not needed any more.
func (c *cache) forget(n blockNumber) {
	b := c.buffers[n]
	if _, ok := c.undo[n]; !ok {
		if b != nil && !b.dirty {
			b = nil
		}
		c.remember(n, b)
	}
	delete(c.buffers, n)
}

func (c *cache) forgetSpan(s span) {
	if s.count > uint64(len(c.buffers)) {
		for n := range c.buffers {
			if n >= s.first && n < s.end() {
				c.forget(n)
			}
		}
		return
	}
	for n := s.first; n < s.end(); n++ {
		if c.buffers[n] != nil {
			c.forget(n)
		}
	}
}

func (c *cache) remember(n blockNumber, b *buffer) {
	if c.undo != nil {
		c.undo[n] = b
	}
}

// begin starts an operation; rollback ends it as if it had not begun.
func (c *cache) begin() { c.undo = map[blockNumber]*buffer{} }

func (c *cache) rollback() {
	for n, b := range c.undo {
		if b == nil {
			delete(c.buffers, n)
		} else {
			c.buffers[n] = b
		}
	}
	c.undo = nil
}

// trim bounds what is kept of clean blocks. It may only be called when no
// operation holds one.
func (c *cache) trim() {
	if c.loaded*c.size < cachedBytes {
		return
	}
	c.loaded = 0
	maps.DeleteFunc(c.buffers, func(_ blockNumber, b *buffer) bool { return !b.dirty })
}

func (c *cache) changed() bool {
	for _, b := range c.buffers {
		if b.dirty {
			return true
		}
	}
	return false
}

// flush writes the dirty blocks, in the order of the device, neighbours together.
func (c *cache) flush() error {
	const largest = 1 << 20
	var run []byte
	var start, next blockNumber
	write := func() error {
		if len(run) == 0 {
			return nil
		}
		_, err := c.dev.WriteAt(run, int64(start)*int64(c.size))
		run = run[:0]
		return err
	}
	for _, n := range slices.Sorted(maps.Keys(c.buffers)) {
		if !c.buffers[n].dirty {
			continue
		}
		if n != next || len(run) >= largest {
			if err := write(); err != nil {
				return err
			}
			start = n
		}
		run, next = append(run, c.buffers[n].data...), n+1
	}
	return write()
}

// readAt reads bytes of the file system, changed ones included, past the cache.
func (c *cache) readAt(p []byte, off int64) error {
	for len(p) > 0 {
		n, within := blockNumber(off/int64(c.size)), int(off%int64(c.size))
		if b := c.buffers[n]; b != nil {
			done := copy(p, b.data[within:])
			p, off = p[done:], off+int64(done)
			continue
		}
		direct := min(len(p), c.size-within)
		for direct < len(p) && c.buffers[blockNumber((off+int64(direct))/int64(c.size))] == nil {
			direct = min(len(p), direct+c.size)
		}
		if err := readFull(c.dev, p[:direct], off); err != nil {
			return fmt.Errorf("block %d: %w", n, err)
		}
		p, off = p[direct:], off+int64(direct)
	}
	return nil
}

// readFull reads all of p or says why not.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
