package lab

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const bannerOf = "Linux version 6.1.0-1-arm64 (debian-kernel@lists.debian.org)"

func packed(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(text))
	z.Close()
	return b.String()
}

func TestOpenKernel(t *testing.T) {
	const modules = "lib/modules/6.1.0-1-arm64/modules.dep"
	for _, tt := range []struct {
		name  string
		files map[string]string
		err   string // the end of it; empty for none
	}{
		{"package", map[string]string{"boot/vmlinuz-6.1.0-1-arm64": "MZ " + bannerOf, modules: ""}, ""},
		{"packed", map[string]string{"vmlinuz": packed("MZ " + bannerOf), modules: ""}, ""},
		{"merged /usr", map[string]string{"boot/vmlinuz": bannerOf, "usr/" + modules: ""}, ""},
		{"empty", nil, "lib/modules/RELEASE"},
		{"two", map[string]string{"vmlinuz": bannerOf, "boot/vmlinuz-1": bannerOf, modules: ""}, "kernels boot/vmlinuz-1 and vmlinuz: want one"},
		{"without modules", map[string]string{"vmlinuz": bannerOf}, "no lib/modules/6.1.0-1-arm64, for the kernel there"},
		{"modules of another", map[string]string{"vmlinuz": strings.Replace(bannerOf, "6.1", "6.12", 1), modules: ""}, "no lib/modules/6.12.0-1-arm64, for the kernel there"},
		{"no kernel", map[string]string{"vmlinuz": "ELF", modules: ""}, "no kernel for arm64 that says its version"},
		{"cut off", map[string]string{"vmlinuz": packed(bannerOf)[:30], modules: ""}, "packed kernel: unexpected EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "[kernel]") // no pattern
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			for name, text := range tt.files {
				name = filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			k, err := OpenKernel(dir)
			if err != nil {
				if tt.err == "" || !strings.HasPrefix(err.Error(), dir+": ") || !strings.HasSuffix(err.Error(), tt.err) {
					t.Errorf("OpenKernel() = %v; want %s: ... %s", err, dir, tt.err)
				}
				return
			}
			defer k.Close()
			if tt.err != "" || k.Name != "6.1.0-1-arm64 of "+dir {
				t.Errorf("OpenKernel() = %s; want %s", k.Name, tt.err)
			}
			if _, err := fs.Stat(k.Modules, "modules.dep"); err != nil {
				t.Error(err)
			}
		})
	}
}
