package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/test/bench/measure"
)

// deployments times a deployment of one trivial step, from the request to the end of its task, and counts its round trips.
func deployments(ctx context.Context, b *bench) error {
	const count = 20
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		if err := b.deployments(ctx, engine, count); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) deployments(ctx context.Context, engine db.Engine, count int) error {
	w, err := b.started(ctx, engine)
	if err != nil {
		return err
	}
	defer w.stop()
	if err := w.agents(ctx); err != nil {
		return err
	}
	p, err := w.project(ctx, "Trivial", "echo deployed")
	if err != nil {
		return err
	}
	kinds := []string{listening, polling}
	for _, kind := range kinds { // the first one asks for capabilities
		id, err := w.deploy(ctx, p, kind)
		if err == nil {
			_, err = w.wait(ctx, id, 20*time.Millisecond)
		}
		if err != nil {
			return err
		}
	}
	var bash measure.Sample
	wall, queued := map[string]measure.Sample{}, map[string]measure.Sample{}
	for range count {
		for _, kind := range kinds {
			since := time.Now()
			id, err := w.deploy(ctx, p, kind)
			if err != nil {
				return err
			}
			t, err := w.wait(ctx, id, 10*time.Millisecond)
			if err != nil {
				return err
			}
			wall[kind] = append(wall[kind], measure.MS(time.Since(since)))
			queued[kind] = append(queued[kind], measure.MS(t.StartTime.Sub(t.QueueTime)))
			raw, err := w.raw(ctx, id)
			if err != nil {
				return err
			}
			if n := strings.Count(string(raw), "deployed\n"); n != 1 {
				return fmt.Errorf("the log of %s has %d lines \"deployed\":\n%s", id, n, raw)
			}
		}
		since := time.Now()
		if err := exec.CommandContext(ctx, "bash", "-c", "echo deployed").Run(); err != nil {
			return err
		}
		bash = append(bash, measure.MS(time.Since(since)))
	}
	for _, kind := range kinds {
		name := fmt.Sprintf("%s, %s agent", engine, strings.ToLower(kind))
		b.Figure(name+": request to end of task", wall[kind], "ms", "")
		b.Figure(name+": p90", measure.Sample{wall[kind].Quantile(0.9)}, "ms", "")
		b.Figure(name+": of it, queued (to the start of the task)", queued[kind], "ms", "")
		b.Figure(name+": in starts of bash (\"bash -c 'echo deployed'\")", wall[kind].Over(bash), "x", "")
	}
	if engine != db.Postgres {
		return nil
	}
	return w.roundTrips(ctx, p)
}

// roundTrips counts what deployments cost the database, without anybody asking for them meanwhile.
func (w *world) roundTrips(ctx context.Context, p project) error {
	const each, length = 8, 2 * time.Second
	c, err := w.postgres.Connect(ctx, w.pg)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	from, to, took, err := w.idle(ctx, 20*time.Second)
	if err != nil {
		return err
	}
	idle := to.Minus(from).Times(1 / took.Seconds())
	for _, kind := range []string{listening, polling} {
		var ids []string
		before, err := w.postgres.Done(ctx, c)
		if err != nil {
			return err
		}
		cpu, since := w.postgres.CPU(), time.Now()
		for range each {
			id, err := w.deploy(ctx, p, kind)
			if err != nil {
				return err
			}
			ids = append(ids, id)
			pause(ctx, length)
		}
		after, err := w.postgres.Done(ctx, c)
		if err != nil {
			return err
		}
		elapsed, spent := time.Since(since), w.postgres.CPU()-cpu
		for _, id := range ids {
			if t, err := w.task(ctx, id); err != nil || t.State != "Success" {
				return fmt.Errorf("%s was %s %s after it was asked for (%w)", id, t.State, length, err)
			}
		}
		one := after.Minus(before)
		background := idle.Times(elapsed.Seconds())
		one = one.Minus(background).Times(1.0 / each)
		name := "postgres, " + strings.ToLower(kind) + " agent: one deployment"
		w.Figure(name+", round trips", measure.Sample{one.Statements}, "", "")
		w.Figure(name+", transactions", measure.Sample{one.Commits}, "", "")
		w.Figure(name+", of these only reading", measure.Sample{one.Reads}, "", "")
		w.Figure(name+", time inside the database", measure.Sample{one.MS}, "ms", "")
		w.Figure(name+", CPU of the database, idle work included", measure.Sample{measure.MS(spent) / each}, "ms", "")
	}
	w.Note("the idle node's own %s round trips/s are taken off; the request that makes the deployment is included", measure.Number(idle.Statements))
	return nil
}
