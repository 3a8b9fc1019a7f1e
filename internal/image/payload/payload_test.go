package payload

import (
	"runtime/debug"
	"testing"

	"clusterctrl/internal/tree/rootfs"
)

// TestRunsOn holds builds against what the slowest Pi of an architecture can run.
func TestRunsOn(t *testing.T) {
	for _, tt := range []struct {
		name, goos, goarch, goarm, cgo string
		want                           rootfs.Arch // empty for neither
	}{
		{"64 bits", "linux", "arm64", "", "0", rootfs.ARM64},
		{"ARMv6", "linux", "arm", "6", "0", rootfs.ARMHF},
		{"ARMv5", "linux", "arm", "5", "0", rootfs.ARMHF},
		{"made on a Pi 4, for itself", "linux", "arm", "7", "0", ""},
		{"a laptop", "linux", "amd64", "", "0", ""},
		{"a Mac", "darwin", "arm64", "", "0", ""},
		{"needs a C library", "linux", "arm64", "", "1", ""},
	} {
		build := []debug.BuildSetting{{Key: "GOOS", Value: tt.goos}, {Key: "GOARCH", Value: tt.goarch}, {Key: "GOARM", Value: tt.goarm}, {Key: "CGO_ENABLED", Value: tt.cgo}}
		for _, arch := range []rootfs.Arch{rootfs.ARMHF, rootfs.ARM64} {
			if got := runsOn(arch, build); got != (arch == tt.want) {
				t.Errorf("%s: runs on %s is %t", tt.name, arch, got)
			}
		}
	}
}
