package main

import (
	"fmt"
	"io"
	"strings"

	"clusterctrl/internal/image/provision"
	"github.com/spf13/cobra"
)

const inspectHelp = `Inspect looks into an image, packed or not, and says what the image is. It changes
nothing. IMAGE is a file that "build" takes or makes, or a card in a reader; "-" is
standard input, "sample" the small image that comes with this program.`

const inspectExample = `  clusterctrl inspect sample
  clusterctrl inspect 2025-05-13-raspios-bookworm-arm64-lite.img.xz
  clusterctrl inspect --json out/*-p1.img`

func inspectCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "inspect IMAGE",
		Short:   "Say what an image is: release, partitions, network, role",
		Long:    inspectHelp,
		Example: inspectExample,
		Args:    exactly(1, "IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := openInput(cmd, args[0])
			if err != nil {
				return err
			}
			defer in.close()
			show := display(cmd)
			defer show.Wait()
			report, err := provision.Inspect(cmd.Context(), in.name, in.stream, show.Start)
			if err != nil {
				return err
			}
			report.File = args[0]
			show.Wait()
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), report)
			}
			return printReport(cmd.OutOrStdout(), report)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printReport(w io.Writer, r provision.Report) error {
	var b strings.Builder
	line := func(key, format string, args ...any) {
		fmt.Fprintf(&b, "%-13s %s\n", key+":", fmt.Sprintf(format, args...))
	}
	line("image", "%s, %.1f MB, disk id %s", r.File, float64(r.Size)/1e6, r.DiskID)
	line("system", "%s %s, %s", r.OS.Release, r.OS.Arch, r.OS.Flavour)
	line("network", "%s", r.OS.Network)
	line("cloud-init", "%s", yesNo(r.OS.CloudInit))
	for _, p := range r.Partitions {
		line(fmt.Sprint("partition ", p.Number), "type %02x, %.1f MB at byte %d, PARTUUID=%s", p.Type, float64(p.Size)/1e6, p.Start, p.PARTUUID)
	}
	line("boot", "/%s: %s %q, %d of %d clusters of %d bytes free", r.OS.BootDir, r.Boot.Type, r.Boot.Label, r.Boot.FreeClusters, r.Boot.Clusters, r.Boot.ClusterSize)
	line("root", "ext4 %q, %.1f of %.1f MB and %d of %d inodes free", r.Root.Label,
		float64(r.Root.FreeBlocks*int64(r.Root.BlockSize))/1e6, float64(r.Root.Blocks*int64(r.Root.BlockSize))/1e6, r.Root.FreeInodes, r.Root.Inodes)
	line("features", "%s", strings.Join(r.Root.Features, " "))
	line("host", "%s", r.Host)
	line("command line", "%s", r.CommandLine)
	line("first boot", "%s", firstBoot(r))
	_, err := io.WriteString(w, b.String())
	return err
}

func firstBoot(r provision.Report) string {
	switch {
	case r.Role != "" && r.VendorFirstBoot:
		return "still to come: it becomes " + r.Role + ", then the vendor's"
	case r.Role != "":
		return "still to come: it becomes " + r.Role
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
