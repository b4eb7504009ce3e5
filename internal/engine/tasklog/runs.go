package tasklog

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
)

// Ending is how one node's part in a task was over.
type Ending string

// How a node's part ends. Lost is written by the next owner: the node died, or was declared dead.
const (
	Ended      Ending = "Ended"
	Waited     Ending = "Waited" // for a person or a child
	HandedOver Ending = "HandedOver"
	Lost       Ending = "Lost"
)

// Run is one node's part in a task: the time under one claim.
type Run struct {
	Claim      int64
	ServerNode string // the wire's id of the node
	Epoch      int64  // which of the node's registrations
	StartTime  time.Time
	EndTime    *time.Time
	Ending     Ending // "" while it goes on
}

// BeginRun notes that a node begins with a task or goes on with it. The fence is held.
func BeginRun(ctx context.Context, tx *db.Tx, f cluster.Fence, node string, epoch int64) error {
	if f.Claim > 1 {
		if _, err := tx.ExecContext(ctx, `UPDATE task_run SET ended = $2, ending = $3 WHERE task = $1 AND ended IS NULL`, f.Task, tx.Ms(), Lost); err != nil {
			return fmt.Errorf("end of an earlier run: %w", err)
		}
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO task_run (task, incarnation, claim, node, epoch, started, ending) VALUES ($1, $2, $3, $4, $5, $6, '')`,
		f.Task, f.Incarnation, f.Claim, node, epoch, tx.Ms())
	return err
}

// EndRun notes that the part under this fence is over. The fence is held.
func EndRun(ctx context.Context, tx *db.Tx, f cluster.Fence, how Ending) error {
	_, err := tx.ExecContext(ctx, `UPDATE task_run SET ended = $4, ending = $5 WHERE task = $1 AND incarnation = $2 AND claim = $3 AND ended IS NULL`,
		f.Task, f.Incarnation, f.Claim, tx.Ms(), how)
	return err
}

// Waits counts a task's parts that ended in waiting.
func Waits(ctx context.Context, tx *db.Tx, task string) (n int64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT count(*) FROM task_run WHERE task = $1 AND ending = $2`, task, Waited).Scan(&n)
	return n, err
}

// Runs lists who ran a task, the first one first.
func (r Reader) Runs(ctx context.Context, task string) (runs []Run, err error) {
	err = r.DB.Read(ctx, func(tx *db.Tx) error {
		runs = nil
		rows, err := tx.QueryContext(ctx, `SELECT claim, node, epoch, started, ended, ending FROM task_run WHERE task = $1 ORDER BY incarnation, claim`, task)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var run Run
			var node string
			var started int64
			var ended sql.NullInt64
			if err := rows.Scan(&run.Claim, &node, &run.Epoch, &started, &ended, &run.Ending); err != nil {
				return err
			}
			run.ServerNode, run.StartTime = cluster.NodeId(node), time.UnixMilli(started).UTC()
			if ended.Valid {
				at := time.UnixMilli(ended.Int64).UTC()
				run.EndTime = &at
			}
			runs = append(runs, run)
		}
		return rows.Err()
	})
	return runs, err
}
