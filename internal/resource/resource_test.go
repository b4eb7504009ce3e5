package resource

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

type part struct {
	Id         string
	Name       string
	Properties Properties
	Password   SensitiveValue
}

type thing struct {
	Meta
	Name    string
	Count   int
	Maybe   *bool
	On      bool
	Tags    []string
	ByName  map[string][]string
	Note    string   `json:",omitempty"`
	Extra   []string `json:",omitempty"`
	When    Time
	Nested  struct{ Deep []string }
	Parts   []part
	Pointer *part `json:",omitempty"`
}

func foldText(t interface{ Fatal(...any) }, text string) string {
	o, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(Fold(reflect.TypeFor[thing](), o))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFold(t *testing.T) {
	const base = `{"ByName":{},"Count":0,"Nested":{"Deep":[]},"On":false,"Parts":[],"Tags":[]}`
	for name, c := range map[string]struct {
		in, has, lacks string
	}{
		"nothing":              {`{}`, base, "null"},
		"nulls of collections": {`{"Tags":null,"ByName":null,"Parts":null,"Count":null}`, base, "null"},
		"names are folded":     {`{"NAME":"x"}`, `"Name":"x"`, "NAME"},
		"empty text":           {`{"Name":""}`, `"Name":""`, "Note"},
		"null text":            {`{"Note":null}`, `"Note":null`, `"Name":`},
		"unknown numbers":      {`{"Unknown":1.50}`, `"Unknown":1.50`, `""`},
		"numbers as texts":     {`{"Count":"7"}`, `"Count":7`, `"7"`},
		"map keys never":       {`{"ByName":{"tags":["A"]}}`, `"ByName":{"tags":["A"]}`, `""`},
		"properties":           {`{"parts":[{"properties":{"a":null,"B":true,"c":3,"d":{"hasvalue":true,"newValue":"x"}}}]}`, `{"B":"True","a":"","c":"3","d":{"HasValue":true,"NewValue":"x"}}`, "properties"},
		"exact spelling wins":  {`{"name":"wrong","Name":"right"}`, `"Name":"right"`, "wrong"},
		"first spelling wins":  {`{"name":"b","NAME":"a"}`, `"Name":"a"`, `"b"`},
	} {
		if got := foldText(t, c.in); !strings.Contains(got, c.has) || strings.Contains(got, c.lacks) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{``, `[]`, `"x"`, `{} {}`, `{"a":`, `nul`} {
		if o, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q gives %v", text, o)
		}
	}
}

func TestEachSensitiveNamesTheSameValueAcrossVersions(t *testing.T) {
	paths := func(text string) []string {
		o, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		err = EachSensitive(reflect.TypeFor[thing](), Fold(reflect.TypeFor[thing](), o), func(path string, m map[string]any) error {
			if m["HasValue"] == true {
				out = append(out, path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	a := paths(`{"Parts":[{"Id":"1","Password":{"HasValue":true}}]}`)
	b := paths(`{"Parts":[{"Id":"0"},{"Id":"1","Password":{"HasValue":true}}]}`)
	if diff := cmp.Diff(a, b); diff != "" || len(a) != 1 {
		t.Errorf("%v %v", a, b)
	}
}

func TestHideSensitive(t *testing.T) {
	o, err := Parse([]byte(`{"Parts":[{"Password":{"HasValue":true,"SecretId":"Secrets-1"},"Properties":{"p":{"SecretId":"Secrets-2","NewValue":"x"},"q":"plain"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	HideSensitive(reflect.TypeFor[thing](), o)
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"Parts":[{"Password":{"HasValue":true,"Hint":null,"NewValue":null},"Properties":{"p":{"HasValue":true,"Hint":null,"NewValue":null},"q":"plain"}}]}`
	if string(b) != want {
		t.Errorf("%s", b)
	}
}

// Folding is idempotent, and never loses what the struct does not know.
func TestFoldIsStable(t *testing.T) {
	value := rapid.Custom(func(t *rapid.T) any { return anyJSON(t, 3) })
	rapid.Check(t, func(t *rapid.T) {
		o := Object{}
		for _, k := range rapid.SliceOfN(rapid.SampledFrom([]string{"name", "TAGS", "Parts", "unknown", "byname", "Nested", "count", "Pointer", "x"}), 0, 6).Draw(t, "names") {
			o[k] = value.Draw(t, "value")
		}
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		once := foldText(t, string(b))
		if twice := foldText(t, once); twice != once {
			t.Fatalf("%s\nfolds to %s\nand then to %s", b, once, twice)
		}
		before, err := json.Marshal(o["unknown"])
		if err != nil {
			t.Fatal(err)
		}
		var after map[string]json.RawMessage
		if err := json.Unmarshal([]byte(once), &after); err != nil {
			t.Fatal(err)
		}
		if _, had := o["unknown"]; had && string(after["unknown"]) != string(before) {
			t.Fatalf("unknown was %s and is %s", before, after["unknown"])
		}
	})
}

func anyJSON(t *rapid.T, depth int) any {
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "b")
	case 2:
		return json.Number(rapid.SampledFrom([]string{"0", "1.50", "-3", "1e9"}).Draw(t, "n"))
	case 3, 4:
		return rapid.SampledFrom([]string{"", "a", "TRUE", "7"}).Draw(t, "s")
	case 5:
		if depth == 0 {
			return []any{}
		}
		var l []any
		for range rapid.IntRange(0, 3).Draw(t, "len") {
			l = append(l, anyJSON(t, depth-1))
		}
		return l
	default:
		o := map[string]any{}
		if depth == 0 {
			return o
		}
		for _, k := range rapid.SliceOfN(rapid.SampledFrom([]string{"id", "Properties", "deep", "a"}), 0, 3).Draw(t, "keys") {
			o[k] = anyJSON(t, depth-1)
		}
		return o
	}
}

func FuzzFold(f *testing.F) {
	for _, s := range []string{`{}`, `{"name":1,"NAME":2}`, `{"Parts":[{"Properties":{"a":[1]}}]}`, `{"Tags":{"x":1},"ByName":[1]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := Parse(b)
		if err != nil {
			return
		}
		folded := Fold(reflect.TypeFor[thing](), o)
		HideSensitive(reflect.TypeFor[thing](), folded)
		_, _ = View[thing](folded)
	})
}

func TestPageLinks(t *testing.T) {
	p := NewPage("X", "/api/x", map[string][]string{"name": {"a b"}, "take": {"2"}}, 2, 2, 5, []int{3, 4})
	want := map[string]string{
		"Self": "/api/x?name=a+b&skip=2&take=2", "Template": "/api/x{?skip,take,ids}", "Page.All": "/api/x?skip=0&take=2147483647", "Page.Current": "/api/x?name=a+b&skip=2&take=2",
		"Page.Last": "/api/x?name=a+b&skip=4&take=2", "Page.Next": "/api/x?name=a+b&skip=4&take=2",
	}
	if diff := cmp.Diff(want, p.Links); diff != "" || p.NumberOfPages != 3 || p.LastPageNumber != 2 {
		t.Errorf("%+v %s", p, diff)
	}
	if e := NewPage[int]("X", "/api/x", nil, 0, 1<<31-1, 0, nil); e.Items == nil || e.NumberOfPages != 1 || e.Links["Page.Next"] != "" {
		t.Errorf("%+v", e)
	}
}
