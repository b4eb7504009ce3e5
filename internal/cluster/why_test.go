package cluster

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

// at is in at another time.
func at[T any](t testing.TB, d *db.DB, when time.Time, fn func(ctx context.Context, tx *db.Tx) (T, error)) T {
	t.Helper()
	return in(t, d, func(ctx context.Context, tx *db.Tx) (T, error) {
		tx.Now = when
		return fn(ctx, tx)
	})
}

// Every waiting task says what it waits for.
func TestWhy(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		epoch := node(t, d, "n1", 2)
		push(t, d, NewTask{Turn: "a", Description: "Deploy Web 1.0"})                     // 1 runs
		push(t, d, NewTask{Turn: "a"})                                                    // 2
		push(t, d, NewTask{})                                                             // 3 runs
		push(t, d, NewTask{})                                                             // 4
		push(t, d, NewTask{})                                                             // 5
		push(t, d, NewTask{})                                                             // 6
		push(t, d, NewTask{Labels: []string{"gpu", "zone=eu"}})                           // 7
		push(t, d, NewTask{SpaceId: "Spaces-9"})                                          // 8
		push(t, d, NewTask{QueueTime: time.Now().Add(time.Hour)})                         // 9
		push(t, d, NewTask{Turn: "a", QueueTimeExpiry: time.Now().Add(10 * time.Minute)}) // 10
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
			return nil, SetSpaceStopped(ctx, tx, "Spaces-9", true)
		})
		claims(t, d, "n1", epoch, 0)
		expect := func(when string, want map[string][]string) {
			t.Helper()
			for task, parts := range want {
				got := in(t, d, func(ctx context.Context, tx *db.Tx) (string, error) { return Why(ctx, tx, "ServerTasks-"+task) })
				for _, part := range parts {
					if !strings.Contains(got, part) || part == "" && got != "" {
						t.Errorf("%s: %s says %q, want %q", when, task, got, part)
					}
				}
			}
		}
		expect("at first", map[string][]string{
			"1": {""}, "2": {"turn behind ServerTasks-1 (Deploy Web 1.0), which runs on n1"}, "4": {"2 of 2 are taken"}, "5": {"One task is before it"}, "6": {"2 tasks are before it"},
			"7": {"No node that takes tasks has the labels", "gpu, zone=eu"}, "8": {"space is stopped"}, "9": {"scheduled for"}, "10": {"turn behind", "expires at 20"},
		})
		labelled(t, d, "n1", "gpu", "zone=eu")
		expect("with labels", map[string][]string{"7": {"a slot on a node with the labels gpu, zone=eu: 2 of 2 are taken."}})
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
			return tx.ExecContext(ctx, "UPDATE node SET draining = TRUE")
		})
		expect("draining", map[string][]string{"4": {"No node takes tasks"}, "7": {"No node takes tasks"}})
		one := get(t, d, "ServerTasks-1")
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, wait(ctx, tx, one.fence, "a", true) })
		expect("waiting", map[string][]string{"1": {"another task"}, "2": {"which waits and keeps others out"}})

		// What it waited for is in the end's text.
		for _, l := range at(t, d, time.Now().Add(11*time.Minute), func(ctx context.Context, tx *db.Tx) ([]later, error) { return laters(ctx, tx, whereExpired) }) {
			at(t, d, time.Now().Add(11*time.Minute), func(ctx context.Context, tx *db.Tx) (bool, error) { return expire(ctx, tx, l) })
		}
		if got := get(t, d, "ServerTasks-10"); got.State != TimedOut || !strings.Contains(got.ErrorMessage, "queue time expired at") || !strings.Contains(got.ErrorMessage, "turn behind ServerTasks-1") {
			t.Errorf("expired: %s, %q", got.State, got.ErrorMessage)
		}
	})
}

// A task that nobody starts ends after a day, counted from when it was to start; one that has begun never does.
func TestQueueExpiryRow31(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		epoch := node(t, d, "n1", 1)
		begin := time.Now().Truncate(time.Millisecond)
		push(t, d, NewTask{})                                             // 1 begins
		push(t, d, NewTask{})                                             // 2
		push(t, d, NewTask{QueueTime: begin.Add(time.Hour)})              // 3
		push(t, d, NewTask{QueueTimeExpiry: begin.Add(30 * time.Hour)})   // 4
		push(t, d, NewTask{QueueTimeExpiry: begin.Add(20 * time.Minute)}) // 5
		one := claims(t, d, "n1", epoch, 0)[0]
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, release(ctx, tx, one.fence) })
		for task, want := range map[string]time.Time{"2": get(t, d, "ServerTasks-2").QueueTime.Add(24 * time.Hour), "3": begin.Add(25 * time.Hour), "4": begin.Add(30 * time.Hour)} {
			if got := get(t, d, "ServerTasks-"+task).QueueTimeExpiry; got == nil || !got.Equal(want) {
				t.Errorf("%s expires at %v, want %v", task, got, want)
			}
		}
		left := func(after time.Duration) string {
			when := begin.Add(after)
			for _, l := range at(t, d, when, func(ctx context.Context, tx *db.Tx) ([]later, error) { return laters(ctx, tx, whereExpired) }) {
				at(t, d, when, func(ctx context.Context, tx *db.Tx) (bool, error) { return expire(ctx, tx, l) })
			}
			return ids(in(t, d, func(ctx context.Context, tx *db.Tx) ([]Task, error) { return List(ctx, tx, Filter{Active: ref(true)}) }))
		}
		for _, c := range []struct {
			after time.Duration
			want  string
		}{{19 * time.Minute, "5 4 3 2 1"}, {21 * time.Minute, "4 3 2 1"}, {24*time.Hour - time.Minute, "4 3 2 1"}, {24*time.Hour + time.Minute, "4 3 1"}, {26 * time.Hour, "4 1"}, {31 * time.Hour, "1"}} {
			if got := left(c.after); got != c.want {
				t.Errorf("after %v %q are left, want %q", c.after, got, c.want)
			}
		}
		if got := get(t, d, "ServerTasks-2"); got.State != TimedOut || got.Wire() != "TimedOut" {
			t.Errorf("2 is %s", got.State)
		}
	})
}

// A queued task tells when it will probably start: from what is before it, how long such tasks took, and the slots.
func TestEstimates(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		epoch := node(t, d, "n1", 2)
		estimate := func(when time.Time, task string) time.Duration {
			all := at(t, d, when, func(ctx context.Context, tx *db.Tx) (map[string]time.Duration, error) {
				one, err := Get(ctx, tx, "ServerTasks-"+task)
				if err != nil {
					return nil, err
				}
				return Estimates(ctx, tx, []Task{one})
			})
			if e, known := all["ServerTasks-"+task]; known {
				return e.Round(time.Second)
			}
			return -1
		}
		// History: two tasks of the project took 10 s and 30 s, one was cancelled early.
		begin := time.Now().Truncate(time.Millisecond)
		for _, c := range []struct {
			took  time.Duration
			state State
		}{{10 * time.Second, Success}, {30 * time.Second, Failed}, {time.Second, Canceled}} {
			push(t, d, NewTask{ProjectId: "Projects-1"})
			got := at(t, d, begin, func(ctx context.Context, tx *db.Tx) ([]Task, error) {
				return claim(ctx, tx, claimer{node: "n1", epoch: epoch, most: 1, kinds: []string{"Deploy"}})
			})[0]
			at(t, d, begin.Add(c.took), func(ctx context.Context, tx *db.Tx) (any, error) {
				return nil, finish(ctx, tx, got.fence, "", c.state, "")
			})
		}
		push(t, d, NewTask{ProjectId: "Projects-1", Turn: "a"}) // 4 runs
		push(t, d, NewTask{ProjectId: "Projects-1"})            // 5
		if got := estimate(begin, "5"); got != 0 {
			t.Errorf("with a free slot it starts in %v", got)
		}
		at(t, d, begin, func(ctx context.Context, tx *db.Tx) ([]Task, error) {
			return claim(ctx, tx, claimer{node: "n1", epoch: epoch, most: 9, kinds: []string{"Deploy"}})
		})
		push(t, d, NewTask{ProjectId: "Projects-1"})                                  // 6
		push(t, d, NewTask{ProjectId: "Projects-1", Turn: "a"})                       // 7 behind 4
		push(t, d, NewTask{ProjectId: "Projects-1", Turn: "a"})                       // 8
		push(t, d, NewTask{ProjectId: "Projects-1"})                                  // 9
		push(t, d, NewTask{ProjectId: "Projects-2", QueueTime: begin.Add(time.Hour)}) // 10
		push(t, d, NewTask{ProjectId: "Projects-1", Labels: []string{"gpu"}})         // 11
		push(t, d, NewTask{ProjectId: "Projects-2"})                                  // 12: no history, two are before it
		for task, want := range map[string]time.Duration{
			"4": -1, "6": 10 * time.Second, "7": 15 * time.Second, "8": 35 * time.Second, "9": 20 * time.Second, "10": time.Hour - 5*time.Second, "11": -1, "12": 90 * time.Second,
		} {
			if got := estimate(begin.Add(5*time.Second), task); got != want {
				t.Errorf("%s starts in %v, want %v", task, got, want)
			}
		}
		if got := estimate(begin.Add(time.Hour-time.Minute), "7"); got != 0 {
			t.Errorf("behind one that takes longer than usual it starts in %v", got)
		}
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, SetSpaceStopped(ctx, tx, "", true) })
		if got := estimate(begin, "6"); got != -1 {
			t.Errorf("while its space is stopped it starts in %v", got)
		}
	})
}
