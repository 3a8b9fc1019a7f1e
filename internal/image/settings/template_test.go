package settings

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTemplate: as it is, the template changes nothing; every setting is in it, and takes
// the value that is shown.
func TestTemplate(t *testing.T) {
	s, err := parseTOML(Template)
	if diff := cmp.Diff(Default(), s); err != nil || diff != "" {
		t.Errorf("%v, -default +template:\n%s", err, diff)
	}
	setting := regexp.MustCompile(`(?m)^#([a-z-]+) = .*$`)
	var keys []string
	for _, m := range setting.FindAllStringSubmatch(Template, -1) {
		keys = append(keys, m[1])
		if m[1] == "password-hash" || m[1] == "password" {
			continue // one of them, and not shortened
		}
		text := m[0][1:] + "\n"
		if strings.HasPrefix(m[1], "wifi-") && m[1] != "wifi-country" {
			text = "wifi-ssid = \"home\"\nwifi-password = \"at least eight\"\nwifi-country = \"DE\"\n"
		}
		if m[1] == "user" {
			text += "password = \"x\"\n"
		}
		if _, err := parseTOML(text); err != nil {
			t.Errorf("%s: %v", m[0], err)
		}
	}
	slices.Sort(keys)
	if diff := cmp.Diff(known(), keys); diff != "" {
		t.Errorf("-settings +template:\n%s", diff)
	}
}
