package recipe

import (
	"io/fs"
	"strings"
	"testing"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/edit"
	"clusterctrl/internal/tree/rootfs"
)

// TestCloudName brands Pis whose user-data somebody else wrote: cloud-init may
// not undo the name, and all else stays.
func TestCloudName(t *testing.T) {
	const imager = "#cloud-config\nhostname: raspberrypi\nmanage_etc_hosts: true\nusers:\n- name: anna\n  passwd: $6$a$b\n# hostname: no\n"
	for _, tt := range []struct{ name, before, want string }{
		{"Imager's", imager, "#cloud-config\nhostname: p7\nmanage_etc_hosts: false\nusers:\n- name: anna\n  passwd: $6$a$b\n# hostname: no\n"},
		{"all there is", "#cloud-config\nfqdn: a.b\npreserve_hostname: false\nx: {hostname: y}\n", "#cloud-config\nfqdn: p7\npreserve_hostname: true\nx: {hostname: y}\n"},
		{"stock", "#cloud-config\n#hostname: raspberrypi\n", "#cloud-config\n#hostname: raspberrypi\n"},
		{"the vendor's gadget", "#cloud-config\nrpi:\n  enable_usb_gadget: true # please\n", "#cloud-config\nrpi:\n  enable_usb_gadget: false # please\n"},
		{"the vendor's gadget in one line", "#cloud-config\nrpi: {spi: true, \"enable_usb_gadget\": yes, i2c: true}\n", "#cloud-config\nrpi: {spi: true, \"enable_usb_gadget\": false, i2c: true}\n"},
		{"no gadget", "#cloud-config\nrpi:\n  #enable_usb_gadget: true\n", "#cloud-config\nrpi:\n  #enable_usb_gadget: true\n"},
		{"a script", "#!/bin/sh\nhostname: x\n", "#!/bin/sh\nhostname: x\n"},
		{"none", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const file = "boot/firmware/user-data"
			s, base := controllerImage(t, rootfs.NetworkManager)
			s.CloudInit = true
			tree := rootfs.NewOverlay(base)
			if tt.before != "" {
				if err := tree.WriteFile(file, []byte(tt.before), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for _, role := range []node.Role{node.ID(9).Role(), node.ID(7).Role(), node.ID(7).Role()} {
				if err := edit.Apply(tree, brandEdits(s, role)); err != nil {
					t.Fatal(err)
				}
			}
			if got, _ := fs.ReadFile(tree, file); string(got) != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// TestCloudUserPassword sets the password of a user who is there: no other key of
// the entry may count more, and all else stays.
func TestCloudUserPassword(t *testing.T) {
	const head = "#cloud-config\nusers:\n    - name: bob\n"
	for _, tt := range []struct{ before, want string }{
		{head + "      passwd: old\n      lock_passwd: true\n", head + "      passwd: $6$a$b\n      lock_passwd: false\n"},
		{head + "      plain_text_passwd: old\n      shell: /bin/zsh # mine\n", head + "      shell: /bin/zsh # mine\n      passwd: $6$a$b\n      lock_passwd: false\n"},
		{head + "      hashed_passwd: old\n", head + "      passwd: $6$a$b\n      lock_passwd: false\n"},
	} {
		got, err := cloudUser{"user-data", "bob", "$6$a$b"}.merge(tt.before)
		if err != nil || got != tt.want {
			t.Errorf("%q became\n%s%v\nwant\n%s", tt.before, got, err, tt.want)
		}
	}
}

// TestCloudUserKeepsDefault: a list of users takes the place of cloud-init's own,
// which has its default user.
func TestCloudUserKeepsDefault(t *testing.T) {
	for _, tt := range []struct{ before, want string }{
		{"#cloud-config\nssh_authorized_keys: [k]\n", "users:\n    - default\n    - groups:"},
		{"#cloud-config\nusers:\n    - name: anna\n", "users:\n    - name: anna\n    - groups:"},
		{"#cloud-config\nusers:\n", "users:\n    - default\n    - groups:"},
		{"#cloud-config\n# nothing\n", "users:\n    - groups:"},
	} {
		got, err := cloudUser{"user-data", "bob", "$6$a$b"}.merge(tt.before)
		if err != nil || !strings.Contains(got, tt.want) {
			t.Errorf("%q became\n%s%v\nwant in it %q", tt.before, got, err, tt.want)
		}
	}
}
