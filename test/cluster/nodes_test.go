package cluster

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/cluster"
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
	// For polling agents the second node has an address of its own with the same port, the third the same address with
	// another port (behaviour.md rows 60 and 61).
	_, port, err := net.SplitHostPort(c.comms)
	if err != nil {
		t.Fatal(err)
	}
	c.all[1].comms = net.JoinHostPort("127.0.0.2", port)
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
		host, port, _ := net.SplitHostPort(n.comms)
		c.must(agent, "poll-server", "--data", a.data, "--server", n.url, "--apiKey", n.key, "--server-comms-address", host, "--server-comms-port", port)
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

// TestOwnerKilledRow16Row36Row60Row61Row63 kills (-9) the node that runs a deployment in the middle of a script that counts to 30. Another
// node adopts the script: it is started once, each number is logged once, and the loss of the node is no failure. Who
// followed the log through the dead node goes on through another, at the next entry.
func TestOwnerKilledRow16Row36Row60Row61Row63(t *testing.T) {
	parallel(t)
	c := threeNodes(t)
	c.addAgent("listening", false, []string{"app"}, "Test")
	c.pollEvery(c.addAgent("polling", true, []string{"app"}, "Test"))
	p := c.counter("Count", "0.2")
	id := c.deploy(p, "1.0.0", "Test", nil)
	owner := c.owner(id)
	rest := c.others(owner)
	followed := make(chan []entry, 1)
	var heard atomic.Int64
	go func() { // no Fatal in here
		seen, over, err := owner.follow(id, 0, func(entry) { heard.Add(1) })
		if over || len(seen) == 0 {
			t.Errorf("the stream through %s gave %d entries, and ended with %v before the node died", owner.name, len(seen), err)
			seen = []entry{{}}
		}
		more, over, err := rest[0].follow(id, seen[len(seen)-1].Number)
		if !over {
			t.Errorf("the stream through %s ended without the task's end: %v", rest[0].name, err)
		}
		followed <- append(seen, more...)
	}()
	c.reached(id, 8)
	c.eventually(20*time.Second, "the log is followed", func() (bool, string) { return heard.Load() > 0, "" })
	owner.kill()
	died := time.Now()
	rest[0].logs(id, "goes on with this task")
	t.Logf("adopted %.1f s after the kill", time.Since(died).Seconds())
	if lines := rest[0].log30(id); lines >= thirty {
		t.Errorf("the script was over (%d numbers) when it was adopted: that proves nothing", lines)
	}
	rest[1].succeeds(id, 60*time.Second)
	c.counted(id, rest...)
	c.wholeStream(<-followed)
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

// entry is one event of a log that is followed.
type entry struct {
	Number int64
	Text   string
}

// follow reads a task's stream of log entries through a node, until the task's end or until the stream breaks off; it
// tells of each at once.
func (c client) follow(id string, after int64, tell ...func(entry)) (seen []entry, over bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s%s/tasks/%s/follow", c.url, space, id), nil)
	if err != nil {
		return nil, false, err
	}
	request.Header.Set("X-Octopus-ApiKey", c.key)
	request.Header.Set("Last-Event-ID", strconv.FormatInt(after, 10))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, false, err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	var now entry
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "id":
			if now.Number, err = strconv.ParseInt(value, 10, 64); err != nil {
				return seen, false, err
			}
		case "data":
			now.Text = value
		case "event":
			over = value == "end"
		case "":
			if now.Number > 0 && !over {
				seen = append(seen, now)
				for _, tell := range tell {
					tell(now)
				}
			}
			now = entry{}
		}
	}
	return seen, over, lines.Err()
}

// wholeStream holds a followed log against what must be true: numbered without a gap, and every agent's count is whole.
func (c *nodes) wholeStream(seen []entry) {
	c.t.Helper()
	said := map[string]int{}
	for at, e := range seen {
		if e.Number != int64(at+1) {
			c.t.Fatalf("entry %d of the stream has number %d", at+1, e.Number)
		}
		for n := range thirty {
			if text := fmt.Sprintf("n %d", n+1); strings.Contains(e.Text, strconv.Quote(text)) {
				said[text]++
			}
		}
	}
	for n := range thirty {
		if text := fmt.Sprintf("n %d", n+1); said[text] != len(c.agents) {
			c.t.Errorf("the stream says %q %d times, want %d", text, said[text], len(c.agents))
		}
	}
}

// TestOwnerStopped stops (SIGSTOP) the node that runs a deployment for longer than its lease. Another adopts the
// script; the woken node finds itself fenced, says nothing more, and is well again by itself (I1-I4).
func TestOwnerStopped(t *testing.T) {
	parallel(t)
	c := threeNodes(t)
	c.addAgent("listening", false, []string{"app"}, "Test")
	c.polls("polling", c.balancer(func(n *installation) string { return n.comms }))
	p := c.counter("Count", "0.9") // longer than the 15 s after which a silent node is dead
	id := c.deploy(p, "1.0.0", "Test", nil)
	c.reached(id, 3)
	owner := c.owner(id)
	rest := c.others(owner)
	epochs := c.epochs()
	stopped := time.Now()
	owner.server.signal(t, syscall.SIGSTOP)
	rest[0].logs(id, "goes on with this task")
	t.Logf("adopted %.1f s after the stop", time.Since(stopped).Seconds())
	if lines := rest[0].log30(id); lines >= thirty {
		t.Errorf("the script was over (%d numbers) when it was adopted: that proves nothing", lines)
	}
	owner.server.signal(t, syscall.SIGCONT)
	rest[0].eventually(15*time.Second, "the woken node answers its ping with 200 under a new epoch", func() (bool, string) {
		now := c.epochs()
		return owner.ping() == http.StatusOK && now[owner.name] > epochs[owner.name]+1, fmt.Sprint(epochs, now)
	})
	owner.succeeds(id, 60*time.Second)
	c.counted(id, c.all...)
	if log := tail(owner.log(), 1000); !strings.Contains(log, "fenced") {
		t.Errorf("%s did not notice that it was fenced:\n%s", owner.name, log)
	}
	again := c.deploy(p, "1.0.0", "Test", nil)
	owner.cancel(again)
	owner.cancelled(again, 20*time.Second)
}

// epochs are the numbers of the nodes' registrations; no wire shows them.
func (c *nodes) epochs() map[string]int64 {
	c.t.Helper()
	ctx := context.Background()
	d, err := db.Open(ctx, c.database)
	if err != nil {
		c.t.Fatal(err)
	}
	defer d.Close()
	var all []cluster.NodeInfo
	if err := d.Read(ctx, func(tx *db.Tx) (err error) {
		all, err = cluster.Nodes(ctx, tx)
		return err
	}); err != nil {
		c.t.Fatal(err)
	}
	epochs := map[string]int64{}
	for _, n := range all {
		epochs[n.Name] = n.Epoch
	}
	return epochs
}

// TestLeaderRow17Row18Row20 has the first node lead, kills it, and stops its successor: each time one other leads, never
// two at once, and the node that wakes up leads no more.
func TestLeaderRow17Row18Row20(t *testing.T) {
	parallel(t)
	c := threeNodes(t)
	leaders := func(through *installation) (names []string) {
		for name, row := range through.rows() {
			if row.Rank == "Leader" {
				names = append(names, name)
			}
		}
		if len(names) > 1 {
			t.Errorf("%v all lead", names)
		}
		return names
	}
	leads := func(not, through *installation) *installation {
		var now []string
		started := time.Now()
		c.eventually(40*time.Second, "another node leads", func() (bool, string) {
			now = leaders(through)
			return len(now) == 1 && now[0] != not.name, fmt.Sprint(now)
		})
		t.Logf("%s leads after %.1f s", now[0], time.Since(started).Seconds())
		return c.all[slices.IndexFunc(c.all, func(n *installation) bool { return n.name == now[0] })]
	}
	c.eventually(10*time.Second, "the first node leads", func() (bool, string) {
		now := leaders(c.all[1])
		return slices.Equal(now, []string{"node-1"}), fmt.Sprint(now)
	})
	c.all[0].kill()
	second := leads(c.all[0], c.all[1])
	third := c.all[3-slices.Index(c.all, second)]
	second.server.signal(t, syscall.SIGSTOP)
	if now := leads(second, third); now != third {
		t.Errorf("%s leads, want %s", now.name, third.name)
	}
	second.server.signal(t, syscall.SIGCONT)
	until := time.Now().Add(4 * time.Second)
	third.eventually(20*time.Second, "the woken node serves again", func() (bool, string) {
		if now := leaders(third); !slices.Equal(now, []string{third.name}) {
			t.Errorf("%v lead after the wake-up, want %s", now, third.name)
		}
		return second.ping() == http.StatusOK && time.Now().After(until), ""
	})
	if now := leaders(second); !slices.Equal(now, []string{third.name}) {
		t.Errorf("the woken node thinks that %v lead", now)
	}
}

// TestDrainRow14Row29Row37Row38Row45 drains, through another node, the node that runs three tasks while ten are queued: its three
// finish there, the ten run elsewhere, and its ping says 418 at once.
func TestDrainRow14Row29Row37Row38Row45(t *testing.T) {
	parallel(t)
	c := threeNodes(t)
	for _, n := range c.all[1:] {
		c.set(n, object{"MaxConcurrentTasks": 0})
	}
	c.set(c.all[0], object{"MaxConcurrentTasks": 3})
	var ids []string
	for n := range 13 {
		name := fmt.Sprintf("p%02d", n)
		body := gated
		if n >= 3 {
			body = "echo start >> '@W/@NAME'"
		}
		p := c.project(name, []object{scriptStep("Go", "", c.script(body, name))}, nil)
		c.release(p, "1.0.0", "")
		ids = append(ids, c.deploy(p, "1.0.0", "Test", nil))
		if n < 3 {
			c.logs(ids[n], "waiting for the gate")
		}
	}
	if rows := c.all[1].rows(); len(rows) != 3 || rows["node-1"].RunningTaskCount != 3 || rows["node-2"].RunningTaskCount != 0 || rows["node-3"].LastSeen == "" {
		t.Errorf("the page of nodes: %+v", rows)
	}
	for _, id := range ids[3:] {
		if now := c.task(id); now.State != "Queued" {
			t.Errorf("%s is %s beyond a cap of 3", id, now.State)
		}
	}
	c.all[1].set(c.all[0], object{"IsInMaintenanceMode": true})
	if status := []int{c.all[0].ping(), c.all[1].ping(), c.all[2].ping()}; !slices.Equal(status, []int{418, 200, 200}) {
		t.Errorf("the pings answer %v", status)
	}
	for _, n := range c.all[1:] {
		c.set(n, object{"MaxConcurrentTasks": 5})
	}
	for _, id := range ids[3:] {
		c.all[2].succeeds(id, 60*time.Second)
	}
	if row := c.all[2].rows()["node-1"]; row.RunningTaskCount != 3 || !row.IsInMaintenanceMode || row.MaxConcurrentTasks != 3 {
		t.Errorf("the draining node: %+v", row)
	}
	write(t, c.path("witness", "open"), "")
	for _, id := range ids[:3] {
		c.all[1].succeeds(id, 60*time.Second)
	}
	slices.Sort(ids)
	if got := c.all[2].tasksOf(c.all[0]); len(got) != 3 {
		t.Errorf("the drained node ran %v, want three tasks", got)
	}
	for n := range 13 {
		if got := c.witnessed(fmt.Sprintf("p%02d", n)); len(got) != 1 && n >= 3 || !slices.Equal(got, []string{"start", "end"}) && n < 3 {
			t.Errorf("the script of p%02d wrote %v", n, got)
		}
	}
	c.all[2].set(c.all[0], object{"IsInMaintenanceMode": false})
	if status := c.all[0].ping(); status != http.StatusOK {
		t.Errorf("the node that works again answers its ping with %d", status)
	}
}

// TestCancelThroughAnotherNode cancels through one node the script that another runs.
func TestCancelThroughAnotherNode(t *testing.T) {
	parallel(t)
	c := threeNodes(t)
	c.addAgent("a", false, []string{"app"}, "Test")
	p := c.project("Cancel", []object{scriptStep("Wait", "app", c.script(escaping, "it"))}, nil)
	c.release(p, "1.0.0", "")
	id := c.deploy(p, "1.0.0", "Test", nil)
	c.logs(id, "waiting with a child")
	pid, err := strconv.Atoi(c.witnessed("it.child")[0])
	if err != nil {
		t.Fatal(err)
	}
	asked := time.Now()
	other := c.others(c.owner(id))[0]
	other.cancel(id)
	other.eventually(10*time.Second, "the script dies", func() (bool, string) { return gone(pid), "" })
	other.cancelled(id, 20*time.Second)
	t.Logf("cancelled after %.1f s", time.Since(asked).Seconds())
}

// TestEveryNodeShowsTheSameRow1 follows a deployment through three nodes at once while it runs: what each shows is a
// beginning of the same, and in the end all of it.
func TestEveryNodeShowsTheSameRow1(t *testing.T) {
	parallel(t)
	c := threeNodes(t)
	c.addAgent("listening", false, []string{"app"}, "Test")
	p := c.counter("Count", "0.1")
	id := c.deploy(p, "1.0.0", "Test", nil)
	type view struct{ lines, raw []string }
	views := make([]view, len(c.all))
	streams := make([][]entry, len(c.all))
	var following sync.WaitGroup
	for at, n := range c.all {
		following.Go(func() {
			var over bool
			var err error
			if streams[at], over, err = n.follow(id, 0); !over {
				t.Errorf("the stream through %s ended without the task's end: %v", n.name, err)
			}
		})
	}
	grown := 0
	c.eventually(60*time.Second, "the deployment ends", func() (bool, string) {
		ended := true
		for at, n := range c.all {
			d := n.details(id)
			var lines []string
			for _, root := range d.ActivityLogs {
				root.each(func(path []string, a activity) {
					if len(path) == 3 && a.Name == "listening" {
						lines = a.lines()
					}
				})
			}
			raw := section(n.raw(id), "Step 1: Count / listening")
			before := views[at]
			if !slices.Equal(lines[:min(len(lines), len(before.lines))], before.lines) || !slices.Equal(raw[:min(len(raw), len(before.raw))], before.raw) {
				t.Fatalf("%s took back what it had shown:\n%q\n%q", n.name, before, view{lines, raw})
			}
			if len(lines) > len(before.lines) && len(before.lines) > 0 {
				grown++
			}
			views[at] = view{lines, raw}
			ended = ended && d.Task.IsCompleted
		}
		return ended, fmt.Sprint(views)
	})
	if grown < 6 {
		t.Errorf("the log was seen to grow %d times only: that was not live", grown)
	}
	c.succeeds(id, time.Second)
	c.counted(id, c.all...)
	following.Wait()
	for at, n := range c.all {
		if c.wholeStream(streams[at]); !slices.Equal(streams[at], streams[0]) {
			t.Errorf("the stream through %s differs from that through node-1", n.name)
		}
	}
	for _, path := range []string{"/tasks/" + id, "/tasks/" + id + "/details?verbose=true", "/tasks/" + id + "/raw", "/projects/all", "/machines/all", "/environments/all", "/projects/" + p.text("Id") + "/releases", "/deployments"} {
		first, err := c.send("GET", space+path, "", nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, n := range c.all[1:] {
			if got, err := n.send("GET", space+path, "", nil); err != nil || !bytes.Equal(got, first) {
				t.Errorf("%s through %s differs (%v):\n%s\n%s", path, n.name, err, got, first)
			}
		}
	}
}
