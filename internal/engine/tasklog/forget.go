package tasklog

import (
	"context"
	"fmt"

	"github.com/octavo/octavo/internal/db"
)

// Forget deletes the logs of ended tasks, and who ran them. It gives the keys of the sealed ones, whose blobs the caller
// drops once the transaction is committed.
func Forget(ctx context.Context, tx *db.Tx, tasks []string) (blobs []string, err error) {
	args := make([]any, len(tasks))
	for i, t := range tasks {
		args[i] = t
	}
	in := " WHERE task IN (" + db.List(1, len(args)) + ")"
	for _, table := range []string{"log_chunk", "task_run"} {
		if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+in, args...); err != nil {
			return nil, fmt.Errorf("forget logs: %w", err)
		}
	}
	rows, err := tx.QueryContext(ctx, "DELETE FROM log_sealed"+in+" RETURNING blob", args...)
	if err != nil {
		return nil, fmt.Errorf("forget logs: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			return nil, fmt.Errorf("forget logs: %w", err)
		}
		blobs = append(blobs, key)
	}
	return blobs, rows.Err()
}
