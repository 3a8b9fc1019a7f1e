package gadget

import (
	"strings"
	"testing"

	"clusterctrl/internal/node"
	"clusterctrl/internal/tree/defaults"
)

func TestParseSettings(t *testing.T) {
	for _, tt := range []struct {
		name string
		text string
		want Settings
		err  string // part of the error
	}{
		{"node", "TYPE=node\nID=7\n", Settings{"node", 7, node.RNDIS, ""}, ""},
		{"booted over USB", "TYPE=usbboot\nID=252\nGADGET=ecm\n", Settings{"usbboot", 252, node.ECM, ""}, ""},
		{"all", "TYPE=node\nID=1\nGADGET=ncm\nUDC=fe980000.usb\n", Settings{"node", 1, node.NCM, "fe980000.usb"}, ""},
		{"CRLF", "TYPE=node\r\nID=7\r\nGADGET=ncm\r\n", Settings{"node", 7, node.NCM, ""}, ""},
		{"byte order mark", "\ufeffTYPE=node\r\nID=7\r\n", Settings{"node", 7, node.RNDIS, ""}, ""},
		{"quotes", `TYPE="node"` + "\nID='7'\nGADGET=\"n\"'cm'\n", Settings{"node", 7, node.NCM, ""}, ""},
		{"comments", "# ID=3\nTYPE=node # a node\nID=7;\n#GADGET=ecm\nGADGET=\"\" # any\n", Settings{"node", 7, node.RNDIS, ""}, ""},
		{"unknown keys", "CLUSTERID=3\nPROTOTYPE=c\n#VALID=\nFANGPIO=18\nif true\n\"\nTYPE=node\nID=7\n", Settings{"node", 7, node.RNDIS, ""}, ""},
		{"last wins", "ID=1\nTYPE=c\nTYPE=node\nID=2\n", Settings{"node", 2, node.RNDIS, ""}, ""},
		{"blanks and export", "  TYPE=node\n\texport ID=7  \n", Settings{"node", 7, node.RNDIS, ""}, ""},
		{"no newline at the end", "TYPE=node\nID=7", Settings{"node", 7, node.RNDIS, ""}, ""},

		{"not configured", "TYPE=node\nID=253\n", Settings{"node", node.Unconfigured, node.RNDIS, ""}, ""},
		{"controller", "TYPE=c\nID=\n", Settings{Type: "c"}, ""},
		{"routing controller", "TYPE=cnat\nGADGET=nonsense\n", Settings{Type: "cnat"}, ""},
		{"nobody yet", "TYPE=\nID=\n", Settings{}, ""},
		{"empty", "", Settings{}, ""},

		{"no ID", "TYPE=node\n", Settings{}, "ID is missing: want 1 to 252"},
		{"empty ID", "TYPE=node\nID=''\n", Settings{}, "ID is missing: want 1 to 252"},
		{"ID 0", "TYPE=node\nID=0\n", Settings{}, "ID=0: want 1 to 252"},
		{"ID 254", "TYPE=node\nID=254\n", Settings{}, "ID=254: want 1 to 252"},
		{"ID 257", "TYPE=node\nID=257\n", Settings{}, "ID=257: want 1 to 252"},
		{"ID 07", "TYPE=node\nID=07\n", Settings{}, "ID=07: want 1 to 252"},
		{"ID p7", "TYPE=node\nID=p7\n", Settings{}, "ID=p7: want 1 to 252"},
		{"variable", "TYPE=node\nID=$N\n", Settings{}, "ID=$N: want 1 to 252"},
		{"open quote", "TYPE=node\n\nID=\"7\n", Settings{}, `line 3: ID: no closing "`},
		{"GADGET", "TYPE=node\nID=7\nGADGET=eem\n", Settings{}, `GADGET=eem: want rndis, ncm or ecm`},
		{"UDC is a path", "TYPE=node\nID=7\nUDC=../x\n", Settings{}, "UDC=../x: want a name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseSettings(defaults.Text(tt.text))
			if got != tt.want || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("parseSettings() = %+v, %v; want %+v, %q", got, err, tt.want, tt.err)
			}
		})
	}
}

func FuzzParseSettings(f *testing.F) {
	for _, text := range []string{
		"TYPE=node\r\nID=7\r\nGADGET=ncm # fast\r\nUDC='x.usb'\r\n",
		"TYPE=node\nID=\"", "TYPE=node\nID='\"7", "export TYPE=node;ID=7", "TYPE=node\nID=7\x00\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseSettings(defaults.Text(text))
		if err == nil && s.IsNode() && (s.ID < node.MinID || s.ID > node.Unconfigured || s.Gadget.ProductID() == 0) {
			t.Errorf("parseSettings(%q) = %+v", text, s)
		}
		if err != nil && s != (Settings{}) {
			t.Errorf("parseSettings(%q) = %+v and %v", text, s, err)
		}
	})
}
