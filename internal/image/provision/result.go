package provision

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/recipe"
	"clusterctrl/internal/tree/rootfs"
)

// Schema is the number of the form that [Result] has as JSON. It grows when a field goes
// or changes its meaning.
const Schema = 1

// A Result is what was built.
type Result struct {
	Schema int        `json:"schema"`
	Dir    string     `json:"directory"`
	OS     *rootfs.OS `json:"os"` // nil if all were kept, so that none was looked into
	Files  []File     `json:"files"`
	Kept   []File     `json:"kept"` // those that were there and stay
	remarks
}

// A File is the image of a role, or the archive for nodes without cards.
type File struct {
	Name string         `json:"name"`   // in the directory
	Role string         `json:"role"`   // "usbboot" for the archive
	Size int64          `json:"size"`   // of the file, in bytes
	Sum  *diskimage.Sum `json:"sha256"` // nil unless checksums were asked for
}

// remarks are what the user should know of the images.
type remarks struct {
	Notes    []string `json:"notes"`
	Warnings []string `json:"warnings"` // about what the user hardly meant
}

// newResult says what became of a set whose targets are all: those that it did not keep
// were made.
func newResult(dir string, set *diskimage.Outputs, system *rootfs.OS, r remarks, all []target) (Result, error) {
	result := Result{Schema: Schema, Dir: dir, OS: system, Files: []File{}, Kept: []File{}}
	result.Notes, result.Warnings = append([]string{}, r.Notes...), append([]string{}, r.Warnings...)
	for _, t := range all {
		info, err := os.Stat(filepath.Join(dir, t.name))
		if err != nil {
			return Result{}, err
		}
		file := File{Name: t.name, Role: t.what(), Size: info.Size()}
		if slices.Contains(set.Kept, t.name) {
			result.Kept = append(result.Kept, file)
			continue
		}
		if sum, made := set.Sums[t.name]; made {
			file.Sum = &sum
		}
		result.Files = append(result.Files, file)
	}
	return result, nil
}

// remarksOn says what the user of an image should know: who can log in, and which
// controllers know its gadget.
func remarksOn(image *rootfs.Image, system recipe.System) (r remarks) {
	access := recipe.AccessOf(image, system.OS)
	byConsole := false
	if system.SerialAutologin && system.User == "" {
		if byConsole = recipe.HasUser(image, recipe.DefaultUser); byConsole {
			r.Notes = append(r.Notes, fmt.Sprintf("the serial console logs in %s, the image's own user, unasked", recipe.DefaultUser))
		} else {
			r.Warnings = append(r.Warnings, fmt.Sprintf("--serial-autologin lets nobody in: the image has no user %s: name one with --user", recipe.DefaultUser))
		}
	}
	switch {
	case access.IsOpen():
	case byConsole && access.SSH:
		r.Warnings = append(r.Warnings, "SSH lets nobody in: "+wayIn)
	case byConsole:
	case access.SSH:
		r.Warnings = append(r.Warnings, "nobody can log in, over SSH neither: "+wayIn)
	default:
		r.Warnings = append(r.Warnings, "nobody can log in: "+wayIn)
	}
	if system.Gadget != node.RNDIS {
		r.Notes = append(r.Notes, fmt.Sprintf("gadget %s: a controller whose image was made before May 2026 does not know such nodes; one of this build does", system.Gadget))
	}
	return r
}

// wayIn says which flags let a user in.
const wayIn = "want --user NAME with --password-file FILE, or with --ssh --authorized-keys FILE"
