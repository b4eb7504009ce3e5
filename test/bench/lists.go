package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/test/bench/measure"
)

// lists measures pages of the list of tasks when there are very many.
func lists(ctx context.Context, b *bench) error {
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		if err := b.lists(ctx, engine); err != nil {
			return err
		}
	}
	b.Note("P30 (pages from a cache, 304): not built; the API sends Cache-Control: no-store and no ETag, so there is nothing to measure")
	return nil
}

func (b *bench) lists(ctx context.Context, engine db.Engine) error {
	w, err := b.started(ctx, engine)
	if err != nil {
		return err
	}
	defer w.stop()
	d, err := db.Open(ctx, w.database)
	if err != nil {
		return err
	}
	defer d.Close()
	since := time.Now()
	if err := fill(ctx, d, b.tasks); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	b.Note("%s: %d tasks of 40 projects and 5 environments written in %.0f s", engine, b.tasks, time.Since(since).Seconds())
	one, closing, err := w.selectOne(ctx)
	if err != nil {
		return err
	}
	defer closing()
	for _, page := range []struct {
		what, query string
		filter      cluster.Filter
		n           int
	}{
		{"newest 30", "take=30", cluster.Filter{Spaces: []string{"Spaces-1"}, Take: 30}, 100},
		{"newest 30 of a project", "take=30&project=Projects-7", cluster.Filter{Spaces: []string{"Spaces-1"}, Projects: []string{"Projects-7"}, Take: 30}, 100},
		{"newest 30 of a project and environment", "take=30&project=Projects-7&environment=Environments-3", cluster.Filter{Spaces: []string{"Spaces-1"}, Projects: []string{"Projects-7"}, Environments: []string{"Environments-3"}, Take: 30}, 100},
		{"newest 30 that failed", "take=30&states=Failed", cluster.Filter{Spaces: []string{"Spaces-1"}, States: []string{"Failed"}, Take: 30}, 100},
		{"active ones", "take=30&active=true", cluster.Filter{Spaces: []string{"Spaces-1"}, Active: new(true), Take: 30}, 100},
		{"30 in the middle (skip)", fmt.Sprintf("take=30&skip=%d", b.tasks/2), cluster.Filter{Spaces: []string{"Spaces-1"}, Skip: b.tasks / 2, Take: 30}, 5},
		{"30 with a word in the description", "take=30&description=release+1.2.17", cluster.Filter{Spaces: []string{"Spaces-1"}, Description: "release 1.2.17", Take: 30}, 5},
	} {
		var api, inside, trips measure.Sample
		for i := range page.n {
			since := time.Now()
			got, err := w.page(ctx, page.query)
			if err != nil {
				return err
			}
			api = append(api, measure.MS(time.Since(since)))
			if page.filter.Active == nil && got == 0 {
				return fmt.Errorf("the page %q is empty", page.query)
			}
			since = time.Now()
			if err := d.Read(ctx, func(tx *db.Tx) error {
				if _, err := cluster.List(ctx, tx, page.filter); err != nil {
					return err
				}
				_, _, err := cluster.Totals(ctx, tx, page.filter)
				return err
			}); err != nil {
				return err
			}
			inside = append(inside, measure.MS(time.Since(since)))
			since = time.Now()
			if err := one.QueryRowContext(ctx, "SELECT 1").Scan(new(int)); err != nil {
				return err
			}
			trips = append(trips, measure.MS(time.Since(since)))
			if i == 4 && inside.Median() > 200 {
				break // five are enough of a slow one
			}
		}
		goal, name := "", fmt.Sprintf("%s, %s", engine, page.what)
		if engine == db.Postgres {
			goal = "P29 6x"
		}
		b.Figure(name+": database, p50", measure.Sample{inside.Median()}, "ms", "")
		b.Figure(name+": database, p99", measure.Sample{inside.Quantile(0.99)}, "ms", "P29 2 ms")
		b.Figure(name+": database, p50, in \"select 1\"s", measure.Sample{inside.Median() / trips.Median()}, "x", goal)
		b.Figure(name+": over HTTP, p50", measure.Sample{api.Median()}, "ms", "")
		b.Figure(name+": over HTTP, p99", measure.Sample{api.Quantile(0.99)}, "ms", "")
	}
	return nil
}

// page gets one and tells how many tasks it holds.
func (w *world) page(ctx context.Context, query string) (int, error) {
	var got struct{ Items []object }
	err := w.call(ctx, http.MethodGet, "/api/Spaces-1/tasks?"+query, nil, &got)
	return len(got.Items), err
}

// selectOne is a connection to the same database by the driver the server uses.
func (w *world) selectOne(ctx context.Context) (*sql.DB, func(), error) {
	if w.engine == db.SQLite {
		d, err := sql.Open("sqlite", "file:"+w.database)
		if err != nil {
			return nil, nil, err
		}
		return d, func() { _ = d.Close() }, d.PingContext(ctx)
	}
	c, err := w.postgres.Config(w.pg)
	if err != nil {
		return nil, nil, err
	}
	d := stdlib.OpenDB(*c)
	return d, func() { _ = d.Close() }, d.PingContext(ctx)
}

// fill writes ended deployments of the past.
func fill(ctx context.Context, d *db.DB, n int) error {
	const each = 50_000
	for from := 1; from <= n; from += each {
		to := min(from+each-1, n)
		series := "WITH RECURSIVE s(i) AS (SELECT $1 + 0 UNION ALL SELECT i + 1 FROM s WHERE i < $2)"
		if d.Engine() == db.Postgres {
			series = "WITH s(i) AS (SELECT generate_series($1::bigint, $2::bigint))"
		}
		if err := d.InTx(ctx, func(tx *db.Tx) error {
			_, err := tx.ExecContext(ctx, series+`
				INSERT INTO task (id, number, space, kind, description, search, arguments, turn, priority, project, environment, tenant, runbook, batch,
					created, queue_time, state, node, started, ended, updated, error, warnings, log_lines)
				SELECT 'ServerTasks-' || i, i, 'Spaces-1', 'Deploy',
					'Deploy Project ' || (i % 40) || ' release 1.' || (i % 9) || '.' || (i / 1000) || ' to Environment ' || (i % 5),
					'deploy deploy project ' || (i % 40) || ' release 1.' || (i % 9) || '.' || (i / 1000) || ' to environment ' || (i % 5),
					'{"DeploymentId":"Deployments-' || i || '"}', 'Projects-' || (i % 40) || '/Environments-' || (i % 5) || '/', FALSE,
					'Projects-' || (i % 40), 'Environments-' || (i / 40 % 5), '', '', '',
					$3 + i * 1000, $3 + i * 1000,
					CASE WHEN i % 100 < 90 THEN 'Success' WHEN i % 100 < 97 THEN 'Failed' ELSE 'Canceled' END,
					'bench', $3 + i * 1000 + 200, $3 + i * 1000 + 60000, $3 + i * 1000 + 60000, '', i % 20 = 0, 120
				FROM s`, from, to, tx.Ms()-int64(n)*1000)
			return err
		}); err != nil {
			return err
		}
	}
	return d.InTx(ctx, func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, "ANALYZE task") // autovacuum would, a minute later
		return err
	})
}
