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
	forgotten := false
	err = r.DB.InTx(ctx, func(tx *db.Tx) (err error) {
		forgotten, err = settle(ctx, tx, task, key, last, sum)
		return err
	})
	if err == nil && forgotten {
		err = r.Blobs.Delete(ctx, key) // no row names it
	}
	return err
}

// settle puts the blob in the place of the chunks. The chunks go first: who forgets the log at the same time (Forget) waits
// for that, and then finds the row of the blob; or has the chunks, and nothing is to be written any more.
func settle(ctx context.Context, tx *db.Tx, task, key string, last int64, sum []byte) (forgotten bool, err error) {
	rows, err := tx.QueryContext(ctx, `DELETE FROM log_chunk WHERE task = $1 RETURNING seq + entries - 1`, task)
	if err != nil {
		return false, err
	}
	end := int64(0)
	for rows.Next() {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return false, errors.Join(err, rows.Close())
		}
		end = max(end, seq)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return false, err
	}
	switch end {
	case 0: // another node sealed it first, or it was forgotten
		var n int
		err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM log_sealed WHERE task = $1`, task).Scan(&n)
		return n == 0, err
	case last:
		_, err := tx.ExecContext(ctx, `INSERT INTO log_sealed (task, blob, entries, sha256) VALUES ($1, $2, $3, $4)`, task, key, last, hex.EncodeToString(sum))
		return false, err
	}
	return false, fmt.Errorf("seal log of %s: it grew from %d to %d entries meanwhile", task, last, end)
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

// unsealed jumps from each task that has chunks to the next one, so that long logs of live tasks are not read through.
const unsealed = `WITH RECURSIVE has (task) AS (
		SELECT (SELECT task FROM log_chunk ORDER BY task LIMIT 1)
		UNION ALL SELECT (SELECT c.task FROM log_chunk c WHERE c.task > has.task ORDER BY c.task LIMIT 1) FROM has WHERE has.task IS NOT NULL)
	SELECT t.id FROM has JOIN task t ON t.id = has.task WHERE t.state IN ('Success', 'Failed', 'Canceled', 'TimedOut') LIMIT $1`

// Unsealed lists ended tasks whose chunks still wait for sealing.
func Unsealed(ctx context.Context, tx *db.Tx, limit int) ([]string, error) {
	rows, err := tx.QueryContext(ctx, unsealed, limit)
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
