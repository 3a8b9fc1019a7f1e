package build_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clusterctrl/test/base"
	"go.yaml.in/yaml/v3"
)

// All settings that end up in an image. The password has what shells and
// userconf.txt might trip over.
const (
	ownerSettings = `
lite = 9
nat = false
user = "anna"
password = "it's $HOME: \"a\\b\" "
ssh = true
authorized-keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0 anna@desk", "ssh-rsa AAAAB3NzaC1yc2E= anna@lap"]
serial-autologin = true
wifi-country = "DE"
gadget = "ncm"
`
	password   = `it's $HOME: "a\b" `
	ownersTime = 1750000000 // SOURCE_DATE_EPOCH: 2025-06-15
)

// What the settings change besides, in the root and in the boot partition, and
// what of a machine that was booted goes.
const (
	ownerChanged = `
+ -rw-r--r-- 0:0 etc/ssh/authorized_keys.d/anna
+ -rw-r--r-- 0:0 etc/ssh/sshd_config.d/clusterctrl.conf
+ -rw-r--r-- 0:0 etc/systemd/system/serial-getty@ttyGS0.service.d/20-autologin.conf
+ drwxr-xr-x 0:0 etc/ssh/authorized_keys.d
+ drwxr-xr-x 0:0 etc/systemd/system/serial-getty@ttyGS0.service.d
- etc/ssh/ssh_host_ed25519_key
- etc/ssh/ssh_host_ed25519_key.pub
- etc/ssh/ssh_host_rsa_key
- etc/ssh/ssh_host_rsa_key.pub
~ etc/machine-id
`
	ownerChangedBoot = "+ -rw-r--r-- 0:0 ssh\n"
	bookwormUser     = "+ -rw-r--r-- 0:0 userconf.txt\n"
	trixieUser       = "~ user-data\n"
)

var ownerFiles = []content{
	{"etc/ssh/authorized_keys.d/anna", "\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0 anna@desk\nssh-rsa AAAAB3NzaC1yc2E= anna@lap\n"},
	{"etc/ssh/sshd_config.d/clusterctrl.conf", "\nAuthorizedKeysFile .ssh/authorized_keys /etc/ssh/authorized_keys.d/%u\n"},
	{"etc/systemd/system/serial-getty@ttyGS0.service.d/20-autologin.conf", "\n[Service]\nExecStart=\nExecStart=-/sbin/agetty --wait-cr --autologin anna "},
	{"usr/share/clusterctrl/default-clusterctrl", "\nGADGET=ncm\n"},
}

// TestSettings builds from bases that were booted before, with the settings of
// an owner beside them.
func TestSettings(t *testing.T) {
	for _, r := range releases {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			used := copyDisk(t, openDisk(t, base.Path(t, r.name)))
			used.change(t, leaveTraces(t))
			image := publish(t, r, used.path)
			writeFile(t, filepath.Join(filepath.Dir(image), "clusterctrl.toml"), ownerSettings)
			dir := t.TempDir()
			cmd := clusterctrl(t, "build", image, "-o", dir)
			if r.name != base.Bookworm { // one release with nodes is enough
				cmd.Args = append(cmd.Args, "--nodes", "0") // flags win over the file
			}
			cmd.Env = append(cmd.Env, "SOURCE_DATE_EPOCH=1750000000")
			output(t, cmd)

			controller := openDisk(t, filepath.Join(dir, r.prefix+"CBRIDGE.img"))
			controller.wantClean(t)
			root, boot := controller.mount(t), controller.bootTree(t)
			testOwnerChanges(t, r, used, root, boot)
			wantContents(t, root, ownerFiles)
			wantContents(t, root, r.files[:1]) // machine-id as the vendor ships it
			testOwnerBoot(t, r, boot)
			wantNoPassword(t, controller)
			if r.name == base.Bookworm {
				testNinth(t, r, dir)
			}
		})
	}
}

// leaveTraces returns what the first boot leaves of a machine.
func leaveTraces(t *testing.T) func(root string) {
	return func(root string) {
		for _, key := range []string{"ssh_host_ed25519_key", "ssh_host_rsa_key"} {
			writeFile(t, filepath.Join(root, "etc/ssh", key), "private\n")
			writeFile(t, filepath.Join(root, "etc/ssh", key+".pub"), "public\n")
		}
		writeFile(t, filepath.Join(root, "etc/machine-id"), "0123456789abcdef0123456789abcdef\n")
	}
}

func testOwnerChanges(t *testing.T, r release, used disk, root, boot string) {
	baseRoot, baseBoot := readTree(t, used.mount(t)), readTree(t, used.bootTree(t))
	rootTree, bootTree := readTree(t, root), readTree(t, boot)
	wantChanges(t, baseRoot, rootTree, changedInAll, perNode(), r.changed, ownerChanged)
	user := bookwormUser
	if r.cloudInit {
		user = trixieUser
	}
	wantChanges(t, baseBoot, bootTree, changedInBoot, ownerChangedBoot, user)
	wantTime(t, baseRoot, rootTree, ownersTime)
	wantTime(t, baseBoot, bootTree, ownersTime)
}

func testOwnerBoot(t *testing.T, r release, boot string) {
	line := r.words + " cfg80211.ieee80211_regdom=DE init=/usr/sbin/reconfig-clusterctrl cbridge\n"
	wantContents(t, boot, []content{{"ssh", ""}, {"cmdline.txt", "\n" + line}})
	if r.cloudInit {
		wantCloudUser(t, readFile(t, filepath.Join(boot, "user-data")))
		return
	}
	name, hash, _ := strings.Cut(readFile(t, filepath.Join(boot, "userconf.txt")), ":")
	if name != "anna" {
		t.Errorf("userconf.txt is for %q, want anna", name)
	}
	wantHash(t, strings.TrimSuffix(hash, "\n"))
}

// wantCloudUser reads user-data as cloud-init does. The vendor's comments stay.
func wantCloudUser(t *testing.T, text string) {
	t.Helper()
	var data struct {
		Users []struct {
			Name, Passwd string
			LockPasswd   bool `yaml:"lock_passwd"`
		}
	}
	if err := yaml.Unmarshal([]byte(text), &data); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(text, "#cloud-config\n") || !strings.Contains(text, "\n#hostname: raspberrypi\n") {
		t.Errorf("user-data has lost its head or its comments:\n%s", text)
	}
	if len(data.Users) != 1 || data.Users[0].Name != "anna" || data.Users[0].LockPasswd {
		t.Fatalf("users %+v, want anna alone, unlocked", data.Users)
	}
	wantHash(t, data.Users[0].Passwd)
}

// wantHash lets openssl hash the password with the salt of the hash.
func wantHash(t *testing.T, hash string) {
	t.Helper()
	fields := strings.Split(hash, "$")
	if len(fields) != 4 || fields[1] != "6" {
		t.Fatalf("hash %q, want $6$salt$hash", hash)
	}
	if want := strings.TrimSpace(judge(t, "openssl", "passwd", "-6", "-salt", fields[2], password)); hash != want {
		t.Errorf("hash %q, openssl makes %q", hash, want)
	}
}

// wantNoPassword looks for the password in clear, from its start to where somebody
// might have put an escape.
func wantNoPassword(t *testing.T, d disk) {
	t.Helper()
	judge(t, "sh", "-c", `! grep -qaF -- "$1" "$2"`, "sh", "it's $HOME", d.path)
}

// testNinth makes p9 again out of the controller's image: the same bytes.
func testNinth(t *testing.T, r release, dir string) {
	again := t.TempDir()
	output(t, clusterctrl(t, "build", filepath.Join(dir, r.prefix+"CBRIDGE.img"), "--only", "p9", "-o", again))
	name := r.prefix + "p9.img"
	if sectors := differing(t, filepath.Join(dir, name), filepath.Join(again, name)); len(sectors) > 0 {
		t.Errorf("p9 by \"nodes\" differs from p9 by \"build\" in sectors %v", sectors)
	}
	if _, err := os.Stat(filepath.Join(dir, r.prefix+"CNAT.img")); err == nil {
		t.Error("there is a CNAT image in spite of nat = false")
	}
}
