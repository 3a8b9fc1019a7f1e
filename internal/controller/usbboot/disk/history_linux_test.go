package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// A history is what happened to a load's requests. Moments are numbers of events.
type history struct {
	load   []request
	events []event

	sent     []int // when each request was sent
	answered []int // when each request was answered; never for many of those that the client hung up on
	ended    []int // when it was known that a request is under way no more

	resetting, reset int // when the disk's reset began at the earliest, and had ended

	before []byte  // what the disk held at first, and holds when it was reset
	zeroed [][]int // for each sector, the requests that may make it zeros
}

const never = math.MaxInt

func newHistory(events []event) *history {
	h := &history{load: newLoad(), events: events, before: whole(image(1), 5)}
	h.zeroed = make([][]int, loadedSize/sector)
	for n, r := range h.load {
		h.sent, h.answered, h.ended = append(h.sent, never), append(h.answered, never), append(h.ended, never)
		if r.command == zeroCommand || r.command == trimCommand {
			first, end := r.sectors()
			for s := first; s < end; s++ {
				h.zeroed[s] = append(h.zeroed[s], n)
			}
		}
	}
	for moment, e := range events {
		switch e.What {
		case sent:
			h.sent[e.Request] = moment
		case answered:
			h.answered[e.Request], h.ended[e.Request] = moment, moment
		case connected:
			for n := range h.ended {
				if h.sent[n] < moment && h.ended[n] == never {
					h.ended[n] = moment
				}
			}
		case resetting:
			h.resetting = moment
		case reset:
			h.reset = moment
		}
	}
	return h
}

// String counts what happened.
func (h *history) String() string {
	commands, forced, answers := map[uint16]int{}, 0, 0
	for n, r := range h.load {
		commands[r.command]++
		if r.forced {
			forced++
		}
		if h.answered[n] != never {
			answers++
		}
	}
	return fmt.Sprintf("%d connections, %d requests (%d writes, %d zeroes, %d trims, %d flushes; %d with FUA), %d answered",
		connections, len(h.load), commands[writeCommand], commands[zeroCommand], commands[trimCommand], commands[flushCommand], forced, answers)
}

// sectors returns the sectors that a request changes. A trim changes whole blocks only.
func (r request) sectors() (first, end int64) {
	if r.command == trimCommand {
		return roundUp(r.offset, blockSize) / sector, (r.offset + r.length) / blockSize * blockSize / sector
	}
	return r.offset / sector, (r.offset + r.length) / sector
}

// safe returns for each sector when the last write was sent that the service had said to
// be safe by a moment, -1 for none. A flush makes safe what was answered before the flush
// was sent. A trim makes nothing safe: the sector may keep what it held.
func (h *history) safe(moment int) []int {
	flushed := -1
	for n, r := range h.load {
		if r.command == flushCommand && h.answered[n] < moment {
			flushed = max(flushed, h.sent[n])
		}
	}
	newest := make([]int, loadedSize/sector)
	for s := range newest {
		newest[s] = -1
	}
	for n, r := range h.load {
		writes := r.command == writeCommand || r.command == zeroCommand
		if !writes || h.answered[n] > flushed && !(r.forced && h.answered[n] < moment) {
			continue
		}
		first, end := r.sectors()
		for s := first; s < end; s++ {
			newest[s] = max(newest[s], h.sent[n])
		}
	}
	return newest
}

// check compares a disk with what the service had said to be safe by a moment: each sector
// holds that or what a request wrote that was not done before. Or all of the disk is as it
// was at first, where that may be. It returns how many sectors hold what was written later.
func (h *history) check(disk []byte, moment int) (later int, err error) {
	switch {
	case moment > h.resetting && bytes.Equal(disk, h.before):
		return 0, nil
	case moment > h.reset:
		return 0, fmt.Errorf("byte %d is not what it was at first: the disk was reset", firstDifference(disk, h.before))
	}
	if !bytes.Equal(disk[loadedSize:], h.before[loadedSize:]) {
		return 0, fmt.Errorf("byte %d changed, but no request wrote to it", loadedSize+firstDifference(disk[loadedSize:], h.before[loadedSize:]))
	}
	for s, safe := range h.safe(moment) {
		content := disk[s*sector : (s+1)*sector]
		from := h.origins(s, content)
		if len(from) == 0 {
			return later, fmt.Errorf("sector %d holds a mix: no request wrote this content: %.40q...", s, content)
		}
		begun, ended := -1, -1 // when the sector was made so, at the latest
		for _, n := range from {
			if n >= 0 {
				begun, ended = max(begun, h.sent[n]), max(ended, h.ended[n])
			}
		}
		if ended < safe {
			return later, fmt.Errorf("sector %d has the content of requests %v (-1: of the base), done by event %d; a write sent at event %d was safe by event %d", s, from, ended, safe, moment)
		}
		if begun > safe {
			later++
		}
	}
	return later, nil
}

// origins returns the requests that may have made a sector what it is, -1 for none of
// them.
func (h *history) origins(s int, content []byte) (from []int) {
	if bytes.HasPrefix(content, []byte(sectorMagic)) {
		n := int64(binary.LittleEndian.Uint64(content[len(sectorMagic):]))
		if n < int64(len(h.load)) && bytes.Equal(content, sectorOfWrite(n, int64(s)*sector)) {
			return []int{int(n)}
		}
		return nil
	}
	if bytes.Equal(content, h.before[s*sector:(s+1)*sector]) {
		from = append(from, -1)
	}
	if bytes.Equal(content, make([]byte, sector)) {
		from = append(from, h.zeroed[s]...)
	}
	return from
}
