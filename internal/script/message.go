package script

import (
	"encoding/base64"
	"math"
	"path"
	"strconv"
	"strings"
)

// Level says how a line of output is shown in the task log; the names are the log's categories (behaviour.md 2.17).
type Level string

// The levels a script can choose. Ignore drops the line.
const (
	Verbose   Level = "Verbose"
	Info      Level = "Info"
	Highlight Level = "Highlight"
	Wait      Level = "Wait"
	Warning   Level = "Warning"
	Error     Level = "Error"
	Ignore    Level = "Ignore"
)

// Event is one thing a script said: an Output line or one of the messages below.
type Event interface{ event() }

// Output is a line for the log. Stream tells where it was written, Level how it is shown.
type Output struct {
	Stream Stream
	Level  Level
	Text   string
}

// SetVariable sets an output variable (deployments.md E9).
type SetVariable struct {
	Name, Value string
	Sensitive   bool
}

// CreateArtifact asks the server to fetch a file after the script has ended (deployments.md E10). Length is -1 when not told.
type CreateArtifact struct {
	Path, Name string
	Length     int64
}

// Progress is the step's progress, 0 to 100.
type Progress struct {
	Percentage int
	Message    string
}

// Mask asks that Value is replaced in the log of this task from now on.
type Mask struct{ Value string }

// ResultMessage is the step's summary when it fails (deployments.md E8).
type ResultMessage struct{ Message string }

// SetLevel tells that the level of a stream changed; the following Output events carry it already.
type SetLevel struct {
	Stream Stream
	Level  Level
}

// Other is a well-formed message this package gives no meaning to. Attribute names are in lower case.
// Whoever does not know it ignores it silently.
type Other struct {
	Name       string
	Attributes map[string]string
}

func (Output) event()         {}
func (SetVariable) event()    {}
func (CreateArtifact) event() {}
func (Progress) event()       {}
func (Mask) event()           {}
func (ResultMessage) event()  {}
func (SetLevel) event()       {}
func (Other) event()          {}

const marker = "##octopus["

var levelWords = map[string]SetLevel{
	"stdout-default":   {Stdout, Info},
	"stdout-verbose":   {Stdout, Verbose},
	"stdout-highlight": {Stdout, Highlight},
	"stdout-wait":      {Stdout, Wait},
	"stdout-warning":   {Stdout, Warning},
	"stdout-error":     {Stdout, Error},
	"stdout-ignore":    {Stdout, Ignore},
	"stderr-default":   {Stderr, Error},
	"stderr-error":     {Stderr, Error},
	"stderr-warning":   {Stderr, Warning},
	"stderr-progress":  {Stderr, Verbose},
	"stderr-ignore":    {Stderr, Ignore},
}

// readMessage finds the first readable message in a line. before and after are the text around it.
func readMessage(line string) (before string, e Event, after string, ok bool) {
	for at := 0; ; {
		i := strings.Index(line[at:], marker)
		if i < 0 {
			return "", nil, "", false
		}
		start := at + i
		body, rest, closed := strings.Cut(line[start+len(marker):], "]")
		if !closed {
			return "", nil, "", false
		}
		if name, attributes, ok := readElement(body); ok {
			if e, ok := meaning(name, attributes); ok {
				return line[:start], e, rest, true
			}
		}
		at = start + len(marker)
	}
}

// readElement reads `name key='b64' key="b64"`, as the inside of an XML start tag.
func readElement(s string) (name string, attributes map[string]string, ok bool) {
	const blank = " \t\r\n"
	s = strings.Trim(s, blank)
	end := strings.IndexAny(s, blank)
	if end < 0 {
		end = len(s)
	}
	if name = s[:end]; !isName(name) {
		return "", nil, false
	}
	rest := s[end:]
	for strings.TrimLeft(rest, blank) != "" {
		trimmed := strings.TrimLeft(rest, blank)
		if trimmed == rest {
			return "", nil, false // attributes are separated by blanks
		}
		key, value, found := strings.Cut(trimmed, "=")
		key = strings.ToLower(strings.TrimRight(key, blank))
		value = strings.TrimLeft(value, blank)
		if !found || !isName(key) || value == "" || (value[0] != '\'' && value[0] != '"') {
			return "", nil, false
		}
		coded, after, found := strings.Cut(value[1:], value[:1])
		if _, twice := attributes[key]; !found || twice {
			return "", nil, false
		}
		text, err := base64.StdEncoding.DecodeString(strings.NewReplacer(" ", "", "\t", "").Replace(coded))
		if err != nil {
			return "", nil, false
		}
		if attributes == nil {
			attributes = map[string]string{}
		}
		attributes[key] = strings.ToValidUTF8(string(text), "\uFFFD")
		rest = after
	}
	return name, attributes, true
}

func isName(s string) bool {
	for _, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_'
		if !letter && (r < '0' || r > '9') && r != '-' && r != '.' {
			return false
		}
	}
	return s != "" && s[0] != '-' && s[0] != '.' && (s[0] < '0' || s[0] > '9')
}

// meaning gives a message its type. A message that lacks what it must have is not one.
func meaning(name string, a map[string]string) (Event, bool) {
	if l, ok := levelWords[name]; ok {
		return l, true
	}
	switch name {
	case "setVariable":
		return SetVariable{a["name"], a["value"], strings.EqualFold(a["sensitive"], "true")}, a["name"] != ""
	case "createArtifact":
		e := CreateArtifact{a["path"], a["name"], -1}
		if n, err := strconv.ParseInt(a["length"], 10, 64); err == nil && n >= 0 {
			e.Length = n
		}
		if e.Name == "" {
			e.Name = path.Base(strings.ReplaceAll(e.Path, `\`, "/"))
		}
		return e, e.Path != ""
	case "progress":
		n, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(a["percentage"]), "%"), 64)
		if err != nil || math.IsNaN(n) {
			return nil, false
		}
		return Progress{int(min(max(n, 0), 100)), a["message"]}, true
	case "mask":
		return Mask{a["value"]}, a["value"] != ""
	case "resultMessage":
		return ResultMessage{a["message"]}, true
	}
	return Other{name, a}, true
}

// Message writes a service message; values come in pairs of attribute name and text.
func Message(name string, pairs ...string) string {
	var b strings.Builder
	b.WriteString(marker + name)
	for i := 0; i+1 < len(pairs); i += 2 {
		b.WriteString(" " + pairs[i] + "='" + base64.StdEncoding.EncodeToString([]byte(pairs[i+1])) + "'")
	}
	b.WriteString("]")
	return b.String()
}
