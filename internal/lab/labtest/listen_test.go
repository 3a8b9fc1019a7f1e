package labtest

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shown bytes.Buffer
		console, ctx := Listen(t, &shown)
		for range 10 {
			time.Sleep(patience - time.Second)
			if _, err := console.Write([]byte(".")); err != nil {
				t.Fatal(err)
			}
		}
		if ctx.Err() != nil || shown.String() != ".........." {
			t.Errorf("a machine that says something shows %q, and is given up: %v", &shown, context.Cause(ctx))
		}
		time.Sleep(patience + time.Second)
		if err := context.Cause(ctx); err == nil || !strings.Contains(err.Error(), "silent for 15m") {
			t.Errorf("a silent machine is given up: %v", err)
		}
	})
}
