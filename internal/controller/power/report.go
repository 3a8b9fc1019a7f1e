package power

// Kinds of boards.
const (
	KindHAT  = "ClusterHAT"
	KindCtrl = "ClusterCTRL"
)

// A Report is what a board says about itself. Fields that it cannot fill are nil or
// empty.
type Report struct {
	Board string `json:"board"` // its name, and where it is
	Kind  string `json:"kind"`
	Nodes int    `json:"nodes"` // how many it has room for
	Ready bool   `json:"ready"` // its nodes can be switched

	// Of a ClusterHAT.
	Version     string            `json:"version,omitempty"`
	EEPROM      map[string]string `json:"eeprom,omitempty"` // uuid, vendor, product_id ...
	Alert       *bool             `json:"alert,omitempty"`
	Hub         *bool             `json:"hub,omitempty"`
	LED         *bool             `json:"led,omitempty"`
	Protected   *bool             `json:"eeprom_protected,omitempty"`
	ProtectLink *bool             `json:"eeprom_protection_link,omitempty"` // it is soldered
	PullUps     *bool             `json:"pull_ups,omitempty"`               // the expander has such a register

	// Of a ClusterCTRL board.
	Order       int       `json:"order,omitempty"`
	Firmware    string    `json:"firmware,omitempty"`
	Millivolts  []float64 `json:"millivolts,omitempty"`
	Temperature *float64  `json:"temperature_celsius,omitempty"`
	Fan         *bool     `json:"fan,omitempty"`
	USBBoot     []*bool   `json:"usb_boot,omitempty"` // node by node
}
