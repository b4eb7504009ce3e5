package variable

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Whatever a template and its values say: no panic, an end, and the promises about text and error.
func FuzzEvaluate(f *testing.F) {
	for i, v := range readLines[vector](f, "testdata/variable-vectors.jsonl") {
		if i%4 != 0 || strings.Contains(v.Template, "Now") {
			continue
		}
		name, value := "A", "1"
		if len(v.Variables) > 0 && v.Variables[0].Value != nil {
			name, value = v.Variables[0].Name, *v.Variables[0].Value
		}
		f.Add(v.Template, name, value)
	}
	f.Fuzz(func(t *testing.T, template, name, value string) {
		if strings.Contains(strings.ToLower(template+value), "now") || len(template)+len(value) > 4096 {
			t.Skip("the clock moves between two evaluations; long inputs only slow us down")
		}
		d := NewDictionary()
		d.Set(name, value)
		d.Set("B", "#{A}#{B[x]}")
		d.Set("L", "a,#{A},c")
		r := d.Evaluate(template)
		file := d.EvaluateFile(template)
		switch err := r.Err.(type) {
		case nil, *Unresolved:
			// What parses as a whole means the same in a file.
			if file.Text != r.Text || fmt.Sprint(file.Err) != fmt.Sprint(r.Err) {
				t.Errorf("halt mode gives %q (%v), continue mode %q (%v)", r.Text, r.Err, file.Text, file.Err)
			}
		case *ParseError:
			if r.Text != template || err.Line < 1 || err.Column < 1 {
				t.Errorf("%v with %q", err, r.Text)
			}
			if _, again := file.Err.(*ParseError); again {
				t.Error("continue mode reports a parse error")
			}
		case *LoopError, *FilterError, *LimitError:
			if !r.Null && r.Text != template {
				t.Errorf("%v leaves %q", err, r.Text)
			}
		default:
			t.Errorf("an error of no known kind: %v", err)
		}
		if !strings.Contains(template, "#{") && (r.Text != template || r.Err != nil) {
			t.Error("text without tokens was changed")
		}
	})
}

// Names are foreign text too, and JSON is read leniently: at least whatever is valid.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e3,null,true,"\u00e9\n"]}`, `{a:'x',/*c*/"b":1,}`, `[[[]]]`, `"\ud83d"`, `{"x":1} y`, `-`, `[1,`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v := parseJSON(s)
		if v == nil {
			if json.Valid([]byte(s)) && strings.Count(s, "[")+strings.Count(s, "{") <= maxJSONDepth {
				t.Errorf("%q is valid JSON", s)
			}
			return
		}
		var b strings.Builder
		v.compact(&b)
		if again := parseJSON(b.String()); again == nil {
			t.Errorf("%q was written as %q, which does not parse", s, b.String())
		}
		v.step("a")
		v.nodes()
		_, _ = parseName(s)
	})
}

func FuzzFormat(f *testing.F) {
	for _, seed := range [][3]string{
		{"1234.5", "", "N2"},
		{"2031-02-27T22:15:09Z", "date", "yyyy-MM-dd'T'HH K %h"},
		{"-0.005", "double", "#,##0.00;(0.0);z"},
		{"5", "int", "X8"},
		{"9.99", "", "0.0E+00"},
		{"1", "", "‰0\\"},
		{"1.2.3-rc.1+x", "", "G3"},
		{"http://[::1]:80/a?b#c", "Host", "E5"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, in, kind, layout string) {
		if len(layout) > 200 || len(in) > 400 {
			t.Skip()
		}
		for name, fn := range filters {
			if name == "match" || name == "replace" {
				continue // their engine has its own fuzzers, and a time limit
			}
			for _, options := range [][]string{nil, {layout}, {kind, layout}} {
				e := &evaluator{work: maxWork, bytes: maxBytes, regex: maxRegex}
				if s, ok, err := fn(e, in, options); err != nil && ok && s == "" && name == "" {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	})
}

// Printing is a fixed point: what was printed parses, and prints the same. (Variables called if or
// else are left out, since inside a conditional their normalised form means something else.)
func TestPrintRoundTrip(t *testing.T) {
	var template *rapid.Generator[string]
	name := rapid.SampledFrom([]string{"A", "Foo.Bar", "A[x]", "A[#{i}].B", "my var", "A[a.b c!]", "in"})
	expression := rapid.Custom(func(t *rapid.T) string {
		s := name.Draw(t, "name")
		for range rapid.IntRange(0, 2).Draw(t, "filters") {
			s += " | " + rapid.SampledFrom([]string{"ToUpper", "Append x", `Append "a b"`, "Append #{A}", `Replace "\d+" y`, "null"}).Draw(t, "filter")
			if strings.HasSuffix(s, "}") {
				break // nothing may follow a nested option
			}
		}
		return s
	})
	token := rapid.Custom(func(t *rapid.T) string {
		body := func() string {
			if rapid.Bool().Draw(t, "deeper") {
				return template.Draw(t, "body")
			}
			return "text"
		}
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			return rapid.SampledFrom([]string{"plain ", "{}", "é\n", "] [", `"`}).Draw(t, "text")
		case 1:
			test := expression.Draw(t, "test")
			if rapid.Bool().Draw(t, "compared") {
				test += ` == "v"`
			}
			return "#{if " + test + "}" + body() + "#{else}" + body() + "#{/if}"
		case 2:
			return "#{unless " + name.Draw(t, "test") + "}" + body() + "#{/unless}"
		case 3:
			return "#{each x in " + name.Draw(t, "collection") + "}" + body() + "#{/each}"
		}
		return "#{ " + expression.Draw(t, "expression") + " }"
	})
	template = rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(token, 1, 3).Draw(t, "tokens"), "")
	})
	rapid.Check(t, func(t *rapid.T) {
		src := template.Draw(t, "template")
		l, err := parse(src)
		if err != nil {
			t.Skip("not every combination is a template")
		}
		once := printed(l)
		again, err := parse(once)
		if err != nil {
			t.Fatalf("%q was printed as %q: %v", src, once, err)
		}
		if twice := printed(again); twice != once {
			t.Fatalf("%q, then %q, then %q", src, once, twice)
		}
	})
}

// Any graph of variables comes to an end, and a circle that was met gives no text.
func TestGraphsEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := NewDictionary()
		n := rapid.IntRange(1, 8).Draw(t, "names")
		forward := rapid.Bool().Draw(t, "forward")
		for i := range n {
			var b strings.Builder
			for range rapid.IntRange(0, 3).Draw(t, "references") {
				lowest := 0
				if forward {
					lowest = i + 1
				}
				if lowest >= n {
					continue
				}
				fmt.Fprintf(&b, "#{V%d}", rapid.IntRange(lowest, n-1).Draw(t, "to"))
			}
			d.Set(fmt.Sprint("V", i), "v"+b.String())
		}
		r := d.Evaluate("#{V0}")
		if forward && r.Err != nil {
			t.Fatalf("nothing refers back, but: %v", r.Err)
		}
		if r.Err == nil && strings.Contains(r.Text, "#{") {
			t.Fatalf("no error, but %q", r.Text)
		}
		if r.Err != nil && r.Text != "" {
			t.Fatalf("%v leaves %q", r.Err, r.Text)
		}
	})
}
