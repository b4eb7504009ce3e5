package cluster

import (
	"context"
	"errors"
	"slices"

	"github.com/octavo/octavo/internal/db"
)

// Queued lists the tasks of a turn that wait in the queue, the first one first. Scheduled ones whose time has not come are
// not among them.
func Queued(ctx context.Context, tx *db.Tx, turn string) ([]Task, error) {
	const of = "SELECT " + taskColumns + " FROM queue q JOIN task t ON t.id = q.task WHERE q.turn = $1 AND q.state = 'queued' AND "
	tasks, err := queryTasks(ctx, tx, of+"q.head", turn) // at most one: two questions, so that each has its index
	if err != nil {
		return nil, err
	}
	behind, err := queryTasks(ctx, tx, of+"NOT q.head AND q.due ORDER BY q.lane, q.place", turn)
	return append(tasks, behind...), err
}

// Supersede cancels queued tasks that a newer one makes needless, and gives it the place of the first of them
// (behaviour.md 2.6). It gives those it cancelled; one that has begun meanwhile goes on.
func Supersede(ctx context.Context, tx *db.Tx, by Task, older []string) (cancelled []string, err error) {
	if err := lockTurn(ctx, tx, by.Turn); err != nil {
		return nil, err
	}
	reason := "Superseded by " + by.Id + ": " + by.Description + "."
	lane, place := int64(laneRegular+1), int64(0)
	for _, task := range slices.Sorted(slices.Values(older)) {
		turn, err := lockTurnOf(ctx, tx, task)
		if err != nil {
			return nil, err
		}
		var l, p int64
		err = tx.QueryRowContext(ctx, "SELECT lane, place FROM queue WHERE task = $1 AND state = 'queued' AND due"+tx.ForUpdate(), task).Scan(&l, &p)
		if err = fencedIfNone(err); err == nil {
			err = end(ctx, tx, task, turn, Canceled, reason, " WHERE task = $1 AND state = 'queued'", task)
		}
		if errors.Is(err, ErrFenced) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if l < lane || l == lane && p < place {
			lane, place = l, p
		}
		cancelled = append(cancelled, task)
	}
	if len(cancelled) == 0 {
		return nil, nil
	}
	_, err = tx.ExecContext(ctx, "UPDATE queue SET lane = $2, place = $3 WHERE task = $1 AND state = 'queued' AND due AND (lane, place) > ($2, $3)", by.Id, lane, place)
	if err != nil {
		return nil, err
	}
	tx.Hint(queueTopic)
	return cancelled, reorder(ctx, tx, by.Turn)
}
