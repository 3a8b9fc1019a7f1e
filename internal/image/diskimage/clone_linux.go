package diskimage

import (
	"errors"
	"io"
	"iter"
	"os"

	"golang.org/x/sys/unix"
)

// share makes the empty output o a copy of src that shares its blocks. The
// error matches [errors.ErrUnsupported] where that cannot be.
func share(o *Output, src *os.File) error {
	err := unix.IoctlFileClone(int(o.Fd()), int(src.Fd()))
	switch {
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTTY),
		errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPERM), errors.Is(err, unix.ETXTBSY):
		return errors.ErrUnsupported
	}
	return os.NewSyscallError("FICLONE", err)
}

// allocate allocates a part of a file, at best in one extent.
func allocate(f *os.File, s segment) error {
	return fallocate(f, unix.FALLOC_FL_KEEP_SIZE, s)
}

// punch makes a hole, which may reach over the end of the file.
func punch(f *os.File, s segment) error {
	return fallocate(f, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, s)
}

func fallocate(f *os.File, mode uint32, s segment) error {
	err := unix.Fallocate(int(f.Fd()), mode, s.start, s.end-s.start)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return os.NewSyscallError("fallocate", err)
}

// segments walks those parts of a part of f that are not holes. It moves the
// file's position.
func segments(f *os.File, within segment) iter.Seq2[segment, error] {
	return func(yield func(segment, error) bool) {
		for within.start < within.end {
			s, err := nextSegment(f, within)
			if err == nil && s.start == s.end {
				return
			}
			if !yield(s, err) || err != nil {
				return
			}
			within.start = s.end
		}
	}
}

// nextSegment returns the first segment, an empty one if there is only a hole.
func nextSegment(f *os.File, within segment) (segment, error) {
	start, err := unix.Seek(int(f.Fd()), within.start, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO), err == nil && start >= within.end:
		return segment{}, nil
	case errors.Is(err, unix.EINVAL): // the file system knows of no holes
		return within, nil
	case err != nil:
		return segment{}, os.NewSyscallError("lseek", err)
	}
	end, err := unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
	return segment{start, min(end, within.end)}, os.NewSyscallError("lseek", err)
}

// copySegment copies part s of src within the kernel where it can.
func (c *copying) copySegment(s segment) error {
	for s.start < s.end {
		from, to := s.start, s.start+c.shift
		n, err := unix.CopyFileRange(int(c.src.Fd()), &from, int(c.dst.Fd()), &to, int(s.end-s.start), 0)
		switch {
		case errors.Is(err, unix.EXDEV), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL),
			errors.Is(err, unix.EOPNOTSUPP):
			return c.copyThrough(s)
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return os.NewSyscallError("copy_file_range", err)
		case n == 0:
			return io.ErrUnexpectedEOF
		}
		s.start += int64(n)
	}
	return nil
}
