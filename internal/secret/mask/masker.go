package mask

import "bytes"

// partial is the number of held bytes that are masked when a stream ends in the middle of a secret.
const partial = 8

// Masker masks one stream. Standard output and standard error each have their own.
type Masker struct {
	set   *Set
	state State
}

// State is all that a stream has to remember between two pieces. It goes over to another process when a task
// does. Held is in clear and may be most of a secret: seal it wherever it is stored.
type State struct {
	Held    []byte `json:",omitempty"`
	Covered int    `json:",omitempty"` // leading text bytes of Held that belong to a mask which is written already
}

// New begins a stream.
func New(set *Set) *Masker { return &Masker{set: set} }

// Resume goes on with a stream where State was taken, maybe elsewhere.
func Resume(set *Set, state State) *Masker { return &Masker{set: set, state: state} }

// State tells what to Resume with.
func (m *Masker) State() State {
	return State{Held: bytes.Clone(m.state.Held), Covered: m.state.Covered}
}

// Use goes on with another set: the old values and new ones. What is held is looked at again.
func (m *Masker) Use(set *Set) { m.set = set }

// Append takes the next piece of the stream and appends to dst what can be shown of it.
func (m *Masker) Append(dst, piece []byte) []byte { return m.step(dst, piece, false) }

// End appends the rest. The masker can then begin another stream.
func (m *Masker) End(dst []byte) []byte { return m.step(dst, nil, true) }

// Text masks a text that is whole, such as a message.
func (s *Set) Text(text string) string {
	m := New(s)
	return string(m.End(m.Append(nil, []byte(text))))
}

func (m *Masker) step(dst, piece []byte, end bool) []byte {
	raw := piece
	if len(m.state.Held) > 0 {
		raw = append(m.state.Held[:len(m.state.Held):len(m.state.Held)], piece...)
	}
	text, codes, rest := split(raw, end)

	var spans []span
	if m.state.Covered > 0 {
		spans = append(spans, span{-1, m.state.Covered}) // -1: its mask is written
	}
	spans, live := m.set.scan(text, spans)
	if end {
		if live >= partial {
			spans = add(spans, span{len(text) - live, len(text)})
		}
		live = 0
	}
	shown := len(text) - live // up to here nothing can change any more
	dst, m.state.Covered = show(dst, text[:shown], spans, codes)

	// What stays is raw again: held text, the codes inside it, and a code that has only begun.
	var held []byte
	at := shown
	for _, c := range codes {
		if c.at > shown {
			held = append(append(held, text[at:c.at]...), c.raw...)
			at = c.at
		}
	}
	held = append(append(held, text[at:]...), rest...)
	if end {
		held = nil
	}
	m.state.Held = held
	return dst
}

// show appends text with its spans masked and its codes in place, and tells how far the last mask reaches
// beyond the text.
func show(dst, text []byte, spans []span, codes []code) (_ []byte, beyond int) {
	at := 0
	upTo := func(end int, visible bool) { // everything from at to end, and the codes on the way
		for len(codes) > 0 && codes[0].at <= end && codes[0].at <= len(text) {
			if visible {
				dst = append(dst, text[at:codes[0].at]...)
			}
			at = max(at, codes[0].at)
			dst = append(dst, codes[0].raw...)
			codes = codes[1:]
		}
		if visible {
			dst = append(dst, text[at:end]...)
		}
		at = end
	}
	for _, s := range spans {
		if s.start >= len(text) {
			break // all of it is held; it will be found again
		}
		if s.start >= 0 {
			upTo(s.start, true)
			dst = append(dst, Mask...)
		}
		upTo(min(s.end, len(text)), false)
		beyond = max(0, s.end-len(text))
	}
	upTo(len(text), true)
	return dst, beyond
}
