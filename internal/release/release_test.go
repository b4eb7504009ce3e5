package release

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/octavo/octavo/internal/fault"
)

func TestParseVersion(t *testing.T) { // V5
	for text, ok := range map[string]bool{
		"1": true, "1.2.3.4": true, " 1.0.0-rc.1+9 ": true, "2026.11.21.0": true, "6.3.417-x64": true,
		"": false, "1.2.3.4.5": false, "v1": false, "1.0-": false, "1..0": false, "1.0 beta": false, "1.0.0-a_b": false,
		"1." + strings.Repeat("1", maxVersion): false,
	} {
		if _, err := ParseVersion(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestOrder(t *testing.T) { // Q6
	in := []string{"1.10", "1.9", "1.9.1", "1.10-rc.10", "1.10-rc.2", "10.0", "2.0", "no version"}
	want := []string{"no version", "1.9", "1.9.1", "1.10-rc.2", "1.10-rc.10", "1.10", "2.0", "10.0"}
	slices.SortFunc(in, CompareVersions)
	if diff := cmp.Diff(want, in); diff != "" {
		t.Error(diff)
	}
}

func TestTail(t *testing.T) { // V10
	for text, want := range map[string]string{"1.0": "", "1.0-rc.1": "rc.1", "1.0+x": "+x", "1.0-rc+x-y": "rc+x-y"} {
		v, err := ParseVersion(text)
		if err != nil || v.Tail() != want {
			t.Errorf("%s: %q, %v", text, v.Tail(), err)
		}
	}
}

func TestMask(t *testing.T) { // V3
	for _, c := range []struct {
		mask     string
		existing []string
		want     string
	}{
		{"1.2.3.i", []string{"1.2.3.4", "1.2.3.11", "1.2.3.9"}, "1.2.3.12"},
		{"1.i", []string{"1.2.3"}, "1.0"}, // as many parts
		{"1.I", []string{"1.4"}, "1.5"},
		{"1.2.3", nil, "1.2.3"},
		{"1.0.i-beta", []string{"1.0.4"}, "1.0.5-beta"},
		{"1.0.i", []string{"1.0.4-rc", "not one"}, "1.0.5"},
	} {
		if got, err := ResolveMask(c.mask, c.existing); err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %s", c.mask, got, err, c.want)
		}
	}
	if _, err := ResolveMask("1.x.i", nil); err == nil {
		t.Error("1.x.i was accepted")
	}
}

func rule(t *testing.T, versions, tag string) Rule {
	t.Helper()
	r, err := NewRule(versions, tag, "", "")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRules(t *testing.T) { // V9, V10
	for _, c := range []struct {
		versions, tag, in, out string
	}{
		{"", "^$", "1.0", "1.0-rc 1.0+x"},
		{"", `^(|\+.*)$`, "1.0 1.0+x", "1.0-rc"},
		{"", `^[^\+].*`, "1.0-rc", "1.0 1.0+x"},
		{"", `^(?!beta).+`, "1.0-rc", "1.0-beta 1.0"}, // .NET's look-ahead
		{"(,1.0],[2.0,3.0)", "", "0.9 1.0 2.5", "1.5 3.0"},
		{"[1.0]", "", "1.0 1.0.0", "1.1"},
	} {
		r := rule(t, c.versions, c.tag)
		for _, list := range []struct {
			texts string
			want  bool
		}{{c.in, true}, {c.out, false}} {
			for text := range strings.FieldsSeq(list.texts) {
				v, err := ParseVersion(text)
				if err != nil || r.Allows(v) != list.want {
					t.Errorf("%s: %s allowed: %v, %v", r, text, !list.want, err)
				}
			}
		}
	}
	for _, bad := range [][2]string{{"[1.0", ""}, {"[2.0,1.0]", ""}, {"", "("}} {
		if _, err := NewRule(bad[0], bad[1], "", ""); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestPick(t *testing.T) { // V8, V9
	at := func(day int) time.Time { return time.Date(2026, 11, day, 0, 0, 0, 0, time.UTC) }
	offered := []Candidate{{"2.0-beta.1", at(4)}, {"1.9", at(3)}, {"1.10", at(1)}, {"garbage", at(9)}, {"2.0-rc", at(2)}}
	recent, err := NewRule("", "", MostRecentlyPublished, "^1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		rule Rule
		pre  string
		want string
	}{
		{Rule{}, "", "1.10"},
		{Rule{}, "beta", "2.0-beta.1"},
		{rule(t, "[1.0,)", ""), "", "2.0-rc"},
		{recent, "", "1.9"},
		{rule(t, "[5.0,)", ""), "", ""},
	} {
		if got, ok := Pick(offered, c.rule, c.pre); got != c.want || ok != (c.want != "") {
			t.Errorf("%s, %q: %q, want %q", c.rule, c.pre, got, c.want)
		}
	}
}

func TestSelect(t *testing.T) { // V7, V11, V12
	refs := []Reference{
		{ActionName: "Web", StepName: "Web", PackageId: "Acme.Web", Resolvable: true},
		{ActionName: "Web", StepName: "Web", Name: "tool", PackageId: "Tool", Resolvable: true},
		{ActionName: "Fixed", StepName: "Roll", PackageId: "Acme.Db", Fixed: "7", Resolvable: true},
		{ActionName: "Late", StepName: "Roll", PackageId: "#{Id}", Rule: rule(t, "[2.0,)", "")},
	}
	offers := func(r Reference) ([]Candidate, error) {
		if r.PackageId == "Tool" {
			return nil, errors.New("the feed does not answer")
		}
		return []Candidate{{Version: "1.0"}, {Version: "2.0-rc"}}, nil
	}
	given := func(common string, specs ...string) Given {
		g, err := ParseGiven(common, "", specs)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	for _, c := range []struct {
		name   string
		given  Given
		ignore bool
		want   string
	}{
		{"step, reference, package", given("", "Web:tool:3.0", "Late:2.5"), false, "1.0 3.0 7 2.5"},
		{"step before package and all", given("9", "Acme.Web:5", "web:4", "*:6"), false, "4 4 7 6"},
		{"all", given("4.0"), false, "4.0 4.0 7 4.0"},
		{"wildcard with reference", given("4.0", "*:tool:8"), false, "4.0 8 7 4.0"},
		{"nothing", given(""), false, "refused: does not answer; must be given"},
		{"breaks a rule", given("1.0"), false, "refused: breaks the channel's rule"},
		{"rules ignored", given("1.0"), true, "1.0 1.0 7 1.0"},
	} {
		got, err := Select(refs, c.given, c.ignore, offers)
		if parts, refused := strings.CutPrefix(c.want, "refused: "); refused {
			for part := range strings.SplitSeq(parts, "; ") {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("%s: %v does not say %q", c.name, err, part)
				}
			}
			continue
		}
		var versions []string
		for _, s := range got {
			versions = append(versions, s.Version)
		}
		if strings.Join(versions, " ") != c.want || err != nil {
			t.Errorf("%s: %v, %v, want %s", c.name, versions, err, c.want)
		}
	}
	if _, err := ParseGiven("", "", []string{"Web", "a:b:", ":1"}); err == nil || len(err.(*fault.Fault).All()) != 3 {
		t.Errorf("wrong specs: %v", err)
	}
}

func TestChooseChannel(t *testing.T) { // V13
	refs := []Reference{{ActionName: "Web", PackageId: "W"}, {ActionName: "Db", PackageId: "D"}}
	channel := func(id string, isDefault bool, rules map[string]Rule) Channel {
		return Channel{Id: id, IsDefault: isDefault, Rule: func(action, _ string) (Rule, bool) { r, ok := rules[action]; return r, ok }}
	}
	stable, beta := rule(t, "", "^$"), rule(t, "", "^beta")
	channels := []Channel{
		channel("default", true, nil),
		channel("stable", false, map[string]Rule{"Web": stable}),
		channel("both", false, map[string]Rule{"Web": stable, "Db": stable}),
		channel("beta", false, map[string]Rule{"Web": beta}),
		channel("beta too", false, map[string]Rule{"Web": beta}),
	}
	for common, want := range map[string]string{"": "default", "1.0": "both", "1.0-beta": "default", "1.0-rc": "default"} {
		g, _ := ParseGiven(common, "", nil)
		if got, ok := ChooseChannel(channels, refs, g); got != want || !ok {
			t.Errorf("%q: %s", common, got)
		}
	}
}

func TestParseFile(t *testing.T) { // behaviour.md 2.16
	for _, c := range []struct{ name, id, version, ext string }{
		{"Octopus.Tentacle.6.3.417-x64.zip", "Octopus.Tentacle", "6.3.417-x64", ".zip"},
		{"powershell-linux-alpine-x64.7.2.10.tar.gz", "powershell-linux-alpine-x64", "7.2.10", ".tar.gz"},
		{"pterm-0.12.42.zip", "pterm-0", "12.42", ".zip"},
		{"Octopus.Tentacle.6.3.417-x64.msi.zip", "Octopus.Tentacle", "6.3.417-x64.msi", ".zip"},
		{"Acme.Web.1.0.0-beta.1+sha.5.nupkg", "Acme.Web", "1.0.0-beta.1+sha.5", ".nupkg"},
		{"a.1.ZIP", "a", "1", ".ZIP"},
		{"SqlServer2000.zip", "", "", ""},
		{"Octopus.Tentacle.zip", "", "", ""},
		{"X-77.zip", "", "", ""},
		{"Acme.1.0.exe", "", "", ""},
		{".zip", "", "", ""},
	} {
		f, err := ParseFile(c.name)
		if (err == nil) != (c.id != "") || f.Id != c.id || f.Version != c.version || f.Extension != c.ext {
			t.Errorf("%s: %+v, %v", c.name, f, err)
		}
		if err == nil && f.Name() != c.name {
			t.Errorf("%s is called %s", c.name, f.Name())
		}
	}
}

func FuzzParseFile(f *testing.F) {
	for _, s := range []string{"pterm-0.12.42.zip", "a.1.0-b.2+c.tar.gz", "..", "a_b.c-d.1.zip", "A.1.2.3.4.5.zip"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseFile(s)
		if err != nil {
			return
		}
		if p.Name() != s || p.Id == "" {
			t.Errorf("%q is %+v", s, p)
		}
		if _, err := ParseVersion(p.Version); err != nil && len(p.Version) <= maxVersion {
			t.Errorf("%q: its version: %v", s, err)
		}
	})
}

func FuzzParseVersion(f *testing.F) {
	for _, s := range []string{"1.0.0-rc.1+9", "1.2.3.4", "1-0", "00.01", "1.0.0-0.00.a"} {
		f.Add(s, "[1.0,2.0)")
	}
	f.Fuzz(func(t *testing.T, s, r string) {
		v, err := ParseVersion(s)
		if err != nil {
			return
		}
		if v.Compare(v) != 0 {
			t.Errorf("%q is not equal to itself", s)
		}
		if within, err := ParseRange(r); err == nil {
			within.Has(v)
		}
	})
}

func FuzzResolveMask(f *testing.F) {
	f.Add("1.2.i", "1.2.3")
	f.Add("c.i-beta+1", "4.5")
	f.Fuzz(func(t *testing.T, mask, existing string) {
		got, err := ResolveMask(mask, []string{existing})
		if err != nil {
			return
		}
		if _, err := ParseVersion(got); err != nil {
			t.Errorf("%q after %q gives %q: %v", mask, existing, got, err)
		}
	})
}
