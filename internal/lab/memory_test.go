package lab

import "testing"

func TestParseMemory(t *testing.T) {
	for _, tt := range []struct {
		name, text       string
		total, available int
	}{
		{"Linux", "MemTotal:        8048712 kB\nMemFree:         1301752 kB\nMemAvailable:    4195328 kB\nSwapTotal:       1048572 kB\nHugePages_Total:       0\n", 8884, 4097},
		{"no swap", "MemTotal: 2048 kB\nMemAvailable: 1024 kB\n", 2, 1},
		{"something else", "Mem\n\nx: y\n", 0, 0},
	} {
		if total, available := parseMemory(tt.text); total != tt.total || available != tt.available {
			t.Errorf("%s: %d, %d; want %d, %d", tt.name, total, available, tt.total, tt.available)
		}
	}
}
