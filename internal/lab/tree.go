package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/u-root/u-root/pkg/dt"
)

// aliasedBus is an alias for I2C bus 0, which the machine lacks. Linux numbers further
// buses from 1 on then, so that the first to be plugged in is the one that a Pi leads
// to its HAT.
const aliasedBus = "i2c0"

// writeHATTree writes the device tree of a machine that has a HAT into a directory and
// returns its path. files are the facts that the firmware of a Pi would have read from
// the HAT's EEPROM. QEMU makes the machine's tree; args are QEMU's arguments for it.
func (m model) writeHATTree(ctx context.Context, dir string, files map[string]string, args ...string) (string, error) {
	program, err := findQEMU(m.qemu)
	if err != nil {
		return "", err
	}
	plain, name := filepath.Join(dir, "plain.dtb"), filepath.Join(dir, "hat.dtb")
	args = slices.Concat(m.args, []string{"-machine", "dumpdtb=" + option(plain), "-display", "none"}, args)
	if out, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(out))
	}
	data, err := os.ReadFile(plain)
	if err != nil {
		return "", err
	}
	if data, err = addHAT(data, files); err != nil {
		return "", fmt.Errorf("device tree of QEMU: %w", err)
	}
	return name, os.WriteFile(name, data, 0o600)
}

// addHAT adds a HAT to a device tree.
func addHAT(tree []byte, files map[string]string) ([]byte, error) {
	t, err := dt.ReadFDT(bytes.NewReader(tree))
	if err != nil {
		return nil, err
	}
	hat := dt.NewNode("hat")
	for name, text := range files {
		hat.UpdateProperty(name, []byte(text))
	}
	slices.SortFunc(hat.Properties, func(a, b dt.Property) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	aliases, ok := t.NodeByName("aliases")
	if !ok {
		aliases = dt.NewNode("aliases")
		t.RootNode.Children = append(t.RootNode.Children, aliases)
	}
	aliases.UpdateProperty(aliasedBus, []byte("/hat\x00")) // any node will do
	t.RootNode.Children = append(t.RootNode.Children, hat)
	var b bytes.Buffer
	if _, err := t.Write(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
