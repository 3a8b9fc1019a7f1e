package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"clusterctrl/internal/format/condensed"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/recipe"
)

// A cardImage is an image that nodes share, in a partition of the controller's own card:
// "clusterctrl build --with-nodes" has put it there.
type cardImage struct {
	*condensed.Reader
	recipe.NodesImage
	file *os.File
}

func (c *cardImage) Close() error { return c.file.Close() }

func (c *cardImage) base() Base { return Base{Size: c.Reader.Size(), Sum: c.Sum} }

// openCard opens the image on the controller's card. The error wraps [fs.ErrNotExist] if
// there is none.
func (d Dir) openCard() (*cardImage, error) {
	name, err := d.Card, error(nil)
	if name == "" {
		name, err = besideRoot(nodesPartition)
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	c := &cardImage{file: f}
	if err := c.read(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// nodesPartition is the number of the partition on the card.
const nodesPartition = 3

func (c *cardImage) read() error {
	size, err := c.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	c.Reader, err = condensed.Open(c.file, size)
	if errors.Is(err, condensed.ErrNone) {
		return fs.ErrNotExist
	}
	if err != nil {
		return err
	}
	c.NodesImage, err = recipe.ParseNodesImage(c.Note)
	return err
}

// sectors returns the sectors by which the image becomes that of each node.
func (c *cardImage) sectors(ids []node.ID) ([]Sector, error) {
	var all []Sector
	for _, id := range ids {
		data, err := c.Sector(id)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", id, err)
		}
		all = append(all, Sector{Offset: c.Offset, Data: data})
	}
	return all, nil
}

// AddFromCard makes disks of size bytes, or of the default, over the image on the
// controller's card.
func (d Dir) AddFromCard(size int64, ids ...node.ID) error {
	card, err := d.openCard()
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("the controller's card has no image for nodes: want one that was built with --with-nodes, or an image's name")
	}
	if err != nil {
		return err
	}
	defer card.Close()
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := d.without(ids); err != nil {
		return err
	}
	return d.addFromCard(card, size, ids)
}

func (d Dir) addFromCard(card *cardImage, size int64, ids []node.ID) error {
	if size > 0 && card.base().Size > size {
		return fmt.Errorf("the card's image has %d bytes, more than a disk of %d", card.base().Size, size)
	}
	sectors, err := card.sectors(ids)
	if err != nil {
		return err
	}
	return full(d.makeAll(Addition{Size: size}.size(card.base()), card.base(), sectors, ids))
}

// Welcome makes the disks of the nodes that the image on the controller's card is for. It
// does so once, so that a disk that was removed does not come back. Without such an image,
// it does nothing.
func (d Dir) Welcome() error {
	card, err := d.openCard()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer card.Close()
	done := filepath.Join(d.Path, baseDir, fmt.Sprintf("%x.given", card.Sum))
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	var ids []node.ID
	for id := node.MinID; int(id) <= card.Nodes; id++ {
		if _, err := os.Lstat(d.file(id)); errors.Is(err, fs.ErrNotExist) {
			ids = append(ids, id)
		}
	}
	if err := d.addFromCard(card, 0, ids); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(done, nil, 0o644), syncDir(filepath.Dir(done)))
}
