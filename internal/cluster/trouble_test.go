package cluster

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

// A node whose blob store is not the cluster's takes nothing new, says so, ends what is cancelled, and works again by itself
// when it is well.
func TestNodeInTroubleTakesNoTasksRow84(t *testing.T) {
	where := dbtest.Create(t, db.SQLite)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		var trouble atomic.Pointer[error]
		say := func(err error) { trouble.Store(&err) }
		say(nil)
		long := make(chan struct{})
		m := w.boot("a", t.TempDir(), 3, func(_ context.Context, run *Run) Outcome {
			if run.Task.Description == "long" {
				<-long
			}
			return Ended{State: Success}
		}, func(c *Config) { c.Ready = func() error { return *trouble.Load() } })
		defer m.stop(t)
		state := func(task Task) State { return get(t, w.d, task.Id).State }
		first := push(t, w.d, NewTask{Description: "long"})
		time.Sleep(3 * time.Second)

		say(errors.New("The blob store is another one."))
		time.Sleep(3 * time.Second)
		second, third := push(t, w.d, NewTask{}), push(t, w.d, NewTask{})
		time.Sleep(10 * time.Second)
		if got := state(second); got != StateQueued {
			t.Errorf("a node in trouble took a task: it is %s", got)
		}
		if got := state(first); got != StateRunning {
			t.Errorf("what ran is %s", got)
		}
		n := in(t, w.d, func(ctx context.Context, tx *db.Tx) (NodeInfo, error) { return GetNode(ctx, tx, "a") })
		if n.Trouble != "The blob store is another one." {
			t.Errorf("the node says %q", n.Trouble)
		}
		why := in(t, w.d, func(ctx context.Context, tx *db.Tx) (string, error) { return Why(ctx, tx, second.Id) })
		if !strings.Contains(why, n.Trouble) {
			t.Errorf("the task says %q", why)
		}
		in(t, w.d, func(ctx context.Context, tx *db.Tx) (Task, error) { return Cancel(ctx, tx, third.Id, "") })
		close(long)
		time.Sleep(3 * time.Second)
		if a, b := state(first), state(third); a != Success || b != Canceled {
			t.Errorf("what ran ended as %s, what was cancelled as %s", a, b)
		}

		say(nil)
		time.Sleep(3 * time.Second)
		if got := state(second); got != Success {
			t.Errorf("after the trouble the task is %s", got)
		}
		if n := in(t, w.d, func(ctx context.Context, tx *db.Tx) (NodeInfo, error) { return GetNode(ctx, tx, "a") }); n.Trouble != "" {
			t.Errorf("after the trouble the node says %q", n.Trouble)
		}
	})
}

// Another node takes what one in trouble leaves; the claims of both engines agree on that.
func TestTroubleIsNoRoomRow84(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		node(t, d, "a", 2)
		node(t, d, "b", 5)
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
			_, err := tx.ExecContext(ctx, "UPDATE node SET trouble = 'no share' WHERE name = 'b'")
			return nil, err
		})
		r := in(t, d, func(ctx context.Context, tx *db.Tx) (room, error) { return roomFor(ctx, tx, nil) })
		if r.slots != 2 || r.trouble != "no share" {
			t.Errorf("%+v", r)
		}
	})
}
