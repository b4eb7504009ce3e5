package deployment

import (
	"fmt"
	"slices"
	"time"

	"github.com/octavo/octavo/internal/machine"
)

// Status is what the log tree shows for a step, a lane or an action, in the wire's words.
type Status string

// The statuses (rest-api.md 5: ActivityLogs).
const (
	StatusPending            Status = "Pending"
	StatusRunning            Status = "Running"
	StatusSuccess            Status = "Success"
	StatusSuccessWithWarning Status = "SuccessWithWarning"
	StatusFailed             Status = "Failed"
	StatusSkipped            Status = "Skipped"
	StatusCanceled           Status = "Canceled"
)

// Summary is a plan as it stands.
type Summary struct {
	Steps      []StepSummary
	Left       []Left   // who left the deployment, in order (T7, I7)
	DeployedTo []string // DeployedToMachineIds: who really ran an action (T12)
	Failure    *Failure // the first one
	Warnings   bool
}

// StepSummary is a step as it stands.
type StepSummary struct {
	Step   int // index in Plan.Steps
	Status Status
	Reason string // of Skipped
	Lanes  []LaneSummary
	Span
}

// LaneSummary is one target's way through a step.
type LaneSummary struct {
	Target  Target // zero for a run-once step
	Status  Status
	Reason  string
	Actions []ActionSummary
	Span
}

// ActionSummary is an action in a lane.
type ActionSummary struct {
	Place    Place
	Where    string
	Status   Status
	Reason   string
	Attempts []Run
	Span
}

// Span is from when to when; zero times have not come yet.
type Span struct{ Started, Ended time.Time }

func (s *Span) cover(started, ended time.Time) {
	if !started.IsZero() && (s.Started.IsZero() || started.Before(s.Started)) {
		s.Started = started
	}
	s.Ended = latest(s.Ended, ended)
}

// Failure is what made the task fail (F6).
type Failure struct {
	Place              Place
	Step, Action, Name string // Name is the target's, "" for run-once steps
	Text               string
}

// String is the error of the task.
func (f *Failure) String() string {
	what := fmt.Sprintf("Step %q failed", f.Step)
	if f.Action != f.Step {
		what = fmt.Sprintf("Action %q of step %q failed", f.Action, f.Step)
	}
	if f.Name != "" {
		what += " on " + f.Name
	}
	if f.Text == "" {
		return what + "."
	}
	return what + ": " + f.Text
}

// Summary derives what the log tree and the task show from the rows.
func (p *Plan) Summary(runs []Run) Summary {
	w := p.read(runs)
	out := Summary{Left: slices.Concat(p.LeftOut, w.leaving), DeployedTo: w.deployedTo(), Warnings: len(p.Warnings)+len(p.LeftOut)+len(w.leaving) > 0}
	for si := range p.Steps {
		s := w.summary(si)
		out.Warnings = out.Warnings || s.Status == StatusSuccessWithWarning
		out.Steps = append(out.Steps, s)
	}
	for _, r := range runs {
		out.Warnings = out.Warnings || r.Warnings
	}
	_, out.Failure = w.failure(-1)
	return out
}

// TargetsOf lists who a step concerns as things stand: its lanes' targets, or all that carry its tags for a step
// that runs once on behalf of all of them (a health check, Y1).
func (p *Plan) TargetsOf(step int, runs []Run) []Target {
	w := p.read(runs)
	var out []Target
	for _, id := range w.concerned(step) {
		if _, gone := w.left[id]; !gone {
			out = append(out, w.targets[id])
		}
	}
	return out
}

// Target finds a target of the plan, or one that joined later.
func (p *Plan) Target(id string, runs []Run) (Target, bool) {
	t, ok := p.read(runs).targets[id]
	return t, ok
}

// Where says where the action of a place runs.
func (p *Plan) Where(at Place, runs []Run) string {
	return where(p.action(at), p.read(runs).targets[at.Target])
}

// Name is what people call a place: "Deploy web on web01".
func (p *Plan) Name(at Place, runs []Run) string {
	name := p.Steps[at.Step].Name
	if at.Action != Whole {
		name = p.action(at).Name
	}
	if t, ok := p.Target(at.Target, runs); ok {
		name += " on " + t.Name
	}
	return name
}

func (w *walk) summary(si int) StepSummary {
	s := &w.p.Steps[si]
	out := StepSummary{Step: si, Status: StatusPending}
	row, judged := w.decided(Place{Step: si, Action: Whole})
	switch {
	case s.Skipped != "":
		out.Status, out.Reason = StatusSkipped, s.Skipped
		return out
	case judged && row.State == Skipped:
		out.Status, out.Reason = StatusSkipped, row.Text
		return out
	}
	g := w.step(si)
	targets := g.targets
	if !judged {
		targets = w.lanes(si)
	}
	statuses := map[Status]int{}
	for _, t := range targets {
		l := w.laneSummary(si, t, judged, g.closed)
		out.Lanes = append(out.Lanes, l)
		out.cover(l.Started, l.Ended)
		statuses[l.Status]++
	}
	if !judged {
		return out
	}
	if !g.closed {
		if g.begun {
			out.Status = StatusRunning
		}
		out.Ended = time.Time{}
		return out
	}
	out.Status = stepStatus(s, g, statuses)
	return out
}

// stepStatus is the status of a step all of whose lanes are closed (F2, I6, I7).
func stepStatus(s *Step, g progress, lanes map[Status]int) Status {
	excludedByPerson := false
	dropped, ran := 0, 0
	for _, l := range g.lanes {
		switch {
		case l.excluded && l.last.Answer == AnswerExclude:
			excludedByPerson = true
		case l.excluded:
			dropped++
		case l.ran:
			ran++
		}
	}
	switch {
	case g.failed && s.Kind == KindRetention:
		return StatusSuccessWithWarning // A9
	case g.failed:
		return StatusFailed
	case lanes[StatusCanceled] > 0:
		return StatusCanceled
	case lanes[StatusSuccessWithWarning] > 0, excludedByPerson, dropped > 0 && ran == 0:
		return StatusSuccessWithWarning
	case ran == 0:
		return StatusSkipped
	}
	return StatusSuccess
}

func (w *walk) laneSummary(si int, target string, judged, stepClosed bool) LaneSummary {
	s := &w.p.Steps[si]
	out := LaneSummary{Target: w.targets[target], Status: StatusPending}
	for ai := range s.Actions {
		a := w.actionSummary(Place{Step: si, Action: ai, Target: target})
		out.Actions = append(out.Actions, a)
		out.cover(a.Started, a.Ended)
	}
	if row, ok := w.decided(Place{Step: si, Action: Whole, Target: target}); ok && target != "" {
		out.Status, out.Reason = StatusSkipped, row.Text
		return out
	}
	if !judged {
		return out
	}
	l := w.lane(si, target)
	left, gone := w.left[target]
	switch {
	case l.fresh() && stepClosed:
		out.Status, out.Reason = StatusSkipped, "It was not started, because the step failed on another target."
	case l.doing != closed:
		if l.begun {
			out.Status, out.Ended = StatusRunning, time.Time{}
		}
	case l.failed:
		out.Status, out.Reason = StatusFailed, l.failure.Text
	case l.stopped:
		out.Status = StatusCanceled
	case l.excluded && gone:
		out.Status, out.Reason = StatusSkipped, left.Reason
	case l.warned:
		out.Status = StatusSuccessWithWarning
	case l.ran:
		out.Status = StatusSuccess
	default:
		out.Status = StatusSkipped
	}
	return out
}

func (w *walk) actionSummary(at Place) ActionSummary {
	a := w.p.action(at)
	out := ActionSummary{Place: at, Where: where(a, w.targets[at.Target]), Status: StatusPending, Attempts: w.attempts(at)}
	if row, ok := w.decided(at); ok {
		out.Status, out.Reason = StatusSkipped, row.Text
	}
	if a.Skipped != "" {
		out.Status, out.Reason = StatusSkipped, a.Skipped
	}
	for _, r := range out.Attempts {
		out.cover(r.Started, r.Ended)
		switch {
		case r.State == Running || r.State == Asked || r.Asked && r.Answer == "":
			out.Status, out.Ended = StatusRunning, time.Time{}
		case r.State == Succeeded && r.Warnings, r.Answer == AnswerIgnore:
			out.Status = StatusSuccessWithWarning
		case r.State == Succeeded:
			out.Status = StatusSuccess
		case r.State == Cancelled:
			out.Status = StatusCanceled
		default:
			out.Status, out.Reason = StatusFailed, r.Text
		}
	}
	return out
}

// concerned are the targets a step is about.
func (w *walk) concerned(si int) []string {
	s := &w.p.Steps[si]
	if !s.RunOnce || len(s.Roles) == 0 {
		return slices.DeleteFunc(slices.Clone(w.lanes(si)), func(t string) bool { return t == "" })
	}
	every := *s
	every.RunOnce = false
	var out []string
	for _, t := range w.p.Targets {
		if machine.HasRole(t.Roles, every.Roles) {
			out = append(out, t.Id)
		}
	}
	return append(out, w.late(&every)...)
}

// failure finds the first failure among the groups before one (-1: among all), and how it reads.
func (w *walk) failure(before int) (string, *Failure) {
	first, known := w.failures[before]
	if !known {
		first = w.firstFailure(before)
		w.failures[before] = first
	}
	if first == nil {
		return "", nil
	}
	f := &Failure{
		Place: first.Place, Step: w.p.Steps[first.Step].Name, Action: w.p.action(first.Place).Name,
		Name: w.targets[first.Target].Name, Text: first.Text,
	}
	return f.String(), f
}

func (w *walk) firstFailure(before int) *Run {
	var first *Run
	for si := range w.p.Steps {
		s := &w.p.Steps[si]
		if s.Kind == KindRetention || before >= 0 && s.Group >= before {
			continue // failing to clean up is a warning (A9)
		}
		for _, l := range w.step(si).lanes {
			if l.failed && (first == nil || l.failure.Ended.Before(first.Ended)) {
				first = &l.failure
			}
		}
	}
	return first
}

// describe is the text of one failure.
func (w *walk) describe(r Run) string {
	f := Failure{Step: w.p.Steps[r.Step].Name, Action: w.p.action(r.Place).Name, Name: w.targets[r.Target].Name, Text: r.Text}
	return f.String()
}

// deployedTo lists who really ran an action and has not left (T12).
func (w *walk) deployedTo() []string {
	var out []string
	add := func(t Target) {
		if _, gone := w.left[t.Id]; gone {
			return
		}
		for si := range w.p.Steps {
			if w.p.Steps[si].Kind != KindStep {
				continue
			}
			for ai := range w.p.Steps[si].Actions {
				if len(w.attempts(Place{Step: si, Action: ai, Target: t.Id})) > 0 {
					out = append(out, t.Id)
					return
				}
			}
		}
	}
	for _, t := range w.p.Targets {
		add(t)
	}
	for _, j := range w.joined {
		add(j.Target)
	}
	return out
}

// end is how the task ends when every group is over (F2).
func (w *walk) end() *End {
	e := &End{State: TaskSuccess}
	text, failure := w.failure(-1)
	for _, rows := range w.rows {
		for _, r := range rows {
			e.Warnings = e.Warnings || r.Warnings || r.State.bad()
			if r.State == Cancelled {
				e.State = TaskCanceled
			}
		}
	}
	e.Warnings = e.Warnings || len(w.left)+len(w.p.LeftOut)+len(w.p.Warnings) > 0
	if failure != nil {
		e.State, e.Text = TaskFailed, text
	}
	return e
}

// bad tells whether an attempt ended in a way that is worth a warning.
func (s State) bad() bool {
	switch s {
	case Failed, TimedOut, Unreachable, Aborted, Interrupted:
		return true
	}
	return false
}
