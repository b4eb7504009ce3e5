package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/fault"
)

// in runs one transaction at a given time, or now.
func in[T any](t testing.TB, d *db.DB, fn func(ctx context.Context, tx *db.Tx) (T, error)) T {
	t.Helper()
	v, err := try(t, d, fn)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func try[T any](t testing.TB, d *db.DB, fn func(ctx context.Context, tx *db.Tx) (T, error)) (v T, err error) {
	t.Helper()
	err = d.InTx(t.Context(), func(tx *db.Tx) (err error) {
		v, err = fn(t.Context(), tx)
		return err
	})
	return v, err
}

func push(t testing.TB, d *db.DB, n NewTask) Task {
	t.Helper()
	if n.Kind == "" {
		n.Kind = "Deploy"
	}
	return in(t, d, func(ctx context.Context, tx *db.Tx) (Task, error) { return Push(ctx, tx, n) })
}

func get(t testing.TB, d *db.DB, task string) Task {
	t.Helper()
	return in(t, d, func(ctx context.Context, tx *db.Tx) (Task, error) { return Get(ctx, tx, task) })
}

// node registers a node without a process.
func node(t testing.TB, d *db.DB, name string, cap int) int64 {
	t.Helper()
	return in(t, d, func(ctx context.Context, tx *db.Tx) (int64, error) {
		epoch, _, err := register(ctx, tx, Config{Name: name, Cap: cap}, settings{cap: cap}, "machine of "+name, false)
		return epoch, err
	})
}

func claims(t testing.TB, d *db.DB, name string, epoch int64, busy int) []Task {
	t.Helper()
	var got []Task
	err := d.Queue(t.Context(), func(tx *db.Tx) (err error) {
		got, err = claim(t.Context(), tx, claimer{node: name, epoch: epoch, busy: busy, most: 1000, kinds: []string{"Deploy", "Health"}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func end1(t testing.TB, d *db.DB, task Task, state State) error {
	t.Helper()
	_, err := try(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
		return nil, finish(ctx, tx, task.fence, task.Turn, state, "")
	})
	return err
}

func ids(tasks []Task) string {
	var out []string
	for _, t := range tasks {
		out = append(out, strings.TrimPrefix(t.Id, "ServerTasks-"))
	}
	return strings.Join(out, " ")
}

func TestPushTellsAll(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		expiry := time.Now().Add(time.Hour).Truncate(time.Millisecond)
		got := push(t, d, NewTask{
			SpaceId: "Spaces-1", Kind: "Deploy", Description: "Deploy it", Arguments: map[string]string{"DeploymentId": "Deployments-1"}, Turn: "a", Priority: true,
			ProjectId: "Projects-1", EnvironmentId: "Environments-1", TenantId: "Tenants-1", RunbookId: "Runbooks-1", BatchId: "b", QueueTimeExpiry: expiry,
		})
		if time.Since(got.QueueTime) > time.Minute || !got.LastUpdatedTime.Equal(got.QueueTime) {
			t.Errorf("queue time %v, updated %v", got.QueueTime, got.LastUpdatedTime)
		}
		want := Task{
			Id: "ServerTasks-1", Number: 1, SpaceId: "Spaces-1", Kind: "Deploy", Description: "Deploy it", Arguments: json.RawMessage(`{"DeploymentId":"Deployments-1"}`),
			Turn: "a", Priority: true, ProjectId: "Projects-1", EnvironmentId: "Environments-1", TenantId: "Tenants-1", RunbookId: "Runbooks-1", BatchId: "b",
			State: StateQueued, Head: true, QueueTime: got.QueueTime, QueueTimeExpiry: &expiry, LastUpdatedTime: got.LastUpdatedTime,
			fence: Fence{Task: "ServerTasks-1"}, place: 1,
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(Task{})); diff != "" {
			t.Error(diff)
		}
		read, err := try(t, d, func(ctx context.Context, tx *db.Tx) (Task, error) { return Get(ctx, tx, got.Id) })
		if diff := cmp.Diff(read, got, cmp.AllowUnexported(Task{})); err != nil || diff != "" { // Push does not read what it wrote
			t.Error(err, diff)
		}
		if got.Wire() != "Queued" || got.HasBeenPickedUpByProcessor() || got.ServerNode() != "" {
			t.Errorf("reads %s, node %q", got.Wire(), got.ServerNode())
		}
	})
}

func TestPushRefuses(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for field, n := range map[string]NewTask{
			"Name":             {},
			"Arguments":        {Kind: "Deploy", Arguments: []int{1}},
			"QueueTimeExpiry":  {Kind: "Deploy", QueueTime: time.Now().Add(time.Hour), QueueTimeExpiry: time.Now()},
			"QueueTimeExpiry ": {Kind: "Deploy", QueueTimeExpiry: time.Now().Add(-time.Second)},
		} {
			_, err := try(t, d, func(ctx context.Context, tx *db.Tx) (Task, error) { return Push(ctx, tx, n) })
			var f *fault.Fault
			if !errors.As(err, &f) || f.Kind != fault.Invalid || f.Field != strings.TrimSpace(field) {
				t.Errorf("%s: got %v", field, err)
			}
		}
	})
}

func TestPushWithKeyIsIdempotent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		n := NewTask{Kind: "Deploy", Key: "Users-1/x", Arguments: map[string]int{"A": 1}}
		a, b := push(t, d, n), push(t, d, n)
		if a.Id != b.Id {
			t.Errorf("two tasks: %s and %s", a.Id, b.Id)
		}
		n.Arguments = map[string]int{"A": 2}
		_, err := try(t, d, func(ctx context.Context, tx *db.Tx) (Task, error) { return Push(ctx, tx, n) })
		if fault.KindOf(err) != fault.Conflict {
			t.Errorf("another request under the same key gives %v", err)
		}
	})
}

// Order: released, moved to the top, priority, regular; FIFO inside each; one at a time per turn.
func TestClaimOrder(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		epoch := node(t, d, "n1", 100)
		push(t, d, NewTask{})                                // 1
		push(t, d, NewTask{Turn: "a"})                       // 2
		push(t, d, NewTask{Turn: "a"})                       // 3 behind 2
		push(t, d, NewTask{Priority: true})                  // 4
		push(t, d, NewTask{})                                // 5, to the top
		push(t, d, NewTask{Turn: "a", Priority: true})       // 6 overtakes 2 and 3 in their turn
		push(t, d, NewTask{QueueTime: time.Now().Add(1e12)}) // 7, much later
		in(t, d, func(ctx context.Context, tx *db.Tx) (Task, error) { return MoveToTop(ctx, tx, "ServerTasks-5") })
		var order []string
		for range 4 {
			order = append(order, ids(claims(t, d, "n1", epoch, 99))) // one free slot
		}
		if got := strings.Join(order, ","); got != "5,4,6,1" {
			t.Errorf("claimed %s, want 5,4,6,1", got)
		}
		if got := claims(t, d, "n1", epoch, 0); got != nil {
			t.Errorf("claimed %s although the turn is taken and 7 is not due", ids(got))
		}
		if err := end1(t, d, get(t, d, "ServerTasks-6"), Success); err != nil {
			t.Fatal(err)
		}
		if got := ids(claims(t, d, "n1", epoch, 0)); got != "2" {
			t.Errorf("after 6 came %q, want 2", got)
		}
		if _, err := try(t, d, func(ctx context.Context, tx *db.Tx) (Task, error) { return MoveToTop(ctx, tx, "ServerTasks-2") }); fault.KindOf(err) != fault.Invalid {
			t.Errorf("a running task moved to the top: %v", err)
		}
	})
}

func TestClaimChecksItsNode(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		epoch := node(t, d, "n1", 2)
		for range 5 {
			push(t, d, NewTask{})
		}
		push(t, d, NewTask{Kind: "Unknown"})
		for name, got := range map[string][]Task{
			"another epoch": claims(t, d, "n1", epoch+1, 0), "no such node": claims(t, d, "n2", 1, 0), "no slot": claims(t, d, "n1", epoch, 2), "above the cap": claims(t, d, "n1", epoch, 3),
		} {
			if got != nil {
				t.Errorf("%s claimed %s", name, ids(got))
			}
		}
		set := func(taskCap int, draining bool) {
			in(t, d, func(ctx context.Context, tx *db.Tx) (NodeInfo, error) {
				return SetNode(ctx, tx, "n1", &taskCap, &draining)
			})
		}
		set(2, true)
		if got := claims(t, d, "n1", epoch, 0); got != nil {
			t.Errorf("draining, claimed %s", ids(got))
		}
		set(0, false)
		if got := claims(t, d, "n1", epoch, 0); got != nil {
			t.Errorf("with cap 0, claimed %s", ids(got))
		}
		set(3, false)
		if got := ids(claims(t, d, "n1", epoch, 0)); got != "1 2 3" {
			t.Errorf("claimed %q, want 1 2 3", got)
		}
		set(9, false)
		if got := ids(claims(t, d, "n1", epoch, 3)); got != "4 5" {
			t.Errorf("claimed %q, want 4 5: 6 is of an unknown kind", got)
		}
	})
}

func TestFenceRefusesTheOldOwner(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		e1, e2 := node(t, d, "n1", 5), node(t, d, "n2", 5)
		push(t, d, NewTask{Turn: "a"})
		push(t, d, NewTask{Turn: "a"})
		old := claims(t, d, "n1", e1, 0)[0]
		lines := func(f Fence, n int) (int64, error) {
			return try(t, d, func(ctx context.Context, tx *db.Tx) (int64, error) { return f.Lines(ctx, tx, n) })
		}
		if first, err := lines(old.fence, 3); err != nil || first != 1 {
			t.Fatalf("lines %d, %v", first, err)
		}
		row := in(t, d, func(ctx context.Context, tx *db.Tx) (beatRow, error) {
			all, err := beats(ctx, tx)
			return all[slices.IndexFunc(all, func(b beatRow) bool { return b.node == "n1" })], err
		})
		stale := row
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, beat(ctx, tx, "n1", e1, 0) })
		if dead := in(t, d, func(ctx context.Context, tx *db.Tx) (bool, error) { return reap(ctx, tx, stale) }); dead {
			t.Fatal("a node that beat was reaped")
		}
		row.beats++
		if dead := in(t, d, func(ctx context.Context, tx *db.Tx) (bool, error) { return reap(ctx, tx, row) }); !dead {
			t.Fatal("a silent node was not reaped")
		}
		if _, err := try(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, beat(ctx, tx, "n1", e1, 0) }); !errors.Is(err, errEpochLost) {
			t.Errorf("the dead node's beat gives %v", err)
		}
		if got := get(t, d, old.Id); got.State != StateReleased || got.Wire() != "Executing" || got.Node != "n1" || !got.Head {
			t.Errorf("after the reaper: %+v", got)
		}
		check := func(when string) {
			t.Helper()
			f := old.fence
			for what, do := range map[string]func(ctx context.Context, tx *db.Tx) error{
				"Hold":        f.Hold,
				"Lines":       func(ctx context.Context, tx *db.Tx) error { _, err := f.Lines(ctx, tx, 1); return err },
				"SetWarnings": f.SetWarnings,
				"SetPending":  func(ctx context.Context, tx *db.Tx) error { return f.SetPendingInterruptions(ctx, tx, "x") },
				"finish":      func(ctx context.Context, tx *db.Tx) error { return finish(ctx, tx, f, "a", Success, "") },
				"wait":        func(ctx context.Context, tx *db.Tx) error { return wait(ctx, tx, f, "a", false) },
				"release":     func(ctx context.Context, tx *db.Tx) error { return release(ctx, tx, f) },
			} {
				_, err := try(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, do(ctx, tx) })
				if !errors.Is(err, ErrFenced) {
					t.Errorf("%s: %s by the old owner gives %v", when, what, err)
				}
			}
		}
		check("released")
		next := claims(t, d, "n2", e2, 0)
		if ids(next) != "1" || !old.fence.Less(next[0].fence) || next[0].fence.Less(old.fence) {
			t.Fatalf("n2 claimed %s, %+v after %+v", ids(next), next[0].fence, old.fence)
		}
		check("claimed by another")
		if first, err := lines(next[0].fence, 1); err != nil || first != 4 {
			t.Errorf("lines go on at %d, %v; want 4", first, err)
		}
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, next[0].fence.SetWarnings(ctx, tx) })
		if err := end1(t, d, next[0], Failed); err != nil {
			t.Fatal(err)
		}
		check("ended")
		got := get(t, d, old.Id)
		if got.State != Failed || got.ServerNode() != "OctopusServerNodes-n2" || got.StartTime == nil || got.CompletedTime == nil || !got.HasWarnings || got.LogLines != 4 {
			t.Errorf("at the end: %+v", got)
		}
		if got := ids(claims(t, d, "n2", e2, 0)); got != "2" {
			t.Errorf("then came %q, want 2", got)
		}
	})
}

func TestWaitingHoldsNoSlotAndNoTurn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		epoch := node(t, d, "n1", 1)
		push(t, d, NewTask{Turn: "a"})
		push(t, d, NewTask{Turn: "a"})
		aside := func(task Task, keep bool) {
			in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
				return nil, wait(ctx, tx, task.fence, task.Turn, keep)
			})
		}
		resume := func(task string) {
			in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, Resume(ctx, tx, task) })
		}
		one := claims(t, d, "n1", epoch, 0)[0]
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
			return nil, one.fence.SetPendingInterruptions(ctx, tx, "ManualIntervention")
		})
		aside(one, false)
		if got := get(t, d, one.Id); got.State != StateWaiting || got.Head || !got.HasPendingInterruptions() {
			t.Errorf("waiting: %+v", got)
		}
		two := claims(t, d, "n1", epoch, 0)
		if ids(two) != "2" {
			t.Fatalf("claimed %q while 1 waits, want 2", ids(two))
		}
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, Answered(ctx, tx, one.Id) })
		push(t, d, NewTask{Turn: "a"})
		if got := claims(t, d, "n1", epoch, 0); got != nil {
			t.Errorf("claimed %s while 2 has the turn", ids(got))
		}
		if err := end1(t, d, two[0], Success); err != nil {
			t.Fatal(err)
		}
		one = claims(t, d, "n1", epoch, 0)[0]
		if one.Id != "ServerTasks-1" || one.HasPendingInterruptions() || one.Claims != 2 {
			t.Errorf("resumed: %+v", one)
		}
		aside(one, true)
		if got := claims(t, d, "n1", epoch, 0); got != nil {
			t.Errorf("claimed %s although 1 keeps the turn", ids(got))
		}
		resume(one.Id)
		one = claims(t, d, "n1", epoch, 0)[0]
		resume(one.Id) // before it could say that it waits
		aside(one, false)
		if got := get(t, d, one.Id); got.State != StateReleased || !got.Head {
			t.Errorf("a wake-up got lost: %+v", got)
		}
	})
}

func TestCancel(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		epoch := node(t, d, "n1", 1)
		cancel := func(task string) Task {
			return in(t, d, func(ctx context.Context, tx *db.Tx) (Task, error) { return Cancel(ctx, tx, task, "enough") })
		}
		for range 3 {
			push(t, d, NewTask{Turn: "a"})
		}
		if got := cancel("ServerTasks-1"); got.State != Canceled || got.ErrorMessage != "enough" || got.CompletedTime == nil || got.StartTime != nil {
			t.Errorf("a queued one: %+v", got)
		}
		cancel("ServerTasks-1") // again is fine
		two := claims(t, d, "n1", epoch, 0)[0]
		if got := cancel(two.Id); got.Wire() != "Cancelling" || got.State != StateRunning {
			t.Errorf("a running one: %+v", got)
		}
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, wait(ctx, tx, two.fence, "a", false) })
		if got := get(t, d, two.Id); got.State != StateReleased {
			t.Errorf("a cancelled task was let wait: %+v", got)
		}
		ending := in(t, d, func(ctx context.Context, tx *db.Tx) ([]Task, error) {
			return claimEnding(ctx, tx, "n1", epoch, []string{"Deploy"})
		})
		if ids(ending) != "2" || !ending[0].Cancelling {
			t.Fatalf("to be ended: %q", ids(ending))
		}
		if err := end1(t, d, ending[0], Canceled); err != nil {
			t.Fatal(err)
		}
		three := claims(t, d, "n1", epoch, 0)[0]
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, wait(ctx, tx, three.fence, "a", false) })
		push(t, d, NewTask{Turn: "a"})
		if got := ids(claims(t, d, "n1", epoch, 0)); got != "4" {
			t.Fatalf("claimed %q, want 4", got)
		}
		cancel(three.Id) // waits, and another has the turn: it is ended all the same
		ending = in(t, d, func(ctx context.Context, tx *db.Tx) ([]Task, error) {
			return claimEnding(ctx, tx, "n1", epoch, []string{"Deploy"})
		})
		if ids(ending) != "3" {
			t.Fatalf("to be ended: %q", ids(ending))
		}
		if err := end1(t, d, ending[0], Success); err != nil {
			t.Fatal(err)
		}
		_, err := try(t, d, func(ctx context.Context, tx *db.Tx) (Task, error) { return Cancel(ctx, tx, three.Id, "") })
		if fault.KindOf(err) != fault.Invalid {
			t.Errorf("cancel of an ended task gives %v", err)
		}
		_, err = try(t, d, func(ctx context.Context, tx *db.Tx) (Task, error) { return Cancel(ctx, tx, "ServerTasks-99", "") })
		if fault.KindOf(err) != fault.NotFound {
			t.Errorf("cancel of no task gives %v", err)
		}
	})
}

// Whatever a cancelled task was doing, its end says why it was cancelled.
func TestCancelSaysWhy(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		epoch := node(t, d, "n1", 5)
		for text, want := range map[string]string{
			"The task was cancelled.": "Superseded.", "": "Superseded.", "The task was cancelled. Two files stay.": "Superseded. Two files stay.", "Two files stay.": "Superseded. Two files stay.",
		} {
			push(t, d, NewTask{})
			one := claims(t, d, "n1", epoch, 0)[0]
			in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, wait(ctx, tx, one.fence, "", false) })
			for _, reason := range []string{"Superseded.", "Another reason, too late."} {
				in(t, d, func(ctx context.Context, tx *db.Tx) (Task, error) { return Cancel(ctx, tx, one.Id, reason) })
			}
			again := in(t, d, func(ctx context.Context, tx *db.Tx) ([]Task, error) {
				return claimEnding(ctx, tx, "n1", epoch, []string{"Deploy"})
			})[0]
			in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
				return nil, finish(ctx, tx, again.fence, "", Canceled, text)
			})
			if got := get(t, d, one.Id).ErrorMessage; got != want {
				t.Errorf("a handler that says %q: %q, want %q", text, got, want)
			}
		}
		push(t, d, NewTask{})
		one := claims(t, d, "n1", epoch, 0)[0]
		in(t, d, func(ctx context.Context, tx *db.Tx) (Task, error) { return Cancel(ctx, tx, one.Id, "enough") })
		if err := end1(t, d, one, Success); err != nil {
			t.Fatal(err)
		}
		if got := get(t, d, one.Id).ErrorMessage; got != "" {
			t.Errorf("one that succeeded all the same says %q", got)
		}
	})
}

func TestScheduledAndExpired(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		epoch := node(t, d, "n1", 10)
		push(t, d, NewTask{Turn: "a", QueueTime: time.Now().Add(time.Hour)})
		push(t, d, NewTask{Turn: "a", QueueTimeExpiry: time.Now().Add(time.Minute)})
		push(t, d, NewTask{Turn: "a"})
		at := func(when time.Time, fn func(ctx context.Context, tx *db.Tx) error) {
			in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
				tx.Now = when
				return nil, fn(ctx, tx)
			})
		}
		look := func(where string) (out []later) {
			at(time.Now().Add(2*time.Hour), func(ctx context.Context, tx *db.Tx) (err error) {
				out, err = laters(ctx, tx, where)
				return err
			})
			return out
		}
		at(time.Now(), func(ctx context.Context, tx *db.Tx) error {
			if now, err := laters(ctx, tx, whereRipe); err != nil || len(now) != 0 {
				t.Errorf("ripe too early: %v, %v", now, err)
			}
			return ripen(ctx, tx, later{"ServerTasks-1", "a"}) // too early: nothing happens
		})
		if got := get(t, d, "ServerTasks-1"); got.Head {
			t.Error("a task was queued before its time")
		}
		if got := look(whereExpired); len(got) != 1 || got[0].task != "ServerTasks-2" {
			t.Fatalf("expired: %v", got)
		}
		at(time.Now().Add(2*time.Hour), func(ctx context.Context, tx *db.Tx) error {
			ended, err := expire(ctx, tx, later{"ServerTasks-2", "a"})
			if err == nil && !ended {
				t.Error("not expired")
			}
			return err
		})
		if got := get(t, d, "ServerTasks-2"); got.State != TimedOut || got.ErrorMessage == "" {
			t.Errorf("expired: %+v", got)
		}
		if got := ids(claims(t, d, "n1", epoch, 10)); got != "" {
			t.Errorf("claimed %q without a slot", got)
		}
		ripe := look(whereRipe)
		if len(ripe) != 1 {
			t.Fatalf("ripe: %v", ripe)
		}
		at(time.Now().Add(2*time.Hour), func(ctx context.Context, tx *db.Tx) error { return ripen(ctx, tx, ripe[0]) })
		if got := look(whereRipe); len(got) != 0 {
			t.Errorf("still ripe: %v", got)
		}
		three := claims(t, d, "n1", epoch, 0)
		if ids(three) != "3" {
			t.Fatalf("claimed %q, want 3: it was queued before 1 was due", ids(three))
		}
		if err := end1(t, d, three[0], Success); err != nil {
			t.Fatal(err)
		}
		if got := ids(claims(t, d, "n1", epoch, 0)); got != "1" {
			t.Errorf("claimed %q, want 1", got)
		}
	})
}

func TestSetState(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		task := push(t, d, NewTask{})
		set := func(s State) (Task, error) {
			return try(t, d, func(ctx context.Context, tx *db.Tx) (Task, error) { return SetState(ctx, tx, task.Id, s, "by hand") })
		}
		if _, err := set(Failed); fault.KindOf(err) != fault.Invalid {
			t.Errorf("a live task: %v", err)
		}
		in(t, d, func(ctx context.Context, tx *db.Tx) (Task, error) { return Cancel(ctx, tx, task.Id, "") })
		for _, s := range []State{TimedOut, Canceled, StateQueued, ""} {
			if _, err := set(s); fault.KindOf(err) != fault.Invalid {
				t.Errorf("to %q: %v", s, err)
			}
		}
		if got, err := set(Success); err != nil || got.State != Success || got.ErrorMessage != "by hand" {
			t.Errorf("got %+v, %v", got, err)
		}
		live := push(t, d, NewTask{})
		if n := in(t, d, func(ctx context.Context, tx *db.Tx) (int64, error) { return DeleteEnded(ctx, tx, task.Id, live.Id) }); n != 1 {
			t.Errorf("deleted %d, want 1: a live task stays", n)
		}
	})
}

func TestEveryStateOfTheSchemaIsGuarded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		node(t, d, "n1", 10)
		push(t, d, NewTask{Turn: "a"})
		push(t, d, NewTask{Turn: "a"})
		for name, q := range map[string]string{
			"two holders of a turn":    "UPDATE queue SET head = TRUE",
			"running without a claim":  "UPDATE queue SET state = 'running', lane = 0, node = 'n1' WHERE task = 'ServerTasks-1'",
			"running without its turn": "UPDATE queue SET state = 'running', lane = 0, node = 'n1', claim = 1 WHERE task = 'ServerTasks-2'",
			"queued in lane 0":         "UPDATE queue SET lane = 0 WHERE task = 'ServerTasks-1'",
			"begun in lane 3":          "UPDATE queue SET state = 'waiting' WHERE task = 'ServerTasks-1'",
			"cancelled while queued":   "UPDATE queue SET cancel = TRUE WHERE task = 'ServerTasks-1'",
			"head before its time":     "UPDATE queue SET due = FALSE WHERE task = 'ServerTasks-1'",
			"an unknown state":         "UPDATE queue SET state = 'lost' WHERE task = 'ServerTasks-1'",
			"an unknown end":           "UPDATE task SET state = 'Lost', ended = 1",
			"ended without a time":     "UPDATE task SET state = 'Failed'",
		} {
			_, err := try(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return tx.ExecContext(ctx, q) })
			if !db.IsCheck(err) && !db.IsUnique(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestList(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		epoch := node(t, d, "n1", 2)
		base := time.Now()
		push(t, d, NewTask{SpaceId: "Spaces-1", Description: "Deploy Über 100%", ProjectId: "Projects-1", EnvironmentId: "Environments-1"}) // 1 Success
		push(t, d, NewTask{SpaceId: "Spaces-2", Description: "b", ProjectId: "Projects-1", TenantId: "Tenants-1", Turn: "x"})               // 2 Executing
		push(t, d, NewTask{SpaceId: "Spaces-1", Description: "c", RunbookId: "Runbooks-1", Turn: "x"})                                      // 3 Queued
		push(t, d, NewTask{Kind: "Health", BatchId: "B"})                                                                                   // 4 Canceled, of the server
		push(t, d, NewTask{Kind: "Health", SpaceId: "Spaces-1"})                                                                            // 5 Cancelling, asks
		push(t, d, NewTask{Kind: "Retention", SpaceId: "Spaces-1", QueueTime: base.Add(time.Hour)})                                         // 6 Queued for later
		in(t, d, func(ctx context.Context, tx *db.Tx) (Task, error) { return Cancel(ctx, tx, "ServerTasks-4", "") })
		got := claims(t, d, "n1", epoch, 0)
		if err := end1(t, d, got[0], Success); err != nil {
			t.Fatal(err)
		}
		five := claims(t, d, "n1", epoch, 1)[0]
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
			if err := five.fence.SetWarnings(ctx, tx); err != nil {
				return nil, err
			}
			return nil, five.fence.SetPendingInterruptions(ctx, tx, "ManualIntervention", "GuidedFailure")
		})
		in(t, d, func(ctx context.Context, tx *db.Tx) (Task, error) { return Cancel(ctx, tx, five.Id, "") })
		if k := get(t, d, five.Id).Interruptions; !slices.Equal(k, []string{"ManualIntervention", "GuidedFailure"}) {
			t.Errorf("asked: %v", k)
		}
		yes, no := true, false
		past, future := base.Add(-time.Hour), base.Add(30*time.Minute)
		for name, c := range map[string]struct {
			f    Filter
			want string
		}{
			"all":                    {Filter{}, "6 5 4 3 2 1"},
			"ids":                    {Filter{Ids: []string{"ServerTasks-2", "ServerTasks-9"}}, "2"},
			"no ids":                 {Filter{Ids: []string{}}, ""},
			"kinds":                  {Filter{Kinds: []string{"Health", "Retention"}}, "6 5 4"},
			"queued":                 {Filter{States: []string{"Queued"}}, "6 3"},
			"executing, success":     {Filter{States: []string{"Executing", "Success"}}, "2 1"},
			"executing, cancelling":  {Filter{States: []string{"Executing", "Cancelling"}}, "5 2"},
			"canceled":               {Filter{States: []string{"Canceled"}}, "4"},
			"active":                 {Filter{Active: &yes}, "6 5 3 2"},
			"not active":             {Filter{Active: &no}, "4 1"},
			"running":                {Filter{Running: &yes}, "5 2"},
			"not running":            {Filter{Running: &no}, "6 4 3 1"},
			"node":                   {Filter{Nodes: []string{"OctopusServerNodes-n1"}}, "5 2 1"},
			"node by name":           {Filter{Nodes: []string{"n1"}}, "5 2 1"},
			"other node":             {Filter{Nodes: []string{"n2"}}, ""},
			"project":                {Filter{Projects: []string{"Projects-1"}}, "2 1"},
			"environment":            {Filter{Environments: []string{"Environments-1"}}, "1"},
			"tenant":                 {Filter{Tenants: []string{"Tenants-1", "Tenants-2"}}, "2"},
			"runbook":                {Filter{Runbooks: []string{"Runbooks-1"}}, "3"},
			"batch":                  {Filter{Batches: []string{"B"}}, "4"},
			"turn":                   {Filter{Turns: []string{"x"}}, "3 2"},
			"description":            {Filter{Description: "über 100%"}, "1"},
			"a percent is a percent": {Filter{Description: "1%0"}, ""},
			"partial name":           {Filter{PartialName: "HEAL"}, "5 4"},
			"asks":                   {Filter{HasPendingInterruptions: &yes}, "5"},
			"asks not":               {Filter{HasPendingInterruptions: &no}, "6 4 3 2 1"},
			"warned":                 {Filter{HasWarningsOrErrors: &yes}, "5"},
			"not warned":             {Filter{HasWarningsOrErrors: &no}, "6 4 3 2 1"},
			"queued from":            {Filter{FromQueue: &future}, "6"},
			"queued until":           {Filter{ToQueue: &future}, "5 4 3 2 1"},
			"started":                {Filter{FromStart: &past, ToStart: &future}, "5 2 1"},
			"completed":              {Filter{FromCompleted: &past, ToCompleted: &future}, "4 1"},
			"spaces":                 {Filter{Spaces: []string{"Spaces-1"}}, "6 5 3 1"},
			"spaces and system":      {Filter{Spaces: []string{"Spaces-1"}, IncludeSystem: true}, "6 5 4 3 1"},
			"system only":            {Filter{Spaces: []string{}, IncludeSystem: true}, "4"},
			"no space":               {Filter{Spaces: []string{}}, ""},
			"a page":                 {Filter{Skip: 1, Take: 2}, "5 4"},
			"the next page by key":   {Filter{Before: 4, Take: 2}, "3 2"},
			"several at once":        {Filter{Spaces: []string{"Spaces-1"}, Active: &yes, Kinds: []string{"Deploy"}}, "3"},
		} {
			list := in(t, d, func(ctx context.Context, tx *db.Tx) ([]Task, error) { return List(ctx, tx, c.f) })
			if ids(list) != c.want {
				t.Errorf("%s: got %q, want %q", name, ids(list), c.want)
			}
			f := c.f
			f.Skip, f.Take = 0, 0
			if n := in(t, d, func(ctx context.Context, tx *db.Tx) (int, error) { return Count(ctx, tx, f) }); c.f.Take == 0 && n != len(list) {
				t.Errorf("%s: counted %d, listed %d", name, n, len(list))
			}
		}
		counts := in(t, d, func(ctx context.Context, tx *db.Tx) (map[string]int, error) {
			_, counts, err := Totals(ctx, tx, Filter{Spaces: []string{"Spaces-1", "Spaces-2"}, States: []string{"Queued"}})
			return counts, err
		})
		want := map[string]int{"Queued": 2, "Executing": 1, "Cancelling": 1, "Success": 1, "Failed": 0, "Canceled": 0, "TimedOut": 0}
		if diff := cmp.Diff(want, counts); diff != "" {
			t.Error(diff)
		}
	})
}

func TestQueuedBehindAndWhy(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		push(t, d, NewTask{Turn: "a"}) // 1 runs
		push(t, d, NewTask{Turn: "a"}) // 2
		push(t, d, NewTask{Turn: "b"}) // 3
		push(t, d, NewTask{})          // 4
		push(t, d, NewTask{Turn: "a"}) // 5
		push(t, d, NewTask{QueueTime: time.Now().Add(time.Hour)})
		push(t, d, NewTask{Labels: []string{"gpu"}}) // 7
		push(t, d, NewTask{Labels: []string{"gpu"}}) // 8
		why := func(task string) string {
			return in(t, d, func(ctx context.Context, tx *db.Tx) (string, error) { return Why(ctx, tx, task) })
		}
		if got := why("ServerTasks-1"); !strings.Contains(got, "No node takes tasks") {
			t.Errorf("without nodes: %q", got)
		}
		epoch := node(t, d, "n1", 1)
		claims(t, d, "n1", epoch, 0)
		for task, want := range map[string]string{"1": "", "2": "1", "3": "", "4": "3", "5": "1 2", "6": "", "7": "", "8": "7"} {
			var total int
			got := in(t, d, func(ctx context.Context, tx *db.Tx) (out []Task, err error) {
				out, total, err = QueuedBehind(ctx, tx, "ServerTasks-"+task, 0, 0)
				return out, err
			})
			if ids(got) != want || total != len(got) {
				t.Errorf("%s is behind %q (%d), want %q", task, ids(got), total, want)
			}
		}
		for task, want := range map[string]string{"1": "", "2": "behind ServerTasks-1", "3": "slot", "6": "scheduled"} {
			if got := why("ServerTasks-" + task); !strings.Contains(got, want) || (want == "") != (got == "") {
				t.Errorf("%s: %q, want %q", task, got, want)
			}
		}
	})
}

func TestRaiseIncarnation(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		epoch := node(t, d, "n1", 1)
		push(t, d, NewTask{})
		old := claims(t, d, "n1", epoch, 0)[0]
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, RaiseIncarnation(ctx, tx) })
		next := claims(t, d, "n1", epoch, 0)[0]
		if !old.fence.Less(next.fence) || next.fence.Incarnation != old.fence.Incarnation+1 {
			t.Errorf("%+v, then %+v", old.fence, next.fence)
		}
	})
}

func TestNodes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		epoch := node(t, d, "n1", 3)
		push(t, d, NewTask{})
		claims(t, d, "n1", epoch, 0)
		all := in(t, d, Nodes)
		if len(all) != 1 || all[0].Cap != 3 || all[0].RunningTasks != 1 || all[0].State != "up" || all[0].Rank() != "Follower" || all[0].IsOffline() {
			t.Errorf("nodes: %+v", all)
		}
		// The same name on another machine is refused while it beats.
		same, _, err := func() (int64, beatRow, error) {
			var e int64
			var b beatRow
			err := d.InTx(t.Context(), func(tx *db.Tx) (err error) {
				e, b, err = register(t.Context(), tx, Config{Name: "n1"}, settings{}, "another machine", false)
				return err
			})
			return e, b, err
		}()
		if same != 0 || err != nil {
			t.Errorf("a clone got epoch %d, %v", same, err)
		}
		// The same machine takes over at once, and its tasks are released.
		if e := node(t, d, "n1", 9); e != epoch+1 {
			t.Errorf("epoch %d after %d", e, epoch)
		}
		if got := get(t, d, "ServerTasks-1"); got.State != StateReleased {
			t.Errorf("after the restart: %s", got.State)
		}
		if got := claims(t, d, "n1", epoch, 0); got != nil {
			t.Errorf("the old process claimed %s", ids(got))
		}
		if got := in(t, d, func(ctx context.Context, tx *db.Tx) (NodeInfo, error) { return GetNode(ctx, tx, NodeId("n1")) }); got.Cap != 3 {
			t.Errorf("the restart changed the cap to %d", got.Cap)
		}
		remove := func() error {
			_, err := try(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, DeleteNode(ctx, tx, "n1") })
			return err
		}
		claims(t, d, "n1", epoch+1, 0)
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, leave(ctx, tx, "n1", epoch+1) })
		if got := get(t, d, "ServerTasks-1"); got.State != StateReleased {
			t.Errorf("after leaving: %s", got.State)
		}
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		if err := remove(); fault.KindOf(err) != fault.NotFound {
			t.Errorf("deleted twice: %v", err)
		}
		minus := -1
		node(t, d, "n2", 1)
		if _, err := try(t, d, func(ctx context.Context, tx *db.Tx) (NodeInfo, error) { return SetNode(ctx, tx, "n2", &minus, nil) }); fault.KindOf(err) != fault.Invalid {
			t.Errorf("cap -1: %v", err)
		}
	})
}

func TestOrphansAreReleased(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		epoch := node(t, d, "n1", 1)
		push(t, d, NewTask{})
		claims(t, d, "n1", epoch, 0)
		n := in(t, d, releaseOrphans)
		if n != 0 {
			t.Fatal("a task of a running node was taken for an orphan")
		}
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return tx.ExecContext(ctx, "DELETE FROM node") })
		if n := in(t, d, releaseOrphans); n != 1 || get(t, d, "ServerTasks-1").State != StateReleased {
			t.Errorf("released %d", n)
		}
	})
}

func TestLeaseAndTerm(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		e1, e2 := node(t, d, "n1", 1), node(t, d, "n2", 1)
		take := func(node string, epoch int64, l leaseRow) bool {
			return in(t, d, func(ctx context.Context, tx *db.Tx) (bool, error) {
				return takeLease(ctx, tx, "leader", node, epoch, l)
			})
		}
		read := func() leaseRow {
			return in(t, d, func(ctx context.Context, tx *db.Tx) (leaseRow, error) { return readLease(ctx, tx, "leader") })
		}
		hold := func(term int64) error {
			_, err := try(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, Term{"leader", term}.Hold(ctx, tx) })
			return err
		}
		renew := func(node string, epoch, term int64) error {
			_, err := try(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
				held := false
				if err := tx.Send(ctx, renewStatement(Term{"leader", term}, node, epoch, &held)); err != nil || held {
					return nil, err
				}
				return nil, ErrLeaseLost
			})
			return err
		}
		if !take("n1", e1, read()) || hold(1) != nil {
			t.Fatal("the first one does not lead")
		}
		before := read()
		if err := renew("n1", e1, 1); err != nil {
			t.Fatal(err)
		}
		if take("n2", e2, before) {
			t.Error("a renewed lease was taken")
		}
		if !take("n2", e2, read()) {
			t.Fatal("a lease that stood still was not taken")
		}
		if err := hold(1); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("the old term still holds: %v", err)
		}
		if err := renew("n1", e1, 1); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("the old leader renewed: %v", err)
		}
		yes := true
		in(t, d, func(ctx context.Context, tx *db.Tx) (NodeInfo, error) { return SetNode(ctx, tx, "n2", nil, &yes) })
		if err := renew("n2", e2, 2); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("a draining leader renewed: %v", err)
		}
		if err := renew("n1", e1+7, 2); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("a dead epoch renewed: %v", err)
		}
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
			return nil, resignLease(ctx, tx, Term{"leader", 2}, "n2")
		})
		if err := hold(2); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("a resigned term holds: %v", err)
		}
		if take("n2", e2, read()) {
			t.Error("a draining node took the lease")
		}

		term := Term{"leader", 3}
		if !take("n1", e1, read()) {
			t.Fatal("n1 does not lead again")
		}
		duty := Duty{Name: "Sweep", Every: time.Hour}
		start := func() bool {
			return in(t, d, func(ctx context.Context, tx *db.Tx) (bool, error) {
				return startDuty(ctx, tx, term, "n1", duty)
			})
		}
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, enrolDuty(ctx, tx, term, duty) })
		if !start() || start() {
			t.Error("a duty runs once per time")
		}
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
			return nil, endDuty(ctx, tx, term, "Sweep", errors.New("no broom"))
		})
		if all := in(t, d, Duties); len(all) != 1 || all[0].Error != "no broom" || all[0].Ended == nil {
			t.Errorf("duties: %+v", all)
		}
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, TriggerDuty(ctx, tx, "Sweep") })
		if !start() {
			t.Error("a triggered duty does not start")
		}
		if _, err := try(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, TriggerDuty(ctx, tx, "Nap") }); fault.KindOf(err) != fault.NotFound {
			t.Errorf("an unknown duty: %v", err)
		}
		term.Number = 2
		if _, err := try(t, d, func(ctx context.Context, tx *db.Tx) (bool, error) {
			return startDuty(ctx, tx, term, "n1", duty)
		}); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("an old term started a duty: %v", err)
		}
	})
}

// A claim that meets a drain under way waits for it, and then takes nothing (I5).
func TestClaimWaitsForADrainUnderWay(t *testing.T) {
	d := dbtest.New(t, db.Postgres)
	epoch := node(t, d, "n1", 2)
	push(t, d, NewTask{})
	got := make(chan string, 1)
	in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
		yes := true
		if _, err := SetNode(ctx, tx, "n1", nil, &yes); err != nil {
			return nil, err
		}
		go func() { got <- ids(claims(t, d, "n1", epoch, 0)) }()
		for waiting := false; !waiting; {
			// From another transaction: one transaction sees one state of the statistics.
			if err := d.Read(ctx, func(other *db.Tx) error {
				return other.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')").Scan(&waiting)
			}); err != nil {
				return nil, err
			}
			select {
			case early := <-got:
				t.Errorf("the claim did not wait for the drain and took %q", early)
				got <- ""
				waiting = true
			default:
			}
		}
		return nil, nil
	})
	if took := <-got; took != "" {
		t.Errorf("claimed %q after the drain was committed", took)
	}
}

// A task that runs only to be ended takes its turn as soon as that is free: nobody else of the turn starts
// beside it, and released it still holds the turn.
func TestATaskToBeEndedTakesItsTurn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		epoch := node(t, d, "n1", 5)
		set := push(t, d, NewTask{Turn: "a"})
		set = claims(t, d, "n1", epoch, 0)[0]
		next := push(t, d, NewTask{Turn: "a"})
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, wait(ctx, tx, set.fence, "a", false) })
		next = claims(t, d, "n1", epoch, 0)[0]
		in(t, d, func(ctx context.Context, tx *db.Tx) (Task, error) { return Cancel(ctx, tx, set.Id, "") })
		set = in(t, d, func(ctx context.Context, tx *db.Tx) ([]Task, error) {
			return claimEnding(ctx, tx, "n1", epoch, []string{"Deploy"})
		})[0]
		late := push(t, d, NewTask{Turn: "a"})
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
			return nil, finish(ctx, tx, next.fence, "a", Success, "")
		})
		if got := get(t, d, set.Id); !got.Head {
			t.Error("the turn went past the task that runs to be ended")
		}
		if got := claims(t, d, "n1", epoch, 1); len(got) != 0 {
			t.Errorf("%s started beside it", got[0].Id)
		}
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, release(ctx, tx, set.fence) })
		if got := get(t, d, set.Id); !got.Head {
			t.Error("released, it lost its turn")
		}
		if got := get(t, d, late.Id); got.Head {
			t.Error("two hold the turn")
		}
	})
}
