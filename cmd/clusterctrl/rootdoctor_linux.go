package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"clusterctrl/internal/controller/fence"
	"clusterctrl/internal/controller/usbboot/disk"
	"clusterctrl/internal/controller/usbboot/nfs"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
)

// examine says what is wrong with what nodes without cards need of this controller.
func (c *controller) examine(cmd *cobra.Command, asJSON bool) (err error) {
	roots, err := nfs.Open(node.NFSRoots)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, roots.Close()) }()
	ids, err := roots.IDs()
	if err != nil {
		return err
	}
	paths, err := c.learnPaths()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if path, err := c.boards.Path(id); err == nil && path != "" {
			paths[id] = path
		}
	}
	firmware, err := firmwareSetting(node.SettingsFile)
	if err != nil {
		return err
	}
	disks, err := disk.Dir{Path: node.Disks}.IDs()
	if err != nil {
		return err
	}
	findings := nfs.Doctor{Base: "/", Firmware: firmware, Links: paths, Disks: len(disks) > 0, HasAddr: hasAddr}.Look(roots, ids)
	findings = append(findings, fenceFinding())
	if asJSON {
		return writeJSON(cmd.OutOrStdout(), findings)
	}
	return printFindings(cmd, findings)
}

// fenceFinding says whether nodes are kept to their own addresses. Nodes start without that.
func fenceFinding() nfs.Finding {
	f := nfs.Finding{About: "each node's own address"}
	if err := fence.Check(); err != nil {
		f.Problem, f.Remedy, f.Maybe = unfenced(err).Error(), fenceRemedy, true
	}
	return f
}

// printFindings prints a line for each finding and one for each remedy. It fails if there
// is a problem that all nodes have.
func printFindings(cmd *cobra.Command, findings []nfs.Finding) error {
	problems := 0
	for _, f := range findings {
		switch {
		case f.Problem == "":
			println(cmd.OutOrStdout(), "ok       "+f.About)
			continue
		case f.Maybe:
			println(cmd.OutOrStdout(), fmt.Sprintf("warning  %s: %s", f.About, f.Problem))
		default:
			problems++
			println(cmd.OutOrStdout(), fmt.Sprintf("problem  %s: %s", f.About, f.Problem))
		}
		println(cmd.OutOrStdout(), "         "+f.Remedy)
	}
	if problems > 0 {
		return fmt.Errorf("%d problems: nodes without cards do not start", problems)
	}
	return nil
}

// hasAddr tells whether an interface of this machine has an address.
func hasAddr(link, addr string) bool {
	i, err := net.InterfaceByName(link)
	if err != nil {
		return false
	}
	all, err := i.Addrs()
	return err == nil && slices.ContainsFunc(all, func(a net.Addr) bool { return strings.HasPrefix(a.String(), addr+"/") })
}
