package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/db"
)

// command runs octavo to its end and gives what it said, and its exit code.
func (i *installation) command(arguments ...string) (said string, code int) {
	i.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, octavo, append(arguments, "--database", i.database)...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		i.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// TestNodeCommandRow27Row40Row41 drains the only node from the command line while it runs a deployment (behaviour.md 2.7, P10), patches it
// (stop and start), lets it work again, and retires it.
func TestNodeCommandRow27Row40Row41(t *testing.T) {
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			parallel(t)
			i := install(t, engine)
			i.environment("Test")
			p := i.project("Hold", []object{scriptStep("Hold", "", "echo waiting for the end; sleep 600")}, nil)
			i.release(p, "1.0.0", "")
			id := i.deploy(p, "1.0.0", "Test", nil)
			i.logs(id, "waiting for the end")
			node := func(want int, words string, arguments ...string) {
				t.Helper()
				said, code := i.command(append([]string{"node"}, arguments...)...)
				if code != want {
					t.Fatalf("octavo node %s: exit code %d, want %d\n%s", arguments, code, want, said)
				}
				for _, word := range strings.Split(words, "|") {
					if !strings.Contains(said, word) {
						t.Errorf("octavo node %s does not say %q:\n%s", arguments, word, said)
					}
				}
			}
			me := []string{"--node-name", i.name}
			node(1, "There is no node named nobody", "--node-name", "nobody", "--drain")
			node(1, "wait: goes with --drain=true only", append(me, "--wait", "3")...)
			node(1, "still runs 1 task: "+id+"|--cancel-tasks", append(me, "--drain=true", "--wait", "1")...)
			if got := i.ping(); got != http.StatusTeapot {
				t.Errorf("ping of the draining node: %d", got)
			}
			node(0, "NAME|node-1|Draining", "list")
			node(0, "cancelling 1 task: "+id+"|has no task any more", append(me, "--drain=true", "--cancel-tasks", "--cancel-wait", "30")...)
			i.cancelled(id, time.Second)
			node(0, "Drained", "list")
			queued := i.deploy(p, "1.0.0", "Test", nil)

			i.server.signal(t, syscall.SIGTERM)
			i.eventually(15*time.Second, "the server ends", func() (bool, string) { return i.server.ended(), "" })
			if i.server.err != nil {
				t.Errorf("it ended with %v", i.server.err)
			}
			node(0, "Offline", "list")
			i.start()
			if row := i.rows()[i.name]; !row.IsInMaintenanceMode || i.task(queued).State != "Queued" {
				t.Errorf("the patched node works without having been told to: %+v", row)
			}
			node(0, "task cap 2", append(me, "--drain=false", "--taskCap=2", "--label", "gpu,zone=eu")...)
			i.logs(queued, "waiting for the end")
			node(0, "Running|gpu,zone=eu|2", "list")
			i.cancel(queued)
			i.cancelled(queued, 20*time.Second)

			node(0, "comes back by itself", "delete", i.name)
			i.eventually(10*time.Second, "the deleted node is back", func() (bool, string) { return i.rows()[i.name].MaxConcurrentTasks == 2, "" })
			node(0, "", append(me, "--drain")...)
			node(0, "stays on the list until it stops", "delete", i.name)
			i.eventually(10*time.Second, "it is on the list", func() (bool, string) { _, there := i.rows()[i.name]; return there, "" })
			i.server.signal(t, syscall.SIGTERM)
			i.eventually(15*time.Second, "the server ends", func() (bool, string) { return i.server.ended(), "" })
			if said, _ := i.command("node", "list"); strings.Contains(said, i.name) {
				t.Errorf("the retired node is on the list:\n%s", said)
			}
			i.start()
			if row := i.rows()[i.name]; row.IsInMaintenanceMode || row.MaxConcurrentTasks != 5 {
				t.Errorf("a node of the name that is started later is not a new one: %+v", row)
			}
		})
	}
}

// TestTerminatedWhileItServes has a request under way end well when the node is told to stop in its middle.
func TestTerminatedWhileItServes(t *testing.T) {
	parallel(t)
	i := install(t, db.SQLite)
	in, out := io.Pipe()
	first := fmt.Appendf(nil, "{\"Name\": \"Late\",%s", strings.Repeat(" ", 1<<16))
	q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, i.url+"/api/Spaces-1/environments", in)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("X-Octopus-ApiKey", i.key)
	answer := make(chan string, 1)
	go func() {
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		answer <- resp.Status
	}()
	if _, err := out.Write(first); err != nil {
		t.Fatal(err)
	}
	i.server.signal(t, syscall.SIGTERM)
	i.eventually(10*time.Second, "the listener closes", func() (bool, string) {
		err := i.hasty().try("GET", "/livez", nil, nil)
		return err != nil, ""
	})
	if _, err := out.Write([]byte(`"Description": ""}`)); err != nil {
		t.Fatal(err)
	}
	out.Close()
	if got := <-answer; !slices.Contains([]string{"201 Created", "200 OK"}, got) {
		t.Errorf("the request that was under way: %s", got)
	}
	i.eventually(15*time.Second, "the server ends", func() (bool, string) { return i.server.ended(), "" })
	if i.server.err != nil {
		t.Errorf("it ended with %v", i.server.err)
	}
}
