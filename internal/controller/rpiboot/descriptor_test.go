package rpiboot

import (
	"encoding/binary"
	"testing"
)

// descriptors are a device's with one configuration, the rest of which is missing.
func descriptors(product uint16, serial, interfaces uint8) []byte {
	d := make([]byte, 18+9)
	d[0], d[1] = 18, 1
	binary.LittleEndian.PutUint16(d[8:], 0x0a5c)
	binary.LittleEndian.PutUint16(d[10:], product)
	d[16], d[17] = serial, 1
	d[18], d[19], d[22] = 9, 2, interfaces
	return d
}

func TestParseDescriptors(t *testing.T) {
	for _, tt := range []struct {
		name string
		raw  []byte
		want Pi // zero for no Pi
		bad  bool
	}{
		{"Zero in its ROM", descriptors(0x2763, 0, 1), Pi{"", true, 0, 1}, false},
		{"Zero 2 in its ROM", descriptors(0x2764, 3, 2), Pi{"2710", true, 1, 3}, false},
		{"Zero with bootcode", descriptors(0x2763, 1, 1), Pi{"", false, 0, 1}, false},
		{"Pi 4", descriptors(0x2711, 3, 1), Pi{"2711", true, 0, 1}, false},
		{"Pi 5", descriptors(0x2712, 3, 1), Pi{"2712", true, 0, 1}, false},
		{"Broadcom's radio", descriptors(0x2045, 0, 1), Pi{}, false},
		{"cut off", descriptors(0x2763, 0, 1)[:26], Pi{}, true},
		{"nothing", nil, Pi{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok, err := ParseDescriptors(tt.raw)
			if got != tt.want || ok != (tt.want != Pi{}) || (err != nil) != tt.bad {
				t.Errorf("ParseDescriptors() = %+v, %t, %v; want %+v", got, ok, err, tt.want)
			}
		})
	}
	other := descriptors(0x2763, 0, 1)
	other[8] = 0x5d
	if got, ok, err := ParseDescriptors(other); ok || err != nil {
		t.Errorf("of another vendor: %+v, %v", got, err)
	}
}

func FuzzParseDescriptors(f *testing.F) {
	f.Add(descriptors(0x2764, 3, 2))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if pi, ok, err := ParseDescriptors(raw); ok && (err != nil || pi.Endpoint == 0) {
			t.Errorf("%+v, %v", pi, err)
		}
	})
}
