// Editor is a guest that does to a disk what a first boot does: it changes a file
// of the root partition and, last, the kernel's command line in the boot
// partition, and restarts. Its arguments are what the names of the disk's
// partitions begin with, such as /dev/mmcblk0p, and "first" or "second".
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"clusterctrl/internal/lab/labtest/guest"
)

func main() {
	guest.Main(func() error {
		fmt.Printf("editor: arguments %q\n", os.Args[1:])
		if len(os.Args) != 3 {
			return fmt.Errorf("%d arguments, want 2", len(os.Args)-1)
		}
		if err := mount(os.Args[1]); err != nil {
			return err
		}
		if os.Args[2] != "first" {
			return show()
		}
		if err := edit(); err != nil {
			return err
		}
		fmt.Println("editor: edited")
		guest.Restart()
		return nil
	})
}

func mount(disk string) error {
	for _, m := range []struct{ dev, dir, kind string }{
		{disk + "2", "/mnt", "ext4"},
		{disk + "1", "/mnt/boot", "vfat"},
	} {
		if err := guest.Await(m.dev); err != nil {
			return err
		}
		if err := unix.Mount(m.dev, m.dir, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.dev, err)
		}
	}
	return nil
}

func edit() error {
	if err := os.WriteFile("/mnt/etc/hostname", []byte("p7\n"), 0o644); err != nil {
		return err
	}
	const file = "/mnt/boot/cmdline.txt"
	line, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	unix.Sync()
	if err := os.WriteFile(file, []byte(strings.Replace(string(line), "first", "second", 1)), 0o755); err != nil {
		return err
	}
	for _, dir := range []string{"/mnt/boot", "/mnt"} {
		if err := unix.Unmount(dir, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
	return nil
}

// show prints what the first boot left, and then all that it hears.
func show() error {
	name, err := os.ReadFile("/mnt/etc/hostname")
	if err != nil {
		return err
	}
	fmt.Printf("editor: host name %s", name)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Printf("editor: heard %s\n", strings.ToUpper(in.Text()))
	}
	return nil
}
