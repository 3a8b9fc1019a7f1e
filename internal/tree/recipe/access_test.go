package recipe

import (
	"testing"
	"testing/fstest"

	"clusterctrl/internal/tree/rootfs"
)

// TestAccess reads who can log in from what a build, the vendor and Raspberry Pi Imager
// write.
func TestAccess(t *testing.T) {
	const passwd, shadow = "root:x:0:0::/root:/bin/sh\npi:x:1000:1000::/home/pi:/bin/bash\n", "root:*:1::::::\npi:$6$a$b:1::::::\n"
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  Access
		open  bool
	}{
		{"nothing", nil, Access{}, false},
		{"vendor's user of Buster", map[string]string{"etc/passwd": passwd, "etc/shadow": shadow}, Access{User: "pi", Password: true}, true},
		{"locked user of Bookworm", map[string]string{"etc/passwd": passwd, "etc/shadow": "pi:!:1::::::\n"}, Access{}, false},
		{"nobody's number", map[string]string{"etc/passwd": "x:x:999:1::/:/bin/sh\ny:x:60000:1::/:/bin/sh\n", "etc/shadow": "x:$6$:1\ny:$6$:1\n"}, Access{}, false},
		{"userconf", map[string]string{"b/userconf.txt": "anna:$6$a$b\nx:y\n", "b/ssh": ""}, Access{User: "anna", Password: true, SSH: true}, true},
		{"keys alone, SSH off", map[string]string{"b/userconf.txt": "anna:*\n", "etc/ssh/authorized_keys.d/anna": "k"}, Access{User: "anna", Keys: true}, false},
		{"keys alone", map[string]string{"b/userconf.txt": "anna:*\n", "etc/ssh/authorized_keys.d/anna": "k", "b/ssh.txt": ""}, Access{User: "anna", Keys: true, SSH: true}, true},
		{"cloud-init's list", map[string]string{"b/user-data": "#cloud-config\nusers:\n- default\n- name: anna\n  passwd: $6$a$b\n  lock_passwd: false\n"}, Access{User: "anna", Password: true}, true},
		{"cloud-init, locked", map[string]string{"b/user-data": "#cloud-config\nusers:\n- name: anna\n  passwd: $6$a$b\n  lock_passwd: true\n"}, Access{User: "anna"}, false},
		{"Imager's cloud-init", map[string]string{"b/user-data": "#cloud-config\nuser:\n  name: anna\n  ssh_authorized_keys:\n  - k\n", "b/ssh": ""}, Access{User: "anna", Keys: true, SSH: true}, true},
		{"no YAML", map[string]string{"b/user-data": "users: ["}, Access{}, false},
		{"Imager's script", map[string]string{"b/firstrun.sh": "#!/bin/bash\n"}, Access{Customised: true}, true},
		{"a passwd of another kind", map[string]string{"etc/passwd": ":::\n\n:", "etc/shadow": "::\n"}, Access{}, false},
	} {
		tree := fstest.MapFS{}
		for name, text := range tt.files {
			tree[name] = &fstest.MapFile{Data: []byte(text)}
		}
		got := AccessOf(tree, rootfs.OS{BootDir: "b"})
		if got != tt.want || got.IsOpen() != tt.open {
			t.Errorf("%s: %+v, open %v; want %+v, %v", tt.name, got, got.IsOpen(), tt.want, tt.open)
		}
	}
}
