package cluster

import (
	"context"

	"github.com/octavo/octavo/internal/db"
)

// laters is what a view finds of them.
func laters(ctx context.Context, tx *db.Tx, where string) (found []later, err error) {
	err = tx.Send(ctx, laterStatement(tx, where, &found))
	return found, err
}
