package variable

import (
	"iter"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

// Dictionary is the ordered map of names to raw values that one step on one target gets
// (variables.md 1.1). Names compare without case; a name that is set again keeps its place.
//
// Reading is safe from several goroutines at once, setting is not.
type Dictionary struct {
	entries []Entry
	index   map[string]int // by folded name

	binding sync.Mutex
	root    *node // the tree of names; nil until needed and after every change
}

// Entry is one name with its raw value.
type Entry struct {
	Name      string
	Value     *string // nil: null, which reads as "" through #{...} and as not set by full name
	Sensitive bool
}

// NewDictionary gives an empty one; so is the zero value.
func NewDictionary() *Dictionary { return new(Dictionary) }

// FromMap is for callers to whom order means nothing; sensitive values are Put one by one.
func FromMap(values map[string]string) *Dictionary {
	d := NewDictionary()
	for _, name := range sortedKeys(values) {
		d.Set(name, values[name])
	}
	return d
}

// Set stores a plain value.
func (d *Dictionary) Set(name, value string) { d.Put(Entry{Name: name, Value: &value}) }

// SetSensitive stores a value that is masked in logs.
func (d *Dictionary) SetSensitive(name, value string) {
	d.Put(Entry{Name: name, Value: &value, Sensitive: true})
}

// Put stores an entry. A name that is there keeps its place and its first spelling.
func (d *Dictionary) Put(e Entry) {
	d.root = nil
	if d.index == nil {
		d.index = map[string]int{}
	}
	key := fold(e.Name)
	if i, ok := d.index[key]; ok {
		e.Name = d.entries[i].Name
		d.entries[i] = e
		return
	}
	d.index[key] = len(d.entries)
	d.entries = append(d.entries, e)
}

// Len counts the names.
func (d *Dictionary) Len() int { return len(d.entries) }

// All yields the entries in the order in which their names were first set.
func (d *Dictionary) All() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for _, e := range d.entries {
			if !yield(e) {
				return
			}
		}
	}
}

// Clone copies the dictionary, so that a step may add to its own.
func (d *Dictionary) Clone() *Dictionary {
	c := &Dictionary{entries: append([]Entry(nil), d.entries...), index: make(map[string]int, len(d.index))}
	for k, i := range d.index {
		c.index[k] = i
	}
	return c
}

// Raw gives a value as it was stored; ok is false for an unknown name and for null.
func (d *Dictionary) Raw(name string) (value string, ok bool) {
	i, ok := d.index[fold(name)]
	if !ok || d.entries[i].Value == nil {
		return "", false
	}
	return *d.entries[i].Value, true
}

// Sensitive tells whether the value of a name is to be masked.
func (d *Dictionary) Sensitive(name string) bool {
	i, ok := d.index[fold(name)]
	return ok && d.entries[i].Sensitive
}

// Get looks a value up by its full name and evaluates it (variables.md 1.1). ok is false if it is
// not set. With an *Unresolved or *ParseError the value is good; with any other error it is "".
func (d *Dictionary) Get(name string) (value string, ok bool, err error) {
	raw, ok := d.Raw(name)
	if !ok {
		return "", false, nil
	}
	r := d.Evaluate(raw)
	return r.Text, !r.Null, r.Err
}

// Text is Get for callers that take what there is: "" when the value is not set or cannot be evaluated.
func (d *Dictionary) Text(name string) string {
	s, _, _ := d.Get(name) //nolint:errcheck // see above
	return s
}

// List splits an evaluated value at commas, trims the parts and drops empty ones (variables.md 1.1).
func (d *Dictionary) List(name string) []string { return d.split(name, ",") }

// Paths is List for one path a line.
func (d *Dictionary) Paths(name string) []string { return d.split(name, "\r\n") }

func (d *Dictionary) split(name, separators string) []string {
	var parts []string
	for _, part := range strings.FieldsFunc(d.Text(name), func(r rune) bool { return strings.ContainsRune(separators, r) }) {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// Flag reads true or false in any case; everything else is the fallback (variables.md 1.1).
func (d *Dictionary) Flag(name string, fallback bool) bool {
	switch strings.ToLower(strings.TrimSpace(d.Text(name))) {
	case "true":
		return true
	case "false":
		return false
	}
	return fallback
}

// Int reads a plain integer; ok is false for anything else.
func (d *Dictionary) Int(name string) (n int, ok bool) {
	n, err := strconv.Atoi(strings.TrimSpace(d.Text(name)))
	return n, err == nil
}

// Require gives a value that must be there and not empty (variables.md 1.1).
func (d *Dictionary) Require(name string) (string, error) {
	value, ok, err := d.Get(name)
	switch {
	case value == "" && err != nil:
		return "", err
	case !ok || value == "":
		return "", missingVariable(name)
	}
	return value, nil
}

// IsTrue evaluates a run condition: true only if nothing went wrong and the text is truthy (variables.md 1.1, 1.8).
func (d *Dictionary) IsTrue(condition string) bool {
	r := d.Evaluate(condition)
	return r.Err == nil && !r.Null && Truthy(r.Text)
}

// Secrets gives the raw and the evaluated text of every sensitive value, for masking (variables.md 6).
func (d *Dictionary) Secrets() []string {
	var secrets []string
	for _, e := range d.entries {
		if !e.Sensitive || e.Value == nil || *e.Value == "" {
			continue
		}
		secrets = append(secrets, *e.Value)
		if s := d.Evaluate(*e.Value).Text; s != "" && s != *e.Value {
			secrets = append(secrets, s)
		}
	}
	return secrets
}

// Indexes gives the index texts of all variables collection[...], in the order they were set.
func (d *Dictionary) Indexes(collection string) []string {
	sym, ok := parseName(collection)
	if !ok {
		return nil
	}
	n := d.tree()
	for _, s := range sym.steps {
		if n = n.child(s); n == nil {
			return nil
		}
	}
	var texts []string
	for _, c := range n.indexes.list {
		texts = append(texts, c.name)
	}
	return texts
}

// Truthy is the language's idea of truth: not "0", not empty, and not no or false in any case or space (variables.md 1.8).
func Truthy(s string) bool {
	if s == "0" || s == "" {
		return false
	}
	t := strings.TrimFunc(s, unicode.IsSpace)
	return !strings.EqualFold(t, "no") && !strings.EqualFold(t, "false")
}

// fold makes the key names are compared by: upper case, character by character, in no culture.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if r == 'ı' || r == 'ſ' { // their upper case is plain ASCII, which is another name
			return r
		}
		return unicode.ToUpper(r)
	}, s)
}
