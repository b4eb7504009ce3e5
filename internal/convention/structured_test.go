package convention

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// with makes replacements of pairs; "\x00" as a value is null.
func with(out *bytes.Buffer, pairs ...string) *replacements {
	r := &replacements{byName: map[string]replacement{}, log: log{out}}
	for i := 0; i < len(pairs); i += 2 {
		one := replacement{name: pairs[i], value: &pairs[i+1]}
		if pairs[i+1] == "\x00" {
			one.value = nil
		}
		r.all = append(r.all, one)
		r.byName[strings.ToLower(one.name)] = one
	}
	return r
}

type edit struct {
	title, in string
	pairs     []string
	want      string // "" = refused as not of this format
	hits      int
}

func testEdits(t *testing.T, do replacer, edits []edit) {
	t.Helper()
	for _, tt := range edits {
		t.Run(tt.title, func(t *testing.T) {
			var out bytes.Buffer
			r := with(&out, tt.pairs...)
			got, err := do(tt.in, r)
			var not *notThisFormat
			if tt.want == "" {
				if !errors.As(err, &not) {
					t.Fatalf("want a refusal, got %q, %v", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s\n%s", diff, out.String())
			}
			if r.hits != tt.hits {
				t.Errorf("%d hits, want %d", r.hits, tt.hits)
			}
		})
	}
}

func TestJSON(t *testing.T) {
	testEdits(t, replaceJSON, []edit{
		{"keeps all else", "{\r\n  // why\r\n\t\"b\" : 1 , \"a\": { \"x\":\"1\", },\r\n}\r\n", []string{"A:X", "2"}, "{\r\n  // why\r\n\t\"b\" : 1 , \"a\": { \"x\":\"2\", },\r\n}\r\n", 1},
		{"array by index", `[{"a":1},{"a":2}]`, []string{"1:a", "3"}, `[{"a":1},{"a":3}]`, 1},
		{"name with colons", `{"a:b":{"c":1}}`, []string{"a:b:c", "9"}, `{"a:b":{"c":9}}`, 1},
		{"number: integer", `{"n":1}`, []string{"n", "-42"}, `{"n":-42}`, 1},
		{"number: double", `{"n":1}`, []string{"n", "50.0"}, `{"n":50.0}`, 1},
		{"number: exponent", `{"n":1}`, []string{"n", "456e-5"}, `{"n":0.00456}`, 1},
		{"number: text", `{"n":1}`, []string{"n", "1 GB"}, `{"n":"1 GB"}`, 1},
		{"boolean", `{"n":true,"m":true}`, []string{"n", "FALSE", "m", "yes"}, `{"n":false,"m":"yes"}`, 2},
		{"string and null stay strings", `{"n":"x","m":null}`, []string{"n", "5", "m", "null"}, `{"n":"5","m":"null"}`, 2},
		{"null", `{"n":"x","m":{}}`, []string{"n", "\x00", "m", "\x00"}, `{"n":null,"m":null}`, 2},
		{"object", `{"o":{"a":1}, "z":1}`, []string{"o", ` {"b": [1]} `, "o:a", "7"}, `{"o":{"b": [1]}, "z":1}`, 1},
		{"object becomes a string", `{"o":{"a":1}}`, []string{"o", `"x"`}, `{"o":"x"}`, 1},
		{"object: not JSON", `{"o":{"a":1}}`, []string{"o", "{", "o:a", "7"}, `{"o":{"a":7}}`, 1},
		{"nothing is added", `{"a":1}`, []string{"b", "1", "a:b", "2"}, `{"a":1}`, 0},
		{"system names", `{"OctopusX":1,"Octopus":{"a":1}}`, []string{"OctopusX", "2", "Octopus:a", "3"}, `{"OctopusX":1,"Octopus":{"a":3}}`, 1},
		{"quotes and lines", `{"a":"x"}`, []string{"a", "\"<\n>\" €"}, `{"a":"\"<\n>\" €"}`, 1},
		{"escaped name", `{"\u0061\"":1}`, []string{`a"`, "2"}, `{"\u0061\"":2}`, 1},
		{"empty file", " ", nil, "{}", 0},
		{"not JSON: text behind", `{} x`, nil, "", 0},
		{"not JSON: no comma", `{"a":1 "b":2}`, nil, "", 0},
		{"not JSON: word", `{"a":tru}`, nil, "", 0},
		{"not JSON: no end", `{"a":[1,`, nil, "", 0},
		{"not JSON: too deep", strings.Repeat("[", 600), nil, "", 0},
	})
}

func TestProperties(t *testing.T) {
	testEdits(t, replaceProperties, []edit{
		{"keeps all else", "# c\na = 1\n\n! b=2\nb:2 \nc 3\n", []string{"A", "x", "b", "y", "c", "z"}, "# c\na = x\n\n! b=2\nb:y\nc z\n", 3},
		{"continued lines", "a = one \\\n    two\r\nb=1\r\n", []string{"a", "x"}, "a = x\r\nb=1\r\n", 1},
		{"escaped key", `my\ key\:1=v`, []string{"my key:1", "x"}, `my\ key\:1=x`, 1},
		{"unicode key", `caf\u00e9=v`, []string{"café", "x"}, `caf\u00e9=x`, 1},
		{"no separator", "a\nb\n", []string{"a", "1"}, "a:1\nb\n", 1},
		{"twice", "a=1\na=2\n", []string{"a", "3"}, "a=3\na=3\n", 2},
		{"escapes", "a=1", []string{"a", " x\\y\tz\nü€😀"}, `a=\ x\\y\tz\nü\u20AC\uD83D\uDE00`, 1},
		{"system names", "Octopus.X=1\nOctopus:2=1", []string{"Octopus.X", "2"}, "Octopus.X=1\nOctopus:2=1", 0},
		{"null", "a=1", []string{"a", "\x00"}, "a=", 1},
		{"wrong escape", `a=\u12`, nil, "", 0},
	})
}

func TestXML(t *testing.T) {
	testEdits(t, replaceXML, []edit{
		{"keeps all else", "<?xml version='1.0'?>\r\n<!-- c -->\r\n<a  x = '1' ><b/>\r\n <c>t</c ></a >\r\n", []string{"/a/@x", "it's <2>", "/a/c", "u"}, "<?xml version='1.0'?>\r\n<!-- c -->\r\n<a  x = 'it&apos;s &lt;2&gt;' ><b/>\r\n <c>u</c ></a >\r\n", 2},
		{"all selected", "<r><i>1</i><i>2</i></r>", []string{"//i", "x"}, "<r><i>x</i><i>x</i></r>", 1},
		{"predicate", `<r><i k="a">1</i><i k="b">2</i></r>`, []string{"/r/i[@k='b']", "x"}, `<r><i k="a">1</i><i k="b">x</i></r>`, 1},
		{"position", `<r><i>1</i><i>2</i></r>`, []string{"/r/i[last()]", "x"}, `<r><i>1</i><i>x</i></r>`, 1},
		{"empty element", "<r><i/></r>", []string{"/r/i", "x"}, "<r><i>x</i></r>", 1},
		{"inner XML", "<r><i><x/>t</i></r>", []string{"/r/i", "<y a='1'/>z"}, "<r><i><y a='1'/>z</i></r>", 1},
		{"inner XML with a prefix", "<r xmlns:p='u'><i><x/></i></r>", []string{"/r/i", "<p:y/>"}, "<r xmlns:p='u'><i><p:y/></i></r>", 1},
		{"inner XML: not well-formed", "<r><i><x/></i></r>", []string{"/r/i", "<y>"}, "<r><i><x/></i></r>", 0},
		{"CDATA stays", "<r><i><![CDATA[a<b]]></i></r>", []string{"/r/i", "c<d]]>"}, "<r><i><![CDATA[c<d]]]]><![CDATA[>]]></i></r>", 1},
		{"comment and instruction", "<r><!--a--><?p x?></r>", []string{"/r/comment()", "b--c", "/r/processing-instruction('p')", "y"}, "<r><!--b- -c--><?p y?></r>", 2},
		{"text node", "<r>a<b/>c</r>", []string{"/r/text()[1]", "x&y"}, "<r>x&amp;y<b/>c</r>", 1},
		{"namespaces", "<r xmlns='d' xmlns:p='u'><i>1</i><p:i>2</p:i></r>", []string{"/*:r/p:i", "x", "/r/i", "no", "//*:i[1]", "y"}, "<r xmlns='d' xmlns:p='u'><i>y</i><p:i>x</p:i></r>", 2},
		{"no path", "<r><i>1</i></r>", []string{"i", "x", "a:b", "y", "http://h/x", "z"}, "<r><i>1</i></r>", 0},
		{"attribute is never created", "<r/>", []string{"/r/@a", "x"}, "<r/>", 0},
		{"DOCTYPE", "<!DOCTYPE r [<!ELEMENT r (#PCDATA)>]>\n<r>1</r>", []string{"/r", "2"}, "<!DOCTYPE r [<!ELEMENT r (#PCDATA)>]>\n<r>2</r>", 1},
		{"not XML", "a: b", nil, "", 0},
		{"not closed", "<a><b></a>", nil, "", 0},
	})
}

func TestYAML(t *testing.T) {
	testEdits(t, replaceYAML, []edit{
		{"keeps all else", "# c\n\na:   1 # one\n\nb:\n    - x\n    - 'y'   \n", []string{"A", "2", "b:1", "it's"}, "# c\n\na:   2 # one\n\nb:\n    - x\n    - 'it''s'   \n", 2},
		{"CRLF", "a: 1\r\nb: 2\r\n", []string{"a", "x"}, "a: x\r\nb: 2\r\n", 1},
		{"plain takes the text's type", "a: x\nb: y\nc: z\n", []string{"a", "true", "b", "~", "c", "99"}, "a: true\nb: ~\nc: 99\n", 3},
		{"plain that needs quotes", "a: x\n", []string{"a", "b: c #d"}, "a: 'b: c #d'\n", 1},
		{"quoted stays a string", "a: \"x\"\nb: 'y'\n", []string{"a", "true", "b", "1"}, "a: \"true\"\nb: '1'\n", 2},
		{"empty text", "a: x\n", []string{"a", ""}, "a: ''\n", 1},
		{"no value", "a:\nb: 1\n", []string{"a", "x"}, "a: x\nb: 1\n", 1},
		{"null", "a: x\n", []string{"a", "\x00"}, "a: null\n", 1},
		{"anchor and tag stay", "a: &x !!str 1\nb: *x\n", []string{"a", "2", "b", "no"}, "a: &x !!str 2\nb: *x\n", 1},
		{"flow", "a: {b: 1, c: [x, y]}\n", []string{"a:b", "p,q", "a:c:1", "z"}, "a: {b: 'p,q', c: [x, z]}\n", 2},
		{"literal", "a: |\n  one\n  two\nb: 1\n", []string{"a", "three\nfour\n"}, "a: |\n  three\n  four\nb: 1\n", 1},
		{"folded", "a: >-\n  one\n  two\n\nb: 1\n", []string{"a", "three\nfour"}, "a: >-\n  three\n\n  four\n\nb: 1\n", 1},
		{"structure", "a:\n  b: 1\nc: 2 # two\n", []string{"a", "[x, {y: 1}]", "a:b", "no"}, "a: [x, {y: 1}]\nc: 2 # two\n", 1},
		{"structure: not YAML", "a:\n  b: 1\n", []string{"a", "{"}, "a: \"{\"\n", 1},
		{"documents", "---\na: 1\n---\na: 2\n", []string{"a", "3"}, "---\na: 3\n---\na: 3\n", 2},
		{"system names", "Octopus: 1\nOctopusX: 1\n", []string{"Octopus", "2", "OctopusX", "2"}, "Octopus: 1\nOctopusX: 1\n", 0},
		{"unicode", "ü: \"é\" # x\nb: {ä: ö}\n", []string{"ü", "€", "b:ä", "😀"}, "ü: \"€\" # x\nb: {ä: 😀}\n", 2},
		{"not YAML", "a: b: c\n", nil, "", 0},
	})
}

// Whatever the file, a change is either refused or leaves a file of the same format that holds the value.
func FuzzStructured(f *testing.F) {
	f.Add(`{"a":{"b":[1,true,null,"x"]}}`, "a:b:0", "2")
	f.Add("a: 1\nb: [x, 'y']\n", "b:1", "z\nz")
	f.Add("a = 1\\\n  2\nb\n", "a", "x\\")
	f.Add("<a b='1'><c/></a>", "/a/@b", "<\"'")
	f.Add("a: |\n  x\n\n  y\n", "a", " p\n")
	f.Fuzz(func(t *testing.T, text, name, value string) {
		if !utf8.ValidString(text + name + value) {
			t.Skip("files are decoded, and variables come from JSON")
		}
		for _, format := range []fileFormat{formatJSON, formatXML, formatYAML, formatProperties} {
			var out bytes.Buffer
			first := with(&out, name, value)
			got, err := format.replace(text, first)
			if err != nil || first.hits == 0 {
				continue
			}
			if _, err := format.replace(got, with(&out, name, value)); err != nil {
				t.Fatalf("%s: %q with %q = %q gave %q, which cannot be read: %v", format.name, text, name, value, got, err)
			}
		}
	})
}
