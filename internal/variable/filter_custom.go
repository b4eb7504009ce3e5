package variable

import (
	"strings"
)

// customNumber writes a .NET custom numeric format such as #,##0.00;(0.00).
func customNumber(n number, layout string) (string, bool) {
	sections := splitSections(layout)
	section, neg := sections[0], n.neg && !n.zero()
	switch {
	case n.zero() && len(sections) > 2:
		section = sections[2]
	case neg && len(sections) > 1 && sections[1] != "":
		section, neg = sections[1], false
	}
	s, ok := customSection(n, section)
	if !ok {
		return "", false
	}
	if neg && strings.ContainsAny(s, "123456789") {
		s = "-" + s
	}
	return s, true
}

// splitSections cuts at semicolons that are not quoted.
func splitSections(layout string) []string {
	var sections []string
	start := 0
	for i := 0; i < len(layout); i++ {
		switch layout[i] {
		case '\\':
			i++
		case '\'', '"':
			if end := strings.IndexByte(layout[i+1:], layout[i]); end >= 0 {
				i += end + 1
			}
		case ';':
			sections = append(sections, layout[start:i])
			start = i + 1
		}
	}
	return append(sections, layout[start:])
}

// piece is a literal or one digit position.
type piece struct {
	literal string
	digit   byte // '0' or '#', 0 for a literal, 'E' for an exponent
	width   int  // of an exponent
	plus    bool // the exponent shows its plus
}

func customSection(n number, layout string) (string, bool) {
	var (
		before, after []piece
		target        = &before
		point         bool
		comma         int // commas since the last digit before the point
		group         bool
		scale         int
		scientific    bool
	)
	add := func(p piece) { *target = append(*target, p) }
	for i := 0; i < len(layout); i++ {
		switch c := layout[i]; c {
		case '0', '#':
			if comma > 0 && !point {
				group = true
			}
			comma = 0
			add(piece{digit: c})
		case '.':
			if !point {
				point = true
				scale -= 3 * comma
				comma = 0
				target = &after
			}
		case ',':
			if !point && hasDigit(before) {
				comma++
			}
		case '%':
			scale += 2
			add(piece{literal: "%"})
		case '\\':
			if i++; i < len(layout) {
				add(piece{literal: layout[i : i+1]})
			}
		case '\'', '"':
			end := strings.IndexByte(layout[i+1:], c)
			if end < 0 {
				return "", false
			}
			add(piece{literal: layout[i+1 : i+1+end]})
			i += end + 1
		case 'E', 'e':
			p, end := exponentPiece(layout, i)
			if p.digit == 0 || scientific {
				add(piece{literal: layout[i : i+1]})
				continue
			}
			scientific = true
			add(p)
			i = end - 1
		default:
			if strings.HasPrefix(layout[i:], "‰") {
				scale += 3
				i += len("‰") - 1
				add(piece{literal: "‰"})
				continue
			}
			add(piece{literal: layout[i : i+1]})
		}
	}
	if !point {
		scale -= 3 * comma
	}
	n.point += scale
	exp := 0
	if scientific && !n.zero() {
		exp = n.exponent() - max(0, countDigits(before)-1)
		n.point -= exp
		if rounded := n.round(countDigits(after)); rounded.exponent() > n.exponent() {
			exp++
			n.point--
		}
	}
	n = n.round(countDigits(after))
	whole, fraction := n.parts()
	return fillWhole(whole, before, group, exp) + fillFraction(fraction, after, exp), true
}

func exponentPiece(layout string, at int) (piece, int) {
	i := at + 1
	p := piece{literal: layout[at : at+1]}
	if i < len(layout) && (layout[i] == '+' || layout[i] == '-') {
		p.plus = layout[i] == '+'
		i++
	}
	for ; i < len(layout) && layout[i] == '0'; i++ {
		p.width++
	}
	if p.width > 0 {
		p.digit = 'E'
	}
	return p, i
}

func (p piece) exponent(exp int) string {
	s := exponentText(exp, min(p.width, 10))
	if exp >= 0 && !p.plus {
		s = s[1:]
	}
	return p.literal + s
}

func hasDigit(pieces []piece) bool { return countDigits(pieces) > 0 }

func countDigits(pieces []piece) int {
	n := 0
	for _, p := range pieces {
		if p.digit == '0' || p.digit == '#' {
			n++
		}
	}
	return n
}

// fillWhole writes the digits before the point into their places, the first place taking all that are left.
func fillWhole(whole string, pieces []piece, group bool, exp int) string {
	if whole == "0" {
		whole = ""
	}
	width := 0 // from the first 0 on, every place shows a digit
	for i, n := 0, countDigits(pieces); i < len(pieces); i++ {
		if pieces[i].digit == '0' {
			width = n
			break
		}
		if pieces[i].digit == '#' {
			n--
		}
	}
	whole = strings.Repeat("0", max(0, width-len(whole))) + whole
	places := countDigits(pieces)
	var b strings.Builder
	digit := func(i int) {
		b.WriteByte(whole[i])
		if left := len(whole) - i - 1; group && left > 0 && left%3 == 0 {
			b.WriteByte(',')
		}
	}
	next := 0
	for _, p := range pieces {
		switch p.digit {
		case 0:
			b.WriteString(p.literal)
		case 'E':
			b.WriteString(p.exponent(exp))
		default:
			for ; next < len(whole)-places+1; next++ {
				digit(next)
			}
			places--
		}
	}
	return b.String()
}

// fillFraction writes the decimals; zeros at the end show only where the format has a 0.
func fillFraction(fraction string, pieces []piece, exp int) string {
	shown := len(strings.TrimRight(fraction, "0"))
	place := 0
	for _, p := range pieces {
		if p.digit == '0' || p.digit == '#' {
			place++
			if p.digit == '0' {
				shown = max(shown, place)
			}
		}
	}
	var b strings.Builder
	if shown > 0 {
		b.WriteByte('.')
	}
	place = 0
	for _, p := range pieces {
		switch p.digit {
		case 0:
			b.WriteString(p.literal)
		case 'E':
			b.WriteString(p.exponent(exp))
		default:
			if place < shown && place < len(fraction) {
				b.WriteByte(fraction[place])
			}
			place++
		}
	}
	return b.String()
}
