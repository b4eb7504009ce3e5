// Command queue measures the task queue beside other queues, on the same databases in the same run: `make bench-queue`.
//
// # Rules
//
//   - What is compared runs in every round, in random order; figures are medians with their range, ratios are paired round by round.
//   - Durability is read back from each one's own connection and printed.
//   - Effects are counted in the database: each task ran once, no two of a turn overlapped, no turn is without a head, nothing
//     is left running. A part whose counts are wrong prints no figure, and the exit code is 1.
//   - The yardstick is a single-row update for each commit on a small warm table. When it moves by more than 2x nothing is judged.
//   - Ours is the real cluster package: Push in real transactions, real nodes, handlers that do nothing.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/octavo/octavo/test/bench/measure"
)

type options struct {
	only   string
	dir    string
	rounds int
	quick  bool
	spent  bool
}

// part is one group of figures.
type part struct {
	name string
	what string
	run  func(ctx context.Context, b *bench) error
}

var parts = []part{
	{"drain", "tasks that are there already, beside River and Graphile Worker (P1 to P3)", drains},
	{"enqueue", "one task for each commit (P11, P12)", enqueues},
	{"lifecycle", "enqueue, claim, finish, with 1 to 32 nodes (P4 to P7)", lifecycles},
	{"flat", "a claim with much history, a long queue, a blocked prefix, a held snapshot (P8 to P10)", flatness},
	{"latency", "from enqueue to start, open loop (P13 to P15)", latencies},
	{"failover", "killed and stopped processes (P16 to P18)", failovers},
	{"sqlite", "SQLite with fsync for each commit (P19)", sqlites},
	{"memory", "memory and processor of many running tasks (P24, P25, P31)", memories},
	{"idle", "a node at rest (P26)", idles},
}

// bench is one run.
type bench struct {
	options
	measure.Report
	postgres *measure.Postgres
	goals    goals
	self     string // this program, for nodes that are processes
	made     int
	rand     *rand.Rand
}

func main() {
	var o options
	var child childOptions
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	flag.StringVar(&o.only, "only", "", "comma-joined parts to run, of "+strings.Join(names, " ")+"; empty is all")
	flag.StringVar(&o.dir, "dir", "", "folder for everything that is made, on the disk to be measured; removed at the end (default: a temporary one)")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each comparison")
	flag.BoolVar(&o.quick, "quick", false, "a fifth of the tasks and 3 rounds: to see where one stands, not to publish")
	flag.BoolVar(&o.spent, "spent", false, "also print in which statements the database spent its time for ours")
	child.flags()
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if child.mode != "" {
		exit(child.run(ctx))
		return
	}
	for _, name := range o.parts() {
		if !slices.Contains(names, name) {
			fmt.Fprintf(os.Stderr, "bench-queue: there is no part %q; there are %s\n", name, strings.Join(names, ", "))
			os.Exit(2)
		}
	}
	exit(run(ctx, o))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-queue:", err)
		os.Exit(1)
	}
}

func (o options) parts() []string {
	return strings.FieldsFunc(o.only, func(r rune) bool { return r == ',' })
}

// n is a size: the full one, or a fifth of it.
func (o options) n(full int) int {
	if o.quick {
		return full / 5
	}
	return full
}

// seconds is the length of a timed run.
func (o options) seconds(full float64) time.Duration {
	if o.quick {
		full /= 2
	}
	return time.Duration(full * float64(time.Second))
}

const serverSettings = `
max_connections = 600
shared_buffers = 1GB
max_wal_size = 8GB
checkpoint_timeout = 30min
`

func run(ctx context.Context, o options) (err error) {
	if o.quick {
		o.rounds = min(o.rounds, 3)
	}
	if o.dir, err = os.MkdirTemp(o.dir, "octavo-bench-"); err != nil {
		return err
	}
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return err
	}
	defer os.RemoveAll(o.dir)
	if err := os.Chmod(o.dir, 0o755); err != nil { // the database's user has to get through
		return err
	}
	b := &bench{options: o, rand: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.postgres, err = measure.StartPostgres(ctx, filepath.Join(o.dir, "postgres"), serverSettings); err != nil {
		return err
	}
	defer b.postgres.Stop()
	if err := b.postgres.Exec(ctx, "postgres", "CREATE EXTENSION pg_stat_statements"); err != nil {
		return err
	}
	if err := measure.Facts(ctx, o.dir, b.postgres); err != nil {
		return err
	}
	fmt.Printf("peers    %s; %s\n", riverVersion(), graphileVersion())
	failed := 0
	for _, p := range parts {
		if o.only != "" && !slices.Contains(o.parts(), p.name) {
			continue
		}
		b.Begin(p.name, p.what)
		since := time.Now()
		if err := p.run(ctx, b); err != nil {
			b.Refuse(err)
			b.goals.forget(p.name)
			failed++
		} else {
			b.End(since)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	b.goals.print()
	if failed > 0 {
		return fmt.Errorf("%d parts have no figures; the reasons are above", failed)
	}
	return nil
}

// shuffled calls each of them once, in random order.
func (b *bench) shuffled(each ...func() error) error {
	for _, i := range b.rand.Perm(len(each)) {
		if err := each[i](); err != nil {
			return err
		}
	}
	return nil
}
