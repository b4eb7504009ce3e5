package tasklog_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/engine/tasklog"
)

// during is a store that does something before it takes a blob.
type during struct {
	blob.Store
	do func()
}

func (s during) Put(ctx context.Context, key string, r io.Reader) (int64, string, error) {
	s.do()
	return s.Store.Put(ctx, key, r)
}

// TestALogForgottenWhileItIsSealed leaves neither rows nor a blob that no row names.
func TestALogForgottenWhileItIsSealed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		fence, r := running(t, d), reader(t, d)
		write(t, d, fence, 20)
		blobs := r.Blobs
		r.Blobs = during{blobs, func() {
			inTx(t, d, func(tx *db.Tx) error {
				_, err := tasklog.Forget(t.Context(), tx, []string{fence.Task})
				return err
			})
		}}
		if err := r.Seal(t.Context(), fence.Task); err != nil {
			t.Error(err)
		}
		for info, err := range blobs.List(t.Context(), "logs/") {
			t.Errorf("%s is left (%v)", info.Key, err)
		}
		inTx(t, d, func(tx *db.Tx) error {
			var n int
			if err := tx.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM log_sealed").Scan(&n); err != nil || n != 0 {
				t.Errorf("%d sealed logs are left (%v)", n, err)
			}
			return nil
		})
	})
}

// TestUnsealedReadsNoLiveLogs: the look goes on all the time, on every node; so a long log that still grows must not make it dear.
func TestUnsealedReadsNoLiveLogs(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		inTx(t, d, func(tx *db.Tx) error {
			do := func(query string, args ...any) error {
				_, err := tx.ExecContext(t.Context(), query, args...)
				return err
			}
			for i, state := range []string{"live", "Success", "Failed", "live", "Canceled"} {
				ended, chunks := any(1), 3
				if state == "live" {
					ended, chunks = nil, 10000
				}
				id := fmt.Sprintf("ServerTasks-%d", i+1)
				if err := do(`INSERT INTO task (id, number, space, kind, description, search, arguments, priority, project, environment, tenant, runbook, batch, created, queue_time, state, ended, updated)
					VALUES ($1, $2, '', 'Deploy', 'd', 's', '{}', FALSE, '', '', '', '', '', 1, 1, $3, $4, 1)`, id, i+1, state, ended); err != nil {
					return err
				}
				if err := do(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $2) INSERT INTO log_chunk (task, seq, entries, body) SELECT $1, i, 1, '' FROM n`, id, chunks); err != nil {
					return err
				}
			}
			return do("ANALYZE")
		})
		var got, plan []string
		if err := d.Read(t.Context(), func(tx *db.Tx) (err error) {
			if got, err = tasklog.Unsealed(t.Context(), tx, 20); err != nil {
				return err
			}
			explain := "EXPLAIN (ANALYZE, COSTS OFF) " + strings.Replace(tasklog.UnsealedQuery, "$1", "20", 1)
			if d.Engine() == db.SQLite {
				explain = "EXPLAIN QUERY PLAN " + strings.Replace(tasklog.UnsealedQuery, "$1", "20", 1)
			}
			rows, err := tx.QueryContext(t.Context(), explain)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var line string
				into := []any{&line}
				if d.Engine() == db.SQLite {
					into = []any{new(int), new(int), new(int), &line}
				}
				if err := rows.Scan(into...); err != nil {
					return err
				}
				plan = append(plan, line)
			}
			return rows.Err()
		}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		if diff := cmp.Diff([]string{"ServerTasks-2", "ServerTasks-3", "ServerTasks-5"}, got); diff != "" {
			t.Error(diff)
		}
		text := strings.Join(plan, "\n")
		searched := map[db.Engine]string{db.SQLite: "SEARCH c USING COVERING INDEX", db.Postgres: "Index Only Scan using log_chunk_pkey"}[d.Engine()]
		if !strings.Contains(text, searched) || strings.Contains(text, "Seq Scan on log_chunk") || strings.Contains(text, "rows=10000") || strings.Contains(text, "rows=20009") {
			t.Errorf("it reads what is there of live logs:\n%s", text)
		}
	})
}
