package engine

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/secret"
)

func TestNextCheck(t *testing.T) { // deployments.md M1
	at := func(text string) time.Time {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	cron := machine.HealthCheckPolicy{HealthCheckCron: "0 0 3 * * *", HealthCheckCronTimezone: "Europe/Berlin"}
	hour := machine.HealthCheckPolicy{HealthCheckInterval: "01:00:00"}
	for _, c := range []struct {
		name            string
		policy          machine.HealthCheckPolicy
		last, now       string
		due, seen       string
		never, mistaken bool
	}{
		{name: "not yet", policy: hour, last: "2026-03-01T10:00:00Z", now: "2026-03-01T10:59:00Z", due: "2026-03-01T11:00:00Z", seen: "2026-03-01T11:00:00Z"},
		{name: "late", policy: hour, last: "2026-03-01T10:00:00Z", now: "2026-03-01T11:10:00Z", due: "2026-03-01T11:00:00Z", seen: "2026-03-01T11:00:00Z"},
		{name: "missed many", policy: hour, last: "2026-03-01T10:00:00Z", now: "2026-03-01T15:10:00Z", due: "2026-03-01T15:00:00Z", seen: "2026-03-01T15:00:00Z"},
		{name: "cron in its zone", policy: cron, last: "2026-01-10T02:00:00Z", now: "2026-01-10T03:00:00Z", due: "2026-01-11T02:00:00Z", seen: "2026-01-10T03:00:00Z"},
		{name: "cron in summer", policy: cron, last: "2026-07-10T01:00:00Z", now: "2026-07-10T03:00:00Z", due: "2026-07-11T01:00:00Z", seen: "2026-07-10T03:00:00Z"},
		{name: "cron missed many", policy: cron, last: "2026-01-10T02:00:00Z", now: "2026-01-15T12:00:00Z", due: "2026-01-11T02:00:00Z", seen: "2026-01-15T12:00:00Z"},
		{name: "interval before cron", policy: machine.HealthCheckPolicy{HealthCheckInterval: "00:10:00", HealthCheckCron: "0 0 3 * * *"}, last: "2026-01-10T02:00:00Z", now: "2026-01-10T02:00:00Z", due: "2026-01-10T02:10:00Z", seen: "2026-01-10T02:10:00Z"},
		{name: "never", last: "2026-01-10T02:00:00Z", now: "2026-01-15T12:00:00Z", never: true},
		{name: "zero is never", policy: machine.HealthCheckPolicy{HealthCheckInterval: "00:00:00"}, last: "2026-01-10T02:00:00Z", now: "2026-01-15T12:00:00Z", never: true},
		{name: "no schedule", policy: machine.HealthCheckPolicy{HealthCheckCron: "now and then"}, last: "2026-01-10T02:00:00Z", now: "2026-01-15T12:00:00Z", mistaken: true},
		{name: "no zone", policy: machine.HealthCheckPolicy{HealthCheckCron: "0 0 3 * * *", HealthCheckCronTimezone: "Mars/Base"}, last: "2026-01-10T02:00:00Z", now: "2026-01-15T12:00:00Z", mistaken: true},
	} {
		due, seen, ok, err := nextCheck(c.policy, at(c.last), at(c.now))
		switch {
		case (err != nil) != c.mistaken || ok == (c.never || c.mistaken):
			t.Errorf("%s: %v, %v", c.name, ok, err)
		case ok && (!due.Equal(at(c.due)) || !seen.Equal(at(c.seen))):
			t.Errorf("%s: due %v, seen to %v; want %s, %s", c.name, due, seen, c.due, c.seen)
		}
	}
}

// watchers are nodes whose health checks only note when they run, and for which policy.
type watchers struct {
	t     *testing.T
	where string
	mu    sync.Mutex
	ran   map[string][]time.Time // by policy
	hold  chan struct{}          // when set, checks do not end before it is closed
}

func (w *watchers) start(name, dir string) (*cluster.Node, func()) {
	w.t.Helper()
	d, err := db.Open(w.t.Context(), w.where)
	if err != nil {
		w.t.Fatal(err)
	}
	e := &Engine{DB: d, Log: slog.New(slog.DiscardHandler), Node: name}
	check := func(ctx context.Context, run *cluster.Run) cluster.Outcome {
		a, _, _, err := control.ReadHealthArguments(run.Task.Arguments)
		if err != nil {
			w.t.Error(err)
		}
		w.mu.Lock()
		w.ran[a.MachinePolicyId] = append(w.ran[a.MachinePolicyId], time.Now())
		hold := w.hold
		w.mu.Unlock()
		if hold != nil {
			select {
			case <-ctx.Done():
				return cluster.Released{}
			case <-hold:
			}
		}
		return cluster.Ended{State: cluster.Success}
	}
	node, err := cluster.Start(w.t.Context(), d, cluster.Config{
		Name: name, DataDir: dir, Cap: 5, Version: "1", Log: e.Log, Handlers: map[string]cluster.Handler{KindHealth: check},
		Duties: e.Duties()[:1],
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return node, func() {
		if err := node.Stop(context.Background()); err != nil {
			w.t.Error(err)
		}
		if err := d.Close(); err != nil {
			w.t.Error(err)
		}
	}
}

func (w *watchers) runs(policy string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.ran[policy])
}

// Three nodes start each check once per interval, through a change of the leader and a time without any (rows 19 and 20, I6b).
func TestHealthChecksStartOncePerIntervalRow19Row20(t *testing.T) {
	where := dbtest.Create(t, db.SQLite)
	dirs := map[string]string{}
	for _, name := range []string{"A", "B", "C"} {
		dirs[name] = t.TempDir()
	}
	synctest.Test(t, func(t *testing.T) {
		w := &watchers{t: t, where: where, ran: map[string][]time.Time{}}
		d, err := db.Open(t.Context(), where)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		policies := policiesWithMachines(t, d, map[string]map[string]any{
			"Often":    {"HealthCheckInterval": "00:02:00"},
			"By clock": {"HealthCheckCron": "0 */3 * * * *", "HealthCheckCronTimezone": "UTC"},
			"Never":    {"HealthCheckType": "OnlyConnectivity"},
			"Empty":    {"HealthCheckInterval": "00:02:00"},
		}, "Empty")
		nodes, stops := map[string]*cluster.Node{}, map[string]func(){}
		for _, name := range []string{"A", "B", "C"} {
			nodes[name], stops[name] = w.start(name, dirs[name])
		}
		begin := time.Now()
		time.Sleep(9 * time.Minute)
		leader := ""
		for name, n := range nodes {
			if n.Leading() {
				leader = name
			}
		}
		stops[leader]() // another one leads on
		delete(stops, leader)
		time.Sleep(9*time.Minute + 30*time.Second)
		want := map[string]int{"Often": 9, "By clock": 6, "Never": 0, "Empty": 0}
		got := map[string]int{}
		for name := range want {
			got[name] = w.runs(policies[name])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("after %v: %s\n%v", time.Since(begin), diff, w.ran)
		}
		w.mu.Lock()
		for policy, every := range map[string]time.Duration{"Often": 2 * time.Minute, "By clock": 3 * time.Minute} {
			for two := range slices.Chunk(w.ran[policies[policy]], 2) {
				if gap := two[len(two)-1].Sub(two[0]); len(two) == 2 && (gap < every-40*time.Second || gap > every+40*time.Second) {
					t.Errorf("%s: %v between two checks", policy, gap)
				}
			}
		}
		w.mu.Unlock()

		for _, stop := range stops { // nobody leads for a while: what was missed is one check
			stop()
		}
		time.Sleep(time.Hour)
		_, stop := w.start(leader, dirs[leader])
		time.Sleep(time.Minute)
		for _, name := range []string{"Often", "By clock"} {
			if made := w.runs(policies[name]) - want[name]; made != 1 {
				t.Errorf("%s: %d checks were made up for an hour without a leader, want 1", name, made)
			}
		}
		// A check that does not end is not piled up on (P24).
		w.mu.Lock()
		w.hold = make(chan struct{})
		w.mu.Unlock()
		before := w.runs(policies["Often"])
		time.Sleep(11 * time.Minute)
		if more := w.runs(policies["Often"]) - before; more != 1 {
			t.Errorf("%d checks were started while one went on, want 1", more)
		}
		w.mu.Lock()
		close(w.hold)
		w.hold = nil
		w.mu.Unlock()
		time.Sleep(5 * time.Minute)
		if more := w.runs(policies["Often"]) - before; more < 3 {
			t.Errorf("only %d checks in all after the long one ended", more)
		}
		stop()
	})
}

// policiesWithMachines makes policies by their health check, each with a machine, but for some; it gives their ids.
func policiesWithMachines(t *testing.T, d *db.DB, checks map[string]map[string]any, but ...string) map[string]string {
	t.Helper()
	ring, err := secret.Start(t.Context(), d, secret.Source{Text: secret.NewKey()})
	if err != nil {
		t.Fatal(err)
	}
	ctx := access.With(t.Context(), access.System)
	use := &control.Control{DB: d, Ring: ring}
	if err := use.Bootstrap(ctx); err != nil {
		t.Fatal(err)
	}
	create := func(k *control.Kind, o resource.Object) string {
		t.Helper()
		made, err := use.Create(ctx, k, control.FirstSpace, o, "")
		if err != nil {
			t.Fatal(err)
		}
		return made.Text("Id")
	}
	env := create(control.Environments, resource.Object{"Name": "Test"})
	ids := map[string]string{}
	for name, check := range checks {
		ids[name] = create(control.MachinePolicies, resource.Object{"Name": name, "MachineHealthCheckPolicy": check})
		if slices.Contains(but, name) {
			continue
		}
		create(control.Machines, resource.Object{
			"Name": name, "EnvironmentIds": []any{env}, "Roles": []any{"web"}, "MachinePolicyId": ids[name], "SkipInitialHealthCheck": true,
			"Endpoint": map[string]any{"CommunicationStyle": "TentaclePassive", "Uri": "https://127.0.0.1:1/", "Thumbprint": fmt.Sprintf("%040X", len(ids))},
		})
	}
	return ids
}

func TestScheduleIsKeptOnBothEngines(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ids := policiesWithMachines(t, d, map[string]map[string]any{"Often": {"HealthCheckInterval": "00:02:00"}})
		e := &Engine{DB: d, Log: slog.New(slog.DiscardHandler)}
		in(t, d, func(tx *db.Tx) error {
			_, err := tx.ExecContext(t.Context(), "INSERT INTO lease (name, holder, term, beats) VALUES ('x', 'n1', 7, 1)")
			return err
		})
		ctx, term := t.Context(), cluster.Term{Name: "x", Number: 7}
		duty := func(term cluster.Term) {
			t.Helper()
			if err := e.startHealthChecks(ctx, term); err != nil {
				t.Fatal(err)
			}
		}
		count := func() (n int) {
			in(t, d, func(tx *db.Tx) (err error) {
				n, err = cluster.Count(ctx, tx, cluster.Filter{Kinds: []string{KindHealth}})
				return err
			})
			return n
		}
		last := func(ms int64) {
			in(t, d, func(tx *db.Tx) error {
				_, err := tx.ExecContext(ctx, "UPDATE health_schedule SET last = $2 WHERE policy = $1", ids["Often"], ms)
				return err
			})
		}
		duty(term)
		duty(term)
		if n := count(); n != 0 {
			t.Errorf("%d checks of new policies, whose machines were just checked", n)
		}
		last(time.Now().Add(-time.Hour).UnixMilli())
		duty(term)
		duty(term)
		if n := count(); n != 1 {
			t.Errorf("%d checks for an hour, want 1", n)
		}
		last(time.Now().Add(-time.Hour).UnixMilli())
		if err := e.startHealthChecks(ctx, cluster.Term{Name: "x", Number: 6}); err == nil || count() != 1 {
			t.Errorf("a former leader started a check: %v", err)
		}
		last(time.Now().Add(time.Hour).UnixMilli()) // by a node whose clock is ahead
		duty(term)
		var at int64
		in(t, d, func(tx *db.Tx) error {
			return tx.QueryRowContext(ctx, "SELECT last FROM health_schedule WHERE policy = $1", ids["Often"]).Scan(&at)
		})
		if until := time.Until(time.UnixMilli(at)); until > time.Second {
			t.Errorf("the next check waits for %v more, because a clock was ahead", until)
		}
	})
}
