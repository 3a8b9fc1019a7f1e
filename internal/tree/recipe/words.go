package recipe

import (
	"slices"
	"strings"
)

// others are words that systems put into a command line and that look like an
// argument where somebody left ours out.
var others = []string{
	"debug", "emergency", "fastboot", "firstboot", "forcefsck", "noresize", "noswap", "quiet",
	"recovery", "rescue", "resize", "ro", "rootwait", "rw", "s", "single", "splash", "textmode",
}

// IsArgument reports whether the word behind the name of reconfig-clusterctrl was
// meant for it: a role, right or wrong.
func IsArgument(word string) bool {
	return !strings.ContainsAny(word, `=."`) && !slices.Contains(others, word)
}
