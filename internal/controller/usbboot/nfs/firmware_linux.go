package nfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// LastForZero2W is the day of the last firmware that is known to start a Zero 2 W over USB.
// Firmware of 2026-04-14 and later does not (github.com/raspberrypi/firmware, issue 2024).
var LastForZero2W = time.Date(2025, time.December, 4, 0, 0, 0, 0, time.UTC)

// maxFirmware bounds a firmware file in bytes; a start.elf has 4 MB.
const maxFirmware = 64 << 20

// FirmwareDate returns the day on which the firmware in a file was built: it says
// "VC_BUILD_ID_TIME: 12:10:52", "VC_BUILD_ID_TIME: Apr 17 2024" or both.
func FirmwareDate(tree fs.FS, name string) (time.Time, error) {
	info, err := fs.Stat(tree, name)
	if err != nil {
		return time.Time{}, err
	}
	if !info.Mode().IsRegular() {
		return time.Time{}, fmt.Errorf("%s: it is a %v: want a regular file", name, info.Mode().Type())
	}
	f, err := tree.Open(name)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	date, err := buildDate(io.LimitReader(f, maxFirmware))
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return date, err
}

// buildDate finds the date in a firmware file.
func buildDate(r io.Reader) (time.Time, error) {
	const mark, length = "VC_BUILD_ID_TIME: ", 11 // of Apr 17 2024
	words := bufio.NewScanner(r)
	words.Buffer(nil, maxFirmware)
	words.Split(splitZero)
	for words.Scan() {
		at := bytes.Index(words.Bytes(), []byte(mark))
		if at < 0 {
			continue
		}
		text := words.Bytes()[at+len(mark):]
		if date, err := time.Parse("Jan _2 2006", string(text[:min(len(text), length)])); err == nil {
			return date, nil
		}
	}
	if err := words.Err(); err != nil {
		return time.Time{}, err
	}
	return time.Time{}, errors.New("it does not say when it was built")
}

// splitZero splits at bytes that are zero, which end texts in a program.
func splitZero(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if at := bytes.IndexByte(data, 0); at >= 0 {
		return at + 1, data[:at], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}
