package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestRemoveOwn leaves alone the manifest of another server, which has replaced the file.
func TestRemoveOwn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "manifest")
	if err := removeOwn(file, []byte("mine")); err != nil {
		t.Errorf("a file that the user removed: %v", err)
	}
	for text, stays := range map[string]bool{"mine": false, "another's": true} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := removeOwn(file, []byte("mine")); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) == stays {
			t.Errorf("%s: %v", text, err)
		}
	}
}
