package nbd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrProtocol is wrapped by errors about a client that does not speak the protocol.
var ErrProtocol = errors.New("not the network block device protocol")

// errEnded says that a client ended the handshake in good order.
var errEnded = errors.New("the client asked for no disk")

// A handshake agrees with a client on an export.
type handshake struct {
	in  *bufio.Reader
	out io.Writer
	// find returns the disk of a name, which is empty for the default one, or
	// false if this client may have none of that name.
	find func(name string) (Disk, bool)
	// list names the disks that the client may have.
	list func() []string

	noZeroes   bool
	structured bool // replies
}

// run returns the disk that the client chose.
func (h *handshake) run() (Disk, error) {
	if err := h.send(uint64(initMagic), uint64(optionMagic), uint16(fixedNewstyle|noZeroes)); err != nil {
		return nil, err
	}
	var flags uint32
	if err := binary.Read(h.in, binary.BigEndian, &flags); err != nil {
		return nil, err
	}
	if flags&^(fixedNewstyle|noZeroes) != 0 || flags&fixedNewstyle == 0 {
		return nil, fmt.Errorf("%w: flags %#x of a client", ErrProtocol, flags)
	}
	h.noZeroes = flags&noZeroes != 0
	for {
		var o optionHeader
		if err := binary.Read(h.in, binary.BigEndian, &o); err != nil {
			return nil, err
		}
		if o.Magic != optionMagic {
			return nil, fmt.Errorf("%w: an option begins with %#x", ErrProtocol, o.Magic)
		}
		if o.Length > maxOption {
			if _, err := io.CopyN(io.Discard, h.in, int64(o.Length)); err != nil {
				return nil, err
			}
			if err := h.reply(o.Option, repErrTooBig, nil); err != nil {
				return nil, err
			}
			continue
		}
		data := make([]byte, o.Length)
		if _, err := io.ReadFull(h.in, data); err != nil {
			return nil, err
		}
		if disk, err := h.option(o.Option, data); disk != nil || err != nil {
			return disk, err
		}
	}
}

// option answers an option. It returns a disk if the handshake is over.
func (h *handshake) option(option uint32, data []byte) (Disk, error) {
	switch option {
	case optExportName:
		return h.exportName(string(data))
	case optAbort:
		return nil, errors.Join(errEnded, h.reply(option, repACK, nil))
	case optList:
		if len(data) != 0 {
			return nil, h.reply(option, repErrInvalid, nil)
		}
		for _, name := range h.list() {
			item := append(binary.BigEndian.AppendUint32(nil, uint32(len(name))), name...)
			if err := h.reply(option, repServer, item); err != nil {
				return nil, err
			}
		}
		return nil, h.reply(option, repACK, nil)
	case optInfo, optGo:
		disk, err := h.info(option, data)
		if option == optInfo {
			disk = nil
		}
		return disk, err
	case optStructuredReply:
		if len(data) != 0 {
			return nil, h.reply(option, repErrInvalid, nil)
		}
		h.structured = true
		return nil, h.reply(option, repACK, nil)
	}
	return nil, h.reply(option, repErrUnsup, nil)
}

// exportName is the oldest way to choose a disk, which has no way to refuse one.
func (h *handshake) exportName(name string) (Disk, error) {
	disk, ok := h.find(name)
	if !ok {
		return nil, fmt.Errorf("no disk %.64q for this client", name)
	}
	if err := h.send(uint64(disk.Size()), uint16(exportFlags)); err != nil {
		return nil, err
	}
	if !h.noZeroes {
		return disk, h.send(make([]byte, 124))
	}
	return disk, nil
}

// info describes a disk: a name with its length, then what the client wants to
// hear of, which it hears in any case.
func (h *handshake) info(option uint32, data []byte) (Disk, error) {
	if len(data) < 6 {
		return nil, h.reply(option, repErrInvalid, nil)
	}
	length := int64(binary.BigEndian.Uint32(data))
	if length+6 > int64(len(data)) {
		return nil, h.reply(option, repErrInvalid, nil)
	}
	name, rest := string(data[4:4+length]), data[4+length:]
	if wishes := int(binary.BigEndian.Uint16(rest)); len(rest) != 2+2*wishes {
		return nil, h.reply(option, repErrInvalid, nil)
	}
	disk, ok := h.find(name)
	if !ok {
		return nil, h.reply(option, repErrUnknown, nil)
	}
	export := binary.BigEndian.AppendUint16(nil, infoExport)
	export = binary.BigEndian.AppendUint64(export, uint64(disk.Size()))
	export = binary.BigEndian.AppendUint16(export, exportFlags)
	sizes := binary.BigEndian.AppendUint16(nil, infoBlockSize)
	for _, size := range []uint32{1, 4096, maxRequest} { // least, best, most
		sizes = binary.BigEndian.AppendUint32(sizes, size)
	}
	for _, data := range [][]byte{export, sizes} {
		if err := h.reply(option, repInfo, data); err != nil {
			return nil, err
		}
	}
	return disk, h.reply(option, repACK, nil)
}

func (h *handshake) reply(option, kind uint32, data []byte) error {
	return h.send(optionReply{optionReplyMagic, option, kind, uint32(len(data))}, data)
}

// send writes values in one go, so that a client that waits for them gets one packet.
func (h *handshake) send(values ...any) error {
	var buf []byte
	for _, v := range values {
		var err error
		if buf, err = binary.Append(buf, binary.BigEndian, v); err != nil {
			return err
		}
	}
	_, err := h.out.Write(buf)
	return err
}
