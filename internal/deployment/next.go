package deployment

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/project"
)

// Next says what to do now. The same rows and facts give the same answer, on any node and however often it is asked.
//
// Open and Skip moves are stored as rows and need nothing else. A decision without moves, wake and end means: wait
// until something that runs has ended, or a person has answered.
func (p *Plan) Next(runs []Run, f Facts) Decision {
	w := p.read(runs)
	var d Decision
	steps, over := w.group()
	for !over && !f.Cancelled {
		moves := w.judge(f, steps)
		if len(moves) == 0 {
			moves = w.skips(f, steps)
		}
		if len(moves) == 0 {
			w.start(f, steps, &d)
			break
		}
		for _, m := range moves {
			state := Opened
			if m.Kind == Skip {
				state = Skipped
			}
			w.decide(Run{Place: m.Place, State: state, Text: m.Reason, Started: f.Now, Ended: f.Now})
		}
		d.Moves = append(d.Moves, moves...)
		steps, over = w.group()
	}
	switch {
	case over:
		d.End = w.end()
	case f.Cancelled && !w.busy():
		d.End = &End{State: TaskCanceled, Text: "The task was cancelled.", Warnings: true}
	case f.Cancelled:
		// C7: nothing more starts; what runs is being stopped.
	case len(d.Moves) == 0 && d.Wake.IsZero() && !w.busy():
		d.Paused = true
		d.Blocks = w.blocks()
	}
	return d
}

// group finds the first group that is not over: the indexes of its steps.
func (w *walk) group() (steps []int, over bool) {
	for i := 0; i < len(w.p.Steps); {
		group := w.p.Steps[i].Group
		steps = nil
		done := true
		for ; i < len(w.p.Steps) && w.p.Steps[i].Group == group; i++ {
			steps = append(steps, i)
			done = done && w.step(i).closed
		}
		if !done {
			return steps, false
		}
	}
	return nil, true
}

// judge evaluates the conditions of a group's steps, all at once (P5).
func (w *walk) judge(f Facts, steps []int) []Move {
	var out []Move
	failure, _ := w.failure(w.p.Steps[steps[0]].Group)
	for _, si := range steps {
		if !w.step(si).judged {
			out = append(out, w.judgeStep(f, si, failure)...)
		}
	}
	return out
}

func (w *walk) judgeStep(f Facts, si int, failure string) []Move {
	s := &w.p.Steps[si]
	whole := Place{Step: si, Action: Whole}
	skip := func(warn bool, format string, args ...any) []Move {
		return []Move{{Kind: Skip, Place: whole, Warn: warn, Reason: fmt.Sprintf(format, args...)}}
	}
	present := slices.DeleteFunc(slices.Clone(w.lanes(si)), func(t string) bool { _, gone := w.left[t]; return gone })
	switch {
	case len(present) == 0 && len(s.Targets) > 0:
		return skip(true, "All of its targets have left the deployment.")
	case len(present) == 0:
		return skip(true, "No deployment target carries any of its tags (%s).", strings.Join(s.Roles, ", "))
	case s.Kind == KindAcquire && failure != "" && !w.stillNeeded(si):
		return skip(false, "An earlier step failed, and no step that may still run needs a package.")
	case s.Kind == KindAcquire:
		return []Move{{Kind: Open, Place: whole}}
	case s.Condition == project.ConditionFailure && failure == "":
		return skip(false, "It runs only after a failure, and nothing has failed.")
	case s.Condition == project.ConditionSuccess && failure != "":
		return skip(false, "An earlier step failed.")
	case s.Condition != project.ConditionVariable:
		return []Move{{Kind: Open, Place: whole}}
	}
	if s.RunOnce {
		if yes, why := f.holds(whole, s.Expression, failure); !yes {
			return skip(why.warn, "%s", why.text)
		}
		return []Move{{Kind: Open, Place: whole}}
	}
	var lanes []Move // C4: per target
	for _, t := range present {
		at := Place{Step: si, Action: Whole, Target: t}
		if yes, why := f.holds(at, s.Expression, failure); !yes {
			lanes = append(lanes, Move{Kind: Skip, Place: at, Reason: why.text, Warn: why.warn})
		}
	}
	if len(lanes) == len(present) {
		return append(lanes, skip(false, "Its condition was false for every target.")...)
	}
	return append(lanes, Move{Kind: Open, Place: whole})
}

// stillNeeded tells whether, after a failure, a later step that may run needs a package (A6).
func (w *walk) stillNeeded(acquire int) bool {
	for i := acquire + 1; i < len(w.p.Steps); i++ {
		if s := &w.p.Steps[i]; s.Condition != project.ConditionSuccess && w.p.needsPackages(s) {
			return true
		}
	}
	return false
}

type reason struct {
	text string
	warn bool
}

// holds fills in a condition and reads the result (C3).
func (f Facts) holds(at Place, expression, failure string) (bool, reason) {
	value, resolved := expression, true
	if f.Judge != nil {
		value, resolved = f.Judge(at, expression, failure)
	}
	if !resolved {
		return false, reason{fmt.Sprintf("Its condition %q could not be resolved.", expression), true}
	}
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "", "false", "no", "0":
		return false, reason{fmt.Sprintf("Its condition %q was false.", expression), false}
	}
	return true, reason{}
}

// turn is a lane that is open, or is to be opened now.
type turn struct {
	lane
	order int // of its step, then of its lane
}

// open lists the lanes that may do something: within the caps, and no new ones after a failure (P9, P10, F4).
// Lanes that were given a place but have nothing to show for it yet are the same ones at every call.
func (w *walk) open(steps []int) []turn {
	var out []turn
	slots := w.p.Cap
	all := make([]progress, len(steps))
	for i, si := range steps {
		all[i] = w.step(si)
		if all[i].begun && !all[i].closed {
			slots--
		}
	}
	for i, si := range steps {
		g := all[i]
		if g.closed {
			continue
		}
		if !g.begun {
			if slots <= 0 {
				continue
			}
			slots--
		}
		window := w.p.Steps[si].Window
		for _, l := range g.lanes {
			if l.begun && l.doing != closed {
				window--
			}
		}
		for j, l := range g.lanes {
			switch {
			case l.doing == closed:
				continue
			case l.fresh():
				if g.failed || window <= 0 {
					continue
				}
				window--
			}
			out = append(out, turn{l, si*1_000_000 + j})
		}
	}
	return out
}

// skips evaluates the conditions of the actions whose turn has come (C5, F5).
func (w *walk) skips(f Facts, steps []int) []Move {
	var out []Move
	for _, t := range w.open(steps) {
		if t.doing != judging {
			continue
		}
		a := w.p.action(t.at)
		if a.Condition != project.ConditionVariable {
			out = append(out, Move{Kind: Skip, Place: t.at, Reason: "An earlier action of its step failed."})
			continue
		}
		if yes, why := f.holds(t.at, a.Expression, w.failureAt(t.lane)); !yes {
			out = append(out, Move{Kind: Skip, Place: t.at, Reason: why.text, Warn: why.warn})
		}
	}
	return out
}

func (p *Plan) action(at Place) *Action { return &p.Steps[at.Step].Actions[at.Action] }

// failureAt is Octopus.Deployment.Error for the next action of a lane: its own failure, or an earlier group's.
func (w *walk) failureAt(l lane) string {
	if l.failed {
		return w.describe(l.failure)
	}
	failure, _ := w.failure(w.p.Steps[l.at.Step].Group)
	return failure
}

// start puts what may start, and what is to be asked, into the decision.
func (w *walk) start(f Facts, steps []int, d *Decision) {
	turns := w.open(steps)
	slices.SortStableFunc(turns, func(a, b turn) int { // who has waited longest goes first
		return cmp.Or(a.since.Compare(b.since), a.order-b.order)
	})
	busy := w.busyTargets()
	for _, t := range turns {
		switch t.doing {
		case asking:
			d.Moves = append(d.Moves, Move{Kind: Ask, Place: t.at, Attempt: t.attempt, Question: w.guided(t.lane)})
			continue
		case backoff:
			if f.Now.Before(t.until) {
				d.Wake = earliest(d.Wake, t.until)
				continue
			}
		case ready, judging: // judged true, or it would have been skipped
		default:
			continue
		}
		at, attempt := w.bringFirst(t.lane)
		if attempt == 0 {
			continue
		}
		a := w.p.action(at)
		if a.Type == project.TypeManual {
			d.Moves = append(d.Moves, Move{Kind: Ask, Place: at, Attempt: attempt, Where: OnServer, Question: &Question{
				Kind: ManualIntervention, Options: []string{AnswerProceed, AnswerAbort}, Teams: a.Teams,
			}})
			continue
		}
		place := where(a, w.targets[at.Target])
		if place == OnTarget && !w.p.Bypass {
			if busy[at.Target] {
				continue // P11
			}
			busy[at.Target] = true
		}
		m := Move{Kind: Start, Place: at, Attempt: attempt, Where: place, Timeout: a.Timeout, Failure: w.failureAt(t.lane)}
		if at == t.at && t.last.State == Interrupted && t.last.Answer == "" {
			m.Reason = "Nobody can know how far the attempt before came. The step is declared safe to repeat (" + project.PropSafeToRepeat + "), so it is repeated."
		}
		d.Moves = append(d.Moves, m)
	}
}

// bringFirst gives what a lane starts next: its action, or (for a target that joined late) the acquisition of its packages (A8).
// Attempt 0 means: nothing yet.
func (w *walk) bringFirst(l lane) (Place, int) {
	a := w.p.action(l.at)
	acquire := slices.IndexFunc(w.p.Steps, func(s Step) bool { return s.Kind == KindAcquire })
	late, joined := w.after[l.at.Target]
	if !joined || acquire < 0 || late < w.p.Steps[acquire].Group || len(a.Packages) == 0 || where(a, w.targets[l.at.Target]) != OnTarget {
		return l.at, l.attempt
	}
	at := Place{Step: acquire, Target: l.at.Target}
	attempts := w.attempts(at)
	if len(attempts) == 0 {
		return at, 1
	}
	switch attempts[len(attempts)-1].State {
	case Running:
		return at, 0
	default:
		// Ended, well or not: without its packages the action fails by itself, and is retried or asked about as such.
		return l.at, l.attempt
	}
}

// guided is the question about a failed attempt (I4, I9, A7). Without guided failure only the fate of an interrupted
// attempt is asked about: whether it is repeated or has failed.
func (w *walk) guided(l lane) *Question {
	a := w.p.action(l.at)
	q := &Question{Kind: GuidedFailure, Options: []string{AnswerFail}, Error: l.last.Text}
	retries := 0
	for _, r := range w.attempts(l.at) {
		if r.Answer == AnswerRetry {
			retries++
		}
	}
	if retries < maxRetryAnswers {
		q.Options = append(q.Options, AnswerRetry)
	}
	if !w.p.GuidedFailure {
		return q
	}
	if !a.Required && w.p.Steps[l.at.Step].Kind != KindAcquire {
		q.Options = append(q.Options, AnswerIgnore)
	}
	if !a.Required && l.at.Target != "" {
		q.Options = append(q.Options, AnswerExclude)
	}
	return q
}

// busyTargets are the targets on which an action of this deployment runs (P11).
func (w *walk) busyTargets() map[string]bool {
	busy := map[string]bool{}
	for at, rows := range w.rows {
		if rows[len(rows)-1].State == Running && at.Action != Whole && where(w.p.action(at), w.targets[at.Target]) == OnTarget {
			busy[at.Target] = true
		}
	}
	return busy
}

// busy tells whether anything runs.
func (w *walk) busy() bool {
	for _, rows := range w.rows {
		if rows[len(rows)-1].State == Running {
			return true
		}
	}
	return false
}

// blocks tells whether a manual step that waits wants other tasks to wait too (I12).
func (w *walk) blocks() bool {
	for at, rows := range w.rows {
		if rows[len(rows)-1].State == Asked && at.Action != Whole && w.p.action(at).Blocks {
			return true
		}
	}
	return false
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
