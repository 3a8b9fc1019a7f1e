package rpiboot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A Server serves boot files to bare Pis.
type Server struct {
	Dir string // directory of boot files
	// Overlay has each Pi's files looked for in three directories: in Dir/1-1.2.4, where
	// that is the Pi's USB path, then in that of the Pi's chip, such as Dir/2710, then in
	// Dir.
	Overlay bool
	// Places are the directories that hold what nodes boot from, by their paths. A link in
	// Dir that leads below one of these paths is opened by that place.
	Places map[string]Place
	// Firmware is a directory whose bootcode.bin, start*.elf and fixup*.dat are
	// taken before all others. Empty for none.
	Firmware string
	// Once ends the service when the first Pi has all files for its system.
	Once bool
	// Report hears of what happens, from several goroutines at a time.
	Report func(Event)
}

// A Place is a directory with the systems of nodes without cards. Each node can change its
// own system, and no other.
type Place interface {
	// BootFiles opens the boot files that a path below the place leads to.
	BootFiles(below string) (files fs.FS, closeFiles func(), err error)
}

// A Step is how far a Pi has come.
type Step string

// The steps of a Pi, in their order. FileAsked comes at two places: bootcode asks for
// files, and after FirmwareSent, start.elf asks for the files of the system.
const (
	Found        Step = "found"         // a bare Pi is on the bus
	BootcodeSent Step = "bootcode sent" // its ROM has the next program
	FileAsked    Step = "file"          // it asked for a file
	FirmwareSent Step = "firmware sent" // it starts start.elf
	SystemSent   Step = "system sent"   // it starts its kernel
	Retried      Step = "tried again"   // it did not take bootcode, and is offered it again
	Failed       Step = "failed"        // this connection is over
)

// An Event is something that happened to the Pi at a USB path.
type Event struct {
	Path    string
	Step    Step
	Request Request // of FileAsked
	Err     error   // of Retried and Failed
}

const bootcode = "bootcode.bin"

// isFirmware reports whether a file is part of the firmware, not of a system.
func isFirmware(name string) bool {
	return name == bootcode ||
		strings.HasPrefix(name, "start") && strings.HasSuffix(name, ".elf") ||
		strings.HasPrefix(name, "fixup") && strings.HasSuffix(name, ".dat")
}

// firmware is a tree in which only the files of the firmware are seen.
type firmware struct{ fs.FS }

func (f firmware) Open(name string) (fs.File, error) {
	if !isFirmware(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return f.FS.Open(name)
}

// common returns the trees that all Pis share. No node can write to these, so links in
// them may lead anywhere.
func (s *Server) common(chip string) Overlay {
	var trees Overlay
	if s.Firmware != "" {
		trees = append(trees, firmware{os.DirFS(s.Firmware)})
	}
	if s.Overlay && chip != "" {
		trees = append(trees, os.DirFS(filepath.Join(s.Dir, chip)))
	}
	return append(trees, os.DirFS(s.Dir))
}

// files returns the trees with the files of a Pi, and a function that closes them.
func (s *Server) files(usbPath, chip string) (Overlay, func(), error) {
	trees := s.common(chip)
	if !s.Overlay {
		return trees, func() {}, nil
	}
	own, closeOwn, err := s.own(usbPath)
	if errors.Is(err, fs.ErrNotExist) {
		return trees, func() {}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if err := suits(chip, own); err != nil {
		closeOwn()
		return nil, nil, err
	}
	at := len(trees) - 1
	if chip != "" {
		at--
	}
	return append(trees[:at:at], append(Overlay{own}, trees[at:]...)...), closeOwn, nil
}

// suits returns an error if a chip cannot start a system: the first chips have 32 bits.
func suits(chip string, system fs.FS) error {
	there := func(name string) bool {
		_, err := fs.Stat(system, name)
		return err == nil
	}
	if chip == "" && there("kernel8.img") && !there("kernel.img") && !there("kernel7.img") {
		return errors.New("the node's system is for 64-bit Pis only: want a 32-bit system for this Pi")
	}
	return nil
}

// own opens the directory in Dir that is named by a USB path. As a rule that is a link to
// a [Place].
func (s *Server) own(usbPath string) (fs.FS, func(), error) {
	name := filepath.Join(s.Dir, usbPath)
	target, err := os.Readlink(name)
	if err != nil {
		return openOwn(name, ".")
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(s.Dir, target)
	}
	for dir, place := range s.Places {
		if below, ok := strings.CutPrefix(filepath.Clean(target), filepath.Clean(dir)+"/"); ok {
			return place.BootFiles(below)
		}
	}
	return openOwn(target, ".")
}

func openOwn(trusted, name string) (fs.FS, func(), error) {
	dir, err := OpenDir(trusted, name)
	if err != nil {
		return nil, nil, err
	}
	return dir, func() { dir.Close() }, nil
}

// Roots is the path of the directory with the nodes' NFS roots, a [Place]. Nodes cannot
// write to the directory itself, only to their roots in it.
type Roots string

// BootFiles implements [Place].
func (r Roots) BootFiles(below string) (fs.FS, func(), error) {
	root, rest, _ := strings.Cut(below, "/")
	return openOwn(filepath.Join(string(r), root), rest)
}

// serve serves a Pi for one connection. last says whether the Pi has got its system, and
// will not come back.
func (s *Server) serve(usbPath string, pi Pi, transport Transport) (last bool, err error) {
	conn := Conn{Transport: transport, Endpoint: pi.Endpoint}
	if pi.InROM {
		program, err := fs.ReadFile(s.common(pi.Chip), bootcode)
		if err != nil {
			return false, fmt.Errorf("%s: %w", s.Dir, err)
		}
		if err := conn.SendBootcode(program); err != nil {
			return false, err
		}
		s.Report(Event{Path: usbPath, Step: BootcodeSent})
		return false, nil
	}
	files, closeFiles, err := s.files(usbPath, pi.Chip)
	if err != nil {
		return false, err
	}
	defer closeFiles()
	step := SystemSent
	conn.Log = func(r Request) {
		if r.Read && r.Err == nil && isFirmware(r.Name) {
			step = FirmwareSent
		}
		s.Report(Event{Path: usbPath, Step: FileAsked, Request: r})
	}
	if err := conn.ServeFiles(files); err != nil {
		return false, err
	}
	s.Report(Event{Path: usbPath, Step: step})
	return step == SystemSent, nil
}
