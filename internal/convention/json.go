package convention

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// replaceJSON changes values in place: order, comments, indentation and line ends of everything else stay as they are
// (variables.md 5.2, JSON). Comments and trailing commas are read, since configuration files have them.
func replaceJSON(text string, with *replacements) (string, error) {
	if strings.TrimSpace(text) == "" {
		text = "{}"
	}
	e := &jsonEditor{src: text, with: with}
	err := e.document()
	if err != nil {
		return "", &notThisFormat{"JSON", err}
	}
	var out strings.Builder
	at := 0
	for _, c := range e.changes {
		out.WriteString(text[at:c.from])
		out.WriteString(c.text)
		at = c.to
	}
	out.WriteString(text[at:])
	return out.String(), nil
}

const maxJSONDepth = 512

// jsonEditor walks a document once and notes what changes.
type jsonEditor struct {
	src     string
	at      int
	depth   int
	with    *replacements
	changes []change
}

// change is a piece of the source and what stands in its place.
type change struct {
	from, to int
	text     string
}

func (e *jsonEditor) document() error {
	if err := e.space(); err != nil {
		return err
	}
	if err := e.value(""); err != nil {
		return err
	}
	if err := e.space(); err != nil {
		return err
	}
	if e.at < len(e.src) {
		return e.wrong("there is text behind the end")
	}
	return nil
}

func (e *jsonEditor) wrong(what string) error {
	before := e.src[:min(e.at, len(e.src))]
	line := strings.Count(before, "\n") + 1
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Errorf("%s (line %d, position %d)", what, line, column)
}

func (e *jsonEditor) peek() byte {
	if e.at < len(e.src) {
		return e.src[e.at]
	}
	return 0
}

// space skips white space and comments.
func (e *jsonEditor) space() error {
	for e.at < len(e.src) {
		rest := e.src[e.at:]
		switch {
		case strings.ContainsRune(" \t\r\n", rune(rest[0])):
			e.at++
		case strings.HasPrefix(rest, "//"):
			end := strings.IndexByte(rest, '\n')
			if end < 0 {
				end = len(rest)
			}
			e.at += end
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				return e.wrong("a comment has no end")
			}
			e.at += end + 4
		default:
			return nil
		}
	}
	return nil
}

// value reads one value; address is where it stands.
func (e *jsonEditor) value(address string) error {
	from := e.at
	wanted, found := e.with.find(address)
	found = found && address != ""
	switch c := e.peek(); {
	case c == '{' || c == '[':
		if found && wanted.value != nil && !json.Valid([]byte(*wanted.value)) {
			e.with.unable(wanted.name, fmt.Errorf("the value is not JSON"))
			found = false
		}
		if !found {
			return e.structure(address, c)
		}
		// What lies inside goes as a whole, so it is only read.
		with := e.with
		e.with = &replacements{}
		err := e.structure(address, c)
		e.with = with
		if err != nil {
			return err
		}
		with.hit(wanted.name)
		text := "null"
		if wanted.value != nil {
			text = strings.TrimSpace(*wanted.value)
		}
		e.changes = append(e.changes, change{from, e.at, text})
	case c == '"':
		if _, err := e.text(); err != nil {
			return err
		}
		if found {
			e.changes = append(e.changes, change{from, e.at, e.scalar(wanted, jsonString)})
		}
	default:
		word := e.word()
		kind, err := kindOfWord(word)
		if err != nil {
			e.at = from
			return e.wrong(err.Error())
		}
		if found {
			e.changes = append(e.changes, change{from, e.at, e.scalar(wanted, kind)})
		}
	}
	return nil
}

type jsonKind int

const (
	jsonString jsonKind = iota
	jsonNumber
	jsonBool
	jsonNull
)

func kindOfWord(word string) (jsonKind, error) {
	switch word {
	case "true", "false":
		return jsonBool, nil
	case "null":
		return jsonNull, nil
	case "":
		return 0, fmt.Errorf("a value is missing")
	}
	if !json.Valid([]byte(word)) {
		return 0, fmt.Errorf("%q is not a value", word)
	}
	return jsonNumber, nil
}

// word reads what is neither text nor structure.
func (e *jsonEditor) word() string {
	from := e.at
	for e.at < len(e.src) && !strings.ContainsRune(" \t\r\n,:]}[{\"/", rune(e.src[e.at])) {
		e.at++
	}
	return e.src[from:e.at]
}

// text reads a quoted text.
func (e *jsonEditor) text() (string, error) {
	from := e.at
	for e.at++; e.at < len(e.src); e.at++ {
		switch e.src[e.at] {
		case '\\':
			e.at++
		case '"':
			e.at++
			var s string
			if err := json.Unmarshal([]byte(e.src[from:e.at]), &s); err != nil {
				e.at = from
				return "", e.wrong("a text is not written rightly")
			}
			return s, nil
		}
	}
	e.at = from
	return "", e.wrong("a text has no end")
}

// structure reads an object or an array with everything in it.
func (e *jsonEditor) structure(address string, open byte) error {
	if e.depth++; e.depth > maxJSONDepth {
		return e.wrong("it is nested too deep")
	}
	defer func() { e.depth-- }()
	closing := byte('}')
	if open == '[' {
		closing = ']'
	}
	e.at++
	for n := 0; ; n++ {
		if err := e.space(); err != nil {
			return err
		}
		if e.peek() == closing {
			e.at++
			return nil
		}
		name := strconv.Itoa(n)
		if open == '{' {
			if e.peek() != '"' {
				return e.wrong("a member's name is missing")
			}
			var err error
			if name, err = e.text(); err != nil {
				return err
			}
			if err := e.space(); err != nil {
				return err
			}
			if e.peek() != ':' {
				return e.wrong("a colon is missing")
			}
			e.at++
			if err := e.space(); err != nil {
				return err
			}
		}
		if address != "" {
			name = address + ":" + name
		}
		if err := e.value(name); err != nil {
			return err
		}
		if err := e.space(); err != nil {
			return err
		}
		switch e.peek() {
		case ',':
			e.at++
		case closing:
		default:
			return e.wrong("a comma or the end of a structure is missing")
		}
	}
}

// scalar writes a value in the place of a scalar, which decides the type.
func (e *jsonEditor) scalar(r replacement, was jsonKind) string {
	e.with.hit(r.name)
	if r.value == nil {
		return "null"
	}
	v := *r.value
	switch was {
	case jsonNumber:
		if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
			return strconv.FormatInt(n, 10)
		}
		if f, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) && plainNumber(v) {
			return doubleText(f)
		}
	case jsonBool:
		if l := strings.ToLower(strings.TrimSpace(v)); l == "true" || l == "false" {
			return l
		}
	}
	return quoteJSON(v)
}

// plainNumber leaves out what Go reads as a number and nobody else: hexadecimal floats and digits with underscores.
func plainNumber(s string) bool { return !strings.ContainsAny(s, "xXpP_") }

// doubleText writes a double so that it is read as one.
func doubleText(f float64) string {
	abs := math.Abs(f)
	format := byte('f')
	if abs != 0 && (abs < 1e-5 || abs >= 1e15) {
		format = 'E'
	}
	s := strconv.FormatFloat(f, format, -1, 64)
	if !strings.ContainsAny(s, ".E") {
		s += ".0"
	}
	return s
}

func quoteJSON(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string can always be written
	return strings.TrimSuffix(b.String(), "\n")
}
