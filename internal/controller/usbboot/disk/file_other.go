//go:build !linux

package disk

import (
	"errors"
	"io/fs"
	"os"
)

// A file of changes is on a controller, which is a Linux machine.
type file struct{ *os.File }

func (file) Punch(int64, int64) error { return errors.ErrUnsupported }

func tryLock(*os.File) error { return errors.ErrUnsupported }

func space(info fs.FileInfo) int64 { return info.Size() }

func stamp(fs.FileInfo) string { return "" }
