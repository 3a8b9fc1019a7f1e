package power

// Kinds of boards.
const (
	KindHAT  = "ClusterHAT"
	KindCtrl = "ClusterCTRL"
)

// A Report is what a board says about itself. What the board does not know is nil or
// empty.
type Report struct {
	Board string `json:"board"` // its name, and where it is
	Kind  string `json:"kind"`
	Nodes int    `json:"nodes"` // how many the board has room for
	Ready bool   `json:"ready"` // its nodes can be switched

	// Of a ClusterHAT.
	Version     string            `json:"version"`
	EEPROM      map[string]string `json:"eeprom"` // uuid, vendor, product_id ...
	Alert       *bool             `json:"alert"`
	Hub         *bool             `json:"hub"`
	LED         *bool             `json:"led"`
	Protected   *bool             `json:"eeprom_protected"`
	ProtectLink *bool             `json:"eeprom_protection_link"` // whether the link is soldered
	PullUps     *bool             `json:"pull_ups"`               // whether the expander has a pull-up register

	// Of a ClusterCTRL board.
	Order       int       `json:"order"`
	Firmware    string    `json:"firmware"`
	Millivolts  []float64 `json:"millivolts"`
	Temperature *float64  `json:"temperature_celsius"`
	Fan         *bool     `json:"fan"`
	USBBoot     []*bool   `json:"usb_boot"` // node by node
}
