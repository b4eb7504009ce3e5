package cluster

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/db"
)

// nodes are several nodes of one installation on PostgreSQL. The embedded one is the first; what tests make (agents,
// projects) they make through it, and whatever they look at they may look at through any.
type nodes struct {
	*installation
	all []*installation
}

// threeNodes starts three nodes with a witness folder and the environment Test.
func threeNodes(t *testing.T, flags ...string) *nodes {
	t.Helper()
	c := &nodes{installation: prepare(t, db.Postgres, flags...)}
	c.all = []*installation{c.installation, c.neighbour("node-2"), c.neighbour("node-3")}
	for _, n := range c.all {
		n.start()
	}
	if err := os.MkdirAll(c.path("witness"), 0o700); err != nil {
		t.Fatal(err)
	}
	c.environment("Test")
	return c
}

// pollEvery has an agent that polls the first node poll the others as well (behaviour.md row 63).
func (c *nodes) pollEvery(a *agentProcess) {
	c.t.Helper()
	a.kill()
	for _, n := range c.all[1:] {
		_, port, _ := strings.Cut(n.comms, ":")
		c.must(agent, "poll-server", "--data", a.data, "--server", n.url, "--apiKey", n.key, "--server-comms-address", "127.0.0.1", "--server-comms-port", port)
	}
	c.startAgent(a)
}

// nodeRow is what the REST API says of a node.
type nodeRow struct {
	Id, Name, Rank, LastSeen       string //nolint:revive // the wire's names
	IsOffline, IsInMaintenanceMode bool
	MaxConcurrentTasks             int
	RunningTaskCount               int
}

// rows are all nodes as a node sees them, by name.
func (i *installation) rows() map[string]nodeRow {
	i.t.Helper()
	var all []nodeRow
	if err := i.try("GET", "/api/octopusservernodes/all", nil, &all); err != nil {
		i.t.Fatal(err)
	}
	rows := map[string]nodeRow{}
	for _, row := range all {
		rows[row.Name] = row
	}
	return rows
}

// set changes a node's row; members that are left out stay.
func (i *installation) set(node *installation, change object) {
	i.t.Helper()
	if err := i.try("PUT", "/api/octopusservernodes/OctopusServerNodes-"+node.name, change, nil); err != nil {
		i.t.Fatalf("change %s: %v", node.name, err)
	}
}

// ping is what a load balancer gets to see; 0 when nobody answers.
func (i *installation) ping() int {
	quick := http.Client{Timeout: 2 * time.Second}
	response, err := quick.Get(i.url + "/api/octopusservernodes/ping")
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// tasksOf lists the tasks that a node runs or ran.
func (i *installation) tasksOf(node *installation) (ids []string) {
	i.t.Helper()
	var page struct{ Items []task }
	i.call("GET", "/tasks?take=1000&name=Deploy&node=OctopusServerNodes-"+node.name, nil, &page)
	for _, item := range page.Items {
		ids = append(ids, item.Id)
	}
	return ids
}

// owner is the node that runs a task just now.
func (c *nodes) owner(id string) (owner *installation) {
	c.t.Helper()
	c.eventually(20*time.Second, "a node runs "+id, func() (bool, string) {
		for _, n := range c.all {
			if slices.Contains(c.tasksOf(n), id) {
				owner = n
			}
		}
		return owner != nil, ""
	})
	return owner
}

// others are all nodes but one.
func (c *nodes) others(than *installation) []*installation {
	return slices.DeleteFunc(slices.Clone(c.all), func(n *installation) bool { return n == than })
}

// onlyOn has one node take new tasks, and no other.
func (c *nodes) onlyOn(node *installation) {
	c.t.Helper()
	node.set(node, object{"MaxConcurrentTasks": 5})
	for _, n := range c.others(node) {
		node.set(n, object{"MaxConcurrentTasks": 0})
	}
}

// thirty is how far countTo30 counts.
const thirty = 30

// countTo30 counts on a target, in its log and in a witness file that only the script itself writes.
const countTo30 = `
witness="@W/$(get_octopusvariable "Octopus.Task.Id").$(get_octopusvariable "Octopus.Machine.Name")"
echo start >> "$witness"
for n in $(seq 1 30); do
	echo "$n" >> "$witness"
	echo "n $n"
	sleep @NAME
done
echo end >> "$witness"
`

// counter makes a project that counts to 30 on every target, with a pause behind each number, and its release 1.0.0.
func (c *nodes) counter(name, pause string) object {
	c.t.Helper()
	p := c.project(name, []object{scriptStep("Count", "app", c.script(countTo30, pause))}, nil)
	c.release(p, "1.0.0", "")
	return p
}

// reached waits until every target has counted to n.
func (c *nodes) reached(id string, n int) {
	c.t.Helper()
	for _, a := range c.agents {
		c.eventually(60*time.Second, a.name+" counts", func() (bool, string) {
			lines := c.witnessed(id + "." + a.name)
			return len(lines) > n, fmt.Sprint(lines)
		})
	}
}

// counted holds a finished task against what must be true whatever happened: each script was started once, and wrote
// each number once; and every node shows each number once and in order, in the log tree and in the raw log.
func (c *nodes) counted(id string, through ...*installation) {
	c.t.Helper()
	want, said := []string{"start"}, []string(nil)
	for n := range thirty {
		want, said = append(want, strconv.Itoa(n+1)), append(said, fmt.Sprintf("n %d", n+1))
	}
	for _, a := range c.agents {
		if got := c.witnessed(id + "." + a.name); !slices.Equal(got, append(want, "end")) {
			c.t.Errorf("the script on %s wrote %q", a.name, got)
		}
		for _, node := range through {
			raw := node.raw(id)
			for reader, lines := range map[string][]string{
				"raw log":  section(raw, "Step 1: Count / "+a.name),
				"log tree": node.details(id).at(c.t, "Step 1: Count", a.name).lines(),
			} {
				lines = slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return !strings.HasPrefix(line, "n ") })
				if !slices.Equal(lines, said) {
					c.t.Errorf("the %s of %s through %s has %q", reader, a.name, node.name, lines)
				}
			}
			if c.t.Failed() {
				c.t.Logf("raw log through %s:\n%s", node.name, raw)
			}
		}
	}
}

// succeeds waits for a task's success through a node that lives.
func (i *installation) succeeds(id string, within time.Duration) {
	i.t.Helper()
	if end := i.wait(id, within); end.State != "Success" {
		i.t.Fatalf("%s is %s: %s\n%s", id, end.State, end.ErrorMessage, i.raw(id))
	}
}

// TestOwnerKilledRow16Row36 kills (-9) the node that runs a deployment in the middle of a script that counts to 30. Another
// node adopts the script: it is started once, each number is logged once, and the loss of the node is no failure.
func TestOwnerKilledRow16Row36(t *testing.T) {
	parallel(t)
	c := threeNodes(t)
	c.addAgent("listening", false, []string{"app"}, "Test")
	c.pollEvery(c.addAgent("polling", true, []string{"app"}, "Test"))
	p := c.counter("Count", "0.15")
	id := c.deploy(p, "1.0.0", "Test", nil)
	c.reached(id, 8)
	owner := c.owner(id)
	rest := c.others(owner)
	owner.kill()
	died := time.Now()
	rest[0].logs(id, "goes on with this task")
	t.Logf("adopted %.1f s after the kill", time.Since(died).Seconds())
	if lines := rest[0].log30(id); lines >= thirty {
		t.Errorf("the script was over (%d numbers) when it was adopted: that proves nothing", lines)
	}
	rest[1].succeeds(id, 60*time.Second)
	c.counted(id, rest...)
	for _, n := range rest {
		if now := slices.Contains(rest[0].tasksOf(n), id); now != strings.Contains(n.raw(id), "Node "+n.name+" goes on") {
			t.Errorf("%s ran it to its end: %v; the log says otherwise", n.name, now)
		}
	}
	rest[0].eventually(90*time.Second, owner.name+" is shown as offline", func() (bool, string) {
		row := rest[0].rows()[owner.name]
		return row.IsOffline, fmt.Sprint(row)
	})
	seen := rest[0].rows()[owner.name].LastSeen
	owner.start()
	rest[1].eventually(10*time.Second, owner.name+" is back", func() (bool, string) {
		row := rest[1].rows()[owner.name]
		return !row.IsOffline && row.LastSeen > seen, fmt.Sprint(row)
	})
}

// log30 is how many numbers the scripts have witnessed, at most.
func (c *installation) log30(id string) (most int) {
	for _, a := range []string{"listening", "polling"} {
		most = max(most, len(c.witnessed(id+"."+a))-1)
	}
	return most
}
