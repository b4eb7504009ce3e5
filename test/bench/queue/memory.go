package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/test/bench/measure"
)

func memories(ctx context.Context, b *bench) error {
	if err := b.rssOfTasks(ctx); err != nil {
		return err
	}
	if err := b.liveLogs(ctx); err != nil {
		return err
	}
	return b.manyNodes(ctx)
}

// rssOfTasks takes the slope of a fresh process's memory over its tasks.
func (b *bench) rssOfTasks(ctx context.Context) error {
	sizes := []int{0, 1000, 4000}
	slope := func(queued int, sizes []int) ([]float64, error) {
		s, err := b.ours(ctx)
		if err != nil {
			return nil, err
		}
		if err := s.blocked(ctx, queued); err != nil {
			return nil, err
		}
		b.made++
		text := fmt.Sprint(sizes[0])
		for _, n := range sizes[1:] {
			text += fmt.Sprint(",", n)
		}
		out, err := exec.CommandContext(ctx, b.self, "-child", "memory", "-child-name", "n1", "-child-database", s.url+"&pool=4", "-child-data", fmt.Sprintf("%s/nodes/%d", b.dir, b.made),
			"-child-slots", "10000", "-child-sizes", text).Output()
		if err != nil {
			return nil, fmt.Errorf("memory of a node: %w", err)
		}
		var kib []float64
		for l := range bytes.Lines(out) {
			var n int
			var v float64
			if _, err := fmt.Sscanf(string(l), "rss %d %f", &n, &v); err == nil {
				kib = append(kib, v)
			}
		}
		if len(kib) != len(sizes) {
			return nil, fmt.Errorf("memory of a node: %d of %d figures\n%s", len(kib), len(sizes), out)
		}
		return kib, s.close(ctx)
	}
	var each, queued measure.Sample
	many := b.n(100_000)
	for range b.rounds {
		kib, err := slope(0, sizes)
		if err != nil {
			return err
		}
		full, err := slope(many, []int{0})
		if err != nil {
			return err
		}
		each = append(each, (kib[2]-kib[0])/float64(sizes[2]-sizes[0]))
		queued = append(queued, max(0, full[0]-kib[0])/float64(many))
		b.Note("RSS of a node with %v running tasks: %v KiB; with %d queued ones: %v KiB", sizes, kib, many, full)
	}
	b.Figure("memory of a running task", each, "KiB", "P24 64 (floor 1024)")
	b.Figure("memory of a queued task", queued, "KiB", "P24 0 (floor 1)")
	b.goals.set("memory", "P24a", each, "the queue's part: handlers that wait")
	b.goals.set("memory", "P24b", queued, "")
	return nil
}

// liveLogs lets 160 tasks write five lines each, twice a second, as an agent's answers come in.
func (b *bench) liveLogs(ctx context.Context) error {
	const tasks, each = 160, 500 * time.Millisecond
	s, err := b.ours(ctx)
	if err != nil {
		return err
	}
	if err := b.postgres.Exec(ctx, s.name, "CREATE TABLE bench_chunk (task text, seq bigint, lines bigint NOT NULL, text bytea NOT NULL, PRIMARY KEY (task, seq))"); err != nil {
		return err
	}
	fiveLines := bytes.Repeat([]byte("a line of a script as they are, of some seventy letters, and of one hundred and ten when it is a long one....\n"), 5)
	var running, flushes, late atomic.Int64
	var f *fleet
	var dbs [4]atomic.Pointer[db.DB]
	var next atomic.Int64
	var failed atomic.Pointer[error]
	handler := func(ctx context.Context, run *cluster.Run) cluster.Outcome {
		d := dbs[next.Add(1)%4].Load()
		running.Add(1)
		select {
		case <-time.After(time.Duration(next.Load()%10) * each / 10):
		case <-ctx.Done():
			return cluster.Released{}
		}
		tick := time.NewTicker(each)
		defer tick.Stop()
		for {
			since := time.Now()
			if err := d.InTx(ctx, func(tx *db.Tx) error {
				first, err := run.Fence.Lines(ctx, tx, 5)
				if err != nil {
					return err
				}
				_, err = tx.ExecContext(ctx, "INSERT INTO bench_chunk (task, seq, lines, text) VALUES ($1, $2, 5, $3)", run.Task.Id, first, fiveLines)
				return err
			}); err != nil {
				if ctx.Err() == nil {
					failed.Store(&err)
				}
				return cluster.Released{}
			}
			if time.Since(since) > each {
				late.Add(1)
			}
			flushes.Add(1)
			select {
			case <-tick.C:
			case <-ctx.Done():
				return cluster.Released{}
			}
		}
	}
	for i := range dbs { // as the nodes' own ones, with a pool for ordinary work
		d, err := db.Open(ctx, s.url+"&pool=8")
		if err != nil {
			return err
		}
		defer d.Close()
		dbs[i].Store(d)
	}
	if err := s.preload(ctx, tasks, false); err != nil {
		return err
	}
	if f, err = s.fleet(ctx, 4, tasks/4, handler); err != nil {
		return err
	}
	for range 200 {
		if running.Load() == tasks {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	var cores measure.Sample
	length := b.seconds(5)
	for range b.rounds {
		before, n, since := b.postgres.CPU(), flushes.Load(), time.Now()
		time.Sleep(length)
		took := time.Since(since)
		cores = append(cores, float64(b.postgres.CPU()-before)/float64(took))
		if got, want := float64(flushes.Load()-n), float64(tasks)*float64(took)/float64(each); got < want*0.9 {
			return fmt.Errorf("the logs of %d tasks came too slowly: %v of %v flushes", tasks, got, want)
		}
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	if err := f.stop(); err != nil {
		return err
	}
	var lines int64
	if err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT sum(lines) FROM bench_chunk").Scan(&lines)
	}); err != nil {
		return err
	}
	if lines != flushes.Load()*5 {
		return fmt.Errorf("%d lines are stored, %d were written", lines, flushes.Load()*5)
	}
	b.Figure("160 running tasks on 4 nodes, each writes 5 lines twice a second: database", cores, "cores", "P25 0.1 (floor 1)")
	b.goals.set("memory", "P25", cores, "a chunk for each answer of an agent, in a transaction of its own under the fence")
	return s.close(ctx)
}

// manyNodes lets 32 nodes run 1,000 tasks each.
func (b *bench) manyNodes(ctx context.Context) error {
	nodes, slots := 32, b.n(1000)
	s, err := b.ours(ctx)
	if err != nil {
		return err
	}
	n := nodes * slots
	if err := s.preload(ctx, n, false); err != nil {
		return err
	}
	t := newTally(n)
	release := make(chan struct{})
	var once sync.Once
	end := func() { once.Do(func() { close(release) }) }
	defer end()
	m, err := b.meter(ctx, s.name)
	if err != nil {
		return err
	}
	f, err := s.fleet(ctx, nodes, slots, func(ctx context.Context, run *cluster.Run) cluster.Outcome {
		t.enter(run.Task)
		defer t.leave(run.Task)
		select {
		case <-release:
			return cluster.Ended{State: cluster.Success}
		case <-ctx.Done():
			return cluster.Released{}
		}
	})
	if err != nil {
		return err
	}
	select {
	case <-t.full:
	case <-time.After(2 * time.Minute):
		return fmt.Errorf("%d of %d tasks run on %d nodes after 2 minutes", t.count(), n, nodes)
	}
	started := time.Since(m.at)
	before := b.postgres.CPU()
	time.Sleep(3 * time.Second)
	rest := float64(b.postgres.CPU()-before) / float64(3*time.Second)
	end()
	late, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := s.empty(late); err != nil {
		return err
	}
	c, err := m.stop(ctx, n, f.stop)
	if err != nil {
		return err
	}
	if err := s.check(ctx, t, n); err != nil {
		return err
	}
	b.Note("%d nodes of %d slots: %d tasks ran at once, all started within %.1f s; %s database cores while they ran; %s us of its CPU for a task", nodes, slots, n, started.Seconds(),
		measure.Number(rest), measure.Number(c.db))
	b.goals.set("memory", "P31", measure.Sample{float64(n)}, fmt.Sprintf("%d nodes of %d slots; all started in %.1f s", nodes, slots, started.Seconds()))
	return s.close(ctx)
}

// idles counts the transactions of a node that has nothing to do.
func idles(ctx context.Context, b *bench) error {
	s, err := b.ours(ctx)
	if err != nil {
		return err
	}
	length := b.seconds(30)
	var one, three, cpu measure.Sample
	for _, n := range []int{1, 3} {
		f, err := s.fleet(ctx, n, 5, func(context.Context, *cluster.Run) cluster.Outcome { return cluster.Ended{State: cluster.Success} })
		if err != nil {
			return err
		}
		time.Sleep(12 * time.Second) // whoever did something before has said so by then
		conn, err := b.postgres.Connect(ctx, "postgres")
		if err != nil {
			return err
		}
		m := &meter{b: b, conn: conn, database: s.name}
		before, err := m.ours(ctx)
		if err != nil {
			return err
		}
		used, since := b.postgres.CPU(), time.Now()
		time.Sleep(length)
		after, err := m.ours(ctx)
		if err := errors.Join(err, conn.Close(ctx)); err != nil {
			return err
		}
		each := (after - before) / time.Since(since).Seconds() / float64(n)
		if n == 1 {
			one = append(one, each)
			cpu = append(cpu, measure.MS(b.postgres.CPU()-used)/time.Since(since).Seconds())
		} else {
			three = append(three, each)
		}
		if err := f.stop(); err != nil {
			return err
		}
	}
	b.Figure("transactions of one idle node, which leads", one, "/s", "P26 1 (floor 2)")
	b.Figure("transactions of each of three idle nodes", three, "/s", "")
	b.Figure("database CPU of one idle node (autovacuum's and the checkpointer's included)", cpu, "ms/s", "")
	b.Note("the cluster package alone; `make bench ARGS='-only rest'` counts a whole server's")
	b.goals.set("idle", "P26", one, "three nodes: "+three.String()+" each")
	return s.close(ctx)
}
