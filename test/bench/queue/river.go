package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

type riverArgs struct {
	Num  int    `json:"num"`
	Text string `json:"text"`
}

func (riverArgs) Kind() string { return "deploy" }

type riverWorker struct {
	river.WorkerDefaults[riverArgs]
	ran func(id int64, args riverArgs)
}

func (w *riverWorker) Work(_ context.Context, job *river.Job[riverArgs]) error {
	w.ran(job.ID, job.Args)
	return nil
}

// ids notes what ran.
type ids struct {
	mu  sync.Mutex
	ran map[int64]int
}

func (i *ids) add(id int64) {
	i.mu.Lock()
	i.ran[id]++
	i.mu.Unlock()
}

func (i *ids) check(n int) error {
	if len(i.ran) != n {
		return fmt.Errorf("%d jobs ran, not %d", len(i.ran), n)
	}
	for id, times := range i.ran {
		if times != 1 {
			return fmt.Errorf("job %d ran %d times", id, times)
		}
	}
	return nil
}

// riverTuned are the settings of River's own benchmark (cmd/river/riverbench).
func riverTuned(c river.Config) *river.Config {
	c.FetchCooldown, c.FetchPollInterval = 2*time.Millisecond, 20*time.Millisecond
	return &c
}

func riverDefault(c river.Config) *river.Config { return &c }

// riverDB makes a database with River's tables.
func (b *bench) riverDB(ctx context.Context) (string, error) {
	name, err := b.postgres.Create(ctx)
	if err != nil {
		return "", err
	}
	pool, err := pgxpool.New(ctx, b.postgres.URL(name))
	if err != nil {
		return "", err
	}
	defer pool.Close()
	return name, riverMigrate(ctx, riverpgxv5.New(pool))
}

func riverMigrate[T any](ctx context.Context, driver riverdriver.Driver[T]) error {
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: silent})
	if err != nil {
		return err
	}
	_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

func (b *bench) riverPool(ctx context.Context, database string, size int) (*pgxpool.Pool, error) {
	conf, err := pgxpool.ParseConfig(b.postgres.URL(database))
	if err != nil {
		return nil, err
	}
	conf.MaxConns = int32(size)
	return pgxpool.NewWithConfig(ctx, conf)
}

// riverPreload inserts as River's benchmark does: 5,000 with each call.
func riverPreload[T any](ctx context.Context, driver riverdriver.Driver[T], n int) error {
	client, err := river.NewClient(driver, &river.Config{Logger: silent})
	if err != nil {
		return err
	}
	for n > 0 {
		batch := make([]river.InsertManyParams, min(n, 5000))
		for i := range batch {
			batch[i].Args = riverArgs{Num: n - i, Text: "Deploy Web release 1.2.3 to Production"}
		}
		if _, err := client.InsertMany(ctx, batch); err != nil {
			return err
		}
		n -= len(batch)
	}
	return nil
}

// riverWork works n jobs down, and gives back when the last one's end is written.
func riverWork[T any](ctx context.Context, driver riverdriver.Driver[T], n int, ran *ids) (stop func() error, err error) {
	workers := river.NewWorkers()
	river.AddWorker(workers, &riverWorker{ran: func(id int64, _ riverArgs) { ran.add(id) }})
	client, err := river.NewClient(driver, riverTuned(river.Config{
		Logger: silent, Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2000}},
	}))
	if err != nil {
		return nil, err
	}
	events, cancel := client.SubscribeConfig(&river.SubscribeConfig{ChanSize: n + 1000, Kinds: []river.EventKind{river.EventKindJobCompleted, river.EventKindJobFailed, river.EventKindJobCancelled}})
	defer cancel()
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return nil, err
	}
	late := time.After(5 * time.Minute)
	for range n {
		select {
		case e := <-events:
			if e.Kind != river.EventKindJobCompleted {
				return nil, fmt.Errorf("river: job %d: %s", e.Job.ID, e.Kind)
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-late:
			return nil, errors.New("river did not end within 5 minutes")
		}
	}
	return func() error { return client.Stop(context.WithoutCancel(ctx)) }, nil
}

func riverDrain(ctx context.Context, b *bench, n int) (cost, error) {
	name, err := b.riverDB(ctx)
	if err != nil {
		return cost{}, err
	}
	pool, err := b.riverPool(ctx, name, 16)
	if err != nil {
		return cost{}, err
	}
	driver := riverpgxv5.New(pool)
	if err := riverPreload(ctx, driver, n); err != nil {
		return cost{}, err
	}
	if err := b.postgres.Exec(ctx, name, "VACUUM ANALYZE"); err != nil {
		return cost{}, err
	}
	pool.Reset()
	ran := &ids{ran: map[int64]int{}}
	m, err := b.meter(ctx, name)
	if err != nil {
		return cost{}, err
	}
	stop, err := riverWork(ctx, driver, n, ran)
	if err != nil {
		return cost{}, err
	}
	c, err := m.stop(ctx, n, func() error {
		err := stop()
		pool.Close()
		return err
	})
	if err != nil {
		return cost{}, err
	}
	if err := ran.check(n); err != nil {
		return cost{}, fmt.Errorf("river: %w", err)
	}
	if err := b.count(ctx, name, "SELECT count(*) FROM river_job WHERE state = 'completed'", n); err != nil {
		return cost{}, fmt.Errorf("river: %w", err)
	}
	return c, b.drop(ctx, name)
}

func (b *bench) count(ctx context.Context, database, query string, want int) error {
	conn, err := b.postgres.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var n int
	if err := conn.QueryRow(ctx, query).Scan(&n); err != nil {
		return err
	}
	if n != want {
		return fmt.Errorf("%d rows by %s, not %d", n, query, want)
	}
	return nil
}

func (b *bench) drop(ctx context.Context, database string) error {
	return b.postgres.Exec(ctx, "postgres", "DROP DATABASE "+database+" WITH (FORCE)")
}

func riverVersion() string {
	info, _ := debug.ReadBuildInfo() // there is one in every program of ours
	var out []string
	for _, m := range info.Deps {
		if strings.HasPrefix(m.Path, "github.com/riverqueue/river") {
			out = append(out, m.Path[strings.LastIndex(m.Path, "/")+1:]+" "+m.Version)
		}
	}
	return strings.Join(out, ", ")
}
