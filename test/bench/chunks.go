package main

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/test/bench/measure"
)

// chunks compares ways of storing the same log lines: what they cost the database's processor.
func chunks(ctx context.Context, b *bench) error {
	name, err := b.postgres.Create(ctx)
	if err != nil {
		return err
	}
	d, err := db.Open(ctx, b.postgres.URL(name))
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Migrate(ctx); err != nil {
		return err
	}
	const tasks, total, answer = 32, 6400, 100
	fences, end, err := b.running(ctx, d, tasks)
	if err != nil {
		return err
	}
	defer end()
	entries := func(f cluster.Fence, n int) []tasklog.Entry {
		list := make([]tasklog.Entry, n)
		for i := range list {
			list[i] = tasklog.Line(f.Task, tasklog.Info, "a line of a script as they are, of some seventy letters, more or less")
		}
		return list
	}
	ways := []struct {
		name string
		run  func() error
	}{
		{"a commit for each line", func() error {
			for i := range total {
				if err := d.InTx(ctx, func(tx *db.Tx) error { return tasklog.Append(ctx, tx, fences[i%tasks], entries(fences[i%tasks], 1)...) }); err != nil {
					return err
				}
			}
			return nil
		}},
		{fmt.Sprintf("a commit for each answer of an agent (%d lines): as it is built", answer), func() error {
			for i := range total / answer {
				if err := d.InTx(ctx, func(tx *db.Tx) error {
					return tasklog.Append(ctx, tx, fences[i%tasks], entries(fences[i%tasks], answer)...)
				}); err != nil {
					return err
				}
			}
			return nil
		}},
		{"4 lines of each task, a commit for each task", func() error {
			for i := range total / 4 {
				if err := d.InTx(ctx, func(tx *db.Tx) error { return tasklog.Append(ctx, tx, fences[i%tasks], entries(fences[i%tasks], 4)...) }); err != nil {
					return err
				}
			}
			return nil
		}},
		{fmt.Sprintf("4 lines of each task, one commit for %d tasks: P27's batch of a node", tasks), func() error {
			for range total / 4 / tasks {
				if err := d.InTx(ctx, func(tx *db.Tx) error {
					for _, f := range fences {
						if err := tasklog.Append(ctx, tx, f, entries(f, 4)...); err != nil {
							return err
						}
					}
					return nil
				}); err != nil {
					return err
				}
			}
			return nil
		}},
	}
	cpu, wall := make([]measure.Sample, len(ways)), make([]measure.Sample, len(ways))
	runs := 0
	for range b.rounds {
		for i, way := range ways {
			before, since := b.postgres.CPU(), time.Now()
			if err := way.run(); err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
			cpu[i] = append(cpu[i], measure.MS(b.postgres.CPU()-before)*1000/total)
			wall[i] = append(wall[i], measure.MS(time.Since(since))*1000/total)
			runs++
		}
	}
	var stored int
	if err := d.Read(ctx, func(tx *db.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT sum(entries) FROM log_chunk").Scan(&stored)
	}); err != nil {
		return err
	}
	if stored != runs*total {
		return fmt.Errorf("%d lines are stored, %d were written", stored, runs*total)
	}
	for i, way := range ways {
		b.Figure(way.name+": CPU of the database", cpu[i], "us/line", "")
		b.Figure(way.name+": time", wall[i], "us/line", "")
	}
	b.Figure("CPU, by answer / by line", cpu[1].Over(cpu[0]), "", "P27 0.1 (floor 0.3)")
	b.Figure("CPU, one commit for 32 tasks / one for each", cpu[3].Over(cpu[2]), "", "P27 0.1 (floor 0.3); not built")
	return nil
}

// running starts a node whose tasks do nothing, and gives their fences.
func (b *bench) running(ctx context.Context, d *db.DB, n int) ([]cluster.Fence, func(), error) {
	got := make(chan cluster.Fence, n)
	node, err := cluster.Start(ctx, d, cluster.Config{
		Name: "bench", DataDir: filepath.Join(b.dir, "node"), Cap: n, Log: slog.New(slog.DiscardHandler),
		Handlers: map[string]cluster.Handler{"Deploy": func(ctx context.Context, run *cluster.Run) cluster.Outcome {
			got <- run.Fence
			<-ctx.Done()
			return cluster.Released{}
		}},
	})
	if err != nil {
		return nil, nil, err
	}
	end := func() { _ = node.Stop(context.WithoutCancel(ctx)) } // the database goes with it
	if err := d.InTx(ctx, func(tx *db.Tx) error {
		for i := range n {
			if _, err := cluster.Push(ctx, tx, cluster.NewTask{Kind: "Deploy", SpaceId: "Spaces-1", Description: fmt.Sprint("Bench ", i)}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		end()
		return nil, nil, err
	}
	fences := make([]cluster.Fence, 0, n)
	for range n {
		select {
		case f := <-got:
			fences = append(fences, f)
		case <-time.After(time.Minute):
			end()
			return nil, nil, fmt.Errorf("%d of %d tasks were started", len(fences), n)
		}
	}
	return fences, end, nil
}

// queue runs the benchmarks that stand beside the queue's code.
func queue(ctx context.Context, b *bench) error {
	out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", ".", "-benchtime", "2s", "-timeout", "10m", "./internal/cluster").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	result := regexp.MustCompile(`^Benchmark(\S+?)(-\d+)?\s+\d+\s+(.*)$`)
	found := 0
	for l := range strings.Lines(string(out)) {
		m := result.FindStringSubmatch(strings.TrimSpace(l))
		if m == nil {
			continue
		}
		var ns float64
		if _, err := fmt.Sscan(m[3], &ns); err != nil {
			return err
		}
		found++
		b.Figure(m[1], measure.Sample{1e9 / ns}, "/s", "")
	}
	if found == 0 {
		return fmt.Errorf("there were no benchmarks:\n%s", out)
	}
	b.Note("one caller; the databases of these are the tests', in memory (PostgreSQL without fsync): a rate without a disk")
	return nil
}
