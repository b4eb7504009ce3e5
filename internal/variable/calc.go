package variable

import (
	"math"
	"strconv"
	"strings"
)

// calc reads #{calc ...} (variables.md 1.10).
func (p *parser) calc(pos int) (token, int, bool) {
	at := p.space(pos + 2)
	if !p.word(at, "calc") {
		return nil, at, false
	}
	at += len("calc")
	start := p.space(at)
	if start == at {
		return nil, at, false
	}
	sum, at, ok := p.chain(start, "+-")
	if !ok {
		return nil, at, false
	}
	if at = p.space(at); !p.has(at, "}") {
		return nil, at, false
	}
	return &calc{sum}, at + 1, true
}

// chain reads operands joined by one rank of operators, from left to right.
func (p *parser) chain(pos int, ops string) (*operation, int, bool) {
	operand := func(at int) (*operation, int, bool) { return p.chain(at, "*/") }
	if ops == "*/" {
		operand = p.factor
	}
	left, at, ok := operand(pos)
	if !ok {
		return nil, at, false
	}
	terms := 1
	for {
		op := p.space(at)
		if op == len(p.src) || !strings.ContainsRune(ops, rune(p.src[op])) {
			return left, at, true
		}
		right, end, ok := operand(p.space(op + 1))
		if !ok {
			return left, at, true
		}
		left = &operation{op: p.src[op], left: left, right: right}
		at = end
		if terms++; terms > maxChain {
			p.tooDeep = true
			return nil, at, false
		}
	}
}

func (p *parser) factor(pos int) (*operation, int, bool) {
	if p.has(pos, "(") {
		p.depth++
		defer func() { p.depth-- }()
		if p.depth > maxNesting {
			p.tooDeep = true
			return nil, pos, false
		}
		if sum, end, ok := p.chain(pos+1, "+-"); ok && p.has(end, ")") {
			return sum, end + 1, true
		}
	}
	if n, end, ok := p.decimal(pos); ok {
		return &operation{op: 'n', number: n}, end, true
	}
	if p.has(pos, "{") {
		sym, end, ok := p.path(pos + 1)
		if !ok || !p.has(end, "}") {
			return nil, end, false
		}
		return &operation{op: 'v', variable: sym}, end + 1, true
	}
	sym, end, ok := p.path(pos)
	return &operation{op: 'v', variable: sym}, end, ok
}

func (p *parser) decimal(pos int) (float64, int, bool) {
	at := p.digits(pos)
	whole := at > pos
	if p.has(at, ".") {
		end := p.digits(at + 1)
		if end == at+1 {
			return 0, end, false
		}
		at, whole = end, true
	}
	if !whole {
		return 0, pos, false
	}
	n, err := strconv.ParseFloat(p.src[pos:at], 64)
	return n, at, err == nil
}

func (p *parser) digits(pos int) int {
	for pos < len(p.src) && p.src[pos] >= '0' && p.src[pos] <= '9' {
		pos++
	}
	return pos
}

// parseDouble reads a number as variables hold them: outer space, sign, thousands, decimals, exponent.
func parseDouble(s string) (float64, bool) {
	s = strings.TrimSpace(s)
	number, exponent := s, ""
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		number, exponent = s[:i], s[i:]
	}
	whole, fraction, _ := strings.Cut(number, ".")
	if strings.Contains(fraction, ",") {
		return 0, false
	}
	unsigned := strings.TrimLeft(whole, "+-")
	if strings.HasPrefix(unsigned, ",") {
		return 0, false
	}
	number = strings.ReplaceAll(number, ",", "")
	for _, r := range number + exponent {
		if !strings.ContainsRune("0123456789.+-eE", r) {
			return 0, false // no hexadecimal, no underscores, no words
		}
	}
	f, err := strconv.ParseFloat(number+exponent, 64)
	if err != nil && !math.IsInf(f, 0) {
		return 0, false
	}
	return f, true
}

// formatDouble writes the shortest text that reads back as the same number, in the original's notation.
func formatDouble(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	s := strconv.FormatFloat(f, 'E', -1, 64) // 1.5E+03
	i := strings.IndexByte(s, 'E')
	exp, _ := strconv.Atoi(s[i+1:]) // FormatFloat wrote it
	if exp >= 15 || exp <= -5 {
		return s
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// value computes an operation; ok is false if an operand is missing or not a number.
func (o *operation) value(resolve func(*path) (string, bool, error)) (f float64, ok bool, err error) {
	switch o.op {
	case 'n':
		return o.number, true, nil
	case 'v':
		s, found, err := resolve(o.variable)
		if err != nil || !found {
			return 0, false, err
		}
		f, ok = parseDouble(s)
		return f, ok, nil
	}
	l, ok, err := o.left.value(resolve)
	if err != nil || !ok {
		return 0, false, err
	}
	r, ok, err := o.right.value(resolve)
	if err != nil || !ok {
		return 0, false, err
	}
	switch o.op {
	case '+':
		return l + r, true, nil
	case '-':
		return l - r, true, nil
	case '*':
		return l * r, true, nil
	}
	return l / r, true, nil
}
