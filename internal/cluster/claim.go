package cluster

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/octavo/octavo/internal/db"
)

// claimer is who claims, and how much.
type claimer struct {
	node   string
	epoch  int64
	busy   int      // how many tasks the node runs
	most   int      // how many it wants at most, whatever its cap leaves (balance)
	floor  int64    // regular tasks before this place are left out, unless it is 0; PostgreSQL only
	kinds  []string // what it can carry out
	serves []string // sets of labels (needs) that it believes to have; the statement checks them again
}

// claim takes tasks for a node, up to its free slots: what has run before first, then by lane and place. The
// statement locks and checks the node's own row, so that after a drain, a cap, other labels or a new epoch are
// committed no older claim can be. Queued tasks of a stopped space are passed over.
//
// SQLite has one writer; PostgreSQL steps over rows that others lock, and = ANY (ARRAY(...)) keeps its plan on the index
// whatever the statistics say (performance.md 3.11).
func claim(ctx context.Context, tx *db.Tx, c claimer) ([]Task, error) {
	if len(c.kinds) == 0 || c.most <= 0 {
		return nil, nil
	}
	if tx.Engine() == db.Postgres {
		var got []Task
		err := tx.Send(ctx, claimStatement(tx, c, &got))
		byPlace(tx, got)
		return got, err
	}
	text, args := claimText(tx.Engine(), c, tx.Ms())
	return claimed(ctx, tx, text, args)
}

// claimWords are what differs between the engines' texts of a claim.
type claimWords struct {
	with    string // begins the statement
	node    string // a source of the node's own row as n, with a condition
	room    string // of n
	has     string // a label is among n.labels; %s is the label in quotes
	stopped string // not in a stopped space
	lock    string
	among   string // %s are the tasks
	answer  string
}

var claimWordsOf = map[db.Engine]claimWords{
	db.SQLite: {
		node:    "node n WHERE n.name = $1 AND n.epoch = $2 AND n.state = 'up' AND NOT n.draining",
		room:    "max(0, min(n.cap - $3, $5))",
		has:     " AND instr(n.labels, %s) > 0",
		stopped: "r.space NOT IN (SELECT s.space FROM queue_stop s WHERE s.stopped)",
		among:   "WHERE q.task IN (%s)",
		answer:  "task, lane, place", // it cannot answer with another table's columns
	},
	db.Postgres: {
		with:    "WITH me AS MATERIALIZED (SELECT n.cap, n.labels FROM node n WHERE n.name = $1 AND n.epoch = $2 AND n.state = 'up' AND NOT n.draining FOR SHARE) ",
		node:    "me n WHERE TRUE",
		room:    "greatest(0, least(n.cap - $3, $5))",
		has:     " AND strpos(n.labels, %s) > 0",
		stopped: "r.space <> ALL (ARRAY(SELECT s.space FROM queue_stop s WHERE s.stopped))",
		lock:    " FOR NO KEY UPDATE SKIP LOCKED",
		among:   "FROM task t WHERE t.id = q.task AND q.task = ANY (ARRAY(%s)) AND EXISTS (SELECT 1 FROM me)",
		answer:  taskColumns,
	},
}

// When entries of queue pile up that are over but cannot be cleared away, because an old snapshot is held somewhere, a claim begins
// behind its floor, the first place of the last one, so that it does not step over all of them (performance.md 3.5). What becomes ready
// before the floor is found by a claim without one: when the floor leaves slots free, after this node's own promotions, and with
// every view. So then, and only then, may a task be overtaken for up to a second.

// claimText makes the statement: one range of the index of tasks that any node may run, and one more for each set of
// labels that the node serves. A node that does not have the labels (any more) gets nothing out of their range.
func claimText(engine db.Engine, c claimer, now int64) (text string, args []any) {
	w := claimWordsOf[engine]
	args = []any{c.node, c.epoch, c.busy, now, c.most}
	arg := func(v any) string {
		args = append(args, v)
		return fmt.Sprintf("$%d", len(args))
	}
	var kinds []string
	for _, k := range c.kinds {
		kinds = append(kinds, arg(k))
	}
	// What has expired but was not ended yet is left out, and what is queued in a stopped space. Neither matters once begun.
	may := ` AND r.head AND r.state IN ('queued', 'released') AND NOT r.parked AND r.kind IN (` + strings.Join(kinds, ", ") + `)
		AND (r.state = 'released' OR (r.expires IS NULL OR r.expires > $4) AND ` + w.stopped + ")"
	limit := func(has string) string {
		return " LIMIT coalesce((SELECT " + w.room + " FROM " + w.node + has + "), 0)"
	}
	of := func(columns, needs, has string) string {
		return "SELECT " + columns + " FROM queue r WHERE " + needs + may + " ORDER BY r.lane, r.place" + limit(has) + w.lock
	}
	from := of("r.task", "r.needs = ''", "")
	if len(c.serves) > 0 || c.floor > 0 {
		const columns = "r.task, r.lane, r.place"
		all := "SELECT * FROM (" + of(columns, "r.needs = ''", "") + ") y"
		if c.floor > 0 {
			all = "SELECT * FROM (" + of(columns, "r.needs = '' AND r.lane < 3", "") + ") y\nUNION ALL SELECT * FROM (" +
				of(columns, "r.needs = '' AND r.lane = 3 AND r.place >= "+arg(c.floor), "") + ") y"
		}
		for _, needs := range c.serves {
			has := ""
			for word := range strings.FieldsSeq(needs) {
				has += fmt.Sprintf(w.has, arg(`"`+word+`"`))
			}
			all += "\nUNION ALL SELECT * FROM (" + of(columns, "r.needs <> '' AND r.needs = "+arg(needs), has) + ") y"
		}
		from = "SELECT x.task FROM (" + all + ") x ORDER BY x.lane, x.place" + limit("")
	}
	return w.with + `UPDATE queue AS q SET state = 'running', lane = 0, node = $1, claim = q.claim + 1, woken = FALSE, updated = $4,
			started = coalesce(q.started, $4), incarnation = (SELECT c.incarnation FROM cluster c WHERE c.one = 1)
		` + fmt.Sprintf(w.among, from) + " RETURNING " + w.answer, args
}

// claimEnding takes released tasks that are to be cancelled, above the cap: they are claimed to be
// ended only. They need not hold their turn, and any node may end them, whatever labels they ask for.
func claimEnding(ctx context.Context, tx *db.Tx, node string, epoch int64, kinds []string) ([]Task, error) {
	if len(kinds) == 0 {
		return nil, nil
	}
	skip, share := "", ""
	if tx.Engine() == db.Postgres {
		skip, share = " FOR NO KEY UPDATE SKIP LOCKED", " FOR SHARE"
	}
	var up int
	err := tx.QueryRowContext(ctx, "SELECT 1 FROM node WHERE name = $1 AND epoch = $2 AND state = 'up' AND NOT draining"+share, node, epoch).Scan(&up)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	args := []any{node, tx.Ms()}
	for _, k := range kinds {
		args = append(args, k)
	}
	return claimed(ctx, tx, `UPDATE queue SET state = 'running', lane = 0, node = $1, claim = claim + 1, woken = FALSE, updated = $2,
			started = coalesce(started, $2), incarnation = (SELECT c.incarnation FROM cluster c WHERE c.one = 1)
		WHERE task IN (SELECT r.task FROM queue r WHERE r.cancel AND r.state = 'released' AND r.kind IN (`+db.List(3, len(kinds))+`)
			ORDER BY r.place LIMIT 16`+skip+`)
		RETURNING task, lane, place`, args)
}

// claimed reads a claim's whole answer, then the tasks, oldest place first.
func claimed(ctx context.Context, tx *db.Tx, query string, args []any) ([]Task, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	var ids []any
	for rows.Next() {
		var task string
		var lane, place int64
		if err := rows.Scan(&task, &lane, &place); err != nil {
			rows.Close()
			return nil, err
		}
		ids = append(ids, task)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	for _, task := range ids {
		tx.Hint(TaskTopic(task.(string)))
	}
	return queryTasks(ctx, tx, "SELECT "+taskColumns+fromTask+"WHERE t.id IN ("+db.List(1, len(ids))+") ORDER BY q.place", ids...)
}
