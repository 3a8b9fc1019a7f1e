package lab

import (
	"encoding/json"
	"fmt"
	"io"
)

// A monitor is QEMU's own control channel. It speaks QMP: an object a line,
// https://www.qemu.org/docs/master/interop/qmp-spec.html.
type monitor struct {
	io.Closer
	out *json.Encoder
	in  *json.Decoder
}

func newMonitor(conn io.ReadWriteCloser) *monitor {
	return &monitor{conn, json.NewEncoder(conn), json.NewDecoder(conn)}
}

// A message is any that QEMU sends.
type message struct {
	Event string
	Data  struct{ Reason string }
	Error *struct{ Desc string }
	QMP   *struct{} // the greeting
}

// start lets a machine run that was started in a stopped state, so that no event is
// missed.
func (m *monitor) start() error {
	var greeting message
	if err := m.in.Decode(&greeting); err != nil {
		return err
	}
	if greeting.QMP == nil {
		return fmt.Errorf("QEMU's monitor sent %+v, want a greeting", greeting)
	}
	for _, command := range []string{"qmp_capabilities", "cont"} {
		if err := m.execute(command); err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
	}
	return nil
}

func (m *monitor) execute(command string) error {
	if err := m.out.Encode(map[string]string{"execute": command}); err != nil {
		return err
	}
	for {
		var answer message
		if err := m.in.Decode(&answer); err != nil {
			return err
		}
		switch {
		case answer.Error != nil:
			return fmt.Errorf("QEMU says %q", answer.Error.Desc)
		case answer.Event == "":
			return nil
		}
	}
}

// outcome reads events until QEMU is gone. It returns how the guest ended, or zero if
// QEMU ended for another reason.
func (m *monitor) outcome() Outcome {
	var how Outcome
	for {
		var event message
		if err := m.in.Decode(&event); err != nil {
			return how
		}
		if event.Event != "SHUTDOWN" {
			continue
		}
		switch event.Data.Reason {
		case "guest-reset":
			how = Restarted
		case "guest-shutdown":
			how = PoweredOff
		}
	}
}
