package usbroot

import "time"

// tries bounds how often the root is asked for before the node starts anew, which
// is every few minutes at worst.
const tries = 40

// pause is between two tries: nothing tells when a server that refused will be ready.
const pause = 3 * time.Second

// insist calls try until it succeeds, at most [tries] times, and tells why it did not.
func insist(tell func(format string, values ...any), try func() error) error {
	var last error
	for left := tries - 1; left >= 0; left-- {
		err := try()
		if err == nil {
			return nil
		}
		if last == nil || err.Error() != last.Error() {
			tell("%v; trying again, %d times at most", err, left)
		}
		last = err
		time.Sleep(pause)
	}
	return last
}
