package secret

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
)

func placeOf(id, space string) Place {
	return Place{Table: "secret", Column: "sealed", Row: id, Space: space}
}

// Put seals a value into a row of its own and gives the row's id, which nobody can guess. A changed value is
// a new row, since snapshots hold on to the old one.
func Put(ctx context.Context, tx *db.Tx, ring *Ring, space, plain string) (string, error) {
	id := "Secrets-" + rand.Text()
	sealed, err := ring.Seal(placeOf(id, space), []byte(plain))
	if err != nil {
		return "", err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO secret (id, space, key, sealed, created) VALUES ($1, $2, $3, $4, $5)",
		id, space, ring.KeyID(), sealed, tx.Ms())
	if db.IsForeignKey(err) {
		return "", fmt.Errorf("master key %s was taken out of use; restart this node with the new key: %w", ring.KeyID(), err)
	}
	if err != nil {
		return "", fmt.Errorf("store secret: %w", err)
	}
	return id, nil
}

// Get opens a value. One of another space is not found.
func Get(ctx context.Context, tx *db.Tx, ring *Ring, space, id string) (string, error) {
	var sealed []byte
	err := tx.QueryRowContext(ctx, "SELECT sealed FROM secret WHERE id = $1 AND space = $2", id, space).Scan(&sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return "", fault.NotFoundf("The stored secret %s is not there.", id)
	}
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	plain, err := ring.Open(placeOf(id, space), sealed)
	return string(plain), err
}

// GetAll opens many values at once, for a deployment's variables. A missing one is an error, so that no
// script runs with half its secrets.
func GetAll(ctx context.Context, tx *db.Tx, ring *Ring, space string, ids []string) (map[string]string, error) {
	out := make(map[string]string, len(ids))
	const most = 500 // placeholders in one statement
	for start := 0; start < len(ids); start += most {
		part := ids[start:min(start+most, len(ids))]
		args := []any{space}
		for _, id := range part {
			args = append(args, id)
		}
		if err := getPart(ctx, tx, ring, space, args, len(part), out); err != nil {
			return nil, err
		}
	}
	for _, id := range ids {
		if _, ok := out[id]; !ok {
			return nil, fault.NotFoundf("The stored secret %s is not there.", id)
		}
	}
	return out, nil
}

func getPart(ctx context.Context, tx *db.Tx, ring *Ring, space string, args []any, n int, out map[string]string) error {
	rows, err := tx.QueryContext(ctx, "SELECT id, sealed FROM secret WHERE space = $1 AND id IN ("+db.List(2, n)+")", args...)
	if err != nil {
		return fmt.Errorf("read secrets: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var sealed []byte
		if err := rows.Scan(&id, &sealed); err != nil {
			return err
		}
		plain, err := ring.Open(placeOf(id, space), sealed)
		if err != nil {
			return err
		}
		out[id] = string(plain)
	}
	return rows.Err()
}

// Delete removes a value; that it is not there is no error.
func Delete(ctx context.Context, tx *db.Tx, space, id string) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM secret WHERE id = $1 AND space = $2", id, space); err != nil {
		return fmt.Errorf("delete secret: %w", err)
	}
	return nil
}

// Reseal seals up to limit values anew with the ring's first key, and tells how many. Call it in transactions
// of their own until it says 0; it may be interrupted at any point.
func Reseal(ctx context.Context, tx *db.Tx, ring *Ring, limit int) (int, error) {
	type row struct {
		id, space string
		sealed    []byte
	}
	var old []row
	rows, err := tx.QueryContext(ctx, "SELECT id, space, sealed FROM secret WHERE key <> $1 ORDER BY key, id LIMIT $2"+tx.ForUpdate(), ring.KeyID(), limit)
	if err != nil {
		return 0, fmt.Errorf("read secrets to seal anew: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.id, &r.space, &r.sealed); err != nil {
			return 0, err
		}
		old = append(old, r)
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	rows.Close()
	for _, r := range old {
		plain, err := ring.Open(placeOf(r.id, r.space), r.sealed)
		if err != nil {
			return 0, err
		}
		sealed, err := ring.Seal(placeOf(r.id, r.space), plain)
		if err != nil {
			return 0, err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE secret SET key = $1, sealed = $2 WHERE id = $3", ring.KeyID(), sealed, r.id); err != nil {
			return 0, fmt.Errorf("seal secret anew: %w", err)
		}
	}
	return len(old), nil
}

// Retire takes a master key out of the database, once nothing in the table secret is sealed with it any more.
// From then on a ring without it may start, and a node that still seals with it cannot store.
func Retire(ctx context.Context, tx *db.Tx, id string) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM master_key WHERE id = $1", id)
	if db.IsForeignKey(err) {
		return fault.Conflictf("Some secrets are still sealed with master key %s. Seal them anew first.", id)
	}
	if err != nil {
		return fmt.Errorf("retire master key: %w", err)
	}
	return nil
}
