package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/image/provision"
	"clusterctrl/internal/node"
)

// Up runs a virtual cluster until ctx ends or another program asks at [Socket] for the
// end. A user has one virtual cluster at a time. The machines run the kernel that was
// unpacked in the directory kernel or, if kernel is "", the kernel in the first member's
// image. Up sets Dir and Kernel of c itself.
func Up(ctx context.Context, kernel string, c RigConfig) (err error) {
	socket, err := listenAlone()
	if err != nil {
		return err
	}
	defer socket.Close()
	if c.Kernel, err = chooseKernel(kernel, c.Members[0].Image); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Kernel.Close()) }()
	if c.Dir, err = os.MkdirTemp(filepath.Dir(socket.Addr().String()), runPrefix); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.Dir)) }()
	rig, err := NewRig(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rig.Close()) }()
	rig.Start()
	return rig.Serve(ctx, socket)
}

// leastMemory is what a machine needs to start, in MiB.
const leastMemory = 128

// CheckMemory refuses machines for which this computer has no room, and returns a
// warning if other programs have to make room for them. A machine takes only the
// part of its memory that it uses. each is in MiB.
func CheckMemory(each, machines int) (warning string, err error) {
	total, available := HostMemory()
	switch {
	case each < leastMemory:
		return "", fmt.Errorf("want %d or more", leastMemory)
	case total > 0 && each > total/machines:
		return "", fmt.Errorf("want %d or less for each of %d: this computer has %d MiB", total/machines, machines, total)
	case available > 0 && each > available/machines:
		return fmt.Sprintf("the cluster may want %d MiB of memory, %d are free here", each*machines, available), nil
	}
	return "", nil
}

// ReadMembers finds out by looking into images which member of a cluster each is.
// Each is to get a machine with memory MiB.
func ReadMembers(ctx context.Context, images []string, memory int) ([]MemberConfig, error) {
	var members []MemberConfig
	for _, image := range images {
		role, err := readRole(ctx, image)
		if err != nil {
			return nil, err
		}
		for _, m := range members {
			if m.Name == role.String() {
				return nil, fmt.Errorf("%s and %s are both %v: want one of each", m.Image, image, role)
			}
			if m.Controller && role.IsController() {
				return nil, fmt.Errorf("%s and %s are both a controller's, %s and %v: want one of them", m.Image, image, m.Name, role)
			}
		}
		members = append(members, MemberConfig{Name: role.String(), Image: image, Controller: role.IsController(), Memory: memory})
	}
	return members, nil
}

// AddBare adds nodes without cards to the members of a cluster.
func AddBare(members []MemberConfig, ids []node.ID, memory int) ([]MemberConfig, error) {
	for _, id := range ids {
		for _, m := range members {
			if m.Name == id.String() {
				return nil, fmt.Errorf("%v has a card, %s: want it or a node without one", id, m.Image)
			}
		}
		members = append(members, MemberConfig{Name: id.String(), Bare: true, Memory: memory})
	}
	return members, nil
}

// readRole returns the role that an image has, or gets by its first boot.
func readRole(ctx context.Context, image string) (node.Role, error) {
	in, err := diskimage.OpenRaw(image) // Inspect would unpack a compressed image, which no machine can start
	if err != nil {
		return node.Role{}, err
	}
	in.Close()
	report, err := provision.Inspect(ctx, image, nil, nil)
	if err != nil {
		return node.Role{}, err
	}
	name := report.Role
	if name == "" {
		name = report.Host
	}
	role, err := node.ParseRole(name)
	if err != nil {
		return node.Role{}, fmt.Errorf("%s is no member of a cluster, its name is %q: want what \"clusterctrl build\" made", image, name)
	}
	return role, nil
}

func chooseKernel(dir, image string) (Kernel, error) {
	if dir != "" {
		return OpenKernel(dir)
	}
	kernel, err := CardKernel(image)
	if err != nil {
		err = fmt.Errorf("%w; give the machines another kernel with --kernel, such as Debian's linux-image-arm64", err)
	}
	return kernel, err
}

// Socket returns the path of the socket at which a user's virtual cluster takes
// requests: see [Ask]. The cluster's other files are beside it.
func Socket() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, "clusterctrl", "lab", "socket"), nil
}

// listenAlone listens at [Socket], if no other cluster does.
func listenAlone() (net.Listener, error) {
	socket, err := Socket()
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(socket)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// Without the lock, a starting cluster could take the socket of another starting
	// cluster for one that a killed cluster left, and remove it.
	unlock, err := diskimage.LockDir(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if conn, err := net.Dial("unix", socket); err == nil {
		conn.Close()
		return nil, errors.New("a virtual cluster is up already: end it with \"clusterctrl lab down\"")
	}
	if _, err := os.Lstat(socket); err == nil { // a cluster that was killed left it
		if err := errors.Join(os.Remove(socket), removeRuns(dir)); err != nil {
			return nil, err
		}
	}
	return Listen(socket)
}

// runPrefix begins the names of the directories for the copies of images.
const runPrefix = "run-"

// removeRuns removes the copies of images that killed clusters left in dir.
func removeRuns(dir string) error {
	runs, err := filepath.Glob(filepath.Join(dir, runPrefix+"*"))
	for _, run := range runs {
		err = errors.Join(err, os.RemoveAll(run))
	}
	return err
}
