package cluster

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

// octavo and agent are the programs under test, built once for all tests.
var octavo, agent string

// moduleRoot is seen from this package's folder, where go test runs us.
const moduleRoot = "../.."

func TestMain(m *testing.M) {
	flag.Parse()
	// Most of the time is spent waiting for scripts, so as many tests run at once as there are slots.
	if err := flag.Set("test.parallel", fmt.Sprint(2*cap(slots))); err != nil {
		panic(err)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if testing.Short() {
		return m.Run() // each test skips itself
	}
	dir, err := os.MkdirTemp("", "octavo-cluster-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	octavo, agent = filepath.Join(dir, "octavo"), filepath.Join(dir, "octavo-agent")
	for _, arguments := range [][]string{{"-tags", "crashpoints", "-o", octavo, "./cmd/octavo"}, {"-o", agent, "./cmd/octavo-agent"}} {
		build := exec.Command("go", append([]string{"build"}, arguments...)...)
		build.Dir, build.Env = moduleRoot, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
	}
	return m.Run()
}

// long says that there is time for everything.
func long() bool { return os.Getenv("OCTAVO_TEST_LONG") != "" }

// slots keeps the machine from running more installations at once than it can carry.
var slots = make(chan struct{}, 8)

// parallel runs a test beside others, when there is room.
func parallel(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: needs real processes and time")
	}
	t.Parallel()
	slots <- struct{}{}
	t.Cleanup(func() { <-slots })
}

// installation is one server with its database and agents, in a folder of its own.
type installation struct {
	t        *testing.T
	client   // its REST API
	dir      string
	name     string // of the node
	engine   db.Engine
	database string
	listen   string
	comms    string
	order    string // file of the order to die (internal/crashpoint)
	passed   string // file of the points passed
	server   *process
	agents   []*agentProcess
	more     []string // flags of the server
}

// agentProcess is one agent: its data survives its process.
type agentProcess struct {
	*process
	name, data, id string
	polling        bool
}

// install makes an installation and starts its server. Flags are more of the server's own.
func install(t *testing.T, engine db.Engine, flags ...string) *installation {
	t.Helper()
	i := prepare(t, engine, flags...)
	i.start()
	return i
}

// prepare makes an installation without starting anything.
func prepare(t *testing.T, engine db.Engine, flags ...string) *installation {
	t.Helper()
	i := &installation{t: t, name: "node-1", engine: engine, dir: t.TempDir(), listen: freeAddress(t), comms: freeAddress(t), more: flags}
	i.order, i.passed = filepath.Join(i.dir, "order"), filepath.Join(i.dir, "passed")
	// SQLite is put into the folder, as users have it; PostgreSQL is a clone made by dbtest.
	i.database = filepath.Join(i.dir, "octavo.db")
	if engine == db.Postgres {
		i.database = dbtest.Create(t, engine)
	}
	i.client = client{url: "http://" + i.listen, key: "API-CLUSTERTESTS0123456789"}
	t.Cleanup(i.clean)
	return i
}

// admin makes the administrator whose key the tests use.
func (i *installation) admin() {
	i.t.Helper()
	i.must(octavo, "admin", "--database", i.database, "--master-key-file", i.path("master.key"), "--username", "admin", "--api-key", i.key)
}

func (i *installation) path(parts ...string) string {
	return filepath.Join(append([]string{i.dir}, parts...)...)
}

// start starts the server, for the first time or again, and waits until it answers.
func (i *installation) start() {
	i.t.Helper()
	if i.server == nil && i.name == "node-1" {
		i.admin()
	}
	i.launch()
	i.answers()
}

// neighbour is one more node of the same installation, not started yet: the same database, blobs and master key, but
// an address, a folder and a log of its own. Agents and cleaning stay with the first node.
func (i *installation) neighbour(name string) *installation {
	i.t.Helper()
	n := *i
	n.name, n.server, n.agents = name, nil, nil
	n.listen, n.comms = freeAddress(i.t), freeAddress(i.t)
	n.url = "http://" + n.listen
	n.order, n.passed = i.path(name+".order"), i.path(name+".passed")
	i.t.Cleanup(func() {
		if n.server != nil {
			n.server.kill()
		}
		if i.t.Failed() {
			i.t.Logf("%s:\n%s", n.log(), tail(n.log(), 60))
		}
	})
	return &n
}

// log is the file of what the node says.
func (i *installation) log() string {
	if i.name == "node-1" {
		return i.path("server.log")
	}
	return i.path(i.name + ".log")
}

// launch starts the server's process and does not wait.
func (i *installation) launch() {
	i.t.Helper()
	i.server = spawn(i.t, i.log(), []string{"OCTAVO_TEST_CRASH=@" + i.order, "OCTAVO_TEST_CRASH_SEEN=" + i.passed}, octavo, i.arguments()...)
}

func (i *installation) arguments() []string {
	return append([]string{
		"server", "run", "--database", i.database, "--blobs", i.path("blobs"), "--data", i.path("nodes", i.name),
		"--listen", i.listen, "--comms-listen", i.comms, "--node-name", i.name, "--master-key-file", i.path("master.key"), "--log-format", "text",
	}, i.more...)
}

// answers waits until the server serves.
func (i *installation) answers() {
	i.t.Helper()
	i.eventually(30*time.Second, "the server answers", func() (bool, string) {
		if i.server.ended() {
			i.t.Fatalf("the server ended: %v\n%s", i.server.err, tail(i.log(), 20))
		}
		err := i.hasty().try("GET", "/api", nil, nil)
		return err == nil, fmt.Sprint(err)
	})
}

// kill ends the server as a power cut does, and waits until it is gone.
func (i *installation) kill() {
	i.t.Helper()
	i.server.kill()
}

// restart kills the server, if it still runs, and starts it again.
func (i *installation) restart() {
	i.t.Helper()
	i.kill()
	i.start()
}

// arm has the server do a deed at a point; "" disarms.
func (i *installation) arm(what string) {
	i.t.Helper()
	next := i.order + ".next"
	if err := os.WriteFile(next, []byte(what), 0o600); err != nil {
		i.t.Fatal(err)
	}
	if err := os.Rename(next, i.order); err != nil {
		i.t.Fatal(err)
	}
}

// seen takes the list of points passed since the last time, in order and each once.
func (i *installation) seen() (points []string) {
	i.t.Helper()
	text, err := os.ReadFile(i.passed)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		i.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if at := strings.LastIndexByte(strings.TrimSpace(line), ' '); at > 0 { // the process id stands behind the point
			points = append(points, line[:at])
		}
	}
	if err := os.Remove(i.passed); err != nil && !errors.Is(err, os.ErrNotExist) {
		i.t.Fatal(err)
	}
	return points
}

// addAgent makes an agent with its own commands, registers it, and starts it.
func (i *installation) addAgent(name string, polling bool, roles []string, environments ...string) *agentProcess {
	i.t.Helper()
	return i.registerAgent(name, polling, func(address string) string { return address }, roles, environments)
}

// addAgentVia makes a listening agent in Test that the server reaches by another address than its own.
func (i *installation) addAgentVia(name string, via func(address string) string) *agentProcess {
	i.t.Helper()
	return i.registerAgent(name, false, via, []string{"app"}, []string{"Test"})
}

func (i *installation) registerAgent(name string, polling bool, via func(string) string, roles, environments []string) *agentProcess {
	i.t.Helper()
	a := &agentProcess{name: name, data: i.path("agents", name), polling: polling}
	configure := []string{"configure", "--data", a.data, "--applications", filepath.Join(a.data, "Applications")}
	register := []string{"register-with", "--data", a.data, "--server", i.url, "--apiKey", i.key, "--name", name, "--skip-health-check"}
	for _, role := range roles {
		register = append(register, "--role", role)
	}
	for _, environment := range environments {
		register = append(register, "--environment", environment)
	}
	if polling {
		host, port, _ := net.SplitHostPort(i.comms)
		configure = append(configure, "--no-listen")
		register = append(register, "--comms-style", "TentacleActive", "--server-comms-address", host, "--server-comms-port", port)
	} else {
		address := freeAddress(i.t)
		_, port, _ := net.SplitHostPort(via(address))
		configure = append(configure, "--listen", address)
		register = append(register, "--comms-style", "TentaclePassive", "--public-hostname", "127.0.0.1", "--port", port)
	}
	i.must(agent, "new-certificate", "--data", a.data, "--if-blank")
	i.must(agent, configure...)
	i.must(agent, register...)
	i.startAgent(a)
	a.id = i.find("/machines", name).text("Id")
	i.agents = append(i.agents, a)
	return a
}

func (i *installation) startAgent(a *agentProcess) {
	i.t.Helper()
	a.process = spawn(i.t, i.path("agent-"+a.name+".log"), nil, agent, "run", "--data", a.data)
}

// must runs a command of ours to its end.
func (i *installation) must(program string, arguments ...string) string {
	i.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, arguments...).CombinedOutput()
	if err != nil {
		i.t.Fatalf("%s %s: %v\n%s", filepath.Base(program), arguments[0], err, out)
	}
	return string(out)
}

// clean ends everything that was started, also what scripts left, and shows the logs of a failed test.
func (i *installation) clean() {
	if i.server != nil {
		i.server.kill()
	}
	for _, a := range i.agents {
		a.kill()
	}
	if i.t.Failed() {
		i.t.Logf("server.log:\n%s", tail(i.log(), 60))
		for _, a := range i.agents {
			i.t.Logf("agent-%s.log:\n%s", a.name, tail(i.path("agent-"+a.name+".log"), 30))
		}
	}
	killIn(i.dir)
}

// killIn ends processes that run in a folder of ours: supervisors of agents, and their scripts, live on by design.
func killIn(dir string) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		cwd, _ := os.Readlink(filepath.Join("/proc", entry.Name(), "cwd")) // not ours to see: not ours to kill
		command, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if strings.HasPrefix(cwd, dir+"/") || bytes.Contains(command, []byte(dir+"/")) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// eventually polls until something is so.
func (i *installation) eventually(within time.Duration, what string, so func() (bool, string)) {
	i.t.Helper()
	deadline := time.Now().Add(within)
	for {
		ok, why := so()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			i.t.Fatalf("not within %s: %s; last: %s", within, what, why)
		}
		time.Sleep(40 * time.Millisecond)
	}
}

// process is a program of ours in a process group of its own.
type process struct {
	*exec.Cmd
	done chan struct{}
	err  error // once done is closed
}

func spawn(t *testing.T, log string, environment []string, program string, arguments ...string) *process {
	t.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p := &process{Cmd: exec.Command(program, arguments...), done: make(chan struct{})}
	p.Stdout, p.Stderr, p.Env = out, out, append(os.Environ(), environment...)
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.Wait()
		close(p.done)
	}()
	return p
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill kills the process itself, not what it started, and waits for its end.
func (p *process) kill() {
	if !p.ended() {
		_ = p.Process.Kill() // it may end at this moment
	}
	<-p.done
}

// stopped says whether the process is stopped by a signal.
func (p *process) stopped() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	if err != nil {
		return false
	}
	_, after, _ := bytes.Cut(stat, []byte(") "))
	return len(after) > 0 && after[0] == 'T'
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatalf("signal %s: %v", s, err)
	}
}

// ports are handed out below the range from which the system takes those of outgoing connections.
var ports struct {
	sync.Mutex
	next int
}

func freeAddress(t testing.TB) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.next == 0 {
		ports.next = 15000 + os.Getpid()%10000
	}
	for range 1000 {
		ports.next++
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports.next))
		listener, err := net.Listen("tcp", address)
		if err != nil {
			continue // somebody else's
		}
		listener.Close()
		return address
	}
	t.Fatal("no free port")
	return ""
}

// tail is the end of a file.
func tail(file string, lines int) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
