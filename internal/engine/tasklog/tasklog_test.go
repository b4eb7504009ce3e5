package tasklog_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/engine/tasklog"
)

// running pushes a task and claims it as a node would.
func running(t *testing.T, d *db.DB) cluster.Fence {
	t.Helper()
	fences := make(chan cluster.Fence, 1)
	node, err := cluster.Start(t.Context(), d, cluster.Config{
		Name: "n1", DataDir: t.TempDir(), Cap: 1,
		Handlers: map[string]cluster.Handler{"Deploy": func(ctx context.Context, run *cluster.Run) cluster.Outcome {
			fences <- run.Fence
			<-ctx.Done()
			return cluster.Released{}
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	inTx(t, d, func(tx *db.Tx) error {
		_, err := cluster.Push(t.Context(), tx, cluster.NewTask{Kind: "Deploy", Description: "Deploy Web 1.0"})
		return err
	})
	return <-fences
}

func inTx(t *testing.T, d *db.DB, do func(tx *db.Tx) error) {
	t.Helper()
	if err := d.InTx(t.Context(), do); err != nil {
		t.Fatal(err)
	}
}

func reader(t *testing.T, d *db.DB) tasklog.Reader {
	t.Helper()
	blobs, err := blob.OpenFolder(t.Context(), t.TempDir(), blob.Options{LowBytes: -1, LowPercent: -1})
	if err != nil {
		t.Fatal(err)
	}
	return tasklog.Reader{DB: d, Blobs: blobs}
}

// write appends n lines in chunks of different sizes, one fence, one activity tree.
func write(t *testing.T, d *db.DB, fence cluster.Fence, n int) {
	t.Helper()
	root := fence.Task
	inTx(t, d, func(tx *db.Tx) error {
		open := tasklog.Open(root, "", "Deploy Web 1.0", tasklog.Running)
		return tasklog.Append(t.Context(), tx, fence, open, tasklog.Open(root+"/0", root, "Step 1: Web", tasklog.Running))
	})
	for i, size := 1, 1; i <= n; size = size%7 + 1 {
		var lines []tasklog.Entry
		for range size {
			if i <= n {
				lines = append(lines, tasklog.Line(root+"/0", tasklog.Info, fmt.Sprintf("line %d", i)))
				i++
			}
		}
		inTx(t, d, func(tx *db.Tx) error { return tasklog.Append(t.Context(), tx, fence, lines...) })
	}
	inTx(t, d, func(tx *db.Tx) error {
		return tasklog.Append(t.Context(), tx, fence, tasklog.Line(root+"/0", tasklog.Verbose, "whispered"), tasklog.Set(root+"/0", tasklog.Success), tasklog.Set(root, tasklog.Success))
	})
}

func all(t *testing.T, r tasklog.Reader, task string, after int64) (entries []tasklog.Entry) {
	t.Helper()
	if _, err := r.Each(t.Context(), task, after, func(e tasklog.Entry) error { entries = append(entries, e); return nil }); err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestSealingChangesNothingThatIsRead(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		fence, r := running(t, d), reader(t, d)
		write(t, d, fence, 2000) // more chunks than one read takes
		before := all(t, r, fence.Task, 0)
		for i, e := range before {
			if e.Number != int64(i+1) {
				t.Fatalf("entry %d has number %d", i, e.Number)
			}
		}
		if len(before) != 2005 {
			t.Fatalf("%d entries", len(before))
		}
		raw, tree := rawOf(t, r, fence.Task), treeOf(t, r, fence.Task)

		for range 2 { // a second time finds nothing to do
			if err := r.Seal(t.Context(), fence.Task); err != nil {
				t.Fatal(err)
			}
		}
		inTx(t, d, func(tx *db.Tx) error {
			var chunks int
			if err := tx.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM log_chunk`).Scan(&chunks); err != nil || chunks != 0 {
				t.Errorf("%d chunks are left (%v)", chunks, err)
			}
			return nil
		})
		if diff := cmp.Diff(before, all(t, r, fence.Task, 0)); diff != "" {
			t.Errorf("entries changed: %s", diff)
		}
		if after := rawOf(t, r, fence.Task); after != raw || !strings.Contains(raw, "line 2000") {
			t.Error("the raw log changed")
		}
		if diff := cmp.Diff(tree, treeOf(t, r, fence.Task)); diff != "" {
			t.Errorf("the tree changed: %s", diff)
		}
		if rest := all(t, r, fence.Task, 2000); len(rest) != 5 || rest[0].Number != 2001 {
			t.Errorf("reading on after 2000 gave %v", rest)
		}
	})
}

func rawOf(t *testing.T, r tasklog.Reader, task string) string {
	t.Helper()
	var text strings.Builder
	if err := r.Raw(t.Context(), task, &text); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// treeOf is the tree's shape in one string, so that times do not matter.
func treeOf(t *testing.T, r tasklog.Reader, task string) string {
	t.Helper()
	root, _, err := r.Details(t.Context(), task, true, 3)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	var walk func(a *tasklog.Activity, indent string)
	walk = func(a *tasklog.Activity, indent string) {
		fmt.Fprintln(&text, indent, a.Name, a.Status, a.Started != nil, a.Ended != nil)
		for _, e := range a.LogElements {
			fmt.Fprintln(&text, indent, " ", e.Number, e.Category, e.MessageText)
		}
		for _, child := range a.Children {
			walk(child, indent+"  ")
		}
	}
	walk(root, "")
	return text.String()
}

func TestDetails(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		fence, r := running(t, d), reader(t, d)
		write(t, d, fence, 10)
		want := ` Deploy Web 1.0 Success true true
   Step 1: Web Success true true
     10 Gap Earlier lines are left out here; the raw log has all of them.
     11 Info line 9
     12 Info line 10
     13 Verbose whispered
`
		if diff := cmp.Diff(want, treeOf(t, r, fence.Task)); diff != "" {
			t.Error(diff)
		}
		root, _, err := r.Details(t.Context(), fence.Task, false, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := root.Children[0].LogElements; len(got) != 10 || got[9].MessageText != "line 10" {
			t.Errorf("without verbose: %v", got)
		}
	})
}

func TestALostFenceWritesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		fence := running(t, d)
		fence.Claim--
		err := d.InTx(t.Context(), func(tx *db.Tx) error {
			return tasklog.Append(t.Context(), tx, fence, tasklog.Line(fence.Task, tasklog.Info, "too late"))
		})
		if err == nil || !strings.Contains(err.Error(), cluster.ErrFenced.Error()) {
			t.Errorf("a former owner wrote: %v", err)
		}
	})
}

// What retention deletes under a follower's hands is left out, not asked for again and again.
func TestFollowingAForgottenLogEnds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		fence, r := running(t, d), reader(t, d)
		write(t, d, fence, 5)
		inTx(t, d, func(tx *db.Tx) error {
			for _, q := range []string{"DELETE FROM queue", "UPDATE task SET state = 'Success', log_lines = 10, started = 1, ended = 1", "DELETE FROM log_chunk"} {
				if _, err := tx.ExecContext(t.Context(), q); err != nil {
					return err
				}
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		live := &tasklog.Live{Reader: r}
		if err := live.Follow(ctx, fence.Task, 0, func(events []tasklog.Event) error { return fmt.Errorf("%d entries", len(events)) }); err != nil {
			t.Error(err)
		}
	})
}

// Whoever reads a log while it is sealed gets all of it: from its chunks, or from the blob that takes their place.
func TestALogIsWholeWhileItIsSealed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx, r, fence := t.Context(), reader(t, d), running(t, d)
		write(t, d, fence, 40)
		want := len(all(t, r, fence.Task, 0))
		inTx(t, d, func(tx *db.Tx) error {
			_, err := tx.ExecContext(ctx, "CREATE TABLE log_copy AS SELECT * FROM log_chunk")
			return err
		})
		for range 60 {
			sealed, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for over := false; !over; {
					select {
					case <-sealed:
						over = true // once more, when all is over
					default:
					}
					n := 0
					if _, err := r.Each(ctx, fence.Task, 0, func(tasklog.Entry) error { n++; return nil }); err != nil || n != want {
						t.Errorf("%d entries of %d: %v", n, want, err)
						return
					}
				}
			}()
			err := r.Seal(ctx, fence.Task)
			close(sealed)
			<-done
			if err != nil || t.Failed() {
				t.Fatal(err)
			}
			inTx(t, d, func(tx *db.Tx) error {
				if _, err := tx.ExecContext(ctx, "DELETE FROM log_sealed"); err != nil {
					return err
				}
				_, err := tx.ExecContext(ctx, "INSERT INTO log_chunk SELECT * FROM log_copy")
				return err
			})
		}
	})
}
