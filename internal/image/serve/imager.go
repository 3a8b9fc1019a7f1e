package serve

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/rootfs"
)

// A repository is what Raspberry Pi Imager 2 reads by --repo, or in a file that
// is opened with it.
type repository struct {
	Entries []entry `json:"os_list"`
}

// An entry is an image that Imager offers.
type entry struct {
	Name         string        `json:"name"`
	Description  string        `json:"description"`
	Icon         string        `json:"icon"`
	URL          string        `json:"url"`
	DownloadSize int64         `json:"image_download_size"` // in bytes
	ExtractSize  int64         `json:"extract_size"`
	ExtractSum   diskimage.Sum `json:"extract_sha256"`
	ReleaseDate  string        `json:"release_date"`
	Devices      []string      `json:"devices"`
	InitFormat   string        `json:"init_format"`
}

// initFormat has Imager offer no customisation. What it would set up at first boot
// gives each card a host name, which would fight with the role's, and users, keys
// and Wi-Fi are set for all images at once when they are built.
const initFormat = "none"

// devices are the models that run systems of an architecture, as Imager calls
// them. A Zero 2 W counts as a Pi 3.
var devices = map[rootfs.Arch][]string{
	rootfs.ARM64: {"pi3-64bit", "pi4-64bit", "pi5-64bit"},
	rootfs.ARMHF: {"pi1-32bit", "pi2-32bit", "pi3-32bit", "pi4-32bit", "pi5-32bit"},
}

// repository lists the images as they are at an address.
func (s *Site) repository(address string) repository {
	var list repository
	for _, i := range s.images {
		e := entry{
			Name:         "ClusterCTRL " + title(i.Role),
			Description:  fmt.Sprintf("Raspberry Pi OS %s, %s, %s", s.controller.OS.Release, s.controller.OS.Flavour, s.controller.OS.Arch),
			Icon:         address + "/icon.png",
			URL:          address + "/" + i.Name,
			DownloadSize: i.Size,
			ExtractSize:  i.Size,
			ExtractSum:   i.Sum,
			ReleaseDate:  s.released().Format(time.DateOnly),
			Devices:      devices[s.controller.OS.Arch],
			InitFormat:   initFormat,
		}
		if i.Packed != "" {
			e.URL, e.DownloadSize = address+"/"+i.Packed, i.PackedSize
		}
		list.Entries = append(list.Entries, e)
	}
	return list
}

// title names a role for a user who chooses an image.
func title(role node.Role) string {
	switch role {
	case node.CBridge:
		return "controller, bridging (cbridge)"
	case node.CNAT:
		return "controller, routing (cnat)"
	}
	return "node " + role.String()
}

// released is the day of the system's release, or the image's day if that is not known.
func (s *Site) released() time.Time {
	if built := s.controller.OS.Built; !built.IsZero() {
		return built
	}
	return s.images[0].file.source.modified.UTC()
}

// Manifest waits until the site is complete and returns the repository of the
// images at an address, such as http://127.0.0.1:8252, as JSON.
func (s *Site) Manifest(ctx context.Context, address string) ([]byte, error) {
	for _, stage := range []*stage{&s.summed, &s.compress} {
		if err := stage.wait(ctx); err != nil {
			return nil, err
		}
	}
	return json.MarshalIndent(s.repository(address), "", "  ")
}

func (s *Site) serveRepository(w http.ResponseWriter, r *http.Request) {
	text, err := s.Manifest(r.Context(), "http://"+r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(text)
}

//go:embed icon.png
var icon []byte

func serveIcon(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "image/png")
	w.Write(icon)
}
