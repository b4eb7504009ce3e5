package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/octavo/octavo/test/bench/measure"
)

// cost is what some work took, for each task.
type cost struct {
	rate         float64 // tasks/s
	db           float64 // us of the database's processor
	client       float64 // us of ours
	wal          float64 // bytes
	transactions float64
}

// costs are those of all rounds.
type costs []cost

func (c costs) of(what func(cost) float64) measure.Sample {
	out := make(measure.Sample, len(c))
	for i := range c {
		out[i] = what(c[i])
	}
	return out
}

func (c costs) rates() measure.Sample { return c.of(func(c cost) float64 { return c.rate }) }
func (c costs) dbs() measure.Sample   { return c.of(func(c cost) float64 { return c.db }) }

// show prints one line of everything.
func (b *bench) show(what string, c costs) {
	b.Note("%-40s %-26s tasks/s; database CPU %-18s us, client CPU %-18s us, WAL %-20s B, transactions %s", what, c.rates(), c.dbs(),
		c.of(func(c cost) float64 { return c.client }), c.of(func(c cost) float64 { return c.wal }), c.of(func(c cost) float64 { return c.transactions }))
}

// meter reads the counters of one database from another one, so that it is not in the count itself.
type meter struct {
	b            *bench
	conn         *pgx.Conn
	database     string
	at           time.Time
	db           time.Duration
	client       time.Duration
	wal          int64
	transactions int64
}

func (b *bench) meter(ctx context.Context, database string) (*meter, error) {
	conn, err := b.postgres.Connect(ctx, "postgres")
	if err != nil {
		return nil, err
	}
	m := &meter{b: b, conn: conn, database: database}
	if _, _, err = m.read(ctx); err != nil { // so that the reading that counts takes no time
		return nil, err
	}
	if m.wal, m.transactions, err = m.read(ctx); err != nil {
		return nil, err
	}
	m.client, m.db, m.at = ownCPU(), b.postgres.CPU(), time.Now()
	return m, nil
}

func (m *meter) read(ctx context.Context) (wal, transactions int64, err error) {
	// A backend says what it did when it ends, or every second while it works.
	err = m.conn.QueryRow(ctx, `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, xact_commit FROM pg_stat_database WHERE datname = $1`, m.database).
		Scan(&wal, &transactions)
	return wal, transactions, err
}

// ours counts transactions exactly, from what the database has run for us: commits, and what the connection of the hints asks by itself.
func (m *meter) ours(ctx context.Context) (n float64, err error) {
	err = m.conn.QueryRow(ctx, `SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = $1)
		AND (query ILIKE 'commit%' OR query ILIKE '%pg_notify%' OR query ILIKE 'SELECT topic%')`, m.database).Scan(&n)
	return n, err
}

// stop is to be called when n tasks are done; closed, if given, ends the connections of the contender, whose backends then say how
// much they did.
func (m *meter) stop(ctx context.Context, n int, closed func() error) (cost, error) {
	took := time.Since(m.at).Seconds()
	db, client := m.b.postgres.CPU()-m.db, ownCPU()-m.client
	wal, _, err := m.read(ctx)
	if err != nil {
		return cost{}, err
	}
	if closed != nil {
		if err := closed(); err != nil {
			return cost{}, err
		}
	}
	time.Sleep(100 * time.Millisecond)
	_, transactions, err := m.read(ctx)
	if err != nil {
		return cost{}, err
	}
	if n == 0 {
		return cost{}, fmt.Errorf("no task was done in %.1f s", took)
	}
	f := float64(n)
	return cost{
		rate: f / took, db: measure.MS(db) * 1000 / f, client: measure.MS(client) * 1000 / f,
		wal: float64(wal-m.wal) / f, transactions: float64(transactions-m.transactions) / f,
	}, m.conn.Close(ctx)
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it has no reason to
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
