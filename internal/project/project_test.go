package project

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
)

func properties(pairs ...string) resource.Properties {
	p := resource.Properties{}
	for i := 0; i < len(pairs); i += 2 {
		p[pairs[i]] = resource.PropertyValue{Value: pairs[i+1]}
	}
	return p
}

// step is one that may be saved.
func step(name string, change func(*Step)) Step {
	s := Step{Name: name, Properties: properties(PropRoles, "web"), Actions: []Action{{Name: name, ActionType: TypeScript}}}
	if change != nil {
		change(&s)
	}
	return s
}

func TestValidate(t *testing.T) {
	pkg := []PackageReference{{PackageId: "Web", AcquisitionLocation: AcquireOnServer}}
	for _, c := range []struct {
		name  string
		steps []Step
		want  string // part of the refusal; "" is accepted
	}{
		{"plain", []Step{step("A", nil), step("B", nil)}, ""},
		{"no name", []Step{step(" ", nil)}, "needs a name"},
		{"same name", []Step{step("A", nil), step("a", nil)}, "named"},
		{"no actions", []Step{step("A", func(s *Step) { s.Actions = nil })}, "no actions"},
		{"unknown condition", []Step{step("A", func(s *Step) { s.Condition = "Never" })}, "Condition"},
		{"child condition", []Step{step("A", func(s *Step) { s.Actions[0].Condition = ConditionAlways })}, "Condition"},
		{"variable without expression", []Step{step("A", func(s *Step) { s.Condition = ConditionVariable })}, "expression"},
		{"T1: target without tags", []Step{step("A", func(s *Step) {
			s.Properties = nil
			s.Actions[0].Properties = properties(PropRunOnServer, "FALSE")
		})}, "target tags"},
		{"T1: absent without tags is a worker", []Step{step("A", func(s *Step) { s.Properties = nil })}, ""},
		{"T1: manual needs no tags", []Step{step("A", func(s *Step) {
			s.Properties = nil
			s.Actions[0].ActionType = TypeManual
			s.Actions[0].Properties = properties(PropRunOnServer, "false")
		})}, ""},
		{"A2: before, at the first user", []Step{step("A", func(s *Step) {
			s.Actions[0].Packages = pkg
			s.PackageRequirement = BeforePackageAcquisition
		})}, `step "A" needs`},
		{"A2: before, in the same group", []Step{
			step("A", func(s *Step) { s.PackageRequirement = BeforePackageAcquisition }),
			step("B", func(s *Step) { s.StartTrigger, s.Actions[0].Packages = StartWithPrevious, pkg }),
		}, `step "B" needs`},
		{"A2: before, earlier", []Step{
			step("A", func(s *Step) { s.PackageRequirement = BeforePackageAcquisition }),
			step("B", func(s *Step) { s.Actions[0].Packages = pkg }),
		}, ""},
		{"window 0", []Step{step("A", func(s *Step) { s.Properties[PropWindow] = resource.PropertyValue{Value: "0"} })}, "from 1 on"},
		{"window by variable", []Step{step("A", func(s *Step) { s.Properties[PropWindow] = resource.PropertyValue{Value: "#{Window}"} })}, ""},
		{"retries", []Step{step("A", func(s *Step) { s.Actions[0].Properties = properties(PropRetries, "many") })}, "AutoRetry"},
		{"same reference", []Step{step("A", func(s *Step) { s.Actions[0].Packages = append(pkg, pkg...) })}, "two package references"},
		{"same id", []Step{step("A", func(s *Step) { s.Id = "x" }), step("B", func(s *Step) { s.Id = "x" })}, "used twice"},
	} {
		p := Process{Steps: c.steps}
		err := p.Validate()
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: refused: %v", c.name, err)
		case c.want != "" && (err == nil || fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestReferences(t *testing.T) {
	a := Action{ActionType: TypePackage, Properties: properties(PropPackageId, "Web", PropPackageFeedId, "feeds-builtin", PropDownloadThere, "true")}
	want := []PackageReference{{PackageId: "Web", FeedId: "feeds-builtin", AcquisitionLocation: AcquireOnTarget}}
	if diff := cmp.Diff(want, a.References()); diff != "" {
		t.Error(diff)
	}
	a.Packages = []PackageReference{{PackageId: "Other"}}
	if got := a.References(); len(got) != 1 || got[0].PackageId != "Other" {
		t.Errorf("the entry must win: %v", got)
	}
}

func TestFlagsReadAnyCase(t *testing.T) {
	for text, want := range map[string]bool{"True": true, "true": true, " TRUE ": true, "False": false, "": false, "1": false} {
		if got := Flag(properties("x", text), "x"); got != want {
			t.Errorf("Flag(%q) = %v", text, got)
		}
	}
}
