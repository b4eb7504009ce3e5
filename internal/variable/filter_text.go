package variable

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/dlclark/regexp2"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer/html"
)

func upper(s string) string { return strings.Map(unicode.ToUpper, s) }
func lower(s string) string { return strings.Map(unicode.ToLower, s) }

var (
	htmlEscape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;", "/", "&#x2F;")
	xmlEscape  = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;")
	jsonEscape = strings.NewReplacer(`"`, `\"`, `\`, `\\`, "\r", `\r`, "\n", `\n`, "\t", `\t`)
)

// yamlSingleQuoteEscape doubles quotes and gives each run of line breaks one more, since folding takes one away.
func yamlSingleQuoteEscape(s string) string {
	var b strings.Builder
	inRun := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		isBreak := c == '\r' || c == '\n'
		if isBreak && !inRun {
			if c == '\r' {
				b.WriteByte('\r')
			}
			b.WriteByte('\n')
		}
		inRun = isBreak
		if c == '\'' {
			b.WriteByte('\'')
		}
		b.WriteByte(c)
	}
	return b.String()
}

func yamlDoubleQuoteEscape(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20 || r > 0x7E:
			b.WriteString(unicodeEscape(r))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func propertiesEscape(s string, key bool) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == ' ' && (key || i == 0), key && (r == ':' || r == '='):
			b.WriteByte('\\')
			b.WriteRune(r)
		case r >= 0xFF:
			b.WriteString(unicodeEscape(r))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

const uriReserved = ":/?#[]@!$&'()*+,;="

func percentEncode(s, keep string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			strings.IndexByte("-_.~", c) >= 0 || strings.IndexByte(keep, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

func compare(is func(s, part string) bool) func(string, []string) (string, bool) {
	return func(in string, options []string) (string, bool) {
		if len(options) != 1 {
			return "", false
		}
		return strconv.FormatBool(is(in, options[0])), true
	}
}

func substring(in string, options []string) (string, bool) {
	var n [2]int
	if len(options) == 0 || len(options) > 2 {
		return "", false
	}
	for i, o := range options {
		v, err := strconv.Atoi(strings.TrimSpace(o))
		if err != nil || v < 0 {
			return "", false
		}
		n[i] = v
	}
	start, length := n[0], n[1]
	if len(options) == 1 {
		start, length = 0, n[0]
	}
	units := utf16.Encode([]rune(in))
	if start > len(units) {
		return "", false
	}
	return string(utf16.Decode(units[start : start+min(length, len(units)-start)])), true
}

func truncate(in string, options []string) (string, bool) {
	if len(options) == 0 {
		return "", false
	}
	n, err := strconv.Atoi(strings.TrimSpace(options[0]))
	if err != nil || n < 0 {
		return "", false
	}
	suffix := "..."
	if len(options) > 1 {
		suffix = options[1]
	}
	units := utf16.Encode([]rune(in))
	if len(units) <= n {
		return in, true
	}
	return string(utf16.Decode(units[:n])) + suffix, true
}

func trim(in string, options []string) (string, bool) {
	if len(options) == 0 {
		return strings.TrimFunc(in, unicode.IsSpace), true
	}
	switch strings.ToLower(options[0]) {
	case "start":
		return strings.TrimLeftFunc(in, unicode.IsSpace), len(options) == 1
	case "end":
		return strings.TrimRightFunc(in, unicode.IsSpace), len(options) == 1
	}
	return "", false
}

func indent(e *evaluator, in string, options []string) (string, bool, error) {
	first, later := strings.Repeat(" ", 4), ""
	switch len(options) {
	case 0:
		later = first
	case 1:
		first, later = indentation(options[0])
	case 2:
		first, later = options[0], options[1]
	default:
		return "", false, nil
	}
	if in == "" {
		return "", true, nil
	}
	if err := e.spend(0, len(first)+len(later)*strings.Count(in, "\n")); err != nil {
		return "", false, err
	}
	return first + strings.ReplaceAll(in, "\n", "\n"+later), true, nil
}

// indentation reads n, /n and n/m; anything else is itself the prefix.
func indentation(s string) (first, later string) {
	spaces := func(s string) (string, bool) {
		if len(s) == 0 || len(s) > 3 {
			return "", false
		}
		n, err := strconv.ParseUint(s, 10, 8)
		return strings.Repeat(" ", int(n)), err == nil
	}
	left, right, two := strings.Cut(s, "/")
	if !two {
		if p, ok := spaces(s); ok {
			return p, p
		}
		return s, s
	}
	later, ok := spaces(right)
	if !ok {
		return s, s
	}
	if left == "" {
		return "", later
	}
	if first, ok = spaces(left); !ok {
		return s, s
	}
	return first, later
}

// pattern is a compiled regular expression of the .NET kind, which RE2 cannot do.
type pattern struct{ re *regexp2.Regexp }

const regexTime = 5 * time.Second

func (e *evaluator) pattern(expr string) (*pattern, error) {
	if p, ok := e.regexes[expr]; ok {
		return p, nil
	}
	re, err := regexp2.Compile(expr, regexp2.None)
	if err != nil {
		return nil, fmt.Errorf("the regular expression is not valid: %w", err)
	}
	re.MatchTimeout = regexTime
	if e.regexes == nil || len(e.regexes) >= 256 {
		e.regexes = map[string]*pattern{}
	}
	p := &pattern{re}
	e.regexes[expr] = p
	return p, nil
}

// timed runs one use of a regular expression and takes its time off what all of them may use.
func (e *evaluator) timed(use func() error) error {
	start := time.Now()
	err := use()
	if e.regex -= time.Since(start); e.regex < 0 {
		return &LimitError{What: "the regular expressions take too long"}
	}
	return err
}

func match(e *evaluator, in string, options []string) (string, bool, error) {
	if len(options) != 1 {
		return "", false, nil
	}
	p, err := e.pattern(options[0])
	if err != nil {
		return "", false, err
	}
	var yes bool
	err = e.timed(func() (err error) {
		yes, err = p.re.MatchString(in)
		return err
	})
	return strconv.FormatBool(yes), true, err
}

func replace(e *evaluator, in string, options []string) (out string, ok bool, err error) {
	if len(options) == 0 {
		return "", false, nil
	}
	with := ""
	if len(options) > 1 {
		with = options[1]
	}
	p, err := e.pattern(options[0])
	if err != nil {
		return "", false, err
	}
	err = e.timed(func() (err error) {
		if len(in)*(len(with)+1) > 1<<20 {
			if err = e.chargeReplace(p, in, with); err != nil {
				return err
			}
		}
		out, err = p.re.Replace(in, with, -1, -1)
		return err
	})
	return out, true, err
}

// chargeReplace pays for a large replacement before it is built.
func (e *evaluator) chargeReplace(p *pattern, in, with string) error {
	groups := strings.Count(with, "$")
	whole := strings.Contains(with, "$_") || strings.Contains(with, "$`") || strings.Contains(with, "$'")
	m, err := p.re.FindStringMatch(in)
	for m != nil && err == nil {
		part := m.Length * 4 // runes to bytes, at most
		if whole {
			part = len(in)
		}
		if err := e.spend(0, len(with)+groups*part); err != nil {
			return err
		}
		m, err = p.re.FindNextMatch(m)
	}
	return err
}

var commonMark = goldmark.New(
	goldmark.WithExtensions(extension.Table, extension.Linkify, emphasisExtras{}),
	goldmark.WithRendererOptions(html.WithUnsafe()),
)

// markdown renders a text as the notes of a release are. Raw HTML passes, so whoever shows the result cleans it.
func markdown(_ *evaluator, in string, options []string) (string, bool, error) {
	if len(options) > 0 {
		return "", false, nil
	}
	var b bytes.Buffer
	if err := commonMark.Convert([]byte(strings.TrimFunc(in, unicode.IsSpace)), &b); err != nil {
		return "", false, err
	}
	return b.String() + "\n", true, nil
}
