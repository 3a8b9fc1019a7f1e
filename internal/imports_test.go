package internal

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mayImport is the architecture: what each package may use of this module.
// Packages that are not in the table may use nothing.
var mayImport = map[string][]string{
	"rootfs":            {"mbr", "fat", "ext4"},
	"edit":              {"rootfs"},
	"recipe":            {"node", "rootfs", "edit"},
	"settings":          {"node", "rootfs"},
	"diskimage":         {"xz"},
	"provision":         {"node", "mbr", "fat", "ext4", "rootfs", "edit", "recipe", "settings", "diskimage", "firstboot"},
	"payload":           {"node", "rootfs"},
	"kmod":              {"xz"},
	"firstboot":         {"node", "mbr", "fat", "rootfs", "edit", "recipe"},
	"gadget":            {"node", "kmod", "uevent"},
	"cluster":           {"node", "uevent"},
	"cable":             {"usbip", "uevent"},
	"initramfs":         {"kmod"},
	"nat":               {"node"},
	"lab":               {"mbr", "fat", "rootfs", "diskimage", "initramfs", "kmod", "cable", "lab/inside"},
	"lab/inside":        {"mbr", "initramfs", "uevent", "usbip", "cable"},
	"lab/labtest":       {"lab", "initramfs"},
	"lab/labtest/guest": {"initramfs"},
}

// A test may use besides what makes its inputs.
var testsMayImport = []string{"sample", "xz", "lab", "lab/labtest", "lab/labtest/guest", "lab/labtest/traffic", "kmod", "uevent", "cluster", "gadget", "usbip", "ext4", "rootfs", "edit", "recipe", "node"}

func TestImports(t *testing.T) {
	files, err := filepath.Glob("*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	deeper, err := filepath.Glob("*/*/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(err, "no files")
	}
	for _, file := range append(files, deeper...) {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		pkg := filepath.ToSlash(filepath.Dir(file))
		for _, spec := range f.Imports {
			_, used, ours := strings.Cut(strings.Trim(spec.Path.Value, `"`), "clusterctrl/internal/")
			allowed := slices.Contains(mayImport[pkg], used) || used == pkg ||
				strings.HasSuffix(file, "_test.go") && slices.Contains(testsMayImport, used) ||
				strings.Contains(pkg, "/testdata") || strings.Contains(pkg, "/pack")
			if ours && !allowed {
				t.Errorf("%s: %s may not import %s", file, pkg, used)
			}
		}
	}
}
