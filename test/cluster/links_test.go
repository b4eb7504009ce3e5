package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

// polls makes a polling agent that knows one address only.
func (c *nodes) polls(name, address string) *agentProcess {
	c.t.Helper()
	comms := c.comms
	c.comms = address
	defer func() { c.comms = comms }()
	return c.addAgent(name, true, []string{"app"}, "Test")
}

// says waits until an agent's log has one more line with a text, and tells how long that took.
func (c *nodes) says(a *agentProcess, text string, times int, within time.Duration) time.Duration {
	c.t.Helper()
	started := time.Now()
	c.eventually(within, a.name+" says "+text, func() (bool, string) {
		log := tail(c.path("agent-"+a.name+".log"), 1000)
		return strings.Count(log, text) >= times, log
	})
	return time.Since(started)
}

// TestTrustReachesEveryNode gives and takes trust through one node; an agent that polls another is let in, and cut off,
// in less than a second (reliability-and-security.md I9).
func TestTrustReachesEveryNode(t *testing.T) {
	parallel(t)
	c := threeNodes(t)
	const linked, lost = "connected to the server", "no connection to the server"
	a := c.polls("a", c.all[1].comms) // registered through the first node, and started at once
	if took := c.says(a, linked, 1, 5*time.Second); took > time.Second {
		t.Errorf("trust was in force after %s", took)
	}
	machine := c.find("/machines", "a")
	if got := c.all[2].get("/machines/" + a.id); got.text("Thumbprint") != machine.text("Thumbprint") || got.text("Thumbprint") == "" {
		t.Errorf("the machine through another node: %v, want %v", got, machine)
	}
	c.call("DELETE", "/machines/"+a.id, nil, nil)
	if took := c.says(a, lost, 1, 5*time.Second); took > time.Second {
		t.Errorf("the link was cut %s after trust was taken", took)
	}
	c.says(a, lost, 2, 20*time.Second) // it tries again, and is refused
	for _, member := range []string{"Id", "Links"} {
		delete(machine, member)
	}
	c.all[2].post("/machines", machine)
	c.says(a, linked, 2, 30*time.Second)
}

// TestPollingOneNodeRow59Row64Row65 has every node in turn deploy a package and a script to an agent that polls one node only, one
// that polls a balancer of all nodes, and one that listens.
func TestPollingOneNodeRow59Row64Row65(t *testing.T) {
	parallel(t)
	c := threeNodes(t)
	c.polls("one", c.all[1].comms)
	c.polls("balanced", c.balancer(func(n *installation) string { return n.comms }))
	c.addAgent("listening", false, []string{"app"}, "Test")
	p := c.project("Everywhere", []object{packageStep("Install", "app", "app", nil), scriptStep("Count", "app", c.script(countTo30, "0.02"))}, nil)
	from, err := os.Create(c.path("app.1.0.0.zip"))
	if err != nil {
		t.Fatal(err)
	}
	from.Close()
	writeZip(t, c.path("app.1.0.0.zip"), 3<<20)
	if from, err = os.Open(from.Name()); err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	c.uploadFrom("app.1.0.0.zip", from)
	c.release(p, "1.0.0", "1.0.0")
	for _, n := range c.all {
		c.onlyOn(n)
		asked := time.Now()
		id := n.deploy(p, "1.0.0", "Test", nil)
		n.succeeds(id, 60*time.Second)
		t.Logf("through %s: %.1f s", n.name, time.Since(asked).Seconds())
		if got := n.tasksOf(n); !slices.Contains(got, id) {
			t.Errorf("%s did not run on %s", id, n.name)
		}
		for _, a := range c.agents {
			lines := c.witnessed(id + "." + a.name)
			if len(lines) != thirty+2 || lines[0] != "start" || lines[thirty+1] != "end" {
				t.Errorf("the script on %s wrote %q", a.name, lines)
			}
			installed, err := filepath.Glob(filepath.Join(a.data, "Applications", "*", "*", "1.0.0*", "content"))
			if err != nil || len(installed) == 0 {
				t.Errorf("%s: nothing is installed (%v)", a.name, err)
			}
		}
	}
}

// TestOneAddressOutlivesNodesRow65 kills (-9) two of three nodes while a script counts on an agent that knows one address only. Its
// link moves to the node that is left, which carries the deployment on.
func TestOneAddressOutlivesNodesRow65(t *testing.T) {
	parallel(t)
	c := threeNodes(t)
	c.polls("balanced", c.balancer(func(n *installation) string { return n.comms }))
	p := c.counter("Count", "0.2")
	id := c.deploy(p, "1.0.0", "Test", nil)
	c.reached(id, 4)
	left := c.all[2]
	c.all[0].kill()
	c.reached(id, 10)
	c.all[1].kill()
	left.succeeds(id, 60*time.Second)
	c.counted(id, left)
}

// TestFirstStartRow6Row73 starts three nodes at once on an empty database: one makes the schema, the others wait, and all serve.
func TestFirstStartRow6Row73(t *testing.T) {
	parallel(t)
	c := &nodes{installation: prepare(t, db.Postgres)}
	c.database = dbtest.CreateEmpty(t, db.Postgres)
	c.all = []*installation{c.installation, c.neighbour("node-2"), c.neighbour("node-3")}
	for _, n := range c.all {
		n.launch()
	}
	for _, n := range c.all {
		n.eventually(30*time.Second, n.name+" serves", func() (bool, string) {
			if n.server.ended() {
				t.Fatalf("%s ended: %v\n%s", n.name, n.server.err, tail(n.log(), 20))
			}
			return n.ping() == 200, ""
		})
	}
	c.admin()
	if rows := c.all[2].rows(); len(rows) != 3 {
		t.Errorf("the nodes: %v", rows)
	}
}

// TestNewNodesRow5Row86 kills every node and erases its folder. Two new ones, with nothing but database, blobs and master key, have it all.
func TestNewNodesRow5Row86(t *testing.T) {
	parallel(t)
	c := threeNodes(t)
	c.addAgent("listening", false, []string{"app"}, "Test")
	p := c.counter("Count", "0.05")
	first := c.deploy(p, "1.0.0", "Test", nil)
	c.succeeds(first, 60*time.Second)
	log := c.raw(first)
	second := c.deploy(p, "1.0.0", "Test", nil)
	c.reached(second, 5)
	for _, n := range c.all {
		n.kill()
		if err := os.RemoveAll(c.path("nodes", n.name)); err != nil {
			t.Fatal(err)
		}
	}
	c.all = []*installation{c.neighbour("new-1"), c.neighbour("new-2")}
	for _, n := range c.all {
		n.start()
	}
	if got := c.all[1].raw(first); got != log {
		t.Errorf("the log of a deployment is not what it was:\n%s\nwant\n%s", got, log)
	}
	c.all[0].succeeds(second, 60*time.Second)
	c.counted(second, c.all...)
	third := c.all[1].deploy(p, "1.0.0", "Test", nil)
	c.all[0].succeeds(third, 60*time.Second)
	c.counted(third, c.all...)
	if rows := c.all[0].rows(); len(rows) != 5 {
		t.Errorf("the nodes: %v", fmt.Sprint(rows))
	}
}
