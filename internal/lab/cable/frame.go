package cable

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A frame is a message between a machine and its host. Frames say when the plug is in,
// and carry the data of the cable then. Each plugging in starts a new session: frames
// that are still on their way from an earlier session are dropped.
type frame struct {
	session uint32
	kind    kind
	data    []byte
}

type kind uint16

const (
	plugged   kind = iota + 1 // to a machine: the session begins
	unplugged                 // to a machine: it is over
	payload                   // either way
	hungUp                    // from a machine: its kernel has let go of the device
)

const (
	headerSize = 8 // session, kind, size; little-endian
	maxPayload = 1<<16 - 1
)

// errFrame is wrapped by the error about bytes that are no frame.
var errFrame = errors.New("virtual cable")

func readFrame(r io.Reader) (frame, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return frame{}, err
	}
	f := frame{session: binary.LittleEndian.Uint32(h[:]), kind: kind(binary.LittleEndian.Uint16(h[4:]))}
	if f.kind < plugged || f.kind > hungUp {
		return frame{}, fmt.Errorf("%w: message of kind %d: want %d to %d", errFrame, f.kind, plugged, hungUp)
	}
	f.data = make([]byte, binary.LittleEndian.Uint16(h[6:]))
	_, err := io.ReadFull(r, f.data)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return f, err
}

// writeTo writes the frame at once. Its data is at most maxPayload bytes.
func (f frame) writeTo(w io.Writer) error {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, headerSize+len(f.data)), f.session)
	b = binary.LittleEndian.AppendUint16(b, uint16(f.kind))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(f.data)))
	_, err := w.Write(append(b, f.data...))
	return err
}
