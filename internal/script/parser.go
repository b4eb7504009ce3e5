package script

import (
	"bytes"
	"strings"
)

// Stream is where a script wrote a line; the values are those of the agent protocol (tentacle-protocol.md 2.1).
type Stream int

// Stdout is parsed for messages, Stderr only for mask, Debug (the agent's own remarks) not at all.
const (
	Stdout Stream = 0
	Stderr Stream = 1
	Debug  Stream = 2
)

// MaxLine is the longest line kept whole; the rest of a longer one follows as lines of their own.
const MaxLine = 8 << 20

// State is all a Parser knows, to be stored with the script's log cursor.
type State struct {
	Out     Level  `json:",omitempty"` // "" is Info
	Err     Level  `json:",omitempty"` // "" is Error
	OutTail []byte `json:",omitempty"`
	ErrTail []byte `json:",omitempty"`
}

// Parser turns a script's output into events. The zero value is ready; State may be set, read and stored between calls.
type Parser struct{ State State }

// Line takes one whole line, as agents send them.
func (p *Parser) Line(from Stream, text string) []Event {
	if from == Debug {
		return []Event{Output{Debug, Verbose, text}}
	}
	text = strings.TrimSuffix(text, "\r")
	var events []Event
	for rest, found := text, false; ; found = true {
		before, e, after, ok := readMessage(rest)
		if _, isMask := e.(Mask); !ok || (from == Stderr && !isMask) {
			if rest != "" || !found {
				events = p.output(events, from, rest)
			}
			return events
		}
		if before != "" {
			events = p.output(events, from, before)
		}
		if l, ok := e.(SetLevel); ok {
			p.setLevel(l)
		}
		events = append(events, e)
		rest = after
	}
}

// Write takes a piece of a byte stream; lines may be cut anywhere between two pieces.
func (p *Parser) Write(from Stream, piece []byte) []Event {
	tail := p.tail(from)
	var events []Event
	for len(piece) > 0 {
		i := bytes.IndexByte(piece, '\n')
		end := i
		if i < 0 {
			end = len(piece)
		}
		if room := MaxLine - len(*tail); end > room {
			events = append(events, p.Line(from, clean(append(*tail, piece[:room]...)))...)
			*tail, piece = nil, piece[room:]
			continue
		}
		*tail = append(*tail, piece[:end]...)
		if i < 0 {
			break
		}
		events = append(events, p.Line(from, clean(*tail))...)
		*tail, piece = nil, piece[i+1:]
	}
	return events
}

// Close gives what came without a last newline.
func (p *Parser) Close() []Event {
	var events []Event
	for _, from := range []Stream{Stdout, Stderr} {
		if tail := p.tail(from); len(*tail) > 0 {
			events = append(events, p.Line(from, clean(*tail))...)
			*tail = nil
		}
	}
	return events
}

func (p *Parser) tail(from Stream) *[]byte {
	if from == Stderr {
		return &p.State.ErrTail
	}
	return &p.State.OutTail
}

func (p *Parser) output(events []Event, from Stream, text string) []Event {
	level := p.State.Out
	if level == "" {
		level = Info
	}
	if from == Stderr {
		if level = p.State.Err; level == "" {
			level = Error
		}
	}
	if level == Ignore {
		return events
	}
	return append(events, Output{from, level, text})
}

func (p *Parser) setLevel(l SetLevel) {
	if l.Stream == Stderr {
		p.State.Err = l.Level
	} else {
		p.State.Out = l.Level
	}
}

func clean(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }
