package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed graphile/package.json graphile/worker.js
var graphileFiles embed.FS

var errNoGraphile = errors.New("Graphile Worker cannot be installed")

// graphile installs Graphile Worker into the run's folder, once.
func (b *bench) graphile(ctx context.Context) (string, error) {
	dir := filepath.Join(b.dir, "graphile")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "graphile-worker")); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for _, name := range []string{"package.json", "worker.js"} {
		text, err := graphileFiles.ReadFile("graphile/" + name)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return "", err
		}
	}
	install := exec.CommandContext(ctx, "npm", "install", "--no-audit", "--no-fund", "--loglevel=error")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %w\n%s", errNoGraphile, err, out)
	}
	return dir, nil
}

func graphileVersion() string {
	text, _ := graphileFiles.ReadFile("graphile/package.json") // it is embedded
	var p struct{ Dependencies map[string]string }
	_ = json.Unmarshal(text, &p)
	node, err := exec.Command("node", "--version").Output()
	if err != nil {
		return "Graphile Worker " + p.Dependencies["graphile-worker"] + " (no node on this machine)"
	}
	return "Graphile Worker " + p.Dependencies["graphile-worker"] + " on node " + strings.TrimSpace(string(node))
}

// graphileDrain works n jobs down with its batch mode, or with its defaults.
func graphileDrain(ctx context.Context, b *bench, n int, mode string) (cost, error) {
	dir, err := b.graphile(ctx)
	if err != nil {
		return cost{}, err
	}
	name, err := b.postgres.Create(ctx)
	if err != nil {
		return cost{}, err
	}
	// pg of node takes the socket's folder as the host
	url := "postgres://octavo@" + strings.ReplaceAll(filepath.Join(b.dir, "postgres"), "/", "%2F") + "/" + name
	schema := exec.CommandContext(ctx, "node", "node_modules/graphile-worker/dist/cli.js", "--schema-only", "-c", url)
	schema.Dir = dir
	if out, err := schema.CombinedOutput(); err != nil {
		return cost{}, fmt.Errorf("graphile: %w\n%s", err, out)
	}
	for at := 0; at < n; at += 5000 { // as many in each call as River's benchmark inserts
		if err := b.postgres.Exec(ctx, name, fmt.Sprintf(`SELECT count(*) FROM graphile_worker.add_jobs(ARRAY(
			SELECT ROW('deploy', json_build_object('num', i, 'text', 'Deploy Web release 1.2.3 to Production'), NULL, NULL, NULL, NULL, NULL, NULL)::graphile_worker.job_spec
			FROM generate_series(%d, %d) i))`, at+1, min(at+5000, n))); err != nil {
			return cost{}, fmt.Errorf("graphile: %w", err)
		}
	}
	if err := b.postgres.Exec(ctx, name, "VACUUM ANALYZE"); err != nil {
		return cost{}, err
	}
	m, err := b.meter(ctx, name)
	if err != nil {
		return cost{}, err
	}
	work := exec.CommandContext(ctx, "node", "worker.js", url, fmt.Sprint(n), mode)
	work.Dir, work.Stderr = dir, os.Stderr
	out, err := work.Output()
	if err != nil {
		return cost{}, fmt.Errorf("graphile: %w\n%s", err, out)
	}
	var r struct {
		Seconds, CPU float64
		Ran, Twice   int
		Durability   struct {
			Fsync  string
			Commit string `json:"synchronous_commit"`
		}
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return cost{}, fmt.Errorf("graphile: %w\n%s", err, out)
	}
	c, err := m.stop(ctx, n, nil)
	if err != nil {
		return cost{}, err
	}
	if r.Ran != n || r.Twice > 0 || r.Durability.Fsync != "on" || r.Durability.Commit != "on" {
		return cost{}, fmt.Errorf("graphile: %d of %d ran, %d of them twice; durability %+v", r.Ran, n, r.Twice, r.Durability)
	}
	c.rate, c.client = float64(n)/r.Seconds, r.CPU/float64(n) // by its own clock: without node's start
	return c, b.drop(ctx, name)
}
