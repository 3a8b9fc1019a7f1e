package lab

import (
	"os"
	"strconv"
	"strings"
)

// HostMemory returns how much memory this computer has, with what it may put on
// disk, and how much of it a program could get now, in MiB. Both are zero where the
// system does not tell: only Linux does.
func HostMemory() (total, available int) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, 0
	}
	return parseMemory(string(text))
}

// parseMemory reads meminfo as proc_meminfo(5) has it.
func parseMemory(text string) (total, available int) {
	kib := map[string]int{}
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 1 {
			kib[fields[0]], _ = strconv.Atoi(fields[1])
		}
	}
	return (kib["MemTotal:"] + kib["SwapTotal:"]) >> 10, kib["MemAvailable:"] >> 10
}
