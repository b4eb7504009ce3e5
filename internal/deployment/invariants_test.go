package deployment_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/resource"
)

// TestInvariants draws processes, machines and failures, carries the plans out, and checks what deployments.md 3 promises.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		given := drawGiven(t)
		plan, err := deployment.NewPlan(given.input())
		if errors.Is(err, deployment.ErrNoTargets) {
			return
		}
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		s := newSim(plan)
		s.variables = given.Variables
		s.durations = map[string]int{}
		results := rapid.SampledFrom([]string{"ok", "ok", "ok", "ok", "fail", "timeout", "unreachable", "abort", "interrupted"})
		s.outcome = func(place string) string {
			s.durations[place] = rapid.IntRange(1, 4).Draw(t, "duration")
			return results.Draw(t, "outcome at "+place)
		}
		s.answer = func(q *deployment.Question) string { return rapid.SampledFrom(q.Options).Draw(t, "answer") }
		s.check = func(d deployment.Decision) { checkMoves(t, s, d) }
		end := s.run(t)
		checkEnd(t, s, end)
	})
}

var conditions = []string{project.ConditionSuccess, project.ConditionSuccess, project.ConditionSuccess, project.ConditionFailure, project.ConditionAlways, project.ConditionVariable}

func drawGiven(t *rapid.T) planGiven {
	const env = "Environments-1"
	var g planGiven
	g.Deployment.EnvironmentId = env
	g.Deployment.UseGuidedFailure = rapid.Bool().Draw(t, "guided")
	g.Variables = map[string]string{}
	if rapid.Bool().Draw(t, "capped") {
		g.Variables[project.PropWindow] = fmt.Sprint(rapid.IntRange(1, 3).Draw(t, "cap"))
	}
	if rapid.IntRange(0, 4).Draw(t, "bypass") == 0 {
		g.Variables["OctopusBypassDeploymentMutex"] = "True"
	}
	if rapid.Bool().Draw(t, "skip lost") {
		g.ConnectivityPolicy.SkipMachineBehavior = project.SkipUnavailable
	}
	g.ConnectivityPolicy.AllowDeploymentsToNoTargets = true
	roles := []string{"web", "db"}
	for i := range rapid.IntRange(0, 5).Draw(t, "machines") {
		m := machine.Machine{Name: fmt.Sprint("m", i), EnvironmentIds: []string{env}}
		m.Id = fmt.Sprint("Machines-", i)
		m.Roles = rapid.SliceOfNDistinct(rapid.SampledFrom(roles), 1, 2, func(r string) string { return r }).Draw(t, "roles")
		m.Endpoint.CommunicationStyle = rapid.SampledFrom([]string{machine.StyleTentaclePassive, machine.StyleKubernetes}).Draw(t, "style")
		g.Machines = append(g.Machines, m)
	}
	for i := range rapid.IntRange(1, 6).Draw(t, "steps") {
		g.Process.Steps = append(g.Process.Steps, drawStep(t, i, roles))
	}
	return g
}

func drawStep(t *rapid.T, i int, roles []string) project.Step {
	set := func(p resource.Properties, name, value string) { p[name] = resource.PropertyValue{Value: value} }
	s := project.Step{Name: fmt.Sprint("S", i), Id: fmt.Sprint("s", i), Properties: resource.Properties{}}
	s.Condition = rapid.SampledFrom(conditions).Draw(t, "condition")
	set(s.Properties, project.PropStepExpression, rapid.SampledFrom([]string{"True", "False", "#{unless Octopus.Deployment.Error}True#{/unless}", "#{Nope}"}).Draw(t, "expression"))
	s.StartTrigger = rapid.SampledFrom([]string{project.StartAfterPrevious, project.StartWithPrevious}).Draw(t, "trigger")
	s.PackageRequirement = rapid.SampledFrom([]string{"", "", project.AfterPackageAcquisition}).Draw(t, "requirement")
	if rapid.IntRange(0, 2).Draw(t, "tagged") > 0 {
		set(s.Properties, project.PropRoles, rapid.SampledFrom(roles).Draw(t, "role"))
		if rapid.Bool().Draw(t, "rolling") {
			set(s.Properties, project.PropWindow, fmt.Sprint(rapid.IntRange(1, 3).Draw(t, "window")))
		}
	}
	for j := range rapid.IntRange(1, 3).Draw(t, "actions") {
		a := project.Action{Name: fmt.Sprint(s.Name, "A", j), Properties: resource.Properties{}}
		a.Id = a.Name
		a.ActionType = rapid.SampledFrom([]string{project.TypeScript, project.TypeScript, project.TypePackage, project.TypeManual, project.TypeHealthCheck}).Draw(t, "type")
		a.IsDisabled = rapid.IntRange(0, 5).Draw(t, "disabled") == 0
		a.IsRequired = rapid.IntRange(0, 5).Draw(t, "required") == 0
		if a.ActionType == project.TypePackage {
			a.Packages = []project.PackageReference{{PackageId: "P", AcquisitionLocation: project.AcquireOnServer}}
		}
		if rapid.Bool().Draw(t, "on a worker") {
			set(a.Properties, project.PropRunOnServer, "True")
		}
		if rapid.IntRange(0, 2).Draw(t, "retries") == 0 {
			set(a.Properties, project.PropRetries, "2")
		}
		if rapid.IntRange(0, 3).Draw(t, "child condition") == 0 {
			a.Condition = project.ConditionVariable
			set(a.Properties, project.PropActionExpression, rapid.SampledFrom([]string{"True", "False", "#{if Octopus.Deployment.Error}True#{/if}"}).Draw(t, "child expression"))
		}
		s.Actions = append(s.Actions, a)
	}
	return s
}

// checkMoves looks at a decision before it is carried out.
func checkMoves(t *rapid.T, s *sim, d deployment.Decision) {
	known := map[string]bool{}
	onTarget := map[string]int{}
	for _, r := range s.rows {
		known[fmt.Sprint(r.Place, r.Attempt)] = true
		if r.State == deployment.Running && s.plan.Where(r.Place, s.rows) == deployment.OnTarget {
			onTarget[r.Target]++
		}
	}
	before := s.plan.Summary(s.rows)
	for _, m := range d.Moves {
		key := fmt.Sprint(m.Place, m.Attempt)
		guided := m.Kind == deployment.Ask && m.Question.Kind == deployment.GuidedFailure
		if known[key] != guided {
			t.Fatalf("%s %s attempt %d: its row is there: %v", m.Kind, m.Place, m.Attempt, known[key])
		}
		known[key] = true
		if m.Kind != deployment.Start {
			continue
		}
		if m.Where == deployment.OnTarget {
			if onTarget[m.Target]++; onTarget[m.Target] > 1 && !s.plan.Bypass {
				t.Fatalf("two actions at once on %s", m.Target)
			}
		}
		checkOrder(t, s, m)
		if slices.ContainsFunc(before.Left, func(l deployment.Left) bool { return l.Id == m.Target }) {
			t.Fatalf("%s starts for a target that has left", m.Place)
		}
	}
	checkWindows(t, s, d)
}

// checkOrder: no action starts before the one before it in its lane has ended, and no group before the one before it.
func checkOrder(t *rapid.T, s *sim, m deployment.Move) {
	for _, r := range s.rows {
		running := r.State == deployment.Running || r.State == deployment.Asked
		switch {
		case r.Step == m.Step && r.Target == m.Target && running:
			t.Fatalf("%s starts while %s runs in its lane", m.Place, r.Place)
		case s.plan.Steps[r.Step].Group != s.plan.Steps[m.Step].Group && running:
			t.Fatalf("%s starts while %s of another group runs", m.Place, r.Place)
		case s.plan.Steps[r.Step].Group > s.plan.Steps[m.Step].Group:
			t.Fatalf("%s starts after a later group began", m.Place)
		}
	}
}

// checkWindows: open lanes never exceed the window, open steps never the cap, and no lane opens after a failure in its step.
func checkWindows(t *rapid.T, s *sim, d deployment.Decision) {
	rows := slices.Clone(s.rows) // with the decisions that come first
	for _, m := range d.Moves {
		switch m.Kind {
		case deployment.Open:
			rows = append(rows, deployment.Run{Place: m.Place, State: deployment.Opened})
		case deployment.Skip:
			rows = append(rows, deployment.Run{Place: m.Place, State: deployment.Skipped})
		}
	}
	sum := s.plan.Summary(rows)
	steps := 0
	for i, step := range sum.Steps {
		var opens []string
		for _, m := range d.Moves {
			if m.Step == i && m.Kind == deployment.Start && !begun(s, m) {
				opens = append(opens, m.Target)
			}
		}
		open, failed := 0, false
		for _, l := range step.Lanes {
			if l.Status == deployment.StatusRunning {
				open++
			}
			failed = failed || l.Status == deployment.StatusFailed
		}
		if window := s.plan.Steps[i].Window; window > 0 && open+len(opens) > window {
			t.Fatalf("step %s: %d lanes are open, and %d open, in a window of %d", s.plan.Steps[i].Name, open, len(opens), window)
		}
		if failed && len(opens) > 0 {
			t.Fatalf("step %s: lanes open after a failure: %v", s.plan.Steps[i].Name, opens)
		}
		if step.Status == deployment.StatusRunning || len(opens) > 0 {
			steps++
		}
	}
	if steps > s.plan.Cap {
		t.Fatalf("%d steps at once with a cap of %d", steps, s.plan.Cap)
	}
}

func begun(s *sim, m deployment.Move) bool {
	return slices.ContainsFunc(s.rows, func(r deployment.Run) bool { return r.Step == m.Step && r.Target == m.Target && r.Attempt > 0 })
}

// checkEnd: the end agrees with the steps, and nobody who left is said to have been deployed to.
func checkEnd(t *rapid.T, s *sim, end deployment.End) {
	sum := s.plan.Summary(s.rows)
	failed := false
	for i, step := range sum.Steps {
		failed = failed || step.Status == deployment.StatusFailed
		if step.Status == deployment.StatusPending || step.Status == deployment.StatusRunning {
			t.Fatalf("it has ended, but step %s is %s", s.plan.Steps[i].Name, step.Status)
		}
	}
	if want := map[bool]string{true: deployment.TaskFailed, false: deployment.TaskSuccess}[failed]; end.State != want {
		t.Fatalf("the task ends %s; its steps say %s", end.State, want)
	}
	if failed != (sum.Failure != nil) || failed != (end.Text != "") {
		t.Fatalf("failed %v, but the failure is %v and the text %q", failed, sum.Failure, end.Text)
	}
	for _, l := range sum.Left {
		if slices.Contains(sum.DeployedTo, l.Id) {
			t.Fatalf("%s left and was deployed to", l.Id)
		}
	}
}
