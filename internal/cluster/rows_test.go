package cluster

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

// Rows of the behaviour list about the queue and the task cap, told with whole nodes.

// burst queues n tasks at once.
func (w *world) burst(n int, more NewTask) {
	w.t.Helper()
	more.Kind = "Deploy"
	in(w.t, w.d, func(ctx context.Context, tx *db.Tx) (_ any, err error) {
		for range n {
			if _, err = Push(ctx, tx, more); err != nil {
				break
			}
		}
		return nil, err
	})
}

func (w *world) running1(node string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.running[node]
}

// One slot takes tasks in the order in which they were queued.
func TestFirstInFirstOutRow26(t *testing.T) {
	where, dir := dbtest.Create(t, db.SQLite), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		var mu sync.Mutex
		var order []int64
		a := w.boot("a", dir, 1, func(_ context.Context, run *Run) Outcome {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, run.Task.Number)
			time.Sleep(time.Second)
			return Ended{State: Success}
		})
		for i := range 20 {
			push(t, w.d, NewTask{Turn: strings.Repeat("x", i%3)})
		}
		time.Sleep(20 * time.Second)
		w.until(10*time.Second, "all have run", w.done(20))
		a.stop(t)
		if len(order) != 20 || !slices.IsSorted(order) {
			t.Errorf("they ran in the order %v", order)
		}
	})
}

// Two nodes of ten run twenty of twenty-five tasks, and neither ever more than ten, also when slots become free and caps change.
func TestCapsAddUpRow28Row29(t *testing.T) {
	where, dirs := dbtest.Create(t, db.SQLite), []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		sleep := takes(8 * time.Second)
		a, b := w.boot("a", dirs[0], 10, sleep), w.boot("b", dirs[1], 10, sleep)
		w.burst(25, NewTask{})
		w.until(10*time.Second, "twenty run", func() bool { return w.running1("a")+w.running1("b") == 20 })
		time.Sleep(2 * time.Second)
		if x, y := w.running1("a"), w.running1("b"); x != 10 || y != 10 {
			t.Errorf("%d and %d run", x, y)
		}
		// A lower cap stops nothing, and nothing starts until the node is below it (I4).
		in(t, w.d, func(ctx context.Context, tx *db.Tx) (any, error) {
			return tx.ExecContext(ctx, "UPDATE node SET cap = 2 WHERE name = 'a'")
		})
		w.burst(15, NewTask{})
		time.Sleep(8 * time.Second) // what ran under the old cap has ended
		for range 12 {
			time.Sleep(time.Second)
			if n := w.running1("a"); n > 2 {
				t.Errorf("with a cap of 2 %d run", n)
			}
		}
		w.until(time.Minute, "all have run", w.done(40))
		a.stop(t)
		b.stop(t)
		if w.peak["a"] > 10 || w.peak["b"] > 10 {
			t.Errorf("at most %v ran at once", w.peak)
		}
	})
}

// A node with a cap of 0 takes no task of any kind, one with a cap of 1 takes one at a time.
func TestUIOnlyAndCanaryRow32Row33(t *testing.T) {
	where, dirs := dbtest.Create(t, db.SQLite), []string{t.TempDir(), t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		work := takes(3 * time.Second)
		var nodes []*machine
		for i, name := range []string{"ui", "canary", "work"} {
			nodes = append(nodes, w.boot(name, dirs[i], []int{0, 1, 5}[i], work, func(c *Config) { c.Handlers["Retention"] = c.Handlers["Deploy"] }))
		}
		w.burst(20, NewTask{})
		push(t, w.d, NewTask{Kind: "Retention"})
		time.Sleep(9 * time.Second)
		w.until(time.Minute, "all have run", w.done(21))
		for _, n := range nodes {
			n.stop(t)
		}
		by := spread(w.tasks(Filter{}))
		if by["ui"] != 0 || by["canary"] == 0 || w.peak["canary"] != 1 || w.peak["work"] != 5 {
			t.Errorf("tasks by node %v, at most %v at once", by, w.peak)
		}
	})
}

// No task is lost or run a second time because it failed: a failure is the end. Only the loss of a node is none.
func TestNoRetryElsewhereRow36(t *testing.T) {
	where, dirs := dbtest.Create(t, db.SQLite), []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		a := w.boot("a", dirs[0], 5, func(context.Context, *Run) Outcome { return Ended{State: Failed, Text: "the script said no"} })
		task := push(t, w.d, NewTask{})
		w.until(3*time.Second, "it failed", func() bool { return get(t, w.d, task.Id).State == Failed })
		b := w.boot("b", dirs[1], 5, takes(time.Second))
		a.kill(t)
		time.Sleep(2 * time.Minute)
		if got := get(t, w.d, task.Id); got.State != Failed || got.Node != "a" || got.ErrorMessage != "the script said no" || len(w.runs[task.Id]) != 1 {
			t.Errorf("later: %+v, run by %v", got, w.runs[task.Id])
		}
		b.stop(t)
	})
}

// A task with labels runs on the node that has them, soon after it was queued or the node got them; others are not held up.
func TestLabelledTasksFindTheirNodeRow35(t *testing.T) {
	where, dirs := dbtest.Create(t, db.SQLite), []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		work := takes(time.Second)
		a, b := w.boot("a", dirs[0], 2, work), w.boot("b", dirs[1], 2, work, func(c *Config) { c.Labels = []string{"gpu"} })
		time.Sleep(2 * time.Second)
		w.burst(3, NewTask{Labels: []string{"gpu"}})
		w.burst(1, NewTask{Labels: []string{"arm"}})
		w.burst(8, NewTask{})
		w.until(20*time.Second, "all but one have run", w.done(11))
		for _, task := range w.tasks(Filter{States: []string{"Success"}}) {
			if task.Number <= 3 && task.Node != "b" {
				t.Errorf("%s, which needs a gpu, ran on %s", task.Id, task.Node)
			}
		}
		in(t, w.d, func(ctx context.Context, tx *db.Tx) (any, error) {
			return nil, SetLabels(ctx, tx, "a", []string{"arm"})
		})
		w.until(3*time.Second, "the node that got the label runs it", w.done(12))
		if got := get(t, w.d, "ServerTasks-4").Node; got != "a" {
			t.Errorf("it ran on %s", got)
		}
		a.stop(t)
		b.stop(t)
	})
}
