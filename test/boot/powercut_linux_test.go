package boot_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"clusterctrl/internal/lab"
	"clusterctrl/internal/lab/labtest"
)

// subsets is small where every commit is tested.
var subsets = flag.Int("subsets", 1, "how many `subsets` of the writes between two flushes to lose")

// TestPowerCuts records a first boot in a machine, and cuts the power at each
// flush and with any part of the writes between two flushes done. The next boot
// must lead to the same card in the end, whether it begins anew or had nothing
// left to do. That boot is the real program's and the real ext4's; for some of the
// cuts, it is a machine's too.
func TestPowerCuts(t *testing.T) {
	wholeSystems(t)
	roles, every := []string{"p7"}, 30
	if *all {
		roles, every = append(roles, "cnat"), 5
	}
	for _, role := range roles {
		t.Run(role, func(t *testing.T) {
			c := newCampaign(t, role)
			if err := c.try(cut{}, startCard); err != nil {
				t.Fatalf("in namespaces a card becomes another than in a machine: %v", err)
			}
			c.tryAll("in namespaces", c.cuts(*subsets), startCard)
			var some []cut
			for i, cut := range c.cuts(1) {
				if i%every == every/2 {
					some = append(some, cut)
				}
			}
			c.tryAll("in a machine", some, c.startMachine)
		})
	}
}

// A campaign is many cuts of one recording.
type campaign struct {
	*testing.T
	recording
	want  state         // of every card in the end
	begun *atomic.Int64 // cards that were not finished
}

func newCampaign(t *testing.T, role string) campaign {
	t.Helper()
	r := record(t, role)
	want, err := stateOf(r.after)
	if err != nil {
		t.Fatal(err)
	}
	return campaign{t, r, want, new(atomic.Int64)}
}

func (c campaign) tryAll(where string, cuts []cut, start func(card string) error) {
	c.Helper()
	c.begun.Store(0)
	var failed atomic.Int64
	work := make(chan cut)
	var workers, ready sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		ready.Add(1)
		workers.Go(func() {
			if err := unshareMounts(); err != nil {
				c.Error(err)
			}
			ready.Done()
			for cut := range work {
				if err := c.try(cut, start); err != nil {
					failed.Add(1)
					c.Errorf("%v: %v", cut, err)
				}
			}
		})
	}
	ready.Wait() // before anything is mounted, which the others would have too
	for _, cut := range cuts {
		work <- cut
	}
	close(work)
	workers.Wait()
	c.Logf("%d writes, %d flushes; %s %d cuts tried, %d converged, %d failed; %d began anew",
		len(c.writes), len(c.flushes)-1, where, len(cuts), len(cuts)-int(failed.Load()), failed.Load(), c.begun.Load())
}

// try cuts the power once, and starts the card again if it asks for that.
func (c campaign) try(at cut, start func(card string) error) error {
	dir, err := os.MkdirTemp(c.machine.Dir, "cut-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	card := filepath.Join(dir, "card.img")
	if _, err := output("cp", "--sparse=always", c.machine.Image, card); err != nil {
		return err
	}
	if err := c.apply(at, card); err != nil {
		return err
	}
	line, err := commandLine(card)
	if err != nil {
		return err
	}
	if strings.Contains(line, "reconfig-clusterctrl") {
		c.begun.Add(1)
		if err := start(card); err != nil {
			return err
		}
	}
	got, err := stateOf(card)
	if err != nil {
		return err
	}
	if diff := got.differences(c.want); diff != "" {
		return errors.New(diff)
	}
	_, err = output("e2fsck", "-fn", fmt.Sprintf("%s?offset=%d", card, sampleRoot))
	return err
}

// startCard starts the role that the card's command line asks for.
func startCard(card string) error {
	line, err := commandLine(card)
	if err != nil {
		return err
	}
	_, role, _ := strings.Cut(line, "reconfig-clusterctrl ")
	return startAsPID1(card, role)
}

func (c campaign) startMachine(card string) error {
	line, err := commandLine(card)
	if err != nil {
		return err
	}
	config, software := c.machine, *c.machine.Software
	config.Image, config.InPlace = card, true
	config.Software, software.CommandLine = &software, line
	var console bytes.Buffer
	transcript, ctx := labtest.Listen(c, &console)
	config.Transcript = transcript
	m, err := lab.New(ctx, config)
	if err != nil {
		return err
	}
	defer m.Close()
	b, err := m.Boot(ctx)
	if err != nil {
		return err
	}
	if how, err := b.Wait(); how != lab.Restarted || err != nil {
		return fmt.Errorf("boot ended: %v, %v; want %v\n%s", how, err, lab.Restarted, &console)
	}
	return nil
}
