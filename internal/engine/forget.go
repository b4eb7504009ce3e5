package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/engine/tasklog"
)

// ledger are the tables that keep what a task did. Artifacts and logs have blobs and go apart.
var ledger = []string{"plan", "step_run", "script_run", "output_variable", "task_mask", "run_lock", "repository_check"}

// forgetTasks deletes ended tasks with all that was kept of them. Rows go now, in the caller's transaction; their blobs
// follow after a grace (sweepDropped), so that whoever reads one just now comes to its end.
func forgetTasks(ctx context.Context, tx *db.Tx, tasks []string) error {
	if len(tasks) == 0 {
		return nil
	}
	in, args := inTasks(tasks)
	for _, table := range ledger {
		if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+in, args...); err != nil {
			return fmt.Errorf("forget tasks: %w", err)
		}
	}
	blobs, err := texts(ctx, tx, "DELETE FROM artifact"+in+" RETURNING blob", args...)
	if err != nil {
		return fmt.Errorf("forget artifacts: %w", err)
	}
	logs, err := tasklog.Forget(ctx, tx, tasks)
	if err != nil {
		return err
	}
	for _, key := range append(blobs, logs...) {
		if _, err := tx.ExecContext(ctx, `INSERT INTO dropped_blob (key, since) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET since = excluded.since`, key, tx.Ms()); err != nil {
			return fmt.Errorf("drop a blob: %w", err)
		}
	}
	if err := control.ForgetTasks(ctx, tx, tasks); err != nil {
		return err
	}
	_, err = cluster.DeleteEnded(ctx, tx, tasks...)
	return err
}

// lingering tells which of some tasks have scripts that an agent has not forgotten yet. Their rows are the only ones that
// know of them (sweep.go), so such tasks stay until the agent has answered or was given up.
func lingering(ctx context.Context, tx *db.Tx, tasks []string) (map[string]bool, error) {
	out := map[string]bool{}
	in, args := inTasks(tasks)
	list, err := texts(ctx, tx, "SELECT DISTINCT task FROM script_run"+in+" AND state IN ('planned', 'started', 'ended') AND place <> ''", args...)
	for _, t := range list {
		out[t] = true
	}
	return out, err
}

func inTasks(tasks []string) (where string, args []any) {
	args = make([]any, len(tasks))
	for i, t := range tasks {
		args[i] = t
	}
	return " WHERE task IN (" + db.List(1, len(args)) + ")", args
}

// texts reads a column.
func texts(ctx context.Context, tx *db.Tx, query string, args ...any) ([]string, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, rows.Err()
}

// droppedGrace is how long the content of deleted artifacts and logs stays (M12).
const droppedGrace = 24 * time.Hour

// sweepDropped removes blobs whose rows were deleted a grace ago. It may be interrupted anywhere and repeated: the row that
// names a blob goes after it. A blob that another artifact shares stays: artifacts did so before each had its own (artifact.go).
func (e *Engine) sweepDropped(ctx context.Context, hold func(context.Context, *db.Tx) error, grace time.Duration) (removed int, err error) {
	for {
		var keys, going []string
		err := e.DB.InTx(ctx, func(tx *db.Tx) (err error) {
			if err := hold(ctx, tx); err != nil {
				return err
			}
			keys, err = texts(ctx, tx, "SELECT d.key FROM dropped_blob d WHERE d.since <= $1 ORDER BY d.since, d.key LIMIT 50", tx.Now.Add(-grace).UnixMilli())
			if err != nil || len(keys) == 0 {
				return err
			}
			args := make([]any, len(keys))
			for i, key := range keys {
				args[i] = key
			}
			used, err := texts(ctx, tx, "DELETE FROM dropped_blob WHERE key IN ("+db.List(1, len(args))+`)
				AND EXISTS (SELECT 1 FROM artifact a WHERE a.blob = dropped_blob.key) RETURNING key`, args...)
			going = slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return slices.Contains(used, key) })
			return err
		})
		if err != nil || len(keys) == 0 {
			return removed, err
		}
		for _, key := range going {
			if err := e.Blobs.Delete(ctx, key); err != nil {
				return removed, err
			}
			err := e.DB.InTx(ctx, func(tx *db.Tx) error {
				_, err := tx.ExecContext(ctx, "DELETE FROM dropped_blob WHERE key = $1", key)
				return err
			})
			if err != nil {
				return removed, err
			}
			removed++
		}
	}
}
