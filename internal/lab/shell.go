package lab

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxLine is what a terminal takes as a line, 4096 bytes (N_TTY in the kernel),
// less what Run puts around a command.
const maxLine = 4096 - 256

// Login logs in at a login prompt and returns when there is a shell. The
// password is typed only if asked for.
func (c *Console) Login(ctx context.Context, user, password string) error {
	const askPassword, refused = "Password: ", "Login incorrect"
	if _, err := c.Expect(ctx, "login: "); err != nil {
		return err
	}
	if err := c.Send(user); err != nil {
		return err
	}
	shown, err := c.Expect(ctx, askPassword, "# ", "$ ", refused)
	if err == nil && shown == askPassword {
		if err := c.Send(password); err != nil {
			return err
		}
		shown, err = c.Expect(ctx, "# ", "$ ", refused)
	}
	if err == nil && shown == refused {
		return fmt.Errorf("login as %s: %q", user, refused)
	}
	return err
}

// Run has the shell that waits on the console run a command, in a shell of its
// own without input, and returns what it wrote to standard output and standard
// error, and its status. The target needs sh, gzip and base64; by them the output
// arrives as it was, or there is an error, whatever else the console shows.
func (c *Console) Run(ctx context.Context, command string) (output string, status int, err error) {
	encoded := base64.StdEncoding.EncodeToString([]byte(command))
	if len(encoded) > maxLine {
		return "", 0, fmt.Errorf("command of %d bytes: want at most %d", len(command), maxLine/4*3)
	}
	c.mu.Lock()
	c.marks++
	begin, part, end := fmt.Sprintf("=begin%d=", c.marks), fmt.Sprintf("=part%d=", c.marks), fmt.Sprintf("=end%d=", c.marks)
	c.mu.Unlock()
	// The quotes keep the marks out of the line's echo.
	line := fmt.Sprintf(`echo; echo '='%s; { sh -c "$(echo %s | base64 -d)" </dev/null; echo " $?"; } 2>&1 | gzip | base64 | sed 's/^/='%s/; echo '='%s`,
		begin[1:], encoded, part[1:], end[1:])
	if err := c.Send(line); err != nil {
		return "", 0, err
	}
	lines, err := c.between(ctx, strconv.Quote(command), begin, part, end)
	if err != nil {
		return "", 0, err
	}
	if output, status, err = decode(lines); err != nil {
		return "", 0, fmt.Errorf("output of %q: %w", command, err)
	}
	return output, status, nil
}

// between returns the text behind the mark part in the lines between two that end with
// begin and end. Lines without that mark come from other programs, and are skipped.
func (c *Console) between(ctx context.Context, what, begin, part, end string) (string, error) {
	first := quiet(lineThat(func(line string) bool { return strings.HasSuffix(line, begin) }))
	if _, err := c.expect(ctx, "the start of "+what, first); err != nil {
		return "", err
	}
	var all strings.Builder
	next := quiet(lineThat(func(string) bool { return true }))
	for {
		line, err := c.expect(ctx, "the end of "+what, next)
		if err != nil {
			return "", err
		}
		if strings.HasSuffix(line, end) {
			return all.String(), nil
		}
		if _, text, ours := strings.Cut(line, part); ours {
			all.WriteString(text)
		}
	}
}

// decode takes apart what Run's command line prints between its marks.
func decode(encoded string) (output string, status int, err error) {
	r, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(encoded)))
	if err != nil {
		return "", 0, err
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return "", 0, err
	}
	i := bytes.LastIndexByte(data, ' ')
	if i < 0 {
		return "", 0, fmt.Errorf("it ends in %q, want a status", data)
	}
	status, err = strconv.Atoi(strings.TrimSuffix(string(data[i+1:]), "\n"))
	return string(data[:i]), status, err
}
