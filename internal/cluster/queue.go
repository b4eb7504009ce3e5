package cluster

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/id"
)

// Topics of hints. A reader may listen on TaskTopic to follow one task. After lookTopic a node looks at what it else reads
// once in a poll: which labels are asked for, and which spaces are stopped.
const (
	queueTopic = "queue"
	lookTopic  = "queue look"
)

// TaskTopic is hinted at when a task changes its state.
func TaskTopic(task string) string { return "task:" + task }

func nodeTopic(node string) string { return "node:" + node }

// workTopic is hinted at when one node is to claim.
func workTopic(node string) string { return "work:" + node }

// pickNode gives the topic of the idlest node with a free slot, if something is ready; all nodes', if what is ready asks for
// labels. Waking all for each task would make all claims but one empty (performance.md 3.11, trap 6).
const pickNode = `SELECT topic FROM (
		SELECT 'queue' AS topic WHERE EXISTS (SELECT 1 FROM queue r WHERE r.head AND r.state IN ('queued', 'released') AND r.needs <> '' AND NOT r.parked)
		UNION ALL
		SELECT 'work:' || x.name FROM (
			SELECT y.name FROM (SELECT n.name, n.cap, (SELECT count(*) FROM queue q WHERE q.node = n.name AND q.state = 'running') AS running
				FROM node n WHERE n.state = 'up' AND NOT n.draining AND n.cap > 0 AND n.deleted IS NULL) y
			WHERE y.running < y.cap AND EXISTS (SELECT 1 FROM queue r WHERE r.head AND r.state IN ('queued', 'released') AND r.needs = '' AND NOT r.parked)
			ORDER BY y.running::float8 / y.cap, random() LIMIT 1) x) z LIMIT 1`

// hintWork says that something may be claimed: to this node at once, and to one other with a free slot.
func hintWork(tx *db.Tx) { tx.HintOne(queueTopic, pickNode) }

// hintNeeds lets nodes look which labels are asked for, when a task that asks for some is ready: hintWork may wake one without them.
func hintNeeds(tx *db.Tx, needs string) {
	if needs != "" {
		tx.Hint(lookTopic)
	}
}

// Lanes: the order of claims before the order of places.
const (
	laneBegun    = 0
	laneTop      = 1
	lanePriority = 2
	laneRegular  = 3
)

// QueueTimeExpiry is how long a task waits to be started, from its QueueTime on, when nothing else was said (behaviour.md row 31).
const QueueTimeExpiry = 24 * time.Hour

// Push queues a task, in the transaction of whatever it is about. Pushing a Key again gives the task
// that the first push made, if that was the same request (reliability-and-security.md M20).
func Push(ctx context.Context, tx *db.Tx, n NewTask) (Task, error) {
	arguments, err := n.check(tx.Now)
	if err != nil {
		return Task{}, err
	}
	labels, err := Labels("Labels", n.Labels)
	if err != nil {
		return Task{}, err
	}
	queueTime, lane := tx.Ms(), laneRegular
	if n.QueueTime.After(tx.Now) {
		queueTime = n.QueueTime.UnixMilli()
	}
	if n.Priority {
		lane = lanePriority
	}
	turn, key := text(n.Turn), text(n.Key)
	expires := time.UnixMilli(queueTime).Add(QueueTimeExpiry).UnixMilli()
	if !n.QueueTimeExpiry.IsZero() {
		expires = n.QueueTimeExpiry.UnixMilli()
	}
	due := queueTime <= tx.Ms()
	t := Task{
		SpaceId: n.SpaceId, Kind: n.Kind, Description: n.Description, Arguments: json.RawMessage(arguments), Turn: n.Turn, Priority: n.Priority,
		ProjectId: n.ProjectId, EnvironmentId: n.EnvironmentId, TenantId: n.TenantId, RunbookId: n.RunbookId, BatchId: n.BatchId, State: StateQueued,
		QueueTime: time.UnixMilli(queueTime), QueueTimeExpiry: moment(sql.NullInt64{Int64: expires, Valid: true}), LastUpdatedTime: time.UnixMilli(tx.Ms()),
	}
	if len(labels) > 0 {
		t.Labels = labels
	}
	task := []any{
		n.SpaceId, n.Kind, n.Description, strings.ToLower(n.Kind + " " + n.Description), arguments, turn, n.Priority, key,
		n.ProjectId, n.EnvironmentId, n.TenantId, n.RunbookId, n.BatchId, tx.Ms(), queueTime, expires,
	}
	queued := []any{lane, due, strings.Join(labels, " ")}
	made, err := insert(ctx, tx, &t, task, queued)
	if err != nil {
		return Task{}, fmt.Errorf("push: %w", err)
	}
	if !made {
		return pushedBefore(ctx, tx, n, arguments)
	}
	t.fence.Task = t.Id
	hintNeeds(tx, strings.Join(labels, " "))
	hintWork(tx)
	if !t.Head && due && lane < laneRegular {
		if err := reorder(ctx, tx, n.Turn); err != nil {
			return Task{}, err
		}
		return Get(ctx, tx, t.Id)
	}
	return t, nil
}

const (
	pushTask = `INSERT INTO task (id, number, space, kind, description, search, arguments, turn, priority, push_key,
			project, environment, tenant, runbook, batch, created, queue_time, expires, state, updated) `
	pushQueue = `INSERT INTO queue (task, kind, turn, lane, place, state, due, head, queue_time, expires, updated, space, needs) `
)

// insert writes the two rows of a task and fills in its id, number and head; false when its key was used before. The row of
// queue comes in a statement after the lock of the turn, so that on PostgreSQL it sees who holds the turn now. There the lock
// and the one statement for both rows travel together.
func insert(ctx context.Context, tx *db.Tx, t *Task, task, queued []any) (made bool, err error) {
	if tx.Engine() == db.Postgres {
		var batch []db.Statement
		if t.Turn != "" {
			batch = append(batch, db.Statement{Query: lockTurns, Args: []any{[]string{t.Turn}}})
		}
		err = tx.Send(ctx, append(batch, db.Statement{
			Query: `WITH source AS MATERIALIZED (SELECT nextval('number_servertasks') AS number, nextval('number_place') AS place),
				made AS (` + pushTask + `
					SELECT 'ServerTasks-' || s.number, s.number, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 'live', $14 FROM source s
					ON CONFLICT (push_key) DO NOTHING RETURNING id, number)
				` + pushQueue + `
					SELECT m.id, $2, $6, $17, s.place, 'queued', $18, $18 AND NOT EXISTS (SELECT 1 FROM queue a WHERE a.turn = $6 AND a.head), $15, $16, $14, $1, $19
					FROM made m, source s
				RETURNING task, (SELECT m.number FROM made m), place, head`,
			Args: append(task, queued...), Row: func(row db.Scanner) error {
				made = true
				return row.Scan(&t.Id, &t.Number, &t.place, &t.Head)
			},
		})...)
		return made, err
	}
	if t.Id, err = db.NextID(ctx, tx, "ServerTasks"); err != nil {
		return false, err
	}
	_, t.Number, _ = id.Split(t.Id)
	res, err := tx.ExecContext(ctx, pushTask+`VALUES ($17, $18, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 'live', $14)
		ON CONFLICT (push_key) DO NOTHING`, append(slices.Clone(task), t.Id, t.Number)...)
	if err != nil {
		return false, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return false, err
	}
	if t.place, err = db.NextNumber(ctx, tx, "place"); err != nil {
		return false, err
	}
	err = tx.QueryRowContext(ctx, pushQueue+`
		VALUES ($20, $2, $6, $17, $21, 'queued', $18, $18 AND NOT EXISTS (SELECT 1 FROM queue a WHERE a.turn = $6 AND a.head), $15, $16, $14, $1, $19)
		RETURNING head`, append(append(slices.Clone(task), queued...), t.Id, t.place)...).Scan(&t.Head)
	return true, err
}

func (n NewTask) check(now time.Time) (arguments string, err error) {
	if n.Kind == "" {
		return "", fault.InvalidField("Name", "The task has no name. Give one such as Deploy or Health.")
	}
	if !n.QueueTimeExpiry.IsZero() && n.QueueTimeExpiry.Before(n.QueueTime) {
		return "", fault.InvalidField("QueueTimeExpiry", "QueueTimeExpiry (%s) is before QueueTime (%s): the task could never start.",
			n.QueueTimeExpiry.Format(time.RFC3339), n.QueueTime.Format(time.RFC3339))
	}
	if !n.QueueTimeExpiry.IsZero() && !n.QueueTimeExpiry.After(now) {
		return "", fault.InvalidField("QueueTimeExpiry", "QueueTimeExpiry (%s) has passed already: the task could never start.", n.QueueTimeExpiry.Format(time.RFC3339))
	}
	if n.Arguments == nil {
		return "{}", nil
	}
	b, err := json.Marshal(n.Arguments)
	if err != nil {
		return "", fault.Because(fault.InvalidField("Arguments", "The task's arguments are no JSON object."), err)
	}
	if string(b) == "null" {
		return "{}", nil
	}
	if b[0] != '{' {
		return "", fault.InvalidField("Arguments", "The task's arguments must be a JSON object, such as {\"DeploymentId\": \"Deployments-1\"}.")
	}
	return string(b), nil
}

func pushedBefore(ctx context.Context, tx *db.Tx, n NewTask, arguments string) (Task, error) {
	t, err := scanTask(tx.QueryRowContext(ctx, "SELECT "+taskColumns+fromTask+"WHERE t.push_key = $1", n.Key))
	if err != nil {
		return Task{}, fmt.Errorf("push again: %w", err)
	}
	if t.Kind != n.Kind || t.SpaceId != n.SpaceId || string(t.Arguments) != arguments {
		return Task{}, fault.Conflictf("The idempotency key was used before for another request, which made %s. Use a new key for a new request.", t.Id)
	}
	return t, nil
}

func text(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }

// lockTurn lets one transaction at a time move a turn on. On PostgreSQL every later statement of the
// transaction sees what the one before it did; SQLite's immediate transaction is that lock already.
func lockTurn(ctx context.Context, tx *db.Tx, turn string) error {
	if turn == "" || tx.Engine() == db.SQLite {
		return nil
	}
	_, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(791200403, hashtext($1))", turn)
	return err
}

// lockTurnOf locks the turn of a task, which never changes, and gives it.
func lockTurnOf(ctx context.Context, tx *db.Tx, task string) (turn string, err error) {
	err = tx.QueryRowContext(ctx, "SELECT coalesce(turn, '') FROM task WHERE id = $1", task).Scan(&turn)
	if errors.Is(err, sql.ErrNoRows) {
		return "", noTask(task)
	}
	if err != nil {
		return "", err
	}
	return turn, lockTurn(ctx, tx, turn)
}

// promote gives a turn that nobody holds to the first task of it: one that runs to be ended (claimEnding) or has
// run before, then by lane and place. The turn is locked.
func promote(ctx context.Context, tx *db.Tx, turn string) error {
	if turn == "" {
		return nil
	}
	var needs string
	err := tx.QueryRowContext(ctx, `UPDATE queue SET head = TRUE
		WHERE task = (SELECT b.task FROM queue b WHERE b.turn = $1 AND NOT b.head AND b.due AND b.state IN ('queued', 'released', 'running')
				ORDER BY b.lane, b.place LIMIT 1)
			AND NOT EXISTS (SELECT 1 FROM queue a WHERE a.turn = $1 AND a.head) RETURNING needs`, turn).Scan(&needs)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("promote: %w", err)
	}
	hintWork(tx)
	hintNeeds(tx, needs)
	return nil
}

// reorder lets the first task in order be the head, unless the head has begun. The turn is locked.
func reorder(ctx context.Context, tx *db.Tx, turn string) error {
	if turn == "" {
		return nil
	}
	if _, err := tx.ExecContext(ctx, "UPDATE queue SET head = FALSE WHERE turn = $1 AND head AND state = 'queued'", turn); err != nil {
		return err
	}
	return promote(ctx, tx, turn)
}

// finish ends a task under its fence, and lets the next one of its turn be ready.
func finish(ctx context.Context, tx *db.Tx, f Fence, turn string, state State, reason string) error {
	if err := lockTurn(ctx, tx, turn); err != nil {
		return err
	}
	return end(ctx, tx, f.Task, turn, state, reason, held, f.Task, f.Incarnation, f.Claim)
}

// end moves a task from the queue to history if its row of queue is as where says, or gives ErrFenced.
// The turn is locked.
func end(ctx context.Context, tx *db.Tx, task, turn string, state State, reason, where string, args ...any) error {
	var node string
	var started sql.NullInt64
	var warnings bool
	var lines int64
	var why string
	err := tx.QueryRowContext(ctx, "DELETE FROM queue"+where+" RETURNING node, started, warnings, log_lines, reason", args...).
		Scan(&node, &started, &warnings, &lines, &why)
	if err != nil {
		return fencedIfNone(err)
	}
	if state == Canceled && why != "" {
		// What the handler says comes behind, unless it only says the same in general.
		reason = strings.TrimSpace(why + " " + strings.TrimSpace(strings.TrimPrefix(reason, "The task was cancelled.")))
	}
	if _, err := tx.ExecContext(ctx, `UPDATE task SET state = $2, error = $3, node = $4, started = $5, warnings = $6, log_lines = $7, ended = $8, updated = $8
		WHERE id = $1 AND state = 'live'`, task, state, reason, node, started, warnings, lines, tx.Ms()); err != nil {
		return fmt.Errorf("end of %s: %w", task, err)
	}
	tx.Hint(TaskTopic(task))
	return promote(ctx, tx, turn)
}

func fencedIfNone(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrFenced
	}
	return err
}

// release lets a task go under its fence; it keeps turn and place.
func release(ctx context.Context, tx *db.Tx, f Fence) error {
	hintWork(tx)
	tx.Hint(TaskTopic(f.Task))
	return f.update(ctx, tx, "UPDATE queue SET state = 'released', updated = $4"+held, tx.Ms())
}

// wait puts a task aside under its fence: no slot, and no turn either unless it keeps it. One that was
// resumed or cancelled meanwhile is released instead, so that no wake-up gets lost.
func wait(ctx context.Context, tx *db.Tx, f Fence, turn string, keepTurn bool) error {
	if err := lockTurn(ctx, tx, turn); err != nil {
		return err
	}
	err := f.update(ctx, tx, `UPDATE queue SET updated = $4,
		state = CASE WHEN woken OR cancel THEN 'released' ELSE 'waiting' END,
		head = head AND (woken OR cancel OR $5 OR turn IS NULL)`+held, tx.Ms(), keepTurn)
	if err != nil {
		return err
	}
	hintWork(tx)
	tx.Hint(TaskTopic(f.Task))
	return promote(ctx, tx, turn)
}

// Resume wakes a task that waits, for instance because its child has ended. It is claimed before
// anything queued, of its turn too, once no other of the turn has begun. A task that still runs is told by not being let wait.
func Resume(ctx context.Context, tx *db.Tx, task string) error {
	turn, err := lockTurnOf(ctx, tx, task)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE queue SET updated = $2,
			woken = (state = 'running'),
			head = head OR (state = 'waiting' AND NOT EXISTS (SELECT 1 FROM queue a WHERE a.turn = $3 AND a.head)),
			state = CASE WHEN state = 'waiting' THEN 'released' ELSE state END
		WHERE task = $1 AND state IN ('waiting', 'running')`, task, tx.Ms(), turn)
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	hintWork(tx)
	tx.Hint(TaskTopic(task))
	return reorder(ctx, tx, turn)
}

// Answered says that nothing is asked of a person any more, and resumes the task.
func Answered(ctx context.Context, tx *db.Tx, task string) error {
	if err := Resume(ctx, tx, task); err != nil {
		return err
	}
	return StillAsked(ctx, tx, task)
}

// StillAsked says what a person is still asked, for whoever answers and so has no fence: he calls Resume first, which
// locks the task, and looks then.
func StillAsked(ctx context.Context, tx *db.Tx, task string, kinds ...string) error {
	_, err := tx.ExecContext(ctx, "UPDATE queue SET interruptions = $2 WHERE task = $1", task, strings.Join(kinds, ","))
	return err
}

// Cancel cancels a task: at once when it has not begun; otherwise its handler is told, ends the scripts
// and then the task (I8). Asking again changes nothing; a task that has ended cannot be cancelled.
func Cancel(ctx context.Context, tx *db.Tx, task, reason string) (Task, error) {
	turn, err := lockTurnOf(ctx, tx, task)
	if err != nil {
		return Task{}, err
	}
	err = end(ctx, tx, task, turn, Canceled, reason, " WHERE task = $1 AND state = 'queued'", task)
	if err == nil {
		return Get(ctx, tx, task)
	}
	if !errors.Is(err, ErrFenced) {
		return Task{}, err
	}
	var node string
	var state State
	err = tx.QueryRowContext(ctx, `UPDATE queue SET cancel = TRUE, updated = $2, reason = CASE WHEN cancel THEN reason ELSE $4 END, state = CASE WHEN state = 'waiting' THEN 'released' ELSE state END,
			head = head OR (state = 'waiting' AND NOT EXISTS (SELECT 1 FROM queue a WHERE a.turn = $3 AND a.head))
		WHERE task = $1 RETURNING node, state`, task, tx.Ms(), turn, reason).Scan(&node, &state)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return Task{}, err
	}
	t, getErr := Get(ctx, tx, task)
	if getErr != nil {
		return Task{}, getErr
	}
	if errors.Is(err, sql.ErrNoRows) && t.State != Canceled {
		return Task{}, fault.Invalidf("Task %s has ended already (%s); there is nothing to cancel.", task, t.State)
	}
	tx.Hint(nodeTopic(node))
	hintWork(tx)
	tx.Hint(TaskTopic(task))
	return t, nil
}

// MoveToTop lets a queued task be claimed before all that were not moved; within its turn too
// (behaviour.md 2.6).
func MoveToTop(ctx context.Context, tx *db.Tx, task string) (Task, error) {
	turn, err := lockTurnOf(ctx, tx, task)
	if err != nil {
		return Task{}, err
	}
	res, err := tx.ExecContext(ctx, "UPDATE queue SET lane = 1, updated = $2 WHERE task = $1 AND state = 'queued'", task, tx.Ms())
	if err != nil {
		return Task{}, err
	}
	if n, err := res.RowsAffected(); err != nil {
		return Task{}, err
	} else if n == 0 {
		return Task{}, fault.Invalidf("Task %s is not queued any more, so it cannot be moved to the top.", task)
	}
	if err := reorder(ctx, tx, turn); err != nil {
		return Task{}, err
	}
	hintWork(tx)
	return Get(ctx, tx, task)
}

// SetState corrects the end of a task by hand (rest-api.md 5, POST state).
func SetState(ctx context.Context, tx *db.Tx, task string, state State, reason string) (Task, error) {
	if state != Canceled && state != Failed && state != Success {
		return Task{}, fault.InvalidField("State", "A task's state can be set to Canceled, Failed or Success only, not to %q.", state)
	}
	t, err := Get(ctx, tx, task)
	if err != nil {
		return Task{}, err
	}
	if t.State != Canceled && t.State != Failed && t.State != Success {
		return Task{}, fault.InvalidField("State", "Only the state of a Canceled, Failed or Success task can be set; %s is %s.", task, t.Wire())
	}
	if t.State == state {
		return Task{}, fault.InvalidField("State", "Task %s is %s already.", task, state)
	}
	if _, err := tx.ExecContext(ctx, "UPDATE task SET state = $2, error = $3, updated = $4 WHERE id = $1 AND state <> 'live'", task, state, reason, tx.Ms()); err != nil {
		return Task{}, err
	}
	tx.Hint(TaskTopic(task))
	return Get(ctx, tx, task)
}

// DeleteEnded removes ended tasks from history; live ones stay.
func DeleteEnded(ctx context.Context, tx *db.Tx, tasks ...string) (deleted int64, err error) {
	args := make([]any, len(tasks))
	for i, t := range tasks {
		args[i] = t
	}
	res, err := tx.ExecContext(ctx, "DELETE FROM task WHERE id IN ("+db.List(1, len(args))+") AND state <> 'live'", args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// later is a task whose time has come: to be queued for real, or to expire.
type later struct{ task, turn string }

func laterStatement(tx *db.Tx, where string, into *[]later) db.Statement {
	return db.Statement{Query: "SELECT task, coalesce(turn, '') FROM queue WHERE " + where + " LIMIT 100", Args: []any{tx.Ms()}, Row: func(row db.Scanner) error {
		var l later
		err := row.Scan(&l.task, &l.turn)
		*into = append(*into, l)
		return err
	}}
}

const (
	whereRipe    = "NOT due AND queue_time <= $1"
	whereExpired = "state = 'queued' AND expires <= $1"
)

// ripen queues a scheduled task whose time has come: it gets its place now. Who did it already is no error.
func ripen(ctx context.Context, tx *db.Tx, l later) error {
	if err := lockTurn(ctx, tx, l.turn); err != nil {
		return err
	}
	place, err := db.NextNumber(ctx, tx, "place")
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE queue SET due = TRUE, place = $2, updated = $3,
			head = NOT EXISTS (SELECT 1 FROM queue a WHERE a.turn = $4 AND a.head)
		WHERE task = $1 AND NOT due AND queue_time <= $3`, l.task, place, tx.Ms(), text(l.turn))
	if err != nil {
		return fmt.Errorf("ripen: %w", err)
	}
	hintWork(tx)
	tx.Hint(TaskTopic(l.task))
	return reorder(ctx, tx, l.turn)
}

// expire ends a queued task that was not started in time; false when somebody was first. The end says what it waited for.
func expire(ctx context.Context, tx *db.Tx, l later) (bool, error) {
	if err := lockTurn(ctx, tx, l.turn); err != nil {
		return false, err
	}
	reason := "The task was not started before its queue time expired at " + tx.Now.UTC().Format(time.RFC3339) + "."
	switch why, err := Why(ctx, tx, l.task); {
	case fault.KindOf(err) == fault.NotFound:
		return false, nil
	case err != nil:
		return false, err
	case why != "":
		reason += " What it waited for: " + why
	}
	err := end(ctx, tx, l.task, l.turn, TimedOut, reason,
		" WHERE task = $1 AND state = 'queued' AND expires <= $2", l.task, tx.Ms())
	if errors.Is(err, ErrFenced) {
		return false, nil
	}
	return err == nil, err
}

// RaiseIncarnation is to be called when the database came back with history missing, before any node
// starts: whatever an older owner still does is refused (I14).
func RaiseIncarnation(ctx context.Context, tx *db.Tx) error {
	if _, err := tx.ExecContext(ctx, "UPDATE cluster SET incarnation = incarnation + 1"); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE queue SET state = 'released' WHERE state = 'running'")
	return err
}
