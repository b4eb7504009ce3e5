package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

// fill queues n ready tasks and m that wait behind them, without the ceremony of Push.
func fill(t testing.TB, d *db.DB, n int) {
	t.Helper()
	in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
		const numbers = `WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < $1) `
		if _, err := tx.ExecContext(ctx, `INSERT INTO task (id, number, space, kind, description, search, arguments, turn, priority,
				project, environment, tenant, runbook, batch, created, queue_time, state, updated)
			`+numbers+`SELECT 'Fill-' || i, -i, '', 'Deploy', '', '', '{}', 'fill ' || (i % 1000), FALSE, '', '', '', '', '', 0, 0, 'live', 0 FROM s`, n); err != nil {
			return nil, err
		}
		return tx.ExecContext(ctx, `INSERT INTO queue (task, kind, turn, lane, place, state, due, head, queue_time, updated)
			`+numbers+`SELECT 'Fill-' || i, 'Deploy', 'fill ' || (i % 1000), 3, -i, 'queued', TRUE, i <= 1000, 0, 0 FROM s`, n)
	})
}

// A claim is a range scan of the index of ready heads, with empty and with full tables, whatever the
// statistics say (performance.md 3.11, trap 2).
func TestClaimIsAnIndexScan(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		epoch := node(t, d, "n1", 8)
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
			return nil, SetSpaceStopped(ctx, tx, "Spaces-9", true)
		})
		for _, c := range []struct {
			size   int
			serves []string
		}{{0, nil}, {0, []string{"gpu", "gpu zone=eu"}}, {20_000, nil}, {20_000, []string{"gpu"}}} {
			if c.size > 0 && c.serves == nil {
				fill(t, d, c.size)
			}
			var plan strings.Builder
			err := d.Queue(t.Context(), func(tx *db.Tx) error {
				text, args := claimText(tx.Engine(), claimer{node: "n1", epoch: epoch, most: 1000, kinds: []string{"Deploy", "Health"}, serves: c.serves}, tx.Ms())
				explain := "EXPLAIN QUERY PLAN " + text
				if tx.Engine() == db.Postgres { // prepared, since the driver runs it so: a plan without the values
					more, values := strings.Repeat(", text", len(args)-5), strings.Repeat(", 'gpu'", len(args)-5)
					if _, err := tx.ExecContext(t.Context(), "PREPARE claim (text, bigint, bigint, bigint, bigint"+more+") AS "+text); err != nil {
						return err
					}
					defer tx.ExecContext(t.Context(), "DEALLOCATE claim")
					explain, args = "EXPLAIN EXECUTE claim ('n1', 1, 0, 1, 1000"+values+")", nil
				}
				rows, err := tx.QueryContext(t.Context(), explain, args...)
				if err != nil {
					return err
				}
				defer rows.Close()
				for rows.Next() {
					var line string
					if tx.Engine() == db.Postgres {
						err = rows.Scan(&line)
					} else {
						err = rows.Scan(new(int), new(int), new(int), &line)
					}
					if err != nil {
						return err
					}
					fmt.Fprintln(&plan, line)
				}
				return rows.Err()
			})
			if err != nil {
				t.Fatal(err)
			}
			text := plan.String()
			// The ranges of several sets of labels are merged: a sort of what the ranges gave, which is a claim's size.
			sorted := strings.Contains(text, "Sort") || strings.Contains(text, "TEMP B-TREE FOR ORDER")
			if !strings.Contains(text, "queue_ready") || strings.Contains(text, "Seq Scan on queue") || strings.Contains(text, "SCAN queue\n") ||
				sorted && c.serves == nil || strings.Count(text, "queue_labelled") != len(c.serves) {
				t.Errorf("with %d tasks, serving %q:\n%s", c.size, c.serves, text)
			}
		}
		if got := ids(claims(t, d, "n1", epoch, 0)); got != "Fill-1000 Fill-999 Fill-998 Fill-997 Fill-996 Fill-995 Fill-994 Fill-993" {
			t.Errorf("claimed %s", got)
		}
	})
}
