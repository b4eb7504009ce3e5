package variable

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// format is the filter Format: a .NET format string applied to a number or a date under en-US
// conventions (variables.md 2, Culture).
func format(in string, options []string) (string, bool) {
	switch len(options) {
	case 1:
		if d, ok := parseDecimal(in); ok {
			return formatNumber(d, options[0])
		}
		if m, ok := parseDate(in); ok {
			return formatDate(withOffset(m), options[0], true)
		}
	case 2:
		switch strings.ToLower(options[0]) {
		case "int", "int32":
			if n, err := strconv.ParseInt(strings.TrimSpace(in), 10, 32); err == nil {
				return formatNumber(integer(n), options[1])
			}
		case "double":
			if f, ok := parseDouble(in); ok {
				return formatNumber(double(f), options[1])
			}
		case "decimal":
			if d, ok := parseDecimal(in); ok {
				return formatNumber(d, options[1])
			}
		case "date", "datetime":
			if m, ok := parseDate(in); ok {
				if m.zone != noZone {
					m = moment{m.Local(), localZone}
				}
				return formatDate(m, options[1], false)
			}
		case "datetimeoffset":
			if m, ok := parseDate(in); ok {
				return formatDate(withOffset(m), options[1], true)
			}
		}
	}
	return "", false
}

// withOffset gives a date without zone the local one.
func withOffset(m moment) moment {
	if m.zone == noZone {
		m.Time = time.Date(m.Year(), m.Month(), m.Day(), m.Hour(), m.Minute(), m.Second(), m.Nanosecond(), time.Local)
		m.zone = localZone
	}
	return m
}

type numberKind int

const (
	decimalNumber numberKind = iota
	integerNumber
	doubleNumber
)

// number is exact: digits with a point after the first `point` of them.
type number struct {
	kind   numberKind
	neg    bool
	digits string // no sign, no point; may have zeros at either end
	point  int
	f      float64 // doubleNumber: for the shortest form
	n      int64   // integerNumber
}

func integer(n int64) number {
	s := strconv.FormatInt(n, 10)
	neg := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(s, "-")
	return number{kind: integerNumber, neg: neg, digits: s, point: len(s), n: n}
}

func double(f float64) number {
	n := number{kind: doubleNumber, f: f, neg: math.Signbit(f)}
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return n
	}
	s := strconv.FormatFloat(math.Abs(f), 'f', 1074, 64) // every double is exact in that many places
	whole, fraction, _ := strings.Cut(s, ".")
	n.digits, n.point = whole+strings.TrimRight(fraction, "0"), len(whole)
	return n
}

// parseDecimal reads what the original takes for a decimal: sign, thousands, point, no exponent, 28 digits.
func parseDecimal(s string) (number, bool) {
	s = strings.TrimSpace(s)
	n := number{}
	switch {
	case strings.HasPrefix(s, "-"), strings.HasPrefix(s, "+"):
		n.neg = s[0] == '-'
		s = strings.TrimSpace(s[1:])
	case strings.HasSuffix(s, "-"), strings.HasSuffix(s, "+"):
		n.neg = s[len(s)-1] == '-'
		s = strings.TrimSpace(s[:len(s)-1])
	}
	whole, fraction, _ := strings.Cut(s, ".")
	if strings.HasPrefix(whole, ",") {
		return n, false
	}
	whole = strings.TrimLeft(strings.ReplaceAll(whole, ",", ""), "0")
	n.digits, n.point = whole+fraction, len(whole)
	if s == "" || s == "." || strings.Trim(n.digits, "0123456789") != "" || len(whole) > 28 {
		return n, false
	}
	if len(n.digits) > 29 {
		n = n.round(29 - n.point)
	}
	return n, true
}

// round keeps some decimals; mid-points go away from zero.
func (n number) round(decimals int) number {
	keep := n.point + decimals
	if keep >= len(n.digits) {
		n.digits += strings.Repeat("0", keep-len(n.digits))
		return n
	}
	if keep < 0 {
		n.digits, n.point = strings.Repeat("0", max(0, decimals)), 0
		return n
	}
	up := n.digits[keep] >= '5'
	d := []byte(n.digits[:keep])
	for i := keep - 1; up && i >= 0; i-- {
		if d[i]++; d[i] <= '9' {
			up = false
		} else {
			d[i] = '0'
		}
	}
	n.digits = string(d)
	if up {
		n.digits = "1" + n.digits
		n.point++
	}
	return n
}

func (n number) zero() bool { return strings.Trim(n.digits, "0") == "" }

// parts gives the digits before and behind the point, the former never empty.
func (n number) parts() (whole, fraction string) {
	digits, point := n.digits, n.point
	if point < 0 {
		digits, point = strings.Repeat("0", -point)+digits, 0
	}
	if point > len(digits) {
		digits += strings.Repeat("0", point-len(digits))
	}
	whole = strings.TrimLeft(digits[:point], "0")
	if whole == "" {
		whole = "0"
	}
	return whole, digits[point:]
}

func grouped(whole string) string {
	var b strings.Builder
	for i, c := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// fixed writes so many decimals.
func (n number) fixed(decimals int, group bool) string {
	n = n.round(decimals)
	whole, fraction := n.parts()
	if group {
		whole = grouped(whole)
	}
	if decimals > 0 {
		whole += "." + fraction
	}
	return whole
}

// maxPrecision is far above what anybody wants to read.
const maxPrecision = 1000

func formatNumber(n number, layout string) (string, bool) {
	if n.kind == doubleNumber && n.digits == "" {
		return formatDouble(n.f), true // infinities
	}
	if layout == "" {
		layout = "G"
	}
	c := layout[0]
	precision, err := strconv.ParseUint(layout[1:], 10, 31)
	isStandard := (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') && (layout[1:] == "" || err == nil)
	if !isStandard {
		return customNumber(n, layout)
	}
	p := int(precision)
	if p > maxPrecision {
		return "", false
	}
	given := layout[1:] != ""
	return standardNumber(n, c, p, given)
}

func standardNumber(n number, c byte, p int, given bool) (string, bool) {
	decimals := p
	if !given {
		decimals = 2
	}
	sign := func(s string) string {
		if n.neg && strings.ContainsAny(s, "123456789") {
			return "-" + s
		}
		return s
	}
	switch c {
	case 'C', 'c':
		return sign("$" + n.fixed(decimals, true)), true
	case 'F', 'f':
		return sign(n.fixed(decimals, false)), true
	case 'N', 'n':
		return sign(n.fixed(decimals, true)), true
	case 'P', 'p':
		n.point += 2
		return sign(n.fixed(decimals, true) + "%"), true
	case 'E', 'e':
		if !given {
			p = 6
		}
		return sign(n.scientific(p, string(c), 3)), true
	case 'G', 'g':
		return n.general(c, p), true
	case 'R', 'r':
		return formatDouble(n.f), n.kind == doubleNumber
	case 'D', 'd':
		digits := strings.TrimLeft(n.digits, "0")
		digits = strings.Repeat("0", max(0, max(p, 1)-len(digits))) + digits
		return sign(digits), n.kind == integerNumber
	case 'X', 'x':
		s := strconv.FormatUint(uint64(uint32(n.n)), 16) //nolint:gosec // two's complement of 32 bits is meant
		if c == 'X' {
			s = strings.ToUpper(s)
		}
		return strings.Repeat("0", max(0, p-len(s))) + s, n.kind == integerNumber
	}
	return "", false
}

// exponent is the power of ten of the first digit that counts.
func (n number) exponent() int {
	lead := len(n.digits) - len(strings.TrimLeft(n.digits, "0"))
	if lead == len(n.digits) {
		return 0
	}
	return n.point - lead - 1
}

// scientific writes d.ddddE+nnn.
func (n number) scientific(decimals int, letter string, width int) string {
	exp := n.exponent()
	n.point -= exp
	n = n.round(decimals)
	whole, fraction := n.parts()
	if len(whole) > 1 { // 9.99 became 10.0
		exp++
		n.point--
		n = n.round(decimals)
		whole, fraction = n.parts()
	}
	if decimals > 0 {
		whole += "." + fraction
	}
	return whole + letter + exponentText(exp, width)
}

func exponentText(exp, width int) string {
	if exp < 0 {
		return "-" + pad(-exp, width)
	}
	return "+" + pad(exp, width)
}

func (n number) general(c byte, p int) string {
	sign := ""
	if n.neg && !n.zero() {
		sign = "-"
	}
	if p == 0 {
		if n.kind == doubleNumber {
			return formatDouble(n.f)
		}
		whole, fraction := n.parts()
		if fraction != "" {
			whole += "." + fraction
		}
		return sign + whole
	}
	exp := n.exponent()
	rounded := n.round(p - 1 - exp)
	if rounded.exponent() > exp {
		exp = rounded.exponent()
	}
	if exp >= p || exp < -5 {
		s := n.scientific(p-1, "", 2)
		mantissa, power, _ := strings.Cut(s, "+")
		mark := "+"
		if power == "" {
			i := strings.LastIndexByte(s, '-')
			mantissa, power, mark = s[:i], s[i+1:], "-"
		}
		if strings.Contains(mantissa, ".") {
			mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
		}
		letter := "E"
		if c == 'g' {
			letter = "e"
		}
		return sign + mantissa + letter + mark + power
	}
	whole, fraction := rounded.parts()
	if fraction = strings.TrimRight(fraction, "0"); fraction != "" {
		whole += "." + fraction
	}
	return sign + whole
}
