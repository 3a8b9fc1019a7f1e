// Package payload holds this program, built for the Pi: it goes into every
// image. Release builds carry it for both architectures of Raspberry Pi OS; a
// program without it that runs on a Pi is what is asked for itself.
package payload

import (
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"clusterctrl/internal/rootfs"
	"github.com/klauspost/compress/zstd"
)

// goarch is what the Go toolchain calls an architecture. 32-bit images get the
// program for ARMv6, which the first Pi and the Zero need.
var goarch = map[rootfs.Arch]string{rootfs.ARMHF: "arm", rootfs.ARM64: "arm64"}

// Program returns the program for an architecture.
func Program(arch rootfs.Arch) ([]byte, error) {
	packed, err := fs.ReadFile(programs, "bin/clusterctrl-"+string(arch)+".zst")
	if err == nil {
		return unpack(packed)
	}
	if runtime.GOOS == "linux" && runtime.GOARCH == goarch[arch] {
		return os.ReadFile("/proc/self/exe")
	}
	return nil, fmt.Errorf("this clusterctrl was built without the program for the Pi (%s): build it with \"make\"", arch)
}

func unpack(packed []byte) ([]byte, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.DecodeAll(packed, nil)
}
