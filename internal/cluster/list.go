package cluster

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/db"
)

// Filter says which tasks to list; the zero value lists all (rest-api.md 5, GET tasks).
type Filter struct {
	Ids                        []string
	Kinds                      []string
	States                     []string // the wire's: Queued, Executing, Cancelling, Success ...
	Active                     *bool    // not ended
	Running                    *bool    // begun and not ended
	Nodes                      []string // names or OctopusServerNodes- ids
	Projects, Environments     []string
	Tenants, Runbooks, Batches []string
	Turns                      []string
	Description                string // a part of kind or description, in any case
	PartialName                string // likewise
	HasPendingInterruptions    *bool
	HasWarningsOrErrors        *bool
	FromQueue, ToQueue         *time.Time
	FromStart, ToStart         *time.Time
	FromCompleted, ToCompleted *time.Time
	Spaces                     []string // nil: of all spaces and the server's own
	IncludeSystem              bool     // with Spaces: also the server's own
	Before                     int64    // only tasks with a lower number: the next page by key
	Skip, Take                 int      // Take 0: all
}

type predicate struct {
	parts []string
	args  []any
}

// add keeps a condition; each ? in it stands for the next argument.
func (p *predicate) add(part string, args ...any) {
	for _, a := range args {
		p.args = append(p.args, a)
		part = strings.Replace(part, "?", fmt.Sprintf("$%d", len(p.args)), 1)
	}
	p.parts = append(p.parts, part)
}

func (p *predicate) in(column string, values []string) {
	if values == nil {
		return
	}
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = v
	}
	if len(args) == 0 {
		p.add("FALSE")
		return
	}
	p.add(column+" IN ("+strings.TrimSuffix(strings.Repeat("?,", len(args)), ",")+")", args...)
}

func (p *predicate) flag(condition string, want *bool) {
	if want == nil {
		return
	}
	if !*want {
		condition = "NOT (" + condition + ")"
	}
	p.add(condition)
}

func (p *predicate) between(column string, from, to *time.Time) {
	if from != nil {
		p.add(column+" >= ?", from.UnixMilli())
	}
	if to != nil {
		p.add(column+" <= ?", to.UnixMilli())
	}
}

func (p *predicate) contains(column, part string) {
	if part == "" {
		return
	}
	part = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(strings.ToLower(part))
	p.add(column+` LIKE ? ESCAPE '\'`, "%"+part+"%")
}

func (p *predicate) where() string {
	if len(p.parts) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(p.parts, " AND ")
}

// wireState is Task.Wire in SQL.
const wireState = `CASE WHEN q.state IS NULL THEN t.state WHEN q.state = 'queued' THEN 'Queued' WHEN q.cancel THEN 'Cancelling' ELSE 'Executing' END`

var liveStates = map[string]bool{"Queued": true, "Executing": true, "Cancelling": true}

// from joins so that a list of live tasks begins at the narrow table.
func (f Filter) from() string {
	live := f.Active != nil && *f.Active || f.Running != nil && *f.Running || f.HasPendingInterruptions != nil && *f.HasPendingInterruptions
	if !live && len(f.States) > 0 {
		live = true
		for _, s := range f.States {
			live = live && liveStates[s]
		}
	}
	if live {
		return " FROM queue q JOIN task t ON t.id = q.task"
	}
	return fromTask
}

func (f Filter) predicate(withStates bool) predicate {
	var p predicate
	p.in("t.id", f.Ids)
	p.in("t.kind", f.Kinds)
	if withStates {
		p.in(wireState, f.States)
		p.flag("q.task IS NOT NULL", f.Active)
		p.flag("q.task IS NOT NULL AND q.state <> 'queued'", f.Running)
	}
	if f.Nodes != nil {
		names := make([]string, len(f.Nodes))
		for i, n := range f.Nodes {
			names[i] = strings.TrimPrefix(n, nodePrefix)
		}
		p.in("coalesce(q.node, t.node)", names)
	}
	p.in("t.project", f.Projects)
	p.in("t.environment", f.Environments)
	p.in("t.tenant", f.Tenants)
	p.in("t.runbook", f.Runbooks)
	p.in("t.batch", f.Batches)
	p.in("t.turn", f.Turns)
	p.contains("t.search", f.Description)
	p.contains("t.search", f.PartialName)
	p.flag("coalesce(q.interruptions, '') <> ''", f.HasPendingInterruptions)
	p.flag("coalesce(q.warnings, t.warnings) OR t.state IN ('Failed', 'TimedOut')", f.HasWarningsOrErrors)
	p.between("t.queue_time", f.FromQueue, f.ToQueue)
	p.between("coalesce(q.started, t.started)", f.FromStart, f.ToStart)
	p.between("t.ended", f.FromCompleted, f.ToCompleted)
	if f.Spaces != nil {
		spaces := f.Spaces
		if f.IncludeSystem {
			spaces = append([]string{""}, spaces...)
		}
		p.in("t.space", spaces)
	}
	if f.Before > 0 {
		p.add("t.number < ?", f.Before)
	}
	return p
}

// List gives the tasks that a filter lets through, the newest first.
func List(ctx context.Context, tx *db.Tx, f Filter) ([]Task, error) {
	p := f.predicate(true)
	query := "SELECT " + taskColumns + f.from() + p.where() + " ORDER BY t.number DESC"
	if f.Take > 0 {
		p.args = append(p.args, f.Take, f.Skip)
		query += fmt.Sprintf(" LIMIT $%d OFFSET $%d", len(p.args)-1, len(p.args))
	}
	return queryTasks(ctx, tx, query, p.args...)
}

// Count tells how many tasks a filter lets through, whatever the page.
func Count(ctx context.Context, tx *db.Tx, f Filter) (n int, err error) {
	f.Before = 0
	p := f.predicate(true)
	err = tx.QueryRowContext(ctx, "SELECT count(*)"+f.from()+p.where(), p.args...).Scan(&n)
	return n, err
}

// Counts tells how many tasks of each state (the wire's) a filter lets through that names no state.
func Counts(ctx context.Context, tx *db.Tx, f Filter) (map[string]int, error) {
	f.Before, f.States, f.Active, f.Running = 0, nil, nil, nil
	p := f.predicate(false)
	rows, err := tx.QueryContext(ctx, "SELECT "+wireState+", count(*)"+f.from()+p.where()+" GROUP BY 1", p.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]int{"Queued": 0, "Executing": 0, "Cancelling": 0, "Success": 0, "Failed": 0, "Canceled": 0, "TimedOut": 0}
	for rows.Next() {
		var state string
		var n int
		if err := rows.Scan(&state, &n); err != nil {
			return nil, err
		}
		out[state] = n
	}
	return out, rows.Err()
}

// QueuedBehind lists what a queued task waits for, what comes first at the top: the tasks of its turn
// that are before it, or, once it holds its turn, all that are ready before it. total is without paging.
func QueuedBehind(ctx context.Context, tx *db.Tx, task string, skip, take int) (tasks []Task, total int, err error) {
	t, err := Get(ctx, tx, task)
	if err != nil {
		return nil, 0, err
	}
	if t.State != StateQueued {
		return nil, 0, nil
	}
	const before = ` FROM queue me JOIN queue q ON q.task <> me.task AND q.due
			AND (q.head AND me.turn = q.turn OR (q.lane, q.place) < (me.lane, me.place) OR NOT me.due)
			AND (CASE WHEN me.head OR NOT me.due THEN q.head AND q.state IN ('queued', 'released') AND me.due ELSE q.turn = me.turn END)
		JOIN task t ON t.id = q.task WHERE me.task = $1`
	if err := tx.QueryRowContext(ctx, "SELECT count(*)"+before, task).Scan(&total); err != nil {
		return nil, 0, err
	}
	if take <= 0 {
		take = total
	}
	tasks, err = queryTasks(ctx, tx, "SELECT "+taskColumns+before+" ORDER BY q.head DESC, q.lane, q.place LIMIT $2 OFFSET $3", task, take, skip)
	return tasks, total, err
}

// Why says in a sentence what a live task waits for, and "" when it runs or has ended (behaviour.md P22).
func Why(ctx context.Context, tx *db.Tx, task string) (string, error) {
	t, err := Get(ctx, tx, task)
	if err != nil {
		return "", err
	}
	switch {
	case t.State == StateWaiting && t.HasPendingInterruptions():
		return "It waits for a person to answer.", nil
	case t.State == StateWaiting:
		return "It waits for another task to end.", nil
	case t.State != StateQueued && t.State != StateReleased:
		return "", nil
	case t.State == StateQueued && t.QueueTime.After(tx.Now):
		return "It is scheduled for " + t.QueueTime.UTC().Format(time.RFC3339) + ".", nil
	}
	if t.Turn != "" && !t.Head {
		var holder string
		err := tx.QueryRowContext(ctx, "SELECT task FROM queue WHERE turn = $1 AND head", t.Turn).Scan(&holder)
		if err == nil {
			return "It waits for its turn behind " + holder + ".", nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return "", err
		}
	}
	var takers int64
	if err := tx.QueryRowContext(ctx, "SELECT coalesce(sum(cap), 0) FROM node WHERE state = 'up' AND NOT draining").Scan(&takers); err != nil {
		return "", err
	}
	switch {
	case takers == 0:
		return "No node takes tasks: all are stopped, draining, or have a task cap of 0.", nil
	case t.State == StateReleased:
		return "Its scripts run on; it waits for a slot on a node.", nil
	default:
		return "It waits for a slot on a node.", nil
	}
}
