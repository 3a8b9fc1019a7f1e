package provision

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"clusterctrl/internal/image/packed"
	"clusterctrl/internal/image/settings"
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

// names returns the file names of all outputs of a build.
func (n name) names(s settings.Settings) []string {
	var names []string
	for _, role := range roles(s.NAT, s.Nodes(n.flavour)) {
		names = append(names, n.prefix(s.Revision)+suffix(role))
	}
	return names
}

// roles returns the roles that a build makes images for.
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

// suffix is the end of an image's name that tells its role.
func suffix(role node.Role) string {
	if role.IsController() {
		return strings.ToUpper(role.String()) + ".img"
	}
	return role.String() + ".img"
}

// roleOf returns the role that an image's name tells: the inverse of suffix.
func roleOf(file string) (node.Role, error) {
	image := strings.TrimSuffix(packed.TrimExt(filepath.Base(file)), ".img")
	words := strings.Split(image, "-")
	return node.ParseRole(strings.ToLower(words[len(words)-1]))
}

// withRoles returns the names of the images of roles that belong to that of
// another, mostly a controller's.
func withRoles(image string, roles []node.Role) []string {
	base := filepath.Base(image)
	if role, err := roleOf(base); err == nil {
		base = strings.TrimSuffix(base, "-"+suffix(role))
	}
	base = strings.TrimSuffix(base, ".img")
	var names []string
	for _, r := range roles {
		names = append(names, base+"-"+suffix(r))
	}
	return slices.Clip(names)
}
