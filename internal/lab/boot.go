package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"sync"
)

// An Outcome is how a boot ended.
type Outcome uint8

const (
	Restarted  Outcome = iota + 1 // the machine asked to be started again
	PoweredOff                    // it switched itself off, or halted
	PowerCut                      // by [Boot.Cut]
)

func (o Outcome) String() string {
	names := []string{"no end", "restarted", "powered off", "power cut"}
	if int(o) < len(names) {
		return names[o]
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}

// ErrPanic says that the kernel has stopped the machine and will not restart it.
var ErrPanic = errors.New("the kernel panicked")

// A Boot is a machine that is on, until its [Boot.Wait] returns.
type Boot struct {
	*Console
	qemu   *exec.Cmd
	stderr bytes.Buffer
	exited chan struct{} // closed when QEMU is gone
	exit   error         // what QEMU exited with

	mu    sync.Mutex
	how   Outcome
	cause error // why it was stopped from outside

	done chan struct{} // closed when all of the boot is over; then there is
	end  struct {
		how Outcome
		err error
	}
}

// Boot powers the machine on. When ctx ends, the power is cut and Wait returns
// the cause.
func (m *Machine) Boot(ctx context.Context) (*Boot, error) {
	if m.boot.isOn() {
		return nil, errors.New("the machine is on, want it off")
	}
	if m.WriteLog != "" { // QEMU wants the log to exist
		if err := os.WriteFile(m.WriteLog, nil, 0o666); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp(m.dir, "")
	if err != nil {
		return nil, err
	}
	b, err := m.powerOn(ctx, dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	m.boot = b
	return b, nil
}

// powerOn starts QEMU, with a listener to all that it says.
func (m *Machine) powerOn(ctx context.Context, dir string) (*Boot, error) {
	args, err := m.arguments(dir)
	if err != nil {
		return nil, err
	}
	program, err := findQEMU(m.model.qemu)
	if err != nil {
		return nil, err
	}
	listener, err := Listen(m.monitorSocket())
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	b, screen, err := startQEMU(exec.Command(program, args...))
	if err != nil {
		return nil, err
	}
	release := context.AfterFunc(ctx, func() { b.stop(0, context.Cause(ctx)) })
	go func() { // or Accept would wait for a QEMU that is gone
		<-b.exited
		listener.Close()
	}()
	events, err := connect(listener)
	if err != nil {
		b.stop(0, nil)
		<-b.exited
		release()
		_, verdict := b.verdict()
		if !errors.Is(err, net.ErrClosed) {
			verdict = fmt.Errorf("%w; its monitor: %w", verdict, err)
		}
		return nil, errors.Join(verdict, screen.Close())
	}
	go func() {
		lost := b.listen(screen, m.Transcript, events)
		release()
		how, err := b.verdict()
		b.end.how, b.end.err = how, errors.Join(err, lost, screen.Close(), os.RemoveAll(dir))
		close(b.done)
	}()
	return b, nil
}

// connect waits for QEMU's monitor and lets the machine go.
func connect(listener net.Listener) (*monitor, error) {
	conn, err := listener.Accept()
	if err != nil {
		return nil, err
	}
	m := newMonitor(conn)
	if err := m.start(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return m, nil
}

// startQEMU starts a QEMU whose console is its standard input and output.
func startQEMU(qemu *exec.Cmd) (b *Boot, screen *os.File, err error) {
	in, keyboard, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer in.Close()
	screen, out, err := os.Pipe()
	if err != nil {
		return nil, nil, errors.Join(err, keyboard.Close())
	}
	defer out.Close()
	b = &Boot{Console: newConsole(keyboard), qemu: qemu, exited: make(chan struct{}), done: make(chan struct{})}
	qemu.Stdin, qemu.Stdout, qemu.Stderr = in, out, &b.stderr
	exit, err := startTied(qemu)
	if err != nil {
		return nil, nil, errors.Join(err, keyboard.Close(), screen.Close())
	}
	go func() {
		b.exit = <-exit
		keyboard.Close()
		close(b.exited)
	}()
	return b, screen, nil
}

// listen returns when QEMU is gone and all it said was heard, with the error of
// the transcript.
func (b *Boot) listen(screen *os.File, transcript io.Writer, events *monitor) error {
	heard := make(chan struct{})
	go func() {
		if how := events.outcome(); how != 0 {
			b.stop(how, nil)
		}
		events.Close()
		close(heard)
	}()
	lost := b.read(screen, transcript, b.hear)
	<-heard
	<-b.exited
	return lost
}

// lastWords are the last messages of a kernel that has stopped. Not every kernel can
// restart every machine: Debian's kernel cannot restart the raspi machines. A kernel
// with a panic= argument does not print the last of these messages.
var lastWords = []struct {
	said *regexp.Regexp
	how  Outcome
	err  error
}{
	{regexp.MustCompile(stamp + `(reboot: Restarting system|Reboot failed -- )`), Restarted, nil},
	{regexp.MustCompile(stamp + `reboot: (Power down|.*System halted)`), PoweredOff, nil},
	{regexp.MustCompile(stamp + `---\[ end Kernel panic`), 0, ErrPanic},
}

// hear ends the boot when the kernel has said its last words.
func (b *Boot) hear(line string) {
	for _, last := range lastWords {
		if last.said.MatchString(line) {
			b.stop(last.how, last.err)
		}
	}
}

func (b *Boot) isOn() bool {
	if b == nil {
		return false
	}
	select {
	case <-b.done:
		return false
	default:
		return true
	}
}

// stop kills QEMU; only the first reason is kept.
func (b *Boot) stop(how Outcome, cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.how == 0 && b.cause == nil {
		b.how, b.cause = how, cause
	}
	b.qemu.Process.Kill() // that it has gone already is no error
}

// Cut cuts the power and returns what Wait returns: the boot may have ended
// before.
func (b *Boot) Cut() (Outcome, error) {
	b.stop(PowerCut, nil)
	return b.Wait()
}

// Wait waits for the end of the boot and says how it came. A panic of the kernel
// is an error, and so is the end of QEMU itself and of the boot's context.
func (b *Boot) Wait() (Outcome, error) {
	<-b.done
	return b.end.how, b.end.err
}

// verdict says how the boot ended.
func (b *Boot) verdict() (Outcome, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.cause != nil:
		b.Console.mu.Lock()
		defer b.Console.mu.Unlock()
		return 0, b.failure("the machine to go off", b.cause)
	case b.how == 0:
		return 0, b.died()
	}
	return b.how, nil
}

// died returns the error of a QEMU that ended by itself, with what QEMU said.
func (b *Boot) died() error {
	exit := "exit status 0"
	if b.exit != nil {
		exit = b.exit.Error()
	}
	return fmt.Errorf("%s: %s: %s", b.qemu.Path, exit, bytes.TrimSpace(b.stderr.Bytes()))
}
