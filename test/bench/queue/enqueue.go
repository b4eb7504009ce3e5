package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/test/bench/measure"
)

// loop calls do on n goroutines for a while and counts the calls.
func loop(n int, length time.Duration, do func(worker, i int) error) (int, error) {
	var wg sync.WaitGroup
	var done atomic.Int64
	errs := make([]error, n)
	end := time.Now().Add(length)
	for w := range n {
		wg.Go(func() {
			for i := w; time.Now().Before(end); i += n {
				if errs[w] = do(w, i); errs[w] != nil {
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return int(done.Load()), errors.Join(errs...)
}

// enqueues compares pushes, one for each commit.
func enqueues(ctx context.Context, b *bench) error {
	length := b.seconds(2)
	s, err := b.ours(ctx)
	if err != nil {
		return err
	}
	y, err := b.yardstick(ctx, 32)
	if err != nil {
		return err
	}
	defer y.close(ctx)
	name, err := b.riverDB(ctx)
	if err != nil {
		return err
	}
	pool, err := b.riverPool(ctx, name, 32)
	if err != nil {
		return err
	}
	defer pool.Close()
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Logger: silent})
	if err != nil {
		return err
	}
	pushed, inserted := 0, 0
	push := func(n int, keyed bool, start func() (*fleet, error)) (cost, error) {
		var nodes *fleet
		if start != nil {
			if nodes, err = start(); err != nil {
				return cost{}, err
			}
		}
		m, err := b.meter(ctx, s.name)
		if err != nil {
			return cost{}, err
		}
		done, err := loop(n, length, func(_, i int) error {
			turn := ""
			if keyed {
				turn = keyOf(i)
			}
			return s.db.InTx(ctx, func(tx *db.Tx) error {
				_, err := cluster.Push(ctx, tx, newTask(turn))
				return err
			})
		})
		if err != nil {
			return cost{}, err
		}
		pushed += done
		c, err := m.stop(ctx, done, nil)
		if err == nil && nodes != nil {
			err = nodes.stop()
		}
		return c, err
	}
	riverInsert := func(n int) (cost, error) {
		m, err := b.meter(ctx, name)
		if err != nil {
			return cost{}, err
		}
		done, err := loop(n, length, func(_, i int) error {
			_, err := client.Insert(ctx, riverArgs{Num: i, Text: "Deploy Web release 1.2.3 to Production"}, nil)
			return err
		})
		if err != nil {
			return cost{}, err
		}
		inserted += done
		return m.stop(ctx, done, nil)
	}
	// Eight nodes that listen and have no slot: they are told of every task, and claim nothing.
	listeners := func() (*fleet, error) { return s.fleet(ctx, 8, 0, newTally(-1).noop) }
	type row struct{ plain, keyed, woken, river, commits costs }
	sizes := []int{1, 8, 32}
	rows := make([]row, len(sizes))
	for range b.rounds {
		for i, n := range sizes {
			r := &rows[i]
			add := func(list *costs, what func() (cost, error)) func() error {
				return func() error {
					c, err := what()
					*list = append(*list, c)
					return err
				}
			}
			each := []func() error{
				add(&r.plain, func() (cost, error) { return push(n, false, nil) }),
				add(&r.keyed, func() (cost, error) { return push(n, true, nil) }),
				add(&r.river, func() (cost, error) { return riverInsert(n) }),
				add(&r.commits, func() (cost, error) { return y.run(ctx, n, length) }),
			}
			if n == 32 {
				each = append(each, add(&r.woken, func() (cost, error) { return push(n, false, listeners) }))
			}
			if err := b.shuffled(each...); err != nil {
				return err
			}
		}
	}
	if err := b.count(ctx, s.name, "SELECT count(*) FROM queue", pushed); err != nil {
		return err
	}
	if err := b.count(ctx, name, "SELECT count(*) FROM river_job", inserted); err != nil {
		return err
	}
	var inLimits, besideRiver measure.Sample
	for i, n := range sizes {
		r := rows[i]
		b.show(fmt.Sprintf("%d connections: ours, no turns", n), r.plain)
		b.show(fmt.Sprintf("%d connections: ours, 70 %% with turns", n), r.keyed)
		b.show(fmt.Sprintf("%d connections: River's Insert", n), r.river)
		b.show(fmt.Sprintf("%d connections: commit limit", n), r.commits)
		ratio, river := r.plain.rates().Over(r.commits.rates()), r.plain.rates().Over(r.river.rates())
		b.Figure(fmt.Sprintf("%d connections: ours / commit limit", n), ratio, "", "P11 0.55 (floor 0.4)")
		b.Figure(fmt.Sprintf("%d connections: ours / River", n), river, "x", "P11 1.9 (floor 1.3)")
		if inLimits == nil || ratio.Median() < inLimits.Median() {
			inLimits = ratio
		}
		if besideRiver == nil || river.Median() < besideRiver.Median() {
			besideRiver = river
		}
		if n == 32 {
			b.show("32 connections: ours, with 8 nodes that listen", r.woken)
			woken := r.woken.rates().Over(r.plain.rates())
			b.Figure("32 connections: with wake-ups / without", woken, "x", "P12 0.9 (floor 0.8)")
			b.goals.set("enqueue", "P12", woken, "the nodes' own work is in it")
		}
		b.judge(r.commits)
	}
	b.goals.set("enqueue", "P11a", inLimits, "the worst of 1, 8 and 32 connections")
	b.goals.set("enqueue", "P11b", besideRiver, "the worst of 1, 8 and 32 connections")
	return s.close(ctx)
}
