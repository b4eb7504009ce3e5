package deployment

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/release"
	"github.com/octavo/octavo/internal/resource"
)

var update = flag.Bool("update", false, "write docs/compatibility.md anew")

func TestCompatibilityDoc(t *testing.T) {
	const file = "../../docs/compatibility.md"
	if *update {
		if err := os.WriteFile(file, []byte(CompatibilityDoc()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), CompatibilityDoc()); diff != "" {
		t.Errorf("docs/compatibility.md is not what the table says; `go generate ./internal/deployment` writes it anew\n%s", diff)
	}
}

// TestEveryMemberHasARow goes from the resources down through every member that is not stored only.
func TestEveryMemberHasARow(t *testing.T) {
	met := map[reflect.Type]bool{}
	var visit func(of reflect.Type)
	visit = func(of reflect.Type) {
		switch of.Kind() {
		case reflect.Pointer, reflect.Slice:
			visit(of.Elem())
			return
		case reflect.Struct:
		default:
			return
		}
		if met[of] || strings.HasSuffix(of.PkgPath(), "/resource") && of != reflect.TypeFor[resource.Meta]() {
			return
		}
		met[of] = true
		part := partOf(of)
		if part == nil {
			t.Errorf("%s has no part in Compatibility", of)
			return
		}
		named := map[string]bool{}
		for i := range of.NumField() {
			field := of.Field(i)
			if field.Anonymous {
				visit(field.Type)
				continue
			}
			named[field.Name] = true
			row := part.find(field.Name)
			if row == nil {
				t.Errorf("%s.%s has no row in Compatibility: say what it does", of, field.Name)
			} else if row.Effect != StoredOnly && row.Effect != ShownOnly {
				visit(field.Type)
			}
		}
		for _, m := range part.Members {
			if !named[m.Name] {
				t.Errorf("the row %s names no member of %s", m.Name, of)
			}
		}
	}
	for _, root := range []any{
		project.Process{}, environment.Lifecycle{}, project.Project{}, project.DeploymentSettings{}, project.Channel{}, machine.Machine{}, machine.Policy{}, release.Release{}, Deployment{},
	} {
		visit(reflect.TypeOf(root))
	}
	for _, part := range Compatibility {
		if part.Of != nil && !met[part.Of] {
			t.Errorf("no resource has a %s", part.Of)
		}
	}
}

// TestRowsAreTrue looks for the tests that rows name, and for the names that properties are read by.
func TestRowsAreTrue(t *testing.T) {
	sources, tests := map[string]string{}, map[string]string{}
	for _, root := range []string{"..", "../../test"} {
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "/members.go") {
				return err
			}
			b, err := os.ReadFile(path)
			dir := strings.TrimPrefix(strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../../"), "../")
			if strings.HasSuffix(path, "_test.go") {
				tests[dir] += string(b)
			} else {
				sources[dir] += string(b)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, part := range Compatibility {
		seen := map[string]bool{}
		for _, m := range part.Members {
			if seen[m.Name] {
				t.Errorf("%s: two rows for %s", part.Name, m.Name)
			}
			seen[m.Name] = true
			if !strings.HasSuffix(m.Says, ".") {
				t.Errorf("%s: %s needs a sentence", part.Name, m.Name)
			}
			if m.Effect != Acts {
				continue
			}
			at := strings.LastIndex(m.Test, ".")
			if at < 0 || !regexp.MustCompile(`(?m)^func `+m.Test[at+1:]+`\(`).MatchString(tests[m.Test[:at]]) {
				t.Errorf("%s: %s names the test %q, which does not exist", part.Name, m.Name, m.Test)
			}
			if part.Of != nil {
				continue
			}
			literal, read := `"`+strings.TrimSuffix(m.Name, "*"), false
			for _, text := range sources {
				read = read || strings.Contains(text, literal)
			}
			if !read {
				t.Errorf("%s: %s is said to act, but no code names it", part.Name, m.Name)
			}
		}
	}
}

func TestMeeting(t *testing.T) {
	one := func(name string, change func(*project.Action)) project.Step {
		a := project.Action{Name: name, ActionType: project.TypeScript, Properties: resource.Properties{}}
		change(&a)
		return project.Step{Name: name, Actions: []project.Action{a}}
	}
	var m Meeting
	m.Meet(Subject{"The process", project.Process{Steps: []project.Step{
		one("A", func(a *project.Action) {
			a.Container.Image = "debian"
			a.Properties["Octopus.Action.Template.Id"] = resource.PropertyValue{Value: "ActionTemplates-1"}
			a.Properties["Something.Else"] = resource.PropertyValue{Value: "kept"}
		}),
		one("B", func(a *project.Action) {
			a.Container.Image = "debian"
			a.Properties[project.PropFeatures] = resource.PropertyValue{Value: "Octopus.Features.CustomScripts,Octopus.Features.Nginx"}
		}),
		one("off", func(a *project.Action) { a.IsDisabled, a.StepPackageVersion = true, "1.0" }),
	}}})
	m.Meet(Subject{"The project", project.Project{DefaultGuidedFailureMode: project.GuidedFailureFromEnvironment, AutoCreateRelease: true}})
	forever, days := &environment.RetentionPolicy{Strategy: environment.RetainForever, QuantityToKeep: 3}, &environment.RetentionPolicy{Unit: environment.Days, QuantityToKeep: 3}
	m.Meet(Subject{"The lifecycle", &environment.Lifecycle{ReleaseRetentionPolicy: forever, Phases: []environment.Phase{{Name: "Test", ReleaseRetentionPolicy: days}}}})
	m.Meet(Subject{"web1", machine.Machine{Endpoint: machine.Endpoint{CommunicationStyle: machine.StyleTentaclePassive, ProxyId: "Proxies-1"}}})
	m.Meet(Subject{"The deployment", Deployment{Request: Request{UseGuidedFailure: true, DebugMode: true}}})
	m.Variable("octopus.deployment.workerleasecap")
	m.Variable("OctopusPrintVariables")
	m.Variable("Colour")
	var got []string
	for _, line := range m.Lines() {
		before, _, _ := strings.Cut(line, " is stored, but")
		got = append(got, before)
	}
	want := []string{
		`Step "A": Octopus.Action.Template.Id`, `Step "A", Step "B": Container`, `Step "B": the feature Octopus.Features.Nginx`, `The project: AutoCreateRelease`,
		`web1: Endpoint.ProxyId`, `The deployment: DebugMode`, `The project: the variable Octopus.Deployment.WorkerLeaseCap`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
