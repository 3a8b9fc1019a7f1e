package disk

import (
	"math"
	"sync"
	"time"
)

// meterTime is the time that a meter looks back.
const meterTime = 10 * time.Second

// A meter measures a rate. The older an addition is, the less it counts.
type meter struct {
	mu   sync.Mutex
	rate float64 // units a second, at a time
	at   time.Time
}

func (m *meter) add(n int, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rate = m.faded(now) + float64(n)/meterTime.Seconds()
	m.at = now
}

func (m *meter) read(now time.Time) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.faded(now)
}

func (m *meter) faded(now time.Time) float64 {
	return m.rate * math.Exp(-max(0, now.Sub(m.at)).Seconds()/meterTime.Seconds())
}
