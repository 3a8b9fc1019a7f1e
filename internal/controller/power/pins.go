package power

// Lines are the Pi's own pins, by their GPIO (BCM) number.
type Lines interface {
	// Get returns the level of a line, and whether the Pi drives it.
	Get(line int) (level, output bool, err error)
	// Set has the Pi drive a line. The Pi drives it until another program sets it.
	Set(line int, level bool) error
	Locker
	Close() error
}

// Lines of a ClusterHAT v1.
const alertLine = 5

var nodeLines = [hatMaxNodes]int{6, 13, 19, 26}

// pins is a ClusterHAT v1.
type pins struct {
	hat
	lines Lines
	show  func(line int, level bool) // gets what Set would, where it is not nil
}

func (p *pins) String() string { return "ClusterHAT v" + p.version.String() + " (GPIO)" }

func (p *pins) Close() error { return p.lines.Close() }

func (p *pins) Power(x int) (bool, error) {
	level, output, err := p.lines.Get(nodeLines[x-1])
	return level && output, err
}

func (p *pins) SetPower(x int, on bool) error { return p.set(nodeLines[x-1], on) }

func (p *pins) Set(f Feature, _ int, on bool) error {
	if f == Alert {
		return p.set(alertLine, on)
	}
	return unsupported(p, f)
}

func (p *pins) CycleHub() error { return unsupported(p, Hub) }

func (p *pins) set(line int, level bool) error {
	if p.show != nil {
		p.show(line, level)
		return nil
	}
	unlock, err := p.lines.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	return p.lines.Set(line, level)
}

// Start switches all nodes off, by driving their lines, unless one of these is driven already.
func (p *pins) Start() (first bool, err error) {
	for x := range p.size {
		if _, output, err := p.lines.Get(nodeLines[x]); err != nil || output {
			return false, err
		}
	}
	for x := range p.size {
		if err := p.set(nodeLines[x], false); err != nil {
			return true, err
		}
	}
	return true, p.set(alertLine, false)
}

func (p *pins) Report() (Report, error) {
	r := p.hat.report(p)
	level, output, err := p.lines.Get(alertLine)
	if err == nil {
		r.Alert = known(level && output)
		_, r.Ready, err = p.lines.Get(nodeLines[0])
	}
	return r, err
}
