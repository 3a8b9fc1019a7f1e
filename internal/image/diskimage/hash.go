package diskimage

import (
	"context"
	"crypto/sha256"
	"encoding"
	"fmt"
	"hash"
	"io"
	"os"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// hashStep is how much is hashed between two looks at the context. It stays in
// a core's cache while several hashes take it in.
const hashStep = 256 << 10

// HashPatched returns, for each of patches, the SHA-256 of image with that patch alone.
// The part before the first patch is hashed only once; the rest is read once a core. A
// progress that is not nil is told of every byte of every sum, in pieces of zeros.
// The patches of a build lie near the front of its images, so that each sum costs
// nearly a pass of SHA-256 over the whole image, whatever the images share.
func HashPatched(ctx context.Context, image *os.File, patches []Patch, progress io.Writer) ([]Sum, error) {
	size, err := fileSize(image)
	if err != nil {
		return nil, err
	}
	common := size
	for _, p := range patches {
		if err := p.check(size); err != nil {
			return nil, fmt.Errorf("%s: %w", finalName(image.Name()), err)
		}
		if !p.isZero() {
			common = min(common, p.Offset)
		}
	}
	prefix, count := sha256.New(), counter(progress)
	err = walk(ctx, image, segment{0, common}, func(p []byte, _ int64) {
		prefix.Write(p)
		count(int64(len(p) * len(patches)))
	})
	if err != nil {
		return nil, err
	}
	variants := make([]variant, len(patches))
	for i, p := range patches {
		if variants[i], err = newVariant(prefix, p); err != nil {
			return nil, err
		}
	}
	err = hashVariants(ctx, image, segment{common, size}, variants, count)
	sums := make([]Sum, len(patches))
	for i, v := range variants {
		sums[i] = Sum(v.Sum(nil))
	}
	return sums, err
}

// hashVariants shares the variants out among the cores.
func hashVariants(ctx context.Context, image *os.File, s segment, variants []variant, count func(int64)) error {
	g, ctx := errgroup.WithContext(ctx)
	workers := min(runtime.GOMAXPROCS(0), len(variants))
	for i := range workers {
		mine := variants[len(variants)*i/workers : len(variants)*(i+1)/workers]
		g.Go(func() error {
			return walk(ctx, image, s, func(p []byte, off int64) {
				for _, v := range mine {
					v.write(p, off)
					count(int64(len(p)))
				}
			})
		})
	}
	return g.Wait()
}

// A variant is the hash of an image with a patch.
type variant struct {
	hash.Hash
	patch Patch
}

// newVariant starts where prefix is now.
func newVariant(prefix hash.Hash, p Patch) (variant, error) {
	state, err := prefix.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return variant{}, err
	}
	h := sha256.New()
	return variant{h, p}, h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state)
}

// write hashes the image's bytes p, which start at off, as the patch has them.
func (v variant) write(p []byte, off int64) {
	within := func(pos int64) int64 { return min(max(pos-off, 0), int64(len(p))) }
	first, last := within(v.patch.Offset), within(v.patch.Offset+int64(len(v.patch.Data)))
	v.Write(p[:first])
	if first < last {
		v.Write(v.patch.Data[off+first-v.patch.Offset : off+last-v.patch.Offset])
	}
	v.Write(p[last:])
}

// walk calls do with part s of f, piece by piece. Holes are not read.
func walk(ctx context.Context, f *os.File, s segment, do func(p []byte, off int64)) error {
	buf := make([]byte, hashStep)
	for data, err := range segments(f, s) {
		if err != nil {
			return fmt.Errorf("%s: %w", finalName(f.Name()), err)
		}
		for s.start < data.end {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			p, err := nextPiece(f, s.start, data, buf)
			if err != nil {
				return fmt.Errorf("%s: %w", finalName(f.Name()), withoutPath(err))
			}
			do(p, s.start)
			s.start += int64(len(p))
		}
	}
	for s.start < s.end {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		p := zeros[:min(hashStep, s.end-s.start)]
		do(p, s.start)
		s.start += int64(len(p))
	}
	return nil
}

// nextPiece returns what is at pos: zeros up to the data, then the data, read into buf.
func nextPiece(f *os.File, pos int64, data segment, buf []byte) ([]byte, error) {
	if pos < data.start {
		return zeros[:min(hashStep, data.start-pos)], nil
	}
	n, err := f.ReadAt(buf[:min(hashStep, data.end-pos)], pos)
	if err == io.EOF && n > 0 {
		err = nil
	}
	return buf[:n], err
}
