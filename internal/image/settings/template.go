package settings

import _ "embed"

// Template is a settings file in which every setting is explained and commented out.
//
//go:embed template.toml
var Template string
