package cluster

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

// Whatever happens to ended tasks, the tally is what counting them would give.
func TestTally(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		epoch := node(t, d, "n1", 8)
		check := func(what string, want map[string]int) {
			t.Helper()
			got := in(t, d, func(ctx context.Context, tx *db.Tx) (map[string]int, error) {
				_, counts, err := Totals(ctx, tx, Filter{})
				for state, n := range counts {
					if n == 0 {
						delete(counts, state)
					}
				}
				return counts, err
			})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
			in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
				var wrong int
				err := tx.QueryRowContext(ctx, `SELECT count(*) FROM (SELECT space, project, environment, kind, state, sum(n) AS n FROM task_tally GROUP BY 1, 2, 3, 4, 5) y WHERE y.n <> (SELECT count(*) FROM task t
					WHERE t.space = y.space AND t.project = y.project AND t.environment = y.environment AND t.kind = y.kind AND t.state = y.state)`).Scan(&wrong)
				if wrong != 0 {
					t.Errorf("%s: %d rows of the tally are wrong", what, wrong)
				}
				return nil, err
			})
		}
		for range 3 {
			push(t, d, NewTask{SpaceId: "Spaces-1", ProjectId: "Projects-1"})
		}
		push(t, d, NewTask{SpaceId: "Spaces-2"})
		check("pushed", map[string]int{"Queued": 4})
		for _, claimed := range claims(t, d, "n1", epoch, 0) {
			if err := end1(t, d, claimed, Success); err != nil {
				t.Fatal(err)
			}
		}
		check("ended", map[string]int{"Success": 4})
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
			return SetState(ctx, tx, "ServerTasks-1", Failed, "it was not")
		})
		check("set by hand", map[string]int{"Success": 3, "Failed": 1})
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
			return DeleteEnded(ctx, tx, "ServerTasks-1", "ServerTasks-2")
		})
		check("deleted", map[string]int{"Success": 2})
	})
}
