package variable

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// vector is one line of testdata/variable-vectors.jsonl (variables.md 8).
type vector struct {
	Template    string
	Variables   ordered
	Result      *string
	ErrorKind   string
	Missing     []string
	HaltOnError *bool
	Note        string
}

// ordered keeps the order of a JSON object's members, which matters to the tree of names.
type ordered []Entry

func (o *ordered) UnmarshalJSON(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	if _, err := dec.Token(); err != nil {
		return err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		var value *string
		if err := dec.Decode(&value); err != nil {
			return err
		}
		*o = append(*o, Entry{Name: name.(string), Value: value})
	}
	return nil
}

func (v vector) dictionary() *Dictionary {
	d := NewDictionary()
	for _, e := range v.Variables {
		d.Put(e)
	}
	return d
}

func TestLanguageVectors(t *testing.T) {
	n := 0
	for line, v := range readLines[vector](t, "testdata/variable-vectors.jsonl") {
		n++
		d := v.dictionary()
		r := d.Evaluate(v.Template)
		if v.HaltOnError != nil && !*v.HaltOnError {
			r = d.EvaluateFile(v.Template)
		}
		got, want := r.Text, "null"
		if r.Null {
			got = "null"
		}
		if v.Result != nil {
			want = *v.Result
		}
		if strings.Contains(v.Note, "Markdown") {
			got, want = strings.TrimSpace(got), strings.TrimSpace(want)
		}
		if got != want || r.Null != (v.Result == nil) {
			t.Errorf("line %d: %s\n with %v\n  got %q (%v)\n want %q\n %s", line+1, v.Template, v.Variables.text(), got, r.Err, want, v.Note)
		}
		if kind := errorKind(r); kind != v.ErrorKind {
			t.Errorf("line %d: %s: error kind is %s (%v), want %s", line+1, v.Template, kind, r.Err, v.ErrorKind)
		}
		if !slices.Equal(r.Missing(), v.Missing) {
			t.Errorf("line %d: %s: missing %q, want %q", line+1, v.Template, r.Missing(), v.Missing)
		}
	}
	if n == 0 {
		t.Fatal("no vectors were run")
	}
	t.Logf("%d vectors run", n)
}

func (o ordered) text() string {
	var b strings.Builder
	for _, e := range o {
		value := "null"
		if e.Value != nil {
			value = *e.Value
		}
		b.WriteString(e.Name + "=" + value + "; ")
	}
	return b.String()
}

func errorKind(r Result) string {
	var (
		unresolved *Unresolved
		parse      *ParseError
		loop       *LoopError
		filter     *FilterError
	)
	switch {
	case errors.As(r.Err, &unresolved):
		return "missing"
	case errors.As(r.Err, &parse):
		return "parse"
	case errors.As(r.Err, &loop):
		return "recursion"
	case errors.As(r.Err, &filter):
		return "filter-throws"
	case r.Err != nil:
		return r.Err.Error()
	case r.Null:
		return "null-result"
	}
	return "none"
}

func readLines[T any](t testing.TB, file string) []T {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	var all []T
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var v T
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			t.Fatalf("%s, line %d: %v", file, len(all)+1, err)
		}
		all = append(all, v)
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
