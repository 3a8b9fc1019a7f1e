package card

import (
	"context"
	"slices"
)

// A Reader is where cards come and go, one at a time: any of the system's.
type Reader struct {
	Policy Policy
	Size   int64 // of the image, in bytes

	// Refused is told why a card that came is not taken, once for each reason; may be
	// nil.
	Refused func(error)

	known []Disk // which were there before, and so are not taken
	told  []string
}

// NewReader returns a Reader that takes the cards that come from now on. Cards that are
// there already may have been forgotten in their readers.
func NewReader(policy Policy, size int64) (*Reader, error) {
	disks, err := List()
	return &Reader{Policy: policy, Size: size, known: disks}, err
}

// same reports whether two looks at disks saw the same medium in the same place.
func same(a, b Disk) bool {
	return a.Path == b.Path && a.sequence == b.sequence && a.Size == b.Size
}

// Await returns the next card that comes and may be written to.
func (r *Reader) Await(ctx context.Context) (found Disk, err error) {
	err = watch(ctx, func() (bool, error) {
		disks, err := List()
		if err != nil {
			return false, err
		}
		found = r.take(disks)
		return found.Path != "", nil
	})
	return found, err
}

// take returns the card among disks that was not there before, the zero Disk if
// there is none.
func (r *Reader) take(disks []Disk) Disk {
	r.known = slices.DeleteFunc(r.known, func(k Disk) bool {
		return !slices.ContainsFunc(disks, func(d Disk) bool { return same(k, d) })
	})
	for _, d := range disks {
		if d.Size == 0 || slices.ContainsFunc(r.known, func(k Disk) bool { return same(k, d) }) {
			continue
		}
		err := r.Policy.Check(d, r.Size)
		if err == nil {
			return d
		}
		if r.Refused != nil && !slices.Contains(r.told, err.Error()) {
			r.told = append(r.told, err.Error())
			r.Refused(err)
		}
	}
	return Disk{}
}

// Skip has Await ignore a card that is in a reader.
func (r *Reader) Skip(d Disk) { r.known = append(r.known, d) }

// AwaitGone returns when a card is out of its reader.
func AwaitGone(ctx context.Context, d Disk) error {
	return watch(ctx, func() (bool, error) {
		disks, err := List()
		return !slices.ContainsFunc(disks, func(now Disk) bool { return same(now, d) }), err
	})
}
