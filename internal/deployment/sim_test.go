package deployment_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/variable"
)

type planGiven struct {
	Process            project.Process
	Machines           []machine.Machine
	Deployment         deployment.Deployment
	Tenant             *environment.Tenant
	ConnectivityPolicy project.ConnectivityPolicy
	Variables          map[string]string
	Outcomes           map[string][]string
	Guidance           map[string][]string
	Outputs            map[string]map[string]string
	Durations          map[string]int
}

type prompt struct {
	At      string   `json:"at"`
	Options []string `json:"options"`
	Answer  string   `json:"answer"`
}

type planExpect struct {
	Reject           string
	Timeline         [][]string
	Steps            map[string]deployment.Status
	Task             string
	Prompts          []prompt
	ExcludedMachines []string
}

var rejections = map[string]error{
	"required-step-skipped": deployment.ErrRequiredSkip,
	"unknown-step-skipped":  deployment.ErrUnknownSkip,
	"no-targets":            deployment.ErrNoTargets,
}

func (g planGiven) input() deployment.Input {
	return deployment.Input{
		Process: g.Process, Request: g.Deployment.Request, ChannelId: g.Deployment.ChannelId, Tenant: g.Tenant,
		Machines: g.Machines, Connectivity: g.ConnectivityPolicy, MaxParallelism: g.Variables["Octopus.Action.MaxParallelism"],
		AcquireMaxParallelism: g.Variables["Octopus.Acquire.MaxParallelism"],
		Bypass:                g.Variables["OctopusBypassDeploymentMutex"] == "True",
	}
}

func runPlan(t *testing.T, v vector) {
	given, want := read[planGiven](t, v.Given), read[planExpect](t, v.Expect)
	plan, err := deployment.NewPlan(given.input())
	if want.Reject != "" {
		if !errors.Is(err, rejections[want.Reject]) {
			t.Fatalf("got %v, want refusal %s", err, want.Reject)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	s := newSim(plan)
	s.variables, s.outcomes, s.guidance, s.outputs, s.durations = given.Variables, given.Outcomes, given.Guidance, given.Outputs, given.Durations
	end := s.run(t)
	got := planExpect{Timeline: s.timeline(), Steps: map[string]deployment.Status{}, Task: end.State, Prompts: s.prompts}
	sum := plan.Summary(s.rows)
	for i, step := range sum.Steps {
		if plan.Steps[i].Kind != deployment.KindRetention {
			got.Steps[plan.Steps[i].Name] = step.Status
		}
	}
	for _, l := range sum.Left {
		got.ExcludedMachines = append(got.ExcludedMachines, l.Name)
	}
	if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// sim carries a plan out in a world of units of time, where every decision may be another node's: the plan is
// stored and read again before each one.
type sim struct {
	plan      *deployment.Plan
	variables map[string]string
	outcomes  map[string][]string
	guidance  map[string][]string
	outputs   map[string]map[string]string
	durations map[string]int

	// outcome decides what nobody wrote down; nil is "ok".
	outcome func(place string) string
	answer  func(q *deployment.Question) string
	check   func(d deployment.Decision)

	rows    []deployment.Run
	now     int       // units
	wall    time.Time // moves on with units and back-offs
	ends    map[int]int
	started []start
	prompts []prompt
}

type start struct {
	moment int
	at     deployment.Place
	name   string
}

func newSim(plan *deployment.Plan) *sim {
	return &sim{plan: plan, wall: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC), ends: map[int]int{}}
}

func (s *sim) run(t interface {
	Helper()
	Fatalf(string, ...any)
},
) deployment.End {
	t.Helper()
	for range 100_000 {
		d := s.next(t)
		if s.check != nil {
			s.check(d)
		}
		for _, m := range d.Moves {
			s.move(m)
		}
		switch {
		case d.End != nil:
			return *d.End
		case len(d.Moves) > 0:
		case !d.Wake.IsZero():
			s.wall = d.Wake // back-off counts as nothing
		case len(s.ends) == 0:
			t.Fatalf("nothing runs and nothing starts: %+v\n%+v", d, s.rows)
		default:
			s.pass()
		}
	}
	t.Fatalf("it never ends")
	return deployment.End{}
}

// next asks a node that has just read everything from the database.
func (s *sim) next(t interface {
	Helper()
	Fatalf(string, ...any)
},
) deployment.Decision {
	t.Helper()
	b, err := json.Marshal(s.plan)
	if err != nil {
		t.Fatalf("%v", err)
	}
	var plan deployment.Plan
	if err := json.Unmarshal(b, &plan); err != nil {
		t.Fatalf("%v", err)
	}
	f := deployment.Facts{Now: s.wall, Judge: s.judge}
	d := plan.Next(s.rows, f)
	again := s.plan.Next(shuffled(s.rows), f)
	if diff := gocmp.Diff(d, again); diff != "" {
		t.Fatalf("two nodes decide differently\n%s", diff)
	}
	return d
}

// shuffled is another order of the same rows: nothing may depend on it.
func shuffled(rows []deployment.Run) []deployment.Run {
	out := slices.Clone(rows)
	slices.Reverse(out)
	return out
}

func (s *sim) judge(_ deployment.Place, expression, failure string) (string, bool) {
	vars := variable.FromMap(s.variables)
	if failure != "" {
		vars.Set("Octopus.Deployment.Error", failure)
	}
	for _, r := range s.rows {
		if r.Attempt > 0 && r.State == deployment.Succeeded {
			for name, value := range s.outputs[s.name(r.Place)] {
				vars.Set(fmt.Sprintf("Octopus.Action[%s].Output.%s", s.plan.Steps[r.Step].Actions[r.Action].Name, name), value)
			}
		}
	}
	value, err := variable.Evaluate(expression, vars)
	return value, err == nil
}

func (s *sim) name(at deployment.Place) string {
	name := s.plan.Steps[at.Step].Actions[at.Action].Name
	target, ok := s.plan.Target(at.Target, s.rows)
	switch {
	case !ok:
		return name + "@worker"
	case s.plan.Where(at, s.rows) != deployment.OnTarget:
		return name + "@" + target.Name + "/worker"
	}
	return name + "@" + target.Name
}

func (s *sim) move(m deployment.Move) {
	row := deployment.Run{Place: m.Place, Attempt: m.Attempt, Started: s.wall, Text: m.Reason}
	switch m.Kind {
	case deployment.Open:
		row.State, row.Ended = deployment.Opened, s.wall
	case deployment.Skip:
		row.State, row.Ended = deployment.Skipped, s.wall
	case deployment.Start:
		row.State = deployment.Running
	case deployment.Ask:
		if m.Question.Kind == deployment.GuidedFailure {
			s.ask(m)
			return
		}
		row.State = deployment.Asked
	}
	s.rows = append(s.rows, row)
	if row.State.Ended() {
		return
	}
	name := s.name(m.Place)
	s.started = append(s.started, start{s.now, m.Place, name})
	duration := 1
	if d, ok := s.durations[name]; ok {
		duration = d
	}
	s.ends[len(s.rows)-1] = s.now + duration
}

func (s *sim) ask(m deployment.Move) {
	i := slices.IndexFunc(s.rows, func(r deployment.Run) bool { return r.Place == m.Place && r.Attempt == m.Attempt })
	name := s.name(m.Place)
	answer := deployment.AnswerFail
	if s.answer != nil {
		answer = s.answer(m.Question)
	} else if left := s.guidance[name]; len(left) > 0 {
		answer, s.guidance[name] = left[0], left[1:]
	}
	s.rows[i].Asked, s.rows[i].Answer = true, answer
	s.prompts = append(s.prompts, prompt{name, m.Question.Options, answer})
}

var outcomes = map[string]deployment.State{
	"ok": deployment.Succeeded, "fail": deployment.Failed, "timeout": deployment.TimedOut,
	"unreachable": deployment.Unreachable, "abort": deployment.Aborted, "interrupted": deployment.Interrupted,
}

// pass goes to the next moment at which something ends.
func (s *sim) pass() {
	s.wall = s.wall.Add(time.Minute)
	s.now = slices.Min(slices.Collect(func(yield func(int) bool) {
		for _, at := range s.ends {
			if !yield(at) {
				return
			}
		}
	}))
	for _, i := range slices.Sorted(maps.Keys(s.ends)) {
		if s.ends[i] != s.now {
			continue
		}
		delete(s.ends, i)
		name, outcome := s.name(s.rows[i].Place), "ok"
		if s.outcome != nil {
			outcome = s.outcome(name)
		} else if left := s.outcomes[name]; len(left) >= s.rows[i].Attempt {
			outcome = left[s.rows[i].Attempt-1]
		}
		if outcome == "abort" && s.rows[i].State == deployment.Running {
			outcome = "fail"
		}
		s.rows[i].State, s.rows[i].Ended = outcomes[outcome], s.wall
		if outcome != "ok" {
			s.rows[i].Text = outcome
		}
	}
}

// timeline lists what started at each moment, in plan order; the retention pseudo-step is left out.
func (s *sim) timeline() [][]string {
	laneOf := func(st start) int {
		step := s.plan.Steps[st.at.Step]
		return slices.Index(step.Targets, st.at.Target)
	}
	slices.SortStableFunc(s.started, func(a, b start) int {
		return cmp.Or(a.moment-b.moment, a.at.Step-b.at.Step, laneOf(a)-laneOf(b), a.at.Action-b.at.Action)
	})
	var out [][]string
	moment := -1
	for _, st := range s.started {
		if s.plan.Steps[st.at.Step].Kind == deployment.KindRetention {
			continue
		}
		if st.moment != moment {
			out, moment = append(out, nil), st.moment
		}
		out[len(out)-1] = append(out[len(out)-1], st.name)
	}
	return out
}
