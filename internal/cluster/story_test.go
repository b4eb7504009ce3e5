package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/fault"
)

// world is a cluster whose handlers note who runs what when.
type world struct {
	t     *testing.T
	where string
	d     *db.DB // the test's own connection

	mu      sync.Mutex
	running map[string]int    // by node
	peak    map[string]int    // by node
	turns   map[string]string // who has a turn
	order   map[string][]int64
	runs    map[string][]string // nodes that ran a task, one after the other
}

type machine struct {
	*Node
	d    *db.DB
	conf Config
}

func newWorld(t *testing.T, where string) *world {
	return &world{
		t: t, where: where, d: dbtest.Open(t, where),
		running: map[string]int{}, peak: map[string]int{}, turns: map[string]string{}, order: map[string][]int64{}, runs: map[string][]string{},
	}
}

func (w *world) boot(name, dir string, taskCap int, work Handler, more ...func(*Config)) *machine {
	w.t.Helper()
	d, err := db.Open(w.t.Context(), w.where)
	if err != nil {
		w.t.Fatal(err)
	}
	conf := Config{Name: name, DataDir: dir, Cap: taskCap, Log: slog.New(slog.DiscardHandler), Handlers: map[string]Handler{"Deploy": w.watch(name, work)}}
	for _, m := range more {
		m(&conf)
	}
	n, err := Start(w.t.Context(), d, conf)
	if err != nil {
		d.Close()
		w.t.Fatal(err)
	}
	return &machine{Node: n, d: d, conf: conf}
}

// stop ends a machine in good order.
func (m *machine) stop(t *testing.T) {
	t.Helper()
	if err := m.Stop(context.Background()); err != nil {
		t.Errorf("stop %s: %v", m.conf.Name, err)
	}
	if err := m.Stop(context.Background()); err != nil {
		t.Errorf("stop %s again: %v", m.conf.Name, err)
	}
	if err := m.d.Close(); err != nil {
		t.Error(err)
	}
}

// kill ends a machine as kill -9 does: not a word to the database, and its lock is free.
func (m *machine) kill(t *testing.T) {
	t.Helper()
	m.cancel()
	<-m.done
	m.absent()
	if err := errors.Join(m.lock.Close(), m.d.Close()); err != nil {
		t.Error(err)
	}
}

// watch checks what must hold while handlers run.
func (w *world) watch(name string, work Handler) Handler {
	return func(ctx context.Context, run *Run) Outcome {
		w.mu.Lock()
		w.running[name]++
		w.peak[name] = max(w.peak[name], w.running[name])
		w.runs[run.Task.Id] = append(w.runs[run.Task.Id], name)
		if turn := run.Task.Turn; turn != "" {
			if other := w.turns[turn]; other != "" {
				w.t.Errorf("%s runs while %s has the turn %s", run.Task.Id, other, turn)
			}
			w.turns[turn] = run.Task.Id
			if !slices.Contains(w.order[turn], run.Task.Number) {
				w.order[turn] = append(w.order[turn], run.Task.Number)
			}
		}
		w.mu.Unlock()
		defer func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.running[name]--
			delete(w.turns, run.Task.Turn)
		}()
		return work(ctx, run)
	}
}

func (w *world) tasks(f Filter) []Task {
	return in(w.t, w.d, func(ctx context.Context, tx *db.Tx) ([]Task, error) { return List(ctx, tx, f) })
}

// until waits, in the bubble's time, until something holds; it fails after a while.
func (w *world) until(limit time.Duration, what string, holds func() bool) time.Duration {
	w.t.Helper()
	begin := time.Now()
	for !holds() {
		if time.Since(begin) > limit {
			var now []string
			for _, t := range w.tasks(Filter{}) {
				now = append(now, fmt.Sprintf("%s %s %s head=%v", t.Id, t.State, t.Node, t.Head))
			}
			w.t.Fatalf("after %v still not: %s\n%s", limit, what, strings.Join(now, "\n"))
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(begin)
}

func (w *world) done(n int) func() bool {
	return func() bool { return len(w.tasks(Filter{States: []string{"Success"}})) == n }
}

// takes works for a while, and gives the task back when asked to.
func takes(d time.Duration) Handler {
	return func(ctx context.Context, run *Run) Outcome {
		select {
		case <-time.After(d):
			return Ended{State: Success}
		case <-run.Cancelled():
			return Ended{State: Canceled, Text: "on request"}
		case <-ctx.Done():
			return Released{}
		}
	}
}

// The story: three nodes share forty tasks of six turns. One is killed, one restarts, one drains and
// stops; nothing runs twice at once, every turn keeps its order, no cap is passed, everything ends.
func TestStory(t *testing.T) {
	where := dbtest.Create(t, db.SQLite)
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		work := takes(3 * time.Second)
		a, b, c := w.boot("a", dirs[0], 2, work), w.boot("b", dirs[1], 3, work), w.boot("c", dirs[2], 1, work)
		for i := range 40 {
			n := NewTask{Kind: "Deploy"}
			if i%7 != 0 {
				n.Turn = fmt.Sprint("turn ", i%6)
			}
			push(t, w.d, n)
		}
		time.Sleep(4 * time.Second)
		a.kill(t)
		held := w.tasks(Filter{Nodes: []string{"a"}, Running: ref(true)})
		if len(held) == 0 {
			t.Fatal("the killed node had nothing")
		}
		took := w.until(20*time.Second, "the dead node's tasks are taken over", func() bool {
			return !slices.ContainsFunc(held, func(t Task) bool {
				now := get(w.t, w.d, t.Id)
				return now.State == StateReleased || now.Node == "a" && now.State == StateRunning
			})
		})
		if took < 13*time.Second {
			t.Errorf("a node was declared dead after %v only", took)
		}
		for _, h := range held {
			if got := get(t, w.d, h.Id); got.State != Success && got.Claims < 2 {
				t.Errorf("%s was not claimed again: %+v", h.Id, got)
			}
		}
		a = w.boot("a", dirs[0], 2, work)
		time.Sleep(2 * time.Second)
		yes := true
		in(t, w.d, func(ctx context.Context, tx *db.Tx) (NodeInfo, error) { return SetNode(ctx, tx, "b", nil, &yes) })
		before := len(w.tasks(Filter{Nodes: []string{"b"}}))
		w.until(5*time.Second, "b is drained", func() bool { return len(w.tasks(Filter{Nodes: []string{"b"}, Running: ref(true)})) == 0 })
		b.stop(t)
		if after := len(w.tasks(Filter{Nodes: []string{"b"}})); after > before {
			t.Errorf("a draining node went from %d to %d tasks", before, after)
		}
		w.until(5*time.Minute, "everything has ended", w.done(40))
		a.stop(t)
		c.stop(t)
		for name, limit := range map[string]int{"a": 2, "b": 3, "c": 1} {
			if w.peak[name] != limit {
				t.Errorf("%s ran up to %d tasks at once, its cap is %d", name, w.peak[name], limit)
			}
		}
		for turn, order := range w.order {
			if !slices.IsSorted(order) {
				t.Errorf("%s ran in the order %v", turn, order)
			}
		}
		for _, n := range in(t, w.d, Nodes) {
			if n.State != "stopped" || n.RunningTasks != 0 {
				t.Errorf("at the end: %+v", n)
			}
		}
	})
}

func ref[T any](v T) *T { return &v }

// A single node that is killed and starts again has its tasks within a second (kill -9 and restart).
func TestRestartTakesItsTasksBackAtOnce(t *testing.T) {
	where, dir := dbtest.Create(t, db.SQLite), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		a := w.boot("a", dir, 5, takes(time.Hour))
		push(t, w.d, NewTask{Turn: "x"})
		w.until(2*time.Second, "it runs", func() bool { return len(w.tasks(Filter{Running: ref(true)})) == 1 })
		a.kill(t)
		a = w.boot("a", dir, 5, takes(time.Second))
		if took := w.until(2*time.Second, "it ran again", w.done(1)); took > 1200*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		a.stop(t)
	})
}

func TestStopHandsOverAtOnce(t *testing.T) {
	where, one, two := dbtest.Create(t, db.SQLite), t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		var causes []error
		a := w.boot("a", one, 5, func(ctx context.Context, _ *Run) Outcome {
			<-ctx.Done()
			causes = append(causes, context.Cause(ctx))
			return nil // an answer that says nothing is Released
		})
		task := push(t, w.d, NewTask{})
		w.until(2*time.Second, "a runs it", func() bool { return get(t, w.d, task.Id).Node == "a" })
		b := w.boot("b", two, 5, takes(time.Second))
		begin := time.Now()
		a.stop(t)
		w.until(3*time.Second, "b has ended it", w.done(1))
		if took := time.Since(begin); took > 2500*time.Millisecond {
			t.Errorf("the hand-over took %v", took)
		}
		if len(causes) != 1 || !errors.Is(causes[0], ErrReleased) {
			t.Errorf("the handler's context ended by %v", causes)
		}
		b.stop(t)
	})
}

func TestHandlerThatIgnoresStopLosesItsTask(t *testing.T) {
	where, one := dbtest.Create(t, db.SQLite), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		a := w.boot("a", one, 5, func(_ context.Context, _ *Run) Outcome {
			time.Sleep(time.Minute)
			return Ended{State: Success}
		})
		task := push(t, w.d, NewTask{})
		w.until(2*time.Second, "it runs", func() bool { return get(t, w.d, task.Id).Node == "a" })
		a.stop(t)
		time.Sleep(2 * time.Minute)
		if got := get(t, w.d, task.Id); got.State != StateReleased {
			t.Errorf("the task is %s", got.State)
		}
	})
}

// A node cut off from the database stops its runs before anybody else may start them.
func TestSelfFenceComesBeforeTakeover(t *testing.T) {
	where, one, two := dbtest.Create(t, db.SQLite), t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		var stopped, begun time.Time
		var cause error
		a := w.boot("a", one, 5, func(ctx context.Context, _ *Run) Outcome {
			<-ctx.Done()
			stopped, cause = time.Now(), context.Cause(ctx)
			return nil
		})
		task := push(t, w.d, NewTask{})
		w.until(2*time.Second, "a runs it", func() bool { return get(t, w.d, task.Id).Node == "a" })
		b := w.boot("b", two, 5, func(context.Context, *Run) Outcome {
			begun = time.Now()
			return Ended{State: Success}
		})
		cut := time.Now()
		a.d.Close() // from here on every statement of a fails
		w.until(30*time.Second, "b has ended it", w.done(1))
		if !errors.Is(cause, ErrFenced) || stopped.IsZero() || !stopped.Before(begun) {
			t.Errorf("a stopped at %v by %v, b began at %v", stopped.Sub(cut), cause, begun.Sub(cut))
		}
		if took := begun.Sub(cut); took > 17*time.Second || took < 13*time.Second {
			t.Errorf("b began after %v", took)
		}
		a.cancel()
		<-a.done
		a.absent()
		a.lock.Close()
		b.stop(t)
	})
}

func TestFencedNodeComesBack(t *testing.T) {
	where, one := dbtest.Create(t, db.SQLite), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		a := w.boot("a", one, 5, takes(time.Second))
		epoch := a.Epoch()
		in(t, w.d, func(ctx context.Context, tx *db.Tx) (any, error) {
			all, err := beats(ctx, tx)
			if err != nil {
				return nil, err
			}
			return reap(ctx, tx, all[0])
		})
		push(t, w.d, NewTask{})
		w.until(10*time.Second, "it is back and works", w.done(1))
		if got := a.Epoch(); got != epoch+2 { // one by the reaper, one by itself
			t.Errorf("epoch %d after %d", got, epoch)
		}
		a.stop(t)
	})
}

func TestCancelReachesTheHandler(t *testing.T) {
	where, one := dbtest.Create(t, db.SQLite), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		a := w.boot("a", one, 5, takes(time.Hour))
		task := push(t, w.d, NewTask{})
		w.until(2*time.Second, "it runs", func() bool { return get(t, w.d, task.Id).Node == "a" })
		in(t, w.d, func(ctx context.Context, tx *db.Tx) (Task, error) { return Cancel(ctx, tx, task.Id, "") }) // no hint reaches a: it polls
		took := w.until(3*time.Second, "it is canceled", func() bool { return get(t, w.d, task.Id).State == Canceled })
		if took > 1300*time.Millisecond {
			t.Errorf("the cancel took %v", took)
		}
		if got := get(t, w.d, task.Id); got.ErrorMessage != "on request" {
			t.Errorf("reason %q", got.ErrorMessage)
		}
		a.stop(t)
	})
}

func TestWaitAndResumeThroughTheNode(t *testing.T) {
	where, one := dbtest.Create(t, db.SQLite), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		var ended []string
		a := w.boot("a", one, 1, func(_ context.Context, run *Run) Outcome {
			if run.Task.Claims == 1 && run.Task.Number == 1 {
				return Waiting{}
			}
			return Ended{State: Success}
		}, func(c *Config) {
			c.OnEnd = func(_ context.Context, _ *db.Tx, t Task) error {
				ended = append(ended, t.Id+" "+t.Wire())
				return nil
			}
		})
		push(t, w.d, NewTask{Turn: "x"})
		push(t, w.d, NewTask{Turn: "x"})
		push(t, w.d, NewTask{Kind: "Unknown", QueueTimeExpiry: time.Now().Add(2 * time.Second)})
		push(t, w.d, NewTask{QueueTime: time.Now().Add(time.Minute)})
		w.until(5*time.Second, "2 ends while 1 waits", func() bool { return get(t, w.d, "ServerTasks-2").State == Success })
		if got := get(t, w.d, "ServerTasks-1"); got.State != StateWaiting {
			t.Errorf("1 is %s", got.State)
		}
		in(t, w.d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, Resume(ctx, tx, "ServerTasks-1") })
		w.until(5*time.Second, "1 ends", func() bool { return get(t, w.d, "ServerTasks-1").State == Success })
		w.until(2*time.Minute, "4 ends in its time", func() bool { return get(t, w.d, "ServerTasks-4").State == Success })
		if got := get(t, w.d, "ServerTasks-4"); got.StartTime.Before(got.QueueTime) {
			t.Errorf("started at %v, not before %v", got.StartTime, got.QueueTime)
		}
		a.stop(t)
		slices.Sort(ended)
		if want := []string{"ServerTasks-1 Success", "ServerTasks-2 Success", "ServerTasks-3 TimedOut", "ServerTasks-4 Success"}; !slices.Equal(ended, want) {
			t.Errorf("ends: %v", ended)
		}
	})
}

func TestPanicFailsTheTaskOnly(t *testing.T) {
	where, one := dbtest.Create(t, db.SQLite), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		a := w.boot("a", one, 1, func(_ context.Context, run *Run) Outcome {
			switch run.Task.Number {
			case 1:
				panic("boom")
			case 2:
				return Ended{State: "Great"}
			}
			return Ended{State: Success}
		})
		for range 3 {
			push(t, w.d, NewTask{})
		}
		w.until(5*time.Second, "3 ends", w.done(1))
		for _, id := range []string{"ServerTasks-1", "ServerTasks-2"} {
			if got := get(t, w.d, id); got.State != Failed || strings.Contains(got.ErrorMessage, "boom") {
				t.Errorf("%+v", got)
			}
		}
		a.stop(t)
	})
}

// Duties run once per time, by one node; a drained or dead leader is followed by another.
func TestLeadership(t *testing.T) {
	where, one, two := dbtest.Create(t, db.SQLite), t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		var mu sync.Mutex
		var times []time.Time
		var by []string
		duties := func(name string) func(*Config) {
			return func(c *Config) {
				c.Duties = []Duty{{Name: "Sweep", Every: time.Minute, Do: func(context.Context, Term) error {
					mu.Lock()
					defer mu.Unlock()
					times, by = append(times, time.Now()), append(by, name)
					return nil
				}}}
			}
		}
		work := takes(time.Second)
		a := w.boot("a", one, 1, work, duties("a"))
		time.Sleep(5 * time.Second)
		b := w.boot("b", two, 1, work, duties("b"))
		time.Sleep(3 * time.Minute)
		if !a.Leading() || b.Leading() {
			t.Fatalf("leads: a %v, b %v", a.Leading(), b.Leading())
		}
		yes, no := true, false
		in(t, w.d, func(ctx context.Context, tx *db.Tx) (NodeInfo, error) { return SetNode(ctx, tx, "a", nil, &yes) })
		took := w.until(5*time.Second, "b leads", b.Leading)
		if took > 2300*time.Millisecond || a.Leading() { // a look of each, a second and a tenth apart: no hints go between them here
			t.Errorf("leadership went over in %v; a still: %v", took, a.Leading())
		}
		in(t, w.d, func(ctx context.Context, tx *db.Tx) (NodeInfo, error) { return SetNode(ctx, tx, "a", nil, &no) })
		time.Sleep(3 * time.Minute)
		b.kill(t)
		took = w.until(30*time.Second, "a leads again", a.Leading)
		if took < 12*time.Second || took > 18*time.Second { // the dead one renewed up to 3 s before
			t.Errorf("after a death it took %v", took)
		}
		time.Sleep(3 * time.Minute)
		a.stop(t)
		for i := 1; i < len(times); i++ {
			if gap := times[i].Sub(times[i-1]); gap < 55*time.Second || gap > 90*time.Second {
				t.Errorf("duty %d came %v after the one before", i, gap)
			}
		}
		if len(times) < 9 || !slices.Contains(by, "b") {
			t.Errorf("%d times, by %v", len(times), by)
		}
	})
}

func TestStartRefuses(t *testing.T) {
	where, one, two := dbtest.Create(t, db.SQLite), t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		a := w.boot("a", one, 1, takes(time.Second))
		for name, c := range map[string]struct {
			conf Config
			kind fault.Kind
		}{
			"the same directory":       {Config{Name: "b", DataDir: one}, fault.Conflict},
			"the same name, elsewhere": {Config{Name: "a", DataDir: two}, fault.Conflict},
			"no name":                  {Config{DataDir: two}, fault.Invalid},
			"a path as name":           {Config{Name: "a/b", DataDir: two}, fault.Invalid},
			"no directory":             {Config{Name: "b"}, fault.Invalid},
			"a negative cap":           {Config{Name: "b", DataDir: two, Cap: -1}, fault.Invalid},
			"a label of two words":     {Config{Name: "b", DataDir: two, Labels: []string{"two words"}}, fault.Invalid},
			"times that do not fit":    {Config{Name: "b", DataDir: two, Timing: Timing{Beat: time.Second, Limit: time.Second, Hold: 9 * time.Second, Dead: 9 * time.Second, Poll: time.Second}}, fault.Invalid},
		} {
			n, err := Start(t.Context(), w.d, c.conf)
			if fault.KindOf(err) != c.kind {
				t.Errorf("%s: %v", name, err)
			}
			if err == nil {
				n.Stop(context.Background())
			}
		}
		a.kill(t)
		// Nobody beats for the name any more: another machine gets it, after the full time.
		begin := time.Now()
		a = w.boot("a", two, 1, takes(time.Second))
		if took := time.Since(begin); took < 15*time.Second || took > 18*time.Second {
			t.Errorf("another machine got the name after %v", took)
		}
		a.stop(t)
	})
}

// The same with a real PostgreSQL, hints and real time: the way from push to end is short.
func TestNodesOnPostgres(t *testing.T) {
	where := dbtest.Create(t, db.Postgres)
	w := newWorld(t, where)
	work := takes(time.Millisecond)
	fast := func(c *Config) { c.Timing = FastTiming }
	a, b := w.boot("a", t.TempDir(), 4, work, fast), w.boot("b", t.TempDir(), 4, work, fast)
	begin := time.Now()
	var all []Task
	for i := range 100 {
		all = append(all, push(t, w.d, NewTask{Turn: fmt.Sprint(i % 5)}))
	}
	for _, task := range all {
		wake, stop := w.d.Listen(TaskTopic(task.Id))
		for !get(t, w.d, task.Id).State.Ended() {
			select {
			case <-wake:
			case <-time.After(10 * time.Second):
				t.Fatalf("%s does not end: %+v", task.Id, get(t, w.d, task.Id))
			}
		}
		stop()
	}
	t.Logf("100 tasks of 5 turns on 2 nodes: %v", time.Since(begin))
	for turn, order := range w.order {
		if !slices.IsSorted(order) {
			t.Errorf("turn %s ran in the order %v", turn, order)
		}
	}
	if w.peak["a"] > 4 || w.peak["b"] > 4 {
		t.Errorf("peaks %v, caps 4", w.peak)
	}
	a.stop(t)
	b.stop(t)
}

// A killed process is seen by two witnesses, its session lock and its port; one alone is not enough.
func TestTwoWitnessesOfADeath(t *testing.T) {
	for name, c := range map[string]struct {
		port   bool // its port still answers
		walled bool // its port never answered
		want   string
	}{
		"lock gone, port refuses":        {false, false, "dead"},
		"lock gone, port answers":        {true, false, "up"},
		"lock gone, port always refuses": {false, true, "up"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, dbtest.Create(t, db.Postgres))
			port, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer port.Close()
			if c.walled {
				port.Close()
			}
			a := w.boot("a", t.TempDir(), 4, takes(time.Hour), func(c *Config) { c.Address = port.Addr().String() })
			b := w.boot("b", t.TempDir(), 4, takes(0))
			defer b.stop(t)
			if !a.present {
				t.Fatal("a does not hold its lock")
			}
			if !c.port && !c.walled {
				conn, err := port.Accept() // b has seen it
				if err != nil {
					t.Fatal(err)
				}
				port.Close()
				defer conn.Close()
				if b.killedNow(t, "a", !c.walled) {
					t.Fatal("a refused connection alone was enough")
				}
			}
			a.kill(t)
			if c.want == "up" {
				for gone := false; !gone; { // the database takes a moment to see that the connection is
					gone = in(t, w.d, func(ctx context.Context, tx *db.Tx) (bool, error) { return db.Absent(ctx, tx, "a") })
				}
				if b.killedNow(t, "a", !c.walled) {
					t.Error("that was enough")
				}
				return
			}
			begin := time.Now() // the database takes a moment to see that the connection is gone
			for in(t, w.d, func(ctx context.Context, tx *db.Tx) (NodeInfo, error) { return GetNode(ctx, tx, "a") }).State != c.want {
				if time.Since(begin) > 8*time.Second { // the counter alone would take 15
					t.Fatal("not seen")
				}
				<-time.After(20 * time.Millisecond)
			}
			t.Logf("seen after %v", time.Since(begin))
		})
	}
}

// killedNow asks a machine's own eyes.
func (m *machine) killedNow(t *testing.T, other string, answered bool) bool {
	t.Helper()
	var row beatRow
	all := in(t, m.d, beats)
	for _, r := range all {
		if r.node == other {
			row = r
		}
	}
	s := newSession(m.Node)
	defer s.cancel(nil)
	if answered {
		s.reached.Store(reachedNode{row.node, row.epoch}, true)
	}
	return s.killed(t.Context(), row) || in(t, m.d, func(ctx context.Context, tx *db.Tx) (NodeInfo, error) { return GetNode(ctx, tx, other) }).State == "dead"
}

// A fenced node does not come back before its runs are over, however long they take.
func TestFencedNodeWaitsForItsRuns(t *testing.T) {
	where, one := dbtest.Create(t, db.SQLite), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		a := w.boot("a", one, 5, func(ctx context.Context, run *Run) Outcome {
			if run.Task.Claims > 1 {
				return Ended{State: Success}
			}
			<-ctx.Done()
			time.Sleep(25 * time.Second) // hard of hearing; watch sees who runs beside it
			return Ended{State: Failed, Text: "written by a fenced run"}
		})
		task := push(t, w.d, NewTask{Turn: "x"})
		w.until(2*time.Second, "it runs", func() bool { return get(t, w.d, task.Id).Node == "a" })
		in(t, w.d, func(ctx context.Context, tx *db.Tx) (any, error) {
			all, err := beats(ctx, tx)
			if err != nil {
				return nil, err
			}
			return reap(ctx, tx, all[0])
		})
		if took := w.until(time.Minute, "it ran again", w.done(1)); took < 25*time.Second {
			t.Errorf("it ran again after %v, while the fenced run went on", took)
		}
		a.stop(t)
	})
}
