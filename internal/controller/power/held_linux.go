package power

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A heldLine is a line that sysfs holds (Documentation/admin-guide/gpio/sysfs.rst of
// Linux), by its number among the lines of all chips.
type heldLine int

const heldLines = "/sys/class/gpio"

// held returns what sysfs calls a line, -1 if it does not know the chip.
func (c lineChip) held(line int) heldLine {
	labels, err := filepath.Glob(heldLines + "/gpiochip*/label")
	if err != nil {
		return -1
	}
	for _, name := range labels {
		label, err := os.ReadFile(name)
		if err != nil || strings.TrimSpace(string(label)) != c.label {
			continue
		}
		text, err := os.ReadFile(filepath.Join(filepath.Dir(name), "base"))
		base, bad := strconv.Atoi(strings.TrimSpace(string(text)))
		if err == nil && bad == nil {
			return heldLine(base + line)
		}
	}
	return -1
}

func (h heldLine) file(name string) string {
	return filepath.Join(heldLines, fmt.Sprintf("gpio%d", int(h)), name)
}

func (h heldLine) exists() bool {
	_, err := os.Stat(h.file("value"))
	return err == nil
}

func (h heldLine) export() error {
	if h < 0 {
		return fmt.Errorf("it is not in %s", heldLines)
	}
	return os.WriteFile(heldLines+"/export", []byte(strconv.Itoa(int(h))), 0)
}

func (h heldLine) get() (level, output bool, err error) {
	value, err := os.ReadFile(h.file("value"))
	if err != nil {
		return false, false, err
	}
	direction, err := os.ReadFile(h.file("direction"))
	return strings.TrimSpace(string(value)) == "1", strings.TrimSpace(string(direction)) == "out", err
}

// set makes the line an output that has the level from the start.
func (h heldLine) set(level bool) error {
	word := "low"
	if level {
		word = "high"
	}
	return os.WriteFile(h.file("direction"), []byte(word), 0)
}
