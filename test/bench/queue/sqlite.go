package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/test/bench/measure"
)

// sqlites pushes one task for each call from 160 workers, each of which waits until its task has run; beside it River's SQLite driver works
// preloaded jobs down with its benchmark's settings, and takes single inserts.
func sqlites(ctx context.Context, b *bench) error {
	length := b.seconds(3)
	jobs := b.n(20_000)
	var ours, one, drain, river, inserts, syncs measure.Sample
	for range b.rounds {
		if err := b.shuffled(
			func() error { r, err := b.liteCycle(ctx, 160, length); ours = append(ours, r); return err },
			func() error { r, err := b.liteCycle(ctx, 1, length); one = append(one, r); return err },
			func() error { r, err := b.liteDrain(ctx, jobs); drain = append(drain, r); return err },
			func() error {
				r, i, err := b.liteRiver(ctx, jobs, length)
				river, inserts = append(river, r), append(inserts, i)
				return err
			},
			func() error {
				l, err := measure.Fsyncs(b.dir)
				syncs = append(syncs, 1000/l.Median())
				return err
			},
		); err != nil {
			return err
		}
	}
	b.Figure("write + fsync of 4 KiB", syncs, "/s", "")
	b.Figure("ours: push, claim, finish; 160 workers that push one each", ours, "lifecycles/s", "")
	b.Figure("ours: the same, 1 worker", one, "lifecycles/s", "")
	b.Figure("ours: preloaded, one node with 2,000 slots", drain, "tasks/s", "")
	b.Figure("River's driver, its benchmark: preloaded jobs worked", river, "jobs/s", "")
	b.Figure("River's driver: single inserts of 160 workers, nothing worked", inserts, "jobs/s", "")
	p := ours.Over(syncs)
	b.Figure("ours, 160 workers / fsyncs", p, "", "P19 1.0 (floor 0.5)")
	b.Figure("ours, 160 workers, whole lifecycle / River, worked only", ours.Over(river), "x", "P19 2 (floor 1.3)")
	b.Figure("ours, preloaded / River, preloaded", drain.Over(river), "x", "")
	b.goals.set("sqlite", "P19a", p, "")
	b.goals.set("sqlite", "P19b", ours.Over(river), "River's jobs are inserted before, ours are pushed within")
	b.Steady("fsync", syncs)
	return nil
}

func (b *bench) lite(ctx context.Context) (*db.DB, string, error) {
	b.made++
	path := filepath.Join(b.dir, fmt.Sprintf("ours%d.db", b.made))
	d, err := db.Open(ctx, path)
	if err != nil {
		return nil, "", err
	}
	return d, path, d.Migrate(ctx)
}

// liteCycle counts whole lifecycles.
func (b *bench) liteCycle(ctx context.Context, workers int, length time.Duration) (float64, error) {
	d, _, err := b.lite(ctx)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	t := newTally(-1)
	ran := make([]chan struct{}, workers)
	for i := range ran {
		ran[i] = make(chan struct{}, 1)
	}
	node, err := cluster.Start(ctx, d, cluster.Config{
		Name: "n1", DataDir: filepath.Join(b.dir, fmt.Sprint("lite", b.made)), Cap: workers, Log: silent,
		Handlers: map[string]cluster.Handler{kind: func(ctx context.Context, run *cluster.Run) cluster.Outcome {
			var i int
			if _, err := fmt.Sscanf(run.Task.Description, "Task %d", &i); err != nil {
				return cluster.Ended{State: cluster.Failed, Text: err.Error()}
			}
			defer func() { ran[i] <- struct{}{} }()
			return t.noop(ctx, run)
		}},
	})
	if err != nil {
		return 0, err
	}
	since := time.Now()
	n, err := loop(workers, length, func(w, i int) error {
		task := newTask(keyOf(i))
		task.Description = fmt.Sprint("Task ", w)
		if err := d.InTx(ctx, func(tx *db.Tx) error {
			_, err := cluster.Push(ctx, tx, task)
			return err
		}); err != nil {
			return err
		}
		select {
		case <-ran[w]:
			return nil
		case <-time.After(time.Minute):
			return errors.New("a task did not run within a minute")
		}
	})
	if err := errors.Join(err, liteEmpty(ctx, d)); err != nil { // the last ends count too
		return 0, err
	}
	took := time.Since(since).Seconds()
	if err := node.Stop(ctx); err != nil {
		return 0, err
	}
	return float64(n) / took, liteCheck(ctx, d, t, n)
}

func liteEmpty(ctx context.Context, d *db.DB) error {
	for left := 1; left > 0; time.Sleep(time.Millisecond) {
		if err := d.Read(ctx, func(tx *db.Tx) error { return tx.QueryRowContext(ctx, "SELECT count(*) FROM queue").Scan(&left) }); err != nil {
			return err
		}
	}
	return nil
}

func liteCheck(ctx context.Context, d *db.DB, t *tally, n int) error {
	if t.bad != "" {
		return fmt.Errorf("invariant broken: %s", t.bad)
	}
	var ended, left int
	if err := d.Read(ctx, func(tx *db.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM task WHERE state = 'Success'), (SELECT count(*) FROM queue)").Scan(&ended, &left)
	}); err != nil {
		return err
	}
	if ended != n || left != 0 || t.count() != n {
		return fmt.Errorf("invariant broken: %d pushed, %d ran, %d ended, %d are left", n, t.count(), ended, left)
	}
	return nil
}

// liteDrain works preloaded tasks down.
func (b *bench) liteDrain(ctx context.Context, n int) (float64, error) {
	d, _, err := b.lite(ctx)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	for at := 0; at < n; at += 500 {
		if err := d.InTx(ctx, func(tx *db.Tx) error {
			for i := at; i < min(at+500, n); i++ {
				if _, err := cluster.Push(ctx, tx, newTask("")); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return 0, err
		}
	}
	t := newTally(n)
	since := time.Now()
	node, err := cluster.Start(ctx, d, cluster.Config{
		Name: "n1", DataDir: filepath.Join(b.dir, fmt.Sprint("lite", b.made)), Cap: 2000, Log: silent, Handlers: map[string]cluster.Handler{kind: t.noop},
	})
	if err != nil {
		return 0, err
	}
	select {
	case <-t.full:
	case <-time.After(3 * time.Minute):
		return 0, fmt.Errorf("%d of %d tasks ran within 3 minutes", t.count(), n)
	}
	if err := liteEmpty(ctx, d); err != nil {
		return 0, err
	}
	took := time.Since(since).Seconds()
	if err := node.Stop(ctx); err != nil {
		return 0, err
	}
	return float64(n) / took, liteCheck(ctx, d, t, n)
}

// liteRiver gives jobs worked and single inserts per second, durable as ours is.
func (b *bench) liteRiver(ctx context.Context, n int, length time.Duration) (worked, inserted float64, err error) {
	b.made++
	q := url.Values{"_txlock": {"immediate"}}
	for _, p := range []string{"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "temp_store(MEMORY)"} {
		q.Add("_pragma", p)
	}
	d, err := sql.Open("sqlite", "file:"+filepath.Join(b.dir, fmt.Sprintf("river%d.db", b.made))+"?"+q.Encode())
	if err != nil {
		return 0, 0, err
	}
	defer d.Close()
	d.SetMaxOpenConns(1) // as River's documentation asks for
	driver := riversqlite.New(d)
	if err := riverMigrate(ctx, driver); err != nil {
		return 0, 0, err
	}
	var mode string
	if err := d.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&mode); err != nil {
		return 0, 0, err
	}
	if mode != "2" {
		return 0, 0, fmt.Errorf("river: SQLite's synchronous is %s, not FULL (2)", mode)
	}
	client, err := river.NewClient(driver, &river.Config{Logger: silent})
	if err != nil {
		return 0, 0, err
	}
	since := time.Now()
	done, err := loop(160, length, func(_, i int) error {
		_, err := client.Insert(ctx, riverArgs{Num: i}, nil)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	inserted = float64(done) / time.Since(since).Seconds()
	if _, err := d.ExecContext(ctx, "DELETE FROM river_job"); err != nil {
		return 0, 0, err
	}
	if err := riverPreload(ctx, driver, n); err != nil {
		return 0, 0, err
	}
	ran := &ids{ran: map[int64]int{}}
	since = time.Now()
	stop, err := riverWork(ctx, driver, n, ran)
	if err != nil {
		return 0, 0, err
	}
	worked = float64(n) / time.Since(since).Seconds()
	if err := errors.Join(stop(), ran.check(n)); err != nil {
		return 0, 0, err
	}
	var completed int
	if err := d.QueryRowContext(ctx, "SELECT count(*) FROM river_job WHERE state = 'completed'").Scan(&completed); err != nil {
		return 0, 0, err
	}
	if completed != n {
		return 0, 0, fmt.Errorf("river: %d jobs are completed, not %d", completed, n)
	}
	return worked, inserted, nil
}
