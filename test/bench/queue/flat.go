package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/test/bench/measure"
)

func sorted(s []string) []string {
	c := slices.Clone(s)
	slices.Sort(c)
	return c
}

// state is a queue that a node has to claim from.
type state struct {
	name string
	fill func(ctx context.Context, s *space) error
	pin  bool // a snapshot is held while `before` tasks flow
	s    *space
	t    *tally
	ran  int
	p50  measure.Sample
	cpu  measure.Sample
}

// flatness compares the time between the end of a task and the start of the next one on a node with one slot: finish, promote, claim and
// commit.
func flatness(ctx context.Context, b *bench) error {
	steps := b.n(5000)
	flow := b.n(200_000)
	spare := steps * (b.rounds + 1)
	states := []*state{
		{name: "empty", fill: func(ctx context.Context, s *space) error { return s.preload(ctx, spare, true) }},
		{name: fmt.Sprintf("%d queued, %d ended", b.n(1_000_000), b.n(1_000_000)), fill: func(ctx context.Context, s *space) error {
			return errors.Join(s.history(ctx, b.n(1_000_000)), s.preload(ctx, b.n(1_000_000), true))
		}},
		{name: fmt.Sprintf("%d tasks of one busy turn in front", b.n(100_000)), fill: func(ctx context.Context, s *space) error {
			return errors.Join(s.blocked(ctx, b.n(100_000)), s.preload(ctx, spare, true))
		}},
		{name: fmt.Sprintf("after %d tasks under a held snapshot", flow), pin: true, fill: func(ctx context.Context, s *space) error {
			return s.preload(ctx, flow+spare, true)
		}},
	}
	for _, st := range states {
		var err error
		if st.s, err = b.ours(ctx); err != nil {
			return err
		}
		if err := st.fill(ctx, st.s); err != nil {
			return fmt.Errorf("%s: %w", st.name, err)
		}
		st.t = newTally(-1)
		if st.pin {
			conn, err := b.postgres.Connect(ctx, st.s.name)
			if err != nil {
				return err
			}
			defer conn.Close(ctx)
			if _, err := conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM node"); err != nil {
				return err
			}
			if err := st.s.flow(ctx, st.t, flow); err != nil {
				return err
			}
		}
	}
	for range b.rounds {
		var each []func() error
		for _, st := range states {
			each = append(each, func() error { return st.step(ctx, b, steps) })
		}
		if err := b.shuffled(each...); err != nil {
			return err
		}
	}
	for _, st := range states {
		if err := st.s.check(ctx, st.t, st.t.count()); err != nil {
			return fmt.Errorf("%s: %w", st.name, err)
		}
		b.Figure(st.name+": turn-around p50", st.p50, "ms", "")
		b.Figure(st.name+": database CPU", st.cpu, "us/task", "")
	}
	for i, id := range []string{1: "P8", 2: "P9", 3: "P10"} {
		if id != "" {
			ratio := states[i].p50.Over(states[0].p50)
			b.goals.set("flat", id, ratio, "")
			b.Figure(states[i].name+" / empty", ratio, "x", id)
		}
	}
	for _, st := range states {
		if err := st.s.close(ctx); err != nil {
			return err
		}
	}
	return nil
}

// step runs n tasks one after the other and notes the turn-around between them.
func (st *state) step(ctx context.Context, b *bench, n int) error {
	var mu sync.Mutex
	var gaps measure.Sample
	var ended time.Time
	left := n
	done := make(chan struct{})
	before := b.postgres.CPU()
	f, err := st.s.fleet(ctx, 1, 1, func(ctx context.Context, run *cluster.Run) cluster.Outcome {
		mu.Lock()
		defer mu.Unlock()
		if left == 0 {
			mu.Unlock()
			<-ctx.Done()
			mu.Lock()
			return cluster.Released{}
		}
		if !ended.IsZero() {
			gaps = append(gaps, measure.MS(time.Since(ended)))
		}
		st.t.enter(run.Task)
		st.t.leave(run.Task)
		if left--; left == 0 {
			close(done)
		}
		ended = time.Now()
		return cluster.Ended{State: cluster.Success}
	})
	if err != nil {
		return err
	}
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		return fmt.Errorf("%s: %d of %d tasks did not run within 2 minutes", st.name, left, n)
	}
	st.cpu = append(st.cpu, measure.MS(b.postgres.CPU()-before)*1000/float64(n))
	if err := f.stop(); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	st.p50 = append(st.p50, gaps.Median())
	return nil
}

// flow lets n tasks through, as fast as one node can.
func (s *space) flow(ctx context.Context, t *tally, n int) error {
	done := make(chan struct{})
	var mu sync.Mutex
	left := n
	f, err := s.fleet(ctx, 1, 500, func(ctx context.Context, run *cluster.Run) cluster.Outcome {
		mu.Lock()
		if left--; left == 0 {
			close(done)
		}
		over := left < 0
		mu.Unlock()
		if over {
			<-ctx.Done()
			return cluster.Released{}
		}
		return t.noop(ctx, run)
	})
	if err != nil {
		return err
	}
	select {
	case <-done:
		return f.stop()
	case <-time.After(10 * time.Minute):
		return errors.New("the tasks did not flow within 10 minutes")
	}
}
