package cluster

import (
	"context"
	"fmt"

	"github.com/octavo/octavo/internal/db"
)

// Depth is how many live tasks stand in one place, and since when the oldest of them waits there, in seconds.
type Depth struct {
	State  State
	Reason string // of a queued one: slot, turn, label, stopped or scheduled
	Tasks  int
	Oldest float64
}

// Depths counts the live tasks by where they stand and, if they wait to start, by what for. It reads the whole queue, which holds live tasks only.
func Depths(ctx context.Context, tx *db.Tx) ([]Depth, error) {
	rows, err := tx.QueryContext(ctx, `SELECT x.state, x.reason, count(*), min(x.since) FROM (
			SELECT q.state, CASE WHEN q.state <> 'queued' THEN ''
				WHEN NOT q.due THEN 'scheduled'
				WHEN q.parked OR EXISTS (SELECT 1 FROM queue_stop s WHERE s.space = q.space AND s.stopped) THEN 'stopped'
				WHEN NOT q.head THEN 'turn'
				WHEN q.needs <> '' THEN 'label'
				ELSE 'slot' END AS reason, CASE WHEN q.state = 'queued' THEN q.queue_time ELSE q.updated END AS since
			FROM queue q) x GROUP BY 1, 2`)
	if err != nil {
		return nil, fmt.Errorf("depth of the queue: %w", err)
	}
	defer rows.Close()
	var out []Depth
	for rows.Next() {
		var d Depth
		var since int64
		if err := rows.Scan(&d.State, &d.Reason, &d.Tasks, &since); err != nil {
			return nil, err
		}
		if d.Reason != "scheduled" {
			d.Oldest = max(0, float64(tx.Ms()-since)/1000)
		}
		out = append(out, d)
	}
	return out, rows.Err()
}
