package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/engine"
	"github.com/octavo/octavo/internal/feed"
)

// Every job is either once in the cluster or on every node, and says so (behaviour.md row 119, P16).
func TestEveryBackgroundJobIsClassifiedRow119(t *testing.T) {
	text, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "\n## Background jobs\n")
	if !ok {
		t.Fatal("ARCHITECTURE.md has no table of background jobs")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	kinds := map[string]string{}
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) == 6 {
			kinds[strings.TrimSpace(cells[1])] = strings.TrimSpace(cells[2])
		}
	}
	carry := &engine.Engine{}
	leaders := 0
	for _, d := range append(duties(carry, nil, feed.Repository{}, nil), cluster.Duty{Name: cluster.Tidying, Every: time.Hour, Do: func(context.Context, cluster.Term) error { return nil }}) {
		if kinds[d.Name] != "once in the cluster" {
			t.Errorf("the duty %q is in ARCHITECTURE.md as %q, want \"once in the cluster\"", d.Name, kinds[d.Name])
		}
		if d.Every <= 0 || d.Do == nil {
			t.Errorf("the duty %q has no interval, or does nothing", d.Name)
		}
		leaders++
	}
	for _, j := range carry.Jobs() {
		if kinds[j.Name] != "on every node" {
			t.Errorf("the job %q is in ARCHITECTURE.md as %q, want \"on every node\"", j.Name, kinds[j.Name])
		}
	}
	for name, kind := range kinds {
		if kind == "once in the cluster" {
			leaders--
		}
		if kind != "once in the cluster" && kind != "on every node" && name != "job" && name != "---" {
			t.Errorf("%q is neither once in the cluster nor on every node, but %q", name, kind)
		}
	}
	if leaders != 0 {
		t.Errorf("ARCHITECTURE.md and the server differ by %d duties", leaders)
	}
	// The four that must be the leader's alone (row 19).
	for _, name := range []string{"Start retention", "Start health checks", "Start the check of the built-in repository", "Remove content of deleted packages"} {
		if kinds[name] != "once in the cluster" {
			t.Errorf("%q is %q", name, kinds[name])
		}
	}
}
