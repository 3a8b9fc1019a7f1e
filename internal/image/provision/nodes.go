package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"clusterctrl/internal/format/condensed"
	"clusterctrl/internal/format/mbr"
	"clusterctrl/internal/image/card"
	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/tree/recipe"
)

// typeNodes is that of the partition with the nodes' image: no file system.
const typeNodes = 0xda

// addNodes gives a controller's image a third partition, with the image that its nodes
// are to share: the controller's own as it is so far, condensed. It lies between the two
// others, so that the root stays the last one, whose end the vendor's first boot moves.
// No file system changes: the root's lies further behind.
func (b *build) addNodes(ctx context.Context) error {
	if b.WithNodes == 0 {
		return nil
	}
	disk := b.raw()[0].File
	temp, err := diskimage.Create(b.Dir, diskimage.Replace, "nodes.img")
	if err != nil {
		return err
	}
	defer temp.Abort()
	whole := temp.Files[0].File
	if err := diskimage.CopyRange(ctx, whole, 0, disk, 0, b.size); err != nil {
		return err
	}
	table, err := mbr.Read(whole, b.size)
	if err != nil {
		return err
	}
	boot, root := table.Partitions[0], table.Partitions[1]
	if boot.Start > root.Start || table.Partitions[2].Size+table.Partitions[3].Size > 0 {
		return errors.New("partitions: want a boot partition, then the root, and no others, to have room for the nodes' image")
	}
	image, err := b.nodesImage(whole)
	if err != nil {
		return err
	}
	size := condensed.Size(image.Runs)
	size += -size & (growUnit - 1)
	if err := disk.Truncate(root.Start); err != nil {
		return err
	}
	if err := diskimage.CopyRange(ctx, disk, root.Start+size, whole, root.Start, b.size-root.Start); err != nil {
		return err
	}
	if err := b.condense(ctx, io.NewOffsetWriter(disk, root.Start), image); err != nil {
		return err
	}
	between := mbr.Partition{Type: typeNodes, Start: root.Start, Size: size}
	root.Start += size
	b.size += size
	if err := mbr.Set(disk, b.size, [4]mbr.Partition{boot, root, between}); err != nil {
		return err
	}
	b.Notes = append(b.Notes, b.cardNote(size))
	return nil
}

// nodesImage is the image in a file without what its file systems call free.
func (b *build) nodesImage(whole *os.File) (condensed.Image, error) {
	note, err := recipe.NodesImage{Nodes: b.WithNodes, Offset: b.line.offset, CommandLine: b.line.text}.Encode()
	if err != nil {
		return condensed.Image{}, err
	}
	image := condensed.Image{Content: whole, Size: b.size, Note: note}
	for _, r := range card.Used(io.NewSectionReader(whole, 0, b.size)) {
		first, end := r.Start/condensed.BlockSize, (r.End+condensed.BlockSize-1)/condensed.BlockSize
		image.Runs = append(image.Runs, condensed.Run{First: uint32(first), Count: uint32(end - first)})
	}
	return image, nil
}

func (b *build) condense(ctx context.Context, to io.WriterAt, image condensed.Image) error {
	progress := b.Progress.start("nodes' image", condensed.Size(image.Runs))
	defer progress.Close()
	return condensed.Write(to, image, untilDone{ctx, progress})
}

// untilDone fails once its context is done.
type untilDone struct {
	ctx context.Context
	io.Writer
}

func (u untilDone) Write(p []byte) (int, error) {
	if err := context.Cause(u.ctx); err != nil {
		return 0, err
	}
	return u.Writer.Write(p)
}

// Bytes that a card is asked to have room for, besides the image.
const (
	ownOfNode       = 1 << 30 // what a node writes: its first boot, some packages, logs
	ownOfController = 1 << 30
)

// cardNote says how large a card the image wants, in the sizes that there are.
func (b *build) cardNote(shared int64) string {
	wanted, size := b.size+ownOfController+int64(b.WithNodes)*ownOfNode, int64(4)
	for size*1e9 < wanted {
		size *= 2
	}
	return fmt.Sprintf("the image of %d nodes takes %d MB on the controller's card: with 1 GB for what each node changes, want a card of %d GB", b.WithNodes, shared/1e6, size)
}
