package cluster

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/db"
)

// TestSystemd hears what the processes tell systemd (deploy/systemd): a node is ready when its cluster knows it, feeds its
// watchdog only while it answers, and says when it stops; an agent is ready when it can be called.
func TestSystemd(t *testing.T) {
	parallel(t)
	i := prepare(t, db.SQLite)
	i.admin()
	path := i.path("notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	hears := func(want string) {
		t.Helper()
		if err := socket.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		n, err := socket.Read(b)
		if err != nil || string(b[:n]) != want {
			t.Fatalf("%q instead of %q, %v", b[:n], want, err)
		}
	}
	environment := []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=1000000"}
	i.server = spawn(t, i.log(), environment, octavo, i.arguments()...)
	hears("READY=1")
	if nodes := i.get("/octopusservernodes/summary"); len(nodes["Nodes"].([]any)) != 1 {
		t.Errorf("ready before it is known: %v", nodes)
	}
	hears("WATCHDOG=1")
	hears("WATCHDOG=1")
	if err := i.server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for said := ""; said != "STOPPING=1"; { // it was fed until then
		b := make([]byte, 100)
		n, err := socket.Read(b)
		if said = string(b[:n]); err != nil || said != "STOPPING=1" && said != "WATCHDOG=1" {
			t.Fatal(said, err)
		}
	}
	<-i.server.done
	if i.server.err != nil {
		t.Error(i.server.err)
	}
	for { // what was said at the very end
		if err := socket.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := socket.Read(make([]byte, 100)); err != nil {
			break
		}
	}

	for _, listens := range []string{"127.0.0.1:0", ""} {
		data := t.TempDir()
		configure := []string{"configure", "--data", data, "--no-listen"}
		if listens != "" {
			configure = []string{"configure", "--data", data, "--listen", listens}
		}
		i.must(agent, configure...)
		a := &agentProcess{name: "told" + listens[:min(1, len(listens))], data: data}
		a.process = spawn(t, i.path("agent-"+a.name+".log"), []string{"NOTIFY_SOCKET=" + path}, agent, "run", "--data", data)
		i.agents = append(i.agents, a)
		hears("READY=1")
		if err := a.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		hears("STOPPING=1")
	}
}
