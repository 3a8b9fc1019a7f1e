package diskimage

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// commit makes outputs that hold text and commits them.
func commit(dir string, existing Existing, text string, names ...string) (*Outputs, error) {
	out, err := Create(dir, existing, names...)
	if err != nil {
		return nil, err
	}
	defer out.Abort()
	for _, f := range out.Files {
		if _, err := f.WriteString(text); err != nil {
			return nil, err
		}
	}
	return out, out.Commit()
}

// listing returns the names in dir, and with each what it holds.
func listing(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name()+"="+string(contents(t, filepath.Join(dir, e.Name()))))
	}
	return strings.Join(all, " ")
}

func TestExisting(t *testing.T) {
	for _, tt := range []struct {
		name     string
		existing Existing
		want     string // listing
		kept     []string
		err      error
	}{
		{"refuse", Refuse, "a=old c=old", nil, fs.ErrExist},
		{"replace", Replace, "a=new b=new c=old", nil, nil},
		{"keep", Keep, "a=old b=new c=old", []string{"a"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := commit(dir, Refuse, "old", "a", "c"); err != nil {
				t.Fatal(err)
			}
			out, err := commit(dir, tt.existing, "new", "a", "b")
			if !errors.Is(err, tt.err) {
				t.Errorf("%v, want %v", err, tt.err)
			}
			if out != nil && !slices.Equal(out.Kept, tt.kept) {
				t.Errorf("kept %v, want %v", out.Kept, tt.kept)
			}
			if got := listing(t, dir); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		dir, want string
		names     []string
	}{
		{filepath.Join(dir, "none", "below"), "below: no such directory, and none to make it in; create it or name another", nil},
		{filepath.Join(dir, "new"), "a: two outputs of this name", []string{"a", "a"}},
		{file, "file: not a directory", nil},
		{"/proc", "/proc: ", []string{"a"}}, // nobody can write there, root neither
		{dir, "a: two outputs of this name", []string{"a", "b", "a"}},
		{dir, "file: two outputs of this name", []string{"file", "file"}},
		{dir, "file: file already exists", []string{"file"}},
	} {
		_, err := Create(tt.dir, Refuse, tt.names...)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "clusterctrl-") {
			t.Errorf("Create(%s, %q) = %v; want %s", tt.dir, tt.names, err, tt.want)
		}
	}
	if got := listing(t, dir); got != "file=" {
		t.Errorf("left behind: %s", got)
	}
}

// TestCreateDir makes the directory of the outputs, which goes again without them.
func TestCreateDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	out, err := Create(dir, Refuse, "a")
	if err != nil {
		t.Fatal(err)
	}
	out.Abort()
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory of an aborted output: %v", err)
	}
	for range 2 { // made, then there
		if _, err := commit(dir, Replace, "new", "a"); err != nil {
			t.Fatal(err)
		}
		if got := listing(t, dir); got != "a=new" {
			t.Errorf("got %s, want a=new", got)
		}
	}
}

// TestCommitAllOrNone has somebody else take a name after the outputs were created.
func TestCommitAllOrNone(t *testing.T) {
	dir := t.TempDir()
	out, err := Create(dir, Refuse, "a", "b", "c")
	if err != nil {
		t.Fatal(err)
	}
	out.Sums = map[string]Sum{"a": {}}
	if err := os.WriteFile(filepath.Join(dir, "c"), []byte("other"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := out.Commit(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Commit() = %v, want %v", err, fs.ErrExist)
	}
	if got := listing(t, dir); got != "c=other" {
		t.Errorf("left behind: %s", got)
	}
}

// TestStale: hidden files of a run that has ended are removed. Hidden files of a run
// that goes on stay, and so does every other file.
func TestStale(t *testing.T) {
	dir := t.TempDir()
	live, err := Create(dir, Refuse, "live")
	if err != nil {
		t.Fatal(err)
	}
	defer live.Abort()
	for _, name := range []string{".dead.img.clusterctrl-0123abcd", ".user.clusterctrl-0123abcde", "user.clusterctrl-0123abcd"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := commit(dir, Refuse, "x", "a"); err != nil {
		t.Fatal(err)
	}
	want := ".user.clusterctrl-0123abcde= a=x live=x user.clusterctrl-0123abcd="
	if _, err := live.Files[0].WriteString("x"); err != nil {
		t.Fatal(err)
	}
	if err := live.Commit(); err != nil {
		t.Error(err)
	}
	if got := listing(t, dir); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestConcurrentRuns lets runs fight for the same names: one wins all of them.
func TestConcurrentRuns(t *testing.T) {
	dir := t.TempDir()
	texts := strings.Split("abcdefgh", "")
	errs := make([]error, len(texts))
	var wg sync.WaitGroup
	for i, text := range texts {
		wg.Go(func() { _, errs[i] = commit(dir, Refuse, text, "1", "2", "3") })
	}
	wg.Wait()
	winners := 0
	for i, err := range errs {
		if err == nil {
			winners++
			if got, want := listing(t, dir), "1=x 2=x 3=x"; got != strings.ReplaceAll(want, "x", texts[i]) {
				t.Errorf("%s committed, but %s", texts[i], got)
			}
		} else if !errors.Is(err, fs.ErrExist) {
			t.Error(err)
		}
	}
	if winners != 1 {
		t.Errorf("%d runs won", winners)
	}
}

func TestSetNames(t *testing.T) {
	for _, tt := range []struct {
		name  string
		names []string
		want  string
	}{
		{"as many", []string{"x", "y"}, "x=1 y=2"},
		{"fewer", []string{"x"}, "x=1"},
		{"more", []string{"x", "y", "z"}, "x=1 y=2 z="},
		{"none", nil, ""},
		{"same", []string{"a", "b"}, "a=1 b=2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			out, err := Create(dir, Refuse, "a", "b")
			if err != nil {
				t.Fatal(err)
			}
			defer out.Abort()
			out.Files[0].WriteString("1")
			out.Files[1].WriteString("2")
			if err := errors.Join(out.SetNames(tt.names...), out.Commit()); err != nil {
				t.Fatal(err)
			}
			if got := listing(t, dir); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// endless never ends: it cancels the context with its second read, then blocks.
type endless struct {
	cancel context.CancelFunc
	reads  int
}

func (r *endless) Read(p []byte) (int, error) {
	if r.reads++; r.reads == 3 {
		r.cancel()
		select {}
	}
	return len(p), nil
}

func TestCancel(t *testing.T) {
	t.Run("pipe that blocks", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		in, err := Open(Stdin, &endless{cancel: cancel})
		if err != nil {
			t.Fatal(err)
		}
		cancelled(t, func(out *Output) error {
			_, err := in.Decode(ctx, []*os.File{out.File}, Sparse, nil)
			return err
		})
	})
	for _, tt := range packings {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			in, err := Open(pack(t, sample(2<<20), tt.suffix, tt.command...), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			cancelled(t, func(out *Output) error {
				_, err := in.Decode(ctx, []*os.File{out.File}, Sparse, canceller(cancel))
				return err
			})
		})
	}
	t.Run("copy", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		src, err := os.Open(pack(t, sample(1<<20), ""))
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		cancelled(t, func(out *Output) error {
			return CopyRange(ctx, out.File, 0, src, 0, 1<<20)
		})
		if _, err := HashPatched(ctx, src, []Patch{{}}, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("HashPatched() = %v", err)
		}
	})
}

// A canceller cancels when progress is made.
type canceller context.CancelFunc

func (c canceller) Write(p []byte) (int, error) {
	c()
	return len(p), nil
}

func cancelled(t *testing.T, do func(*Output) error) {
	t.Helper()
	dir := t.TempDir()
	out, err := Create(dir, Refuse, "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := do(out.Files[0]); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	out.Abort()
	mustBeEmpty(t, dir)
}
