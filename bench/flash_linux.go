package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cardSpeed is what a card writes and reads in a second, in bytes: that of the
// Video Speed Class 30.
const cardSpeed = 30e6

// cards are loop devices that are as slow as cards.
type cards struct {
	paths   []string
	prelude string // of scripts that use them
	group   string // where they are slowed; empty for the root
}

// measureFlash compares writing cards, and finding out whether they are good.
func measureFlash(ctx context.Context, s *site) error {
	size, err := s.makeController(ctx)
	if err != nil {
		return err
	}
	if err := s.keep(ctx, `bmaptool -q create -o ../controller.bmap ../controller.img`); err != nil {
		return err
	}
	var written int64
	if written, err = s.written(ctx); err != nil {
		return err
	}
	c, err := s.insertCards(ctx, 4)
	if err != nil {
		return errors.Join(err, c.remove())
	}
	fmt.Printf("\ncards that write and read %.0f MB/s; of an image of %d MB on the disk, %d MB are written\n", cardSpeed/1e6, size/1e6, written/1e6)
	return errors.Join(s.holdCards(ctx, c, written), c.remove())
}

// dd writes an image to cards at the same time and compares them with it. It waits
// for each, so that a failure is not lost.
const dd = `pids=; for card in %[2]s; do
	(dd if=%[1]s of=$card bs=4M oflag=direct conv=fsync,nocreat status=none
	cmp -n "$(stat -c %%s %[1]s)" %[1]s <(dd if=$card bs=4M iflag=direct status=none)) & pids="$pids $!"
done; for pid in $pids; do wait $pid; done`

const bmaptool = `pids=; for card in %[1]s; do
	bmaptool -q copy --bmap ../controller.bmap ../controller.img $card & pids="$pids $!"
done; for pid in $pids; do wait $pid; done`

func (s *site) holdCards(ctx context.Context, c cards, written int64) error {
	const ours, theirs, maps, packed = "flash", "dd, cmp", "bmaptool copy, which reads nothing back", "xz -T2, dd, cmp"
	limit := time.Duration(2 * float64(written) / cardSpeed * float64(time.Second)) // there and back
	for _, n := range []int{1, len(c.paths)} {
		var targets []string
		for i, path := range c.paths[:n] {
			targets = append(targets, fmt.Sprintf("p%d=%s", i+1, path))
		}
		all := strings.Join(c.paths[:n], " ")
		flash := fmt.Sprintf(`"$CLUSTERCTRL" flash %%s %s --yes --any-disk --max-size 4096G -q`, strings.Join(targets, " "))
		contests := []contest{{fmt.Sprintf("a controller's image to %d cards", n), []entry{
			{ours, c.prelude + fmt.Sprintf(flash, "../controller.img")},
			{theirs, c.prelude + fmt.Sprintf(dd, "../controller.img", all)},
			{maps, c.prelude + fmt.Sprintf(bmaptool, all)},
		}, []goal{faster(ours, theirs, 1.5), within(ours, limit*105/100)}}}
		if n > 1 {
			contests = append(contests, contest{fmt.Sprintf("base.img.xz to %d cards", n), []entry{
				{ours, c.prelude + fmt.Sprintf(flash, `"$BASE"`)},
				{packed, `xz -T2 -dc "$BASE" >base.img;` + c.prelude + fmt.Sprintf(dd, "base.img", all)},
			}, []goal{faster(ours, packed, 1.5), inMemory(ours, 100e6+2*s.base.maxBlock+int64(n)*8<<20)}})
		}
		for _, contest := range contests {
			if err := s.hold(ctx, contest); err != nil {
				return err
			}
		}
	}
	return nil
}

// written returns how many bytes of the controller's image go to a card.
func (s *site) written(ctx context.Context) (int64, error) {
	cmd := exec.CommandContext(ctx, s.program, "flash", "--file", "--yes", "--json", "../controller.img", "p1=probe.img")
	cmd.Dir = s.out
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("flash --file: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var last struct{ Result struct{ Written int64 } }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		return 0, fmt.Errorf("flash --json: %w", err)
	}
	return last.Result.Written, nil
}

// insertCards makes so many cards, each a little larger than the base.
func (s *site) insertCards(ctx context.Context, n int) (c cards, err error) {
	for i := range n {
		file := filepath.Join(s.dir, fmt.Sprintf("card%d", i))
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			return c, err
		}
		if err := os.Truncate(file, s.base.size+64<<20); err != nil {
			return c, err
		}
		out, err := exec.CommandContext(ctx, "losetup", "--find", "--show", "--direct-io=on", file).Output()
		if err != nil {
			return c, fmt.Errorf("losetup: %w", err)
		}
		c.paths = append(c.paths, strings.TrimSpace(string(out)))
	}
	return c, c.slow()
}

// Where cgroups of version 1 have the limits of all that is in no group, and those of
// version 2 their groups.
const (
	first  = "/sys/fs/cgroup/blkio/blkio.throttle."
	second = "/sys/fs/cgroup"
)

// slow has the kernel hold back what is read from and written to the cards: in
// the root group of cgroups of version 1, or in a group of version 2 that scripts join.
func (c *cards) slow() error {
	if _, err := os.Stat(first + "write_bps_device"); err != nil {
		c.group = filepath.Join(second, "clusterctrl-bench")
		c.prelude = fmt.Sprintf("echo $$ >%s/cgroup.procs;", c.group)
		if err := os.WriteFile(filepath.Join(second, "cgroup.subtree_control"), []byte("+io"), 0); err != nil {
			return err
		}
		if err := os.Mkdir(c.group, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return c.limit(fmt.Sprintf("%.0f", cardSpeed))
}

// limit sets what the cards write and read in a second, "0" for no limit.
func (c cards) limit(bytes string) error {
	for _, path := range c.paths {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		number := fmt.Sprintf("%d:%d ", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		limits := map[string]string{first + "read_bps_device": number + bytes, first + "write_bps_device": number + bytes}
		if c.group != "" {
			limits = map[string]string{filepath.Join(c.group, "io.max"): number + "rbps=" + bytes + " wbps=" + bytes}
		}
		for file, limit := range limits {
			if err := os.WriteFile(file, []byte(limit), 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove takes the cards out, and the limits with them.
func (c cards) remove() error {
	var errs []error
	if c.group == "" {
		errs = append(errs, c.limit("0"))
	} else {
		errs = append(errs, os.Remove(c.group)) // and all in it
	}
	for _, path := range c.paths {
		errs = append(errs, exec.Command("losetup", "--detach", path).Run())
	}
	return errors.Join(errs...)
}
