package card

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// An Entry of a journal is a card that was written.
type Entry struct {
	Role    string    `json:"role"`
	Model   string    `json:"model,omitempty"`
	Serial  string    `json:"serial,omitempty"`
	Size    int64     `json:"size"`   // of the card, in bytes
	Image   string    `json:"image"`  // [Digest] of what all roles have in common
	Digest  string    `json:"digest"` // of what was written
	Written time.Time `json:"written"`
}

// A Journal remembers from one day to the next which cards of a cluster were
// written: a file with an [Entry] in JSON a line.
type Journal struct {
	file    *os.File
	image   string
	entries map[string]Entry // by role
}

// OpenJournal opens the journal in a file, or begins one, of cards with an image. It
// refuses a journal about another image. It removes a line that a power cut left
// incomplete.
func OpenJournal(name, image string) (*Journal, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	j := &Journal{f, image, map[string]Entry{}}
	if err := j.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
	}
	return j, nil
}

func (j *Journal) read() error {
	const most = 16 << 20 // bytes; 255 roles take less than 128 KiB
	text, err := io.ReadAll(io.LimitReader(j.file, most+1))
	if err != nil {
		return err
	}
	if len(text) > most {
		return fmt.Errorf("more than %d bytes: want a journal of cards", most)
	}
	whole := bytes.LastIndexByte(text, '\n') + 1
	line := 0
	for text := range bytes.Lines(text[:whole]) {
		line++
		var e Entry
		if err := json.Unmarshal(text, &e); err != nil || e.Role == "" {
			return fmt.Errorf("line %d: no entry of a journal of cards", line)
		}
		if e.Image != j.image {
			return fmt.Errorf("line %d: %s was written with another image: want --journal with another name", line, e.Role)
		}
		j.entries[e.Role] = e
	}
	if _, err := j.file.Seek(int64(whole), io.SeekStart); err != nil {
		return err
	}
	return j.file.Truncate(int64(whole))
}

// Entry returns what the journal says of a role.
func (j *Journal) Entry(role string) (Entry, bool) {
	e, ok := j.entries[role]
	return e, ok
}

// Add notes a card that was written, now.
func (j *Journal) Add(r Result) error {
	e := Entry{
		Role: r.Name, Model: r.Disk.Model, Serial: r.Disk.Serial, Size: r.Disk.Size,
		Image: j.image, Digest: r.Digest, Written: time.Now().UTC().Truncate(time.Second),
	}
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		return err
	}
	j.entries[e.Role] = e
	return j.file.Sync()
}

// Close closes the file.
func (j *Journal) Close() error { return j.file.Close() }
