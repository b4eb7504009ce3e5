package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/octavo/octavo/internal/db"
)

// Ended tasks are history; retention reads it from the newest on.

// Old is an ended task as retention looks at it (deployments.md K32).
type Old struct {
	Id     string
	Number int64
	Kind   string
	Ended  time.Time
}

// Olds gives ended tasks with a number below one, the newest first; below 0 begins with the newest of all.
func Olds(ctx context.Context, tx *db.Tx, below int64, limit int) ([]Old, error) {
	where, args := "", []any{limit}
	if below > 0 {
		where, args = " AND number < $2", append(args, below)
	}
	rows, err := tx.QueryContext(ctx, "SELECT id, number, kind, ended FROM task WHERE state <> 'live'"+where+" ORDER BY number DESC LIMIT $1", args...)
	if err != nil {
		return nil, fmt.Errorf("list ended tasks: %w", err)
	}
	defer rows.Close()
	var out []Old
	for rows.Next() {
		var o Old
		var ended int64
		if err := rows.Scan(&o.Id, &o.Number, &o.Kind, &ended); err != nil {
			return nil, fmt.Errorf("list ended tasks: %w", err)
		}
		o.Ended = time.UnixMilli(ended)
		out = append(out, o)
	}
	return out, rows.Err()
}
