package api_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/api"
	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/engine/tasklog"
)

// member is a node of a cluster with its own API; all share one database.
type member struct {
	*client
	node *cluster.Node
	conf cluster.Config
}

// join starts a node. Its tasks (kind Health) end when they are told to: "hold" waits for a cancel or for open, "wait" for
// a person.
func (c *client) join(name string, taskCap int, open <-chan struct{}, more ...func(*cluster.Config)) *member {
	c.t.Helper()
	work := func(ctx context.Context, run *cluster.Run) cluster.Outcome {
		if run.Task.Description == "wait" {
			return cluster.Waiting{}
		}
		select {
		case <-open:
			return cluster.Ended{State: cluster.Success}
		case <-run.Cancelled():
			return cluster.Ended{State: cluster.Canceled}
		case <-ctx.Done():
			return cluster.Released{}
		}
	}
	conf := cluster.Config{
		Name: name, DataDir: c.t.TempDir(), Cap: taskCap, Version: api.Version, Handlers: map[string]cluster.Handler{"Health": work}, Timing: cluster.FastTiming, Log: slog.New(slog.DiscardHandler),
	}
	for _, m := range more {
		m(&conf)
	}
	node, err := cluster.Start(c.t.Context(), c.db, conf)
	must(c.t, err)
	m := &member{client: c.through(c.db, name, slog.New(slog.DiscardHandler)), node: node, conf: conf}
	c.t.Cleanup(func() { _ = node.Stop(context.Background()) })
	return m
}

// through is the same installation through another process's API.
func (c *client) through(d *db.DB, name string, log *slog.Logger) *client {
	use := &control.Control{DB: d, Ring: c.control.Ring, Hub: c.control.Hub, Packages: c.control.Packages, Node: name, Served: c.control.Served}
	handler, err := api.New(use, tasklog.Reader{DB: d, Blobs: c.control.Packages.Blobs}, log)
	must(c.t, err)
	server := httptest.NewServer(handler)
	c.t.Cleanup(server.Close)
	return &client{t: c.t, db: d, control: use, server: server, key: c.key, document: c.document}
}

// kill ends a node without a word to the database.
func (m *member) kill() {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	_ = m.node.Stop(over)
}

func (m *member) id() string { return cluster.NodeId(m.conf.Name) }

func (m *member) path() string { return "/api/octopusservernodes/" + m.id() }

func (m *member) ping() answer {
	m.t.Helper()
	nobody := *m.client
	nobody.key = ""
	return nobody.try("GET", "/api/octopusservernodes/ping", nil)
}

// summary gives a node's row in the summary, nil when it is not there.
func (c *client) summary(name string) map[string]any {
	c.t.Helper()
	for _, n := range c.get("/api/octopusservernodes/summary").object()["Nodes"].([]any) {
		if n.(m)["Name"] == name {
			return n.(m)
		}
	}
	return nil
}

// eventually waits, in real time, until something is so.
func (c *client) eventually(what string, so func() bool) time.Duration {
	c.t.Helper()
	begin := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		if time.Since(begin) > 30*time.Second {
			c.t.Fatalf("not within 30 s: %s\n%s", what, c.get("/api/octopusservernodes/summary").body)
		}
		<-tick.C
	}
	return time.Since(begin)
}

func (c *client) health(description string) string {
	c.t.Helper()
	return c.post("/api/tasks", m{"Name": "Health", "Description": description, "SpaceId": "Spaces-1"}).text("Id")
}

func (c *client) stateOf(task string) string {
	c.t.Helper()
	return c.get("/api/tasks/" + task).text("State")
}

// TestNodesRow2Row8Row11Row12Row14Row22: the summary has all facts of a node; its drain is another flag than the installation's maintenance.
func TestNodesRow2Row8Row11Row12Row14Row22(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		a := c.join("a", 5, nil, func(c *cluster.Config) { c.Labels = []string{"zone=eu", "gpu"} })
		a.eventually("a leads", a.node.Leading)
		if got := a.get("/api/octopusservernodes/summary"); got.text("IsHighlyAvailable") != "false" || got.text("TotalTaskCap") != "5" || a.get("/api/serverstatus").text("IsHighlyAvailable") != "false" {
			t.Errorf("one node: %s", got.body)
		}
		b := a.join("b", 3, nil)
		one := func(name string) string {
			s := b.summary(name)
			return fmt.Sprint(s["Status"], " ", s["Rank"], " ", s["IsLeader"], " ", s["MaxConcurrentTasks"], " ", s["RunningTaskCount"], " ", s["IsInMaintenanceMode"], " ", s["IsOffline"], " ", s["Labels"], " ", s["Version"])
		}
		if got := one("a"); got != "Running Leader true 5 0 false false [gpu zone=eu] "+api.Version {
			t.Error(got)
		}
		if got := one("b"); got != "Running Follower false 3 0 false false [] "+api.Version {
			t.Error(got)
		}
		if got := a.get("/api/octopusservernodes/summary"); got.text("IsHighlyAvailable") != "true" || got.text("TotalTaskCap") != "8" || a.get("/api/serverstatus").text("IsHighlyAvailable") != "true" {
			t.Errorf("two nodes: %s", got.body)
		}
		for query, want := range map[string]string{"": "a b", "?ids=" + b.id(): "b", "?partialName=B": "b", "?skip=1": "b", "?take=1": "a", "?partialName=x": "", "?ids=a,b": ""} {
			var names []string
			for _, n := range a.get("/api/octopusservernodes" + query).object()["Items"].([]any) {
				names = append(names, n.(m)["Name"].(string))
			}
			if got := strings.Join(names, " "); got != want {
				t.Errorf("nodes%s: %q, want %q", query, got, want)
			}
		}
		if a.get(b.path()).text("Name") != "b" || a.get(b.path()+"/details").text("RunningTasks") != "0" || a.try("GET", "/api/octopusservernodes/OctopusServerNodes-x", nil).status != 404 {
			t.Error("one node")
		}
		a.put(b.path(), m{"Id": b.id(), "Name": "b", "IsInMaintenanceMode": true})
		if s := a.summary("b"); s["Status"] != "Drained" || s["IsInMaintenanceMode"] != true || s["MaxConcurrentTasks"] != 3.0 || a.get("/api/serverstatus").text("IsInMaintenanceMode") != "false" {
			t.Errorf("drained: %v", s)
		}
		if got := a.get("/api/octopusservernodes/summary"); got.text("TotalTaskCap") != "5" || got.text("IsHighlyAvailable") != "true" {
			t.Errorf("one drained: %s", got.body)
		}
		a.put(b.path(), m{"IsInMaintenanceMode": false})
		must(t, b.node.Stop(t.Context()))
		if got := a.get("/api/octopusservernodes/summary"); got.text("TotalTaskCap") != "5" || got.text("IsHighlyAvailable") != "false" || len(got.object()["Nodes"].([]any)) != 2 {
			t.Errorf("one stopped: %s", got.body)
		}
		if s := a.summary("b"); s["Status"] != "Offline" || s["IsOffline"] != true || !strings.Contains(s["Warning"].(string), "stopped") {
			t.Errorf("stopped: %v", s)
		}
		if got := a.get("/api/serverstatus/health"); !strings.Contains(got.text("Description"), "The node b stopped") || got.text("IsOperatingNormally") != "true" {
			t.Errorf("health: %s", got.body)
		}
	})
}

// TestSetNodeRow32: what is left out of a PUT stays; a cap of 0 is one; bad values are refused by name.
func TestSetNodeRow32(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		a := c.join("a", 5, nil)
		for i, step := range []struct {
			body string
			want string
		}{
			{`{"MaxConcurrentTasks":7}`, "7 false []"},
			{`{"IsInMaintenanceMode":true,"Unknown":{"x":1}}`, "7 true []"},
			{`{"maxconcurrenttasks":0}`, "0 true []"},
			{`{"IsInMaintenanceMode":null,"MaxConcurrentTasks":null,"Labels":null}`, "0 true []"},
			{`{"Labels":["zone=eu","gpu","gpu"]}`, "0 true [gpu zone=eu]"},
			{`{"Name":"other","RunningTaskCount":9,"Rank":"Leader","IsInMaintenanceMode":false}`, "0 false [gpu zone=eu]"},
			{`{"Labels":[]}`, "0 false []"},
			{`{}`, "0 false []"},
		} {
			got := a.put(a.path(), step.body).object()
			if s := fmt.Sprint(got["MaxConcurrentTasks"], " ", got["IsInMaintenanceMode"], " ", got["Labels"]); s != step.want || got["Name"] != "a" {
				t.Errorf("step %d, PUT %s: %s, want %s", i, step.body, s, step.want)
			}
		}
		for body, word := range map[string]string{
			`{"MaxConcurrentTasks":-1}`: "MaxConcurrentTasks", `{"MaxConcurrentTasks":"many"}`: "MaxConcurrentTasks", `{"MaxConcurrentTasks":1000000}`: "MaxConcurrentTasks",
			`{"IsInMaintenanceMode":"perhaps"}`: "IsInMaintenanceMode", `{"Labels":["two words"]}`: "label", `{"Labels":"gpu"}`: "Labels",
		} {
			if got := a.try("PUT", a.path(), body); got.status != 400 || !strings.Contains(string(got.body), word) {
				t.Errorf("PUT %s: %d %s", body, got.status, got.body)
			}
		}
		if got := a.get(a.path()).object(); got["MaxConcurrentTasks"] != 0.0 {
			t.Errorf("a refused PUT changed the node: %v", got)
		}
	})
}

// TestBeatRow23Row24: while every connection for work is taken, a node goes on beating, and is not declared dead.
func TestBeatRow23Row24(t *testing.T) {
	where := dbtest.Create(t, db.Postgres) // SQLite has one writer
	c := start(t, dbtest.Open(t, where))
	busy := *c
	busy.db = dbtest.Open(t, where)
	a, b := busy.join("a", 1, nil), c.join("b", 1, nil)
	over := make(chan struct{})
	var hogs sync.WaitGroup
	free := sync.OnceFunc(func() { close(over); hogs.Wait() })
	t.Cleanup(free) // before the nodes are stopped
	for _, hog := range []func(context.Context, func(*db.Tx) error) error{busy.db.InTx, busy.db.Queue} {
		for range 32 { // more than there are connections
			hogs.Go(func() {
				_ = hog(t.Context(), func(*db.Tx) error {
					<-over
					return nil
				})
			})
		}
	}
	seen := func() time.Time {
		at, err := time.Parse(time.RFC3339, b.summary("a")["LastSeen"].(string))
		must(t, err)
		return at
	}
	begin := seen()
	c.eventually("a beats for longer than it takes to be dead", func() bool { return seen().Sub(begin) > cluster.FastTiming.Dead+time.Second })
	free()
	if s := b.summary("a"); s["Status"] != "Running" || a.node.Epoch() != 1 {
		t.Errorf("afterwards: %v, epoch %d", s, a.node.Epoch())
	}
}

// TestPingRow38Row43Row44Row45Row47: ping wants no key, answers 200, and 418 as soon as its node drains or is told to stop; the
// body is the node.
func TestPingRow38Row43Row44Row45Row47(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		a, b := c.join("a", 5, nil), c.join("b", 5, nil)
		body := func(m *member, want int) map[string]any {
			t.Helper()
			got := m.ping()
			if got.status != want {
				t.Errorf("ping of %s: %d, want %d: %s", m.conf.Name, got.status, want, got.body)
			}
			o := got.object()
			for _, member := range []string{"Id", "Name", "LastSeen", "IsOffline", "MaxConcurrentTasks", "IsInMaintenanceMode", "Version", "Rank", "Links"} {
				if o[member] == nil {
					t.Errorf("no %s in %s", member, got.body)
				}
			}
			if o["Id"] != m.id() || o["Version"] != api.Version || o["MaxConcurrentTasks"] != 5.0 {
				t.Errorf("not this node: %s", got.body)
			}
			return o
		}
		body(a, http.StatusOK)
		b.put(a.path(), m{"IsInMaintenanceMode": true})
		if o := body(a, http.StatusTeapot); o["IsInMaintenanceMode"] != true || o["IsOffline"] != false || o["Status"] != "Drained" {
			t.Errorf("draining: %v", o)
		}
		body(b, http.StatusOK)
		b.put(a.path(), m{"IsInMaintenanceMode": false})
		body(a, http.StatusOK)

		a.control.StopSoon()
		if o := body(a, http.StatusTeapot); o["Status"] != "Draining" || o["IsOffline"] != false {
			t.Errorf("stopping: %v", o)
		}
		if got := a.try("GET", "/readyz", nil); got.status != 503 || !strings.Contains(string(got.body), "stopping") {
			t.Errorf("readyz while it stops: %d %s", got.status, got.body)
		}
		must(t, a.node.Stop(t.Context()))
		if o := body(a, http.StatusTeapot); o["IsOffline"] != true {
			t.Errorf("stopped: %v", o)
		}
		for path, want := range map[string]string{"/livez": "Alive", "/readyz": "Ready", "/api/serverstatus/hosted/internal": "Ready"} {
			nobody := *b.client
			nobody.key = ""
			if got := nobody.get(path); got.text("Status") != want || got.text("Node") != "b" {
				t.Errorf("%s: %s", path, got.body)
			}
		}
	})
}

// TestPingRow46: when the database hangs or is gone, ping answers 503 within a second or so, with what is known of the node.
func TestPingRow46(t *testing.T) {
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			where := dbtest.Create(t, engine)
			d, wire := dbtest.OpenWire(t, where)
			t.Cleanup(func() { _ = d.Close() }) // it was cut
			c := start(t, d)
			a := c.join("a", 5, nil)
			if got := a.ping(); got.status != 200 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			bad := func(what string) {
				t.Helper()
				wrong := *a.client // whoever asks: nobody can say who it is
				for path, members := range map[string]string{"/api/octopusservernodes/ping": "Id Name Version IsOffline ErrorMessage", "/readyz": "ErrorMessage", "/api/serverstatus/hosted/internal": "ErrorMessage"} {
					begin := time.Now()
					got := wrong.try("GET", path, nil)
					if took := time.Since(begin); got.status != 503 || took > 3*time.Second { // 0.8 s on a quiet machine
						t.Errorf("%s: GET %s: %d after %v: %s", what, path, got.status, took, got.body)
					}
					for member := range strings.FieldsSeq(members) {
						if got.object()[member] == nil {
							t.Errorf("%s: GET %s has no %s: %s", what, path, member, got.body)
						}
					}
				}
				if got := wrong.try("GET", "/livez", nil); got.status != 200 {
					t.Errorf("%s: livez %d", what, got.status)
				}
			}
			wire.Hold()
			bad("it hangs")
			wire.Go()
			a.eventually("ping is well again", func() bool { return a.ping().status == 200 })
			wire.Cut()
			bad("it is gone")
		})
	}
}

// TestRunningTasksRow15: a node's count is that of the list of its running tasks, also beside tasks that wait or were released.
func TestRunningTasksRow15(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		a := c.join("a", 5, nil)
		waits := c.health("wait")
		c.eventually("one waits", func() bool {
			return c.get("/api/tasks/"+waits).text("ServerNode") == a.id() && c.summary("a")["RunningTaskCount"] == 0.0
		})
		one, two := c.health("hold"), c.health("hold")
		c.eventually("two run", func() bool { return c.stateOf(one) == "Executing" && c.stateOf(two) == "Executing" })
		b := c.join("b", 0, nil)
		for _, at := range []*client{a.client, b.client} {
			listed := at.get("/api/tasks?node=" + a.id() + "&running=true&spaces=all&includeSystem=true")
			if s := at.summary("a"); s["RunningTaskCount"] != 2.0 || listed.text("TotalResults") != "2" || at.get(a.path()+"/details").text("RunningTasks") != "2" {
				t.Errorf("summary %v, list %s", s["RunningTaskCount"], listed.body)
			}
			if got := at.get(fmt.Sprint(at.summary("a")["Links"].(m)["RunningTasks"])); got.text("TotalResults") != "2" {
				t.Errorf("its link lists %s", got.text("TotalResults"))
			}
			if got := at.get("/api/tasks?node=" + a.id() + "&states=Executing,Cancelling"); got.text("TotalResults") != "2" {
				t.Errorf("by state: %s", got.text("TotalResults"))
			}
		}
		must(t, a.node.Stop(t.Context()))
		if s := b.summary("a"); s["RunningTaskCount"] != 0.0 || b.get("/api/tasks?node="+a.id()+"&running=true").text("TotalResults") != "0" {
			t.Errorf("after it stopped: %v", s)
		}
	})
}

// TestDeleteRow25Row42: a running node that is deleted comes back as it was, and its task and ping notice nothing. One that
// drains is gone for good once it stops.
func TestDeleteRow25Row42(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		a := c.join("a", 5, nil)
		task := c.health("hold")
		c.eventually("it runs", func() bool { return c.stateOf(task) == "Executing" })
		epoch := a.node.Epoch()
		b := c.join("b", 0, nil)
		b.put(a.path(), m{"MaxConcurrentTasks": 4})
		b.delete(a.path())
		if took := c.eventually("a is back", func() bool { return b.summary("a") != nil }); took > 10*time.Second {
			t.Errorf("a came back after %v", took)
		}
		if s := b.summary("a"); s["MaxConcurrentTasks"] != 4.0 || s["IsInMaintenanceMode"] != false || s["RunningTaskCount"] != 1.0 || s["Status"] != "Running" || a.node.Epoch() != epoch {
			t.Errorf("a came back as %v under epoch %d, was %d", s, a.node.Epoch(), epoch)
		}
		if got := c.stateOf(task); got != "Executing" {
			t.Errorf("its task is %s", got)
		}
		b.put(a.path(), m{"IsInMaintenanceMode": true})
		b.delete(a.path())
		if got := a.ping().status; got != 418 {
			t.Errorf("ping of the deleted node: %d", got)
		}
		c.eventually("a is back and drains", func() bool { s := b.summary("a"); return s != nil && s["Status"] == "Draining" })
		a.control.StopSoon()
		must(t, a.node.Stop(t.Context()))
		if got := a.ping(); got.status != 418 || got.object()["IsOffline"] != true {
			t.Errorf("ping after it stopped: %d %s", got.status, got.body)
		}
		if s := b.summary("a"); s != nil {
			t.Errorf("a node deleted while it drained stays after its stop: %v", s)
		}
	})
}

// TestRetireRow41: after drain, stop and delete a node is gone and does not come back; one of its name that is started later is a
// new node.
func TestRetireRow41(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		open := make(chan struct{})
		a, b := c.join("a", 5, open), c.join("b", 0, nil)
		task := c.health("hold")
		c.eventually("it runs", func() bool { return c.stateOf(task) == "Executing" })
		b.put(a.path(), m{"IsInMaintenanceMode": true, "MaxConcurrentTasks": 2})
		if s := b.summary("a"); s["Status"] != "Draining" {
			t.Errorf("while its task runs: %v", s)
		}
		close(open)
		c.eventually("a is drained", func() bool { return b.summary("a")["Status"] == "Drained" })
		if got := c.stateOf(task); got != "Success" {
			t.Errorf("its task is %s", got)
		}
		must(t, a.node.Stop(t.Context()))
		b.delete(a.path())
		if got := b.try("GET", a.path(), nil); got.status != 404 {
			t.Errorf("deleted: %d", got.status)
		}
		if got := b.try("DELETE", a.path(), nil); got.status != 404 {
			t.Errorf("deleted again: %d", got.status)
		}
		before := b.node.Epoch()
		for range 3 { // rounds of the cluster's loops
			task := b.health("hold")
			b.post("/api/tasks/"+task+"/cancel", nil)
		}
		if b.summary("a") != nil || b.node.Epoch() != before {
			t.Error("the deleted node is back")
		}
		c.join("a", 5, nil)
		if s := b.summary("a"); s == nil || s["MaxConcurrentTasks"] != 5.0 || s["IsInMaintenanceMode"] != false {
			t.Errorf("a new node of the name: %v", s)
		}
	})
}

// TestStoryRow16Row21: A leads, B drains, A is killed: C leads, never B. A reads Offline with a warning, and when it was seen last
// stands still. Then C drains and gives leadership up within a second.
func TestStoryRow16Row21(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		a := c.join("a", 1, nil)
		c.eventually("a leads", a.node.Leading)
		b, o := c.join("b", 1, nil), c.join("c", 1, nil)
		ranks := func() string {
			s := o.get("/api/octopusservernodes/summary").object()["Nodes"].([]any)
			var out []string
			for _, n := range s {
				if n.(m)["IsLeader"] == true {
					out = append(out, n.(m)["Name"].(string))
				}
			}
			return strings.Join(out, " ")
		}
		if got := ranks(); got != "a" {
			t.Errorf("the first node to join leads, not %q", got)
		}
		o.put(b.path(), m{"IsInMaintenanceMode": true})
		a.kill()
		c.eventually("c leads", func() bool {
			got := ranks()
			if strings.Contains(got, "b") || len(got) > 1 {
				t.Fatalf("%q leads", got)
			}
			return got == "c" && o.node.Leading()
		})
		c.eventually("a is offline", func() bool { return o.summary("a")["IsOffline"] == true })
		seen := func() map[string]any {
			s := o.summary("a")
			if s["Status"] != "Offline" || s["IsOffline"] != true || !strings.Contains(s["Warning"].(string), "does not answer") {
				t.Errorf("the dead node: %v", s)
			}
			return s
		}
		first := seen()["LastSeen"]
		if got := o.get("/api/serverstatus/health"); !strings.Contains(got.text("Description"), "The node a does not answer any more") {
			t.Errorf("health: %s", got.body)
		}
		o.put(b.path(), m{"IsInMaintenanceMode": false})
		o.put(o.path(), m{"IsInMaintenanceMode": true})
		if took := c.eventually("b leads", func() bool { return ranks() == "b" && !o.node.Leading() }); took > 5*time.Second { // 1 s on a quiet machine
			t.Errorf("leadership went over after %v", took)
		}
		if seen()["LastSeen"] != first {
			t.Error("LastSeen of a dead node moved")
		}
	})
}

// TestScaleInRow97Row99 is the reference's scale-in script, call by call (behaviour.md 2.3), against a node whose task does not end.
func TestScaleInRow97Row99(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		a, b := c.join("Web-1", 1, nil), c.join("b", 5, nil)
		b.put(b.path(), m{"MaxConcurrentTasks": 0}) // so that the task runs on the node that goes
		task := c.health("hold")
		c.eventually("it runs", func() bool { return c.stateOf(task) == "Executing" })
		node := func() map[string]any {
			for _, n := range b.get("/api/octopusservernodes/summary").object()["Nodes"].([]any) {
				if strings.EqualFold(n.(m)["Name"].(string), "WEB-1") {
					return n.(m)
				}
			}
			return nil
		}
		n := node()
		seen, err := time.Parse(time.RFC3339, n["LastSeen"].(string))
		if err != nil || time.Since(seen) > 5*time.Minute || n["IsInMaintenanceMode"] != false {
			t.Fatalf("it is not active: %v %v", n, err)
		}
		b.put("/api/octopusservernodes/"+n["Id"].(string), m{"Id": n["Id"], "Name": n["Name"], "MaxConcurrentTasks": n["MaxConcurrentTasks"], "IsInMaintenanceMode": true})
		if n = node(); n["RunningTaskCount"] != 1.0 {
			t.Errorf("it runs %v tasks", n["RunningTaskCount"])
		}
		stuck := b.get(fmt.Sprintf("/api/tasks?skip=0&node=%s&states=Executing,Cancelling&spaces=all&includeSystem=true&take=%v", n["Id"], n["MaxConcurrentTasks"]))
		for _, item := range stuck.object()["Items"].([]any) {
			b.post(fmt.Sprintf("/api/%s/tasks/%s/cancel", item.(m)["SpaceId"], item.(m)["Id"]), nil)
		}
		c.eventually("it has no task", func() bool { return node()["RunningTaskCount"] == 0.0 })
		if got := c.stateOf(task); got != "Canceled" {
			t.Errorf("the task is %s", got)
		}
		b.delete("/api/octopusservernodes/" + n["Id"].(string))
		must(t, a.node.Stop(t.Context()))
		if node() != nil {
			t.Errorf("its row is there: %v", node())
		}
	})
}

// TestSchedulerRow19: what the leader does can be read, stopped, started and triggered through any node; of three one does it.
func TestSchedulerRow19(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		did := make(chan string, 100)
		sweeps := func(conf *cluster.Config) {
			conf.Duties = []cluster.Duty{{Name: "Sweep the yard", Every: time.Hour, Do: func(context.Context, cluster.Term) error {
				did <- conf.Name
				if len(did) > 2 {
					return fmt.Errorf("no broom")
				}
				return nil
			}}}
		}
		a, b := c.join("a", 1, nil, sweeps), c.join("b", 1, nil, sweeps)
		c.join("c", 1, nil, sweeps)
		duty := func() map[string]any {
			for _, s := range b.get("/api/scheduler").object()["TaskStatus"].([]any) {
				if s.(m)["Name"] == "Sweep the yard" {
					return s.(m)
				}
			}
			return nil
		}
		runs := func() []any {
			return b.get("/api/scheduler/Sweep%20the%20yard/logs").object()["ActivityLogs"].([]any)
		}
		c.eventually("it is done once", func() bool { s := duty(); return s != nil && s["LastEnded"] != nil })
		if s := duty(); s["IsEnabled"] != true || s["Interval"] != "1h0m0s" || s["LastError"] != "" || s["NextDue"] == nil || b.get("/api/scheduler").text("IsRunning") != "true" {
			t.Errorf("the duty: %v", s)
		}
		b.post("/api/scheduler/sweep%20the%20yard/stop", nil)
		if s := duty(); s["IsEnabled"] != false || s["NextDue"] != nil {
			t.Errorf("stopped: %v", s)
		}
		if got := b.try("POST", "/api/scheduler/trigger?task=Sweep+the+yard", nil); got.status != 409 || !strings.Contains(string(got.body), "Start it first") {
			t.Errorf("triggered while it is stopped: %d %s", got.status, got.body)
		}
		b.post("/api/scheduler/start?task=Sweep+the+yard", nil)
		if len(did) != 1 || len(runs()) != 1 {
			t.Errorf("it was done %d times", len(did))
		}
		b.post("/api/scheduler/trigger?task=Sweep+the+yard", nil)
		c.eventually("it is done again", func() bool { return len(runs()) == 2 && runs()[0].(m)["Status"] == "Success" })
		b.post("/api/scheduler/Sweep%20the%20yard/trigger", nil)
		c.eventually("it failed", func() bool { return len(runs()) == 3 && runs()[0].(m)["Status"] == "Failed" })
		if s := duty(); s["LastError"] != "no broom" || s["LastNode"] != <-did {
			t.Errorf("failed: %v", s)
		}
		if got := b.try("POST", "/api/scheduler/trigger?task=Nap", nil); got.status != 404 || !strings.Contains(string(got.body), "Sweep the yard") {
			t.Errorf("unknown: %d %s", got.status, got.body)
		}
		if got := b.try("POST", "/api/scheduler/trigger", nil); got.status != 400 || !strings.Contains(string(got.body), "task") {
			t.Errorf("unnamed: %d %s", got.status, got.body)
		}
		b.post("/api/scheduler/stop", nil)
		for _, s := range a.get("/api/scheduler").object()["TaskStatus"].([]any) {
			if s.(m)["IsEnabled"] != false {
				t.Errorf("after all were stopped: %v", s)
			}
		}
		b.post("/api/scheduler/start", nil)
		if duty()["IsEnabled"] != true {
			t.Error("not started again")
		}
	})
}
