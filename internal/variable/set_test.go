package variable

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/octavo/octavo/internal/fault"
)

func TestWireForm(t *testing.T) {
	const in = `{"Id":"variableset-Projects-1","OwnerId":"Projects-1","Version":3,"Variables":[
		{"Id":"a","Name":"Db","Value":"x","Type":"String","IsSensitive":false,"IsEditable":true,"Scope":{"environment":["Environments-1"],"Role":null}},
		{"Name":"Pw","Value":null,"Type":"Sensitive","IsSensitive":true,"IsEditable":true,"Prompt":{"Label":"l","Description":"","Required":true,"DisplaySettings":{"Octopus.ControlType":"Sensitive"}},"Scope":{}}]}`
	var set VariableSet
	if err := json.Unmarshal([]byte(in), &set); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Scope{FieldEnvironment: {"Environments-1"}, FieldRole: {}}, set.Variables[0].Scope); diff != "" {
		t.Error(diff)
	}
	set.Normalise()
	if set.Variables[1].Id == "" || set.Variables[0].Id != "a" {
		t.Errorf("ids are %q and %q", set.Variables[0].Id, set.Variables[1].Id)
	}
	out, err := json.Marshal(Variable{Name: "V"})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"Name":"V","Value":null,"Type":"","IsSensitive":false,"IsEditable":false,"Scope":{}}`; string(out) != want {
		t.Errorf("got %s", out)
	}
}

func TestNormaliseSensitive(t *testing.T) {
	set := VariableSet{Variables: []Variable{
		{Name: " a ", IsSensitive: true},
		{Name: "b", Type: "string", IsSensitive: true},
		{Name: "c", Type: "sensitive"},
		{Name: "d", Type: TypeAzureAccount},
	}}
	set.Normalise()
	for i, want := range []struct {
		typ       string
		sensitive bool
	}{{TypeSensitive, true}, {TypeSensitive, true}, {TypeSensitive, true}, {TypeAzureAccount, false}} {
		if v := set.Variables[i]; v.Type != want.typ || v.IsSensitive != want.sensitive || v.Name != strings.TrimSpace(v.Name) {
			t.Errorf("%d: got %+v", i, v)
		}
	}
	if err := set.Validate(true); err != nil {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		name    string
		v       Variable
		library bool
		want    string
	}{
		{"no name", Variable{Type: TypeString}, false, "Variables[0].Name is empty"},
		{"long name", Variable{Name: strings.Repeat("x", 3000), Type: TypeString}, false, "longer than"},
		{"unknown type", Variable{Name: "V", Type: "Blob"}, false, "unknown type Blob"},
		{"library by action", Variable{Name: "V", Type: TypeString, Scope: Scope{FieldAction: {"A"}}}, true, "cannot be scoped by Action"},
		{"internal field", Variable{Name: "V", Type: TypeString, Scope: Scope{FieldPrivate: {"True"}}}, false, "cannot be scoped by Private"},
		{"empty id", Variable{Name: "V", Type: TypeString, Scope: Scope{FieldRole: {""}}}, false, "empty id in Scope.Role"},
		{"good", Variable{Name: "V", Type: TypeString, Scope: Scope{FieldAction: {"A"}, FieldPrivate: {}}}, false, ""},
	} {
		err := VariableSet{Variables: []Variable{test.v}}.Validate(test.library)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || fault.KindOf(err) != fault.Invalid):
			t.Errorf("%s: got %v", test.name, err)
		}
	}
	twice := VariableSet{Variables: []Variable{{Id: "a", Name: "V", Type: TypeString}, {Id: "a", Name: "W", Type: TypeString}}}
	if err := twice.Validate(false); err == nil {
		t.Error("two values have one id")
	}
}
