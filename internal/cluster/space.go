package cluster

import (
	"context"
	"database/sql"
	"errors"

	"github.com/octavo/octavo/internal/db"
)

// SetSpaceStopped stops the queue of a space, or lets it go on (behaviour.md 2.6, TaskQueueStopped). From the commit on no
// claim takes a queued task of a stopped space; tasks that have begun go on.
//
// That is one row, which every claim reads, so it costs the same however many tasks wait. Nodes then park the waiting tasks
// bit by bit, so that claims need not pass over them; parking is for speed only.
func SetSpaceStopped(ctx context.Context, tx *db.Tx, space string, stopped bool) error {
	query := "INSERT INTO queue_stop (space, stopped, swept, done) VALUES ($1, TRUE, '', FALSE) ON CONFLICT (space) DO UPDATE SET stopped = TRUE, swept = '', done = FALSE"
	if !stopped {
		query = "UPDATE queue_stop SET stopped = FALSE WHERE space = $1"
	}
	if _, err := tx.ExecContext(ctx, query, space); err != nil {
		return err
	}
	tx.Hint(lookTopic)
	if stopped {
		return nil
	}
	_, err := unpark(ctx, tx, space)
	return err
}

// parkBatch is how many tasks are parked or unparked in one transaction.
const parkBatch = 500

// unpark lets claims see a bit of a space's tasks again, the first ones first. With the last of them the row goes.
func unpark(ctx context.Context, tx *db.Tx, space string) (more bool, err error) {
	var stopped bool
	err = tx.QueryRowContext(ctx, "SELECT stopped FROM queue_stop WHERE space = $1"+tx.ForUpdate(), space).Scan(&stopped)
	if stopped || errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	res, err := tx.ExecContext(ctx, `UPDATE queue SET parked = FALSE
		WHERE task IN (SELECT q.task FROM queue q WHERE q.parked AND q.space = $1 ORDER BY q.lane, q.place LIMIT $2)`, space, parkBatch)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return false, err
	}
	hintWork(tx)
	if n == parkBatch {
		return true, nil
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM queue_stop WHERE space = $1", space)
	return false, err
}

// park hides a bit of a stopped space's waiting tasks from claims. It goes through the queue once; claims pass over what is
// pushed later. The row's lock keeps it from parking what is being unparked.
func park(ctx context.Context, tx *db.Tx, space string) (more bool, err error) {
	var from string
	err = tx.QueryRowContext(ctx, "SELECT swept FROM queue_stop WHERE space = $1 AND stopped AND NOT done"+tx.ForUpdate(), space).Scan(&from)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	to := sql.NullString{}
	if err := tx.QueryRowContext(ctx, "SELECT max(x.task) FROM (SELECT q.task FROM queue q WHERE q.task > $1 ORDER BY q.task LIMIT $2) x", from, parkBatch).Scan(&to); err != nil {
		return false, err
	}
	if !to.Valid {
		_, err = tx.ExecContext(ctx, "UPDATE queue_stop SET done = TRUE WHERE space = $1", space)
		return false, err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE queue SET parked = TRUE WHERE task > $1 AND task <= $2 AND space = $3 AND state = 'queued' AND NOT parked", from, to.String, space); err != nil {
		return false, err
	}
	_, err = tx.ExecContext(ctx, "UPDATE queue_stop SET swept = $2 WHERE space = $1", space, to.String)
	return true, err
}

// unfinished lists spaces with tasks to park or to unpark.
func unfinished(ctx context.Context, tx *db.Tx) (spaces []string, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT space FROM queue_stop WHERE NOT (stopped AND done)")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var space string
		if err := rows.Scan(&space); err != nil {
			return nil, err
		}
		spaces = append(spaces, space)
	}
	return spaces, rows.Err()
}
