package power

import (
	"fmt"
	"strconv"
	"strings"
)

// A Version is that of a ClusterHAT, such as 2.4. The zero Version is none.
type Version struct{ Major, Minor int }

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// ParseVersion parses a version such as "1.3", as users write it.
func ParseVersion(s string) (Version, error) {
	major, minor, _ := strings.Cut(s, ".")
	v := Version{}
	var errs [2]error
	v.Major, errs[0] = strconv.Atoi(major)
	v.Minor, errs[1] = strconv.Atoi(minor)
	if errs[0] != nil || errs[1] != nil || v.Major < 1 || v.Major > 3 || v.Minor < 0 || v.Minor > 15 || v.String() != s {
		return Version{}, fmt.Errorf("ClusterHAT version %q: want MAJOR.MINOR, 1.0 to 3.15", s)
	}
	return v, nil
}

// parseProductVersion parses the product_ver of a HAT's EEPROM, such as "0x0024":
// the major version is in the high digit, the minor one in the low.
func parseProductVersion(s string) (Version, error) {
	n, err := strconv.ParseUint(s, 0, 16)
	v := Version{int(n >> 4), int(n & 0xf)}
	if err != nil || v.Major < 1 || v.Major > 3 {
		return Version{}, fmt.Errorf("ClusterHAT with product_ver %q: want 0x0010 to 0x003f", s)
	}
	return v, nil
}

// hubOn is the level of the hub's pin at which the hub has power.
func (v Version) hubOn() bool { return v == Version{2, 0} }

// hasLED reports whether the HAT has an LED that can be switched, as v2 alone has.
func (v Version) hasLED() bool { return v.Major == 2 }

// port is the port of the HAT's hub that node x is on.
func (v Version) port(x int) int {
	if v == (Version{2, 6}) || v == (Version{3, 1}) {
		return x
	}
	return 5 - x
}
