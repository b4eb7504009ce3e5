package cluster

import (
	"context"
	"fmt"
	"reflect"
	"slices"
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

// fromQueue begins at the narrow table; in SQLite the word CROSS sees to it that the planner does so too. The condition of
// the join is in onQueue.
const (
	fromQueue = " FROM queue q CROSS JOIN task t"
	onQueue   = "t.id = q.task"
)

// live tells that a filter lets only live tasks through.
func (f Filter) live() bool {
	if f.Active != nil && *f.Active || f.Running != nil && *f.Running || f.HasPendingInterruptions != nil && *f.HasPendingInterruptions {
		return true
	}
	return len(f.States) > 0 && !slices.ContainsFunc(f.States, func(s string) bool { return !liveStates[s] })
}

// query is what follows SELECT and its columns.
func (f Filter) query() (string, []any) {
	p := f.predicate()
	from := fromTask
	if f.live() {
		from = fromQueue
		p.add(onQueue)
	}
	return from + p.where(), p.args
}

func (f Filter) predicate() predicate {
	var p predicate
	p.in("t.id", f.Ids)
	p.in("t.kind", f.Kinds)
	if slices.ContainsFunc(f.States, func(s string) bool { return liveStates[s] }) {
		p.in(wireState, f.States)
	} else if f.States != nil { // a plain column can be estimated
		p.add("t.state <> 'live'")
		p.in("t.state", f.States)
	}
	p.flag("q.task IS NOT NULL", f.Active)
	p.flag("q.task IS NOT NULL AND q.state <> 'queued'", f.Running)
	if f.Nodes != nil {
		names := make([]string, len(f.Nodes))
		for i, n := range f.Nodes {
			names[i] = strings.TrimPrefix(n, nodePrefix)
		}
		p.in("coalesce(q.node, t.node)", names)
		if f.live() && f.HasPendingInterruptions == nil {
			p.add("q.state = 'running'") // what was released or waits is on no node, whoever ran it last (row 15)
		}
	}
	p.in("t.project", f.Projects)
	p.in("t.environment", f.Environments)
	p.in("t.tenant", f.Tenants)
	p.in("t.runbook", f.Runbooks)
	p.in("t.batch", f.Batches)
	p.in("t.turn", f.Turns)
	p.contains("t.search", f.Description)
	p.contains("t.search", f.PartialName)
	if f.HasPendingInterruptions != nil && *f.HasPendingInterruptions {
		p.add("q.interruptions <> ''") // as its index has it
	} else {
		p.flag("coalesce(q.interruptions, '') <> ''", f.HasPendingInterruptions)
	}
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
	query, args := f.query()
	query = "SELECT " + taskColumns + query + " ORDER BY t.number DESC"
	if f.Take > 0 {
		args = append(args, f.Take, f.Skip)
		query += fmt.Sprintf(" LIMIT $%d OFFSET $%d", len(args)-1, len(args))
	}
	return queryTasks(ctx, tx, query, args...)
}

// Count tells how many tasks a filter lets through, whatever the page.
func Count(ctx context.Context, tx *db.Tx, f Filter) (n int, err error) {
	if f.tallied() {
		n, _, err = Totals(ctx, tx, f)
		return n, err
	}
	f.Before = 0
	query, args := f.query()
	err = tx.QueryRowContext(ctx, "SELECT count(*)"+query, args...).Scan(&n)
	return n, err
}

// Totals gives Count, and how many tasks of each state (the wire's) there would be if the filter named no state.
func Totals(ctx context.Context, tx *db.Tx, f Filter) (total int, counts map[string]int, err error) {
	every := f
	every.Before, every.States, every.Active, every.Running = 0, nil, nil, nil
	counts = map[string]int{"Queued": 0, "Executing": 0, "Cancelling": 0, "Success": 0, "Failed": 0, "Canceled": 0, "TimedOut": 0}
	if !f.tallied() {
		query, args := every.query()
		if err := addCounts(ctx, tx, counts, "SELECT "+wireState+", count(*)"+query+" GROUP BY 1", args); err != nil {
			return 0, nil, err
		}
		total, err = Count(ctx, tx, f)
		return total, counts, err
	}
	p := every.predicate()
	if err := addCounts(ctx, tx, counts, "SELECT t.state, sum(t.n) FROM task_tally t"+p.where()+" GROUP BY 1", p.args); err != nil {
		return 0, nil, err
	}
	p.add(onQueue)
	if err := addCounts(ctx, tx, counts, "SELECT "+wireState+", count(*)"+fromQueue+p.where()+" GROUP BY 1", p.args); err != nil {
		return 0, nil, err
	}
	for state, n := range counts {
		if f.letsThrough(state) {
			total += n
		}
	}
	return total, counts, nil
}

// tallied tells that the filter asks for nothing that task_tally does not know, so that ended tasks need not be counted.
func (f Filter) tallied() bool {
	f.Kinds, f.Spaces, f.Projects, f.Environments, f.IncludeSystem = nil, nil, nil, nil, false
	f.States, f.Active, f.Running, f.Before, f.Skip, f.Take = nil, nil, nil, 0, 0, 0
	return reflect.ValueOf(f).IsZero()
}

// letsThrough looks at a state (the wire's) only.
func (f Filter) letsThrough(state string) bool {
	return (f.States == nil || slices.Contains(f.States, state)) &&
		(f.Active == nil || *f.Active == liveStates[state]) &&
		(f.Running == nil || *f.Running == (liveStates[state] && state != "Queued"))
}

func addCounts(ctx context.Context, tx *db.Tx, to map[string]int, query string, args []any) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var state string
		var n int
		if err := rows.Scan(&state, &n); err != nil {
			return err
		}
		to[state] += n
	}
	return rows.Err()
}

// QueuedBehind lists what a queued task waits for, what comes first at the top: the tasks of its turn
// that are before it, or, once it holds its turn, all that are ready before it and ask for the same labels. total is without paging.
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
			AND (CASE WHEN me.head OR NOT me.due THEN q.head AND q.state IN ('queued', 'released') AND me.due AND q.needs = me.needs AND NOT q.parked ELSE q.turn = me.turn END)
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
