package mask

import "bytes"

// code is a colour code, and the place in the text that it stands before.
type code struct {
	at  int
	raw []byte
}

const longestCode = 32

// split takes the colour codes out of raw, so that one inside a secret does not hide it. rest is a code that
// has begun at the very end; when the stream ends there, it is no code.
func split(raw []byte, end bool) (text []byte, codes []code, rest []byte) {
	i := bytes.IndexByte(raw, 0x1b)
	if i < 0 {
		return raw, nil, nil
	}
	text = make([]byte, 0, len(raw))
	for {
		text = append(text, raw[:i]...)
		raw = raw[i:]
		switch n := codeLength(raw); {
		case n > 0:
			codes = append(codes, code{len(text), raw[:n]})
			raw = raw[n:]
		case n < 0 && !end:
			return text, codes, raw
		default:
			text = append(text, raw[0])
			raw = raw[1:]
		}
		if i = bytes.IndexByte(raw, 0x1b); i < 0 {
			return append(text, raw...), codes, nil
		}
	}
}

// codeLength is the length of the CSI sequence b begins with: ESC [ parameters, intermediates, one final
// byte. 0 means it is none, -1 that it may become one. A long number is no colour, and could be a secret.
func codeLength(b []byte) int {
	digits := 0
	for i := 1; i < longestCode; i++ {
		if i >= len(b) {
			return -1
		}
		c := b[i]
		switch {
		case i == 1:
			if c != '[' {
				return 0
			}
		case c >= '0' && c <= '9':
			if digits++; digits > 3 {
				return 0
			}
		case c >= 0x20 && c <= 0x3f:
			digits = 0
		case c >= 0x40 && c <= 0x7e:
			return i + 1
		default:
			return 0
		}
	}
	return 0
}
