package cluster

import (
	"context"
	"errors"
	"strings"

	"github.com/octavo/octavo/internal/db"
)

// Causes of a run's context's end.
var (
	// ErrFenced says that the task has another owner now, or that this node may no longer act:
	// stop everything and write nothing more.
	ErrFenced = errors.New("the task belongs to another node now")
	// ErrReleased says that the node lets the task go in good order: write down how far it came and
	// return; another node goes on.
	ErrReleased = errors.New("the node lets its tasks go")
)

// Fence is the proof that a run owns its task (reliability-and-security.md M3). Every claim raises the
// pair (Incarnation, Claim); a transaction that writes for the task begins with Hold or Lines.
type Fence struct {
	Task        string
	Incarnation int64
	Claim       int64
}

// Less tells that f was given out before g.
func (f Fence) Less(g Fence) bool {
	return f.Incarnation < g.Incarnation || f.Incarnation == g.Incarnation && f.Claim < g.Claim
}

// held compares the state in a way that no partial index knows: a plan through the index of running tasks reads its dead entries.
const held = " WHERE task = $1 AND incarnation = $2 AND claim = $3 AND state || '' = 'running'"

// Hold begins a transaction that writes for the task, or gives ErrFenced.
func (f Fence) Hold(ctx context.Context, tx *db.Tx) error {
	return f.update(ctx, tx, "UPDATE queue SET updated = $4"+held, tx.Ms())
}

// Lines is Hold that also gives out n log sequence numbers, first to first+n-1. They go on across owners.
func (f Fence) Lines(ctx context.Context, tx *db.Tx, n int) (first int64, err error) {
	var last int64
	row := tx.QueryRowContext(ctx, "UPDATE queue SET updated = $4, log_lines = log_lines + $5"+held+" RETURNING log_lines",
		f.Task, f.Incarnation, f.Claim, tx.Ms(), n)
	if err := row.Scan(&last); err != nil {
		return 0, fencedIfNone(err)
	}
	return last - int64(n) + 1, nil
}

// SetWarnings is Hold that also marks the task as one that warned.
func (f Fence) SetWarnings(ctx context.Context, tx *db.Tx) error {
	return f.update(ctx, tx, "UPDATE queue SET updated = $4, warnings = TRUE"+held, tx.Ms())
}

// SetPendingInterruptions is Hold that also says what a person is asked: kinds such as
// ManualIntervention or GuidedFailure. With none it says that nothing is asked any more.
func (f Fence) SetPendingInterruptions(ctx context.Context, tx *db.Tx, kinds ...string) error {
	return f.update(ctx, tx, "UPDATE queue SET updated = $4, interruptions = $5"+held, tx.Ms(), strings.Join(kinds, ","))
}

func (f Fence) update(ctx context.Context, tx *db.Tx, query string, more ...any) error {
	res, err := tx.ExecContext(ctx, query, append([]any{f.Task, f.Incarnation, f.Claim}, more...)...)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		return ErrFenced
	}
	return err
}
