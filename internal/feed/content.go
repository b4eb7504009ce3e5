package feed

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/db"
)

// Grace is how long the content of a deleted version, or of an upload that died, is kept (M12).
const Grace = 24 * time.Hour

// Open reads the content of a version that Find, Get or a list gave, from offset to the end.
func (r Repository) Open(ctx context.Context, p Package, offset int64) (io.ReadCloser, error) {
	return r.Blobs.Open(ctx, p.blob, offset)
}

// Reader reads the content and seeks in it, for Range requests. Close it.
func (r Repository) Reader(ctx context.Context, p Package) *blob.Reader {
	return blob.NewReader(ctx, r.Blobs, p.blob, p.PackageSizeBytes)
}

// Verify reads a version's content back and holds it against its recorded size and SHA-256 (I10).
func (r Repository) Verify(ctx context.Context, p Package) error {
	return blob.Verify(ctx, r.Blobs, p.blob, p.PackageSizeBytes, p.Sha256)
}

// Sweep removes content that no version has used for the grace, and tells how much. It may be interrupted
// anywhere and run on several nodes at once.
func (r Repository) Sweep(ctx context.Context, grace time.Duration) (int, error) {
	removed := 0
	for {
		keys, err := r.drop(ctx, grace)
		if err != nil || len(keys) == 0 {
			return removed, err
		}
		for _, key := range keys {
			if err := r.Blobs.Delete(ctx, key); err != nil {
				return removed, err
			}
			err := r.DB.InTx(ctx, func(tx *db.Tx) error {
				_, err := tx.ExecContext(ctx, "DELETE FROM package_blob WHERE key = $1 AND state = 'dropping'", key)
				return err
			})
			if err != nil {
				return removed, fmt.Errorf("forget package blob: %w", err)
			}
			removed++
		}
	}
}

// drop marks a few unused blobs, after which no upload takes them any more. The row is the same one an
// upload claims, so one of the two comes first and the other one sees it. Its time starts anew, so that no
// other node removes the same blob, until it is clear that this one died over it.
func (r Repository) drop(ctx context.Context, grace time.Duration) (keys []string, err error) {
	err = r.DB.InTx(ctx, func(tx *db.Tx) error {
		marked, err := readKeys(tx.QueryContext(ctx, `UPDATE package_blob SET state = 'dropping', since = $2
			WHERE since <= $1 AND key IN (SELECT b.key FROM package_blob b WHERE b.since <= $1
				AND NOT EXISTS (SELECT 1 FROM package p WHERE p.blob = b.key) ORDER BY b.since, b.key LIMIT 50)
			RETURNING key`, tx.Now.Add(-grace).UnixMilli(), tx.Ms()))
		if err != nil {
			return err
		}
		// The rows are ours now. An upload that we waited for may have entered a version: only a new
		// statement sees it.
		args := make([]any, len(marked))
		for i, key := range marked {
			args[i] = key
		}
		used, err := readKeys(tx.QueryContext(ctx, `UPDATE package_blob SET state = 'kept' WHERE key IN (`+db.List(1, len(marked))+`)
			AND EXISTS (SELECT 1 FROM package p WHERE p.blob = package_blob.key) RETURNING key`, args...))
		keys = slices.DeleteFunc(marked, func(key string) bool { return slices.Contains(used, key) })
		return err
	})
	return keys, err
}

func readKeys(rows *sql.Rows, err error) ([]string, error) {
	if err != nil {
		return nil, fmt.Errorf("find unused package blobs: %w", err)
	}
	defer rows.Close()
	var keys []string
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			return nil, fmt.Errorf("find unused package blobs: %w", err)
		}
		keys = append(keys, key)
	}
	return keys, rows.Err()
}
