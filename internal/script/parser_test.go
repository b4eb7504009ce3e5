package script

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestLines(t *testing.T) {
	out := func(l Level, text string) Event { return Output{Stdout, l, text} }
	for name, c := range map[string]struct {
		lines []string
		want  []Event
	}{
		"plain":     {[]string{"hello", "", "cr\r"}, []Event{out(Info, "hello"), out(Info, ""), out(Info, "cr")}},
		"variable":  {[]string{`##octopus[setVariable name='TmFtZQ==' value='VmFsdWU=']`}, []Event{SetVariable{"Name", "Value", false}}},
		"sensitive": {[]string{`##octopus[setVariable  NAME="TmFtZQ==" value = "" sensitive='VHJ1ZQ==' ]`}, []Event{SetVariable{"Name", "", true}}},
		"levels": {
			[]string{"##octopus[stdout-verbose]", "a", "##octopus[stdout-ignore]", "b", "##octopus[stdout-default]", "c"},
			[]Event{SetLevel{Stdout, Verbose}, out(Verbose, "a"), SetLevel{Stdout, Ignore}, SetLevel{Stdout, Info}, out(Info, "c")},
		},
		"text around is kept at its level": {
			[]string{"no newline ##octopus[stdout-error]after"},
			[]Event{out(Info, "no newline "), SetLevel{Stdout, Error}, out(Error, "after")},
		},
		"two on a line": {[]string{"##octopus[mask value='YWJj']##octopus[resultMessage message='eA==']"}, []Event{Mask{"abc"}, ResultMessage{"x"}}},
		"artifact": {
			[]string{Message("createArtifact", "path", `C:\a\b.txt`), Message("createArtifact", "path", "/x", "name", "y", "length", "12")},
			[]Event{CreateArtifact{`C:\a\b.txt`, "b.txt", -1}, CreateArtifact{"/x", "y", 12}},
		},
		"progress": {
			[]string{Message("progress", "percentage", "150", "message", "m"), Message("progress", "percentage", "x"), Message("progress", "percentage", "NaN")},
			[]Event{
				Progress{100, "m"},
				out(Info, Message("progress", "percentage", "x")),
				out(Info, Message("progress", "percentage", "NaN")),
			},
		},
		"unknown": {[]string{"##octopus[foundPackage id='YQ==']"}, []Event{Other{"foundPackage", map[string]string{"id": "a"}}}},
		"malformed is text": {
			[]string{
				"##octopus[", "##octopus[]", "##octopus[a b]", "##octopus[setVariable name='!!']", "##octopus[setVariable value='YQ==']",
				"##octopus[a b='YQ==' B='YQ==']", "##octopus[a b='YQ=='c='YQ==']", "##octopus[a b=YQ==]", "##octopus[a b='YQ==]", "##octopus[1a]",
			},
			[]Event{
				out(Info, "##octopus["), out(Info, "##octopus[]"), out(Info, "##octopus[a b]"), out(Info, "##octopus[setVariable name='!!']"),
				out(Info, "##octopus[setVariable value='YQ==']"), out(Info, "##octopus[a b='YQ==' B='YQ==']"),
				out(Info, "##octopus[a b='YQ=='c='YQ==']"), out(Info, "##octopus[a b=YQ==]"), out(Info, "##octopus[a b='YQ==]"), out(Info, "##octopus[1a]"),
			},
		},
		"after a malformed one": {[]string{"##octopus[ ##octopus[stdout-wait]"}, []Event{out(Info, "##octopus[ "), SetLevel{Stdout, Wait}}},
	} {
		t.Run(name, func(t *testing.T) {
			var p Parser
			var got []Event
			for _, l := range c.lines {
				got = append(got, p.Line(Stdout, l)...)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestStreams(t *testing.T) {
	var p Parser
	var got []Event
	got = append(got, p.Line(Stderr, "bad")...)
	got = append(got, p.Line(Stdout, "##octopus[stderr-progress]")...)
	got = append(got, p.Line(Stderr, "##octopus[stdout-verbose]")...)
	got = append(got, p.Line(Stderr, "##octopus[mask value='YWJj']")...)
	got = append(got, p.Line(Debug, "##octopus[stdout-verbose]")...)
	want := []Event{
		Output{Stderr, Error, "bad"},
		SetLevel{Stderr, Verbose},
		Output{Stderr, Verbose, "##octopus[stdout-verbose]"},
		Mask{"abc"},
		Output{Debug, Verbose, "##octopus[stdout-verbose]"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// However the bytes are cut, and however often the parser is stored and loaded in between, the events are the same.
func TestChunksAndState(t *testing.T) {
	text := "ärger\n##octopus[stdout-verbose]\nv\r\n" + Message("setVariable", "name", "n", "value", strings.Repeat("ü\n", 99)) +
		"\n##octopus[broken\n\xff\nx##octopus[stdout-default]y\nlast"
	var whole Parser
	want := append(whole.Write(Stdout, []byte(text)), whole.Close()...)
	rapid.Check(t, func(t *rapid.T) {
		var state State
		var got []Event
		for rest := []byte(text); len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			p := Parser{state}
			got = append(got, p.Write(Stdout, rest[:n])...)
			b, err := json.Marshal(p.State)
			if err != nil {
				t.Fatal(err)
			}
			state = State{}
			if err := json.Unmarshal(b, &state); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		p := Parser{state}
		got = append(got, p.Close()...)
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	})
}

func TestLongLinesAreCut(t *testing.T) {
	var p Parser
	var total, lines int
	for _, e := range append(p.Write(Stdout, make([]byte, MaxLine+5)), p.Close()...) {
		total += len(e.(Output).Text)
		lines++
	}
	if total != MaxLine+5 || lines != 2 {
		t.Errorf("%d bytes in %d lines", total, lines)
	}
}

func FuzzParser(f *testing.F) {
	f.Add("##octopus[setVariable name='YQ==' value=\"YQ==\"]tail", uint(3))
	f.Add("##octopus[##octopus[mask value='YWJj']]\n##octopus[x y = 'YQ==' z]", uint(9))
	f.Fuzz(func(t *testing.T, text string, cut uint) {
		var a, b Parser
		whole := append(a.Write(Stdout, []byte(text)), a.Close()...)
		at := int(cut % uint(len(text)+1))
		parts := append(b.Write(Stdout, []byte(text[:at])), b.Write(Stdout, []byte(text[at:]))...)
		parts = append(parts, b.Close()...)
		if d := cmp.Diff(whole, parts); d != "" {
			t.Error(d)
		}
	})
}

// What Message writes, the parser reads.
func TestMessageRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name, value := rapid.StringN(1, 9, -1).Draw(t, "name"), rapid.String().Draw(t, "value")
		var p Parser
		got := p.Line(Stdout, Message("setVariable", "name", name, "value", value))
		want := []Event{SetVariable{strings.ToValidUTF8(name, "\uFFFD"), strings.ToValidUTF8(value, "\uFFFD"), false}}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	})
}
