package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sample is one figure's values, one for each round.
type sample []float64

func (s sample) sorted() sample { c := slices.Clone(s); slices.Sort(c); return c }

// quantile is the nearest rank's value.
func (s sample) quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	return s.sorted()[min(max(int(math.Ceil(q*float64(len(s))))-1, 0), len(s)-1)]
}

func (s sample) median() float64 { return s.quantile(0.5) }

// over pairs two samples round by round.
func (s sample) over(t sample) sample {
	out := make(sample, min(len(s), len(t)))
	for i := range out {
		out[i] = s[i] / t[i]
	}
	return out
}

// number prints three digits that matter.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100 || a == 0:
		return strconv.FormatFloat(math.Round(v), 'f', -1, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}

func (s sample) String() string {
	if len(s) == 1 {
		return number(s[0])
	}
	sorted := s.sorted()
	return fmt.Sprintf("%s [%s..%s]", number(s.median()), number(sorted[0]), number(sorted[len(s)-1]))
}

// report gathers a part's figures and prints them only when the part is over without an error.
type report struct {
	lines bytes.Buffer
	name  string
}

func (r *report) begin(name, what string) {
	r.name = name
	r.lines.Reset()
	fmt.Printf("\n== %s: %s (load %s)\n", name, what, load())
}

// figure is one line: a value, its unit, and the goal beside it, if it has one.
func (r *report) figure(what string, value fmt.Stringer, unit, goal string) {
	if goal != "" {
		goal = "   goal: " + goal
	}
	fmt.Fprintf(&r.lines, "  %-66s %s %s%s\n", what, value, unit, goal)
}

// steady says so when a yardstick moved so much between the rounds that nothing measured beside it should be judged.
func (r *report) steady(what string, yardstick sample) {
	if moved := yardstick.quantile(1) / yardstick.quantile(0); moved > 2 {
		r.note("not to be judged against a goal: %s moved by %sx between the rounds, so the machine was busy with other work", what, number(moved))
	}
}

// note is one line of words.
func (r *report) note(format string, args ...any) { fmt.Fprintf(&r.lines, "  "+format+"\n", args...) }

func (r *report) end(since time.Time) {
	fmt.Printf("%s  (%.0f s; load %s)\n", r.lines.String(), time.Since(since).Seconds(), load())
}

func (r *report) refuse(err error) {
	fmt.Printf("  no figures: %v\n", err)
}

func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// facts prints the machine and what the database promises.
func (b *bench) facts(ctx context.Context) error {
	model, memory := "unknown", "unknown"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
			}
		}
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		if f := strings.Fields(string(text)); len(f) > 1 {
			kib, _ := strconv.ParseFloat(f[1], 64)
			memory = fmt.Sprintf("%.0f GiB", kib/(1<<20))
		}
	}
	kernel, _ := exec.CommandContext(ctx, "uname", "-sr").Output()
	commit, _ := exec.CommandContext(ctx, "git", "rev-parse", "--short=12", "HEAD").Output()
	fmt.Printf("%s  commit %s\n", time.Now().UTC().Format("2006-01-02 15:04 MST"), bytes.TrimSpace(commit))
	fmt.Printf("machine  %d cores of %s, %s, %s, %s; load %s\n", runtime.NumCPU(), model, memory, bytes.TrimSpace(kernel), runtime.Version(), load())
	syncs, err := b.fsyncs()
	if err != nil {
		return err
	}
	fmt.Printf("disk     write of 4 KiB + fsync in %s: p50 %s ms, p99 %s ms\n", filepath.Dir(b.dir), number(syncs.median()), number(syncs.quantile(0.99)))
	settings, err := b.postgres.durability(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("postgres %s\n", settings)
	if !strings.Contains(settings, "fsync=on") || !strings.Contains(settings, "synchronous_commit=on") {
		return fmt.Errorf("the PostgreSQL of this run is not durable (%s): no figure would mean anything", settings)
	}
	lite, err := sqliteDurability(ctx, filepath.Join(b.dir, "durability.db"))
	if err != nil {
		return err
	}
	fmt.Printf("sqlite   %s\n", lite)
	if !strings.Contains(lite, "synchronous=2") {
		return fmt.Errorf("SQLite is not durable (%s): no figure would mean anything", lite)
	}
	return nil
}

// fsyncs is the time of a small durable write, in ms.
func (b *bench) fsyncs() (out sample, err error) {
	f, err := os.Create(filepath.Join(b.dir, "fsync"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	block := make([]byte, 4096)
	for range 200 {
		_, _ = rand.Read(block) // it never fails
		since := time.Now()
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		out = append(out, ms(time.Since(since)))
	}
	return out, nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
