package cluster

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/db"
)

// soon is how near the end of its time in the queue must be for a task to warn of it (behaviour.md P30).
const soon = time.Hour

// Why says in a sentence what a live task waits for, and "" when it runs or has ended (behaviour.md P22). A task that will
// expire soon says that too.
func Why(ctx context.Context, tx *db.Tx, task string) (string, error) {
	t, err := Get(ctx, tx, task)
	if err != nil {
		return "", err
	}
	why, err := why(ctx, tx, t)
	if err == nil && why != "" && t.State == StateQueued && t.QueueTimeExpiry != nil && t.QueueTimeExpiry.After(tx.Now) && t.QueueTimeExpiry.Sub(tx.Now) <= soon {
		why += " If it has not started by then, it expires at " + t.QueueTimeExpiry.UTC().Format(time.RFC3339) + "."
	}
	return why, err
}

func why(ctx context.Context, tx *db.Tx, t Task) (string, error) {
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
	if t.State == StateQueued {
		stopped, err := spaceStopped(ctx, tx, t.SpaceId)
		if err != nil {
			return "", err
		}
		if stopped {
			return "The task queue of its space is stopped.", nil
		}
	}
	if t.Turn != "" && !t.Head {
		holder, err := scanTask(tx.QueryRowContext(ctx, "SELECT "+taskColumns+" FROM queue q JOIN task t ON t.id = q.task WHERE q.turn = $1 AND q.head", t.Turn))
		switch {
		case err == nil:
			return "It waits for its turn behind " + described(holder) + ".", nil
		case !errors.Is(err, sql.ErrNoRows):
			return "", err
		}
	}
	r, err := roomFor(ctx, tx, t.Labels)
	if err != nil {
		return "", err
	}
	behind := ""
	if r.slots > 0 && t.State == StateQueued {
		n, err := readyBefore(ctx, tx, t)
		if err != nil {
			return "", err
		}
		switch {
		case n == 1:
			behind = " One task is before it."
		case n >= lookAhead:
			behind = fmt.Sprintf(" More than %d tasks are before it.", lookAhead-1)
		case n > 1:
			behind = fmt.Sprintf(" %d tasks are before it.", n)
		}
	}
	switch labels := strings.Join(t.Labels, ", "); {
	case r.any == 0 && r.trouble != "":
		return "No node takes tasks just now. " + r.trouble, nil
	case r.any == 0:
		return "No node takes tasks: all are stopped, draining, or have a task cap of 0.", nil
	case r.slots == 0:
		return "No node that takes tasks has the labels it asks for: " + labels + ".", nil
	case t.State == StateReleased:
		return "Its scripts run on; it waits for a slot on a node.", nil
	case labels != "":
		return fmt.Sprintf("It waits for a slot on a node with the labels %s: %d of %d are taken.%s", labels, r.taken, r.slots, behind), nil
	default:
		return fmt.Sprintf("It waits for a slot on a node: %d of %d are taken.%s", r.taken, r.slots, behind), nil
	}
}

// described names a task and says what it is doing.
func described(t Task) string {
	name := t.Id
	if t.Description != "" {
		name += " (" + t.Description + ")"
	}
	switch t.State {
	case StateRunning:
		return name + ", which runs on " + t.Node
	case StateWaiting:
		return name + ", which waits and keeps others out"
	case StateReleased:
		return name + ", which has begun and waits for a slot"
	}
	return name
}

func spaceStopped(ctx context.Context, tx *db.Tx, space string) (stopped bool, err error) {
	err = tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM queue_stop WHERE space = $1 AND stopped)", space).Scan(&stopped)
	return stopped, err
}

// room is what the nodes that take tasks could run, and do.
type room struct {
	any   int // slots of all of them
	slots int // of those with certain labels
	taken int // of these

	trouble string // of a node that would take tasks otherwise
}

// roomFor counts the slots for tasks that ask for labels.
func roomFor(ctx context.Context, tx *db.Tx, labels []string) (r room, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT n.cap, n.labels, n.trouble, (SELECT count(*) FROM queue q WHERE q.node = n.name AND q.state = 'running')
		FROM node n WHERE n.state = 'up' AND NOT n.draining AND n.cap > 0`)
	if err != nil {
		return r, err
	}
	defer rows.Close()
	needs := strings.Join(labels, " ")
	for rows.Next() {
		var slots, taken int
		var text, trouble string
		var its []string
		if err := rows.Scan(&slots, &text, &trouble, &taken); err != nil {
			return r, err
		}
		if trouble != "" {
			r.trouble = trouble
			continue
		}
		if err := json.Unmarshal([]byte(text), &its); err != nil {
			return r, fmt.Errorf("labels of a node: %w", err)
		}
		r.any += slots
		if has(its, needs) {
			r.slots += slots
			r.taken += min(taken, slots)
		}
	}
	return r, rows.Err()
}

// lookAhead bounds how many tasks before one are counted.
const lookAhead = 1000

// readyBefore counts the ready tasks that are claimed before one with the same needs, up to lookAhead: a range of the index.
func readyBefore(ctx context.Context, tx *db.Tx, t Task) (n int, err error) {
	which := "q.needs = ''"
	args := []any{t.Id, lookAhead}
	if len(t.Labels) > 0 {
		which = "q.needs <> '' AND q.needs = $3"
		args = append(args, strings.Join(t.Labels, " "))
	}
	err = tx.QueryRowContext(ctx, `SELECT count(*) FROM (SELECT 1 FROM queue q WHERE q.head AND q.state IN ('queued', 'released') AND NOT q.parked AND `+which+`
		AND (q.lane, q.place) < (SELECT m.lane, m.place FROM queue m WHERE m.task = $1) LIMIT $2) x`, args...).Scan(&n)
	return n, err
}
