package convention

import (
	"os"
	"strings"
	"testing"
)

func TestSwitches(t *testing.T) { // deployments.md 0.6
	for _, c := range []struct {
		variable, value             string
		runs, journal, script, vars bool
	}{
		{"None", "", true, true, false, false},
		{"Octopus.Action.Package.RunScripts", "False", false, true, true, false},
		{"Octopus.Action.SkipJournal", "True", true, false, false, false},
		{"OctopusDeleteScriptsOnCleanup", "False", true, true, true, false},
		{"OctopusPrintVariables", "True", true, true, false, true},
		{"OctopusPrintEvaluatedVariables", "True", true, true, false, true},
	} {
		w := newTarget(t)
		r := w.run("deploy-package", w.variables(w.upload("Web", "1.0", map[string]string{"a.txt": "1", "Deploy.sh": "echo it ran\n"}), c.variable, c.value))
		r.want(t, 0)
		_, err := os.Stat(w.journal())
		for what, got := range map[string][2]bool{
			"the package's script ran":        {strings.Contains(r.out, "it ran"), c.runs},
			"the installation is noted":       {err == nil, c.journal},
			"the script stays":                {exists(r.outputs["Package.InstallationDirectoryPath"], "Deploy.sh"), c.script},
			"the variables are written there": {strings.Contains(r.out, "variables are available:"), c.vars},
		} {
			if got[0] != got[1] {
				t.Errorf("%s=%s: %s: %v", c.variable, c.value, what, got[0])
			}
		}
	}
}
