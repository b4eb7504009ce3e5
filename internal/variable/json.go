package variable

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON as the original reads it, which is leniently: bare and single-quoted names, single-quoted
// texts, comments and trailing commas (variables.md 1.9). encoding/json refuses all of these, and
// loses the order of members.

type jsonKind int

const (
	jsonNull jsonKind = iota
	jsonTrue
	jsonFalse
	jsonNumber
	jsonString
	jsonArray
	jsonObject
)

type jsonValue struct {
	kind    jsonKind
	text    string // a string's content, a number's digits as written
	items   []*jsonValue
	members []string // names of items, in order
	byName  map[string]int
}

// maxJSONDepth is where the reader stops believing, for the sake of the stack.
const maxJSONDepth = 128

// parseJSON gives nil for what is not JSON.
func parseJSON(s string) *jsonValue {
	r := jsonReader{src: s}
	if !r.space() {
		return nil
	}
	v := r.value(0)
	if v == nil || !r.space() || r.pos < len(r.src) {
		return nil
	}
	return v
}

// step goes to a member or an element and gives its text. A member that is not there is empty, an
// index beyond the end too; scalars cannot be stepped into.
func (v *jsonValue) step(name string) (string, bool) {
	switch v.kind {
	case jsonObject:
		if i, ok := v.byName[name]; ok {
			return v.items[i].String(), true
		}
		return "", true
	case jsonArray:
		i, err := strconv.Atoi(strings.TrimSpace(name))
		if err != nil || i < 0 {
			return "", false
		}
		if i >= len(v.items) {
			return "", true
		}
		return v.items[i].String(), true
	}
	return "", false
}

// items are what a repetition goes through.
func (v *jsonValue) nodes() []*node {
	nodes := make([]*node, len(v.items))
	for i, item := range v.items {
		if v.kind == jsonArray {
			nodes[i] = leaf(item.String())
			continue
		}
		n := leaf(v.members[i])
		n.member("Key", leaf(v.members[i]))
		n.member("Value", leaf(item.String()))
		nodes[i] = n
	}
	return nodes
}

// String is the text of a value that was stepped to.
func (v *jsonValue) String() string {
	switch v.kind {
	case jsonNull:
		return ""
	case jsonTrue:
		return "True"
	case jsonFalse:
		return "False"
	case jsonNumber:
		if !strings.ContainsAny(v.text, ".eE") {
			return v.text
		}
		f, err := strconv.ParseFloat(v.text, 64)
		if err != nil && !math.IsInf(f, 0) {
			return v.text
		}
		return formatDouble(f)
	case jsonString:
		return jsonDate(v.text)
	}
	var b strings.Builder
	v.compact(&b)
	return b.String()
}

// jsonDate is the quirk by which an ISO date-time is printed the American way.
func jsonDate(s string) string {
	if len(s) < 19 || len(s) > 40 || s[10] != 'T' {
		return s
	}
	for _, layout := range []string{"2006-01-02T15:04:05", time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Format("01/02/2006 15:04:05")
		}
	}
	return s
}

func (v *jsonValue) compact(b *strings.Builder) {
	switch v.kind {
	case jsonNull:
		b.WriteString("null")
	case jsonTrue:
		b.WriteString("true")
	case jsonFalse:
		b.WriteString("false")
	case jsonNumber:
		b.WriteString(v.text)
	case jsonString:
		writeJSONString(b, v.text)
	case jsonArray:
		b.WriteByte('[')
		for i, item := range v.items {
			if i > 0 {
				b.WriteByte(',')
			}
			item.compact(b)
		}
		b.WriteByte(']')
	case jsonObject:
		b.WriteByte('{')
		for i, item := range v.items {
			if i > 0 {
				b.WriteByte(',')
			}
			writeJSONString(b, v.members[i])
			b.WriteByte(':')
			item.compact(b)
		}
		b.WriteByte('}')
	}
}

func writeJSONString(b *strings.Builder, s string) {
	b.WriteByte('"')
	for _, r := range s {
		switch r {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case '\b':
			b.WriteString(`\b`)
		case '\f':
			b.WriteString(`\f`)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		default:
			if r < ' ' || r == 0x85 || r == 0x2028 || r == 0x2029 {
				b.WriteString(unicodeEscape(r))
			} else {
				b.WriteRune(r)
			}
		}
	}
	b.WriteByte('"')
}

// unicodeEscape writes \uXXXX, two of them beyond the basic plane.
func unicodeEscape(r rune) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for _, u := range utf16.AppendRune(nil, r) {
		b.WriteString(`\u`)
		for shift := 12; shift >= 0; shift -= 4 {
			b.WriteByte(hex[u>>shift&15])
		}
	}
	return b.String()
}

type jsonReader struct {
	src string
	pos int
}

// space skips white space and comments; false for a comment that does not end.
func (r *jsonReader) space() bool {
	for r.pos < len(r.src) {
		rest := r.src[r.pos:]
		switch {
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest[2:], "*/")
			if n < 0 {
				return false
			}
			r.pos += 2 + n + 2
		case strings.HasPrefix(rest, "//"):
			n := strings.IndexAny(rest, "\r\n")
			if n < 0 {
				n = len(rest)
			}
			r.pos += n
		default:
			c, n := utf8.DecodeRuneInString(rest)
			if !unicode.IsSpace(c) {
				return true
			}
			r.pos += n
		}
	}
	return true
}

func (r *jsonReader) take(s string) bool {
	if !strings.HasPrefix(r.src[r.pos:], s) {
		return false
	}
	r.pos += len(s)
	return true
}

func (r *jsonReader) value(depth int) *jsonValue {
	if depth > maxJSONDepth || r.pos == len(r.src) {
		return nil
	}
	switch c := r.src[r.pos]; {
	case c == '{':
		return r.object(depth)
	case c == '[':
		return r.array(depth)
	case c == '"', c == '\'':
		s, ok := r.string()
		if !ok {
			return nil
		}
		return &jsonValue{kind: jsonString, text: s}
	case c == '-', c == '.', c >= '0' && c <= '9':
		return r.number()
	}
	for word, kind := range map[string]jsonKind{"null": jsonNull, "true": jsonTrue, "false": jsonFalse} {
		if r.take(word) {
			if next, _ := utf8.DecodeRuneInString(r.src[r.pos:]); next != utf8.RuneError && (unicode.IsLetter(next) || unicode.IsDigit(next)) {
				return nil
			}
			return &jsonValue{kind: kind}
		}
	}
	return nil
}

func (r *jsonReader) array(depth int) *jsonValue {
	v := &jsonValue{kind: jsonArray}
	r.pos++
	for {
		if !r.space() {
			return nil
		}
		if r.take("]") {
			return v
		}
		item := r.value(depth + 1)
		if item == nil || !r.space() {
			return nil
		}
		v.items = append(v.items, item)
		if !r.take(",") {
			if r.take("]") {
				return v
			}
			return nil
		}
	}
}

func (r *jsonReader) object(depth int) *jsonValue {
	v := &jsonValue{kind: jsonObject, byName: map[string]int{}}
	r.pos++
	for {
		if !r.space() {
			return nil
		}
		if r.take("}") {
			return v
		}
		name, ok := r.name()
		if !ok || !r.space() || !r.take(":") || !r.space() {
			return nil
		}
		item := r.value(depth + 1)
		if item == nil || !r.space() {
			return nil
		}
		if i, twice := v.byName[name]; twice {
			v.items[i] = item
		} else {
			v.byName[name] = len(v.items)
			v.members = append(v.members, name)
			v.items = append(v.items, item)
		}
		if !r.take(",") {
			if r.take("}") {
				return v
			}
			return nil
		}
	}
}

func (r *jsonReader) name() (string, bool) {
	if r.pos < len(r.src) && (r.src[r.pos] == '"' || r.src[r.pos] == '\'') {
		return r.string()
	}
	start := r.pos
	for r.pos < len(r.src) {
		c, n := utf8.DecodeRuneInString(r.src[r.pos:])
		if c != '_' && c != '$' && !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			break
		}
		r.pos += n
	}
	return r.src[start:r.pos], r.pos > start
}

func (r *jsonReader) number() *jsonValue {
	start := r.pos
	for r.pos < len(r.src) && strings.IndexByte("+-.eE0123456789", r.src[r.pos]) >= 0 {
		r.pos++
	}
	s := r.src[start:r.pos]
	if _, err := strconv.ParseFloat(s, 64); err != nil && !errors.Is(err, strconv.ErrRange) {
		return nil
	}
	return &jsonValue{kind: jsonNumber, text: s}
}

func (r *jsonReader) string() (string, bool) {
	quote := r.src[r.pos]
	r.pos++
	var b strings.Builder
	var surrogate rune
	for r.pos < len(r.src) {
		c := r.src[r.pos]
		if c != '\\' {
			if c == quote {
				r.pos++
				return b.String(), true
			}
			n := strings.IndexAny(r.src[r.pos:], `\`+string(quote))
			if n < 0 {
				return "", false
			}
			b.WriteString(r.src[r.pos : r.pos+n])
			r.pos += n
			continue
		}
		if r.pos+1 == len(r.src) {
			return "", false
		}
		esc := r.src[r.pos+1]
		r.pos += 2
		switch esc {
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case '"', '\'', '\\', '/':
			b.WriteByte(esc)
		case 'u':
			if r.pos+4 > len(r.src) {
				return "", false
			}
			u, err := strconv.ParseUint(r.src[r.pos:r.pos+4], 16, 16)
			if err != nil {
				return "", false
			}
			r.pos += 4
			switch {
			case surrogate != 0:
				b.WriteRune(utf16.DecodeRune(surrogate, rune(u)))
				surrogate = 0
			case utf16.IsSurrogate(rune(u)) && strings.HasPrefix(r.src[r.pos:], `\u`):
				surrogate = rune(u)
			default:
				b.WriteRune(rune(u))
			}
		default:
			return "", false
		}
	}
	return "", false
}
