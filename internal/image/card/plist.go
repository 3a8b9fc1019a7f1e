package card

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// A plist is a value of a property list: a string, an int64, a bool, a []any, or a
// map[string]any of such values.
type plist any

// errPlist says that something is no property list.
var errPlist = errors.New("no property list")

// readPlist reads what macOS's programs write with -plist, a property list in XML
// (plist(5)).
func readPlist(r io.Reader) (plist, error) {
	d := xml.NewDecoder(r)
	for {
		start, err := nextElement(d)
		if err != nil {
			return nil, err
		}
		if start.Name.Local != "plist" {
			return readValue(d, start, 0)
		}
	}
}

// nextElement returns the next element that begins before the one around it ends,
// else an error that wraps [io.EOF].
func nextElement(d *xml.Decoder) (xml.StartElement, error) {
	for {
		token, err := d.Token()
		if err != nil {
			return xml.StartElement{}, fmt.Errorf("%w: %w", errPlist, err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			return token, nil
		case xml.EndElement:
			return xml.StartElement{}, fmt.Errorf("%w: %w", errPlist, io.EOF)
		}
	}
}

// readValue reads the value whose element has begun, so many levels deep.
func readValue(d *xml.Decoder, start xml.StartElement, depth int) (plist, error) {
	const deepest = 32
	if depth > deepest {
		return nil, fmt.Errorf("%w: more than %d levels", errPlist, deepest)
	}
	switch kind := start.Name.Local; kind {
	case "dict":
		return readDict(d, depth)
	case "array":
		list := []any{}
		for {
			element, err := nextElement(d)
			if errors.Is(err, io.EOF) {
				return list, nil
			}
			if err != nil {
				return nil, err
			}
			value, err := readValue(d, element, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
	case "true", "false":
		return kind == "true", d.Skip()
	case "integer":
		text, err := readString(d, start)
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseInt(text, 0, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: integer %q", errPlist, text)
		}
		return n, nil
	}
	return readString(d, start) // string, real, date or data
}

func readString(d *xml.Decoder, start xml.StartElement) (string, error) {
	var text string
	if err := d.DecodeElement(&text, &start); err != nil {
		return "", fmt.Errorf("%w: %w", errPlist, err)
	}
	return text, nil
}

func readDict(d *xml.Decoder, depth int) (plist, error) {
	dict := map[string]any{}
	for {
		start, err := nextElement(d)
		if errors.Is(err, io.EOF) {
			return dict, nil
		}
		if err != nil {
			return nil, err
		}
		key, err := readString(d, start)
		if err != nil {
			return nil, err
		}
		if start.Name.Local != "key" {
			return nil, fmt.Errorf("%w: <%s> in place of <key>", errPlist, start.Name.Local)
		}
		if start, err = nextElement(d); err != nil {
			return nil, err
		}
		if dict[key], err = readValue(d, start, depth+1); err != nil {
			return nil, err
		}
	}
}
