package board

// A Kind is one of the ClusterCTRL boards.
type Kind struct {
	Name    string
	Product uint16 // USB product; the vendor is node.VendorID
	Type    byte   // what the type register holds
	MaxPi   byte   // how many nodes the board has room for
	USBBoot bool   // whether nodes can be told to boot over USB
	USBPath bool   // whether the firmware knows where its nodes are on USB
}

// The boards.
var (
	DA     = Kind{Name: "DA", Product: 0x0011, Type: 0, MaxPi: 32, USBPath: true}
	PHAT   = Kind{Name: "pHAT", Product: 0x0012, Type: 2, MaxPi: 2, USBPath: true}
	APlus6 = Kind{Name: "A+6", Product: 0x0013, Type: 3, MaxPi: 5, USBPath: true}
	Triple = Kind{Name: "Triple", Product: 0x0014, Type: 1, MaxPi: 3, USBPath: true, USBBoot: true}
	Single = Kind{Name: "Single", Product: 0x0015, Type: 3, MaxPi: 1, USBPath: true, USBBoot: true}
	Stack  = Kind{Name: "Stack", Product: 0x0016, Type: 4, MaxPi: 5}
)
