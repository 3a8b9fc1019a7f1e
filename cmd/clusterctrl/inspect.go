package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"clusterctrl/internal/image/provision"
	"clusterctrl/internal/tree/recipe"
	"github.com/spf13/cobra"
)

const inspectHelp = `Inspect looks into an image, packed or not, and says what the image is. It changes
nothing. IMAGE is a file that "build" takes or makes, or a card in a reader; "-" is
standard input, "sample" the small image that comes with this program.`

const inspectExample = `  clusterctrl inspect sample
  clusterctrl inspect 2025-05-13-raspios-bookworm-arm64-lite.img.xz
  clusterctrl inspect out/*-p1.img out/*-p2.img
  clusterctrl inspect --json out/*-p1.img`

func inspectCommand() *cobra.Command {
	var asJSON, verbose bool
	cmd := &cobra.Command{
		Use:     "inspect IMAGE...",
		Short:   "Say what images are: release, role, user, network",
		Long:    inspectHelp,
		Example: inspectExample,
		Args:    arguments(1, math.MaxInt, "IMAGE, one or more"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var failed error // of one image, or of several; the others are shown
			shown := 0
			for _, image := range args {
				report, err := inspect(cmd, image)
				if cmd.Context().Err() != nil {
					return err
				}
				if err != nil {
					failed = errors.Join(failed, err)
					continue
				}
				if asJSON {
					err = writeJSON(cmd.OutOrStdout(), report)
				} else {
					err = printReport(cmd.OutOrStdout(), report, shown > 0, verbose)
				}
				if err != nil {
					return err
				}
				shown++
			}
			return failed
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show partitions, file systems and the kernel command line too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, an object for each image")
	return cmd
}

// inspect looks into an image.
func inspect(cmd *cobra.Command, image string) (provision.Report, error) {
	in, err := openInput(cmd, image)
	if err != nil {
		return provision.Report{}, err
	}
	defer in.close()
	show := display(cmd)
	defer show.Wait()
	report, err := provision.Inspect(cmd.Context(), in.name, in.stream, show.Start)
	report.File = image
	return report, err
}

// printReport prints what an image is, behind an empty line if it is not the first.
func printReport(w io.Writer, r provision.Report, another, verbose bool) error {
	var b strings.Builder
	if another {
		b.WriteString("\n")
	}
	line := func(key, format string, args ...any) {
		fmt.Fprintf(&b, "%-13s %s\n", key+":", fmt.Sprintf(format, args...))
	}
	line("image", "%s, %.1f MB, disk id %s", r.File, float64(r.Size)/1e6, r.DiskID)
	line("system", "%s %s, %s", r.OS.Release, r.OS.Arch, r.OS.Flavour)
	line("role", "%s", roleOf(r))
	line("first boot", "%s", firstBoot(r))
	if r.Role == "" { // else the name is that of the role
		line("host", "%s", r.Host)
	}
	line("user", "%s", userOf(r.Access))
	line("ssh", "%s", onOffWord(&r.Access.SSH))
	if r.Gadget != "" {
		line("gadget", "%s", r.Gadget)
	}
	if r.Version != "" {
		line("built by", "clusterctrl %s", r.Version)
	}
	line("network", "%s", r.OS.Network)
	line("free", "%.1f of %.1f MB", float64(r.Root.FreeBlocks*int64(r.Root.BlockSize))/1e6, float64(r.Root.Blocks*int64(r.Root.BlockSize))/1e6)
	if verbose {
		line("cloud-init", "%s", yesNo(r.OS.CloudInit))
		for _, p := range r.Partitions {
			line(fmt.Sprint("partition ", p.Number), "type %02x, %.1f MB at byte %d, PARTUUID=%s", p.Type, float64(p.Size)/1e6, p.Start, p.PARTUUID)
		}
		line("boot", "/%s: %s %q, %d of %d clusters of %d bytes free", r.OS.BootDir, r.Boot.Type, r.Boot.Label, r.Boot.FreeClusters, r.Boot.Clusters, r.Boot.ClusterSize)
		line("root", "ext4 %q, %d of %d inodes free", r.Root.Label, r.Root.FreeInodes, r.Root.Inodes)
		line("features", "%s", strings.Join(r.Root.Features, " "))
		line("command line", "%s", r.CommandLine)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// roleOf is what the image is, or will be.
func roleOf(r provision.Report) string {
	switch {
	case r.Role != "":
		return r.Role + " at first boot"
	case r.CurrentRole != "":
		return r.CurrentRole
	}
	return "none"
}

// userOf says who can log in, and how.
func userOf(a recipe.Access) string {
	switch {
	case a.User == "" && a.Customised:
		return "set at first boot, by Raspberry Pi Imager's script"
	case a.User == "":
		return "none who can log in"
	}
	var by []string
	if a.Password {
		by = append(by, "password")
	}
	if a.Keys {
		by = append(by, "SSH keys")
	}
	if len(by) == 0 {
		return a.User + ", locked"
	}
	return a.User + ", by " + strings.Join(by, " and ")
}

func firstBoot(r provision.Report) string {
	switch {
	case r.Role != "" && r.VendorFirstBoot:
		return "still to come: it becomes " + r.Role + ", then the vendor's"
	case r.Role != "":
		return "still to come: it becomes " + r.Role
	case r.VendorFirstBoot && r.CurrentRole != "":
		return "still to come: the vendor's"
	case r.VendorFirstBoot:
		return "still to come: the vendor's, and no role"
	}
	return "none to come"
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
