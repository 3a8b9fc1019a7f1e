package recipe

import (
	"strings"
	"testing"

	"clusterctrl/internal/node"
	"pgregory.net/rapid"
)

func TestBlankBranding(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"at the end", "a b init=/usr/sbin/reconfig-clusterctrl p7\n", "a b\n"},
		{"in front of Imager's", "a init=/usr/sbin/reconfig-clusterctrl p7 systemd.run=/boot/x systemd.unit=u\n", "a systemd.run=/boot/x systemd.unit=u\n"},
		{"old name and role", "a init=/sbin/reconfig-clusterctrl c b", "a b"},
		{"twice", "init=/sbin/reconfig-clusterctrl p1 a init=/usr/sbin/reconfig-clusterctrl p2", "a"},
		{"no node", "a init=/usr/sbin/reconfig-clusterctrl p253 b", "a b"},
		{"starts with a role", "a init=/usr/sbin/reconfig-clusterctrl p7x b", "a b"},
		{"no role", "a init=/usr/sbin/reconfig-clusterctrl banana b", "a b"},
		{"no argument, a setting", "a init=/usr/sbin/reconfig-clusterctrl root=/dev/x b", "a root=/dev/x b"},
		{"no argument, a known word", "a init=/usr/sbin/reconfig-clusterctrl quiet splash", "a quiet splash"},
		{"carriage return", "a init=/usr/sbin/reconfig-clusterctrl p7\r\n", "a\r\n"},
		{"on the second line", "a\ninit=/usr/sbin/reconfig-clusterctrl p7\n", "a\n\n"},
		{"between quotes", `a="init=/usr/sbin/reconfig-clusterctrl p7" b`, `a="init=/usr/sbin/reconfig-clusterctrl p7" b`},
		{"another init", "a init=/usr/lib/raspi-config/init_resize.sh p7", "a init=/usr/lib/raspi-config/init_resize.sh p7"},
		{"a longer name", "a init=/usr/sbin/reconfig-clusterctrl2 p7", "a init=/usr/sbin/reconfig-clusterctrl2 p7"},
		{"nothing", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := BlankBranding(tt.text)
			if squeezed(got) != tt.want || len(got) != len(tt.text) {
				t.Errorf("%q becomes %q, want %q", tt.text, got, tt.want)
			}
		})
	}
}

// squeezed returns a text with one blank where there are several, and none
// around lines.
func squeezed(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		cr := strings.HasSuffix(line, "\r")
		lines[i] = strings.Join(strings.FieldsFunc(strings.TrimSuffix(line, "\r"), func(r rune) bool { return r == ' ' }), " ")
		if cr {
			lines[i] += "\r"
		}
	}
	return strings.Join(lines, "\n")
}

// Only the bytes of our words change, to blanks, and nothing is left that starts the
// branding.
func FuzzBlankBranding(f *testing.F) {
	for _, text := range []string{
		"a b init=/usr/sbin/reconfig-clusterctrl p7\n", "init=/sbin/reconfig-clusterctrl", "\"init=/sbin/reconfig-clusterctrl",
		"a\x00init=/usr/sbin/reconfig-clusterctrl \xff b", "init=/usr/sbin/reconfig-clusterctrl init=/usr/sbin/reconfig-clusterctrl p1\tx",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := BlankBranding(text)
		if StartsBranding(got) || len(got) != len(text) || BlankBranding(got) != got {
			t.Fatalf("%q becomes %q", text, got)
		}
		ours := false
		for start, end := range words(text) {
			word := text[start:end]
			kept := got[start:end] == word
			if mayGo := node.IsReconfig(word) || ours && IsArgument(word); kept == mayGo {
				t.Errorf("%q becomes %q: word %q kept: %v", text, got, word, kept)
			}
			ours = node.IsReconfig(word)
		}
		for i := range len(text) {
			if got[i] != text[i] && got[i] != ' ' {
				t.Errorf("%q becomes %q: byte %d", text, got, i)
			}
		}
	})
}

// Whatever words a line has, exactly ours are removed, be the role right or wrong.
func TestNoWordIsLost(t *testing.T) {
	other := rapid.SampledFrom([]string{"quiet", "console=tty1", "root=PARTUUID=1-2", "resize", "ds=nocloud;i=1", `x="a b"`, "systemd.run=/boot/firstrun.sh", "init=/bin/sh", "splash"})
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(other, 1, 8).Draw(t, "words")
		at := rapid.IntRange(0, len(want)).Draw(t, "at")
		argument := rapid.SampledFrom([]string{"p7", "cnat", "p0", "p999", "P7", "x"}).Draw(t, "argument")
		line := strings.Join(want[:at], " ") + " init=" + node.ReconfigPath + " " + argument + " " + strings.Join(want[at:], " ")
		if got := squeezed(BlankBranding(line)); got != strings.Join(want, " ") {
			t.Errorf("%q becomes %q, want %q", line, got, want)
		}
	})
}
