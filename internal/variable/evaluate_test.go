package variable

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func dictionary(pairs ...string) *Dictionary {
	d := NewDictionary()
	for i := 0; i < len(pairs); i += 2 {
		d.Set(pairs[i], pairs[i+1])
	}
	return d
}

func TestReads(t *testing.T) {
	d := dictionary("List", " a,, #{B} ,c", "B", "b", "Paths", "/x, y\r\n/z\n\n", "Yes", " TRUE ", "No", "false", "Odd", "yes",
		"Int", " 12 ", "Empty", "", "A!", "by full name", "P[one].X", "1", "P[two].X", "2", "P[one].Y", "3", "Loop", "#{Loop}")
	d.Put(Entry{Name: "Null"})
	if diff := cmp.Diff([]string{"a", "b", "c"}, d.List("list")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"/x, y", "/z"}, d.Paths("Paths")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"one", "two"}, d.Indexes("P")); diff != "" {
		t.Error(diff)
	}
	if !d.Flag("Yes", false) || d.Flag("No", true) || !d.Flag("Odd", true) || d.Flag("Odd", false) || d.Flag("None", false) {
		t.Error("a flag is wrong")
	}
	if n, ok := d.Int("Int"); n != 12 || !ok {
		t.Error("the integer is wrong")
	}
	if _, ok := d.Int("B"); ok {
		t.Error("b is no integer")
	}
	if s, _, _ := d.Get("a!"); s != "by full name" {
		t.Errorf("the full name gives %q", s)
	}
	if _, ok, err := d.Get("Null"); ok || err != nil {
		t.Error("null is set")
	}
	if _, _, err := d.Get("Loop"); err == nil {
		t.Error("a loop has a value")
	}
	for _, name := range []string{"Empty", "None", "Null", "Loop"} {
		if _, err := d.Require(name); err == nil {
			t.Errorf("%s is good enough", name)
		}
	}
	for condition, want := range map[string]bool{"#{Yes}": true, "#{No}": false, "#{None}": false, "#{B": false, "#{Loop}": false, "": false, "x": true, "#{Empty | null}": false} {
		if d.IsTrue(condition) != want {
			t.Errorf("%s is %v", condition, !want)
		}
	}
}

func TestDictionaryOrderAndSpelling(t *testing.T) {
	d := dictionary("B", "1", "A", "2", "b", "3")
	var names []string
	for e := range d.All() {
		names = append(names, e.Name+*e.Value)
	}
	if diff := cmp.Diff([]string{"B3", "A2"}, names); diff != "" {
		t.Error(diff)
	}
	c := d.Clone()
	c.Set("A", "other")
	if got, _ := d.Raw("a"); got != "2" {
		t.Error("a clone writes into its original")
	}
	if got, _ := Evaluate("#{A}", c); got != "other" {
		t.Errorf("after Set the tree still says %q", got)
	}
	if fold("ı") == fold("i") || fold("É") != fold("é") {
		t.Error("names fold in some culture")
	}
}

func TestVariablesFile(t *testing.T) {
	d := dictionary("B", "#{A}", "A", "1")
	d.SetSensitive("S", "x")
	d.Put(Entry{Name: "N"})
	b, err := json.Marshal(d)
	if want := `[{"k":"B","v":"#{A}","s":false},{"k":"A","v":"1","s":false},{"k":"S","v":"x","s":true},{"k":"N","v":null,"s":false}]`; string(b) != want || err != nil {
		t.Fatalf("got %s, %v", b, err)
	}
	var back Dictionary
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(slices.Collect(d.All()), slices.Collect(back.All())); diff != "" {
		t.Error(diff)
	}
}

func TestSecrets(t *testing.T) {
	d := dictionary("B", "b")
	d.SetSensitive("Pw", "x#{B}")
	d.SetSensitive("Plain", "p")
	if diff := cmp.Diff([]string{"x#{B}", "xb", "p"}, d.Secrets()); diff != "" {
		t.Error(diff)
	}
}

func TestErrorTexts(t *testing.T) {
	d := dictionary("Foo", "#{Fox}", "Fox", "#{Foo}", "V", "oops!")
	for template, want := range map[string]string{
		"#{A}#{B | ToUpper}#{A}": "The following tokens were unable to be evaluated: '#{A}', '#{B | ToUpper}'",
		"a\nbé #{":               "The text does not parse at line 2, column 4, near \"#{\". Write ## for a literal # before a {.",
		"#{V | VersionMajor}":    "The filter VersionMajor failed in #{V | VersionMajor}: \"oops!\" is not a version",
	} {
		if _, err := Evaluate(template, d); err == nil || err.Error() != want {
			t.Errorf("%s: %v", template, err)
		}
	}
	_, err := Evaluate("x#{Foo}", d)
	var loop *LoopError
	if !errors.As(err, &loop) || loop.Chain[0] != "Foo" || loop.Chain[len(loop.Chain)-1] != "Fox" && loop.Chain[len(loop.Chain)-1] != "Foo" {
		t.Errorf("got %v", err)
	}
}

// What an attacker with the right to edit variables could write must end soon and cheaply (property P10).
func TestLimits(t *testing.T) {
	laughs := NewDictionary()
	for i := range 40 {
		laughs.Set(fmt.Sprint("L", i), fmt.Sprintf("#{L%d}#{L%d}", i+1, i+1))
	}
	laughs.Set("L40", strings.Repeat("ha", 100))
	deep := NewDictionary()
	for i := range 2000 {
		deep.Set(fmt.Sprint("D", i), fmt.Sprintf("#{D%d}", i+1))
	}
	tricky := dictionary("J", `{"a":"#{J.b}#{J.b}","b":"#{J.c}#{J.c}","c":"#{J.a}#{J.d}","d":"#{J.b}"}`,
		"Long", strings.Repeat("a", 1<<20), "N", strings.Repeat("\n", 1<<20), "B", strings.Repeat("x,", 5000))
	type test struct {
		name, template string
		vars           *Dictionary
	}
	for _, test := range []test{
		{"a billion laughs", "#{L0}", laughs},
		{"depth", "#{D0}", deep},
		{"JSON that mentions itself", "#{J.a}", tricky},
		{"loops in loops", "#{each a in B}#{each b in B}#{each c in B}#{c}#{/each}#{/each}#{/each}", tricky},
		{"indent", "#{N | Indent 255}", tricky},
		{"replace", `#{Long | Replace a #{Long}}`, tricky},
		{"a long condition again and again", "#{each a in B}#{each b in B}#{if Long == Long}#{/if}#{/each}#{/each}", tricky},
		{"nested too deep", strings.Repeat("#{if a}", 5000), tricky},
		{"nested indexes", strings.Repeat("#{A[", 5000), tricky},
		{"nested filters", strings.Repeat("#{A | Append ", 5000), tricky},
		{"nested sums", "#{calc " + strings.Repeat("(", 5000) + "1", tricky},
		{"long sum", "#{calc 1" + strings.Repeat("+1", 50000) + "}", tricky},
		{"long chain", "#{if a}" + strings.Repeat("#{elseif a}", 50000) + "#{/if}", tricky},
		{"many unclosed", strings.Repeat("#{each x in y}#{A!}", 5000), tricky},
	} {
		start := time.Now()
		for _, run := range []func(string) Result{test.vars.Evaluate, test.vars.EvaluateFile} {
			r := run(test.template)
			if r.Err == nil && test.name != "many unclosed" {
				t.Errorf("%s: no error, %d bytes", test.name, len(r.Text))
			}
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%s: took %v", test.name, took)
		} else {
			t.Logf("%s: %v", test.name, took)
		}
	}
}

func TestDepthUpToTheCap(t *testing.T) {
	d := NewDictionary()
	const n = MaxDepth - 1
	for i := range n {
		d.Set(fmt.Sprint("D", i), fmt.Sprintf("#{D%d}", i+1))
	}
	d.Set(fmt.Sprint("D", n), "end")
	if got, err := Evaluate("#{D0}", d); got != "end" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestSlowRegexEnds(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the time limit of a regular expression")
	}
	d := dictionary("A", strings.Repeat("a", 40)+"!")
	_, err := Evaluate(`#{A | Match "^(a+)+b"}`, d)
	var f *FilterError
	if !errors.As(err, &f) {
		t.Errorf("got %v", err)
	}
}

func TestNowInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, err := Evaluate(`#{ | NowDateUtc}|#{ | NowDateUtc yyyy}`, NewDictionary())
		if got != "2000-01-01T00:00:00.0000000Z|2000" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestRegexInABubble(t *testing.T) {
	d := dictionary("A", "a1b22")
	if got, _ := Evaluate(`#{A | Replace "\d+" "-"}`, d); got != "a-b-" {
		t.Fatalf("outside: %q", got)
	}
	synctest.Test(t, func(t *testing.T) {
		if got, err := Evaluate(`#{A | Replace "\d+" "-"}`, d); got != "a-b-" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestFormats(t *testing.T) {
	d := dictionary("A", "1234567.891", "N", "-5.5", "Z", "0", "E", "9.996", "Half", "0.5", "Int", "-255",
		"T", "2031-02-27T22:15:09.1234567+02:00", "U", "2031-02-27 09:05:00")
	for token, want := range map[string]string{
		`#{A | Format "E2"}`:                          "1.23E+006",
		`#{A | Format "0.00E+00"}`:                    "1.23E+06",
		`#{A | Format "0,,.00"}`:                      "1.23",
		`#{A | Format "0,0.0"}`:                       "1,234,567.9",
		`#{A | Format C0}`:                            "$1,234,568",
		`#{A | Format P1}`:                            "123,456,789.1%",
		`#{A | Format G4}`:                            "1.235E+06",
		`#{A | Format "000-000"}`:                     "1234-568",
		`#{N | Format "0.00;(0.00);zero"}`:            "(5.50)",
		`#{Z | Format "0.00;(0.00);zero"}`:            "zero",
		`#{N | Format C}`:                             "-$5.50",
		`#{E | Format F2}`:                            "10.00",
		`#{E | Format "E2"}`:                          "1.00E+001",
		`#{Half | Format "0%"}`:                       "50%",
		`#{Half | Format F0}`:                         "1",
		`#{Int | Format int X}`:                       "FFFFFF01",
		`#{Int | Format int D5}`:                      "-00255",
		`#{Z | Format N}`:                             "0.00",
		`#{A | Format "'n='0"}`:                       "n=1234568",
		`#{T | Format o}`:                             "2031-02-27T22:15:09.1234567+02:00",
		`#{T | Format R}`:                             "Thu, 27 Feb 2031 20:15:09 GMT",
		`#{T | Format "yyyy-MM-dd HH:mm:ss.fff zzz"}`: "2031-02-27 22:15:09.123 +02:00",
		`#{T | Format "h:mm tt '(local)'"}`:           "10:15 PM (local)",
		`#{U | Format d}`:                             "2/27/2031",
		`#{U | Format date "hh h %h ddd MMM yy"}`:     "09 9 9 Thu Feb 31",
		`#{U | Format s}`:                             "2031-02-27T09:05:00",
		`#{T | AddHours 1}`:                           "2031-02-27T23:15:09.1234567+02:00",
	} {
		if got, err := Evaluate(token, d); got != want {
			t.Errorf("%s is %q, want %q (%v)", token, got, want, err)
		}
	}
	for _, token := range []string{`#{A | Format D}`, `#{A | Format Q}`, `#{T | Format U}`, `#{U | Format j}`, `#{U | Format "'open"}`, `#{A | Format F99999}`} {
		if _, err := Evaluate(token, d); err == nil {
			t.Errorf("%s has a result", token)
		}
	}
}

func TestMarkdown(t *testing.T) {
	d := dictionary("M", "# H\n\na ~~b~~ c~d~e x^2^ ++i++ ==m== a+b==c ~\n\n|a|b|\n|-|-|\n|1|2|\n\n<b>raw</b>")
	got, err := Evaluate("#{M | MarkdownToHtml}", d)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"<h1>H</h1>", "<del>b</del> c<sub>d</sub>e x<sup>2</sup> <ins>i</ins> <mark>m</mark> a+b==c ~",
		"<table>", "<b>raw</b>",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
}

func TestMoreOfTheLanguage(t *testing.T) {
	d := dictionary("A", "1", "B", "x", "JJ", `{"d":"2031-02-27T22:15:09Z","o":{"d":"2031-02-27T22:15:09Z"},"e":"\ud83d\ude00\u00e9","neg":[1,2]}`,
		"R", "aXbX", "U", "http://bob@EXAMPLE.com/a b?q=1", "P", "a", "P[k]", "v", "K", "k", "E", "😀x")
	for template, want := range map[string]string{
		"#{JJ.d}":                                "02/27/2031 22:15:09",
		"#{JJ.o}":                                `{"d":"2031-02-27T22:15:09Z"}`,
		"#{JJ.e}":                                "😀é",
		`#{R | Replace "(?<x>X)(?=b)" "[${x}]"}`: "a[X]bX",
		`#{R | Replace X "$$"}`:                  "a$b$",
		"#{U | UriPart AbsoluteUri}":             "http://bob@example.com/a%20b?q=1",
		"#{U | UriPart HostAndPort}":             "example.com:80",
		"#{P[#{K}]}":                             "v",
		"#{E | Substring 1}":                     "\uFFFD",
		"#{E | Truncate 2}":                      "😀...",
		"#{A | Append #{B}| ToUpper}":            "1X",
		"#{if A == \"1\"}y#{/if}":                "y",
		"#{calc 1/0}":                            "Infinity",
		"#{calc .5+1}":                           "1.5",
		"#{calc (1+{A})*2}":                      "4",
	} {
		if got, err := Evaluate(template, d); got != want {
			t.Errorf("%s is %q, want %q (%v)", template, got, want, err)
		}
	}
	if r := d.Evaluate("#{JJ.neg[-1]}"); len(r.Missing()) != 1 {
		t.Errorf("a negative index gives %+v", r)
	}
	got, err := EvaluateFile(`if("#{"===x){y="#{A}"} #{if A == "1"} #{A}`, d)
	if want := `if("#{"===x){y="1"} #{if A == "1"} #{A}`; got != want || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestSharedDictionary(t *testing.T) {
	d := dictionary("A", "#{B}", "B", "#{C[x]}", "C[x]", "#{each i in L}#{i}#{/each}", "L", "1,2,3")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if got, err := Evaluate("#{A}", d); got != "123" || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestNamesOfFiltersAreAllCovered(t *testing.T) {
	// Each filter with no input must not answer, except those made to revive a null.
	for name := range filters {
		got, err := (&evaluator{work: 1, bytes: 1}).filter(name, nil, []string{"x"})
		if revives := slices.Contains([]string{"append", "prepend"}, name); err != nil || (got != nil) != revives {
			t.Errorf("%s of nothing is %v, %v", name, got, err)
		}
	}
}
