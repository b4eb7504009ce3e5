package cluster

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

// A claim whose commit took effect while its answer was lost is the node's without its knowledge. It is let go and claimed anew,
// soon, and the task runs once.
func TestClaimWithALostAnswerIsLetGo(t *testing.T) {
	where := dbtest.Create(t, db.SQLite)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		d, wire := dbtest.OpenWire(t, where)
		defer d.Close()
		var lost atomic.Bool
		wire.Around(func(did []dbtest.Statement, commit func() error) error {
			err := commit()
			for _, st := range did {
				if strings.Contains(st.Query, "UPDATE queue AS q SET state = 'running'") && st.Rows > 0 && !lost.Swap(true) {
					return dbtest.ErrWire
				}
			}
			return err
		})
		n, err := Start(t.Context(), d, Config{Name: "a", DataDir: t.TempDir(), Cap: 1, Log: slog.New(slog.DiscardHandler), Handlers: map[string]Handler{
			"Deploy": w.watch("a", func(context.Context, *Run) Outcome { return Ended{State: Success, Text: "bytes \x00\xff of a script"} }),
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Stop(context.Background()) //nolint:errcheck // the test is over
		task := push(t, w.d, NewTask{})
		w.until(5*time.Second, "the task ends", func() bool { return get(t, w.d, task.Id).State == Success })
		if runs := w.runs[task.Id]; !lost.Load() || len(runs) != 1 {
			t.Errorf("an answer was lost: %v; the task ran on %v", lost.Load(), runs)
		}
		if got, want := get(t, w.d, task.Id).ErrorMessage, "bytes \uFFFD of a script"; got != want {
			t.Errorf("the end says %q, want %q", got, want)
		}
	})
}

// An end that fails whenever it is tried keeps its own slot only.
func TestAnEndThatFailsHoldsNobodyUp(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		var sound atomic.Bool
		begin, both := make(chan struct{}), make(chan struct{}, 2)
		n, err := Start(t.Context(), d, Config{
			Name: "a", DataDir: t.TempDir(), Cap: 2, Log: slog.New(slog.DiscardHandler),
			Handlers: map[string]Handler{"Deploy": func(_ context.Context, run *Run) Outcome {
				if run.Task.Description != "later" {
					both <- struct{}{}
					<-begin
				}
				return Ended{State: Success}
			}},
			OnEnd: func(_ context.Context, _ *db.Tx, t Task) error {
				if t.Description == "bad" && !sound.Load() {
					return errors.New("what follows from it cannot be written")
				}
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Stop(context.Background()) //nolint:errcheck // the test is over
		bad, good, later := push(t, d, NewTask{Description: "bad"}), push(t, d, NewTask{}), push(t, d, NewTask{Description: "later"})
		<-both
		<-both
		close(begin)
		ends := func(what string, task Task) {
			t.Helper()
			topic, stop := d.Listen(TaskTopic(task.Id))
			defer stop()
			for deadline := time.Now().Add(20 * time.Second); get(t, d, task.Id).State != Success; {
				if time.Now().After(deadline) {
					t.Fatalf("%s does not end", what)
				}
				select {
				case <-topic:
				case <-time.After(20 * time.Millisecond):
				}
			}
		}
		ends("what ended with it", good)
		ends("what was to begin after it", later)
		if got := get(t, d, bad.Id).State; got != StateRunning {
			t.Errorf("the bad one is %s", got)
		}
		sound.Store(true)
		ends("the bad one", bad)
	})
}

// A node that takes no tasks wakes another one for them, however idle it is itself.
func TestWhoTakesNoTasksWakesAnother(t *testing.T) {
	var running atomic.Int64
	p := picker{running: &running}
	v := &view{own: settings{cap: 5}, peers: []peer{{name: "b", load: load{0, 5}}}}
	for name, c := range map[string]struct {
		takes, rest bool
		want        string
	}{
		"it takes tasks itself":     {true, false, ""},
		"in trouble, or it drains":  {false, false, workTopic("b")},
		"it stops since a moment":   {true, true, workTopic("b")},
		"it stops, and was no help": {false, true, workTopic("b")},
	} {
		p.saw(v, c.takes)
		if c.rest {
			p.rest()
		}
		if got := p.who(); got != c.want {
			t.Errorf("%s: %q is woken, want %q", name, got, c.want)
		}
	}
}

// Tasks that ask for labels and have one turn follow each other at once: none waits for a poll to show what is asked for.
func TestLabelledTasksOfOneTurnFollowAtOnce(t *testing.T) {
	where := dbtest.Create(t, db.SQLite)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		const n, each = 6, 1100 * time.Millisecond // longer than a poll, so that the last view showed none ready
		m := w.boot("a", t.TempDir(), 3, func(context.Context, *Run) Outcome {
			time.Sleep(each)
			return Ended{State: Success}
		}, func(c *Config) { c.Labels = []string{"gpu"} })
		defer m.stop(t)
		for range n {
			push(t, w.d, NewTask{Turn: "T", Labels: []string{"gpu"}})
		}
		took := w.until(20*time.Second, "all end", func() bool { return len(w.tasks(Filter{States: []string{string(Success)}})) == n })
		if took > n*each+1500*time.Millisecond { // the first one waits for a poll: the test is another process
			t.Errorf("%d tasks took %v", n, took)
		}
	})
}
