package engine

import (
	"context"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/secret"
)

// seal encrypts a value that lives in one of our own rows. Rows of running work are not moved between spaces,
// and what they are about is in the row's key.
func (e *Engine) seal(table, row string, plain []byte) ([]byte, error) {
	return e.Ring.Seal(secret.Place{Table: table, Column: "sealed", Row: row}, plain)
}

func (e *Engine) unseal(table, row string, sealed []byte) ([]byte, error) {
	return e.Ring.Open(secret.Place{Table: table, Column: "sealed", Row: row}, sealed)
}

// secretText opens a secret that a document refers to.
func (e *Engine) secretText(ctx context.Context, tx *db.Tx, space, id string) (string, error) {
	return secret.Get(ctx, tx, e.Ring, space, id)
}
