package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/test/bench/measure"
)

const manyLines = 200_000

// fast writes as fast as bash can; slow stamps each line with the time it was written.
var (
	fast = fmt.Sprintf(`echo "begun $EPOCHREALTIME"; for ((i = 1; i <= %d; i++)); do echo "line $i of a script that writes as fast as it can"; done`, manyLines)
	slow = `for ((i = 1; i <= 200; i++)); do echo "stamped $EPOCHREALTIME"; sleep 0.05; done`
)

var (
	begun   = regexp.MustCompile(`begun (\d+\.\d+)`)
	stamped = regexp.MustCompile(`stamped (\d+\.\d+)`)
	line    = regexp.MustCompile(`line (\d+) of a script`)
)

// lines measures how fast, and how soon, what a script prints reaches somebody who reads the task's log.
func lines(ctx context.Context, b *bench) error {
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		if err := b.lines(ctx, engine); err != nil {
			return err
		}
	}
	b.Note("there is no API that follows a log by number: the reader of the stamped lines asks for the whole raw log every 15 ms; that of the many reads it once, at the end")
	return nil
}

func (b *bench) lines(ctx context.Context, engine db.Engine) error {
	w, err := b.started(ctx, engine)
	if err != nil {
		return err
	}
	defer w.stop()
	if err := w.agents(ctx); err != nil {
		return err
	}
	many, err := w.project(ctx, "Many lines", fast)
	if err != nil {
		return err
	}
	few, err := w.project(ctx, "Stamped lines", slow)
	if err != nil {
		return err
	}
	own, rate := measure.Sample{}, map[string]measure.Sample{}
	for range b.rounds {
		seconds, err := b.toFile(ctx)
		if err != nil {
			return err
		}
		own = append(own, manyLines/seconds)
		for _, kind := range []string{listening, polling} {
			seconds, err := w.toReader(ctx, many, kind)
			if err != nil {
				return err
			}
			rate[kind] = append(rate[kind], manyLines/seconds)
		}
	}
	b.Figure(fmt.Sprintf("%s: the script by itself, to a file", engine), own, "lines/s", "")
	b.Steady("the script by itself", own)
	for _, kind := range []string{listening, polling} {
		name := fmt.Sprintf("%s, %s agent", engine, strings.ToLower(kind))
		b.Figure(name+": script's begin to all lines read from raw", rate[kind], "lines/s", "")
		b.Figure(name+": ratio", rate[kind].Over(own), "of the script's own rate", "")
	}
	for _, kind := range []string{listening, polling} {
		late, err := w.latency(ctx, few, kind)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%s, %s agent: line written to line read", engine, strings.ToLower(kind))
		b.Figure(name+", p50", measure.Sample{late.Median()}, "ms", "")
		b.Figure(name+", p99", measure.Sample{late.Quantile(0.99)}, "ms", "P28 at most 250 ms (to a browser)")
	}
	return nil
}

// toFile is how long the script takes by itself.
func (b *bench) toFile(ctx context.Context) (float64, error) {
	path := filepath.Join(b.dir, "lines")
	out, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer os.Remove(path)
	cmd := exec.CommandContext(ctx, "bash", "-c", fast)
	cmd.Stdout = out
	since := time.Now()
	err = cmd.Run()
	took := time.Since(since)
	return took.Seconds(), errors.Join(err, out.Close())
}

// toReader is the time from the script's beginning to the moment all of its lines were read, in their order.
func (w *world) toReader(ctx context.Context, p project, kind string) (float64, error) {
	id, err := w.deploy(ctx, p, kind)
	if err != nil {
		return 0, err
	}
	if _, err := w.wait(ctx, id, 20*time.Millisecond); err != nil {
		return 0, err
	}
	raw, err := w.raw(ctx, id)
	if err != nil {
		return 0, err
	}
	read := time.Now()
	want := 1
	for _, m := range line.FindAllSubmatch(raw, -1) {
		if string(m[1]) != strconv.Itoa(want) {
			return 0, fmt.Errorf("%s: line %s where line %d should be", id, m[1], want)
		}
		want++
	}
	if want != manyLines+1 {
		return 0, fmt.Errorf("%s: %d of %d lines", id, want-1, manyLines)
	}
	at, err := moment(begun.FindSubmatch(raw))
	return read.Sub(at).Seconds(), err
}

func moment(match [][]byte) (time.Time, error) {
	if match == nil {
		return time.Time{}, errors.New("the log has no stamp")
	}
	seconds, err := strconv.ParseFloat(string(match[1]), 64)
	return time.UnixMicro(int64(seconds * 1e6)), err
}

// latency reads the log all the time and notes for each line when it was first seen, in ms.
func (w *world) latency(ctx context.Context, p project, kind string) (late measure.Sample, err error) {
	id, err := w.deploy(ctx, p, kind)
	if err != nil {
		return nil, err
	}
	for since := time.Now(); len(late) < 200; {
		raw, err := w.raw(ctx, id)
		if err != nil {
			return nil, err
		}
		now := time.Now()
		all := stamped.FindAllSubmatch(raw, -1)
		for _, m := range all[len(late):] {
			at, err := moment(m)
			if err != nil {
				return nil, err
			}
			late = append(late, measure.MS(now.Sub(at)))
		}
		if time.Since(since) > time.Minute {
			return nil, fmt.Errorf("%s: %d of 200 lines after a minute", id, len(late))
		}
		pause(ctx, 15*time.Millisecond)
	}
	_, err = w.wait(ctx, id, 50*time.Millisecond)
	return late, err
}
