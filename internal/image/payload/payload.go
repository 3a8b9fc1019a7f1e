// Package payload holds our programs, built for the Pi: they go into every image.
// Release builds carry them for both architectures of Raspberry Pi OS. A build without
// them that runs on a Pi takes the programs installed there.
package payload

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime/debug"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/rootfs"
	"github.com/klauspost/compress/zstd"
)

// Programs returns the programs for an architecture, by where they are on a Pi.
func Programs(arch rootfs.Arch) (map[string][]byte, error) {
	all := map[string][]byte{}
	for _, name := range []string{node.Program, node.ReconfigPath} {
		program, err := program(name, arch)
		if err != nil {
			return nil, err
		}
		all[name] = program
	}
	return all, nil
}

// USBRoot returns the program for an architecture that a node without a card starts
// first.
func USBRoot(arch rootfs.Arch) ([]byte, error) { return program(node.USBRootPath, arch) }

func program(name string, arch rootfs.Arch) ([]byte, error) {
	program, err := read(name, arch)
	if err != nil {
		return nil, fmt.Errorf("this clusterctrl was built without %s for the Pi (%s), and %w: build it with \"make\"", path.Base(name), arch, err)
	}
	return program, nil
}

// Archs returns the architectures whose programs this program holds.
func Archs() []rootfs.Arch {
	archs := []rootfs.Arch{}
	for _, arch := range []rootfs.Arch{rootfs.ARMHF, rootfs.ARM64} {
		if _, err := fs.Stat(programs, packed(node.Program, arch)); err == nil {
			archs = append(archs, arch)
		}
	}
	return archs
}

// packed returns the name of an embedded program.
func packed(name string, arch rootfs.Arch) string {
	return "bin/" + path.Base(name) + "-" + string(arch) + ".zst"
}

func read(name string, arch rootfs.Arch) ([]byte, error) {
	program, err := fs.ReadFile(programs, packed(name, arch))
	if err == nil {
		return unpack(program)
	}
	if info, ok := debug.ReadBuildInfo(); !ok || !runsOn(arch, info.Settings) {
		return nil, errors.New("this is no such Pi")
	}
	if name == node.Program {
		name = "/proc/self/exe"
	}
	return os.ReadFile(name)
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
