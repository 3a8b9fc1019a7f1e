//go:build !linux

package disk

import "errors"

func besideRoot(int) (string, error) { return "", errors.ErrUnsupported }
