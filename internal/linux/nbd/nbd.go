// Package nbd serves disks over the network block device protocol, in its fixed
// newstyle with simple and structured replies (the NBD project's doc/proto.md), to
// Linux's own client and others.
//
// A client costs at most [ClientMemory] bytes for its data, whatever it asks for,
// and [InFlight] goroutines.
package nbd

import (
	"io"
)

// A Disk is what a client gets. Its methods are called by several goroutines at a
// time. An error that wraps [syscall.ENOSPC] or [syscall.EPERM] is told to the
// client as that, any other as an input/output error.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	Size() int64
	// Flush returns when all writes that have returned are on stable storage.
	Flush() error
	// Trim says that the content of a range is of no use any more. A later read of the
	// range may return any bytes.
	Trim(offset, length int64) error
	// Zero makes a range read as zeros. It may keep the range's space.
	Zero(offset, length int64) error
}

// Limits of one client.
const (
	InFlight     = 8         // requests at a time
	pieceSize    = 128 << 10 // what is read or written at once, in bytes
	ClientMemory = InFlight * pieceSize
	maxRequest   = 32 << 20 // as the protocol has it for clients that do not ask
	maxOption    = 4 << 10  // data of an option; names have at most 4096 bytes
)

// Magic numbers.
const (
	initMagic            = 0x4e42444d41474943 // "NBDMAGIC"
	optionMagic          = 0x49484156454f5054 // "IHAVEOPT"
	optionReplyMagic     = 0x0003e889045565a9
	requestMagic         = 0x25609513
	simpleReplyMagic     = 0x67446698
	structuredReplyMagic = 0x668e33ef
)

// Flags of the handshake, the server's and the client's.
const (
	fixedNewstyle = 1 << 0
	noZeroes      = 1 << 1
)

// Options.
const (
	optExportName      = 1
	optAbort           = 2
	optList            = 3
	optInfo            = 6
	optGo              = 7
	optStructuredReply = 8
)

// Replies to options. Those with the highest bit set are errors.
const (
	repACK        = 1
	repServer     = 2
	repInfo       = 3
	repErrUnsup   = 1<<31 | 1
	repErrInvalid = 1<<31 | 3
	repErrUnknown = 1<<31 | 6
	repErrTooBig  = 1<<31 | 9
)

// What a reply of kind repInfo is about.
const (
	infoExport    = 0
	infoBlockSize = 3
)

// Flags of an export. That clients may use several connections is not said: one that
// connects anew sends again what was not answered, which must not be done on both.
const exportFlags = 1<<0 | // there are flags
	1<<2 | // flush
	1<<3 | // FUA
	1<<5 | // trim
	1<<6 | // write zeroes
	1<<7 // do not fragment

// Commands.
const (
	cmdRead        = 0
	cmdWrite       = 1
	cmdDisconnect  = 2
	cmdFlush       = 3
	cmdTrim        = 4
	cmdWriteZeroes = 6
)

// Flags of commands.
const (
	flagFUA      = 1 << 0
	flagNoHole   = 1 << 1
	flagUnbroken = 1 << 2 // DF: one piece of data in a structured reply
)

// Pieces of a structured reply.
const (
	replyDone  = 1 << 0
	chunkNone  = 0
	chunkData  = 1
	chunkError = 1<<15 | 1
)

// Errors, by their numbers on the wire, which are Linux's.
const (
	errPermission = 1
	errIO         = 5
	errInvalid    = 22
	errNoSpace    = 28
	errOverflow   = 75
)

// An option's header.
type optionHeader struct {
	Magic          uint64
	Option, Length uint32
}

// An optionReply's header.
type optionReply struct {
	Magic                uint64
	Option, Kind, Length uint32
}

// A request's header; the data of a write follows.
type request struct {
	Magic          uint32
	Flags, Command uint16
	Cookie, Offset uint64
	Length         uint32
}

const requestSize = 28

// A simpleReply's header; the data of a read follows.
type simpleReply struct {
	Magic, Error uint32
	Cookie       uint64
}

// A chunk is the header of a piece of a structured reply.
type chunk struct {
	Magic       uint32
	Flags, Kind uint16
	Cookie      uint64
	Length      uint32
}
