package recipe

import (
	"encoding/json"
	"fmt"

	"clusterctrl/internal/node"
)

// A NodesImage tells how an image that nodes share, which lies on their controller's card,
// becomes that of each of them: by its one sector with cmdline.txt.
type NodesImage struct {
	Nodes       int    `json:"nodes"`        // p1 and so on
	Offset      int64  `json:"offset"`       // of the sector in the image, in bytes
	CommandLine string `json:"command_line"` // in it, of any role
}

// Encode returns the image's note.
func (n NodesImage) Encode() ([]byte, error) { return json.Marshal(n) }

// ParseNodesImage reads what [NodesImage.Encode] wrote.
func ParseNodesImage(note []byte) (NodesImage, error) {
	var n NodesImage
	if err := json.Unmarshal(note, &n); err != nil {
		return NodesImage{}, fmt.Errorf("note of the nodes' image: %w", err)
	}
	if n.Nodes < 1 || n.Nodes > int(node.MaxID) || n.Offset < 0 || n.Offset%SectorSize != 0 {
		return NodesImage{}, fmt.Errorf("note of the nodes' image: %d nodes, a sector at %d: want %d to %d, and a whole sector", n.Nodes, n.Offset, node.MinID, node.MaxID)
	}
	return n, nil
}

// Sector returns the sector that makes the image that of a node. What follows the command
// line is zeros, as a file system leaves the rest of a file's last sector.
func (n NodesImage) Sector(id node.ID) ([SectorSize]byte, error) {
	var sector [SectorSize]byte
	text, err := Rebrand(n.CommandLine, id.Role())
	if err != nil {
		return sector, err
	}
	copy(sector[:], text)
	return sector, nil
}
