package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/hub"
	"github.com/octavo/octavo/internal/store"
	"github.com/octavo/octavo/internal/tentacle"
)

// walk is one deployment on its way.
type walk struct {
	*work
	subject  // what is deployed, and where
	values   // its variables
	plan     *deployment.Plan
	mu       sync.Mutex
	runs     []deployment.Run
	statuses map[string]tasklog.Status // what the log tree shows, by activity
	ending   gate                      // held while rows and statuses change
	wake     chan struct{}
	ours     sync.Map // attempts that this owner started, by row: nothing of theirs was begun before

	stuckRuns map[string]bool // attempts that wait for a lock of a task that nobody carries out (lock.go); guarded by mu
	gaveSlot  bool            // the task waits for them without a slot; guarded by mu
}

// deploy carries a deployment out, or goes on with one (deployments.md 3.9).
func (e *Engine) deploy(ctx context.Context, w *work) (cluster.Outcome, error) {
	d := &walk{work: w, statuses: map[string]tasklog.Status{}, stuckRuns: map[string]bool{}, wake: make(chan struct{}, 1), ending: make(gate, 1)}
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	end, wait, err := d.walk(ctx)
	switch {
	case err != nil:
		return nil, err
	case wait != nil:
		return *wait, nil
	case end == nil:
		return cluster.Released{}, nil
	}
	d.noteEnd(ctx, end)
	return d.end(ctx, cluster.State(end.State), end.Text), nil
}

// begin reads what the deployment is about, and its plan; the plan is made and stored at the first start.
func (d *walk) begin(ctx context.Context) error {
	err := d.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if d.plan, d.runs, err = readPlan(ctx, tx, d.task.Id); err != nil {
			return err
		}
		if err := d.subject.read(ctx, tx, d.task); err != nil {
			return err
		}
		return d.values.read(ctx, tx, d.work, &d.subject)
	})
	if err != nil {
		return err
	}
	if d.plan != nil {
		return d.resume(ctx)
	}
	return d.makePlan(ctx)
}

func (d *walk) makePlan(ctx context.Context) error {
	in := d.planInput()
	plan, err := deployment.NewPlan(in)
	first := []tasklog.Entry{{Activity: d.task.Id, Change: &tasklog.Change{Name: d.task.Description, Status: tasklog.Running, Summary: true}}}
	if err != nil {
		_ = d.note(ctx, "refusal", first...)
		return err
	}
	for _, warning := range plan.Warnings {
		first = append(first, tasklog.Line(d.task.Id, tasklog.Warning, d.mask.text(warning)))
	}
	for _, left := range plan.LeftOut {
		first = append(first, tasklog.Line(d.task.Id, tasklog.Warning, fmt.Sprintf("%s takes no part. %s", left.Name, left.Reason)))
	}
	for _, line := range d.storedOnly(plan) {
		first = append(first, tasklog.Line(d.task.Id, tasklog.Warning, line))
	}
	for i := range plan.Steps {
		entry := tasklog.Open(d.stepActivity(i), d.task.Id, stepTitle(plan.Steps[i]), tasklog.Pending)
		entry.Change.Summary = true
		first = append(first, entry)
	}
	d.plan = plan
	return d.tell(ctx, "plan", first, func(tx *db.Tx) error { return insertPlan(ctx, tx, d.task.Id, plan) })
}

func stepTitle(s deployment.Step) string {
	if s.Number == 0 {
		return s.Name
	}
	return fmt.Sprintf("Step %d: %s", s.Number, s.Name)
}

// resume takes over a deployment that another owner began.
func (d *walk) resume(ctx context.Context) error {
	root, _, err := tasklog.Reader{DB: d.DB, Blobs: d.Blobs}.Details(ctx, d.task.Id, false, 1)
	if err != nil {
		return err
	}
	var remember func(a *tasklog.Activity)
	remember = func(a *tasklog.Activity) {
		d.statuses[a.Id] = a.Status
		for _, child := range a.Children {
			remember(child)
		}
	}
	if root != nil {
		remember(root)
	}
	d.say(ctx, d.task.Id, tasklog.Info, "Node %s goes on with this task.", d.Node)
	return nil
}

// The activities of the log tree: the task, its steps, their lanes, and, where a step has several, their actions.
func (d *walk) stepActivity(step int) string { return fmt.Sprintf("%s/%d", d.task.Id, step) }

func (d *walk) laneActivity(step int, target string) string {
	if target == "" {
		target = "once"
	}
	return d.stepActivity(step) + "/" + target
}

func (d *walk) activity(at deployment.Place) string {
	lane := d.laneActivity(at.Step, at.Target)
	if len(d.plan.Steps[at.Step].Actions) < 2 {
		return lane
	}
	return fmt.Sprintf("%s/%d", lane, at.Action)
}

// walk asks the plan what to do, and does it, until it says that all is over, or that nothing goes on before a person has
// answered: then it gives wait, and the task its slot (deployments.md I11). Neither, without an error, means that the node
// lets the task go, or lost it.
func (d *walk) walk(ctx context.Context) (end *deployment.End, wait *cluster.Waiting, err error) {
	var attempts sync.WaitGroup
	ctx, stop := context.WithCancelCause(ctx)
	defer attempts.Wait()
	defer stop(nil)

	cancelled, told := d.run.Cancelled(), false
	touched, deaf := d.DB.Listen(cluster.TaskTopic(d.task.Id))
	defer deaf()
	facts := deployment.Facts{Judge: func(at deployment.Place, expression, failure string) (string, bool) {
		return d.judge(ctx, at, expression, failure)
	}}
	for _, run := range d.snapshot() { // an earlier owner's
		if run.State == deployment.Running {
			attempts.Go(func() { d.attempt(ctx, stop, run) })
		}
	}
	for {
		if err := d.hear(ctx); err != nil {
			return nil, nil, d.orLost(ctx, err)
		}
		if isClosed(d.run.Cancelled()) {
			cancelled, facts.Cancelled = nil, true
			if !told {
				if err := d.withdraw(ctx); err != nil {
					return nil, nil, d.orLost(ctx, err)
				}
				told = true
			}
		}
		runs := d.snapshot() // before the outputs are read, so that what ended has its outputs among them
		if err := d.values.refresh(ctx, d.work); err != nil {
			return nil, nil, d.orLost(ctx, err)
		}
		facts.Now = time.Now()
		decision := d.plan.Next(runs, facts)
		started, err := d.apply(ctx, decision)
		if err != nil {
			return nil, nil, d.orLost(ctx, err)
		}
		for _, run := range started {
			d.ours.Store(runID(run), true)
			attempts.Go(func() { d.attempt(ctx, stop, run) })
		}
		asked := slices.ContainsFunc(runs, waits)
		switch {
		case decision.End != nil:
			return decision.End, nil, nil
		case len(decision.Moves) > 0:
			continue
		case decision.Paused && asked: // an answer that comes before the slot is given up ends the wait at once
			return nil, &cluster.Waiting{KeepTurn: decision.Blocks}, nil
		case decision.Paused:
			return nil, nil, fmt.Errorf("the plan of %s waits for a person whom nobody has asked", d.task.Id)
		case !facts.Cancelled && decision.Wake.IsZero() && d.givesSlot():
			d.say(ctx, d.task.Id, tasklog.Info, "Those whose locks this task waits for have no node just now; until one takes them up it leaves its slot to others.")
			return nil, &cluster.Waiting{KeepTurn: true}, nil
		}
		var due <-chan time.Time
		if !decision.Wake.IsZero() {
			due = time.After(time.Until(decision.Wake))
		}
		var heard <-chan struct{} // what runs goes on beside a question; its answer is not to wait for that
		var look <-chan time.Time
		if asked && !facts.Cancelled {
			heard, look = touched, time.After(900*time.Millisecond+rand.N(100*time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return nil, nil, d.orLost(ctx, context.Cause(ctx))
		case <-cancelled:
		case <-d.wake:
		case <-due:
		case <-heard:
		case <-look:
		}
	}
}

// orLost is nil when the error only says that the task is not ours any more.
func (d *walk) orLost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		cause := context.Cause(ctx)
		if errors.Is(cause, cluster.ErrReleased) || errors.Is(cause, cluster.ErrFenced) || errors.Is(cause, context.Canceled) {
			return nil
		}
		return cause
	}
	if errors.Is(err, cluster.ErrFenced) {
		return nil
	}
	return err
}

// gate lets one through at a time, and nobody waits longer than their context lives.
type gate chan struct{}

func (g gate) enter(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g gate) leave() { <-g }

func (d *walk) snapshot() []deployment.Run {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.runs)
}

// apply stores a decision's moves, with what the log has to say, in one transaction; then it gives the attempts to start.
func (d *walk) apply(ctx context.Context, decision deployment.Decision) (started []deployment.Run, err error) {
	if len(decision.Moves) == 0 {
		return nil, nil
	}
	if err := d.ending.enter(ctx); err != nil {
		return nil, err
	}
	defer d.ending.leave()
	before := d.snapshot()
	after := slices.Clone(before)
	var lines []tasklog.Entry
	var asked []deployment.Run // failed rows about which a person is asked
	var questions []control.Question
	for _, move := range decision.Moves {
		run := deployment.Run{Place: move.Place, Attempt: move.Attempt, Text: move.Reason, Started: time.Now()}
		switch move.Kind {
		case deployment.Open:
			run.State = deployment.Opened
		case deployment.Skip:
			run.State = deployment.Skipped
			if move.Reason != "" {
				category := tasklog.Info
				if move.Warn {
					category = tasklog.Warning
				}
				lines = append(lines, tasklog.Line(d.skipActivity(move.Place), category, "Skipped. "+d.mask.text(move.Reason)))
			}
		case deployment.Start:
			run.State, run.Text = deployment.Running, ""
			started = append(started, run)
			if move.Reason != "" {
				lines = append(lines, tasklog.Line(d.activity(move.Place), tasklog.Warning, move.Reason))
			}
			if move.Attempt > 1 {
				lines = append(lines, tasklog.Line(d.activity(move.Place), tasklog.Info, fmt.Sprintf("Attempt %d.", move.Attempt)))
			}
		case deployment.Ask:
			run.State = deployment.Asked
			guided := move.Question.Kind == deployment.GuidedFailure
			if guided {
				i := slices.IndexFunc(after, func(r deployment.Run) bool { return r.Place == move.Place && r.Attempt == move.Attempt })
				after[i].Asked = true
				run = after[i]
				asked = append(asked, run)
			}
			q, err := d.question(ctx, move, run)
			if err != nil {
				return nil, err
			}
			if questions = append(questions, q); guided {
				continue
			}
		}
		after = append(after, run)
	}
	changes := d.changes(after)
	write := func(tx *db.Tx) error {
		for _, run := range asked {
			if err := updateRun(ctx, tx, d.task.Id, run); err != nil {
				return err
			}
		}
		for i, run := range after[len(before):] {
			if err := insertRun(ctx, tx, d.task.Id, len(before)+i, run); err != nil {
				return err
			}
		}
		return nil
	}
	if len(questions) == 0 {
		err = d.tell(ctx, "moves", slices.Concat(changes, lines), write)
	} else {
		err = d.store(ctx, "ask", func(tx *db.Tx) error {
			if err := write(tx); err != nil {
				return err
			}
			told, err := d.ask(ctx, tx, questions)
			if err != nil {
				return err
			}
			return tasklog.Append(ctx, tx, d.fence, slices.Concat(changes, lines, told)...)
		})
	}
	if err != nil {
		return nil, err
	}
	d.stored(after, changes)
	return started, nil
}

func (d *walk) skipActivity(at deployment.Place) string {
	switch {
	case at.Action != deployment.Whole:
		return d.activity(at)
	case at.Target != "":
		return d.laneActivity(at.Step, at.Target)
	}
	return d.stepActivity(at.Step)
}

// changes compares the plan's summary with what the log tree shows, and says what to write so that it shows that.
func (d *walk) changes(runs []deployment.Run) []tasklog.Entry {
	var entries []tasklog.Entry
	d.mu.Lock()
	defer d.mu.Unlock()
	set := func(id, parent, name string, status deployment.Status) {
		want := tasklog.Status(status)
		have, known := d.statuses[id]
		switch {
		case !known && want != tasklog.Pending:
			entries = append(entries, tasklog.Open(id, parent, name, want))
		case known && have != want:
			entries = append(entries, tasklog.Set(id, want))
		}
	}
	for _, step := range d.plan.Summary(runs).Steps {
		id := d.stepActivity(step.Step)
		if _, known := d.statuses[id]; !known {
			d.statuses[id] = tasklog.Pending // opened with the plan
		}
		set(id, d.task.Id, "", step.Status)
		for _, lane := range step.Lanes {
			laneID := d.laneActivity(step.Step, lane.Target.Id)
			name := lane.Target.Name
			if name == "" {
				name = "Octopus Server"
			}
			set(laneID, id, name, lane.Status)
			if len(lane.Actions) < 2 {
				continue
			}
			for _, action := range lane.Actions {
				planned := d.plan.Steps[action.Place.Step].Actions[action.Place.Action]
				set(d.activity(action.Place), laneID, planned.Name, action.Status)
			}
		}
	}
	return entries
}

// stored remembers the rows and what the log tree shows, once both are committed. The caller is in the gate.
func (d *walk) stored(runs []deployment.Run, changes []tasklog.Entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, entry := range changes {
		if entry.Change != nil {
			d.statuses[entry.Activity] = entry.Change.Status
		}
	}
	d.runs = runs
}

// attempt carries one attempt out and stores how it ended.
func (d *walk) attempt(ctx context.Context, stop context.CancelCauseFunc, run deployment.Run) {
	defer func() {
		if p := recover(); p != nil {
			d.Log.Error("panic while a step ran", "task", d.task.Id, "place", run.Place.String(), "panic", p, "stack", string(debug.Stack()))
			stop(errPanicked)
		}
	}()
	result, err := d.act(ctx, run)
	if ctx.Err() != nil {
		return // its row stays "running": whoever owns the task next goes on with it
	}
	if err != nil {
		stop(err) // our own trouble says nothing about the step: the task is let go, and taken up again
		return
	}
	run = result
	run.Ended = time.Now()
	run.Text = d.mask.text(run.Text)

	var lines []tasklog.Entry
	if run.State != deployment.Succeeded && run.Text != "" {
		lines = append(lines, tasklog.Line(d.activity(run.Place), tasklog.Error, run.Text))
	}
	// One change of rows at a time, so that each sees the statuses that the one before wrote.
	if d.ending.enter(ctx) != nil {
		return // as above
	}
	defer d.ending.leave()
	after := d.snapshot()
	i := slices.IndexFunc(after, func(r deployment.Run) bool { return r.Place == run.Place && r.Attempt == run.Attempt })
	after[i] = run
	changes := d.changes(after)
	err = d.tell(ctx, "run end", append(lines, changes...), func(tx *db.Tx) error {
		if err := updateRun(ctx, tx, d.task.Id, run); err != nil {
			return err
		}
		return unlock(ctx, tx, d.task.Id, runID(run))
	})
	if err != nil {
		stop(err)
		return
	}
	d.stored(after, changes)
	select {
	case d.wake <- struct{}{}:
	default: // the walker is told already
	}
}

// act runs one action at one place and says how it went. An error is our own trouble, not the step's.
func (d *walk) act(ctx context.Context, run deployment.Run) (deployment.Run, error) {
	at := run.Place
	step := &d.plan.Steps[at.Step]
	limit := step.Actions[at.Action].Timeout
	activity := d.activity(at)
	var result outcome
	var err error
	switch {
	case step.Kind == deployment.KindAcquire:
		result, err = d.acquire(ctx, run, activity, limit)
	case step.Kind == deployment.KindRetention:
		result, err = d.retain(ctx, run, activity)
	default:
		result, err = d.action(ctx, run, activity, limit)
	}
	run.Warnings = result.warnings || result.errors
	stopped := err == nil && int32(result.exit) == tentacle.ExitCanceled
	var early *notBegun
	switch {
	case err == nil && result.exit == 0:
		run.State = deployment.Succeeded
	case errors.Is(err, errCancelled), stopped && isClosed(d.run.Cancelled()):
		run.State, run.Text = deployment.Cancelled, "Cancelled."
	case errors.Is(err, errOverdue), stopped && limit > 0:
		run.State, run.Text = deployment.TimedOut, fmt.Sprintf("It took longer than %s.", limit)
	case err == nil:
		run.State, run.Text = deployment.Failed, result.message
		if run.Text == "" {
			run.Text = "The script ended with " + meaning(result.exit) + "."
		}
	case errors.Is(err, errInterrupted):
		run.State, run.Text = deployment.Interrupted, "Nobody can know how the script ended."
	case hub.Unreachable(err):
		run.State, run.Text = deployment.Unreachable, "The agent cannot be reached: "+cause(err)
		run.NotStarted = errors.As(err, &early)
		if !run.NotStarted {
			run.Warnings = true
		}
	case ours(err):
		return run, err
	default:
		run.State, run.Text = deployment.Failed, cause(err)
	}
	return run, nil
}

// judge fills in a condition (deployments.md C3).
func (d *walk) judge(ctx context.Context, at deployment.Place, expression, failure string) (string, bool) {
	vars, err := d.dictionary(ctx, at, failure)
	if err != nil {
		return "", false
	}
	result := vars.Evaluate(expression)
	return result.Text, len(result.Missing()) == 0
}

// noteEnd writes what the end means for the deployment itself.
func (d *walk) noteEnd(ctx context.Context, end *deployment.End) {
	summary := d.plan.Summary(d.snapshot())
	if end.Warnings {
		_ = d.store(ctx, "warnings", func(tx *db.Tx) error { return d.fence.SetWarnings(ctx, tx) }) // the end itself says more
	}
	var stopped []tasklog.Entry // what was on its way when the task was cancelled, such as a failure that waited for an answer
	if end.State == deployment.TaskCanceled {
		for _, id := range slices.Sorted(maps.Keys(d.statuses)) {
			if id != d.task.Id && d.statuses[id] == tasklog.Running {
				stopped = append(stopped, tasklog.Set(id, tasklog.Canceled))
			}
		}
	}
	err := d.store(ctx, "deployed to", func(tx *db.Tx) error {
		if err := tasklog.Append(ctx, tx, d.fence, slices.Clone(stopped)...); err != nil {
			return err
		}
		return store.SetOwned(ctx, tx, d.deployment.Id, map[string]any{
			"DeployedToMachineIds": append([]string{}, summary.DeployedTo...), "FailureEncountered": end.State == deployment.TaskFailed,
		})
	})
	if err != nil && ctx.Err() == nil {
		d.Log.Error("cannot note who was deployed to", "task", d.task.Id, "err", err)
	}
}
