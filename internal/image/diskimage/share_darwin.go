package diskimage

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// share makes the empty output o a copy of src that shares its blocks. The
// error matches [errors.ErrUnsupported] where that cannot be.
//
// clonefile makes the file itself, so it takes the place of the empty one.
func share(o *Output, src *os.File) error {
	clone := o.Name() + "~"
	if err := unix.Clonefile(src.Name(), clone, 0); err != nil {
		return errors.ErrUnsupported
	}
	if err := os.Rename(clone, o.Name()); err != nil {
		return errors.Join(err, os.Remove(clone))
	}
	f, err := os.OpenFile(o.Name(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	tryLock(f)
	o.Close()
	o.File = f
	return nil
}
