package deployment_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/resource"
)

func props(pairs ...string) resource.Properties {
	p := resource.Properties{}
	for i := 0; i < len(pairs); i += 2 {
		p[pairs[i]] = resource.PropertyValue{Value: pairs[i+1]}
	}
	return p
}

// act is an action by its name; its type follows from the name's beginning.
func act(name string, pairs ...string) project.Action {
	a := project.Action{Name: name, ActionType: project.TypeScript, Properties: props(pairs...)}
	a.Id = name
	for prefix, actionType := range map[string]string{"Pkg": project.TypePackage, "Approve": project.TypeManual, "Health": project.TypeHealthCheck} {
		if strings.HasPrefix(name, prefix) {
			a.ActionType = actionType
		}
	}
	if a.ActionType == project.TypePackage {
		a.Packages = []project.PackageReference{{PackageId: name, AcquisitionLocation: project.AcquireOnServer}}
	}
	return a
}

// on is a step on the targets with a tag; "" makes it run once.
func on(role string, actions ...project.Action) project.Step {
	s := project.Step{Name: actions[0].Name, Actions: actions, Properties: props()}
	if role != "" {
		s.Properties = props(project.PropRoles, role)
	}
	return s
}

func with(s project.Step, change func(*project.Step)) project.Step {
	change(&s)
	return s
}

func machines(names ...string) []machine.Machine {
	var out []machine.Machine
	for _, name := range names {
		m := machine.Machine{Name: name, Roles: []string{"web"}, EnvironmentIds: []string{"E"}}
		m.Id = "Machines-" + name
		out = append(out, m)
	}
	return out
}

// story carries a plan out by hand.
type story struct {
	*sim
	t *testing.T
}

func begin(t *testing.T, guided bool, steps []project.Step, all []machine.Machine) *story {
	t.Helper()
	in := deployment.Input{Process: project.Process{Steps: steps}, Machines: all}
	in.Request.EnvironmentId, in.Request.UseGuidedFailure = "E", guided
	plan, err := deployment.NewPlan(in)
	if err != nil {
		t.Fatal(err)
	}
	return &story{newSim(plan), t}
}

// next asks what is next, stores it, and says what it was: "start A@m1", "ask A@m1 Fail,Retry", "paused", "wake", "end Success".
func (s *story) next(cancelled bool) string {
	s.t.Helper()
	var out []string
	for {
		d := s.plan.Next(s.rows, deployment.Facts{Now: s.wall, Cancelled: cancelled, Judge: s.judge})
		for _, m := range d.Moves {
			switch m.Kind {
			case deployment.Start:
				out = append(out, "start "+s.name(m.Place))
			case deployment.Ask:
				out = append(out, "ask "+s.name(m.Place)+" "+strings.Join(m.Question.Options, ","))
			}
			if m.Kind == deployment.Ask && m.Question.Kind == deployment.GuidedFailure {
				s.row(m.Place).Asked = true
			} else {
				s.move(m)
			}
		}
		switch {
		case d.End != nil:
			return strings.Join(append(out, "end "+d.End.State), "; ")
		case d.Blocks:
			return strings.Join(append(out, "paused, blocks"), "; ")
		case d.Paused:
			return strings.Join(append(out, "paused"), "; ")
		case !d.Wake.IsZero():
			out = append(out, fmt.Sprint("wake in ", d.Wake.Sub(s.wall)))
			return strings.Join(out, "; ")
		case len(d.Moves) == 0:
			return strings.Join(out, "; ")
		}
	}
}

// row is the last row of a place.
func (s *story) row(at deployment.Place) *deployment.Run {
	for i := range slices.Backward(s.rows) {
		if s.rows[i].Place == at {
			return &s.rows[i]
		}
	}
	s.t.Fatalf("no row at %s", at)
	return nil
}

// ends stores how the last attempt of a place (by its name) ended.
func (s *story) ends(name string, state deployment.State, change ...func(*deployment.Run)) {
	s.t.Helper()
	s.wall = s.wall.Add(time.Second)
	for i := range slices.Backward(s.rows) {
		if r := &s.rows[i]; r.Attempt > 0 && s.name(r.Place) == name {
			r.State, r.Ended = state, s.wall
			for _, c := range change {
				c(r)
			}
			return
		}
	}
	s.t.Fatalf("nothing ran at %s", name)
}

func (s *story) expect(got, want string) {
	s.t.Helper()
	if got != want {
		s.t.Fatalf("got  %q\nwant %q", got, want)
	}
}

func answered(answer string) func(*deployment.Run) {
	return func(r *deployment.Run) { r.Answer = answer }
}

func TestCancel(t *testing.T) { // C7
	s := begin(t, true, []project.Step{
		on("web", act("A")),
		with(on("web", act("Last")), func(s *project.Step) { s.Condition = project.ConditionAlways }),
	}, machines("m1", "m2"))
	s.expect(s.next(false), "start A@m1; start A@m2")
	s.ends("A@m1", deployment.Failed)
	s.expect(s.next(true), "") // m2 is being stopped
	s.ends("A@m2", deployment.Cancelled)
	s.expect(s.next(true), "end Canceled")
}

func TestCancelAfterTheEnd(t *testing.T) {
	s := begin(t, false, []project.Step{on("web", act("A"))}, machines("m1"))
	s.next(false)
	s.ends("A@m1", deployment.Succeeded)
	s.expect(s.next(true), "end Success")
}

func TestManual(t *testing.T) { // I2, I11, I12, C7
	steps := []project.Step{
		on("", act("Approve", project.PropBlock, "true")),
		with(on("", act("B")), func(s *project.Step) { s.StartTrigger = project.StartWithPrevious }),
		with(on("", act("Undo")), func(s *project.Step) { s.Condition = project.ConditionFailure }),
		on("", act("C")),
	}
	s := begin(t, true, steps, nil)
	s.expect(s.next(false), "ask Approve@worker Proceed,Abort; start B@worker")
	s.ends("B@worker", deployment.Succeeded)
	s.expect(s.next(false), "paused, blocks")
	s.ends("Approve@worker", deployment.Aborted)
	s.expect(s.next(false), "start Undo@worker")
	s.ends("Undo@worker", deployment.Succeeded)
	s.expect(s.next(false), "end Failed")
}

func TestBackoff(t *testing.T) { // R1, I5
	s := begin(t, true, []project.Step{on("web", act("A", project.PropRetries, "1", project.PropBackoff, "20"))}, machines("m1"))
	s.next(false)
	s.ends("A@m1", deployment.Failed)
	s.expect(s.next(false), "wake in 20s")
	s.wall = s.wall.Add(19 * time.Second)
	s.expect(s.next(false), "wake in 1s")
	s.wall = s.wall.Add(time.Second)
	s.expect(s.next(false), "start A@m1")
	s.ends("A@m1", deployment.TimedOut)
	s.expect(s.next(false), "ask A@m1 Fail,Retry,Ignore,Exclude; paused")
	s.ends("A@m1", deployment.TimedOut, answered(deployment.AnswerRetry))
	s.expect(s.next(false), "start A@m1")
	s.ends("A@m1", deployment.Failed)
	s.expect(s.next(false), "wake in 20s") // a fresh budget
}

func TestLostConnection(t *testing.T) { // R5
	for _, c := range []struct {
		notStarted bool
		want       string
	}{{false, "end Failed"}, {true, "wake in 15s"}} {
		s := begin(t, false, []project.Step{on("web", act("A", project.PropRetries, "3"))}, machines("m1"))
		s.next(false)
		s.ends("A@m1", deployment.Unreachable, func(r *deployment.Run) { r.NotStarted = c.notStarted })
		s.expect(s.next(false), c.want)
	}
}

func TestInterrupted(t *testing.T) { // W7: nothing is silently repeated
	s := begin(t, false, []project.Step{on("", act("A"))}, nil)
	s.next(false)
	s.ends("A@worker", deployment.Interrupted)
	s.expect(s.next(false), "ask A@worker Fail,Retry; paused")
	s.ends("A@worker", deployment.Interrupted, answered(deployment.AnswerRetry))
	s.expect(s.next(false), "start A@worker")
	s.ends("A@worker", deployment.Interrupted, answered(deployment.AnswerFail))
	s.expect(s.next(false), "end Failed")
}

func TestSafeToRepeat(t *testing.T) { // W7: what is declared safe is repeated, but not for ever
	s := begin(t, true, []project.Step{on("", act("A", project.PropSafeToRepeat, "true", project.PropRetries, "1", project.PropBackoff, "0"))}, nil)
	s.expect(s.next(false), "start A@worker")
	s.ends("A@worker", deployment.Interrupted)
	if m := s.plan.Next(s.rows, deployment.Facts{Now: s.wall}).Moves; len(m) != 1 || !strings.Contains(m[0].Reason, "safe to repeat") {
		t.Errorf("moves %v say nothing of the repeat", m)
	}
	for range 2 {
		s.expect(s.next(false), "start A@worker")
		s.ends("A@worker", deployment.Interrupted)
	}
	s.expect(s.next(false), "start A@worker")
	s.ends("A@worker", deployment.Interrupted)
	s.expect(s.next(false), "ask A@worker Fail,Retry,Ignore; paused")
	s.ends("A@worker", deployment.Interrupted, answered(deployment.AnswerRetry))
	s.expect(s.next(false), "start A@worker")
	s.ends("A@worker", deployment.Interrupted)
	s.expect(s.next(false), "start A@worker")
	s.ends("A@worker", deployment.Failed) // the budget of automatic retries is whole
	s.expect(s.next(false), "start A@worker")
	s.ends("A@worker", deployment.Failed)
	s.expect(s.next(false), "ask A@worker Fail,Retry,Ignore; paused")
}

func TestTenRetries(t *testing.T) { // I9
	s := begin(t, true, []project.Step{on("web", act("A"))}, machines("m1"))
	s.expect(s.next(false), "start A@m1")
	for range 10 {
		s.ends("A@m1", deployment.Failed)
		s.expect(s.next(false), "ask A@m1 Fail,Retry,Ignore,Exclude; paused")
		s.ends("A@m1", deployment.Failed, answered(deployment.AnswerRetry))
		s.expect(s.next(false), "start A@m1")
	}
	s.ends("A@m1", deployment.Failed)
	s.expect(s.next(false), "ask A@m1 Fail,Ignore,Exclude; paused")
}

func TestAcquisitionQuestion(t *testing.T) { // A7, I7: who is excluded takes no part in retention either
	s := begin(t, true, []project.Step{on("web", act("Pkg"))}, machines("m1", "m2"))
	s.expect(s.next(false), "start Acquire packages@m1; start Acquire packages@m2")
	s.ends("Acquire packages@m2", deployment.Succeeded)
	s.ends("Acquire packages@m1", deployment.Failed)
	s.expect(s.next(false), "ask Acquire packages@m1 Fail,Retry,Exclude; paused")
	s.ends("Acquire packages@m1", deployment.Failed, answered(deployment.AnswerExclude))
	s.expect(s.next(false), "start Pkg@m2")
	s.ends("Pkg@m2", deployment.Succeeded)
	s.expect(s.next(false), "start "+deployment.RetentionName+"@m2")
	s.ends(deployment.RetentionName+"@m2", deployment.Failed)
	s.expect(s.next(false), "end Success") // A9: a warning
	if got := s.plan.Summary(s.rows).DeployedTo; !slices.Equal(got, []string{"Machines-m2"}) {
		t.Errorf("deployed to %v", got)
	}
}

func TestHealthStepChangesThePlan(t *testing.T) { // Y1, A8
	s := begin(t, false, []project.Step{on("web", act("Pkg1")), on("web", act("Health")), on("web", act("Pkg2"))}, machines("m1", "m2"))
	s.expect(s.next(false), "start Acquire packages@m1; start Acquire packages@m2")
	s.ends("Acquire packages@m1", deployment.Succeeded)
	s.ends("Acquire packages@m2", deployment.Succeeded)
	s.expect(s.next(false), "start Pkg1@m1; start Pkg1@m2")
	s.ends("Pkg1@m1", deployment.Succeeded)
	s.ends("Pkg1@m2", deployment.Succeeded)
	s.expect(s.next(false), "start Health@worker") // one for all targets
	if got := len(s.plan.TargetsOf(2, s.rows)); got != 2 {
		t.Errorf("it checks %d targets", got)
	}
	s.ends("Health@worker", deployment.Succeeded, func(r *deployment.Run) {
		r.Left = []deployment.Left{{Id: "Machines-m1", Name: "m1", Reason: "It is unavailable."}}
		r.Joined = []deployment.Target{{Id: "Machines-m0", Name: "m0", Roles: []string{"WEB"}}}
	})
	s.expect(s.next(false), "start Acquire packages@m0; start Pkg2@m2")
	if got := s.plan.PackagesOn("Machines-m0", s.rows); len(got) != 2 {
		t.Errorf("m0 needs %v", got)
	}
	s.ends("Pkg2@m2", deployment.Succeeded)
	s.expect(s.next(false), "")
	s.ends("Acquire packages@m0", deployment.Succeeded)
	s.expect(s.next(false), "start Pkg2@m0")
	s.ends("Pkg2@m0", deployment.Succeeded)
	s.expect(s.next(false), "start "+deployment.RetentionName+"@m0; start "+deployment.RetentionName+"@m2")
}

func TestLongestWaitingGoesFirst(t *testing.T) { // P11
	s := begin(t, false, []project.Step{
		on("web", act("A1"), act("A2")),
		with(on("web", act("B")), func(s *project.Step) { s.StartTrigger = project.StartWithPrevious }),
	}, machines("m1"))
	s.expect(s.next(false), "start A1@m1")
	s.ends("A1@m1", deployment.Succeeded)
	s.expect(s.next(false), "start B@m1") // it has waited since the beginning
	s.ends("B@m1", deployment.Succeeded)
	s.expect(s.next(false), "start A2@m1")
}

func TestNoRetentionAfterFailure(t *testing.T) { // A9
	s := begin(t, false, []project.Step{on("web", act("Pkg"))}, machines("m1"))
	s.next(false)
	s.ends("Acquire packages@m1", deployment.Succeeded)
	s.next(false)
	s.ends("Pkg@m1", deployment.Failed, func(r *deployment.Run) { r.Text = "exit code 3" })
	s.expect(s.next(false), "end Failed")
	sum := s.plan.Summary(s.rows)
	if sum.Failure == nil || sum.Failure.String() != `Step "Pkg" failed on m1: exit code 3` { // F6
		t.Errorf("failure %v", sum.Failure)
	}
}

func TestAgentlessTargets(t *testing.T) { // T1
	all := machines("m1", "m2")
	all[1].Endpoint.CommunicationStyle = machine.StyleKubernetes
	s := begin(t, false, []project.Step{on("web", act("Pkg"))}, all)
	s.expect(s.next(false), "start Acquire packages@m1; start Acquire packages@worker")
	s.ends("Acquire packages@m1", deployment.Succeeded)
	s.ends("Acquire packages@worker", deployment.Succeeded)
	s.expect(s.next(false), "start Pkg@m1; start Pkg@m2/worker")
}

func TestCheckKnowsMachines(t *testing.T) { // X7
	in := deployment.Input{Process: project.Process{Steps: []project.Step{on("web", act("A"))}}, Machines: machines("m1")}
	in.Request.EnvironmentId = "E"
	in.Request.ExcludedMachineIds = []string{"Machines-9"}
	if err := deployment.Check(in); err == nil || !strings.Contains(err.Error(), "Machines-9") {
		t.Errorf("got %v", err)
	}
	if _, err := deployment.NewPlan(in); err != nil {
		t.Errorf("a target deleted since is no reason to fail: %v", err)
	}
}

func FuzzParsePlace(f *testing.F) {
	for _, s := range []string{"2", "2@Machines-1", "2.0", "2.0@Machines-1", "", "-1", "1.-1", "1.", "@", "0@a@b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := deployment.ParsePlace(s)
		if err != nil {
			return
		}
		again, err := deployment.ParsePlace(p.String())
		if err != nil || again != p {
			t.Errorf("%q is %v, written %q, read %v, %v", s, p, p, again, err)
		}
	})
}

// BenchmarkNext shows that a decision in a large deployment stays cheap.
func BenchmarkNext(b *testing.B) {
	var names []string
	for i := range 500 {
		names = append(names, fmt.Sprintf("m%03d", i))
	}
	var steps []project.Step
	for i := range 10 {
		steps = append(steps, on("web", act(fmt.Sprint("A", i))))
	}
	in := deployment.Input{Process: project.Process{Steps: steps}, Machines: machines(names...), MaxParallelism: "100"}
	in.Request.EnvironmentId = "E"
	plan, err := deployment.NewPlan(in)
	if err != nil {
		b.Fatal(err)
	}
	s := newSim(plan)
	for s.wall.Before(time.Date(2026, 11, 21, 8, 40, 0, 0, time.UTC)) {
		for _, m := range plan.Next(s.rows, deployment.Facts{Now: s.wall}).Moves {
			s.move(m)
		}
		s.pass()
	}
	b.ReportMetric(float64(len(s.rows)), "rows")
	for b.Loop() {
		plan.Next(s.rows, deployment.Facts{Now: s.wall})
	}
}
