package progress

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestLines: in a pipe, a long piece of work shows every few seconds that it goes on.
func TestLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		work := Lines(&out).Start("unpack", 20e6)
		for range 12 {
			time.Sleep(time.Second)
			work.Write(make([]byte, 1e6))
		}
		work.Close()
		const want = "unpack: 20.0 MB\nunpack: 5.0 MB, 25%\nunpack: 10.0 MB, 50%\nunpack: done, 12.0 MB in 12s\n"
		if out.String() != want {
			t.Errorf("got:\n%swant:\n%s", &out, want)
		}
	})
}
