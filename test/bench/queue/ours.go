package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
)

const kind = "Deploy"

var silent = slog.New(slog.DiscardHandler)

// space is one database of ours.
type space struct {
	b    *bench
	name string // of the PostgreSQL database
	url  string
	db   *db.DB // of whoever pushes; it is no node
}

// ours makes a migrated, empty database.
func (b *bench) ours(ctx context.Context) (*space, error) {
	name, err := b.postgres.Create(ctx)
	if err != nil {
		return nil, err
	}
	s := &space{b: b, name: name, url: b.postgres.URL(name)}
	if s.db, err = db.Open(ctx, s.url+"&pool=32"); err != nil {
		return nil, err
	}
	return s, s.db.Migrate(ctx)
}

func (s *space) close(ctx context.Context) error {
	if s.b.spent {
		if err := s.statements(ctx); err != nil {
			return err
		}
	}
	if err := s.db.Close(); err != nil {
		return err
	}
	return s.b.postgres.Exec(ctx, "postgres", "DROP DATABASE "+s.name+" WITH (FORCE)")
}

// statements prints what took longest.
func (s *space) statements(ctx context.Context) error {
	conn, err := s.b.postgres.Connect(ctx, s.name)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT calls, total_exec_time, rows, shared_blks_hit, wal_bytes::bigint, wal_fpi, left(regexp_replace(query, '\s+', ' ', 'g'), 110) FROM pg_stat_statements
		WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY total_exec_time DESC LIMIT 12`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var calls, n, hits, wal, full int64
		var ms float64
		var query string
		if err := rows.Scan(&calls, &ms, &n, &hits, &wal, &full, &query); err != nil {
			return err
		}
		s.b.Note("%8d calls %9.0f ms %8d rows %10d pages read %10d B of WAL (%d whole pages)  %s", calls, ms, n, hits, wal, full, query)
	}
	return rows.Err()
}

// keyOf gives 70 of 100 tasks one of 2,000 turns.
func keyOf(i int) string {
	if i%10 >= 7 {
		return ""
	}
	return fmt.Sprint("turn ", i*7919%2000)
}

func newTask(turn string) cluster.NewTask {
	n := 0
	if turn != "" {
		_, _ = fmt.Sscanf(turn, "turn %d", &n) // other turns are of project 0
	}
	return cluster.NewTask{
		SpaceId: "Spaces-1", Kind: kind, Description: "Deploy Web release 1.2.3 to Production", Arguments: map[string]string{"DeploymentId": "Deployments-1"},
		Turn: turn, ProjectId: fmt.Sprint("Projects-", n%40), EnvironmentId: fmt.Sprint("Environments-", n%5),
	}
}

// preload queues n tasks by SQL, as Push would: the pushing is not what is measured then. keyed: 70 % have one of 2,000 turns.
func (s *space) preload(ctx context.Context, n int, keyed bool) error {
	const turn = "CASE WHEN $2::boolean AND i % 10 < 7 THEN 'turn ' || (i * 7919 % 2000) END"
	return s.sql(ctx, n, []any{keyed}, `INSERT INTO task (id, number, space, kind, description, search, arguments, turn, priority,
				project, environment, tenant, runbook, batch, created, queue_time, state, updated)
			SELECT 'ServerTasks-' || (f.n + i), f.n + i, 'Spaces-1', 'Deploy', 'Deploy Web release 1.2.3 to Production', 'deploy deploy web release 1.2.3 to production',
				'{"DeploymentId":"Deployments-1"}', `+turn+`, FALSE, 'Projects-' || (i * 7919 % 40), 'Environments-' || (i * 7919 % 5), '', '', '', f.ms, f.ms, 'live', f.ms
			FROM generate_series(1, $1) i, f`,
		`INSERT INTO queue (task, kind, turn, lane, place, state, due, head, queue_time, updated)
			SELECT 'ServerTasks-' || (f.n + i), 'Deploy', `+turn+`, 3, f.p + i, 'queued', TRUE,
				row_number() OVER (PARTITION BY coalesce(`+turn+`, i::text) ORDER BY i) = 1, f.ms, f.ms
			FROM generate_series(1, $1) i, f`)
}

// blocked queues n tasks of one turn that a waiting task holds.
func (s *space) blocked(ctx context.Context, n int) error {
	return s.sql(ctx, n, nil, `INSERT INTO task (id, number, space, kind, description, search, arguments, turn, priority,
				project, environment, tenant, runbook, batch, created, queue_time, state, updated)
			SELECT 'ServerTasks-' || (f.n + i), f.n + i, 'Spaces-1', 'Deploy', 'Deploy', 'deploy', '{}', 'busy', FALSE, 'Projects-1', 'Environments-1', '', '', '', f.ms, f.ms, 'live', f.ms
			FROM generate_series(1, $1) i, f`,
		`INSERT INTO queue (task, kind, turn, lane, place, state, due, head, queue_time, updated, node, claim)
			SELECT 'ServerTasks-' || (f.n + i), 'Deploy', 'busy', CASE WHEN i = 1 THEN 0 ELSE 3 END, f.p + i, CASE WHEN i = 1 THEN 'waiting' ELSE 'queued' END, TRUE,
				i = 1, f.ms, f.ms, '', 0
			FROM generate_series(1, $1) i, f`)
}

// history adds n ended tasks.
func (s *space) history(ctx context.Context, n int) error {
	return s.sql(ctx, n, nil, `INSERT INTO task (id, number, space, kind, description, search, arguments, turn, priority,
				project, environment, tenant, runbook, batch, created, queue_time, state, node, started, ended, updated)
			SELECT 'ServerTasks-' || (f.n + i), f.n + i, 'Spaces-1', 'Deploy', 'Deploy Web release 1.2.3 to Production', 'deploy deploy web release 1.2.3 to production',
				'{"DeploymentId":"Deployments-1"}', NULL, FALSE, 'Projects-' || (i % 40), 'Environments-' || (i % 5), '', '', '', f.ms, f.ms, 'Success', 'n0', f.ms, f.ms, f.ms
			FROM generate_series(1, $1) i, f`,
		`INSERT INTO task_tally (space, project, environment, kind, state, slot, n)
			SELECT 'Spaces-1', 'Projects-' || (i % 40), 'Environments-' || (i % 5), 'Deploy', 'Success', 99, count(*) FROM generate_series(1, $1) i GROUP BY 1, 2, 3`)
}

// sql runs two statements that know where numbers go on (f.n and f.p), and draws n of each.
func (s *space) sql(ctx context.Context, n int, more []any, tasks, queue string) error {
	if n == 0 {
		return nil
	}
	conn, err := s.b.postgres.Connect(ctx, s.name)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx) //nolint:errcheck // harmless after the commit
	var number, place int64
	if err := tx.QueryRow(ctx, "SELECT next_number('ServerTasks'), next_number('place')").Scan(&number, &place); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "SELECT setval('number_servertasks', $1), setval('number_place', $2)", number+int64(n), place+int64(n)); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "SET LOCAL session_replication_role = replica"); err != nil { // no trigger counts a million rows one by one
		return err
	}
	with := fmt.Sprintf("WITH f (n, p, ms) AS (VALUES (%d::bigint, %d::bigint, %d::bigint)) ", number, place, time.Now().UnixMilli())
	for _, text := range []string{tasks, queue} {
		if _, err := tx.Exec(ctx, with+text, append([]any{n}, more...)...); err != nil {
			return fmt.Errorf("preload: %w", err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "VACUUM ANALYZE")
	return err
}

// fleet is some nodes, each with connections of its own, as processes would have them.
type fleet struct {
	dbs   []*db.DB
	nodes []*cluster.Node
}

func (s *space) fleet(ctx context.Context, n, slots int, handler cluster.Handler) (*fleet, error) {
	f := &fleet{}
	for i := range n {
		s.b.made++
		d, err := db.Open(ctx, s.url+"&pool=2")
		if err != nil {
			return f, err
		}
		f.dbs = append(f.dbs, d)
		node, err := cluster.Start(ctx, d, cluster.Config{
			Name: fmt.Sprint("n", i+1, "of", slots), DataDir: filepath.Join(s.b.dir, "nodes", fmt.Sprint(s.b.made)), Cap: slots, Log: silent,
			Handlers: map[string]cluster.Handler{kind: handler},
		})
		if err != nil {
			return f, err
		}
		f.nodes = append(f.nodes, node)
	}
	return f, nil
}

// stop ends the nodes and their connections.
func (f *fleet) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(f.nodes))
	for i, n := range f.nodes {
		wg.Go(func() { errs[i] = n.Stop(ctx) })
	}
	wg.Wait()
	for i, d := range f.dbs {
		if i < len(errs) && errs[i] != nil {
			return errs[i]
		}
		if err := d.Close(); err != nil {
			return err
		}
	}
	return nil
}

// tally notes every run: who ran twice, and what of one turn ran at the same time.
type tally struct {
	mu     sync.Mutex
	ran    map[string]int
	within map[string]string // turn: the task that runs
	bad    string
	n      int
	until  int
	full   chan struct{}
}

func newTally(until int) *tally {
	return &tally{ran: make(map[string]int, until), within: map[string]string{}, until: until, full: make(chan struct{})}
}

func (t *tally) enter(task cluster.Task) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ran[task.Id]++
	if t.ran[task.Id] > 1 && t.bad == "" {
		t.bad = task.Id + " ran twice"
	}
	if task.Turn != "" {
		if other := t.within[task.Turn]; other != "" && t.bad == "" {
			t.bad = fmt.Sprintf("%s and %s ran at the same time, both of %q", other, task.Id, task.Turn)
		}
		t.within[task.Turn] = task.Id
	}
	if t.n++; t.n == t.until {
		close(t.full)
	}
}

func (t *tally) leave(task cluster.Task) {
	t.mu.Lock()
	delete(t.within, task.Turn)
	t.mu.Unlock()
}

// noop is a task that does nothing.
func (t *tally) noop(_ context.Context, run *cluster.Run) cluster.Outcome {
	t.enter(run.Task)
	t.leave(run.Task)
	return cluster.Ended{State: cluster.Success}
}

func (t *tally) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

// empty waits until nothing is queued any more.
func (s *space) empty(ctx context.Context) error {
	conn, err := s.b.postgres.Connect(ctx, s.name)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for {
		var n int
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM queue WHERE state <> 'waiting'").Scan(&n); err != nil || n == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d tasks are still queued: %w", n, ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// check holds the invariants against the database after the nodes stopped; ended is how many have to have ended since the
// database was made, each of which ran exactly once.
func (s *space) check(ctx context.Context, t *tally, ended int) error {
	if t.bad != "" {
		return fmt.Errorf("invariant broken: %s", t.bad)
	}
	conn, err := s.b.postgres.Connect(ctx, s.name)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var running, stuck, success, others int
	err = conn.QueryRow(ctx, `SELECT (SELECT count(*) FROM queue WHERE state = 'running'),
		(SELECT count(*) FROM (SELECT 1 FROM queue WHERE turn IS NOT NULL AND due GROUP BY turn HAVING NOT bool_or(head)) x),
		(SELECT count(*) FROM task WHERE state = 'Success' AND node <> 'n0'), (SELECT count(*) FROM task WHERE state NOT IN ('Success', 'live'))`).Scan(&running, &stuck, &success, &others)
	if err != nil {
		return err
	}
	if running > 0 || stuck > 0 || others > 0 {
		return fmt.Errorf("invariant broken: %d tasks are left running, %d turns have no head, %d tasks ended badly", running, stuck, others)
	}
	if success != ended {
		return fmt.Errorf("invariant broken: %d tasks have ended, %d have run", success, ended)
	}
	rows, err := conn.Query(ctx, "SELECT id FROM task WHERE state = 'Success' AND node <> 'n0'")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		if t.ran[id] != 1 {
			return fmt.Errorf("invariant broken: %s has ended, and ran %d times", id, t.ran[id])
		}
	}
	return rows.Err()
}
