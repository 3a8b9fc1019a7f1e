package usb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"clusterctrl/internal/linux/usbip"
)

// A Host is the host of a played device: a program, where no kernel is the host. It has
// one transfer under way at a time, which lasts until the device answers or the stream
// ends.
type Host struct {
	stream io.ReadWriter
	number uint32 // of the last transfer
}

// Connect imports the device at the other end of a stream.
func Connect(stream io.ReadWriter) (*Host, error) {
	if _, err := usbip.Ask(stream); err != nil {
		return nil, err
	}
	return &Host{stream: stream}, nil
}

// errWire is a transfer that failed on the wire.
var errWire = errors.New("USB transfer failed")

// Control does a control transfer. The setup's type says whether data is sent or filled
// with the device's answer, and the setup's length is that of data.
func (h *Host) Control(s Setup, data []byte) (int, error) {
	s.Length = uint16(len(data))
	c := command{In: uint32(s.Type >> 7)}
	if _, err := binary.Encode(c.Setup[:], binary.LittleEndian, s); err != nil {
		return 0, err
	}
	return h.transfer(c, data)
}

// Out sends data to an endpoint.
func (h *Host) Out(endpoint uint8, data []byte) (int, error) {
	return h.transfer(command{Endpoint: uint32(endpoint)}, data)
}

func (h *Host) transfer(c command, data []byte) (int, error) {
	h.number++
	c.Message, c.Number, c.Length = submitMessage, h.number, uint32(len(data))
	message, err := binary.Append(nil, binary.BigEndian, c)
	if err != nil {
		return 0, err
	}
	if c.In == 0 {
		message = append(message, data...)
	}
	if _, err := h.stream.Write(message); err != nil {
		return 0, err
	}
	var r reply
	if err := binary.Read(h.stream, binary.BigEndian, &r); err != nil {
		return 0, err
	}
	switch {
	case r.Status == statusStall:
		return 0, ErrStall
	case r.Status != 0:
		return 0, fmt.Errorf("%w: status %d", errWire, r.Status)
	case c.In == 0:
		return int(r.Length), nil
	}
	return io.ReadFull(h.stream, data[:min(int(r.Length), len(data))])
}
