package control_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/fault"
)

// slow is a cluster whose loops seldom look, so that an hour of a bubble is cheap.
var slow = cluster.Timing{Beat: time.Minute, Limit: 10 * time.Second, Hold: 4 * time.Minute, Dead: 10 * time.Minute, Kill: time.Minute, Poll: 3 * time.Second}

// TestAwaitDrainedRow40 waits for a single node as long as it was told to (behaviour.md P10): its tasks end, or are cancelled, or are
// named.
func TestAwaitDrainedRow40(t *testing.T) {
	for name, c := range map[string]struct {
		takes  []time.Duration
		deaf   bool // its handler does not hear a cancel
		drain  control.Drain
		after  time.Duration // about
		says   string        // in the error
		states string
	}{
		"nothing runs":            {nil, false, control.Drain{Wait: time.Hour}, 0, "", ""},
		"they end in 55 minutes":  {[]time.Duration{55 * time.Minute, time.Minute}, false, control.Drain{Wait: time.Hour}, 55 * time.Minute, "", "Success Success"},
		"the time is over":        {[]time.Duration{2 * time.Hour, time.Minute}, false, control.Drain{Wait: time.Hour}, time.Hour, "still runs 1 task: ServerTasks-1 (sleep 2h0m0s)", "Executing Success"},
		"what is left is ended":   {[]time.Duration{2 * time.Hour, time.Minute}, false, control.Drain{Wait: time.Hour, Cancel: true, CancelWait: time.Minute}, time.Hour, "", "Canceled Success"},
		"at once":                 {[]time.Duration{2 * time.Hour}, false, control.Drain{Cancel: true, CancelWait: time.Minute}, 0, "", "Canceled"},
		"a cancel is not obeyed":  {[]time.Duration{2 * time.Hour}, true, control.Drain{Wait: time.Minute, Cancel: true, CancelWait: 10 * time.Minute}, 11 * time.Minute, "has not ended within 10m0s", "Cancelling"},
		"a cancel takes a moment": {[]time.Duration{20 * time.Minute}, true, control.Drain{Wait: 15 * time.Minute, Cancel: true, CancelWait: 10 * time.Minute}, 20 * time.Minute, "", "Success"},
	} {
		t.Run(name, func(t *testing.T) {
			where, dir := dbtest.Create(t, db.SQLite), t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				d := dbtest.Open(t, where)
				work := func(ctx context.Context, run *cluster.Run) cluster.Outcome {
					length, err := time.ParseDuration(strings.TrimPrefix(run.Task.Description, "sleep "))
					if err != nil {
						t.Error(err)
					}
					cancelled := run.Cancelled()
					if c.deaf {
						cancelled = nil
					}
					select {
					case <-time.After(length):
						return cluster.Ended{State: cluster.Success}
					case <-cancelled:
						return cluster.Ended{State: cluster.Canceled}
					case <-ctx.Done():
						return cluster.Released{}
					}
				}
				node, err := cluster.Start(t.Context(), d, cluster.Config{Name: "n1", DataDir: dir, Cap: 5, Handlers: map[string]cluster.Handler{"Health": work}, Log: slog.New(slog.DiscardHandler), Timing: slow})
				if err != nil {
					t.Fatal(err)
				}
				defer node.Stop(context.Background())
				use := &control.Control{DB: d}
				push := func(length time.Duration) {
					err := d.InTx(t.Context(), func(tx *db.Tx) error {
						_, err := cluster.Push(t.Context(), tx, cluster.NewTask{Kind: "Health", Description: "sleep " + length.String()})
						return err
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				for _, length := range c.takes {
					push(length)
				}
				time.Sleep(10 * time.Second) // they run
				yes := true
				if _, err := use.SetNode(t.Context(), "n1", control.NodeChange{Draining: &yes}); err != nil {
					t.Fatal(err)
				}
				push(time.Second) // nobody starts it
				begin := time.Now()
				told := 0
				err = use.AwaitDrained(t.Context(), "n1", c.drain, func(string) { told++ })
				if took := time.Since(begin); took < c.after-20*time.Second || took > c.after+70*time.Second {
					t.Errorf("it came back after %v, want about %v", took, c.after)
				}
				if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || fault.KindOf(err) != fault.Busy) {
					t.Errorf("error %v, want %q", err, c.says)
				}
				if c.after > time.Hour/2 && told < 10 {
					t.Errorf("in %v it told %d times how it goes", c.after, told)
				}
				tasks, _, _, err := use.Tasks(t.Context(), cluster.Filter{})
				if err != nil {
					t.Fatal(err)
				}
				var states []string
				for i := len(tasks) - 1; i > 0; i-- { // the newest comes first
					states = append(states, tasks[i].State)
				}
				if got := strings.Join(states, " "); got != c.states || tasks[0].State != "Queued" {
					t.Errorf("the tasks are %s, the one pushed after the drain is %s", got, tasks[0].State)
				}
				if n, err := use.GetNode(t.Context(), "n1"); err != nil || (n.Status == "Drained") != (c.says == "") {
					t.Errorf("the node is %s, %v", n.Status, err)
				}
			})
		})
	}
}

// TestAwaitDrainedOfNoNode names the node that is not there.
func TestAwaitDrainedOfNoNode(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		use := &control.Control{DB: d}
		yes := true
		if _, err := use.SetNode(t.Context(), "nobody", control.NodeChange{Draining: &yes}); fault.KindOf(err) != fault.NotFound || !strings.Contains(fmt.Sprint(err), "nobody") {
			t.Errorf("a node that is not there: %v", err)
		}
	})
}
