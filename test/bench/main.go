// Command bench measures what docs/performance.md publishes, on really started servers and agents. Run it with `make bench`.
//
// # Rules
//
//   - What is compared is measured in one run, interleaved, and printed as a ratio: median, and the range in brackets.
//   - Durability settings are read back from the database and printed.
//   - Effects are counted. A part whose invariants fail prints its reason and no figure, and the exit code is 1.
//   - Each part prints the load average before and after it, since the machine may have other work.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/octavo/octavo/test/bench/measure"
)

// options are the flags.
type options struct {
	only   string
	dir    string
	rounds int
	tasks  int
	long   bool
}

// part is one group of figures.
type part struct {
	name string
	what string
	run  func(ctx context.Context, b *bench) error
}

var parts = []part{
	{"sizes", "binaries", sizes},
	{"start", "start of a server, to the first 200 of GET /api", starts},
	{"upload", "upload of a large package", uploads},
	{"deploy", "a deployment of one trivial script step, end to end", deployments},
	{"lines", "log lines, from a script on an agent to a reader of the API", lines},
	{"rest", "memory at rest", rest},
	{"agents", "memory of idle polling agents", idleAgents},
	{"lists", "pages of a long list of tasks", lists},
	{"chunks", "what storing log lines costs the database", chunks},
	{"queue", "the task queue's own benchmarks", queue},
}

// bench is one run.
type bench struct {
	options
	measure.Report
	octavo, agent string // the programs
	postgres      *measure.Postgres
	worlds        int
}

func main() {
	var o options
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	flag.StringVar(&o.only, "only", "", "comma-joined parts to run, of "+strings.Join(names, " ")+"; empty is all")
	flag.StringVar(&o.dir, "dir", "", "folder for everything that is made, on the disk to be measured; removed at the end (default: a temporary one)")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each comparison")
	flag.IntVar(&o.tasks, "tasks", 1_000_000, "rows in the long list of tasks")
	flag.BoolVar(&o.long, "long", false, "also what takes longer: 5 GiB of upload, 1,000 agents")
	flag.Parse()
	for _, name := range strings.FieldsFunc(o.only, func(r rune) bool { return r == ',' }) {
		if !slices.Contains(names, name) {
			fmt.Fprintf(os.Stderr, "bench: there is no part %q; there are %s\n", name, strings.Join(names, ", "))
			os.Exit(2)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
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
	b := &bench{options: o}
	if err := b.build(ctx); err != nil {
		return err
	}
	if b.postgres, err = measure.StartPostgres(ctx, filepath.Join(o.dir, "postgres"), ""); err != nil {
		return err
	}
	defer b.postgres.Stop()
	if err := measure.Facts(ctx, o.dir, b.postgres); err != nil {
		return err
	}
	failed := 0
	for _, p := range parts {
		if o.only != "" && !slices.Contains(strings.Split(o.only, ","), p.name) {
			continue
		}
		b.Begin(p.name, p.what)
		since := time.Now()
		if err := p.run(ctx, b); err != nil {
			b.Refuse(err)
			failed++
		} else {
			b.End(since)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d parts have no figures; the reasons are above", failed)
	}
	return nil
}
