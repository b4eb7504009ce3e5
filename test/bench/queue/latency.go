package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/test/bench/measure"
)

// arrivals calls do at random moments (Poisson) for a while, each on a goroutine of its own, so that a slow answer delays no later one.
// at is when it should have been sent.
func arrivals(rate float64, length time.Duration, do func(i int, at time.Time) error) (int, error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs error
	start, n := time.Now(), 0
	for at := start; ; n++ {
		at = at.Add(time.Duration(rand.ExpFloat64() / rate * float64(time.Second)))
		if at.Sub(start) > length {
			break
		}
		time.Sleep(time.Until(at))
		i := n
		wg.Go(func() {
			if err := do(i, at); err != nil {
				mu.Lock()
				errs = errors.Join(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return n, errs
}

// starts pairs when something was sent with when it began.
type starts struct {
	mu    sync.Mutex
	sent  map[int]time.Time
	begun map[int]time.Time
	twice int
}

func newStarts() *starts { return &starts{sent: map[int]time.Time{}, begun: map[int]time.Time{}} }

func (s *starts) send(i int, at time.Time) {
	s.mu.Lock()
	s.sent[i] = at
	s.mu.Unlock()
}

func (s *starts) begin(i int) {
	now := time.Now()
	s.mu.Lock()
	if _, again := s.begun[i]; again {
		s.twice++
	}
	s.begun[i] = now
	s.mu.Unlock()
}

// wait gives the latencies in ms once all have begun.
func (s *starts) wait(n int) (measure.Sample, error) {
	for range 1000 {
		s.mu.Lock()
		begun := len(s.begun)
		s.mu.Unlock()
		if begun == n {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.begun) != n || s.twice > 0 {
		return nil, fmt.Errorf("%d of %d started, %d of them twice", len(s.begun), n, s.twice)
	}
	out := make(measure.Sample, 0, n)
	for i, at := range s.sent {
		out = append(out, measure.MS(s.begun[i].Sub(at)))
	}
	return out, nil
}

// spread is one figure of latency over all rounds.
type spread struct{ p50, p99, max, claims measure.Sample }

func (s *spread) add(l measure.Sample) {
	s.p50, s.p99, s.max = append(s.p50, l.Quantile(0.5)), append(s.p99, l.Quantile(0.99)), append(s.max, l.Quantile(1))
}

func (b *bench) showSpread(what string, s spread) {
	more := ""
	if s.claims != nil {
		more = fmt.Sprintf(", claims for a task %s", s.claims)
	}
	b.Note("%-58s p50 %-20s p99 %-20s max %-20s ms%s", what, s.p50, s.p99, s.max, more)
}

type latencyCase struct {
	nodes                                     int
	rate                                      float64
	apart, within, tuned, deflt, commit, push spread
}

func latencies(ctx context.Context, b *bench) error {
	cases := []*latencyCase{{nodes: 3, rate: 50}, {nodes: 16, rate: 50}, {nodes: 3, rate: 300}}
	if b.quick {
		cases = cases[:2]
	}
	length := b.seconds(6)
	y, err := b.yardstick(ctx, 16)
	if err != nil {
		return err
	}
	defer y.close(ctx)
	for range b.rounds {
		for _, i := range b.rand.Perm(len(cases)) {
			c := cases[i]
			err := b.shuffled(
				func() error { return b.oursLatency(ctx, c, y, length, false) },
				func() error { return b.oursLatency(ctx, c, y, length, true) },
				func() error { return b.riverLatency(ctx, c, &c.tuned, length, riverTuned) },
				func() error { return b.riverLatency(ctx, c, &c.deflt, length, riverDefault) },
			)
			if err != nil {
				return fmt.Errorf("%d nodes, %v/s: %w", c.nodes, c.rate, err)
			}
		}
	}
	for _, c := range cases {
		name := fmt.Sprintf("%d nodes, %v/s: ", c.nodes, c.rate)
		b.showSpread(name+"a plain commit, in the same seconds", c.commit)
		b.showSpread(name+"ours: the push alone", c.push)
		b.showSpread(name+"ours, pushed from a process that is no node", c.apart)
		b.showSpread(name+"ours, pushed on the nodes in turn", c.within)
		b.showSpread(name+"River tuned (2 ms cooldown, 20 ms poll)", c.tuned)
		b.showSpread(name+"River's defaults", c.deflt)
		b.Figure(name+"ours (apart) / the push's own commit, p50", c.apart.p50.Over(c.push.p50), "x", "P13 1.7 (floor 3)")
		b.Figure(name+"ours (apart) / the push's own commit, p99", c.apart.p99.Over(c.push.p99), "x", "P13 1.5 (floor 3)")
		b.Figure(name+"ours (apart) / a single-row commit, p50", c.apart.p50.Over(c.commit.p50), "x", "")
		b.Figure(name+"ours (apart) / a single-row commit, p99", c.apart.p99.Over(c.commit.p99), "x", "")
		b.Figure(name+"ours (apart) / River tuned, p50", c.apart.p50.Over(c.tuned.p50), "x", "P14 0.3 (floor 0.6)")
		b.Figure(name+"ours (apart) / River's defaults, p50", c.apart.p50.Over(c.deflt.p50), "x", "P14 0.05 (floor 0.2)")
	}
	c := cases[0]
	b.goals.set("latency", "P13a", c.apart.p50.Over(c.push.p50), "3 nodes, 50/s; in single-row commits: "+c.apart.p50.Over(c.commit.p50).String())
	b.goals.set("latency", "P13b", c.apart.p99.Over(c.push.p99), "3 nodes, 50/s; in single-row commits: "+c.apart.p99.Over(c.commit.p99).String())
	b.goals.set("latency", "P14a", c.apart.p50.Over(c.tuned.p50), "")
	b.goals.set("latency", "P14b", c.apart.p50.Over(c.deflt.p50), "")
	b.goals.set("latency", "P15", cases[1].apart.claims, "50/s")
	return nil
}

// oursLatency pushes beside the nodes, or on them, while plain commits go on at the same pace.
func (b *bench) oursLatency(ctx context.Context, c *latencyCase, y *yardstick, length time.Duration, within bool) error {
	s, err := b.ours(ctx)
	if err != nil {
		return err
	}
	st, t := newStarts(), newTally(-1)
	f, err := s.fleet(ctx, c.nodes, 20, func(ctx context.Context, run *cluster.Run) cluster.Outcome {
		var i int
		if _, err := fmt.Sscanf(run.Task.Description, "Task %d", &i); err != nil {
			return cluster.Ended{State: cluster.Failed, Text: err.Error()}
		}
		st.begin(i)
		return t.noop(ctx, run)
	})
	if err != nil {
		return err
	}
	time.Sleep(500 * time.Millisecond)
	claims, err := s.claims(ctx)
	if err != nil {
		return err
	}
	commits := make(measure.Sample, 0, 1000)
	var pushes measure.Sample
	var mu sync.Mutex
	free := make(chan int, len(y.conns))
	for i := range y.conns {
		free <- i
	}
	ended := make(chan error, 1)
	go func() {
		_, err := arrivals(50, length, func(_ int, at time.Time) error {
			i := <-free
			defer func() { free <- i }()
			_, err := y.conns[i].Exec(ctx, oneCommit, i+1)
			mu.Lock()
			commits = append(commits, measure.MS(time.Since(at)))
			mu.Unlock()
			return err
		})
		ended <- err
	}()
	n, err := arrivals(c.rate, length, func(i int, at time.Time) error {
		st.send(i, at)
		task := newTask(keyOf(i))
		task.Turn += fmt.Sprint(" ", i) // none waits for another
		task.Description = fmt.Sprint("Task ", i)
		d := s.db
		if within {
			d = f.dbs[i%len(f.dbs)]
		}
		err := d.InTx(ctx, func(tx *db.Tx) error {
			_, err := cluster.Push(ctx, tx, task)
			return err
		})
		mu.Lock()
		pushes = append(pushes, measure.MS(time.Since(at)))
		mu.Unlock()
		return err
	})
	if err := errors.Join(err, <-ended); err != nil {
		return err
	}
	l, err := st.wait(n)
	if err != nil {
		return fmt.Errorf("ours: %w", err)
	}
	if err := s.empty(ctx); err != nil {
		return err
	}
	after, err := s.claims(ctx)
	if err != nil {
		return err
	}
	if err := f.stop(); err != nil {
		return err
	}
	if err := s.check(ctx, t, n); err != nil {
		return err
	}
	if within {
		c.within.add(l)
		c.within.claims = append(c.within.claims, (after-claims)/float64(n))
	} else {
		c.apart.add(l)
		c.apart.claims = append(c.apart.claims, (after-claims)/float64(n))
		c.commit.add(commits)
		c.push.add(pushes)
	}
	return s.close(ctx)
}

// claims is how many claims the database has carried out.
func (s *space) claims(ctx context.Context) (float64, error) {
	conn, err := s.b.postgres.Connect(ctx, s.name)
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	var n float64
	err = conn.QueryRow(ctx, `SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
		AND query LIKE '%claim = q.claim + %' AND query LIKE '%SKIP LOCKED%' AND query NOT LIKE '%r.cancel AND%' AND query NOT LIKE '%pg_stat_statements%'`).Scan(&n)
	return n, err
}

func (b *bench) riverLatency(ctx context.Context, c *latencyCase, into *spread, length time.Duration, settings func(river.Config) *river.Config) error {
	name, err := b.riverDB(ctx)
	if err != nil {
		return err
	}
	st := newStarts()
	var clients []func() error
	for range c.nodes {
		pool, err := b.riverPool(ctx, name, 4)
		if err != nil {
			return err
		}
		workers := river.NewWorkers()
		river.AddWorker(workers, &riverWorker{ran: func(_ int64, a riverArgs) { st.begin(a.Num) }})
		client, err := river.NewClient(riverpgxv5.New(pool), settings(river.Config{
			Logger: silent, Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 20}},
		}))
		if err != nil {
			return err
		}
		if err := client.Start(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		clients = append(clients, func() error {
			err := client.Stop(context.WithoutCancel(ctx))
			pool.Close()
			return err
		})
	}
	pool, err := b.riverPool(ctx, name, 32)
	if err != nil {
		return err
	}
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Logger: silent})
	if err != nil {
		return err
	}
	time.Sleep(500 * time.Millisecond)
	n, err := arrivals(c.rate, length, func(i int, at time.Time) error {
		st.send(i, at)
		_, err := client.Insert(ctx, riverArgs{Num: i}, nil)
		return err
	})
	if err != nil {
		return err
	}
	l, err := st.wait(n)
	if err != nil {
		return fmt.Errorf("river: %w", err)
	}
	into.add(l)
	pool.Close()
	for _, stop := range clients {
		if err := stop(); err != nil {
			return err
		}
	}
	return b.drop(ctx, name)
}
