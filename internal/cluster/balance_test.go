package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

func TestBalance(t *testing.T) {
	begin := now()
	at := func(d time.Duration) mark { return mark{at: begin.at.Add(d), boot: begin.boot + d} }
	idle, half, full := load{0, 10}, load{5, 10}, load{10, 10}
	for name, c := range map[string]struct {
		others []load
		held   bool
		breath int
		mine   load
		want   int
	}{
		"alone":                          {nil, false, 0, load{0, 10}, math.MaxInt32},
		"all others full":                {[]load{full, full}, false, 0, load{3, 10}, math.MaxInt32},
		"all idle":                       {[]load{idle, idle}, false, 0, load{0, 10}, 2},
		"the first breath":               {[]load{idle, idle}, true, 0, load{2, 10}, 0},
		"after a breath":                 {[]load{idle, idle}, true, 1, load{2, 10}, 2},
		"the idlest counts":              {[]load{full, half, idle}, false, 0, load{0, 10}, 2},
		"as busy as the others":          {[]load{half, half}, false, 0, load{5, 10}, 2},
		"less busy than the others":      {[]load{half, half}, false, 0, load{0, 10}, 7},
		"busier than the others":         {[]load{half, idle}, false, 0, load{6, 10}, 0},
		"nobody came":                    {[]load{idle}, true, 4, load{8, 10}, math.MaxInt32},
		"a cap of one":                   {[]load{idle}, false, 0, load{0, 1}, 1},
		"a cap of one is taken":          {[]load{idle}, false, 0, load{1, 1}, 0},
		"shares follow caps (row 34)":    {[]load{{0, 2}}, false, 0, load{0, 50}, 10},
		"shares follow caps, the weaker": {[]load{{0, 50}}, false, 0, load{0, 5}, 1},
	} {
		b := balance{breath: 20 * time.Millisecond, others: c.others}
		if c.held {
			b.since = begin
		}
		if got := b.most(c.mine, at(time.Duration(c.breath)*b.breath+time.Millisecond)); got != c.want {
			t.Errorf("%s: may claim %d, want %d", name, got, c.want)
		}
	}
	b := balance{breath: time.Second, others: []load{idle}}
	if !b.claimed(2, 2, load{0, 10}, begin) || b.since == (mark{}) {
		t.Error("what may be left is not claimed")
	}
	if b.claimed(1, 2, load{2, 10}, begin) || b.since != (mark{}) {
		t.Error("a queue that is empty is claimed from again")
	}
	if b.claimed(2, 2, load{8, 10}, begin) {
		t.Error("a full node claims again")
	}
}

func spread(tasks []Task) map[string]int {
	by := map[string]int{}
	for _, t := range tasks {
		by[t.Node]++
	}
	return by
}

// A burst spreads over idle nodes in proportion to their caps; what the others do not take one node takes, up to its cap.
func TestBurstSpreadsRow34(t *testing.T) {
	for name, c := range map[string]struct {
		caps      [3]int
		push      int
		at, least [3]int // what each may have at most, and at least
	}{
		"equal caps":       {[3]int{10, 10, 10}, 12, [3]int{6, 6, 6}, [3]int{2, 2, 2}},
		"uneven caps":      {[3]int{16, 8, 4}, 14, [3]int{10, 6, 3}, [3]int{6, 3, 1}},
		"two that do not":  {[3]int{10, 0, 0}, 12, [3]int{10, 0, 0}, [3]int{10, 0, 0}},
		"more than enough": {[3]int{3, 2, 1}, 9, [3]int{3, 2, 1}, [3]int{3, 2, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			where, dirs := dbtest.Create(t, db.SQLite), []string{t.TempDir(), t.TempDir(), t.TempDir()}
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, where)
				for i, dir := range dirs {
					m := w.boot(fmt.Sprint(i), dir, c.caps[i], takes(time.Hour))
					defer m.stop(t)
				}
				time.Sleep(3 * time.Second)
				in(t, w.d, func(ctx context.Context, tx *db.Tx) (_ any, err error) {
					for range c.push {
						if _, err = Push(ctx, tx, NewTask{Kind: "Deploy"}); err != nil {
							break
						}
					}
					return nil, err
				})
				want := min(c.push, c.caps[0]+c.caps[1]+c.caps[2])
				w.until(4*time.Second, "all that can run do", func() bool { return len(w.tasks(Filter{Running: ref(true)})) == want })
				by := spread(w.tasks(Filter{Running: ref(true)}))
				for i := range 3 {
					if n := by[fmt.Sprint(i)]; n > c.at[i] || n < c.least[i] {
						t.Errorf("node %d runs %d tasks, want %d to %d; in all %v", i, n, c.least[i], c.at[i], by)
					}
				}
			})
		})
	}
}

// On PostgreSQL hints reach all nodes at once, so that a burst is spread within milliseconds.
func TestBurstSpreadsOnPostgres(t *testing.T) {
	where := dbtest.Create(t, db.Postgres)
	d := dbtest.Open(t, where)
	started := make(chan string, 100)
	for i := range 3 {
		nd, err := db.Open(t.Context(), where)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprint(i)
		n, err := Start(t.Context(), nd, Config{
			Name: name, DataDir: t.TempDir(), Cap: 10, Log: slog.New(slog.DiscardHandler),
			Handlers: map[string]Handler{name: sayStart(name, started), "Deploy": sayStart(name, started)},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer nd.Close()
		defer n.Stop(context.Background()) //nolint:errcheck // the test is over
	}
	wait := func(n int) map[string]int {
		by := map[string]int{}
		for range n {
			select {
			case node := <-started:
				by[node]++
			case <-time.After(20 * time.Second):
				t.Fatalf("only %v started", by)
			}
		}
		return by
	}
	for i := range 3 { // one for each, so that all have looked around
		push(t, d, NewTask{Kind: fmt.Sprint(i)})
	}
	wait(3)
	in(t, d, func(ctx context.Context, tx *db.Tx) (_ any, err error) {
		for range 12 {
			if _, err = Push(ctx, tx, NewTask{Kind: "Deploy"}); err != nil {
				break
			}
		}
		return nil, err
	})
	if by := wait(12); len(by) != 3 || max(by["0"], by["1"], by["2"]) > 8 {
		t.Errorf("the tasks are spread %v", by)
	}
}

func sayStart(node string, started chan<- string) Handler {
	return func(ctx context.Context, _ *Run) Outcome {
		started <- node
		<-ctx.Done()
		return Released{}
	}
}
