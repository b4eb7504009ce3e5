package world

import (
	"slices"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db/dbtest"
)

// The verbs of stories. What they ask for they ask through the REST API of a node, as people do.

// request wants an answer from a node. Nodes are named, since a process that was killed is followed by another one.
func (w *world) request(on, method, path string, body any) answer {
	w.t.Helper()
	a := ask(w.t.Context(), w.nodes[on].api, method, path, body)
	if !a.ok() {
		w.t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
	}
	return a
}

// deploy asks a node to deploy a project's release, and gives the task.
func (w *world) deploy(on, project, environment string) string {
	w.t.Helper()
	i := slices.Index([]string{"Web", "Shop", "Long", "Here", "Far"}, project)
	j := slices.Index([]string{"Test", "Production"}, environment)
	return w.request(on, "POST", "/api/deployments", m{"ReleaseId": w.subject.releases[i], "EnvironmentId": w.subject.environments[j]}).text("TaskId")
}

// onCommit has something be told of every commit of a node, until w.watch is nil again.
func (w *world) onCommit(watch func(did []dbtest.Statement)) {
	w.commits.Lock()
	defer w.commits.Unlock()
	w.watch = watch
}

// soon waits a few seconds.
func (w *world) soon(what string, holds func() bool) {
	w.t.Helper()
	w.until(15*time.Second, what, holds)
}

// leader is the node that leads, if one does.
func (w *world) leader() *node {
	for _, n := range w.nodes {
		if n.up() && n.node.Leading() {
			return n
		}
	}
	return nil
}

// other is a node that runs, and is not the one given.
func (w *world) other(than *node) *node {
	for _, name := range []string{"a", "b", "c"} {
		if n := w.nodes[name]; n != than && n.up() {
			return n
		}
	}
	return nil
}

func (w *world) task(id string) cluster.Task {
	all := w.tasks()
	return all[slices.IndexFunc(all, func(t cluster.Task) bool { return t.Id == id })]
}

func (w *world) state(task string) cluster.State { return w.task(task).State }

// owner is the node that runs a task just now, as the database has it; nil if nobody does.
func (w *world) owner(task string) *node {
	if t := w.task(task); t.State == cluster.StateRunning {
		return w.nodes[t.Node]
	}
	return nil
}

// idle tells that there is nothing to do.
func (w *world) idle() bool { return len(w.query("SELECT task FROM queue")) == 0 }

// link is the node that holds a polling agent's newest link, if it is up.
func (w *world) link(subscription string) string {
	for _, r := range w.query("SELECT l.node FROM link l JOIN node n ON n.name = l.node AND n.epoch = l.epoch AND n.state = 'up' WHERE subscription = $1 ORDER BY number DESC", subscription) {
		return r[0]
	}
	return ""
}

// running counts a task's scripts that run just now.
func (w *world) running(task string) (n int) {
	for _, p := range w.history() {
		if p.task == task && p.running() {
			n++
		}
	}
	return n
}

// said counts the lines that a script has said.
func (w *world) said(what, on string) (n int) {
	for _, p := range w.history() {
		if p.what == what && p.agent.name == on {
			n = len(p.lines)
		}
	}
	return n
}

// raw is a task's log as a node shows it.
func (w *world) raw(on, task string) string {
	w.t.Helper()
	return string(w.request(on, "GET", "/api/tasks/"+task+"/raw", nil).body)
}

// inOrder wants parts in a text, one behind the other.
func (w *world) inOrder(text string, parts ...string) {
	w.t.Helper()
	rest := text
	for _, part := range parts {
		_, after, found := strings.Cut(rest, part)
		if !found {
			w.t.Fatalf("%q is not behind what came before it:\n%s", part, text)
		}
		rest = after
	}
}
