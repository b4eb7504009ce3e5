package cluster

import (
	"context"
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
	writeZip(t, c.path("app.1.0.0.zip"), 3<<20)
	from, err := os.Open(c.path("app.1.0.0.zip"))
	if err != nil {
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

// TestFirstStartRow6Row10Row58Row73 starts three nodes at once on an empty database: one makes the schema, the others wait, and all serve.
// Each listens at two addresses only: its API, and 10943 for polling agents, unless another port is set as here.
func TestFirstStartRow6Row10Row58Row73(t *testing.T) {
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
	for _, n := range c.all {
		want := []string{n.listen, n.comms}
		slices.Sort(want)
		if got := listening(t, n.server.Process.Pid); !slices.Equal(got, want) {
			t.Errorf("%s listens on %v, want %v", n.name, got, want)
		}
	}
	if help := c.must(octavo, "server", "run", "--help"); !strings.Contains(help, `(default ":10943")`) {
		t.Errorf("agents do not poll port 10943 by default:\n%s", help)
	}
	c.admin()
	if rows := c.all[2].rows(); len(rows) != 3 {
		t.Errorf("the nodes: %v", rows)
	}
}

// TestNewNodesRow5Row86Row98Row118 kills every node and erases its folder. Two new ones, with nothing but database, blobs and master key, have it all.
func TestNewNodesRow5Row86Row98Row118(t *testing.T) {
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

// listening lists the addresses at which a process accepts TCP connections.
func listening(t *testing.T, pid int) (addresses []string) {
	t.Helper()
	own := map[string]bool{}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		to, _ := os.Readlink(file) // it may be closed by now
		if inode, ok := strings.CutPrefix(to, "socket:["); ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			columns := strings.Fields(line)
			const listens = "0A"
			if len(columns) < 10 || columns[3] != listens || !own[columns[9]] {
				continue
			}
			var a, b, c, d byte
			var port int
			if _, err := fmt.Sscanf(columns[1], "%02X%02X%02X%02X:%04X", &d, &c, &b, &a, &port); err != nil {
				t.Fatalf("%s: %v", columns[1], err)
			}
			addresses = append(addresses, fmt.Sprintf("%d.%d.%d.%d:%d", a, b, c, d, port))
		}
	}
	slices.Sort(addresses)
	return addresses
}

// TestDataSplitRow4Row9 deploys a package of 3 MiB with a long log, and looks at what the database keeps of it: nothing big, and no
// path of this host. The store has it as files.
func TestDataSplitRow4Row9(t *testing.T) {
	parallel(t)
	i := fleet(t, db.Postgres, 2)
	p := i.project("Big", []object{packageStep("Install", "app", "app", nil), scriptStep("Talk", "app", "seq -f 'line %.0f of many' 20000; sleep 0.3; echo done")}, nil)
	writeZip(t, i.path("app.1.0.0.zip"), 3<<20)
	from, err := os.Open(i.path("app.1.0.0.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	i.uploadFrom("app.1.0.0.zip", from)
	i.release(p, "1.0.0", "1.0.0")
	i.success(i.deploy(p, "1.0.0", "Test", nil))

	ctx := context.Background()
	d := dbtest.Open(t, i.database)
	i.eventually(60*time.Second, "the log is sealed", func() (bool, string) {
		var chunks int
		err := d.Read(ctx, func(tx *db.Tx) error { return tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM log_chunk").Scan(&chunks) })
		return err == nil && chunks == 0, fmt.Sprint(chunks, err)
	})
	const most = 256 << 10
	columns := 0
	err = d.Read(ctx, func(tx *db.Tx) error {
		list, err := tx.QueryContext(ctx, "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' AND data_type IN ('text', 'bytea', 'character varying')")
		if err != nil {
			return err
		}
		defer list.Close()
		var all [][2]string
		for list.Next() {
			var c [2]string
			if err := list.Scan(&c[0], &c[1]); err != nil {
				return err
			}
			all = append(all, c)
		}
		if err := list.Err(); err != nil {
			return err
		}
		for _, c := range all {
			var longest int
			if err := tx.QueryRowContext(ctx, fmt.Sprintf("SELECT COALESCE(MAX(octet_length(%s)), 0) FROM %s", c[1], c[0])).Scan(&longest); err != nil {
				return err
			}
			if longest > most {
				t.Errorf("%s.%s holds %d bytes in one row", c[0], c[1], longest)
			}
			var paths int
			if err := tx.QueryRowContext(ctx, fmt.Sprintf("SELECT COUNT(*) FROM %s WHERE position($1 in encode(%s::bytea, 'escape')) > 0", c[0], c[1]), i.path("blobs")).Scan(&paths); err != nil {
				return err
			}
			if paths > 0 {
				t.Errorf("%s.%s holds a path of this host's store", c[0], c[1])
			}
			columns++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if columns < 50 {
		t.Errorf("only %d columns were looked at", columns)
	}
	var stored int64
	err = filepath.WalkDir(i.path("blobs"), func(_ string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			stored += info.Size()
		}
		return err
	})
	if err != nil || stored < 3<<20 {
		t.Errorf("the store holds %d bytes (%v)", stored, err)
	}
}
