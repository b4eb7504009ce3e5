package tasklog

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/db"
)

// Reader reads logs, through any node.
type Reader struct {
	DB    *db.DB
	Blobs blob.Store
}

// page is how many chunks one read transaction takes; an agent's answer, which is one chunk, has 1 MiB at most.
const page = 32

// Each calls yield with every entry after the given number, in order, and returns the last number seen.
// It holds no transaction while yield runs.
func (r Reader) Each(ctx context.Context, task string, after int64, yield func(Entry) error) (int64, error) {
	for {
		var bodies []string
		var sealed string
		err := r.DB.Read(ctx, func(tx *db.Tx) error {
			bodies, sealed = nil, ""
			// The chunk that holds the next entry is the last one that starts at or before it.
			rows, err := tx.QueryContext(ctx, `SELECT body FROM log_chunk
				WHERE task = $1 AND seq >= COALESCE((SELECT MAX(seq) FROM log_chunk WHERE task = $1 AND seq <= $2), 0) ORDER BY seq LIMIT $3`, task, after+1, page)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var body string
				if err := rows.Scan(&body); err != nil {
					return err
				}
				bodies = append(bodies, body)
			}
			if err := errors.Join(rows.Err(), rows.Close()); err != nil {
				return err
			}
			// After the chunks: whoever looked for the blob first could miss both, when the log is sealed in between.
			err = tx.QueryRowContext(ctx, `SELECT blob FROM log_sealed WHERE task = $1`, task).Scan(&sealed)
			if errors.Is(err, sql.ErrNoRows) {
				return nil
			}
			return err
		})
		if err != nil {
			return after, fmt.Errorf("read log of %s: %w", task, err)
		}
		if sealed != "" {
			return r.eachSealed(ctx, sealed, after, yield)
		}
		for _, body := range bodies {
			if after, err = decode(strings.NewReader(body), after, yield); err != nil {
				return after, err
			}
		}
		if len(bodies) < page {
			return after, nil
		}
	}
}

// eachSealed reads the one blob that took the place of the chunks.
func (r Reader) eachSealed(ctx context.Context, key string, after int64, yield func(Entry) error) (int64, error) {
	file, err := r.Blobs.Open(ctx, key, 0)
	if err != nil {
		return after, fmt.Errorf("open sealed log: %w", err)
	}
	defer file.Close()
	plain, err := zstd.NewReader(file, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return after, err
	}
	defer plain.Close()
	return decode(plain, after, yield)
}

// decode reads JSON lines and passes on those behind after.
func decode(from io.Reader, after int64, yield func(Entry) error) (int64, error) {
	lines := bufio.NewReaderSize(from, 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var entry Entry
			if err := json.Unmarshal(line, &entry); err != nil {
				return after, fmt.Errorf("log entry after %d: %w", after, err)
			}
			if entry.Number > after {
				if err := yield(entry); err != nil {
					return after, err
				}
				after = entry.Number
			}
		}
		if errors.Is(err, io.EOF) {
			return after, nil
		}
		if err != nil {
			return after, err
		}
	}
}
