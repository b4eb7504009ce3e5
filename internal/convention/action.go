package convention

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/script"
	"github.com/octavo/octavo/internal/variable"
)

// Names of variables used in several places.
const (
	varFeatures      = "Octopus.Action.EnabledFeatures"
	varPackagePath   = "Octopus.Tentacle.CurrentDeployment.PackageFilePath"
	varPackageId     = "Octopus.Action.Package.PackageId" //nolint:revive // the wire's spelling
	varVersion       = "Octopus.Action.Package.PackageVersion"
	varInstallDir    = "Octopus.Action.Package.InstallationDirectoryPath"
	varCustomDir     = "Octopus.Action.Package.CustomInstallationDirectory"
	varSkipRemaining = "Octopus.Action.SkipRemainingConventions"
	varDeleteScripts = "OctopusDeleteScriptsOnCleanup"
	varAllowLinks    = "OctopusAllowLinksInPackages"
)

// action is one run of the tool: what it was given, and where it writes.
type action struct {
	ctx       context.Context
	vars      *variable.Dictionary
	workspace *os.Root
	log       log
	stdout    io.Writer
	stderr    io.Writer

	home    string // the agent's data folder
	apps    string // where packages are installed (G3)
	journal string // "" = the agent gave none (G9)
	dir     string // current directory: first the workspace, then where the package is

	transforms map[string]bool // files that were used as transforms, and so are no configuration (variables.md 5.3)
}

func newAction(ctx context.Context, workspace string, environ []string, stdout, stderr io.Writer) (*action, error) {
	root, err := os.OpenRoot(workspace)
	if err != nil {
		return nil, err
	}
	variables, err := readVariables(root)
	if err != nil {
		return nil, err
	}
	a := &action{ctx: ctx, vars: variable.NewDictionary(), workspace: root, log: log{stdout}, stdout: stdout, stderr: stderr, dir: workspace}
	for _, v := range variables {
		a.vars.Put(variable.Entry{Name: v.Name, Value: v.Value, Sensitive: v.Sensitive})
	}
	env := map[string]string{}
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		env[name] = value
		a.setMissing("env:"+name, value)
	}
	a.home = env["TentacleHome"]
	a.journal = env["TentacleJournal"]
	for name, from := range map[string]string{
		"Octopus.Tentacle.Agent.ApplicationDirectoryPath": "TentacleApplications",
		"Octopus.Tentacle.Agent.InstanceName":             "TentacleInstanceName",
		"Octopus.Tentacle.Agent.ProgramDirectoryPath":     "TentacleProgramDirectoryPath",
		"Octopus.Agent.ProgramDirectoryPath":              "AgentProgramDirectoryPath",
	} {
		if value := env[from]; value != "" {
			a.setMissing(name, value)
		}
	}
	a.apps = a.vars.Text("Octopus.Tentacle.Agent.ApplicationDirectoryPath")
	if a.apps == "" {
		userHome, err := os.UserHomeDir()
		if err != nil {
			return nil, fault.Invalidf("There is no application directory: neither TentacleApplications nor HOME is set.")
		}
		a.apps = filepath.Join(userHome, "Applications")
	}
	a.printVariables()
	return a, nil
}

func (a *action) setMissing(name, value string) {
	if _, there := a.vars.Raw(name); !there {
		a.vars.Set(name, value)
	}
}

// printVariables serves OctopusPrintVariables and OctopusPrintEvaluatedVariables (variables.md 4.2).
func (a *action) printVariables() {
	for _, p := range []struct {
		flag, title string
		evaluated   bool
	}{
		{"OctopusPrintVariables", "The following variables are available:", false},
		{"OctopusPrintEvaluatedVariables", "The following evaluated variables are available:", true},
	} {
		if !a.vars.Flag(p.flag, false) {
			continue
		}
		a.log.warning("%s is enabled. This should only be used for debugging problems with variables, and then disabled again for normal deployments.", p.flag)
		var text strings.Builder
		for e := range a.vars.All() {
			value := "********"
			if !e.Sensitive && p.evaluated {
				value = a.vars.Text(e.Name)
			} else if !e.Sensitive && e.Value != nil {
				value = *e.Value
			}
			text.WriteString("\n[" + e.Name + "] = '" + value + "'")
		}
		a.log.verbose("%s%s", p.title, text.String())
	}
}

// evaluated gives every variable with its value filled in, as scripts get them (variables.md 4.5).
func (a *action) evaluated() []script.Variable {
	var all []script.Variable
	for e := range a.vars.All() {
		v := script.Variable{Name: e.Name, Sensitive: e.Sensitive}
		if e.Value != nil {
			text := a.vars.Text(e.Name)
			v.Value = &text
		}
		all = append(all, v)
	}
	return all
}

// output sets an output variable: for later steps by a message, for later conventions of this action at once
// (variables.md 4.3).
func (a *action) output(name, value string) {
	a.log.message("setVariable", "name", name, "value", value)
	a.learn(name, value, false)
}

// learn makes a value visible that this action has set.
func (a *action) learn(name, value string, sensitive bool) {
	names := []string{name}
	if own := a.vars.Text("Octopus.Action.Name"); own != "" {
		names = append(names, "Octopus.Action["+own+"].Output."+name)
	}
	for _, n := range names {
		a.vars.Put(variable.Entry{Name: n, Value: &value, Sensitive: sensitive})
	}
}

// feature tells whether the action uses one.
func (a *action) feature(name string) bool {
	for _, f := range a.vars.List(varFeatures) {
		if strings.EqualFold(f, name) {
			return true
		}
	}
	return false
}

// atHome makes a path absolute that may be relative to the agent's home.
func (a *action) atHome(path string) (string, error) {
	switch {
	case path == "":
		return "", nil
	case filepath.IsAbs(path):
		return path, nil
	case a.home == "":
		return "", fault.Invalidf("The path %s is relative to the agent's home, but TentacleHome is not set.", path)
	}
	return filepath.Join(a.home, filepath.FromSlash(path)), nil
}
