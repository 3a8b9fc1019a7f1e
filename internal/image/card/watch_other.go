//go:build !linux && !darwin

package card

import "context"

func watch(context.Context, func() (bool, error)) error { return errSystem }
