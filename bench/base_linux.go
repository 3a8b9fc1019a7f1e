package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"

	"clusterctrl/internal/format/mbr"
	"clusterctrl/internal/format/xz"
)

// A base is an image to start from, compressed in several blocks.
type base struct {
	name         string
	packed, size int64 // in bytes
	blocks       int
	maxBlock     int64 // size of the largest, unpacked
	boot         int64 // where the boot partition starts
}

func (b base) String() string {
	return fmt.Sprintf("%s: %d MB in %d blocks, %d MB unpacked", b.name, b.packed/1e6, b.blocks, b.size/1e6)
}

// open makes the image, if it is not there, and says what it is.
func (b *base) open(ctx context.Context) error {
	if _, err := os.Stat(b.name); err != nil {
		fmt.Fprintf(os.Stderr, "making %s, once, which takes a quarter of an hour\n", b.name)
		cmd := exec.CommandContext(ctx, "bench/base.sh", b.name)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		endTogether(cmd) // it cleans up
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("base.sh: %w", err)
		}
	}
	f, err := os.Open(b.name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := b.read(f); err != nil {
		return fmt.Errorf("%s: %w", b.name, err)
	}
	return nil
}

func (b *base) read(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	b.packed = info.Size()
	index, err := xz.OpenIndex(f, b.packed)
	if err != nil {
		return err
	}
	b.size, b.blocks, b.maxBlock = index.Size(), len(index.Blocks()), index.MaxBlock()
	var first [mbr.SectorSize]byte
	if _, err := io.ReadFull(xz.NewReader(f, xz.DefaultMaxDict), first[:]); err != nil {
		return err
	}
	table, err := mbr.Read(bytes.NewReader(first[:]), b.size)
	b.boot = table.Partitions[0].Start
	return err
}
