package usbip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

func TestSizes(t *testing.T) {
	for _, tt := range []struct {
		message any
		want    int
	}{{header{}, 8}, {request{}, 40}, {record{}, 312}} {
		if got := binary.Size(tt.message); got != tt.want {
			t.Errorf("%T has %d bytes, want %d", tt.message, got, tt.want)
		}
	}
}

// TestImport has the two sides agree on a device.
func TestImport(t *testing.T) {
	ours, theirs := net.Pipe()
	want := Device{1, 2, HighSpeed, 0x3171, 0x0020, 0x0100, 0xef, 2, 1, 1}
	replied := make(chan error, 1)
	go func() { replied <- errors.Join(Await(theirs), Reply(theirs, want)) }()
	got, err := Ask(ours)
	if err := errors.Join(err, <-replied); err != nil || got != want {
		t.Errorf("Ask() = %+v, %v; want %+v", got, err, want)
	}
}

const (
	anyReply   = "\x01\x11\x00\x03\x00\x00\x00\x00"
	anyRequest = "\x01\x11\x80\x03\x00\x00\x00\x00"
)

// damaged are messages that must be refused, and a word of the error.
var damaged = map[string]struct {
	message string
	reply   bool // to Ask, else a request to Await
	want    string
}{
	"nothing":           {"", true, "unexpected EOF"},
	"header cut off":    {anyReply[:5], true, "unexpected EOF"},
	"record cut off":    {anyReply + "\x00", true, "unexpected EOF"},
	"another version":   {"\x01\x06" + anyReply[2:] + strings.Repeat("\x00", 312), true, "version 0106"},
	"request for reply": {anyRequest + strings.Repeat("\x00", 312), true, "message 8003"},
	"refused":           {anyReply[:7] + "\x01", true, "status 1"},
	"id cut off":        {anyRequest + "usbip", false, "unexpected EOF"},
	"another device":    {anyRequest + "1-1" + strings.Repeat("\x00", 29), false, `"1-1"`},
	"endless id":        {anyRequest + strings.Repeat("x", 32), false, "xxx"},
}

func TestDamaged(t *testing.T) {
	for name, tt := range damaged {
		t.Run(name, func(t *testing.T) {
			err := Await(strings.NewReader(tt.message))
			if tt.reply {
				_, err = Ask(stream{strings.NewReader(tt.message), io.Discard})
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

type stream struct {
	io.Reader
	io.Writer
}

func FuzzAsk(f *testing.F) {
	for _, tt := range damaged {
		f.Add([]byte(tt.message))
	}
	f.Add([]byte(anyReply + strings.Repeat("\x01", 312)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := Ask(stream{bytes.NewReader(b), io.Discard}); err == nil && len(b) < 320 {
			t.Errorf("%d bytes are device %+v", len(b), d)
		}
	})
}
