package ext4

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
)

// WriteFile makes data the content of a file. One that is there keeps its
// inode, with its owner, mode, extended attributes and other names; a new one
// belongs to root and has the permissions perm, whatever the set-group-ID bit
// or the default access control list of its directory would give it in Linux.
func (f *FS) WriteFile(name string, data []byte, perm fs.FileMode) error {
	return f.change("write", name, func() error {
		p, err := f.place(name)
		if err != nil {
			return err
		}
		if p.ino == nil {
			ino, err := f.create(&p, typeRegular|permissions(perm))
			if err != nil {
				return err
			}
			return f.fill(ino, data, f.home(ino))
		}
		if err := regular(p.ino); err != nil {
			return err
		}
		goal := f.home(p.ino)
		if m, err := f.mapping(p.ino); err == nil && len(m.extents) > 0 {
			goal = m.extents[0].physical.first
		}
		if err := f.freeMapping(p.ino); err != nil {
			return err
		}
		return f.fill(p.ino, data, goal)
	})
}

// create makes an inode and an entry for it. The inode is left to be written.
func (f *FS) create(p *place, mode uint16) (*inode, error) {
	n, err := f.allocateInode(p.dir.ino.number, mode&typeMask == typeDir)
	if err != nil {
		return nil, err
	}
	ino, err := f.newInode(n, mode)
	if err != nil {
		return nil, err
	}
	if mode&typeMask != typeLink {
		f.clearMapping(ino)
	}
	if err := p.dir.add(p.dir.entry(p.base, ino)); err != nil {
		return nil, err
	}
	return ino, f.touch(p.dir.ino)
}

// fill gives ino, which has no blocks, its content and writes it.
func (f *FS) fill(ino *inode, data []byte, goal blockNumber) error {
	size := uint64(f.blockSize)
	count := (uint64(len(data)) + size - 1) / size
	if int64(len(data)) >= 1<<31 && !f.super.has(featureLargeFile) || count > maxLogical {
		return syscall.EFBIG
	}
	taken, err := f.allocate(goal, count)
	if err != nil {
		return err
	}
	content := make([]byte, count*size)
	copy(content, data)
	var m mapping
	for _, s := range taken {
		m.append(extent{logical: m.blocks(), physical: s})
		for n := s.first; n < s.end(); n++ {
			f.put(n, content[:size:size])
			content = content[size:]
		}
	}
	f.clearMapping(ino)
	if err := f.setMapping(ino, &m); err != nil {
		return err
	}
	ino.setSize(int64(len(data)))
	return f.touch(ino)
}

// Mkdir makes an empty directory, with owner and permissions as in [FS.WriteFile].
func (f *FS) Mkdir(name string, perm fs.FileMode) error {
	return f.change("mkdir", name, func() error {
		p, err := f.vacant(name)
		if err != nil {
			return err
		}
		ino, err := f.create(&p, typeDir|permissions(perm))
		if err != nil {
			return err
		}
		d := &directory{f: f, ino: ino}
		n, err := d.grow()
		if err != nil {
			return err
		}
		if err := d.putEntries(n, []dirent{d.entry(".", ino), d.entry("..", p.dir.ino)}); err != nil {
			return err
		}
		ino.Links = 2
		if err := f.addLink(p.dir.ino); err != nil {
			return err
		}
		if err := f.putInode(p.dir.ino); err != nil {
			return err
		}
		return f.touch(ino)
	})
}

// addLink counts one more directory in ino. A count that is too large for its field
// becomes 1 and stays 1.
func (f *FS) addLink(ino *inode) error {
	switch {
	case ino.Links == 1:
	case ino.Links < maxLinks:
		ino.Links++
	case f.super.has(featureDirNlink):
		ino.Links = 1
	default:
		return syscall.EMLINK
	}
	return nil
}

func dropLink(ino *inode) {
	if ino.Links > 2 {
		ino.Links--
	}
}

// Symlink makes a symbolic link.
func (f *FS) Symlink(target, name string) error {
	return f.change("symlink", name, func() error {
		switch {
		case target == "" || strings.IndexByte(target, 0) >= 0:
			return fmt.Errorf("target %q: %w", target, fs.ErrInvalid)
		case len(target) >= min(f.blockSize, 4096): // with a zero byte
			return syscall.ENAMETOOLONG
		}
		p, err := f.vacant(name)
		if err != nil {
			return err
		}
		ino, err := f.create(&p, typeLink|0o777)
		if err != nil {
			return err
		}
		if len(target) >= len(ino.Block) {
			return f.fill(ino, []byte(target), f.home(ino))
		}
		copy(ino.Block[:], target)
		ino.setSize(int64(len(target)))
		return f.touch(ino)
	})
}

// Remove removes a file, a symbolic link or an empty directory.
func (f *FS) Remove(name string) error {
	return f.change("remove", name, func() error {
		p, err := f.existing(name)
		if err != nil {
			return err
		}
		if err := p.dir.remove(p.slot); err != nil {
			return err
		}
		if err := f.unlink(p.dir.ino, p.ino); err != nil {
			return err
		}
		return f.touch(p.dir.ino)
	})
}

// unlink takes one name, in the directory parent, from ino, and removes ino if that was
// its last name.
func (f *FS) unlink(parent, ino *inode) error {
	if !ino.is(typeDir) {
		if ino.Links--; ino.Links > 0 {
			return f.putInode(ino)
		}
		return f.removeInode(ino)
	}
	d, err := f.directory(ino)
	if err != nil {
		return err
	}
	if empty, err := d.empty(); err != nil {
		return err
	} else if !empty {
		return syscall.ENOTEMPTY
	}
	dropLink(parent)
	return f.removeInode(ino)
}

// Chmod sets the permissions of a file or directory, setuid, setgid and sticky
// included. A symbolic link has none of its own, and of a file with an access
// control list they are only a part: both are refused.
func (f *FS) Chmod(name string, perm fs.FileMode) error {
	return f.change("chmod", name, func() error {
		ino, err := f.walk(name)
		if err != nil {
			return err
		}
		if ino.is(typeLink) {
			return errLink
		}
		if acl, err := f.hasACL(ino); err != nil {
			return err
		} else if acl {
			return fmt.Errorf("has an access control list: %w", errors.ErrUnsupported)
		}
		ino.Mode = ino.Mode&typeMask | permissions(perm)
		return f.putInode(ino)
	})
}
