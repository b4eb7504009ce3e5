package engine

import (
	"testing"

	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/variable"
)

func TestPlainBash(t *testing.T) {
	for _, c := range []struct {
		name, value string
		packages    []deployment.Package
		want        bool
	}{
		{"Anything", "else", nil, true},
		{"Octopus.Action.Script.ScriptSource", "inline", nil, true},
		{"Octopus.Action.Script.ScriptSource", "Package", nil, false},
		{"Octopus.Action.Script.Syntax", "Python", nil, false},
		{"Octopus.Action.EnabledFeatures", "Octopus.Features.SubstituteInFiles", nil, false},
		{"Anything", "else", []deployment.Package{{PackageId: "Web"}}, false},
		{"Octopus.Action.FailScriptOnErrorOutput", "True", nil, false},
		{"Octopus.Action.FailScriptOnErrorOutput", "False", nil, true},
	} {
		vars := variable.NewDictionary()
		vars.Set("Octopus.Action.Script.Syntax", "Bash")
		vars.Set(c.name, c.value)
		if got := isPlainBash(vars, &deployment.Action{Packages: c.packages}); got != c.want {
			t.Errorf("%s=%s, %d packages: %v", c.name, c.value, len(c.packages), got)
		}
	}
}
