package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/halibut"
	"github.com/octavo/octavo/test/bench/measure"
)

// sizes prints how large the programs are.
func sizes(_ context.Context, b *bench) error {
	for _, path := range []string{b.octavo, b.agent} {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		b.Figure(info.Name()+", CGO_ENABLED=0 -trimpath -ldflags='-s -w'", measure.Sample{float64(info.Size()) / (1 << 20)}, "MiB", "")
	}
	return nil
}

// starts times a server with a new database, and with one that is there.
func starts(ctx context.Context, b *bench) error {
	cold, warm := map[db.Engine]measure.Sample{}, map[db.Engine]measure.Sample{}
	for range b.rounds {
		for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
			if err := func() error {
				w, err := b.world(ctx, engine)
				if err != nil {
					return err
				}
				defer w.stop()
				for _, to := range []map[db.Engine]measure.Sample{cold, warm} {
					took, err := w.serve(ctx)
					if err != nil {
						return err
					}
					to[engine] = append(to[engine], measure.MS(took))
					halt(w.server)
				}
				return nil
			}(); err != nil {
				return err
			}
		}
	}
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		b.Figure(string(engine)+": new database (makes tables, master key, certificate)", cold[engine], "ms", "")
		b.Figure(string(engine)+": database is there", warm[engine], "ms", "")
	}
	return nil
}

// rest is the memory of a server and two agents that do nothing.
func rest(ctx context.Context, b *bench) error {
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		if err := func() error {
			w, err := b.started(ctx, engine)
			if err != nil {
				return err
			}
			defer w.stop()
			if err := w.agents(ctx); err != nil {
				return err
			}
			pause(ctx, 15*time.Second)
			for i, name := range []string{"server", "listening agent", "polling agent"} {
				kib, err := rss(w.processes[i])
				if err != nil {
					return err
				}
				b.Figure(string(engine)+": "+name+", RSS", measure.Sample{kib / 1024}, "MiB", "")
			}
			if engine == db.Postgres {
				before, after, took, err := w.idle(ctx, 20*time.Second)
				if err != nil {
					return err
				}
				idle := after.Minus(before).Times(1 / took.Seconds())
				b.Figure("postgres: transactions of the idle node", measure.Sample{idle.Commits}, "/s", "P26 at most 1/s")
				b.Figure("postgres: of these, only reading", measure.Sample{idle.Reads}, "/s", "")
				b.Figure("postgres: round trips of the idle node", measure.Sample{idle.Statements}, "/s", "")
			}
			return nil
		}(); err != nil {
			return err
		}
	}
	return nil
}

// idle counts what the database does while nobody asks for anything.
func (w *world) idle(ctx context.Context, d time.Duration) (before, after measure.Work, took time.Duration, err error) {
	c, err := w.postgres.Connect(ctx, w.pg)
	if err != nil {
		return before, after, 0, err
	}
	defer c.Close(ctx)
	since := time.Now()
	if before, err = w.postgres.Done(ctx, c); err != nil {
		return before, after, 0, err
	}
	pause(ctx, d)
	after, err = w.postgres.Done(ctx, c)
	return before, after, time.Since(since), err
}

// idleAgents connects many polling agents with a key and a subscription each, and measures the server's memory for one.
func idleAgents(ctx context.Context, b *bench) error {
	steps := []int{0, 150, 300}
	if b.long {
		steps = []int{0, 500, 1000}
	}
	identities, err := newIdentities(steps[len(steps)-1])
	if err != nil {
		return err
	}
	for _, run := range []struct {
		name, goal string
		env        []string
		settle     time.Duration
	}{
		{"as it comes, 15 s after the last one connected", "", nil, 15 * time.Second},
		{"garbage of the handshakes collected (GOGC=10)", "P22 at most 32 KiB", []string{"GOGC=10"}, 15 * time.Second},
	} {
		slope, at, err := b.connected(ctx, steps, identities, run.env, run.settle)
		if err != nil {
			return err
		}
		b.Figure("RSS for one idle agent, "+run.name, slope, "KiB", run.goal)
		b.Note("RSS at %v agents: %.1f MiB", steps, []float64(at))
	}
	return nil
}

func newIdentities(n int) ([]*halibut.Identity, error) {
	out, errs := make([]*halibut.Identity, n), make([]error, n)
	var workers sync.WaitGroup
	next := make(chan int)
	for range 2 {
		workers.Go(func() {
			for i := range next {
				out[i], errs[i] = halibut.NewIdentity("bench")
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// connected gives the slope from the first step to the last, in KiB, and the memory at each, in MiB.
func (b *bench) connected(ctx context.Context, steps []int, identities []*halibut.Identity, env []string, settle time.Duration) (slope, at measure.Sample, err error) {
	w, err := b.started(ctx, db.SQLite, env...)
	if err != nil {
		return nil, nil, err
	}
	defer w.stop()
	var environment, certificate object
	if err := w.call(ctx, "POST", "/api/environments", object{"Name": polling}, &environment); err != nil {
		return nil, nil, err
	}
	if err := w.call(ctx, "GET", "/api/configuration/certificates/certificate-global", nil, &certificate); err != nil {
		return nil, nil, err
	}
	for i, identity := range identities { // all of them first, so that the rows are in both ends of the slope
		if err := w.call(ctx, "POST", "/api/machines", object{
			"Name": fmt.Sprintf("agent-%d", i), "EnvironmentIds": []string{environment.text("Id")}, "Roles": []string{"bench"},
			"Endpoint": object{"CommunicationStyle": "TentacleActive", "Uri": subscription(i), "Thumbprint": identity.Thumbprint},
		}, nil); err != nil {
			return nil, nil, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	var pollers sync.WaitGroup
	defer pollers.Wait()
	defer cancel()
	quiet := slog.New(slog.DiscardHandler)
	connected := 0
	for _, step := range steps {
		for ; connected < step; connected++ {
			i := connected
			pollers.Go(func() {
				_ = halibut.Poll(ctx, halibut.PollConfig{ // an error would show as a missing connection
					Server: halibut.Endpoint{Address: w.comms, Thumbprint: certificate.text("Thumbprint")}, Subscription: subscription(i),
					Identity: identities[i], Services: halibut.NewServices(quiet), Log: quiet,
				})
			})
			if i%20 == 19 {
				pause(ctx, 200*time.Millisecond) // no stampede: the pause after a refused one is long
			}
		}
		pause(ctx, settle)
		_, port, _ := net.SplitHostPort(w.comms)
		if n, err := connections(port); err != nil || n != step {
			return nil, nil, fmt.Errorf("%d of %d agents are connected (%v)", n, step, err)
		}
		kib, err := rss(w.server)
		if err != nil {
			return nil, nil, err
		}
		at = append(at, kib/1024)
	}
	last := len(steps) - 1
	return measure.Sample{(at[last] - at[0]) * 1024 / float64(steps[last]-steps[0])}, at, nil
}

func subscription(i int) string { return fmt.Sprintf("poll://bench%015d/", i) }

// connections counts established connections to a port of this machine, seen from the client.
func connections(port string) (n int, err error) {
	var number int
	if _, err := fmt.Sscan(port, &number); err != nil {
		return 0, err
	}
	text, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return 0, err
	}
	want := fmt.Sprintf(":%04X", number)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) > 3 && strings.HasSuffix(f[2], want) && f[3] == "01" {
			n++
		}
	}
	return n, nil
}
