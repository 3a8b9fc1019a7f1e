package guest

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"clusterctrl/internal/linux/uevent"
)

// Await waits until a device exists.
func Await(dev string) error {
	return uevent.Wait(context.Background(), func() (bool, error) {
		_, err := os.Stat(dev)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return true, err
	})
}
