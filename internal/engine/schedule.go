package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/feed"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/store"
)

// Kinds of the tasks that duties push, in the wire's words (behaviour.md 2.4).
const (
	KindHealth     = "Health"
	KindRetention  = "Retention"
	KindRepository = "SynchronizeBuiltInPackageRepositoryIndex"
)

// Duties are what the leading node does for the engine. What is long work is a task, which any node runs: a duty only pushes
// it (behaviour.md rows 19, 20).
func (e *Engine) Duties() []cluster.Duty {
	return []cluster.Duty{
		{Name: "Start health checks", Every: 30 * time.Second, Do: e.startHealthChecks},
		{Name: "Start retention", Every: 4 * time.Hour, Do: func(ctx context.Context, term cluster.Term) error {
			return e.start(ctx, term, KindRetention, "Apply retention policies", func(ctx context.Context, tx *db.Tx) (bool, error) {
				_, n, err := store.List(ctx, tx, &control.Projects.Kind, store.Query{Take: 1})
				return n > 0, err
			})
		}},
		{Name: "Start the check of the built-in repository", Every: 7 * 24 * time.Hour, Do: func(ctx context.Context, term cluster.Term) error {
			return e.start(ctx, term, KindRepository, "Re-index built-in package repository", func(ctx context.Context, tx *db.Tx) (bool, error) {
				n, _, err := feed.CountContents(ctx, tx)
				return n > 0, err
			})
		}},
		{Name: "Remove content of what retention deleted", Every: time.Hour, Do: func(ctx context.Context, term cluster.Term) error {
			_, err := e.sweepDropped(ctx, term.Hold, droppedGrace)
			return err
		}},
	}
}

// start pushes a task of the server, unless there is nothing to do, or the last one has not ended (behaviour.md P24).
func (e *Engine) start(ctx context.Context, term cluster.Term, kind, description string, work func(context.Context, *db.Tx) (bool, error)) error {
	return e.DB.InTx(ctx, func(tx *db.Tx) error {
		if err := term.Hold(ctx, tx); err != nil {
			return err
		}
		live := true
		n, err := cluster.Count(ctx, tx, cluster.Filter{Kinds: []string{kind}, Active: &live})
		if err != nil || n > 0 {
			return err
		}
		if some, err := work(ctx, tx); err != nil || !some {
			return err
		}
		_, err = cluster.Push(ctx, tx, cluster.NewTask{Kind: kind, Description: description})
		return err
	})
}

// startHealthChecks pushes a check for each machine policy whose time has come (deployments.md M1). When each was due last is
// a row that changes in the push's own transaction, so that each time is checked once, whoever leads, and what was missed
// while nobody led is made up for once.
func (e *Engine) startHealthChecks(ctx context.Context, term cluster.Term) error {
	due, err := e.dueHealthChecks(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, p := range due {
		err := e.DB.InTx(ctx, func(tx *db.Tx) error {
			if err := term.Hold(ctx, tx); err != nil {
				return err
			}
			return checkIfDue(ctx, tx, p)
		})
		if errors.Is(err, cluster.ErrLeaseLost) || ctx.Err() != nil {
			return err
		}
		if err != nil { // of one policy is no reason to leave the others out
			failed = errors.Join(failed, fmt.Errorf("policy %s (%s): %w", p.Name, p.Id, err))
		}
	}
	return failed
}

// dueHealthChecks are the policies that checkIfDue has to look at; most times there are none.
func (e *Engine) dueHealthChecks(ctx context.Context) (due []machine.Policy, err error) {
	err = e.DB.Read(ctx, func(tx *db.Tx) error {
		due = nil
		policies, err := store.Views[machine.Policy](ctx, tx, &control.MachinePolicies.Kind, store.Query{})
		if err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, "SELECT policy, last FROM health_schedule")
		if err != nil {
			return err
		}
		defer rows.Close()
		last := map[string]time.Time{}
		for rows.Next() {
			var policy string
			var ms int64
			if err := rows.Scan(&policy, &ms); err != nil {
				return err
			}
			last[policy] = time.UnixMilli(ms)
		}
		for _, p := range policies {
			at, known := last[p.Id]
			next, _, ok, err := nextCheck(p.MachineHealthCheckPolicy, at, tx.Now)
			if !known || at.After(tx.Now) || err != nil || ok && !next.After(tx.Now) {
				due = append(due, p)
			}
		}
		return rows.Err()
	})
	return due, err
}

// checkIfDue pushes one policy's check if its time has come.
func checkIfDue(ctx context.Context, tx *db.Tx, p machine.Policy) error {
	var ms int64
	var task string
	err := tx.QueryRowContext(ctx, "SELECT last, task FROM health_schedule WHERE policy = $1"+tx.ForUpdate(), p.Id).Scan(&ms, &task)
	if errors.Is(err, sql.ErrNoRows) { // a new policy: its machines were checked when they were registered
		_, err := tx.ExecContext(ctx, "INSERT INTO health_schedule (policy, last, task) VALUES ($1, $2, '') ON CONFLICT (policy) DO NOTHING", p.Id, tx.Ms())
		return err
	}
	if err != nil {
		return err
	}
	last := time.UnixMilli(ms)
	if last.After(tx.Now) { // written by a node whose clock is ahead
		last = tx.Now
		if _, err := tx.ExecContext(ctx, "UPDATE health_schedule SET last = $2 WHERE policy = $1", p.Id, tx.Ms()); err != nil {
			return err
		}
	}
	due, seen, ok, err := nextCheck(p.MachineHealthCheckPolicy, last, tx.Now)
	if err != nil || !ok || due.After(tx.Now) {
		return err
	}
	if task, err = pushCheck(ctx, tx, p, due, task); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE health_schedule SET last = $2, task = $3 WHERE policy = $1", p.Id, seen.UnixMilli(), task)
	return err
}

// nextCheck is when a policy's next check is due, and up to when it makes up for others: what was missed is one check. ok is
// false when the policy wants none.
func nextCheck(p machine.HealthCheckPolicy, last, now time.Time) (due, seen time.Time, ok bool, err error) {
	switch {
	case p.HealthCheckInterval != "":
		every, err := machine.ParseSpan(p.HealthCheckInterval)
		if err != nil || every <= 0 {
			return due, seen, false, err
		}
		due = last.Add(every)
		if late := now.Sub(due); late > 0 {
			due = due.Add(late.Truncate(every))
		}
		return due, due, true, nil
	case p.HealthCheckCron != "":
		cron, err := project.ParseCron(p.HealthCheckCron)
		if err != nil {
			return due, seen, false, err
		}
		zone, err := control.Zone(p.HealthCheckCronTimezone)
		if err != nil {
			return due, seen, false, err
		}
		due, ok = cron.Next(last, zone)
		return due, now, ok, nil
	}
	return due, seen, false, nil
}

// pushCheck pushes the check of a policy's machines, if it has any and the last check has ended; it gives the last check.
func pushCheck(ctx context.Context, tx *db.Tx, p machine.Policy, due time.Time, before string) (task string, err error) {
	if before != "" {
		t, err := cluster.Get(ctx, tx, before)
		if err == nil && !t.State.Ended() {
			return before, nil
		}
		if err != nil && fault.KindOf(err) != fault.NotFound {
			return before, err
		}
	}
	of := store.Query{Filters: map[string][]string{"machinePolicyId": {p.Id}}, Take: 1}
	for _, k := range []*control.Kind{control.Machines, control.Workers} {
		_, n, err := store.List(ctx, tx, &k.Kind, of)
		if err != nil {
			return before, err
		}
		if n == 0 {
			continue
		}
		t, err := cluster.Push(ctx, tx, cluster.NewTask{
			SpaceId: p.SpaceId, Kind: KindHealth, Description: "Check the health of machines with the policy " + p.Name,
			Arguments: map[string]any{"RestrictedTo": control.RestrictedToPolicies, "MachinePolicyId": p.Id},
			Key:       fmt.Sprintf("health/%s/%d", p.Id, due.UnixMilli()),
		})
		if err != nil {
			return before, err
		}
		return t.Id, control.Event(access.With(ctx, access.System), tx, p.SpaceId, "Queued", "Task "+t.Description+" was queued", t.Id)
	}
	return before, nil
}
