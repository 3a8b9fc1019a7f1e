package console

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestEscape(t *testing.T) {
	for _, tt := range []struct {
		name, typed, sent string
		what              action // the first that is not none
	}{
		{"text", "ls\r", "ls\r", none},
		{"at the very start", "~.", "", end},
		{"after return", "ls\r~.", "ls\r", end},
		{"after newline", "ls\n~.", "ls\n", end},
		{"in a line", "a~.", "a~.", none},
		{"doubled", "~~.", "~.", none},
		{"doubled, then in a line", "~~~.", "~~.", none},
		{"help", "~?", "", help},
		{"end after help", "~?~.", "", help},
		{"another letter", "~x~.", "~x~.", none},
		{"return behind it starts a line", "~\r~.", "~\r", end},
		{"pasted over two lines", "~\r\n~/bin\r", "~\r\n~/bin\r", none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := escape{lineStart: true}
			var sent strings.Builder
			what := none
			for _, b := range []byte(tt.typed) {
				out, w := e.next(b)
				sent.Write(out)
				if what == none {
					what = w
				}
			}
			if sent.String() != tt.sent || what != tt.what {
				t.Errorf("sent %q, action %d; want %q, %d", sent.String(), what, tt.sent, tt.what)
			}
		})
	}
}

// TestNothingLost: input that has no ~ at the start of a line is passed on unchanged.
func TestNothingLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a~.?\r\n]{0,20}`).Draw(t, "text")
		text = strings.NewReplacer("\r~", "\r", "\n~", "\n").Replace("x" + text)
		if strings.Contains(text, "\r~") || strings.Contains(text, "\n~") {
			return
		}
		e := escape{lineStart: true}
		var sent []byte
		for _, b := range []byte(text) {
			out, _ := e.next(b)
			sent = append(sent, out...)
		}
		if string(sent) != text {
			t.Fatalf("sent %q of %q", sent, text)
		}
	})
}
