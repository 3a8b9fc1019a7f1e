//go:build payload

package payload

import "embed"

//go:embed bin/*.zst
var programs embed.FS
