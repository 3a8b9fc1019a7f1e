package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"
)

// A contest is one piece of work done in several ways.
type contest struct {
	title   string
	entries []entry
	goals   []goal
}

// An entry is one way, a script of bash that starts in an empty directory.
type entry struct{ name, script string }

// A cost is what a run took.
type cost struct {
	wall, cpu time.Duration
	memory    int64 // at the peak, of the largest process, in bytes
	disk      int64 // more than before, in bytes
	largest   int64 // size of the largest file that was made, in bytes
}

// hold has every entry run so many times, in turn, and prints what it took.
func (s *site) hold(ctx context.Context, c contest) error {
	costs := map[string][]cost{}
	for range s.rounds {
		for _, e := range c.entries {
			cost, err := s.measure(ctx, e)
			if err != nil {
				return fmt.Errorf("%s: %w", e.name, err)
			}
			costs[e.name] = append(costs[e.name], cost)
		}
	}
	return c.print(costs)
}

func (s *site) measure(ctx context.Context, e entry) (cost, error) {
	if err := s.clear(); err != nil {
		return cost{}, err
	}
	before, err := s.used()
	if err != nil {
		return cost{}, err
	}
	c, err := s.time(ctx, e.script)
	if err != nil {
		return cost{}, err
	}
	after, err := s.used()
	if err != nil {
		return cost{}, err
	}
	c.disk = after - before
	c.largest, err = s.largest()
	if s.verbose {
		fmt.Fprintf(os.Stderr, "%s\n\t%s\n\t%+v\n", e.name, e.script, c)
	}
	return c, err
}

// time runs a script.
func (s *site) time(ctx context.Context, script string) (cost, error) {
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = s.out, s.env
	endTogether(cmd)
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	wall := time.Since(begin)
	if ctx.Err() != nil {
		return cost{}, context.Cause(ctx)
	}
	if err != nil {
		return cost{}, fmt.Errorf("%w: %s", err, out)
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return cost{
		wall:   wall,
		cpu:    cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(),
		memory: usage.Maxrss << 10,
	}, nil
}

// endTogether has all that cmd started end with it, if it is interrupted.
func endTogether(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
}

// print prints the medians of a contest's costs and how they meet the goals.
func (c contest) print(costs map[string][]cost) error {
	fmt.Printf("\n%s\n", c.title)
	medians := map[string]cost{}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "seconds\tfrom\tto\tCPU\tdisk MB\tmemory MB\t\n")
	for _, e := range c.entries {
		m, all := median(costs[e.name])
		medians[e.name] = m
		fmt.Fprintf(w, "%.2f\t%.2f\t%.2f\t%.2f\t%d\t%d\t  %s\n", m.wall.Seconds(), all[0].wall.Seconds(),
			all[len(all)-1].wall.Seconds(), m.cpu.Seconds(), m.disk/1e6, m.memory/1e6, e.name)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, goal := range c.goals {
		fmt.Println(goal(medians))
	}
	return nil
}

// median returns the cost in the middle of costs, by time, and all in order.
func median(costs []cost) (cost, []cost) {
	all := slices.SortedFunc(slices.Values(costs), func(a, b cost) int { return int(a.wall - b.wall) })
	return all[(len(all)-1)/2], all
}

// A goal says how well the medians of a contest's entries meet it.
type goal func(medians map[string]cost) string

// faster is the goal to be so many times as fast as theirs.
func faster(ours, theirs string, times float64) goal {
	return func(m map[string]cost) string {
		ratio := m[theirs].wall.Seconds() / m[ours].wall.Seconds()
		return fmt.Sprintf("%s: %s is %.2f times as fast as %s; goal %.2f", verdict(ratio >= times), ours, ratio, theirs, times)
	}
}

// within is the goal to take less time.
func within(ours string, limit time.Duration) goal {
	return func(m map[string]cost) string {
		wall := m[ours].wall
		return fmt.Sprintf("%s: %s takes %.2f s; goal %.2f s", verdict(wall < limit), ours, wall.Seconds(), limit.Seconds())
	}
}

// onlyMore is the goal to take less than so many percent of size more disk.
func onlyMore(ours string, percent float64, size int64) goal {
	return func(m map[string]cost) string {
		more := 100 * float64(m[ours].disk) / float64(size)
		return fmt.Sprintf("%s: %s takes %.2f %% more disk; goal %.2f %%", verdict(more < percent), ours, more, percent)
	}
}

// inMemory is the goal to take less memory.
func inMemory(ours string, limit int64) goal {
	return func(m map[string]cost) string {
		memory := m[ours].memory
		return fmt.Sprintf("%s: %s takes %d MB of memory; goal %d MB", verdict(memory < limit), ours, memory/1e6, limit/1e6)
	}
}

// lighter is the goal to take so many times less memory than theirs.
func lighter(ours, theirs string, times float64) goal {
	return func(m map[string]cost) string {
		ratio := float64(m[theirs].memory) / float64(m[ours].memory)
		return fmt.Sprintf("%s: %s takes %.1f MB of memory, %s %.2f times as much; goal %.2f", verdict(ratio >= times), ours,
			float64(m[ours].memory)/1e6, theirs, ratio, times)
	}
}

func verdict(ok bool) string {
	if ok {
		return "met"
	}
	return "MISSED"
}
