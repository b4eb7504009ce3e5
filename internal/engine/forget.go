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

// forgetAtOnce is how many tasks go in one transaction: SQLite has one writer, which others wait for.
const forgetAtOnce = 50

// errLingers keeps what an agent still has to be asked about.
const errLingers = errLeft("an agent still has to forget scripts of its deployments")

// forgetRelease deletes a release: the oldest of its deployments some at a time, then itself with the newest. It may die
// anywhere: what is left is found to be old again. needed asks in each transaction whether another release came to need it.
func (c *cleaning) forgetRelease(ctx context.Context, space, id string, judged []string, needed func(*db.Tx) (bool, error)) error {
	look := func(tx *db.Tx, forget func() (tasks []string, why string, err error)) ([]string, error) {
		if is, err := needed(tx); err != nil {
			return nil, err
		} else if is {
			return nil, errLeft("another release has come to need it")
		}
		tasks, why, err := forget()
		if err != nil {
			return nil, err
		}
		if why != "" {
			return nil, errLeft(why)
		}
		for some := range slices.Chunk(tasks, 500) {
			if left, err := lingering(ctx, tx, some); err != nil {
				return nil, err
			} else if len(left) > 0 {
				return nil, errLingers
			}
		}
		return tasks, nil
	}
	var old []control.OldDeployment
	err := c.DB.Read(ctx, func(tx *db.Tx) error {
		_, err := look(tx, func() (tasks []string, why string, err error) {
			old, tasks, why, err = control.DeploymentsToForget(ctx, tx, space, id, judged)
			return tasks, why, err
		})
		return err
	})
	if err != nil {
		return err
	}
	for len(old) > forgetAtOnce {
		some := old[:min(forgetAtOnce, len(old)-forgetAtOnce)]
		old = old[len(some):]
		if err := c.goOn(ctx); err != nil {
			return err
		}
		if err := c.store(ctx, "retention deployments", func(tx *db.Tx) error {
			tasks, err := look(tx, func() ([]string, string, error) { return control.ForgetDeployments(ctx, tx, space, id, some, judged) })
			if err != nil {
				return err
			}
			return forgetTasks(ctx, tx, tasks)
		}); err != nil {
			return err
		}
	}
	return c.store(ctx, "retention release", func(tx *db.Tx) error {
		tasks, err := look(tx, func() ([]string, string, error) { return control.ForgetRelease(ctx, tx, space, id, judged) })
		if err != nil {
			return err
		}
		return forgetTasks(ctx, tx, tasks)
	})
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
