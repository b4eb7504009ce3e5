package halibut

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	maxPreamble = 20_000
	maxLine     = 4_096
)

// The words of a connection (tentacle-protocol.md 1.5).
const (
	preamble       = "MX\r\n\r\n"
	clientLine     = "MX-CLIENT 1.0"
	serverLine     = "MX-SERVER 1.0"
	subscriberLine = "MX-SUBSCRIBER 1.0 "
	nextWord       = "NEXT"
	proceedWord    = "PROCEED"
	endWord        = "END"
)

// readPreamble reads up to an empty line, with the newlines of any platform, and tells whether a Halibut peer
// speaks. What is not one is a browser or a probe, and gets a page.
func readPreamble(r io.ByteReader) (isPeer bool, err error) {
	var first []byte
	last := byte(0)
	for range maxPreamble {
		b, err := r.ReadByte()
		if err != nil {
			return false, noEOF(err)
		}
		if b == '\r' {
			continue
		}
		if b == '\n' && last == '\n' {
			if len(first) == 0 {
				return false, errors.New("the peer sent empty lines only")
			}
			return string(first) == "MX", nil
		}
		if len(first) < 2 && b != '\n' {
			first = append(first, b)
		}
		last = b
	}
	return false, fmt.Errorf("no empty line within %d characters", maxPreamble)
}

// readLine reads one control line, which ends with exactly CR LF.
func readLine(r io.ByteReader) (string, error) {
	var line []byte
	for len(line) <= maxLine {
		b, err := r.ReadByte()
		if err != nil {
			if len(line) > 0 {
				err = noEOF(err)
			}
			return "", err
		}
		switch b {
		case '\n':
			return "", errors.New("a control line ends with LF alone")
		case '\r':
			if b, err = r.ReadByte(); err != nil {
				return "", noEOF(err)
			}
			if b != '\n' {
				return "", errors.New("CR without LF in a control line")
			}
			return string(line), nil
		}
		line = append(line, b)
	}
	return "", fmt.Errorf("a control line is longer than %d bytes", maxLine)
}

// readWord reads NEXT, PROCEED or END, skipping empty lines before it.
func readWord(r io.ByteReader) (string, error) {
	for range 100 {
		line, err := readLine(r)
		if err != nil {
			return "", err
		}
		switch line {
		case "":
		case nextWord, proceedWord, endWord:
			return line, nil
		default:
			return "", fmt.Errorf("%q is not a control word", line)
		}
	}
	return "", errors.New("only empty lines where a control word must come")
}

// identity is who a peer says it is.
type identity struct {
	kind         string // MX-CLIENT, MX-SERVER or MX-SUBSCRIBER
	subscription string // of a subscriber
}

// readIdentity reads an identity line and the empty line behind it.
func readIdentity(r io.ByteReader) (identity, error) {
	line, err := readLine(r)
	if err != nil {
		return identity{}, noEOF(err)
	}
	empty, err := readLine(r)
	if err != nil {
		return identity{}, noEOF(err)
	}
	if empty != "" {
		return identity{}, errors.New("an identity line must be followed by an empty line")
	}
	parts := strings.Fields(line)
	switch {
	case len(parts) > 0 && (parts[0] == "MX-CLIENT" || parts[0] == "MX-SERVER"):
		return identity{kind: parts[0]}, nil
	case len(parts) > 2 && parts[0] == "MX-SUBSCRIBER":
		subscription, err := NormalSubscription(parts[2])
		return identity{parts[0], subscription}, err
	}
	return identity{}, fmt.Errorf("%q is not an identity line", line)
}

// NormalSubscription is the form in which subscription ids are compared: lower case, with one slash at the end
// (tentacle-protocol.md 1.7).
func NormalSubscription(text string) (string, error) {
	lower := strings.ToLower(text)
	rest, ok := strings.CutPrefix(lower, "poll://")
	rest = strings.TrimRight(rest, "/")
	if !ok || rest == "" || strings.ContainsAny(rest, " \t\r\n") {
		return "", fmt.Errorf("%q is not a subscription id like poll://abcdefghij0123456789/", text)
	}
	return "poll://" + rest + "/", nil
}
