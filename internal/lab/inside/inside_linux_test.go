package inside

import "testing"

func TestParse(t *testing.T) {
	for text, want := range map[string]commandLine{
		"console=ttyAMA0 root=PARTUUID=b00cb00c-02 rootwait init=/usr/sbin/reconfig-clusterctrl p7\n": {"PARTUUID=b00cb00c-02", "/usr/sbin/reconfig-clusterctrl", false},
		"root=/dev/mmcblk0p2 rw": {"/dev/mmcblk0p2", "/sbin/init", true},
		"rw root=a ro root=b":    {"b", "/sbin/init", false}, // the last counts
		"":                       {"", "/sbin/init", false},
	} {
		if got := parse(text); got != want {
			t.Errorf("parse(%q) = %+v, want %+v", text, got, want)
		}
	}
}

func TestPartition(t *testing.T) {
	for root, want := range map[string]int{
		"PARTUUID=b00cb00c-02": 2, "PARTUUID=B00CB00C-4": 4, "/dev/mmcblk0p2": 2,
		"": 0, "PARTUUID=b00cb00c": 0, "PARTUUID=b00cb00c-00": 0, "PARTUUID=b00cb00c-05": 0, "PARTUUID=b00cb00c-10": 0,
		"PARTUUID=0f2d7c1e-8b1f-4b1a-9d2e-0123456789ab": 0, // of a GPT
		"/dev/mmcblk0":     0,
		"/dev/mmcblk0p2x":  0,
		"/dev/mmcblk0p300": 0,
		"/dev/sda2":        0,
		"LABEL=rootfs":     0,
	} {
		if got, err := partition(root); got != want || (err == nil) != (want != 0) {
			t.Errorf("partition(%q) = %d, %v; want %d", root, got, err, want)
		}
	}
}

func TestAttacher(t *testing.T) {
	for stream, ok := range map[string]bool{
		NodeStream: true, ControllerStream + "0": true, ControllerStream + "251": true, HATStream + "4": true,
		"": false, ControllerStream: false, ControllerStream + "x": false,
	} {
		if _, err := attacher(stream); (err == nil) != ok {
			t.Errorf("attacher(%q): %v", stream, err)
		}
	}
}
