package hostname

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"clusterctrl/internal/tree/rootfs"
)

func TestRestore(t *testing.T) {
	const others = "127.0.0.1\tlocalhost\n::1\tlocalhost\n"
	const ours = "172.19.181.1\tp1\n"
	for _, tt := range []struct {
		name, hostname, hosts string
		want                  string // of hosts
		other                 string
	}{
		{"nobody changed it", "p7\n", others + "127.0.1.1\tp7\n" + ours, others + "127.0.1.1\tp7\n" + ours, ""},
		{"an owner's alias", "p7", others + "127.0.1.1 p7.lan p7 # mine\n", others + "127.0.1.1 p7.lan p7 # mine\n", ""},
		{"Imager's script", "mypi\n", others + "127.0.1.1\tmypi\n" + ours, others + "127.0.1.1\tp7\n" + ours, "mypi"},
		{"the name alone", "mypi\n", others + "127.0.1.1\tp7\n", others + "127.0.1.1\tp7\n", "mypi"},
		{"the line alone", "p7\n", others + "127.0.1.1\tp70\n", others + "127.0.1.1\tp7\n", ""},
		{"no line", "mypi\n", others, others + "127.0.1.1\tp7\n", "mypi"},
		{"nothing", "", "", "127.0.1.1\tp7\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{"hostname": tt.hostname, "hosts": tt.hosts} {
				if text == "" {
					continue
				}
				if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			tree, err := rootfs.OpenDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer tree.Close()
			for _, other := range []string{tt.other, ""} { // the second time there is nothing to do
				if got, err := Restore(tree, 7); err != nil || got != other {
					t.Errorf("Restore() = %q, %v; want %q", got, err, other)
				}
			}
			hosts, err := fs.ReadFile(tree, "etc/hosts")
			if err != nil || string(hosts) != tt.want {
				t.Errorf("hosts is %q, %v; want %q", hosts, err, tt.want)
			}
			if name, err := fs.ReadFile(tree, "etc/hostname"); err != nil || string(name) != "p7\n" && tt.hostname != "p7" {
				t.Errorf("the name is %q, %v", name, err)
			}
		})
	}
}
