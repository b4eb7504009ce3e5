package cluster

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/quickstart"
)

// balancer is one address for a port of every node; via says which.
func (c *nodes) balancer(via func(n *installation) string) (address string) {
	c.t.Helper()
	listener, err := net.Listen("tcp", freeAddress(c.t))
	if err != nil {
		c.t.Fatal(err)
	}
	var backends []quickstart.Backend
	for _, n := range c.all {
		backends = append(backends, quickstart.Backend{Address: via(n), Ping: n.url + "/api/octopusservernodes/ping"})
	}
	b := quickstart.Balance(listener, backends...)
	c.t.Cleanup(b.Close)
	return listener.Addr().String()
}

// web is the balancer of the REST API.
func (c *nodes) web() client {
	return client{url: "http://" + c.balancer(func(n *installation) string { return n.listen }), key: c.key}
}

// load is people and build servers at work: deployments and reads through one address, until stopped.
type load struct {
	*nodes
	web  client
	stop context.CancelFunc
	done chan struct{}

	mu     sync.Mutex
	ids    []string // tasks
	reads  int
	errors []string
}

// work starts a load on the projects: one deployment of each at a time, of the release 1.0.0 to Test.
func (c *nodes) work(web client, projects ...object) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{nodes: c, web: web, stop: stop, done: make(chan struct{})}
	via := *c.installation
	via.client = web
	failed := func(what string, err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.errors = append(l.errors, fmt.Sprintf("%s %s: %v", time.Now().Format("15:04:05.000"), what, err))
	}
	var workers sync.WaitGroup
	for _, p := range projects {
		workers.Go(func() {
			for ctx.Err() == nil {
				id, err := via.tryDeploy(p, "1.0.0", "Test", nil)
				if err != nil {
					failed("deploy", err)
					continue
				}
				l.mu.Lock()
				l.ids = append(l.ids, id)
				l.mu.Unlock()
				for ended := false; !ended; {
					var now task
					if err := web.try("GET", space+"/tasks/"+id, nil, &now); err != nil {
						failed("read", err)
					}
					l.mu.Lock()
					l.reads++
					l.mu.Unlock()
					ended = now.IsCompleted
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	}
	go func() {
		workers.Wait()
		close(l.done)
	}()
	c.t.Cleanup(func() { stop() })
	return l
}

// progress waits until so many more deployments were asked for.
func (l *load) progress(more int) {
	l.t.Helper()
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.ids)
	}
	from := count()
	l.eventually(60*time.Second, "deployments go on", func() (bool, string) {
		var all []nodeRow
		if err := l.web.try("GET", "/api/octopusservernodes/all", nil, &all); err != nil {
			l.t.Errorf("the nodes through the balancer: %v", err)
		}
		for _, n := range all {
			if seen, err := time.Parse(time.RFC3339, n.LastSeen); err != nil || !n.IsOffline && time.Since(seen) > 60*time.Second {
				l.t.Errorf("%s was last seen at %s (%v)", n.Name, n.LastSeen, err)
			}
		}
		return count() >= from+more, fmt.Sprint(count())
	})
}

// finish ends the load and waits for the last deployments.
func (l *load) finish() (ids []string) {
	l.t.Helper()
	l.stop()
	select {
	case <-l.done:
	case <-time.After(90 * time.Second):
		l.t.Fatal("the last deployments of the load do not end")
	}
	if len(l.errors) > 0 {
		l.t.Errorf("%d of %d calls through the balancer failed:\n%s", len(l.errors), l.reads+len(l.ids), strings.Join(l.errors[:min(len(l.errors), 10)], "\n"))
	}
	return l.ids
}

// brief is a script that witnesses its start and its end, with some lines between.
const brief = `
witness="@W/$(get_octopusvariable "Octopus.Task.Id")"
echo start >> "$witness"
for n in $(seq 1 8); do echo "n $n"; sleep 0.1; done
echo end >> "$witness"
`

// TestEachNodeInTurnRow3Row7Row23Row30Row39Row99 ends (SIGTERM) one node after the other while deployments run: each hands over what it runs,
// leaves with exit code 0, and comes back. No task fails, no script runs twice, no call through the balancer is lost.
func TestEachNodeInTurnRow3Row7Row23Row30Row39Row99(t *testing.T) {
	parallel(t)
	c := threeNodes(t)
	c.addAgent("a", false, []string{"app"}, "Test")
	var projects []object
	for n := range 4 {
		p := c.project(fmt.Sprintf("p%d", n), []object{scriptStep("Go", "app", c.script(brief, ""))}, []object{{"Name": "OctopusBypassDeploymentMutex", "Value": "True"}})
		c.release(p, "1.0.0", "")
		projects = append(projects, p)
	}
	l := c.work(c.web(), projects...)
	for _, n := range c.all {
		l.progress(4)
		asked := time.Now()
		n.server.signal(t, syscall.SIGTERM)
		c.eventually(15*time.Second, n.name+" ends", func() (bool, string) { return n.server.ended(), "" })
		if n.server.err != nil {
			t.Errorf("%s ended with %v", n.name, n.server.err)
		}
		took := time.Since(asked)
		t.Logf("%s left after %.1f s", n.name, took.Seconds())
		if took > 10*time.Second {
			t.Errorf("%s took %s to leave", n.name, took)
		}
		l.progress(4)
		n.start()
		n.eventually(5*time.Second, n.name+" is back", func() (bool, string) { return n.ping() == http.StatusOK, "" })
	}
	l.progress(4)
	ids := l.finish()
	handed := 0
	for _, id := range ids {
		if end := c.task(id); end.State != "Success" {
			t.Errorf("%s is %s: %s\n%s", id, end.State, end.ErrorMessage, c.raw(id))
		}
		if got := c.witnessed(id); !slices.Equal(got, []string{"start", "end"}) {
			t.Errorf("the script of %s wrote %q", id, got)
		}
		var said []string
		raw := c.raw(id)
		for _, line := range section(raw, "Step 1: Go / a") {
			if strings.HasPrefix(line, "n ") {
				said = append(said, line)
			}
		}
		if got := strings.Join(said, " "); got != "n 1 n 2 n 3 n 4 n 5 n 6 n 7 n 8" {
			t.Errorf("the log of %s has %q", id, got)
		}
		if strings.Contains(raw, "goes on with this task") {
			handed++
		}
	}
	for _, n := range c.all {
		if len(c.tasksOf(n)) == 0 {
			t.Errorf("%s ran nothing", n.name)
		}
	}
	t.Logf("%d deployments, %d of them handed over; %d reads through the balancer", len(ids), handed, l.reads)
	if handed == 0 {
		t.Error("no deployment was running on a node that ended: that proves nothing")
	}
}
