package cluster

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/id"
)

// State is where a task stands; doc.go draws the transitions.
type State string

// The live states, and the ends in the wire's words.
const (
	StateQueued   State = "queued"
	StateRunning  State = "running"
	StateReleased State = "released"
	StateWaiting  State = "waiting"

	Success  State = "Success"
	Failed   State = "Failed"
	Canceled State = "Canceled"
	TimedOut State = "TimedOut"
)

// Ended tells that nothing more will happen to a task in this state.
func (s State) Ended() bool {
	switch s {
	case Success, Failed, Canceled, TimedOut:
		return true
	}
	return false
}

// Task is one unit of work, live or ended.
type Task struct {
	Id          string // ServerTasks-12
	Number      int64  // the 12; newer tasks have higher ones
	SpaceId     string // "" for the server's own tasks
	Kind        string // the wire's Name: Deploy, RunbookRun, Health ...
	Description string
	Arguments   json.RawMessage // a JSON object
	Turn        string          // "" when it excludes nobody
	Priority    bool
	Labels      []string // what a node must have to run it; of a live task

	ProjectId, EnvironmentId, TenantId, RunbookId, BatchId string

	State           State
	Cancelling      bool // a cancel was asked for and the task has not ended yet
	Head            bool // holds its turn (or has none); false while it waits for another task
	QueueTime       time.Time
	QueueTimeExpiry *time.Time
	StartTime       *time.Time
	CompletedTime   *time.Time
	LastUpdatedTime time.Time
	Node            string // the owner, or the last one; "" before the first claim
	ErrorMessage    string
	HasWarnings     bool
	Interruptions   []string // kinds of what a person is asked, such as ManualIntervention
	Claims          int64    // how often it was claimed; 0 once ended
	LogLines        int64    // the last log sequence number given out

	fence Fence // of its present claim
	place int64 // in the queue; 0 once ended
}

// Wire is the state as clients know it (behaviour.md 2.4).
func (t Task) Wire() string {
	switch {
	case t.State == StateQueued:
		return "Queued"
	case t.State.Ended():
		return string(t.State)
	case t.Cancelling:
		return "Cancelling"
	default:
		return "Executing"
	}
}

// ServerNode is the wire's id of the node that runs the task or ran it last, "" before the first.
func (t Task) ServerNode() string {
	if t.Node == "" {
		return ""
	}
	return NodeId(t.Node)
}

// HasBeenPickedUpByProcessor tells that some node has begun the task.
func (t Task) HasBeenPickedUpByProcessor() bool { return t.StartTime != nil }

// HasPendingInterruptions tells that a person is asked something.
func (t Task) HasPendingInterruptions() bool { return len(t.Interruptions) > 0 }

// HasWarningsOrErrors tells that the task ended badly or warned.
func (t Task) HasWarningsOrErrors() bool {
	return t.HasWarnings || t.State == Failed || t.State == TimedOut
}

// NewTask is what Push needs.
type NewTask struct {
	SpaceId     string
	Kind        string
	Description string
	Arguments   any    // marshalled to a JSON object; nil is {}
	Turn        string // tasks with the same turn run one at a time, in their order
	Priority    bool
	Labels      []string // only a node that has them all may run it

	ProjectId, EnvironmentId, TenantId, RunbookId, BatchId string

	QueueTime       time.Time // not started before; zero is now
	QueueTimeExpiry time.Time // not started after; zero is a day (QueueTimeExpiry) after QueueTime
	Key             string    // asking again with the same key gives the same task; name the caller in it
}

// taskColumns are read from task t LEFT JOIN queue q ON q.task = t.id.
const taskColumns = `t.id, t.number, t.space, t.kind, t.description, t.arguments, coalesce(t.turn, ''), t.priority,
	t.project, t.environment, t.tenant, t.runbook, t.batch,
	coalesce(q.state, t.state), coalesce(q.cancel, FALSE), coalesce(q.head, FALSE),
	t.queue_time, t.expires, coalesce(q.started, t.started), t.ended, coalesce(q.updated, t.updated),
	coalesce(q.node, t.node), t.error, coalesce(q.warnings, t.warnings), coalesce(q.interruptions, ''),
	coalesce(q.claim, 0), coalesce(q.incarnation, 0), coalesce(q.log_lines, t.log_lines), coalesce(q.needs, ''), coalesce(q.place, 0)`

const fromTask = ` FROM task t LEFT JOIN queue q ON q.task = t.id `

func scanTask(row interface{ Scan(...any) error }) (Task, error) {
	var t Task
	var arguments, interruptions, needs string
	var queueTime, updated int64
	var expires, started, ended sql.NullInt64
	err := row.Scan(&t.Id, &t.Number, &t.SpaceId, &t.Kind, &t.Description, &arguments, &t.Turn, &t.Priority,
		&t.ProjectId, &t.EnvironmentId, &t.TenantId, &t.RunbookId, &t.BatchId,
		&t.State, &t.Cancelling, &t.Head,
		&queueTime, &expires, &started, &ended, &updated,
		&t.Node, &t.ErrorMessage, &t.HasWarnings, &interruptions, &t.Claims, &t.fence.Incarnation, &t.LogLines, &needs, &t.place)
	if err != nil {
		return Task{}, err
	}
	t.Arguments = json.RawMessage(arguments)
	t.fence.Task, t.fence.Claim = t.Id, t.Claims
	t.QueueTime, t.LastUpdatedTime = time.UnixMilli(queueTime), time.UnixMilli(updated)
	t.QueueTimeExpiry, t.StartTime, t.CompletedTime = moment(expires), moment(started), moment(ended)
	if needs != "" {
		t.Labels = strings.Fields(needs)
	}
	if interruptions != "" {
		t.Interruptions = strings.Split(interruptions, ",")
	}
	return t, nil
}

func moment(ms sql.NullInt64) *time.Time {
	if !ms.Valid {
		return nil
	}
	at := time.UnixMilli(ms.Int64)
	return &at
}

// Get reads a task.
func Get(ctx context.Context, tx *db.Tx, task string) (Task, error) {
	t, err := scanTask(tx.QueryRowContext(ctx, "SELECT "+taskColumns+fromTask+"WHERE t.id = $1", task))
	if errors.Is(err, sql.ErrNoRows) {
		return Task{}, noTask(task)
	}
	return t, err
}

func noTask(task string) error {
	if _, _, ok := id.Split(task); !ok {
		return fault.NotFoundf("There is no task %q: a task's id looks like ServerTasks-12.", task)
	}
	return fault.NotFoundf("There is no task %s.", task)
}

func queryTasks(ctx context.Context, tx *db.Tx, query string, args ...any) ([]Task, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Task
	for rows.Next() {
		t, err := scanTask(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, rows.Err()
}
