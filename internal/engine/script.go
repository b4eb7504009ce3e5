package engine

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/convention"
	"github.com/octavo/octavo/internal/crashpoint"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/hub"
	"github.com/octavo/octavo/internal/script"
	"github.com/octavo/octavo/internal/tentacle"
)

// command is what is sent to an agent; it is stored, sealed, before it is sent, so that whoever sends it again sends the same.
type command struct {
	Body      string
	Files     []script.File
	Isolation tentacle.ScriptIsolationLevel
	Wait      time.Duration // for the isolation mutex; 0 is no limit
}

// job is one script of one run: where, for which activity of the log, and how to make its command.
type job struct {
	run      string // step_run's key
	part     string // which script of the run
	activity string
	action   string // output variables are named after it
	place    place
	limit    time.Duration // of this script, from when it has its target; 0: none
	first    bool          // no earlier owner can have made it
	command  func(ctx context.Context, service hub.Service) (command, error)
}

// place is where a script runs, and for which target. The two differ when a worker acts on a target's behalf.
type place struct {
	machine            string // id of the machine it runs on; "" is the server itself
	name               string // of that machine, for people
	trust              hub.Trust
	target, targetName string // output variables are indexed by it; "" for run-once actions
}

// outcome is how a script ended.
type outcome struct {
	exit     int
	message  string // of fail_step
	errors   bool   // it wrote to standard error
	warnings bool
	messages []script.Other // of the target-side tool, for us
}

// first gives the attributes of the first message of a name; nil when there was none.
func (o outcome) first(name string) map[string]string {
	for _, m := range o.messages {
		if m.Name == name {
			return m.Attributes
		}
	}
	return nil
}

// toolMessages are those the engine acts on (convention's doc.go).
var toolMessages = []string{convention.ToolMissing, convention.PackageMissing, convention.FoundPackage}

// What can end our interest in a script before its end.
var (
	errCancelled = errors.New("the task was cancelled")
	errOverdue   = errors.New("it took longer than its time limit")
)

// notBegun is a failure before anything was sent for a script, so that nothing can have run (deployments.md R5).
type notBegun struct{ error }

func (e *notBegun) Unwrap() error { return e.error }

// errInterrupted is a script whose fate nobody can know: it ran on a server that died, or its agent lost it.
var errInterrupted = errors.New("nobody can know how the script ended")

// row is a row of script_run.
type row struct {
	ticket, service, state string
	logNext                int64
	progress               progress
	command                []byte
	incarnation, claim     int64
	exit                   int
	message                string
	errors, warnings       bool
	fresh                  bool // made by this owner
	doubted                bool // its start was tried more than once
	unsaved                bool // progress has to be stored, even when nothing new was said
}

// progress is what reading the output has to remember between two answers.
type progress struct {
	Parser    script.State
	Artifacts []script.CreateArtifact
	Messages  []script.Other
	Began     int64 `json:",omitempty"` // Unix ms; when the script had its target, from where its time limit counts (R4)
}

// do runs a script, or goes on with one that runs already, until its end is stored.
func (w *work) do(ctx context.Context, j job) (outcome, error) {
	r, err := w.prepare(ctx, j)
	if err != nil {
		return outcome{}, err
	}
	switch r.state {
	case "ended", "completed":
		w.complete(ctx, j.place, r)
		return r.outcome(), nil
	case "interrupted":
		return outcome{}, errInterrupted
	}
	if j.place.machine == "" {
		return w.doHere(ctx, j, r)
	}
	return w.doThere(ctx, j, r)
}

// prepare finds the script's row, or makes it: the ticket exists before anything is sent.
func (w *work) prepare(ctx context.Context, j job) (r *row, err error) {
	if !j.first {
		if r, err = w.findScript(ctx, j); err != nil || r != nil {
			return r, err
		}
	}
	if isClosed(w.run.Cancelled()) {
		return nil, errCancelled // nothing new starts for a cancelled task (C7)
	}
	service := here
	if j.place.machine != "" {
		crashpoint.Reach("capabilities before")
		calls, stop := w.calls(ctx, nil)
		service, err = w.Hub.Capabilities(calls, j.place.trust, w.retried(ctx, j.activity))
		if err = because(calls, err); err != nil {
			stop()
			return nil, &notBegun{err}
		}
		stop()
	}
	c, err := j.command(ctx, service)
	if err != nil {
		return nil, err
	}
	plain, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	r = &row{ticket: rand.Text() + rand.Text(), service: string(service), state: "planned", fresh: true, incarnation: w.fence.Incarnation, claim: w.fence.Claim}
	if r.command, err = w.seal("script_run", r.ticket, plain); err != nil {
		return nil, err
	}
	nothing, err := w.seal("script_run progress", r.ticket, []byte("{}"))
	if err != nil {
		return nil, err
	}
	err = w.store(ctx, "script", func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO script_run (ticket, task, run, part, place, service, state, command, log_next, progress, exit_code, message, errors, warnings, incarnation, claim, created)
			VALUES ($1, $2, $3, $4, $5, $6, 'planned', $7, 0, $11, 0, '', FALSE, FALSE, $8, $9, $10)`,
			r.ticket, w.task.Id, j.run, j.part, j.place.machine, r.service, r.command, r.incarnation, r.claim, tx.Ms(), nothing)
		return err
	})
	return r, err
}

func (w *work) findScript(ctx context.Context, j job) (*row, error) {
	r := &row{}
	var at string
	var sealed []byte
	err := w.DB.Read(ctx, func(tx *db.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT place, ticket, service, state, log_next, progress, command, incarnation, claim, exit_code, message, errors, warnings
			FROM script_run WHERE task = $1 AND run = $2 AND part = $3`, w.task.Id, j.run, j.part).
			Scan(&at, &r.ticket, &r.service, &r.state, &r.logNext, &sealed, &r.command, &r.incarnation, &r.claim, &r.exit, &r.message, &r.errors, &r.warnings)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read script of %s: %w", j.run, err)
	}
	if at != j.place.machine {
		return nil, fmt.Errorf("script %s of %s runs on %q, not on %q", r.ticket, j.run, at, j.place.machine)
	}
	text, err := w.unseal("script_run progress", r.ticket, sealed)
	if err != nil {
		return nil, err
	}
	return r, json.Unmarshal(text, &r.progress)
}

// open gives the stored command back.
func (w *work) open(r *row) (c command, err error) {
	plain, err := w.unseal("script_run", r.ticket, r.command)
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(plain, &c)
}

// retried tells a reader of the log that a call is tried again.
func (w *work) retried(ctx context.Context, activity string) hub.Retried {
	return func(err error, in time.Duration) {
		w.say(ctx, activity, tasklog.Warning, "The agent could not be reached (%s). Trying again in %s.", cause(err), in)
	}
}

// calls gives a context for calls to an agent: it ends when the task is cancelled, or, with a row, when the script's
// time is up, so that neither waits for an agent that does not answer.
func (w *work) calls(ctx context.Context, overdue <-chan time.Time) (context.Context, func()) {
	ctx, stop := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-w.run.Cancelled():
			stop(errCancelled)
		case <-overdue:
			stop(errOverdue)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { stop(nil); <-done }
}

// because is what really ended a call: the reason why its context ended, if it did.
func because(calls context.Context, err error) error {
	if err != nil && calls.Err() != nil {
		return context.Cause(calls)
	}
	return err
}

// doThere drives a script on an agent to its end (tentacle-protocol.md 2.7).
func (w *work) doThere(ctx context.Context, j job, r *row) (outcome, error) {
	status, err := w.attend(ctx, j, r)
	stopped := errors.Is(err, errCancelled) || errors.Is(err, errOverdue)
	if stopped {
		status, err = w.stopThere(ctx, j, r, err)
	}
	if err != nil {
		if stopped && ctx.Err() == nil || hub.Unreachable(err) {
			w.leave(ctx, j, r)
		}
		return outcome{}, err
	}
	exit := status.ExitCode
	switch {
	case exit != tentacle.ExitUnknownScript && exit != tentacle.ExitUnknownResult:
	case stopped:
		exit = tentacle.ExitCanceled // it never started, or was gone already
	default:
		w.say(ctx, j.activity, tasklog.Error, "The agent on %s no longer knows how this script ended (%s).", j.place.name, meaning(int(exit)))
		if err := w.setState(ctx, r, "interrupted"); err != nil {
			return outcome{}, err
		}
		return outcome{}, errInterrupted
	}
	w.collectArtifacts(ctx, j, r)
	if err := w.ended(ctx, j, r, int(exit)); err != nil {
		return outcome{}, err
	}
	w.complete(ctx, j.place, r)
	return r.outcome(), nil
}

// attend starts a script, or takes up one that was started, and stores what it says until it has ended.
// errCancelled and errOverdue say that it has to be stopped.
func (w *work) attend(ctx context.Context, j job, r *row) (status tentacle.ScriptStatusResponseV2, err error) {
	if isClosed(w.run.Cancelled()) {
		return status, errCancelled
	}
	to, tell := j.place.trust, w.retried(ctx, j.activity)
	service := hub.Service(r.service)
	calls, stop := w.calls(ctx, w.limit(j, r))
	defer func() { stop() }()
	if !r.fresh {
		// Nobody who owned the task before may start anything on this agent any more.
		crashpoint.Reach("adopt before")
		if err := because(calls, w.Hub.Adopt(calls, to, service, w.token(), tell)); err != nil {
			return status, w.refused(err)
		}
		crashpoint.Reach("adopt answered")
		w.say(ctx, j.activity, tasklog.Verbose, "Re-attached to the script at log line %d.", r.logNext)
	}
	if r.state == "planned" {
		c, err := w.open(r)
		if err != nil {
			return status, err
		}
		crashpoint.Reach("start before")
		status, err = w.Hub.Start(calls, to, service, w.token(), c.send(r.ticket, w.task.Id), func(err error, in time.Duration) {
			r.doubted = true // a copy of the start may still be on its way
			tell(err, in)
		})
		if err = because(calls, err); err != nil {
			return status, w.refused(err)
		}
		crashpoint.Reach("start answered")
	} else {
		status, err = w.Hub.Status(calls, to, r.ticket, r.logNext, tell)
		if err = because(calls, err); err != nil {
			return status, err
		}
	}
	for n := 0; ; n++ {
		if status.State != tentacle.Pending && r.progress.Began == 0 {
			r.progress.Began, r.unsaved = time.Now().UnixMilli(), true
			if j.limit > 0 {
				stop()
				calls, stop = w.calls(ctx, w.limit(j, r))
			}
		}
		if err := w.absorb(ctx, j, r, status); err != nil {
			return status, err
		}
		if status.State == tentacle.Complete {
			break
		}
		wait := pace(n, to.Polling())
		if len(status.Logs) > 0 { // it is talking: stay close to it
			n = min(n, chatty)
			wait = pace(n, to.Polling())
		}
		if len(status.Logs) >= much {
			wait = 0
		}
		select {
		case <-calls.Done():
			return status, context.Cause(calls)
		case <-time.After(wait):
		}
		crashpoint.Reach("status before")
		status, err = w.Hub.Status(calls, to, r.ticket, r.logNext, tell)
		if err = because(calls, err); err != nil {
			return status, err
		}
		crashpoint.Reach("status answered")
	}
	// The answer that says Complete may lack the last lines (tentacle-protocol.md 2.3).
	last, err := w.Hub.Status(calls, to, r.ticket, r.logNext, tell)
	if err = because(calls, err); err != nil {
		return status, err
	}
	return status, w.absorb(ctx, j, r, last)
}

// limit fires when the script's time is up; it never does for one without a limit, or one that waits for its target.
func (w *work) limit(j job, r *row) <-chan time.Time {
	if j.limit <= 0 || r.progress.Began == 0 {
		return nil
	}
	return time.After(time.Until(time.UnixMilli(r.progress.Began).Add(j.limit)))
}

// How long a script that is to be stopped is waited for: an agent that answers, and one that does not (I8).
const (
	stopPatience    = 2 * time.Minute
	silencePatience = 40 * time.Second
	stopCall        = 20 * time.Second
)

// stopThere has the agent kill the script, and waits for its end. What does not end in time is left to the sweep,
// which goes on asking; the log says so.
func (w *work) stopThere(ctx context.Context, j job, r *row, why error) (status tentacle.ScriptStatusResponseV2, err error) {
	if errors.Is(why, errOverdue) {
		w.say(ctx, j.activity, tasklog.Error, "The script took longer than its limit of %s and is being stopped.", j.limit)
	} else {
		w.say(ctx, j.activity, tasklog.Info, "Cancelling the script on %s.", j.place.name)
	}
	for n, since := 0, time.Now(); ; n++ {
		crashpoint.Reach("cancel before")
		call, done := context.WithTimeout(ctx, stopCall)
		status, err = w.Hub.Cancel(call, j.place.trust, r.ticket, r.logNext, nil)
		done()
		if ctx.Err() != nil {
			return status, context.Cause(ctx)
		}
		patience := silencePatience
		if err == nil {
			crashpoint.Reach("cancel answered")
			if err := w.absorb(ctx, j, r, status); err != nil || status.State == tentacle.Complete {
				return status, err
			}
			patience = stopPatience
		}
		if time.Since(since) > patience {
			return status, why
		}
		select {
		case <-ctx.Done():
			return status, context.Cause(ctx)
		case <-time.After(pace(n, j.place.trust.Polling())):
		}
	}
}

// leave gives a script up whose agent does not answer: from now on the sweep asks the agent to end it.
func (w *work) leave(ctx context.Context, j job, r *row) {
	w.say(ctx, j.activity, tasklog.Warning, "The script may still run on %s: its end could not be confirmed. It is stopped as soon as the agent answers.", j.place.name)
	err := w.store(ctx, "leave", func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE script_run SET ended = $2 WHERE ticket = $1`, r.ticket, tx.Ms())
		return err
	})
	if err != nil && ctx.Err() == nil {
		w.Log.Warn("cannot note that a script is left on its agent; it is ended with its task", "ticket", r.ticket, "err", err)
	}
}

func (w *work) setState(ctx context.Context, r *row, state string) error {
	return w.store(ctx, "script "+state, func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE script_run SET state = $2, command = NULL WHERE ticket = $1`, r.ticket, state)
		return err
	})
}

func (r *row) outcome() outcome {
	return outcome{r.exit, r.message, r.errors, r.warnings, r.progress.Messages}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

const (
	chatty = 3    // a script that talks is asked at the pace of the fourth question, about five times a second
	much   = 1000 // lines in an answer; more of them are likely to wait behind it already
)

// pace is how long to wait before the next question: short at first, so that a quick script's log is quick,
// never long, so that a log streams.
func pace(n int, polling bool) time.Duration {
	wait := 100 * time.Millisecond
	for range min(n, 10) {
		wait += wait / 4
	}
	limit := 700 * time.Millisecond
	if polling {
		limit = time.Second
	}
	return min(wait, limit)
}

func (w *work) token() tentacle.Fence {
	return tentacle.Fence{TaskId: w.task.Id, Incarnation: w.fence.Incarnation, Claim: w.fence.Claim}
}

// refused turns an agent's "somebody else owns this task" into the loss of the fence.
func (w *work) refused(err error) error {
	if tentacle.IsFenced(err) {
		return cluster.ErrFenced
	}
	return err
}

// send is the command as the hub takes it.
func (c command) send(ticket, task string) hub.Command {
	send := hub.Command{Ticket: ticket, Task: task, Body: c.Body, Isolation: c.Isolation, MutexWait: c.Wait}
	for _, file := range c.Files {
		send.Files = append(send.Files, hub.File(file))
	}
	return send
}

// absorb stores everything one answer brought, in one transaction.
func (w *work) absorb(ctx context.Context, j job, r *row, status tentacle.ScriptStatusResponseV2) error {
	if r.state != "planned" && !r.unsaved && len(status.Logs) == 0 && status.NextLogSequence == r.logNext {
		return nil
	}
	lines := make([]said, 0, len(status.Logs))
	for _, line := range status.Logs {
		lines = append(lines, said{script.Stream(line.Source), line.Text, line.Occurred})
	}
	return w.absorbLines(ctx, j, r, lines, status.NextLogSequence)
}

// said is one line of a script.
type said struct {
	stream   script.Stream
	text     string
	occurred time.Time
}

func (w *work) absorbLines(ctx context.Context, j job, r *row, lines []said, next int64) error {
	parser := script.Parser{State: r.progress.Parser}
	after := *r
	after.progress.Artifacts, after.progress.Messages = slices.Clone(r.progress.Artifacts), slices.Clone(r.progress.Messages)
	var entries []tasklog.Entry
	var outputs []script.SetVariable
	var hide []string
	for _, line := range lines {
		for _, event := range parser.Line(line.stream, storable(line.text)) {
			switch event := event.(type) {
			case script.Output:
				entry := tasklog.Line(j.activity, tasklog.Category(event.Level), w.mask.text(event.Text))
				if !line.occurred.IsZero() {
					entry.Remote = line.occurred.UnixMilli()
				}
				entries = append(entries, entry)
				after.warnings = after.warnings || event.Level == script.Warning
				after.errors = after.errors || event.Level == script.Error
			case script.SetVariable:
				event.Name, event.Value = storable(event.Name), storable(event.Value)
				outputs = append(outputs, event)
				if event.Sensitive {
					w.mask.add(event.Value)
				}
			case script.Mask:
				event.Value = storable(event.Value)
				hide = append(hide, event.Value)
				w.mask.add(event.Value)
			case script.CreateArtifact:
				event.Name, event.Path = storable(event.Name), storable(event.Path)
				after.progress.Artifacts = append(after.progress.Artifacts, event)
			case script.Progress:
				entries = append(entries, tasklog.Entry{Activity: j.activity, Change: &tasklog.Change{Percent: event.Percentage, Message: w.mask.text(event.Message)}})
			case script.ResultMessage:
				after.message = w.mask.text(storable(event.Message))
			case script.Other:
				if slices.Contains(toolMessages, event.Name) {
					after.progress.Messages = append(after.progress.Messages, event)
				}
			}
		}
	}
	after.progress.Parser = parser.State
	after.logNext, after.state = next, "started"
	text, err := json.Marshal(after.progress)
	if err != nil {
		return err
	}
	sealed, err := w.seal("script_run progress", r.ticket, text) // it names files and may quote the script
	if err != nil {
		return err
	}
	err = w.tell(ctx, "answer", entries, func(tx *db.Tx) error {
		if after.warnings || after.errors {
			if err := w.fence.SetWarnings(ctx, tx); err != nil {
				return err
			}
		}
		for _, value := range hide {
			if err := w.storeMask(ctx, tx, value); err != nil {
				return err
			}
		}
		for _, output := range outputs {
			if err := w.storeOutput(ctx, tx, j.action, j.place, output); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `UPDATE script_run SET state = 'started', log_next = $2, progress = $3, message = $4, errors = $5, warnings = $6 WHERE ticket = $1`,
			r.ticket, after.logNext, sealed, after.message, after.errors, after.warnings)
		return err
	})
	if err == nil {
		after.unsaved = false
		*r = after
	}
	return err
}

// storable is foreign text as databases take it: valid UTF-8 without NUL.
func storable(s string) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "")
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// ended stores a script's end; from here on its result is ours, and the agent may forget it.
func (w *work) ended(ctx context.Context, j job, r *row, exit int) error {
	return w.store(ctx, "script end", func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE script_run SET state = 'ended', exit_code = $2, ended = $3, warnings = $4, command = NULL WHERE ticket = $1`, r.ticket, exit, tx.Ms(), r.warnings)
		if err == nil {
			r.state, r.exit = "ended", exit
		}
		return err
	})
}

// adoptedDelay is how long an unmodified Tentacle has to remember a ticket that a former owner may still be sending.
const adoptedDelay = 2 * time.Minute

// complete tells the agent to forget an ended script. What fails here, or has to wait, is done by the sweep.
func (w *work) complete(ctx context.Context, at place, r *row) {
	if r.state != "ended" || at.machine == "" {
		return
	}
	if hub.Service(r.service) != hub.Fenced && (r.doubted || r.claim != w.fence.Claim || r.incarnation != w.fence.Incarnation) {
		return
	}
	crashpoint.Reach("complete before")
	if err := w.Hub.Complete(ctx, at.trust, r.ticket); err != nil {
		return
	}
	crashpoint.Reach("complete answered")
	if err := w.DB.InTx(ctx, func(tx *db.Tx) error { return setCompleted(ctx, tx, r.ticket) }); err != nil && ctx.Err() == nil {
		w.Log.Warn("cannot note that a script is completed", "ticket", r.ticket, "err", err)
	}
}

// collectArtifacts fetches the files that the script registered (deployments.md E10); what cannot be had is a warning.
func (w *work) collectArtifacts(ctx context.Context, j job, r *row) {
	for _, a := range r.progress.Artifacts {
		if err := w.collect(ctx, j, a); err != nil {
			w.say(ctx, j.activity, tasklog.Warning, "The artifact %s could not be collected from %s: %s", a.Name, j.place.name, cause(err))
			r.warnings = true
		}
	}
}

func (w *work) collect(ctx context.Context, j job, a script.CreateArtifact) error {
	keep := func(how func(from io.Reader) error) error {
		file, _, err := w.fetch(ctx, j, a.Path)
		if err != nil {
			return err
		}
		if file == nil {
			return errors.New("the file is not there")
		}
		defer file.Close()
		return how(file)
	}
	err := keep(func(from io.Reader) error { return w.keepArtifact(ctx, j, a, from) })
	if fault.KindOf(err) != fault.Busy || ctx.Err() != nil {
		return err
	}
	why := err // the blob store cannot be used; the file would be gone when it can be
	return keep(func(from io.Reader) error { return w.setAside(ctx, j, a, from, why) })
}

// fetch opens a file where the script ran.
func (w *work) fetch(ctx context.Context, j job, path string) (io.ReadCloser, int64, error) {
	if j.place.machine == "" {
		return openHere(path)
	}
	crashpoint.Reach("download before")
	file, size, err := w.Hub.Download(ctx, j.place.trust, path, w.retried(ctx, j.activity))
	crashpoint.Reach("download answered")
	return file, size, err
}

// cause is an error in one short line.
func cause(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

// meaning explains an exit code that is not the script's own (tentacle-protocol.md 2.1).
func meaning(exit int) string {
	switch int32(exit) {
	case tentacle.ExitFatal:
		return "the agent could not write the script's log; is its disk full?"
	case tentacle.ExitNoShell:
		return "the shell could not be started; is bash installed?"
	case tentacle.ExitCanceled:
		return "it was cancelled"
	case tentacle.ExitMutexTimeout:
		return "another script held the target for too long"
	case tentacle.ExitUnknownScript:
		return "the agent knows nothing of the script"
	case tentacle.ExitUnknownResult:
		return "the agent, or its machine, stopped while the script ran"
	}
	return fmt.Sprintf("exit code %d", exit)
}
