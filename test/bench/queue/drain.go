package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
)

// drains works preloaded tasks that do nothing down.
func drains(ctx context.Context, b *bench) error {
	n := b.n(100_000)
	few := max(n/20, 1000) // Graphile's default is a transaction for each step
	var plain, keyed, river, batch, deflt, commits costs
	y, err := b.yardstick(ctx, 8)
	if err != nil {
		return err
	}
	defer y.close(ctx)
	into := func(list *costs, what func() (cost, error)) func() error {
		return func() error {
			c, err := what()
			if err == nil {
				*list = append(*list, c)
			}
			return err
		}
	}
	without := error(nil)
	graphile := func(list *costs, n int, mode string) func() error {
		return func() error {
			err := into(list, func() (cost, error) { return graphileDrain(ctx, b, n, mode) })()
			if errors.Is(err, errNoGraphile) {
				without, err = err, nil
			}
			return err
		}
	}
	for range b.rounds {
		if err := b.shuffled(
			into(&plain, func() (cost, error) { return oursDrain(ctx, b, n, false) }),
			into(&keyed, func() (cost, error) { return oursDrain(ctx, b, n, true) }),
			into(&river, func() (cost, error) { return riverDrain(ctx, b, n) }),
			graphile(&batch, n, "batch"),
			graphile(&deflt, few, "default"),
			into(&commits, func() (cost, error) { return y.run(ctx, 8, time.Second) }),
		); err != nil {
			return err
		}
	}
	b.Note("%d tasks preloaded by SQL, one process; ours: a node with 2,000 slots; history is kept (Graphile deletes its rows)", n)
	b.show("ours, no turns", plain)
	b.show("ours, 70 % with one of 2,000 turns", keyed)
	b.show("River, its own benchmark's settings", river)
	b.show("commit limit, 8 connections", commits)
	p1 := plain.rates().Over(river.rates())
	b.Figure("ours / River, no turns", p1, "x", "P1 2.5 (floor 1.5)")
	b.Figure("ours / River, 70 % with turns", keyed.rates().Over(river.rates()), "x", "")
	b.goals.set("drain", "P1", p1, "")
	b.goals.set("drain", "P3a", plain.dbs().Over(river.dbs()), "")
	b.goals.set("drain", "P3b", plain.of(func(c cost) float64 { return c.client }).Over(river.of(func(c cost) float64 { return c.client })), "")
	b.goals.set("drain", "P3c", plain.of(func(c cost) float64 { return c.wal }).Over(river.of(func(c cost) float64 { return c.wal })), "")
	if without != nil {
		b.Note("Graphile Worker was not measured: %v", without)
	} else {
		b.show("Graphile Worker, batch mode", batch)
		b.show(fmt.Sprintf("Graphile Worker, its defaults (%d tasks)", few), deflt)
		p2 := plain.rates().Over(batch.rates())
		b.Figure("ours / Graphile Worker in batch mode, no turns", p2, "x", "P2 1.4 (floor 1.0)")
		b.Figure("ours / Graphile Worker with its defaults", plain.rates().Over(deflt.rates()), "x", "")
		b.goals.set("drain", "P2", p2, "")
	}
	b.judge(commits)
	return nil
}

func oursDrain(ctx context.Context, b *bench, n int, keyed bool) (cost, error) {
	s, err := b.ours(ctx)
	if err != nil {
		return cost{}, err
	}
	if err := s.preload(ctx, n, keyed); err != nil {
		return cost{}, err
	}
	d, err := db.Open(ctx, s.url)
	if err != nil {
		return cost{}, err
	}
	t := newTally(n)
	m, err := b.meter(ctx, s.name)
	if err != nil {
		return cost{}, err
	}
	b.made++
	node, err := cluster.Start(ctx, d, cluster.Config{
		Name: "n1", DataDir: fmt.Sprintf("%s/nodes/%d", b.dir, b.made), Cap: 2000, Log: silent, Handlers: map[string]cluster.Handler{kind: t.noop},
	})
	if err != nil {
		return cost{}, err
	}
	late, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	select {
	case <-t.full:
	case <-late.Done():
		return cost{}, fmt.Errorf("ours: %d of %d tasks ran in 5 minutes", t.count(), n)
	}
	if err := s.empty(late); err != nil {
		return cost{}, err
	}
	c, err := m.stop(ctx, n, func() error { return errors.Join(node.Stop(ctx), d.Close()) })
	if err != nil {
		return cost{}, err
	}
	if err := s.check(ctx, t, n); err != nil {
		return cost{}, err
	}
	return c, s.close(ctx)
}
