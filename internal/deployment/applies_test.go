package deployment_test

import (
	"strings"
	"testing"

	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/project"
)

// planOf is the plan of some steps on one target.
func planOf(t *testing.T, change func(*deployment.Input), steps ...project.Step) *deployment.Plan {
	t.Helper()
	in := deployment.Input{Process: project.Process{Steps: steps}, ChannelId: "C", Machines: machines("a")}
	in.Request.EnvironmentId = "E"
	if change != nil {
		change(&in)
	}
	plan, err := deployment.NewPlan(in)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestActionsApply(t *testing.T) { // T8
	acme := &environment.Tenant{TenantTags: []string{"Ring/Early"}}
	for _, c := range []struct {
		name   string
		change func(*project.Action)
		tenant *environment.Tenant
		why    string // part of the reason; "" is in the plan
	}{
		{"plain", func(*project.Action) {}, nil, ""},
		{"disabled", func(a *project.Action) { a.IsDisabled = true }, nil, "disabled"},
		{"its environment", func(a *project.Action) { a.Environments = []string{"E"} }, nil, ""},
		{"another environment", func(a *project.Action) { a.Environments = []string{"F"} }, nil, "this environment"},
		{"excluded environment", func(a *project.Action) { a.ExcludedEnvironments = []string{"E"} }, nil, "excluded"},
		{"another excluded environment", func(a *project.Action) { a.ExcludedEnvironments = []string{"F"} }, nil, ""},
		{"its channel", func(a *project.Action) { a.Channels = []string{"C"} }, nil, ""},
		{"another channel", func(a *project.Action) { a.Channels = []string{"D"} }, nil, "channel"},
		{"tags without a tenant", func(a *project.Action) { a.TenantTags = []string{"Ring/Early"} }, nil, "tenant"},
		{"its tags", func(a *project.Action) { a.TenantTags = []string{"Ring/Early"} }, acme, ""},
		{"other tags", func(a *project.Action) { a.TenantTags = []string{"Ring/Late"} }, acme, "tenant"},
	} {
		a := act("A")
		c.change(&a)
		plan := planOf(t, func(in *deployment.Input) { in.Tenant = c.tenant; in.Connectivity.AllowDeploymentsToNoTargets = true }, on("web", a))
		got := plan.Steps[0].Skipped
		if (got == "") != (c.why == "") || !strings.Contains(got, c.why) {
			t.Errorf("%s: skipped %q, want %q", c.name, got, c.why)
		}
	}
}

func acquisition(plan *deployment.Plan) int {
	for i, s := range plan.Steps {
		if s.Kind == deployment.KindAcquire {
			return i
		}
	}
	return -1
}

func TestPackageRequirement(t *testing.T) { // A1, A2
	for requirement, want := range map[string]int{"": 1, project.LetOctopusDecide: 1, project.BeforePackageAcquisition: 1, project.AfterPackageAcquisition: 0} {
		plan := planOf(t, nil, with(on("web", act("First")), func(s *project.Step) { s.PackageRequirement = requirement }), on("web", act("Pkg")))
		if got := acquisition(plan); got != want {
			t.Errorf("%q: packages are acquired at %d, want %d", requirement, got, want)
		}
	}
}

func TestNotAcquired(t *testing.T) { // A3
	for location, want := range map[string]int{project.AcquireOnServer: 0, project.AcquireOnTarget: 0, "": 0, project.NotAcquired: -1} {
		a := act("Pkg")
		a.Packages[0].AcquisitionLocation = location
		if got := acquisition(planOf(t, nil, on("web", a))); got != want {
			t.Errorf("%q: packages are acquired at %d, want %d", location, got, want)
		}
	}
}

func TestAcquireAtOnce(t *testing.T) {
	for value, want := range map[string]int{"": 10, "3": 3, "many": 10} {
		plan := planOf(t, func(in *deployment.Input) { in.AcquireMaxParallelism = value }, on("web", act("Pkg")))
		if got := plan.Steps[0].Window; got != want || (len(plan.Warnings) > 0) != (value == "many") {
			t.Errorf("%q: %d targets at once, want %d; %v", value, got, want, plan.Warnings)
		}
	}
}
