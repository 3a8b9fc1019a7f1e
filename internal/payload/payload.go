// Package payload holds this program, built for the Pi: it goes into every
// image. Release builds carry it for both architectures of Raspberry Pi OS; a
// program without it that runs on a Pi is what is asked for itself.
package payload

import (
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"

	"clusterctrl/internal/rootfs"
	"github.com/klauspost/compress/zstd"
)

// Program returns the program for an architecture.
func Program(arch rootfs.Arch) ([]byte, error) {
	packed, err := fs.ReadFile(programs, "bin/clusterctrl-"+string(arch)+".zst")
	if err == nil {
		return unpack(packed)
	}
	if info, ok := debug.ReadBuildInfo(); ok && runsOn(arch, info.Settings) {
		return os.ReadFile("/proc/self/exe")
	}
	return nil, fmt.Errorf("this clusterctrl was built without the program for the Pi (%s): build it with \"make\"", arch)
}

// runsOn reports whether a program that was built so runs on every Pi of an
// architecture.
func runsOn(arch rootfs.Arch, build []debug.BuildSetting) bool {
	set := map[string]string{}
	for _, s := range build {
		set[s.Key] = s.Value
	}
	if set["GOOS"] != "linux" || set["CGO_ENABLED"] != "0" {
		return false
	}
	switch arch {
	case rootfs.ARM64:
		return set["GOARCH"] == "arm64"
	case rootfs.ARMHF: // on the first Pi and the Zero, which are ARMv6, too
		return set["GOARCH"] == "arm" && (set["GOARM"] == "5" || set["GOARM"] == "6")
	}
	return false
}

func unpack(packed []byte) ([]byte, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.DecodeAll(packed, nil)
}
