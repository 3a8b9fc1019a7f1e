//go:build !payload

package payload

import "embed"

var programs embed.FS
