package provision

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/rootfs"
)

// A name is what the name of a base tells, and what those of the outputs are
// made of.
type name struct {
	date    string // 2006-01-02
	release string
	arch    rootfs.Arch
	flavour rootfs.Flavour
}

var published = regexp.MustCompile(`^(\d{4}-\d\d-\d\d)-rasp(?:ios|bian)-(.*)\.img`)

// guessName reads a name such as 2025-05-13-raspios-bookworm-arm64-lite.img.
// Older names have raspbian, and the architecture after the flavour or not at
// all. A word that is missing means the standard flavour and armhf.
func guessName(image string) name {
	m := published.FindStringSubmatch(filepath.Base(image))
	if m == nil {
		return name{flavour: rootfs.Lite}
	}
	n := name{date: m[1], arch: rootfs.ARMHF, flavour: rootfs.Standard}
	for i, word := range strings.Split(m[2], "-") {
		switch word {
		case "armhf", "arm64":
			n.arch = rootfs.Arch(word)
		case "lite", "full":
			n.flavour = rootfs.Flavour(word)
		default:
			if i == 0 {
				n.release = word
			}
		}
	}
	return n
}

// complete reports whether the name says all that output names need.
func (n name) complete() bool { return n.date != "" && n.release != "" }

// corrected returns the name that follows from what is in the image. The day
// is the one in the base's name where it has one: users know it by that.
func (n name) corrected(system rootfs.OS, written time.Time) name {
	if n.date == "" && !system.Built.IsZero() {
		n.date = system.Built.Format(time.DateOnly)
	}
	if n.date == "" {
		n.date = written.UTC().Format(time.DateOnly)
	}
	n.release, n.arch, n.flavour = system.Release, system.Arch, system.Flavour
	return n
}

// prefix is what the names of all outputs start with.
func (n name) prefix(revision int) string {
	flavour := ""
	if n.flavour != rootfs.Standard {
		flavour = "-" + string(n.flavour)
	}
	return fmt.Sprintf("%s-%d-%s-ClusterCTRL-%s%s-", n.date, revision, n.release, n.arch, flavour)
}

// roles returns the roles that are to get images, of a base of a flavour.
func (o Options) roles(flavour rootfs.Flavour) []node.Role {
	if len(o.Only) > 0 {
		return o.Only
	}
	return roles(o.Settings.NAT, o.Settings.Nodes(flavour))
}

// targets returns what the outputs are to be, for a base that has a name.
func (o Options) targets(base name) []target {
	prefix := base.prefix(o.Settings.Revision)
	all := targets(prefix, o.roles(base.flavour), o.Format.Ext())
	if o.NFSRoot != "" {
		all = append(all, target{name: prefix + o.archiveSuffix(), archive: true})
	}
	return all
}

// archiveSuffix is the end of the name of the archive for nodes without cards.
func (o Options) archiveSuffix() string { return "usbboot." + string(o.NFSRoot) }

// roles returns the roles that a build makes images for, unless others are named.
func roles(nat bool, nodes int) []node.Role {
	roles := []node.Role{node.CBridge}
	if nat {
		roles = append(roles, node.CNAT)
	}
	for n := range nodes {
		roles = append(roles, node.ID(n+1).Role())
	}
	return roles
}
