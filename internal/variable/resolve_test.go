package variable

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// scopeVector is one line of testdata/variable-scope-vectors.jsonl (variables.md 8).
type scopeVector struct {
	Variables []struct {
		Name, Value, Source string
		Scope               Scope
	}
	Context struct {
		Environment, Machine, Action, Tenant, Channel, ProcessOwner, Project string
		MachineRoles, StepRoles, TenantTags                                  []string
	}
	Name   string
	Result *string
	Note   string
}

func TestScopeVectors(t *testing.T) {
	n := 0
	for line, v := range readLines[scopeVector](t, "testdata/variable-scope-vectors.jsonl") {
		n++
		var candidates []Candidate
		for _, c := range v.Variables {
			source := SourceProject
			if c.Source == "library" {
				source = SourceLibrary
			}
			candidates = append(candidates, Candidate{Variable{Name: c.Name, Value: &c.Value, Scope: c.Scope}, source})
		}
		c := v.Context
		context := Context{
			Environment: c.Environment, Machine: c.Machine, MachineRoles: c.MachineRoles, StepRoles: c.StepRoles,
			Action: c.Action, Tenant: c.Tenant, TenantTags: c.TenantTags, Channel: c.Channel,
			ProcessOwner: c.ProcessOwner, Project: c.Project,
		}
		d, _ := Resolve(candidates, context)
		got, ok := d.Raw(v.Name)
		if ok != (v.Result != nil) || ok && got != *v.Result {
			t.Errorf("line %d: got %q, %v: %s", line+1, got, ok, v.Note)
		}
		for _, def := range Explain(candidates, v.Name, context) {
			if def.Wins && def.Candidate.Text() != got {
				t.Errorf("line %d: Explain lets %q win, Resolve %q", line+1, def.Candidate.Text(), got)
			}
		}
	}
	if n == 0 {
		t.Fatal("no vectors were run")
	}
	t.Logf("%d vectors run", n)
}

func candidate(name, value string, scope Scope) Candidate {
	return Candidate{Variable: Variable{Name: name, Value: &value, Scope: scope}}
}

func TestTies(t *testing.T) {
	context := Context{Environment: "Environments-1", TenantTags: []string{"Ring/Early"}}
	here := Scope{FieldEnvironment: {"environments-1"}}
	for _, test := range []struct {
		name       string
		candidates []Candidate
		want       string
		warned     bool
	}{
		{"the first of equals", []Candidate{candidate("V", "a", here), candidate("v", "b", here)}, "a", true},
		{"a loser's tie is nobody's business", []Candidate{candidate("V", "a", nil), candidate("V", "b", nil), candidate("V", "c", here)}, "c", false},
		{"project over library is no tie", []Candidate{{Variable: candidate("V", "a", here).Variable, Source: SourceLibrary}, candidate("V", "b", here)}, "b", false},
		{"users override settings", []Candidate{Setting("V", "a"), candidate("V", "b", nil)}, "b", false},
		{"nobody overrides the system", []Candidate{System("V", "a"), Typed(Variable{Name: "V"}, "b")}, "a", false},
		{"more ids are not more specific", []Candidate{candidate("V", "a", Scope{FieldTenantTag: {"Ring/Early", "x/y"}}), candidate("V", "b", Scope{FieldTenantTag: {"Ring/Early"}})}, "a", true},
		{"an unknown field never matches", []Candidate{candidate("V", "a", nil), candidate("V", "b", Scope{"Moon": {"full"}})}, "a", false},
	} {
		d, warnings := Resolve(test.candidates, context)
		if got, _ := d.Raw("V"); got != test.want || (len(warnings) > 0) != test.warned {
			t.Errorf("%s: got %q with %q", test.name, got, warnings)
		}
	}
}

func TestStepAndActionIds(t *testing.T) {
	scope := Scope{FieldAction: {"Step-1"}}
	if _, ok := scope.Rank(Context{Step: "step-1", Action: "Action-1"}); !ok {
		t.Error("a value scoped to the step does not reach its action")
	}
	if _, ok := scope.Rank(Context{Action: "Action-1"}); ok {
		t.Error("a value of another step matches")
	}
}

// The winner has the highest weight among those that match, whatever the order (property P9).
func TestResolveIsOrderIndependent(t *testing.T) {
	context := Context{
		Environment: "E1", Machine: "M1", MachineRoles: []string{"web", "db"}, StepRoles: []string{"web"},
		Action: "A1", Tenant: "T1", TenantTags: []string{"g/x"}, Channel: "C1", ProcessOwner: "P1", Project: "P1",
	}
	ids := map[Field][]string{
		FieldEnvironment: {"E1", "E2"}, FieldMachine: {"M1", "M2"}, FieldRole: {"web", "db", "app"}, FieldAction: {"A1", "A2"},
		FieldTenant: {"T1", "T2"}, FieldTenantTag: {"g/x", "g/y"}, FieldChannel: {"C1"}, FieldProcessOwner: {"P1", "R1"},
	}
	rapid.Check(t, func(t *rapid.T) {
		var all []Candidate
		for i := range rapid.IntRange(1, 8).Draw(t, "values") {
			scope := Scope{}
			for _, f := range sortedKeys(ids) {
				if rapid.IntRange(0, 3).Draw(t, "scoped") == 0 {
					scope[f] = rapid.SliceOfNDistinct(rapid.SampledFrom(ids[f]), 1, len(ids[f]), rapid.ID[string]).Draw(t, string(f))
				}
			}
			all = append(all, candidate("V", fmt.Sprint(i), scope))
		}
		d, warnings := Resolve(all, context)
		first, found := d.Raw("V")
		best := -1
		for _, c := range all {
			if w, ok := c.Scope.Rank(context); ok {
				best = max(best, w)
			}
		}
		if found != (best >= 0) {
			t.Fatalf("found is %v, the best weight %d", found, best)
		}
		if len(warnings) > 0 {
			return
		}
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		d, _ = Resolve(all, context)
		if again, _ := d.Raw("V"); again != first {
			t.Fatalf("in another order %q wins instead of %q", again, first)
		}
	})
}

func TestOutputs(t *testing.T) {
	var values []Variable
	for _, o := range []Output{
		{Action: "A", MachineId: "Machines-1", MachineName: "web01", Name: "X", Value: "one"},
		{Action: "A", MachineId: "Machines-2", MachineName: "web02", Name: "X", Value: "two"},
		{Action: "a", MachineId: "Machines-1", MachineName: "web01", Name: "x", Value: "one again", Sensitive: true},
		{Action: "S", Name: "Y", Value: "server"},
	} {
		values = AddOutput(values, o)
	}
	var candidates []Candidate
	for _, v := range values {
		candidates = append(candidates, Candidate{Variable: v})
	}
	for machine, want := range map[string]map[string]string{
		"Machines-1": {"Octopus.Action[A].Output.X": "one again", "Octopus.Action[A].Output[web02].X": "two", "Octopus.Action[S].Output.Y": "server"},
		"Machines-2": {"Octopus.Action[A].Output.X": "two"},
		"":           {"Octopus.Action[A].Output.X": "one again", "Octopus.Action[A].Output[web01].X": "one again"},
	} {
		d, warnings := Resolve(candidates, Context{Machine: machine})
		for name, value := range want {
			if got, _ := Evaluate("#{"+name+"}", d); got != value {
				t.Errorf("on %q %s is %q, want %q", machine, name, got, value)
			}
		}
		if len(warnings) > 0 {
			t.Errorf("on %q: %q", machine, warnings)
		}
	}
	d, _ := Resolve(candidates, Context{Machine: "Machines-1"})
	if !d.Sensitive("Octopus.Action[A].Output.X") || !d.Sensitive("Octopus.Action[A].Output[web01].X") {
		t.Error("a sensitive output is plain in one of its forms")
	}
}

func TestQuestions(t *testing.T) {
	ask := func(id, name, label, value string, scope Scope) Candidate {
		c := candidate(name, value, scope)
		c.Id, c.Prompt = id, &Prompt{Label: label, Required: true}
		return c
	}
	staging, production := Scope{FieldEnvironment: {"E1"}}, Scope{FieldEnvironment: {"E2"}}
	candidates := []Candidate{
		ask("1", "Zed", "", "z", nil),
		ask("2", "Who", "alice or bob", "", staging),
		ask("3", "Who", "elsewhere", "", production),
		ask("4", "Late", "by machine", "", Scope{FieldMachine: {"M9"}}),
		ask("5", "Fixed", "never", "", nil), candidate("Fixed", "f", staging),
		ask("6", "Open", "only sometimes fixed", "", nil), candidate("Open", "f", Scope{FieldMachine: {"M9"}}),
	}
	questions := Questions(candidates, Context{Environment: "E1"})
	var labels []string
	for _, q := range questions {
		labels = append(labels, q.Label)
	}
	if diff := cmp.Diff([]string{"alice or bob", "by machine", "only sometimes fixed", "Zed"}, labels); diff != "" {
		t.Error(diff)
	}

	values, warnings, err := Answer(questions, map[string]string{"Alice or BOB": "bob", "4": "m", "open": "o", "Fixed": "no", "nonsense": "x"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"2": "bob", "4": "m", "6": "o"}, values); diff != "" {
		t.Error(diff)
	}
	if len(warnings) != 2 {
		t.Errorf("warnings are %q", warnings)
	}
	_, _, err = Answer(questions, map[string]string{"Zed": " "})
	if err == nil || !strings.Contains(err.Error(), "alice or bob, by machine, only sometimes fixed, Zed") {
		t.Errorf("required values are missing, but: %v", err)
	}

	d, _ := Resolve(append(candidates, Typed(questions[0].Variable, "#{Zed}!")), Context{Environment: "E1"})
	if got, _, _ := d.Get("Who"); got != "z!" {
		t.Errorf("the typed value reads %q", got)
	}
}

func TestControl(t *testing.T) {
	kind, options := Prompt{DisplaySettings: map[string]string{
		DisplayControlType: "Select", DisplaySelectOptions: "a|Alpha\r\nb\n\n c | Gamma ",
	}}.Control()
	if diff := cmp.Diff([]Option{{"a", "Alpha"}, {"b", "b"}, {"c", "Gamma"}}, options); diff != "" || kind != ControlSelect {
		t.Error(kind, diff)
	}
	if kind, _ := (Prompt{}).Control(); kind != ControlSingleLineText {
		t.Errorf("without settings the control is %s", kind)
	}
	box := Question{Variable: Variable{Id: "1", Name: "B", Prompt: &Prompt{}}, Label: "B", Control: ControlCheckbox}
	values, _, _ := Answer([]Question{box}, map[string]string{"B": "false"})
	if values["1"] != "False" {
		t.Errorf("an empty checkbox gives %q", values["1"])
	}
}
