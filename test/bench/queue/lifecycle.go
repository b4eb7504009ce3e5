package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/test/bench/measure"
)

// lifecycles keeps some nodes busy: each task that ends is replaced by a new one, so that the queue stays as long as it is. With k=1
// each node has one slot; with k=8 it has eight, claims eight, pushes eight in one transaction and ends eight.
func lifecycles(ctx context.Context, b *bench) error {
	length := b.seconds(2)
	sizes := []int{1, 2, 4, 8, 16, 32}
	if b.quick {
		sizes = []int{1, 8, 32}
	}
	history, depth := b.n(1_000_000), 10_000
	s, err := b.ours(ctx)
	if err != nil {
		return err
	}
	if err := s.history(ctx, history); err != nil {
		return err
	}
	if err := s.preload(ctx, depth, true); err != nil {
		return err
	}
	y, err := b.yardstick(ctx, 32)
	if err != nil {
		return err
	}
	defer y.close(ctx)
	t := newTally(-1)
	type row struct{ one, eight, commits costs }
	rows := make([]row, len(sizes))
	for range b.rounds {
		for _, i := range b.rand.Perm(len(sizes)) {
			r, n := &rows[i], sizes[i]
			add := func(list *costs, what func() (cost, error)) func() error {
				return func() error {
					c, err := what()
					*list = append(*list, c)
					return err
				}
			}
			if err := b.shuffled(
				add(&r.one, func() (cost, error) { return s.cycle(ctx, t, n, 1, length) }),
				add(&r.eight, func() (cost, error) { return s.cycle(ctx, t, n, 8, length) }),
				add(&r.commits, func() (cost, error) { return y.run(ctx, n, length) }),
			); err != nil {
				return err
			}
		}
	}
	if err := s.check(ctx, t, t.count()); err != nil {
		return err
	}
	if err := b.count(ctx, s.name, "SELECT count(*) FROM queue", depth); err != nil {
		return err
	}
	b.Note("%d ended tasks, %d queued, 70 %% with one of 2,000 turns", history, depth)
	var worst measure.Sample
	for i, n := range sizes {
		r := rows[i]
		b.show(fmt.Sprintf("%d nodes, k=1", n), r.one)
		b.show(fmt.Sprintf("%d nodes, k=8", n), r.eight)
		b.show(fmt.Sprintf("%d connections: commit limit", n), r.commits)
		ratio := r.one.rates().Over(r.commits.rates())
		b.Figure(fmt.Sprintf("%d nodes, k=1: lifecycles / commit limit (bound 0.5)", n), ratio, "", "P4 0.25 (floor 0.15)")
		b.Figure(fmt.Sprintf("%d nodes, k=8: lifecycles / commit limit", n), r.eight.rates().Over(r.commits.rates()), "", "")
		if worst == nil || ratio.Median() < worst.Median() {
			worst = ratio
		}
	}
	transactions := func(c cost) float64 { return c.transactions }
	first, last := rows[0], rows[len(rows)-1]
	b.goals.set("lifecycle", "P4", worst, "")
	b.goals.set("lifecycle", "P5a", last.one.of(transactions), "32 nodes, their beats included")
	b.goals.set("lifecycle", "P5b", last.eight.of(transactions), "32 nodes, their beats included")
	b.goals.set("lifecycle", "P6a", first.one.dbs().Over(first.commits.dbs()), "1 node")
	b.goals.set("lifecycle", "P6b", first.eight.dbs().Over(first.commits.dbs()), "1 node")
	b.goals.set("lifecycle", "P7", last.one.dbs().Over(first.one.dbs()), "")
	b.judge(first.commits)
	return s.close(ctx)
}

// cycle lets n nodes of k slots work for a while.
func (s *space) cycle(ctx context.Context, t *tally, n, k int, length time.Duration) (cost, error) {
	var stop atomic.Bool
	var failed atomic.Pointer[error]
	gates := make([]*gate, n)
	fleets := make([]*fleet, n)
	var counted atomic.Int64
	for i := range n {
		g := &gate{s: s, k: k}
		gates[i] = g
		handler := func(ctx context.Context, run *cluster.Run) cluster.Outcome {
			if stop.Load() { // what is claimed after the end is given back
				<-ctx.Done()
				return cluster.Released{}
			}
			t.enter(run.Task)
			err := g.replace(ctx, run.Task.Turn)
			t.leave(run.Task)
			if err != nil {
				failed.Store(&err)
				return cluster.Ended{State: cluster.Failed, Text: err.Error()}
			}
			counted.Add(1)
			return cluster.Ended{State: cluster.Success}
		}
		s.b.made++
		d, err := db.Open(ctx, s.url+"&pool=2")
		if err != nil {
			return cost{}, err
		}
		g.db = d
		f := &fleet{dbs: []*db.DB{d}}
		fleets[i] = f
		node, err := cluster.Start(ctx, d, cluster.Config{
			Name: fmt.Sprint("n", i+1, "k", k), DataDir: fmt.Sprintf("%s/nodes/%d", s.b.dir, s.b.made), Cap: k, Log: silent, Handlers: map[string]cluster.Handler{kind: handler},
		})
		if err != nil {
			return cost{}, err
		}
		f.nodes = append(f.nodes, node)
	}
	time.Sleep(1500 * time.Millisecond) // all are under way, and every connection has prepared its statements
	// What is counted and what it cost are read at the same moments; so the transactions, whose reading takes longer, have a count of their own.
	t0, err := s.b.meter(ctx, s.name)
	if err != nil {
		return cost{}, err
	}
	commits, err := t0.ours(ctx)
	if err != nil {
		return cost{}, err
	}
	first := counted.Load()
	m, err := s.b.meter(ctx, s.name)
	if err != nil {
		return cost{}, err
	}
	before := counted.Load()
	time.Sleep(length)
	c, err := m.stop(ctx, int(counted.Load()-before), nil)
	if err != nil {
		return cost{}, err
	}
	last := counted.Load()
	after, err := t0.ours(ctx)
	if err := errors.Join(err, t0.conn.Close(ctx)); err != nil {
		return cost{}, err
	}
	c.transactions = (after - commits) / float64(last-first)
	stop.Store(true)
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i, f := range fleets {
		wg.Go(func() { errs[i] = f.stop() })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return cost{}, err
		}
	}
	if err := failed.Load(); err != nil {
		return cost{}, *err
	}
	return c, nil
}

// gate lets k tasks of a node push their successors in one transaction; after 2 ms it does not wait for more.
type gate struct {
	s     *space
	db    *db.DB
	k     int
	mu    sync.Mutex
	turns []string
	round *gateRound
}

type gateRound struct {
	full chan struct{}
	done chan struct{}
	err  error
}

func (g *gate) replace(ctx context.Context, turn string) error {
	g.mu.Lock()
	g.turns = append(g.turns, turn)
	r := g.round
	if r == nil {
		r = &gateRound{full: make(chan struct{}), done: make(chan struct{})}
		g.round = r
		go func() {
			if g.k > 1 {
				select {
				case <-r.full:
				case <-time.After(2 * time.Millisecond):
				}
			}
			g.mu.Lock()
			turns := g.turns
			g.turns, g.round = nil, nil
			g.mu.Unlock()
			r.err = g.push(context.WithoutCancel(ctx), turns)
			close(r.done)
		}()
	}
	if len(g.turns) == g.k && g.k > 1 {
		close(r.full)
	}
	g.mu.Unlock()
	<-r.done
	return r.err
}

func (g *gate) push(ctx context.Context, turns []string) error {
	return g.db.InTx(ctx, func(tx *db.Tx) error {
		for _, turn := range sorted(turns) { // turns are locked in one order by everybody
			if _, err := cluster.Push(ctx, tx, newTask(turn)); err != nil {
				return err
			}
		}
		return nil
	})
}
