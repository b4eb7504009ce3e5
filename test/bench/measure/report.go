package measure

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

// Sample is one figure's values, one for each round.
type Sample []float64

func (s Sample) sorted() Sample { c := slices.Clone(s); slices.Sort(c); return c }

// Quantile is the nearest rank's value.
func (s Sample) Quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	return s.sorted()[min(max(int(math.Ceil(q*float64(len(s))))-1, 0), len(s)-1)]
}

// Median is the middle one.
func (s Sample) Median() float64 { return s.Quantile(0.5) }

// Over pairs two samples round by round.
func (s Sample) Over(t Sample) Sample {
	out := make(Sample, min(len(s), len(t)))
	for i := range out {
		out[i] = s[i] / t[i]
	}
	return out
}

// Number prints three digits that matter.
func Number(v float64) string {
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

func (s Sample) String() string {
	if len(s) == 1 {
		return Number(s[0])
	}
	sorted := s.sorted()
	return fmt.Sprintf("%s [%s..%s]", Number(s.Median()), Number(sorted[0]), Number(sorted[len(s)-1]))
}

// Report gathers a part's figures and prints them only when the part is over without an error.
type Report struct {
	lines bytes.Buffer
	name  string
}

// Begin names the next part.
func (r *Report) Begin(name, what string) {
	r.name = name
	r.lines.Reset()
	fmt.Printf("\n== %s: %s (load %s)\n", name, what, Load())
}

// Figure is one line: a value, its unit, and the goal beside it, if it has one.
func (r *Report) Figure(what string, value fmt.Stringer, unit, goal string) {
	if goal != "" {
		goal = "   goal: " + goal
	}
	fmt.Fprintf(&r.lines, "  %-66s %s %s%s\n", what, value, unit, goal)
}

// Steady says so when a yardstick moved so much between the rounds that nothing measured beside it should be judged.
func (r *Report) Steady(what string, yardstick Sample) {
	if moved := yardstick.Quantile(1) / yardstick.Quantile(0); moved > 2 {
		r.Note("not to be judged against a goal: %s moved by %sx between the rounds, so the machine was busy with other work", what, Number(moved))
	}
}

// Note is one line of words.
func (r *Report) Note(format string, args ...any) { fmt.Fprintf(&r.lines, "  "+format+"\n", args...) }

// End prints the part.
func (r *Report) End(since time.Time) {
	fmt.Printf("%s  (%.0f s; load %s)\n", r.lines.String(), time.Since(since).Seconds(), Load())
}

// Refuse says why a part has no figures.
func (r *Report) Refuse(err error) {
	fmt.Printf("  no figures: %v\n", err)
}

// Load is the load average of 1, 5 and 15 minutes.
func Load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// Facts prints the machine and what the databases promise, and refuses databases that promise too little. dir is on the disk that is measured.
func Facts(ctx context.Context, dir string, p *Postgres) error {
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
	fmt.Printf("machine  %d cores of %s, %s, %s, %s; load %s\n", runtime.NumCPU(), model, memory, bytes.TrimSpace(kernel), runtime.Version(), Load())
	syncs, err := Fsyncs(dir)
	if err != nil {
		return err
	}
	fmt.Printf("disk     write of 4 KiB + fsync in %s: p50 %s ms, p99 %s ms\n", filepath.Dir(dir), Number(syncs.Median()), Number(syncs.Quantile(0.99)))
	settings, err := p.Durability(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("postgres %s\n", settings)
	if !strings.Contains(settings, "fsync=on") || !strings.Contains(settings, "synchronous_commit=on") {
		return fmt.Errorf("the PostgreSQL of this run is not durable (%s): no figure would mean anything", settings)
	}
	lite, err := SQLiteDurability(ctx, filepath.Join(dir, "durability.db"))
	if err != nil {
		return err
	}
	fmt.Printf("sqlite   %s\n", lite)
	if !strings.Contains(lite, "synchronous=2") {
		return fmt.Errorf("SQLite is not durable (%s): no figure would mean anything", lite)
	}
	return nil
}

// Fsyncs is the time of a small durable write, in ms.
func Fsyncs(dir string) (out Sample, err error) {
	f, err := os.Create(filepath.Join(dir, "fsync"))
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
		out = append(out, MS(time.Since(since)))
	}
	return out, nil
}

// MS is a duration in milliseconds.
func MS(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
