package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// yardstick commits single-row updates of a small warm table: what a database can do at best.
type yardstick struct {
	b        *bench
	database string
	conns    []*pgx.Conn
}

func (b *bench) yardstick(ctx context.Context, connections int) (*yardstick, error) {
	name, err := b.postgres.Create(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.postgres.Exec(ctx, name, `CREATE TABLE yardstick (id int PRIMARY KEY, n int NOT NULL) WITH (fillfactor = 30);
		INSERT INTO yardstick SELECT i, 0 FROM generate_series(1, 64) i`); err != nil {
		return nil, err
	}
	y := &yardstick{b: b, database: name}
	for range connections {
		c, err := b.postgres.Connect(ctx, name)
		if err != nil {
			return nil, err
		}
		y.conns = append(y.conns, c)
	}
	_, err = y.run(ctx, len(y.conns), 200*time.Millisecond) // warm
	return y, err
}

const oneCommit = "UPDATE yardstick SET n = n + 1 WHERE id = $1"

// run commits on n connections at once for a while.
func (y *yardstick) run(ctx context.Context, n int, length time.Duration) (cost, error) {
	m, err := y.b.meter(ctx, y.database)
	if err != nil {
		return cost{}, err
	}
	var done atomic.Int64
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	end := time.Now().Add(length)
	for i, c := range y.conns[:n] {
		wg.Go(func() {
			for time.Now().Before(end) {
				if _, err := c.Exec(ctx, oneCommit, i+1); err != nil {
					failed.Store(&err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return cost{}, fmt.Errorf("yardstick: %w", *err)
	}
	return m.stop(ctx, int(done.Load()), nil)
}

func (y *yardstick) close(ctx context.Context) {
	for _, c := range y.conns {
		_ = c.Close(ctx) // the server is stopped soon
	}
}

// judge notes it when the yardstick moved too much.
func (b *bench) judge(commits costs) { b.Steady("the commit limit", commits.rates()) }
