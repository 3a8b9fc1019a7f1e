package serve

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/node"
)

// TestRepository compares what Imager is told with what it gets.
func TestRepository(t *testing.T) {
	s := open(t, build(t), []node.Role{node.CBridge, node.ID(252).Role()}, "")
	if response, _ := s.get(t, ""); response.StatusCode != http.StatusOK {
		t.Errorf("the page before there are sums: %s", response.Status)
	}
	go s.Sum(context.Background(), "", silent) // the request waits for it
	_, text := s.get(t, ManifestName)
	var got struct {
		List []struct {
			URL     string
			Sum     string   `json:"extract_sha256"`
			Size    int64    `json:"extract_size"`
			Packed  int64    `json:"image_download_size"`
			Init    string   `json:"init_format"`
			Icon    string   `json:"icon"`
			Devices []string `json:"devices"`
		} `json:"os_list"`
	}
	if err := json.Unmarshal(text, &got); err != nil || len(got.List) != 2 {
		t.Fatalf("%s: %v", text, err)
	}
	for i, file := range []string{s.controller, s.sibling("p252")} {
		want, e := readFile(t, file), got.List[i]
		if sum := fmt.Sprintf("%x", sha256.Sum256(want)); e.Sum != sum || e.Size != int64(len(want)) || e.Packed != e.Size || e.Init != "none" {
			t.Errorf("%s: %+v, want SHA-256 %s and %d bytes", file, e, sum, len(want))
		}
		for _, url := range []string{e.URL, e.Icon} {
			if response, _ := s.get(t, strings.TrimPrefix(url, s.address+"/"), "Range", "bytes=0-0"); response.StatusCode >= 300 {
				t.Errorf("%s: %s", url, response.Status)
			}
		}
	}
	_, sums := s.get(t, diskimage.SumsName)
	if want := got.List[0].Sum + "  cbridge.img\n" + got.List[1].Sum + "  p252.img\n"; string(sums) != want {
		t.Errorf("sums are\n%swant\n%s", sums, want)
	}
	if _, page := s.get(t, ""); !bytes.Contains(page, []byte(got.List[1].Sum)) {
		t.Errorf("the page lacks a sum:\n%s", page)
	}
}
