package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// measureUnpack compares decompression, to a sparse file and alone.
func measureUnpack(ctx context.Context, s *site) error {
	const ours, one, two = "ours", "xz -dc", "xz -T2 -dc"
	for _, c := range []contest{
		{"unpack to a sparse file, on " + s.title, []entry{
			{ours, `"$BENCH" unpack "$BASE" image`},
			{one, `xz -dc "$BASE" >image`},
			{two, `xz -T2 -dc "$BASE" >image`},
		}, []goal{faster(ours, one, 1.25), faster(ours, two, 1)}},
		{"unpack to nothing", []entry{
			{ours, `"$BENCH" unpack "$BASE"`},
			{one, `xz -dc "$BASE" >/dev/null`},
			{two, `xz -T2 -dc "$BASE" >/dev/null`},
		}, []goal{faster(ours, one, 1.25), faster(ours, two, 1)}},
		{"unpack from a pipe to nothing", []entry{
			{ours, `cat "$BASE" | "$BENCH" unpack`},
			{one, `cat "$BASE" | xz -dc >/dev/null`},
		}, []goal{faster(ours, one, 1)}},
	} {
		if err := s.hold(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// copyBase is how to do by hand what "clusterctrl build" does, but for what it
// changes in the controller's root.
const copyBase = `xz -dc "$BASE" >base.img
for role in cbridge cnat p1 p2 p3 p4; do
	cp base.img $role.img
	mcopy -i base.img@@$BOOT ::cmdline.txt - | sed "s|$| init=/usr/sbin/reconfig-clusterctrl $role|" |
		mcopy -o -i $role.img@@$BOOT - ::cmdline.txt
done
sync -f .`

// measureBuild compares making the images of a cluster, and tells the memory.
func measureBuild(ctx context.Context, s *site) error {
	const ours, sums, theirs = "build", "build --sums", "xz -dc, cp, mcopy, sync"
	memory := 100e6 + 2*s.base.maxBlock
	return s.hold(ctx, contest{"base.img.xz to controller, NAT and 4 nodes, on " + s.title, []entry{
		{ours, `"$CLUSTERCTRL" build "$BASE" --nodes 4 -q; sync -f .`},
		{sums, `"$CLUSTERCTRL" build "$BASE" --nodes 4 -q --sums; sync -f .`},
		{theirs, copyBase},
	}, []goal{faster(ours, theirs, 2), faster(sums, theirs, 1.5), inMemory(ours, memory), inMemory(sums, memory)}})
}

// cloneAll is how to make the images of nodes by hand, from image.
const cloneAll = `mcopy -n -i ../%[1]s@@$BOOT ::cmdline.txt ../cmdline.txt
for n in $(seq 252); do
	cp --reflink=always ../%[1]s p$n.img
	sed "s|$| init=/usr/sbin/reconfig-clusterctrl p$n|" ../cmdline.txt | mcopy -o -i p$n.img@@$BOOT - ::cmdline.txt
done
sync -f .`

// measureNodes compares making as many nodes as there can be, out of an image
// that is there, where files share blocks.
func measureNodes(ctx context.Context, s *site) error {
	const ours, theirs, same = "nodes", "cp --reflink, mcopy of what xz -dc wrote", "cp --reflink, mcopy of our image"
	size, err := s.makeController(ctx)
	if err != nil {
		return err
	}
	if err := s.keep(ctx, `xz -dc "$BASE" >../plain.img`); err != nil {
		return err
	}
	return s.hold(ctx, contest{"252 nodes of a controller's image, on " + s.title, []entry{
		{ours, `"$CLUSTERCTRL" build ../controller.img -o . --nodes 252 -q; sync -f .`},
		{theirs, fmt.Sprintf(cloneAll, "plain.img")},
		{same, fmt.Sprintf(cloneAll, "controller.img")},
	}, []goal{within(ours, 500*time.Millisecond), onlyMore(ours, 1, size), faster(ours, theirs, 1)}})
}

// measureCopies compares plain copies, where files do not share blocks.
func measureCopies(ctx context.Context, s *site) error {
	const ours, theirs = "nodes", "cp, sync"
	if _, err := s.makeController(ctx); err != nil {
		return err
	}
	return s.hold(ctx, contest{"4 nodes of a controller's image, on " + s.title, []entry{
		{ours, `"$CLUSTERCTRL" build ../controller.img -o . --nodes 4 -q; sync -f .`},
		{theirs, `for n in 1 2 3 4; do cp ../controller.img p$n.img; done; sync -f .`},
	}, []goal{faster(ours, theirs, 1)}})
}

// makeController makes a controller's image for others to be copied from and
// tells how much disk it takes, in bytes.
func (s *site) makeController(ctx context.Context) (int64, error) {
	const script = `"$CLUSTERCTRL" build "$BASE" --nodes 0 --no-nat -q; mv *-CBRIDGE.img ../controller.img`
	if err := s.keep(ctx, script); err != nil {
		return 0, err
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(s.dir, "controller.img"), &st); err != nil {
		return 0, fmt.Errorf("controller.img: %w", err)
	}
	return st.Blocks * 512, nil
}

// keep runs a script, not timed, whose results are there until the site is closed.
func (s *site) keep(ctx context.Context, script string) error {
	if err := s.clear(); err != nil {
		return err
	}
	_, err := s.time(ctx, script+"; sync -f .")
	return err
}
