package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"clusterctrl/internal/image/diskimage"
	"clusterctrl/internal/image/packed"
	"clusterctrl/internal/image/provision"
	"clusterctrl/internal/image/serve"
	"clusterctrl/internal/node"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

const serveHelp = `Serve offers the images of a cluster over HTTP: to Raspberry Pi Imager, which then
lists the controller and each node, and to browsers, curl, wget and bmaptool. IMAGE is
a controller's image that "clusterctrl build" made and that has not been booted. The
nodes' images are made from it while they are sent: they take no space on disk.

Serve prints its address, where a browser finds all images, and writes a file that
opens Raspberry Pi Imager 2 with these images, as does
"rpi-imager --repo ADDRESS/` + serve.ManifestName + `". Imager wants
checksums, so that it has to wait until every image was read once, unless SHA256SUMS
has them or they were found out before. It offers no customisation: users, keys and Wi-Fi are set for
all images at once by "clusterctrl build".

Only this computer can connect, unless --listen says otherwise. Nobody can change
anything. Ctrl-C ends it when the downloads that have begun are done; Ctrl-C once
more ends it at once.`

const serveExample = `  # the controller and eight nodes, for Raspberry Pi Imager on this computer
  clusterctrl serve out/*-CBRIDGE.img --nodes 8

  # to other computers, compressed
  clusterctrl serve out/*-CBRIDGE.img --nodes 8 --compress zst --listen 0.0.0.0:8252

  # a card without Imager
  curl http://127.0.0.1:8252/p7.img | sudo dd of=/dev/sdX bs=4M iflag=fullblock oflag=direct
  sudo bmaptool copy http://127.0.0.1:8252/p7.img /dev/sdX`

// defaultListen is an address of this computer alone. No other use of the port is
// known; 252 is the highest number of a node.
const defaultListen = "127.0.0.1:8252"

type serveFlags struct {
	n                          int
	only                       []string
	listen, compress, manifest string
	json                       bool
}

func serveCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:     "serve IMAGE",
		Short:   "Hand out images over HTTP, for Raspberry Pi Imager, browsers, curl",
		Long:    serveHelp,
		Example: serveExample,
		Args:    exactly(1, "IMAGE, a controller's"),
		RunE:    func(cmd *cobra.Command, args []string) error { return runServe(cmd, f, args[0]) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.IntVarP(&f.n, "nodes", "n", 4, "offer both controllers, and p1 to p`N`, N up to 252")
	fl.StringSliceVar(&f.only, "only", nil, "offer these `ROLES` instead: p7, p9-p12, cnat ...")
	fl.StringVar(&f.compress, "compress", "", "offer the images compressed too, and so to Imager, as `FORMAT`: zst, xz or gz")
	fl.StringVar(&f.listen, "listen", defaultListen, "listen at `ADDR:PORT`; 0.0.0.0 lets other computers in")
	fl.StringVar(&f.manifest, "manifest", serve.ManifestName, "write the file for Raspberry Pi Imager to `FILE`, gone at the end")
	fl.BoolVar(&f.json, "json", false, "print the addresses as JSON")
	complete(cmd, "compress", packed.Zstd, packed.XZ, packed.Gzip)
	return cmd
}

func runServe(cmd *cobra.Command, f serveFlags, image string) error {
	if err := named(cmd, "listen", "compress", "manifest", "only"); err != nil {
		return err
	}
	if ext := filepath.Ext(f.manifest); ext != filepath.Ext(serve.ManifestName) && ext != ".json" {
		return usagef("--manifest %q: want a name that ends in .rpi-imager-manifest or .json", f.manifest)
	}
	roles, err := f.roles(cmd)
	if err != nil {
		return err
	}
	var format packed.Format
	if f.compress != "" {
		if format, err = packed.ParseFormat(f.compress); err != nil {
			return usageError{err}
		}
	}
	if err := checkListen(f.listen); err != nil {
		return err
	}
	c, err := provision.OpenController(image)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.CheckRoom(roles); err != nil {
		return err
	}
	site, err := serve.New(c, roles, format)
	if err != nil {
		return fmt.Errorf("%s: %w", image, err)
	}
	listener, err := net.Listen("tcp", f.listen)
	if err != nil {
		return fmt.Errorf("%w: --listen %s says where", err, f.listen)
	}
	addresses, err := addressesOf(listener.Addr())
	if err == nil {
		err = f.announce(cmd, addresses)
	}
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	return f.serve(cmd, site, listener, addresses[0])
}

// serve runs the server, and all that goes with it, until the user ends it.
func (f serveFlags) serve(cmd *cobra.Command, site *serve.Site, listener net.Listener, address string) error {
	show := display(cmd)
	defer show.Wait()
	g, ctx := errgroup.WithContext(cmd.Context())
	g.Go(func() error { return site.Serve(ctx, listener) })
	g.Go(func() error { return site.Sum(ctx, sumsDir(), show.Start) })
	if f.compress != "" {
		g.Go(func() error { return f.keepCompressed(ctx, site, show.Start) })
	}
	g.Go(func() error { return f.keepManifest(cmd, ctx, site, address) })
	err := g.Wait()
	if cmd.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return nil // the user's wish
	}
	return err
}

// sumsDir is the directory where checksums are kept for the next run, empty if the
// user has no cache directory.
func sumsDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "clusterctrl", "sums")
}

// keepCompressed has the compressed image in a temporary file until ctx ends.
func (f serveFlags) keepCompressed(ctx context.Context, site *serve.Site, progress provision.Progress) (err error) {
	file, err := os.CreateTemp("", "clusterctrl-*.img."+f.compress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	if err := site.Compress(ctx, file, progress); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// keepManifest writes the file for Imager once it can be, and removes it when ctx
// ends, since no server answers at its addresses then.
func (f serveFlags) keepManifest(cmd *cobra.Command, ctx context.Context, site *serve.Site, address string) error {
	text, err := site.Manifest(ctx, address)
	if err != nil {
		return err
	}
	if _, err := os.Stat(f.manifest); err == nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "note: replaces %s; if another serve runs here, give one of them another --manifest\n", f.manifest)
	}
	out, err := diskimage.Create(filepath.Dir(f.manifest), diskimage.Replace, filepath.Base(f.manifest))
	if err != nil {
		return err
	}
	defer out.Abort()
	if _, err := out.Files[0].WriteAt(text, 0); err != nil {
		return err
	}
	if err := out.Commit(); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "for Raspberry Pi Imager: open %s, or rpi-imager --repo %s/%s\n", f.manifest, address, serve.ManifestName)
	<-ctx.Done()
	return removeOwn(f.manifest, text)
}

// removeOwn removes a file unless it was removed before, or is another server's by now.
func removeOwn(file string, text []byte) error {
	now, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !bytes.Equal(now, text) {
		return nil
	}
	return errors.Join(err, os.Remove(file))
}

func (f serveFlags) roles(cmd *cobra.Command) ([]node.Role, error) {
	if cmd.Flags().Changed("nodes") && len(f.only) > 0 {
		return nil, usagef("--nodes and --only: want one of them")
	}
	if f.n < 0 || f.n > int(node.MaxID) {
		return nil, usagef("%d nodes: want 0 to %d", f.n, node.MaxID)
	}
	if len(f.only) > 0 {
		return parseRoles(f.only)
	}
	return append([]node.Role{node.CBridge, node.CNAT}, nodesUpTo(f.n)...), nil
}

func checkListen(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil || host != "" && host != "localhost" && net.ParseIP(host) == nil {
		return usagef("--listen %q: want ADDR:PORT, such as %s", address, defaultListen)
	}
	return nil
}

// addressesOf returns where a listener is reached, the best address first. One
// that listens everywhere is at every address of this computer.
func addressesOf(listening net.Addr) ([]string, error) {
	host, port, err := net.SplitHostPort(listening.String())
	if err != nil {
		return nil, err
	}
	url := func(ip net.IP) string { return "http://" + net.JoinHostPort(ip.String(), port) }
	ip := net.ParseIP(host)
	if !ip.IsUnspecified() {
		return []string{url(ip)}, nil
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var v4, v6 []string
	for _, a := range all {
		n, ok := a.(*net.IPNet)
		switch {
		case !ok || !n.IP.IsGlobalUnicast():
		case n.IP.To4() != nil:
			v4 = append(v4, url(n.IP))
		default:
			v6 = append(v6, url(n.IP))
		}
	}
	return append(append(v4, v6...), url(net.IPv4(127, 0, 0, 1))), nil
}

// announce prints where the images are.
func (f serveFlags) announce(cmd *cobra.Command, addresses []string) error {
	if !strings.HasPrefix(addresses[0], "http://127.") && !strings.HasPrefix(addresses[0], "http://[::1]") {
		fmt.Fprintln(cmd.ErrOrStderr(), "note: every computer that reaches this one can read the images, with the keys and the hashes of passwords in them")
	}
	if f.json {
		return writeJSON(cmd.OutOrStdout(), map[string]any{"addresses": addresses, "manifest": f.manifest})
	}
	return println(cmd.OutOrStdout(), strings.Join(addresses, "/\n")+"/")
}
