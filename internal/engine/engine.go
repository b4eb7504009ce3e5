package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/crashpoint"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/feed"
	"github.com/octavo/octavo/internal/hub"
	"github.com/octavo/octavo/internal/secret"
)

// Engine carries tasks out on one node. Its fields are set once, by whoever wires the process.
type Engine struct {
	DB        *db.DB
	Blobs     blob.Store
	Hub       *hub.Hub
	Ring      *secret.Ring
	Packages  feed.Repository
	Log       *slog.Logger
	Node      string   // this node's name
	Work      string   // folder of scripts that run on the server
	Tools     string   // folder of octavo-agent binaries for unmodified Tentacles
	PublicURL string   // for links in variables, without a slash at the end
	Supervise []string // the command that keeps a script on the server; see supervise.go
}

// Handlers are the kinds of tasks we know, by their name on the wire.
func (e *Engine) Handlers() map[string]cluster.Handler {
	return map[string]cluster.Handler{
		"Deploy":       e.handle(e.deploy),
		KindHealth:     e.handle(e.health),
		KindUpgrade:    e.handle(e.upgrade),
		KindRetention:  e.handle(e.retention),
		KindRepository: e.handle(e.checkRepository),
	}
}

// work is one claimed task while it is carried out.
type work struct {
	*Engine
	task  cluster.Task
	fence cluster.Fence
	run   *cluster.Run
	mask  *masks

	putOut atomic.Bool // output variables were stored since they were last read
}

// handle wraps a kind's code: a log, masks, and an end for what went wrong without a word.
func (e *Engine) handle(do func(ctx context.Context, w *work) (cluster.Outcome, error)) cluster.Handler {
	return func(ctx context.Context, run *cluster.Run) cluster.Outcome {
		w := &work{Engine: e, task: run.Task, fence: run.Fence, run: run, mask: newMasks()}
		ctx = hub.WithFence(ctx, w.token())
		err := w.store(ctx, "run", func(tx *db.Tx) error {
			if err := tasklog.BeginRun(ctx, tx, w.fence, e.Node, run.Epoch); err != nil {
				return err
			}
			if err := w.loadMasks(ctx, tx); err != nil {
				return err
			}
			_, err := w.readOutputs(ctx, tx) // their sensitive values are masked from then on
			return err
		})
		var outcome cluster.Outcome
		if err == nil {
			outcome, err = do(ctx, w)
		}
		if err == nil {
			w.over(ctx, outcome)
			return outcome
		}
		if ctx.Err() != nil || errors.Is(err, cluster.ErrFenced) {
			w.over(ctx, cluster.Released{})
			return cluster.Released{}
		}
		if ours(err) && !errors.Is(err, errPanicked) && w.claims(ctx) < maxClaims {
			e.Log.Warn("the task is let go, and will be taken up again", "task", w.task.Id, "err", err)
			select { // whatever it is that we suffer from, asking again at once would not help
			case <-ctx.Done():
			case <-time.After(2 * time.Second):
			}
			w.over(ctx, cluster.Released{})
			return cluster.Released{}
		}
		text := "Something went wrong inside the server; its log has the details."
		var f *fault.Fault
		if errors.As(err, &f) {
			text = f.Error()
		} else {
			e.Log.Error("task failed", "task", w.task.Id, "err", err)
		}
		return w.end(ctx, cluster.Failed, text)
	}
}

// over notes why this node does no more for the task. Its end is noted with its last words (end), and the next owner
// notes what this node could not.
func (w *work) over(ctx context.Context, outcome cluster.Outcome) {
	how := tasklog.HandedOver
	switch outcome.(type) {
	case cluster.Ended:
		return
	case cluster.Waiting:
		how = tasklog.Waited
	}
	if errors.Is(context.Cause(ctx), cluster.ErrFenced) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	err := w.store(ctx, "run over", func(tx *db.Tx) error { return tasklog.EndRun(ctx, tx, w.fence, how) })
	if err != nil && !errors.Is(err, cluster.ErrFenced) {
		w.Log.Warn("cannot note that this node lets a task go", "task", w.task.Id, "err", err)
	}
}

// claims is how often the task was claimed, not counting those that ended in waiting for a person.
func (w *work) claims(ctx context.Context) int64 {
	waited := int64(0)
	err := w.DB.Read(ctx, func(tx *db.Tx) (err error) {
		waited, err = tasklog.Waits(ctx, tx, w.task.Id)
		return err
	})
	if err != nil { // one more time does no harm
		return 0
	}
	return w.task.Claims - waited
}

// maxClaims is how often a task that meets trouble of our own is taken up again.
const maxClaims = 30

// errPanicked is a defect of ours, which would only happen again.
var errPanicked = errors.New("panic")

// ours tells trouble of the server (its database, its disk) from what an agent or a script did, and from what a person can mend.
func ours(err error) bool {
	if err == nil {
		return false
	}
	if errors.Is(err, errInterrupted) || errors.Is(err, errCancelled) || errors.Is(err, errOverdue) || hub.Unreachable(err) || hub.Answered(err) {
		return false
	}
	kind := fault.KindOf(err)
	return kind == fault.Internal || kind == fault.Busy
}

// end writes the last words of a task under its fence; the state itself is written by cluster.
func (w *work) end(ctx context.Context, state cluster.State, text string) cluster.Outcome {
	status := map[cluster.State]tasklog.Status{cluster.Success: tasklog.Success, cluster.Failed: tasklog.Failed, cluster.Canceled: tasklog.Canceled, cluster.TimedOut: tasklog.Failed}[state]
	entries := []tasklog.Entry{}
	if text != "" {
		category := tasklog.Fatal
		if state == cluster.Success || state == cluster.Canceled {
			category = tasklog.Info
		}
		entries = append(entries, tasklog.Line(w.task.Id, category, w.mask.text(text)))
	}
	entries = append(entries, tasklog.Set(w.task.Id, status))
	err := w.tell(ctx, "end", entries, func(tx *db.Tx) error {
		if err := unlock(ctx, tx, w.task.Id, ""); err != nil {
			return err
		}
		return tasklog.EndRun(ctx, tx, w.fence, tasklog.Ended)
	})
	if err != nil {
		w.Log.Error("cannot write the end of a task's log", "task", w.task.Id, "err", err)
		return cluster.Released{}
	}
	return cluster.Ended{State: state, Text: w.mask.text(text)}
}

// store runs a transaction of this task: under its fence, between two points of death.
func (w *work) store(ctx context.Context, point string, fn func(tx *db.Tx) error) error {
	return w.fenced(ctx, point, func(tx *db.Tx) error { return w.fence.Hold(ctx, tx) }, fn)
}

// tell is store of something that the log tells of as well: writing to the log holds the fence.
func (w *work) tell(ctx context.Context, point string, entries []tasklog.Entry, fn func(tx *db.Tx) error) error {
	if len(entries) == 0 {
		return w.store(ctx, point, fn)
	}
	return w.fenced(ctx, point, func(tx *db.Tx) error { return tasklog.Append(ctx, tx, w.fence, entries...) }, fn)
}

// note writes to the log and does nothing else.
func (w *work) note(ctx context.Context, point string, entries ...tasklog.Entry) error {
	return w.tell(ctx, point, entries, func(*db.Tx) error { return nil })
}

// opens begins a task's log with its root activity, and a line.
func (w *work) opens(ctx context.Context, point, text string) error {
	return w.note(ctx, point,
		tasklog.Entry{Activity: w.task.Id, Change: &tasklog.Change{Name: w.task.Description, Status: tasklog.Running, Summary: true}},
		tasklog.Line(w.task.Id, tasklog.Info, text))
}

func (w *work) fenced(ctx context.Context, point string, hold, fn func(tx *db.Tx) error) error {
	crashpoint.Reach(point + " before")
	err := w.DB.InTx(ctx, func(tx *db.Tx) error {
		if err := hold(tx); err != nil {
			return err
		}
		if err := fn(tx); err != nil {
			return err
		}
		crashpoint.Reach(point + " written")
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", point, err)
	}
	crashpoint.Reach(point + " committed")
	return nil
}

// say writes lines into one activity.
func (w *work) say(ctx context.Context, activity string, category tasklog.Category, format string, args ...any) {
	text := w.mask.text(fmt.Sprintf(format, args...))
	err := w.note(ctx, "say", tasklog.Line(activity, category, text))
	if err != nil && ctx.Err() == nil {
		w.Log.Warn("cannot write to a task's log", "task", w.task.Id, "err", err)
	}
}
