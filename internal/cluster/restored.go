package cluster

import (
	"context"

	"github.com/octavo/octavo/internal/db"
)

// Restored begins a new history after all rows came back from a backup: no node of the old one is up, nobody leads, and whatever
// an older owner still does is refused (I14). The incarnation is a time in seconds, above all there were, so that two restores
// of one backup never share one.
func Restored(ctx context.Context, tx *db.Tx) error {
	if err := RaiseIncarnation(ctx, tx); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE cluster SET incarnation = $1 WHERE incarnation < $1", tx.Now.Unix()); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE node SET state = 'stopped', gone = $1, trouble = '', epoch = epoch + 1 WHERE state = 'up'", tx.Ms()); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE lease SET holder = ''")
	return err
}
