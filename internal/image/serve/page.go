package serve

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/image/packed"
	"clusterctrl/internal/tree/rootfs"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// A page is what a browser shows of the site.
type page struct {
	Address, Manifest, SumsName string
	OS                          rootfs.OS
	Format                      packed.Format
	Summed                      bool
	Example                     string // name of an image
	Images                      []row
}

// A row tells of an image, in text; what is not known yet is empty.
type row struct{ Title, Name, Size, Packed, PackedSize, Sum string }

// servePage answers at once, with what is known by now.
func (s *Site) servePage(w http.ResponseWriter, r *http.Request) {
	p := page{
		Address: "http://" + r.Host, Manifest: ManifestName, SumsName: diskimage.SumsName,
		OS: s.controller.OS, Format: s.format, Summed: s.summed.succeeded(),
	}
	for _, i := range s.images {
		row := row{Title: title(i.Role), Name: i.Name, Size: megabytes(i.Size), Packed: i.Packed}
		if p.Summed {
			row.Sum = i.Sum.String()
		}
		if s.compress.succeeded() {
			row.PackedSize = megabytes(i.PackedSize)
		}
		p.Images = append(p.Images, row)
		p.Example = i.Name
	}
	var text bytes.Buffer
	if err := pageTemplate.Execute(&text, p); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(text.Bytes())
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f", float64(n)/1e6) }

// succeeded reports whether the work is done.
func (s *stage) succeeded() bool {
	select {
	case <-s.done:
		return s.err == nil
	default:
		return false
	}
}
