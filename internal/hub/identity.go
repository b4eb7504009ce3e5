package hub

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/halibut"
	"github.com/octavo/octavo/internal/secret"
)

// certificateName is the one that every agent is told to trust, whichever node it meets.
const certificateName = "certificate-global"

// Identity reads the cluster's certificate, which the first node of all makes.
func Identity(ctx context.Context, d *db.DB, ring *secret.Ring) (identity *halibut.Identity, err error) {
	fresh, err := halibut.NewIdentity("Octavo")
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	text, err := fresh.PEM()
	if err != nil {
		return nil, err
	}
	err = d.InTx(ctx, func(tx *db.Tx) error {
		stored, err := read(ctx, tx, ring)
		if errors.Is(err, sql.ErrNoRows) {
			if err := insert(ctx, tx, ring, string(text)); err != nil {
				return err
			}
			stored, err = read(ctx, tx, ring) // ours, or that of a node that was quicker
		}
		if err != nil {
			return err
		}
		identity, err = halibut.ParseIdentity([]byte(stored))
		return err
	})
	return identity, err
}

func read(ctx context.Context, tx *db.Tx, ring *secret.Ring) (string, error) {
	var id string
	if err := tx.QueryRowContext(ctx, `SELECT secret FROM comms_certificate WHERE name = $1`, certificateName).Scan(&id); err != nil {
		return "", err
	}
	return secret.Get(ctx, tx, ring, "", id)
}

func insert(ctx context.Context, tx *db.Tx, ring *secret.Ring, text string) error {
	id, err := secret.Put(ctx, tx, ring, "", text)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO comms_certificate (name, secret) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, certificateName, id)
	return err
}
