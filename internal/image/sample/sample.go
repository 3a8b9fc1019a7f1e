// Package sample holds a small base image, for trying out a build where there
// is no Raspberry Pi OS image at hand. It is laid out like Raspberry Pi OS Lite
// (Bookworm, arm64) and has the files that a build looks at or changes, but no
// kernel and no programs: what is built from it does not boot.
//
// Partition 1 is FAT32 of 40 MiB, partition 2 ext4 of 84 MiB with 77 MB and
// 8,000 inodes free. make-sample.sh makes it from root/ and boot/.
package sample

import _ "embed"

// Name is the file name of the image, in the form that published ones have.
const Name = "2025-05-13-raspios-bookworm-arm64-lite.img.xz"

// Image is the image, compressed by xz in several blocks, 128 MiB when
// decompressed. It must not be changed.
//
//go:embed sample.img.xz
var Image []byte
