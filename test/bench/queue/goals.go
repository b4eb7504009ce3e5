package main

import (
	"fmt"
	"strings"

	"github.com/octavo/octavo/test/bench/measure"
)

// goal is one row of the table of goals: floor fails a bench, goal is what the project should reach.
type goal struct {
	id          string
	what        string
	floor, goal float64
	least       bool // more is better
	unit        string
}

var wanted = []goal{
	{"P1", "drain beside River, both durable, no keys", 1.5, 2.5, true, "x"},
	{"P2", "drain beside Graphile Worker, batch mode", 1.0, 1.4, true, "x"},
	{"P3a", "database CPU of a drained task beside River", 0.7, 0.45, false, "x"},
	{"P3b", "client CPU of it", 0.3, 0.1, false, "x"},
	{"P3c", "WAL of it", 0.7, 0.55, false, "x"},
	{"P4", "lifecycles one by one, in commit limits, worst of 1 to 32 nodes", 0.15, 0.25, true, ""},
	{"P5a", "transactions of a task, one by one", 3, 2, false, ""},
	{"P5b", "transactions of a task, k=8", 0.5, 0.25, false, ""},
	{"P6a", "database CPU of a lifecycle, in single-row commits", 8, 5, false, "x"},
	{"P6b", "database CPU of a lifecycle at k=8, in single-row commits", 8, 1.5, false, "x"},
	{"P7", "database CPU of a task, 32 nodes / 1 node", 1.5, 1.15, false, "x"},
	{"P8", "turn-around, long queue and long history / empty", 1.5, 1.15, false, "x"},
	{"P9", "turn-around, blocked prefix of one busy key / none", 1.5, 1.1, false, "x"},
	{"P10", "turn-around, after many tasks under a held snapshot / without", 3, 1.5, false, "x"},
	{"P11a", "enqueue, one for each commit, in commit limits", 0.4, 0.55, true, ""},
	{"P11b", "enqueue beside River's Insert", 1.3, 1.9, true, "x"},
	{"P12", "enqueue at 32 connections with wake-ups / without", 0.8, 0.9, true, "x"},
	{"P13a", "enqueue to start, p50, in p50s of the enqueue's own commit", 3, 1.7, false, "x"},
	{"P13b", "the same, p99 in its p99s", 3, 1.5, false, "x"},
	{"P14a", "enqueue to start, p50, beside River tuned, 3 nodes", 0.6, 0.3, false, "x"},
	{"P14b", "the same beside River's defaults", 0.2, 0.05, false, "x"},
	{"P15", "claims for a started task, 16 nodes, idle cluster", 4, 2.1, false, ""},
	{"P16", "killed process: its tasks run elsewhere, in heartbeats", 3.5, 0.1, false, "H"},
	{"P17", "stopped process: its tasks run elsewhere, in heartbeats", 4, 3.1, false, "H"},
	{"P18", "zombie writes, double runs, stuck turns", 0, 0, false, ""},
	{"P19a", "SQLite, FULL, single pushes, 160 workers, lifecycles in fsyncs", 0.5, 1, true, ""},
	{"P19b", "the same beside River's SQLite driver", 1.3, 2, true, "x"},
	{"P24a", "memory of a running task", 1024, 64, false, "KiB"},
	{"P24b", "memory of a queued task", 1, 0.05, false, "KiB"},
	{"P25", "database cores for 160 running tasks with live logs", 1, 0.1, false, ""},
	{"P26", "transactions per second of an idle node (cluster package)", 2, 1, false, "/s"},
	{"P31", "tasks that 32 nodes run at once", 8 * 160, 32 * 1000, true, ""},
}

type reached struct {
	part  string
	value measure.Sample
	note  string
}

// goals gathers what was measured of the goals.
type goals struct {
	by map[string]reached
}

func (g *goals) set(part, id string, value measure.Sample, note string) {
	if g.by == nil {
		g.by = map[string]reached{}
	}
	g.by[id] = reached{part, value, note}
}

// forget drops a part's goals: its invariants failed.
func (g *goals) forget(part string) {
	for id, r := range g.by {
		if r.part == part {
			delete(g.by, id)
		}
	}
}

func (w goal) verdict(v float64) string {
	worse := func(than float64) bool {
		if w.least {
			return v < than
		}
		return v > than
	}
	switch {
	case !worse(w.goal):
		return "goal"
	case !worse(w.floor):
		return "above floor"
	}
	return "MISSED"
}

func (g *goals) print() {
	fmt.Printf("\n== goals\n  %-6s %-68s %-26s %9s %9s  %s\n", "", "", "measured", "goal", "floor", "verdict")
	for _, w := range wanted {
		r, ok := g.by[w.id]
		if !ok {
			fmt.Printf("  %-6s %-68s %-26s %9s %9s\n", w.id, w.what, "not in this run", measure.Number(w.goal), measure.Number(w.floor))
			continue
		}
		verdict := w.verdict(r.value.Median())
		if r.note != "" {
			verdict += "; " + r.note
		}
		fmt.Printf("  %-6s %-68s %-26s %9s %9s  %s\n", w.id, w.what, strings.TrimSpace(r.value.String()+" "+w.unit), measure.Number(w.goal), measure.Number(w.floor), verdict)
	}
}
