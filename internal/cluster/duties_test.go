package cluster

import (
	"context"
	"errors"
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

// TestDutiesRow19Row20: of three nodes one does a duty, once per interval. When the leader is killed another goes on, without a time
// left out or done twice; only what the dead one had begun is done again.
func TestDutiesRow19Row20(t *testing.T) {
	where := dbtest.Create(t, db.SQLite)
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, where)
		var mu sync.Mutex
		var quick, long []string // who did it, at its end
		var times []time.Time
		duties := func(name string) func(*Config) {
			return func(c *Config) {
				c.Duties = []Duty{
					{Name: "Quick", Every: time.Minute, Do: func(context.Context, Term) error {
						mu.Lock()
						defer mu.Unlock()
						quick, times = append(quick, name), append(times, time.Now())
						return nil
					}},
					{Name: "Long", Every: time.Hour, Do: func(ctx context.Context, _ Term) error {
						select {
						case <-time.After(3 * time.Minute):
						case <-ctx.Done():
							return ctx.Err()
						}
						mu.Lock()
						defer mu.Unlock()
						long = append(long, name)
						return nil
					}},
				}
			}
		}
		work := takes(time.Second)
		a := w.boot("a", dirs[0], 1, work, duties("a"))
		w.until(5*time.Second, "a leads", a.Leading)
		b, c := w.boot("b", dirs[1], 1, work, duties("b")), w.boot("c", dirs[2], 1, work, duties("c"))
		time.Sleep(2*time.Minute - 5*time.Second)
		a.kill(t) // in the middle of Long
		time.Sleep(8 * time.Minute)
		mu.Lock()
		if len(quick) < 9 || len(quick) > 10 || !slices.Contains(quick, "a") {
			t.Errorf("in ten minutes Quick was done by %v", quick)
		}
		for i := 1; i < len(times); i++ {
			if gap := times[i].Sub(times[i-1]); gap < 55*time.Second || gap > 90*time.Second {
				t.Errorf("time %d came %v after the one before", i, gap)
			}
		}
		if len(long) != 1 || long[0] == "a" {
			t.Errorf("Long was done by %v", long)
		}
		mu.Unlock()
		runs := in(t, w.d, func(ctx context.Context, tx *db.Tx) ([]DutyRun, error) { return DutyRuns(ctx, tx, "Long") })
		if len(runs) != 2 || runs[0].Ended == nil || runs[1].Ended != nil || runs[1].Node != "a" || runs[0].Term <= runs[1].Term {
			t.Errorf("Long ran: %+v", runs)
		}
		b.stop(t)
		c.stop(t)
	})
}

// TestDutyPausedAndForgotten: a duty that is stopped does not run, whoever leads; one that no version knows any more goes after a
// week; a shorter interval counts at once.
func TestDutyPausedAndForgotten(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		e := node(t, d, "n1", 1)
		in(t, d, func(ctx context.Context, tx *db.Tx) (bool, error) {
			return takeLease(ctx, tx, "leader", "n1", e, leaseRow{})
		})
		term := Term{"leader", 1}
		sweep, nap := Duty{Name: "Sweep", Every: time.Hour}, Duty{Name: "Nap", Every: time.Hour}
		do := func(fn func(ctx context.Context, tx *db.Tx) error) error {
			_, err := try(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, fn(ctx, tx) })
			return err
		}
		enrol := func(duty Duty) {
			t.Helper()
			if err := do(func(ctx context.Context, tx *db.Tx) error { return enrolDuty(ctx, tx, term, duty) }); err != nil {
				t.Fatal(err)
			}
		}
		starts := func() bool {
			return in(t, d, func(ctx context.Context, tx *db.Tx) (bool, error) {
				return startDuty(ctx, tx, term, "n1", sweep)
			})
		}
		info := func(name string) *DutyInfo {
			for _, i := range in(t, d, Duties) {
				if i.Name == name {
					return &i
				}
			}
			return nil
		}
		pause := func(name string, yes bool) error {
			return do(func(ctx context.Context, tx *db.Tx) error { return PauseDuty(ctx, tx, name, yes) })
		}
		enrol(sweep)
		enrol(nap)
		if err := pause("Sweep", true); err != nil || starts() || !info("Sweep").Paused {
			t.Errorf("a stopped duty starts (%v): %+v", err, info("Sweep"))
		}
		trigger := func() error {
			return do(func(ctx context.Context, tx *db.Tx) error { return TriggerDuty(ctx, tx, "Sweep") })
		}
		if err := trigger(); fault.KindOf(err) != fault.Conflict || starts() {
			t.Errorf("a stopped duty was triggered: %v", err)
		}
		enrol(sweep) // another leader, or a restart
		if starts() {
			t.Error("a stopped duty starts under a new leader")
		}
		if err := pause("Sweep", false); err != nil || !starts() || starts() {
			t.Errorf("a duty that goes on does not start once: %v", err)
		}
		for _, err := range []error{pause("Walk", true), do(func(ctx context.Context, tx *db.Tx) error { _, err := DutyRuns(ctx, tx, "Walk"); return err })} {
			if fault.KindOf(err) != fault.NotFound || !strings.Contains(err.Error(), "Walk") {
				t.Errorf("an unknown duty: %v", err)
			}
		}
		end := func(failed error) {
			if err := do(func(ctx context.Context, tx *db.Tx) error { return endDuty(ctx, tx, term, "Sweep", failed) }); err != nil {
				t.Error(err)
			}
		}
		end(errors.New("no\x00broom"))
		if i := info("Sweep"); i.Error != "nobroom" || i.Ended == nil || i.Every != time.Hour {
			t.Errorf("failed: %+v", i)
		}
		for range keptRuns + 5 {
			if err := do(func(ctx context.Context, tx *db.Tx) error {
				_, err := tx.ExecContext(ctx, "UPDATE duty_run SET started = started - 1000")
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if err := trigger(); err != nil || !starts() {
				t.Fatalf("a triggered duty does not start: %v", err)
			}
			end(nil)
		}
		if runs := in(t, d, func(ctx context.Context, tx *db.Tx) ([]DutyRun, error) { return DutyRuns(ctx, tx, "Sweep") }); len(runs) != keptRuns {
			t.Errorf("%d runs are kept", len(runs))
		}
		enrol(Duty{Name: "Sweep", Every: time.Minute})
		if i := info("Sweep"); i.Every != time.Minute || time.Until(i.Next) > time.Minute {
			t.Errorf("a shorter interval: %+v", i)
		}
		enrol(sweep)

		// A run that a leader's end cut off is repeated soon, not at once.
		if err := trigger(); err != nil || !starts() {
			t.Fatal(err)
		}
		enrol(sweep)
		if i := info("Sweep"); time.Until(i.Next) > again || time.Until(i.Next) < again/2 {
			t.Errorf("a run that was cut off comes again in %v", time.Until(i.Next))
		}

		forget := func() {
			if err := do(func(ctx context.Context, tx *db.Tx) error { return forgetDuties(ctx, tx, []Duty{sweep}) }); err != nil {
				t.Fatal(err)
			}
		}
		forget()
		if info("Nap") == nil {
			t.Error("a duty of the other version was forgotten at once")
		}
		if err := do(func(ctx context.Context, tx *db.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE duty SET known = $1", tx.Now.Add(-forgottenDuty-time.Hour).UnixMilli())
			return err
		}); err != nil {
			t.Fatal(err)
		}
		forget()
		if info("Nap") != nil || info("Sweep") == nil {
			t.Errorf("after a week there are %+v", in(t, d, Duties))
		}
	})
}

// TestNodesForgotten: the names of machines that come and go do not pile up (behaviour.md P12).
func TestNodesForgotten(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		e := node(t, d, "leads", 1)
		in(t, d, func(ctx context.Context, tx *db.Tx) (bool, error) {
			return takeLease(ctx, tx, "leader", "leads", e, leaseRow{})
		})
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
			for name, ago := range map[string]time.Duration{"stopped-6": 6, "stopped-8": 8, "dead-8": 8, "dead-31": 31, "deleted-89": 89, "deleted-91": 91, "up": 0} {
				state, _, _ := strings.Cut(name, "-")
				at := tx.Now.Add(-ago * 24 * time.Hour).UnixMilli()
				var deleted any
				if state == "deleted" {
					state, deleted = "stopped", at
				}
				if _, err := tx.ExecContext(ctx, `INSERT INTO node (name, machine, epoch, state, cap, draining, version, address, labels, registered, gone, deleted)
					VALUES ($1, 'm', 5, $2, 1, FALSE, '', '', '[]', $3, $4, $5)`, name, state, at, at, deleted); err != nil {
					return nil, err
				}
				if _, err := tx.ExecContext(ctx, "INSERT INTO node_beat (node, epoch, beats, seen) VALUES ($1, 5, 1, $2)", name, at); err != nil {
					return nil, err
				}
			}
			return nil, nil
		})
		n := &Node{db: d}
		if err := n.tidy(t.Context(), Term{"leader", 1}); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, i := range in(t, d, Nodes) {
			names = append(names, i.Name)
		}
		if got := strings.Join(names, " "); got != "dead-8 leads stopped-6 up" {
			t.Errorf("left are %s", got)
		}
		count := func(table string) int {
			return in(t, d, func(ctx context.Context, tx *db.Tx) (n int, err error) {
				err = tx.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&n)
				return n, err
			})
		}
		if count("node") != 7 || count("node_beat") != 7 {
			t.Errorf("%d rows of node, %d of node_beat; the hidden one of 89 days stays, that of 91 goes", count("node"), count("node_beat"))
		}
		// A node of an old name is a new node under a higher epoch.
		if e := node(t, d, "stopped-8", 3); e != 6 {
			t.Errorf("its epoch is %d", e)
		}
		if err := n.tidy(t.Context(), Term{"leader", 7}); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("a node that does not lead tidies: %v", err)
		}
	})
}
