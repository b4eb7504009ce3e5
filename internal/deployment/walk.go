package deployment

import (
	"cmp"
	"slices"
	"time"

	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/project"
)

// walk is a plan with its rows sorted in: what happened, by place, and who is (still) in.
type walk struct {
	p       *Plan
	rows    map[Place][]Run // by attempt; decisions first
	targets map[string]Target
	left    map[string]Left
	leaving []Left         // in the order in which they left
	joined  []joined       // by Y1
	after   map[string]int // joined target -> the group it joined after

	steps    []*progress  // what step found, until a row is added
	failures map[int]*Run // what failure found, by group
}

type joined struct {
	Target
	group int
}

func (p *Plan) read(runs []Run) *walk {
	w := &walk{
		p: p, rows: make(map[Place][]Run, len(runs)), targets: make(map[string]Target, len(p.Targets)),
		left: map[string]Left{}, after: map[string]int{},
		steps: make([]*progress, len(p.Steps)), failures: map[int]*Run{},
	}
	for _, t := range p.Targets {
		w.targets[t.Id] = t
	}
	var movers []Run // rows that make targets leave or join
	for _, r := range runs {
		w.rows[r.Place] = append(w.rows[r.Place], r)
		if r.Answer == AnswerExclude || r.State == Unreachable || len(r.Left) > 0 || len(r.Joined) > 0 {
			movers = append(movers, r)
		}
	}
	for _, rows := range w.rows {
		slices.SortFunc(rows, func(a, b Run) int { return a.Attempt - b.Attempt })
	}
	// Joining first: somebody who joined may have left since.
	slices.SortFunc(movers, func(a, b Run) int {
		return cmp.Or(a.Ended.Compare(b.Ended), comparePlaces(a.Place, b.Place), a.Attempt-b.Attempt)
	})
	for _, r := range movers {
		w.join(r)
	}
	for _, r := range movers {
		w.leave(r)
	}
	return w
}

// decide adds a decision row. It changes nothing about failures, and only its own step.
func (w *walk) decide(r Run) {
	w.rows[r.Place] = slices.Insert(w.rows[r.Place], 0, r)
	w.steps[r.Step] = nil
}

func (w *walk) join(r Run) {
	for _, t := range r.Joined {
		if _, known := w.targets[t.Id]; known {
			continue
		}
		w.targets[t.Id] = t
		w.after[t.Id] = w.p.Steps[r.Step].Group
		w.joined = append(w.joined, joined{t, w.p.Steps[r.Step].Group})
	}
}

func (w *walk) leave(r Run) {
	for _, l := range r.Left {
		w.leaves(l)
	}
	t, isTarget := w.targets[r.Target]
	switch {
	case !isTarget:
	case r.Answer == AnswerExclude:
		w.leaves(Left{Id: t.Id, Name: t.Name, Reason: "It was excluded after a failure.", ByPerson: true})
	case r.State == Unreachable && w.p.skips(t):
		w.leaves(Left{Id: t.Id, Name: t.Name, Reason: "It could not be reached."})
	}
}

func (w *walk) leaves(l Left) {
	if _, gone := w.left[l.Id]; !gone {
		w.left[l.Id] = l
		w.leaving = append(w.leaving, l)
	}
}

func comparePlaces(a, b Place) int {
	return cmp.Or(a.Step-b.Step, cmp.Compare(a.Target, b.Target), a.Action-b.Action)
}

// decided gives the decision row of a place.
func (w *walk) decided(at Place) (Run, bool) {
	if rows := w.rows[at]; len(rows) > 0 && rows[0].Attempt == 0 {
		return rows[0], true
	}
	return Run{}, false
}

// attempts gives the attempts at a place, in order.
func (w *walk) attempts(at Place) []Run {
	rows := w.rows[at]
	if len(rows) > 0 && rows[0].Attempt == 0 {
		return rows[1:]
	}
	return rows
}

// lanes lists the targets of a step's lanes, in order; "" is the lane without one.
func (w *walk) lanes(si int) []string {
	s := &w.p.Steps[si]
	if s.RunOnce && s.Kind == KindStep {
		return []string{""}
	}
	out := s.Targets
	if late := w.late(s); len(late) > 0 {
		out = slices.Concat(out, late)
		slices.SortFunc(out, func(a, b string) int {
			return machine.ByName(w.targets[a].Name, a, w.targets[b].Name, b)
		})
	}
	if s.RunOnce { // acquisition on workers
		out = append(slices.Clip(out), "")
	}
	return out
}

// late are the targets that joined in an earlier group and belong into a step (Y1).
func (w *walk) late(s *Step) []string {
	var out []string
	for _, j := range w.joined {
		belongs := false
		switch s.Kind {
		case KindStep:
			belongs = machine.HasRole(j.Roles, s.Roles)
		case KindAcquire:
			belongs = len(w.p.packagesOn(j.Target)) > 0
		case KindRetention:
			belongs = w.p.installsOn(j.Target)
		}
		if belongs && j.group < s.Group {
			out = append(out, j.Id)
		}
	}
	return out
}

// What a lane is doing.
type doing int

const (
	ready   doing = iota // its next attempt may start
	judging              // its next action's condition must be looked at first
	backoff              // its next attempt may start at until
	running
	asking  // a question is to be asked
	pending // a question was asked
	closed
)

// lane is how far one target's way through one step has come.
type lane struct {
	doing   doing
	at      Place     // of what is next, or going on
	attempt int       // the number it has
	since   time.Time // since when it has been ready
	until   time.Time // end of the back-off
	last    Run       // the attempt a question is about

	begun    bool // an attempt was made
	failed   bool
	failure  Run // the first failed attempt, when failed
	warned   bool
	ran      bool // something succeeded, or was ignored
	excluded bool // its target left on the way
	stopped  bool // an attempt was cancelled
}

// lane follows one lane from its first action on.
func (w *walk) lane(si int, target string) lane {
	s := &w.p.Steps[si]
	opened, _ := w.decided(Place{Step: si, Action: Whole})
	l := lane{doing: closed, since: opened.Started}
	if _, skipped := w.decided(Place{Step: si, Action: Whole, Target: target}); skipped && target != "" {
		return l
	}
	_, gone := w.left[target]
	for ai := range s.Actions {
		a := &s.Actions[ai]
		at := Place{Step: si, Action: ai, Target: target}
		if a.Skipped != "" {
			continue
		}
		if _, skipped := w.decided(at); skipped {
			continue
		}
		if w.follow(&l, a, at, gone) {
			return l
		}
	}
	l.doing = closed
	return l
}

// follow looks at one action of a lane. It tells whether the lane stops here, for now or for good.
func (w *walk) follow(l *lane, a *Action, at Place, gone bool) (stops bool) {
	attempts := w.attempts(at)
	l.at, l.attempt = at, len(attempts)+1
	if len(attempts) == 0 {
		switch {
		case gone:
			return l.exclude()
		case a.Condition == project.ConditionVariable || l.failed:
			l.doing = judging
		default:
			l.doing = ready
		}
		return true
	}
	l.begun = true
	last := attempts[len(attempts)-1]
	l.since = latest(l.since, last.Ended)
	for _, r := range attempts {
		l.warned = l.warned || r.Warnings
	}
	switch last.State {
	case Running:
		l.doing, l.attempt, l.last = running, last.Attempt, last
		return true
	case Asked:
		l.doing, l.attempt, l.last = pending, last.Attempt, last
		return true
	case Succeeded:
		l.ran = true
		return false
	case Cancelled:
		l.stopped = true
		l.doing = closed
		return true
	}
	return w.afterFailure(l, a, at, attempts, gone)
}

// afterFailure decides what a failed attempt means (the package's table).
func (w *walk) afterFailure(l *lane, a *Action, at Place, attempts []Run, gone bool) (stops bool) {
	last := attempts[len(attempts)-1]
	l.last = last
	fail := func() bool {
		if !l.failed {
			l.failed, l.failure = true, last
		}
		return false
	}
	// What was settled once stays so, whoever leaves later: a step that is over must not open again.
	_, isTarget := w.targets[at.Target]
	lost := isTarget && last.State == Unreachable && w.p.skips(w.targets[at.Target])
	switch {
	case isTarget && last.Answer == AnswerExclude || lost:
		return l.exclude()
	case last.State == Aborted || last.Answer == AnswerFail || last.Answer == AnswerExclude:
		return fail()
	case last.Answer == AnswerIgnore:
		l.warned, l.ran = true, true
		return false
	}
	repeat := last.State == Interrupted && a.Repeats && last.Answer == "" && !last.Asked && interruptions(attempts) <= maxRepeats
	retry := used(attempts) < a.Retries && (last.State != Unreachable || last.NotStarted) && last.State != Interrupted
	ask := a.Type != project.TypeManual && w.p.Steps[at.Step].Kind != KindRetention && (w.p.GuidedFailure || last.State == Interrupted)
	switch {
	case last.Answer != AnswerRetry && !last.Asked && !retry && !ask:
		return fail()
	case gone:
		return l.exclude()
	case last.Answer == AnswerRetry, repeat:
		l.doing = ready
	case last.Asked:
		l.doing, l.attempt = pending, last.Attempt
	case retry:
		l.doing, l.until = backoff, last.Ended.Add(a.Backoff)
	default:
		l.doing, l.attempt = asking, last.Attempt
	}
	return true
}

// exclude closes a lane because its target has left.
func (l *lane) exclude() bool {
	l.excluded, l.doing = true, closed
	return true
}

// used counts the automatic retries since the first attempt, or since a person said Retry (I5). An interrupted attempt
// is nobody's failure: repeating it takes nothing from the budget.
func used(attempts []Run) int {
	n := -1
	for _, r := range attempts {
		switch {
		case r.Answer == AnswerRetry:
			n = -1
		case r.State != Interrupted:
			n++
		}
	}
	return n
}

// maxRepeats is how many interrupted attempts in a row are repeated without asking: an action that brings its server
// down must not bring down one after the other for ever.
const maxRepeats = 3

// interruptions counts the attempts at the end that were interrupted, since a person said Retry.
func interruptions(attempts []Run) int {
	n := 0
	for i := len(attempts) - 1; i >= 0 && attempts[i].State == Interrupted && attempts[i].Answer != AnswerRetry; i-- {
		n++
	}
	return n
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// progress is how far a step has come.
type progress struct {
	skipped bool // planned away, or decided
	judged  bool
	closed  bool
	begun   bool // an attempt was made
	failed  bool
	lanes   []lane
	targets []string
}

// step looks at all lanes of a step.
func (w *walk) step(si int) progress {
	if w.steps[si] == nil {
		g := w.look(si)
		w.steps[si] = &g
	}
	return *w.steps[si]
}

func (w *walk) look(si int) progress {
	s := &w.p.Steps[si]
	if s.Skipped != "" {
		return progress{skipped: true, judged: true, closed: true}
	}
	row, judged := w.decided(Place{Step: si, Action: Whole})
	if judged && row.State == Skipped {
		return progress{skipped: true, judged: true, closed: true}
	}
	g := progress{judged: judged}
	if !judged {
		return g
	}
	g.targets = w.lanes(si)
	open, fresh := 0, 0
	for _, t := range g.targets {
		l := w.lane(si, t)
		g.lanes = append(g.lanes, l)
		g.begun = g.begun || l.begun
		g.failed = g.failed || l.failed
		switch {
		case l.doing == closed:
		case l.begun:
			open++
		default:
			fresh++
		}
	}
	g.closed = open == 0 && (fresh == 0 || g.failed) // F4: after a failure no lane opens
	return g
}

// fresh tells whether a lane has not been opened yet.
func (l *lane) fresh() bool { return !l.begun && l.doing != closed }
