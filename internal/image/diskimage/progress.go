package diskimage

import (
	"io"
	"sync"
)

// counter returns a function that tells w of n more bytes, as writes of zeros,
// and may be called from several goroutines. A nil w is told nothing.
func counter(w io.Writer) func(n int64) {
	if w == nil {
		return func(int64) {}
	}
	var mu sync.Mutex
	return func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		for n > 0 {
			k := min(n, int64(len(zeros)))
			w.Write(zeros[:k])
			n -= k
		}
	}
}
