package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/fault"
)

func labelled(t testing.TB, d *db.DB, node string, labels ...string) {
	t.Helper()
	in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, SetLabels(ctx, tx, node, labels) })
}

// serving claims as a node does whose last look saw everything there is.
func serving(t testing.TB, d *db.DB, name string, epoch int64, most int) []Task {
	t.Helper()
	var got []Task
	err := d.Queue(t.Context(), func(tx *db.Tx) error {
		var text string
		if err := tx.QueryRowContext(t.Context(), "SELECT labels FROM node WHERE name = $1", name).Scan(&text); err != nil {
			return err
		}
		serves, err := served(t.Context(), tx, text)
		if err != nil {
			return err
		}
		got, err = claim(t.Context(), tx, claimer{node: name, epoch: epoch, most: most, kinds: []string{"Deploy"}, serves: serves})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A task runs on a node only that has all the labels it asks for; one that no node can run keeps nobody waiting.
func TestLabelsRow35(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		plain, gpu := node(t, d, "plain", 10), node(t, d, "gpu", 10)
		labelled(t, d, "gpu", "gpu", "zone=eu")
		push(t, d, NewTask{Labels: []string{"quantum"}})                    // 1: nobody
		push(t, d, NewTask{Labels: []string{"zone=eu", "gpu"}})             // 2
		push(t, d, NewTask{})                                               // 3
		push(t, d, NewTask{Labels: []string{"gpu", "quantum"}})             // 4: nobody
		push(t, d, NewTask{Labels: []string{"gpu"}, Turn: "a"})             // 5
		push(t, d, NewTask{Turn: "a"})                                      // 6 behind 5
		push(t, d, NewTask{Labels: []string{"gp", "zone"}})                 // 7: parts of words are no labels
		push(t, d, NewTask{Labels: []string{"gpu", "gpu"}, Priority: true}) // 8
		if got := get(t, d, "ServerTasks-2").Labels; strings.Join(got, " ") != "gpu zone=eu" {
			t.Errorf("labels are %v", got)
		}
		if got := ids(serving(t, d, "plain", plain, 10)); got != "3" {
			t.Errorf("the node without labels claimed %q, want 3", got)
		}
		push(t, d, NewTask{}) // 9
		for _, want := range []string{"8", "2", "5 9", ""} {
			if got := ids(serving(t, d, "gpu", gpu, max(1, len(want)-1))); got != want {
				t.Errorf("the labelled node claimed %q, want %q: by lane and place, over all ranges", got, want)
			}
		}
	})
}

// What SetLabels commits holds for a claim that believes otherwise.
func TestClaimChecksItsLabelsRow35(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		epoch := node(t, d, "n1", 5)
		push(t, d, NewTask{Labels: []string{"gpu"}})
		believing := func() string {
			got := in(t, d, func(ctx context.Context, tx *db.Tx) ([]Task, error) {
				return claim(ctx, tx, claimer{node: "n1", epoch: epoch, most: 5, kinds: []string{"Deploy"}, serves: []string{"gpu"}})
			})
			return ids(got)
		}
		if got := believing(); got != "" {
			t.Errorf("without the label it claimed %q", got)
		}
		labelled(t, d, "n1", "gpu")
		labelled(t, d, "n1", "cpu")
		if got := believing(); got != "" {
			t.Errorf("after the label was taken it claimed %q", got)
		}
		labelled(t, d, NodeId("n1"), "gpu")
		if got := believing(); got != "1" {
			t.Errorf("with the label it claimed %q", got)
		}
		for _, labels := range [][]string{{"two words"}, {`a"b`}, {""}, {"ü"}} {
			_, err := try(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, SetLabels(ctx, tx, "n1", labels) })
			if fault.KindOf(err) != fault.Invalid {
				t.Errorf("labels %q: %v", labels, err)
			}
			_, err = try(t, d, func(ctx context.Context, tx *db.Tx) (Task, error) {
				return Push(ctx, tx, NewTask{Kind: "Deploy", Labels: labels})
			})
			if fault.KindOf(err) != fault.Invalid {
				t.Errorf("a task with labels %q: %v", labels, err)
			}
		}
		if _, err := try(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, SetLabels(ctx, tx, "n2", nil) }); fault.KindOf(err) != fault.NotFound {
			t.Errorf("an unknown node: %v", err)
		}
	})
}

// While a space is stopped none of its queued tasks starts; what has begun goes on, and other spaces do not notice.
func TestStoppedSpace(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		epoch := node(t, d, "n1", 100)
		stop := func(space string, stopped bool) {
			in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
				return nil, SetSpaceStopped(ctx, tx, space, stopped)
			})
		}
		sweep := func() {
			for more := true; more; {
				more = in(t, d, func(ctx context.Context, tx *db.Tx) (more bool, err error) {
					spaces, err := unfinished(ctx, tx)
					for _, s := range spaces {
						if more, err = park(ctx, tx, s); err == nil && !more {
							more, err = unpark(ctx, tx, s)
						}
					}
					return more, err
				})
			}
		}
		push(t, d, NewTask{SpaceId: "Spaces-1", Turn: "a"}) // 1 begins, and waits for a person
		one := claims(t, d, "n1", epoch, 0)[0]
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, wait(ctx, tx, one.fence, "a", false) })
		push(t, d, NewTask{SpaceId: "Spaces-1", Turn: "a"})                            // 2
		push(t, d, NewTask{SpaceId: "Spaces-1", Turn: "b"})                            // 3
		push(t, d, NewTask{SpaceId: "Spaces-1", Turn: "b"})                            // 4
		push(t, d, NewTask{SpaceId: "Spaces-1", QueueTime: time.Now().Add(time.Hour)}) // 5
		stop("Spaces-1", true)
		push(t, d, NewTask{SpaceId: "Spaces-2"}) // 6
		push(t, d, NewTask{SpaceId: "Spaces-1"}) // 7
		push(t, d, NewTask{})                    // 8 is the server's own
		if got := ids(claims(t, d, "n1", epoch, 0)); got != "6 8" {
			t.Errorf("claimed %q, want 6 8", got)
		}
		sweep()
		push(t, d, NewTask{SpaceId: "Spaces-1"}) // 9, after the others are parked
		if got := ids(claims(t, d, "n1", epoch, 0)); got != "" {
			t.Errorf("after parking claimed %q", got)
		}
		if why := in(t, d, func(ctx context.Context, tx *db.Tx) (string, error) { return Why(ctx, tx, "ServerTasks-3") }); !strings.Contains(why, "stopped") {
			t.Errorf("why: %q", why)
		}
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) { return nil, Resume(ctx, tx, one.Id) })
		if got := ids(claims(t, d, "n1", epoch, 0)); got != "1" {
			t.Errorf("claimed %q, want 1: it has begun, and 2, which has not, does not keep the turn from it", got)
		}
		if err := end1(t, d, get(t, d, one.Id), Success); err != nil {
			t.Fatal(err)
		}
		in(t, d, func(ctx context.Context, tx *db.Tx) (Task, error) { return Cancel(ctx, tx, "ServerTasks-3", "") })
		if got := ids(claims(t, d, "n1", epoch, 0)); got != "" {
			t.Errorf("after ends in their turns claimed %q", got)
		}
		stop("Spaces-2", true)
		stop("Spaces-1", false)
		if got := ids(claims(t, d, "n1", epoch, 0)); got != "2 4 7 9" {
			t.Errorf("when the space goes on claimed %q, want 2 4 7 9", got)
		}
		sweep()
		stop("Spaces-2", false)
		sweep()
		if left := in(t, d, func(ctx context.Context, tx *db.Tx) (n int, err error) {
			return n, tx.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM queue_stop) + (SELECT count(*) FROM queue WHERE parked)").Scan(&n)
		}); left != 0 {
			t.Errorf("%d rows are left of it", left)
		}
	})
}

// Many tasks are parked and unparked bit by bit, and come in their order.
func TestManyAreParked(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		epoch := node(t, d, "n1", 3)
		fill(t, d, 2*parkBatch+100)
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
			if _, err := tx.ExecContext(ctx, "UPDATE queue SET space = 'Spaces-1', head = TRUE, turn = NULL"); err != nil {
				return nil, err
			}
			return nil, SetSpaceStopped(ctx, tx, "Spaces-1", true)
		})
		count := func(what string) (n int) {
			return in(t, d, func(ctx context.Context, tx *db.Tx) (n int, err error) {
				return n, tx.QueryRowContext(ctx, "SELECT count(*) FROM queue WHERE "+what).Scan(&n)
			})
		}
		for i := range 4 {
			if more := in(t, d, func(ctx context.Context, tx *db.Tx) (bool, error) { return park(ctx, tx, "Spaces-1") }); more != (i < 3) {
				t.Errorf("batch %d: more is %v", i, more)
			}
		}
		if n := count("NOT parked"); n != 0 {
			t.Errorf("%d are not parked", n)
		}
		in(t, d, func(ctx context.Context, tx *db.Tx) (any, error) {
			return nil, SetSpaceStopped(ctx, tx, "Spaces-1", false)
		})
		if n := count("NOT parked"); n != parkBatch {
			t.Errorf("%d are ready at once", n)
		}
		first := fmt.Sprintf("Fill-%d Fill-%d Fill-%d", 2*parkBatch+100, 2*parkBatch+99, 2*parkBatch+98)
		if got := ids(claims(t, d, "n1", epoch, 0)); got != first {
			t.Errorf("claimed %s, want %s", got, first)
		}
		for more := true; more; {
			more = in(t, d, func(ctx context.Context, tx *db.Tx) (bool, error) { return unpark(ctx, tx, "Spaces-1") })
		}
		if n := count("parked"); n != 0 {
			t.Errorf("%d are still parked", n)
		}
	})
}
