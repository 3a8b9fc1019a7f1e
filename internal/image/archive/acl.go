package archive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// aclRecords are the records of tar for the attributes that hold access control
// lists.
var aclRecords = map[string]string{
	"system.posix_acl_access":  "SCHILY.acl.access",
	"system.posix_acl_default": "SCHILY.acl.default",
}

// An aclEntry is struct posix_acl_xattr_entry of linux/posix_acl_xattr.h.
type aclEntry struct {
	Tag, Permissions uint16
	ID               uint32
}

// What an entry is about, by its tag; the named ones have an ID.
var aclTags = map[uint16]string{
	0x01: "user:", 0x02: "user:", 0x04: "group:", 0x08: "group:", 0x10: "mask:", 0x20: "other:",
}

const (
	aclVersion   = 2
	aclUser      = 0x02
	aclGroup     = 0x08
	aclEntrySize = 8
)

// aclText is an access control list in the words of acl(5), a comma between two
// entries, owners by number.
func aclText(value []byte) (string, error) {
	if len(value) < 4 || binary.LittleEndian.Uint32(value) != aclVersion || len(value)%aclEntrySize != 4 {
		return "", errors.New("not an access control list of version 2")
	}
	var entries []string
	for value = value[4:]; len(value) > 0; value = value[aclEntrySize:] {
		var e aclEntry
		if _, err := binary.Decode(value, binary.LittleEndian, &e); err != nil {
			return "", err
		}
		who, ok := aclTags[e.Tag]
		if !ok || e.Permissions > 7 {
			return "", fmt.Errorf("an access control list has an entry with tag %#x and permissions %#o", e.Tag, e.Permissions)
		}
		if e.Tag == aclUser || e.Tag == aclGroup {
			who += fmt.Sprint(e.ID)
		}
		entries = append(entries, who+":"+permissions(e.Permissions))
	}
	return strings.Join(entries, ","), nil
}

func permissions(bits uint16) string {
	text := []byte("rwx")
	for i := range text {
		if bits&(4>>i) == 0 {
			text[i] = '-'
		}
	}
	return string(text)
}
