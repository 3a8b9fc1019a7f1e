package board

import (
	"fmt"
	"strings"
	"testing"

	"clusterctrl/internal/lab/usb"
)

// A host speaks with a board as Linux's driver does.
type host struct {
	t *testing.T
	d usb.Device
}

// send is one message of the driver's and its question whether that was answered.
func (h host) send(s usb.Setup, out []byte) (in []byte, ok bool) {
	h.t.Helper()
	in, err := h.d.Control(h.t.Context(), s, out)
	if err != nil {
		h.t.Fatalf("%+v: %v", s, err)
	}
	answer, err := h.d.Control(h.t.Context(), usb.Setup{Type: 0xc1, Request: 3, Length: 1}, nil)
	if err != nil || len(answer) != 1 || answer[0] != 1 && answer[0] != 2 {
		h.t.Fatalf("status of a message: % x, %v", answer, err)
	}
	return in, answer[0] == 1
}

// write writes to registers, from one on.
func (h host) write(values ...byte) (ok bool) {
	h.t.Helper()
	_, ok = h.send(usb.Setup{Type: 0x41, Request: 4 | 1 | 2, Index: 0x20, Length: uint16(len(values))}, values)
	return ok
}

// read reads registers, from one on, in a transaction of two messages.
func (h host) read(register byte, n int) string {
	h.t.Helper()
	if _, ok := h.send(usb.Setup{Type: 0x41, Request: 4 | 1, Index: 0x20, Length: 1}, []byte{register}); !ok {
		return "refused"
	}
	in, ok := h.send(usb.Setup{Type: 0xc1, Request: 4 | 2, Value: 1, Index: 0x20, Length: uint16(n)}, nil)
	if !ok || len(in) != n {
		return "refused"
	}
	return fmt.Sprintf("% x", in)
}

// do runs a script: "w 0c 01" writes 01 to register 0c, "r 0e 00" wants to read 00
// there, and further bytes are for the registers behind; "refused" is wanted to be
// refused.
func (h host) do(script string) {
	h.t.Helper()
	for line := range strings.Lines(script) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		var b []byte
		refused := words[len(words)-1] == "refused"
		for _, word := range words[1:] {
			var value byte
			if n, _ := fmt.Sscanf(word, "%x", &value); n == 1 && len(word) == 2 {
				b = append(b, value)
			}
		}
		if words[0] == "w" {
			if h.write(b...) == refused {
				h.t.Errorf("%s: refused: %v", strings.TrimSpace(line), !refused)
			}
			continue
		}
		want := strings.Join(words[2:], " ")
		if got := h.read(b[0], max(len(b)-1, 1)); got != want {
			h.t.Errorf("register %02x: %s, want %s", b[0], got, want)
		}
	}
}

// written are the entries of a journal, one a line.
func written(j *Journal) string {
	var text strings.Builder
	for _, w := range j.Take() {
		fmt.Fprintln(&text, w)
	}
	return text.String()
}

// TestBus has the driver find out what the bus can do, and call chips that are there
// and one that is not.
func TestBus(t *testing.T) {
	f := &Firmware{Kind: DA}
	b := f.Device()
	h := host{t, b}
	can, err := b.Control(t.Context(), usb.Setup{Type: 0xc1, Request: 1, Length: 4}, nil)
	if got := fmt.Sprintf("% x", can); got != "09 00 ff 0e" || err != nil {
		t.Errorf("capabilities: %s, %v", got, err)
	}
	if _, ok := h.send(usb.Setup{Type: 0x41, Request: 7, Index: 0x21, Length: 1}, []byte{0}); ok {
		t.Error("a chip answers that is not there")
	}
	for _, s := range []usb.Setup{{Type: 0xc1, Request: 8}, {Type: 0xc0, Request: 1}, {Type: 0x41, Request: 1}} {
		if in, err := b.Control(t.Context(), s, nil); err != usb.ErrStall {
			t.Errorf("%+v: % x, %v; want a stall", s, in, err)
		}
	}
	if s := b.Descriptors().Device; s.Vendor != 0x3171 || s.Product != 0x0011 {
		t.Errorf("a DA is %04x:%04x", s.Vendor, s.Product)
	}
}

// TestAnswer has no message answered from the third on: a NAK for each.
func TestAnswer(t *testing.T) {
	var asked []string
	f := &Firmware{Kind: PHAT}
	b := f.Device()
	b.Answer = func(m Message) bool {
		asked = append(asked, fmt.Sprintf("%d %02x %t % x", m.Number, m.Address, m.Read, m.Data))
		return m.Number < 2
	}
	host{t, b}.do(`
		r 04 02
		w 0c 01 refused
		r 04 refused`)
	want := "0 20 false 04\n1 20 true \n2 20 false 0c 01\n3 20 false 04"
	if got := strings.Join(asked, "\n"); got != want {
		t.Errorf("asked for messages\n%s\nwant\n%s", got, want)
	}
}
