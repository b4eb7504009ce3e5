package cluster

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/db"
)

// gated is a script that starts, says so, and waits for a file to end.
const gated = `
echo start >> "@W/@NAME"
echo "waiting for the gate"
until [ -e "@W/open" ]; do sleep 0.05; done
echo end >> "@W/@NAME"
`

func (i *installation) witnessed(name string) []string {
	text, _ := os.ReadFile(i.path("witness", name)) // not there: nothing witnessed yet
	return strings.Fields(string(text))
}

func (i *installation) script(text, name string) string {
	return strings.NewReplacer("@W", i.path("witness"), "@NAME", name).Replace(text)
}

// fleet is an installation with a witness folder, an environment and agents called a, b, ...; every second one polls.
func fleet(t *testing.T, engine db.Engine, agents int, flags ...string) *installation {
	t.Helper()
	i := install(t, engine, flags...)
	if err := os.MkdirAll(i.path("witness"), 0o700); err != nil {
		t.Fatal(err)
	}
	i.environment("Test")
	for n := range agents {
		i.addAgent(string(rune('a'+n)), n%2 == 1, []string{"app"}, "Test")
	}
	return i
}

func (i *installation) cancel(id string) {
	i.t.Helper()
	i.call("POST", "/tasks/"+id+"/cancel", nil, nil)
}

// cancelled waits for a cancel's end.
func (i *installation) cancelled(id string, within time.Duration) {
	i.t.Helper()
	if end := i.wait(id, within); end.State != "Canceled" {
		i.t.Fatalf("%s is %s: %s\n%s", id, end.State, end.ErrorMessage, i.raw(id))
	}
}

// TestTurns holds that deployments of one project to one environment never overlap, that one of another project does
// not wait for them, and that a queued one can be cancelled (deployments.md P; reliability-and-security.md I).
func TestTurns(t *testing.T) {
	parallel(t)
	i := fleet(t, db.SQLite, 0)
	one := i.project("One", []object{scriptStep("Hold", "", i.script(gated, "one"))}, nil)
	other := i.project("Other", []object{scriptStep("Go", "", "echo gone")}, nil)
	i.release(one, "1.0.0", "")
	i.release(other, "1.0.0", "")
	first := i.deploy(one, "1.0.0", "Test", nil)
	i.logs(first, "waiting for the gate")
	second := i.deploy(one, "1.0.0", "Test", nil)
	third := i.deploy(one, "1.0.0", "Test", nil)
	i.success(i.deploy(other, "1.0.0", "Test", nil))
	if now := i.task(second); now.State != "Queued" {
		t.Errorf("the second deployment of the same project is %s, want Queued", now.State)
	}
	i.cancel(second)
	i.cancelled(second, 5*time.Second)
	if err := os.WriteFile(i.path("witness", "open"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	i.success(first)
	i.success(third)
	if got := strings.Join(i.witnessed("one"), " "); got != "start end start end" {
		t.Errorf("the scripts wrote %q", got)
	}
}

// TestCancelQueued cancels what no node has a slot for.
func TestCancelQueued(t *testing.T) {
	parallel(t)
	i := fleet(t, db.Postgres, 0, "--task-cap", "0")
	p := i.project("One", []object{scriptStep("Go", "", i.script("echo start >> '@W/@NAME'", "ran"))}, nil)
	i.release(p, "1.0.0", "")
	id := i.deploy(p, "1.0.0", "Test", nil)
	if now := i.task(id); now.State != "Queued" {
		t.Errorf("it is %s, want Queued", now.State)
	}
	i.cancel(id)
	i.cancelled(id, 5*time.Second)
	if got := i.witnessed("ran"); len(got) > 0 {
		t.Error("it ran")
	}
}

// escaping starts a child that leaves the script's process group and session, and waits.
const escaping = `
(setsid bash -c 'echo $$ > "@W/@NAME.child"; exec sleep 600' >/dev/null 2>&1 &)
until [ -s "@W/@NAME.child" ]; do sleep 0.02; done
echo "waiting with a child"
trap 'echo "tidying up"; exit 1' TERM
while true; do sleep 0.1; done
`

// TestCancelRunning cancels scripts on a listening agent, a polling one and the server; everything they started dies (deployments.md E13).
func TestCancelRunning(t *testing.T) {
	parallel(t)
	i := fleet(t, db.SQLite, 2)
	for _, where := range []string{"a", "b", ""} {
		name := "where-" + where
		role := ""
		var more object
		if where != "" {
			role, more = "app", object{"SpecificMachineNames": []string{where}}
		}
		t.Run(name, func(t *testing.T) {
			i.t = t
			defer func() { i.t = t }()
			p := i.project(name, []object{
				scriptStep("Wait", role, i.script(escaping, name)),
				scriptStep("After", "", i.script("echo ran >> '@W/@NAME'", name+".after")),
			}, nil)
			i.release(p, "1.0.0", "")
			id := i.deploy(p, "1.0.0", "Test", more)
			i.logs(id, "waiting with a child")
			pid, err := strconv.Atoi(i.witnessed(name + ".child")[0])
			if err != nil {
				t.Fatal(err)
			}
			if syscall.Kill(pid, 0) != nil {
				t.Fatal("the child is not there")
			}
			i.cancel(id)
			i.cancelled(id, 20*time.Second)
			i.eventually(5*time.Second, "the child dies", func() (bool, string) { return gone(pid), "" })
			if len(i.witnessed(name+".after")) > 0 {
				t.Error("the step behind the cancelled one ran")
			}
			if status := i.details(id).at(t, "Step 1: Wait").Status; status != "Canceled" {
				t.Errorf("the log tree shows %s for the cancelled step", status)
			}
		})
		i.t = t
	}
}

// TestCancelDies kills the server while it cancels; the next start goes on cancelling.
func TestCancelDies(t *testing.T) {
	parallel(t)
	i := fleet(t, db.SQLite, 2)
	p := i.project("One", []object{scriptStep("Wait", "app", i.script(escaping, "it"))}, nil)
	i.release(p, "1.0.0", "")
	for n, point := range []string{"cancel before#1", "cancel before#2", "cancel answered#1", "settle written#1"} {
		machine := i.agents[n%2].name
		t.Run(point+" "+machine, func(t *testing.T) {
			i.t = t
			defer func() { i.t = t }()
			if err := os.RemoveAll(i.path("witness", "it.child")); err != nil {
				t.Fatal(err)
			}
			id := i.deploy(p, "1.0.0", "Test", object{"SpecificMachineNames": []string{machine}})
			i.logs(id, "waiting with a child")
			pid, err := strconv.Atoi(i.witnessed("it.child")[0])
			if err != nil {
				t.Fatal(err)
			}
			i.arm(point + "=kill")
			i.cancel(id)
			i.eventually(20*time.Second, "the server dies", func() (bool, string) {
				var now task
				return i.server.ended() || i.hasty().try("GET", space+"/tasks/"+id, nil, &now) == nil && now.IsCompleted, now.State
			})
			i.arm("")
			if i.server.ended() {
				i.start()
			} else {
				t.Logf("%s was not passed: the cancel was too quick", point)
			}
			i.cancelled(id, 60*time.Second)
			i.eventually(5*time.Second, "the child dies", func() (bool, string) { return gone(pid), "" })
		})
		i.t = t
	}
}

// gone says whether a process is no more, or only a dead entry.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z")
}

// throttle is a slow network between two ends.
type throttle struct {
	net.Listener
	to    string
	rate  atomic.Int64 // bytes a second; 0: nothing passes
	mu    sync.Mutex
	conns []net.Conn
	work  sync.WaitGroup
}

func newThrottle(t *testing.T, to string, rate int64) *throttle {
	t.Helper()
	listener, err := net.Listen("tcp", freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	th := &throttle{Listener: listener, to: to}
	th.rate.Store(rate)
	th.work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				conn.Close()
				continue
			}
			th.mu.Lock()
			th.conns = append(th.conns, conn, far)
			th.mu.Unlock()
			th.work.Go(func() { th.pass(conn, far) })
			th.work.Go(func() { th.pass(far, conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		th.mu.Lock()
		for _, conn := range th.conns {
			conn.Close()
		}
		th.mu.Unlock()
		th.work.Wait()
	})
	return th
}

// pass copies one direction, at the rate.
func (th *throttle) pass(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	piece := make([]byte, 16<<10)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	budget := int64(0)
	for {
		n, err := from.Read(piece)
		for budget < int64(n) {
			<-tick.C
			budget += th.rate.Load() / 100
		}
		budget -= int64(n)
		if n > 0 {
			if _, err := to.Write(piece[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// TestCancelUploading cancels while a package is on its way over a slow line, to a listening and to a polling agent.
func TestCancelUploading(t *testing.T) {
	parallel(t)
	for _, polling := range []bool{false, true} {
		t.Run(fmt.Sprintf("polling=%v", polling), func(t *testing.T) {
			i := fleet(t, db.SQLite, 0)
			a := &agentProcess{}
			var line *throttle
			if polling {
				line = newThrottle(t, i.comms, 100<<20)
				comms := i.comms
				i.comms = line.Addr().String()
				a = i.addAgent("slow", true, []string{"app"}, "Test")
				i.comms = comms
			} else {
				a = i.addAgentVia("slow", func(address string) string {
					line = newThrottle(t, address, 100<<20)
					return line.Addr().String()
				})
			}
			p := i.project("Big", []object{packageStep("Install", "app", "big", nil)}, nil)
			pack := filepath.Join(i.dir, "big.1.0.0.zip")
			writeZip(t, pack, 20<<20)
			from, err := os.Open(pack)
			if err != nil {
				t.Fatal(err)
			}
			defer from.Close()
			i.uploadFrom("big.1.0.0.zip", from)
			i.release(p, "1.0.0", "1.0.0")
			line.rate.Store(1 << 20)
			id := i.deploy(p, "1.0.0", "Test", nil)
			i.logs(id, "Uploading big 1.0.0")
			i.cancel(id)
			i.cancelled(id, 8*time.Second)

			line.rate.Store(100 << 20)
			id = i.deploy(p, "1.0.0", "Test", nil)
			i.success(id)
			installed, err := filepath.Glob(filepath.Join(a.data, "Applications", "*", "*", "1.0.0", "content"))
			if err != nil || len(installed) != 1 {
				t.Fatalf("installed: %v %v", installed, err)
			}
			if info, err := os.Stat(installed[0]); err != nil || info.Size() != 20<<20 {
				t.Errorf("what was deployed is not whole: %v, %v", info, err)
			}
		})
	}
}

// TestCancelUnreachable cancels a deployment whose agent is gone. The agent ends the script when it is back.
func TestCancelUnreachable(t *testing.T) {
	for _, polling := range []bool{false, true} {
		t.Run(fmt.Sprintf("polling=%v", polling), func(t *testing.T) {
			parallel(t)
			i := fleet(t, db.SQLite, 0)
			a := i.addAgent("a", polling, []string{"app"}, "Test")
			p := i.project("One", []object{scriptStep("Wait", "app", i.script(escaping, "it"))}, nil)
			i.release(p, "1.0.0", "")
			id := i.deploy(p, "1.0.0", "Test", nil)
			i.logs(id, "waiting with a child")
			pid, err := strconv.Atoi(i.witnessed("it.child")[0])
			if err != nil {
				t.Fatal(err)
			}
			a.kill()
			i.cancel(id)
			i.cancelled(id, 90*time.Second)
			if raw := i.raw(id); !strings.Contains(raw, "may still run") {
				t.Errorf("the log does not say that the script may still run on the target:\n%s", raw)
			}
			i.startAgent(a)
			i.eventually(60*time.Second, "the script is ended once the agent is back", func() (bool, string) { return gone(pid), "" })
		})
	}
}

// TestFailure holds that a failure shows the step, the target, the exit code and the last lines (deployments.md E; behaviour.md 2.17).
func TestFailure(t *testing.T) {
	parallel(t)
	i := fleet(t, db.Postgres, 2)
	p := i.project("Fails", []object{
		scriptStep("Break it", "app", "echo first\necho 'almost there'\necho 'it is broken' >&2\nexit 3"),
		scriptStep("Never", "", i.script("echo ran >> '@W/@NAME'", "never")),
	}, nil)
	i.release(p, "1.0.0", "")
	id := i.deploy(p, "1.0.0", "Test", nil)
	end := i.wait(id, 30*time.Second)
	if end.State != "Failed" {
		t.Fatalf("it is %s", end.State)
	}
	for _, want := range []string{"Break it", "exit code 3"} {
		if !strings.Contains(end.ErrorMessage, want) {
			t.Errorf("the error message lacks %q: %s", want, end.ErrorMessage)
		}
	}
	tree := i.details(id)
	for _, a := range i.agents {
		lane := tree.at(t, "Step 1: Break it", a.name)
		text := strings.Join(lane.lines(), "\n")
		for _, want := range []string{"almost there", "it is broken", "exit code 3"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the log lacks %q:\n%s", a.name, want, text)
			}
		}
		if lane.Status != "Failed" {
			t.Errorf("%s: the log tree shows %s", a.name, lane.Status)
		}
	}
	if len(i.witnessed("never")) > 0 {
		t.Error("the step behind the failed one ran")
	}
}

// writeZip makes a package of one file that cannot be compressed.
func writeZip(t *testing.T, path string, size int64) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := zipOf(file, "content", io.LimitReader(rand.Reader, size)); err != nil {
		t.Fatal(err)
	}
}
