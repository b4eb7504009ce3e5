package tasklog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/octavo/octavo/internal/db"
)

// Seal turns an ended task's chunks into one compressed blob, verifies it, and drops the chunks.
// It may be called again at any time, on any node: the blob's name is its content.
func (r Reader) Seal(ctx context.Context, task string) error {
	spool, err := os.CreateTemp("", "octavo-seal-*")
	if err != nil {
		return fmt.Errorf("seal log of %s: %w", task, err)
	}
	defer os.Remove(spool.Name())
	defer spool.Close()

	packed, err := zstd.NewWriter(spool, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	plain := sha256.New()
	encode := json.NewEncoder(io.MultiWriter(packed, plain))
	encode.SetEscapeHTML(false)
	last, err := r.Each(ctx, task, 0, func(e Entry) error { return encode.Encode(e) })
	if err != nil {
		packed.Close()
		return fmt.Errorf("seal log of %s: %w", task, err)
	}
	if err := packed.Close(); err != nil {
		return err
	}
	if last == 0 {
		return nil
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum := plain.Sum(nil)
	key := "logs/" + task + "-" + hex.EncodeToString(sum[:8]) + ".jsonl.zst"
	if _, _, err := r.Blobs.Put(ctx, key, spool); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("seal log of %s: %w", task, err)
	}
	if err := r.verify(ctx, key, last, sum); err != nil {
		return fmt.Errorf("seal log of %s: %w", task, err)
	}
	return r.DB.InTx(ctx, func(tx *db.Tx) error {
		done, err := tx.ExecContext(ctx, `INSERT INTO log_sealed (task, blob, entries, sha256) VALUES ($1, $2, $3, $4) ON CONFLICT (task) DO NOTHING`,
			task, key, last, hex.EncodeToString(sum))
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return err // another node sealed it first
		}
		var end int64
		if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(seq + entries - 1), 0) FROM log_chunk WHERE task = $1`, task).Scan(&end); err != nil {
			return err
		}
		if end != last {
			return fmt.Errorf("seal log of %s: it grew from %d to %d entries meanwhile", task, last, end)
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM log_chunk WHERE task = $1`, task)
		return err
	})
}

// verify reads the blob back and compares number and hash of the entries.
func (r Reader) verify(ctx context.Context, key string, want int64, sum []byte) error {
	plain := sha256.New()
	encode := json.NewEncoder(plain)
	encode.SetEscapeHTML(false)
	got, err := r.eachSealed(ctx, key, 0, func(e Entry) error { return encode.Encode(e) })
	if err != nil {
		return err
	}
	if got != want || !bytes.Equal(plain.Sum(nil), sum) {
		return fmt.Errorf("the blob read back has other content: %d of %d entries", got, want)
	}
	return nil
}

// Unsealed lists ended tasks whose chunks still wait for sealing, oldest first.
func Unsealed(ctx context.Context, tx *db.Tx, limit int) ([]string, error) {
	rows, err := tx.QueryContext(ctx, `SELECT DISTINCT c.task FROM log_chunk c JOIN task t ON t.id = c.task
		WHERE t.state IN ('Success', 'Failed', 'Canceled', 'TimedOut') LIMIT $1`, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var tasks []string
	for rows.Next() {
		var task string
		if err := rows.Scan(&task); err != nil {
			return nil, err
		}
		tasks = append(tasks, task)
	}
	return tasks, rows.Err()
}
