package world

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/octavo/octavo/internal/api"
	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/convention"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/engine"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/feed"
	"github.com/octavo/octavo/internal/halibut"
	"github.com/octavo/octavo/internal/hub"
	"github.com/octavo/octavo/internal/secret"
)

// The test binary also is what scripts on the server run under, and the tool they run, as octavo is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "supervise":
			os.Exit(engine.Supervise(os.Stdin, os.Args[2:]))
		case "tool":
			os.Exit(convention.Main(context.Background(), os.Args[2:], os.Stdout, os.Stderr))
		}
	}
	// Under the race detector every process sleeps a second before it ends.
	must(0, os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")))
	goleak.VerifyTestMain(m)
}

// Keys are expensive, so all agents of all worlds share one identity, and all clusters a master key.
var (
	agentIdentity = sync.OnceValue(func() *halibut.Identity { return must(halibut.NewIdentity("agent of a world")) })
	ring          = sync.OnceValue(func() *secret.Ring { return must(secret.NewRing(secret.NewKey())) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// world is a cluster with its agents, in a bubble.
type world struct {
	t       *testing.T
	where   string
	sound   *db.DB // the test's own way to the database, which has no weather
	blobs   *blob.Folder
	subject subject
	dir     string
	net     *network
	agents  []*agent
	nodes   map[string]*node
	begin   time.Time
	timing  cluster.Timing
	guest   func() // ends the node with the fast clock, if there is one

	clients   sync.WaitGroup // whoever asks something
	processes sync.WaitGroup // scripts
	buried    sync.WaitGroup // killed nodes whose code has not returned yet

	watch   func(did []dbtest.Statement) // is told of each commit of a node, if it is set
	commits sync.Mutex                   // held while a transaction is committed, so that the ledger has them in their order
	fences  map[string]cluster.Fence     // by task: the highest that has written

	mu       sync.Mutex
	notes    map[string]int
	failures int
}

// node is one process of the server, or a row of them under one name.
type node struct {
	w     *world
	name  string
	dir   string
	cap   int
	alive chan struct{} // closed when the process is gone

	db    *db.DB
	wire  *dbtest.Wire
	node  *cluster.Node
	hub   *hub.Hub
	api   http.Handler
	end   context.CancelFunc
	loops sync.WaitGroup

	starts    atomic.Int64 // scripts that it has planned, and sends right away
	slowStart atomic.Int64 // how long those are on their way from now on, if not 0
}

// m is JSON.
type m = map[string]any

const key = "API-WORLDTESTS0123456789"

// subject is what worlds deploy: projects to two environments, each with a step on web1 and web2 and one on old1. Web and
// Shop are quick, Long counts to 30, Here runs on the server itself, and Far on far1,
// a polling agent that is there only where it is asked for.
type subject struct {
	file         []byte // of SQLite
	identity     *halibut.Identity
	projects     []string
	environments []string
	releases     []string
}

// blobsIn is a folder in RAM.
func ramDir(t *testing.T) string {
	t.Helper()
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		base = ""
	}
	dir := must(os.MkdirTemp(base, "octavo-world-"))
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// found makes an installation in an empty database: an administrator, agents, projects, releases.
func found(ctx context.Context, d *db.DB, dir string) (s subject, err error) {
	must(0, os.MkdirAll(filepath.Join(dir, "blobs"), 0o700))
	blobs := must(blob.OpenFolder(ctx, filepath.Join(dir, "blobs"), blob.Options{}))
	defer blobs.Close()
	log := slog.New(slog.DiscardHandler)
	if err := d.InTx(ctx, func(tx *db.Tx) error { return secret.Check(ctx, tx, ring()) }); err != nil {
		return s, err
	}
	if s.identity, err = hub.Identity(ctx, d, ring()); err != nil {
		return s, err
	}
	use := &control.Control{DB: d, Ring: ring(), Hub: hub.New(hub.Config{DB: d, Identity: s.identity, Ring: ring(), Blobs: blobs, Streams: filepath.Join(dir, "streams"), Log: log}), Packages: feed.Repository{DB: d, Blobs: blobs}}
	if err := use.Bootstrap(ctx); err != nil {
		return s, err
	}
	if _, err := use.Admin(ctx, "admin", "secret password", key); err != nil {
		return s, err
	}
	handler, err := api.New(use, tasklog.Reader{DB: d, Blobs: blobs}, log)
	if err != nil {
		return s, err
	}
	call := func(method, path string, body any) answer {
		a := ask(ctx, handler, method, path, body)
		if a.status > 299 && err == nil {
			err = fmt.Errorf("%s %s: %d %s", method, path, a.status, a.body)
		}
		return a
	}
	for _, name := range []string{"Test", "Production"} {
		s.environments = append(s.environments, call("POST", "/api/environments", m{"Name": name}).text("Id"))
	}
	group := call("GET", "/api/projectgroups", nil).text("Items.0.Id")
	// Whoever comes first: nothing has to be deployed to Test before Production.
	lifecycle := call("POST", "/api/lifecycles", m{"Name": "Free", "Phases": []any{m{"Name": "Any", "OptionalDeploymentTargets": s.environments}}}).text("Id")
	for name, role := range map[string]string{"web1": "web", "web2": "web", "old1": "old"} {
		call("POST", "/api/machines", m{
			"Name": name, "EnvironmentIds": s.environments, "Roles": []any{role},
			"Endpoint": m{"CommunicationStyle": "TentaclePassive", "Uri": "https://" + name + ":10933/", "Thumbprint": agentIdentity().Thumbprint},
		})
	}
	for _, name := range []string{"Web", "Shop", "Long", "Here", "Far"} {
		p := call("POST", "/api/projects", m{"Name": name, "ProjectGroupId": group, "LifecycleId": lifecycle})
		s.projects = append(s.projects, p.text("Id"))
		process := call("GET", "/api/deploymentprocesses/"+p.text("DeploymentProcessId"), nil).object()
		process["Steps"] = []any{step(name+" 1", "web", 3), step(name+" 2", "old", 2)}
		if name != "Shop" { // there a newer deployment supersedes queued ones
			settings := call("GET", "/api/projects/"+p.text("Id")+"/deploymentsettings", nil).object()
			settings["CancelQueuedTasks"] = false
			call("PUT", "/api/projects/"+p.text("Id")+"/deploymentsettings", settings)
		}
		switch name {
		case "Long":
			process["Steps"] = []any{step(name+" 1", "web", 30), step(name+" 2", "old", 2)}
		case "Far":
			process["Steps"] = []any{step(name+" 1", "far", 20)}
		case "Here": // a real script, which ends only with its server
			here := step("Here", "", 0)
			here["Actions"].([]any)[0].(m)["Properties"].(m)["Octopus.Action.Script.ScriptBody"] = `touch "$WORLD_BEGUN"; sleep 1000`
			process["Steps"] = []any{here}
		}
		call("PUT", "/api/deploymentprocesses/"+p.text("DeploymentProcessId"), process)
		s.releases = append(s.releases, call("POST", "/api/releases", m{"ProjectId": p.text("Id"), "Version": "1.0.0"}).text("Id"))
	}
	if err != nil {
		return s, err
	}
	return s, d.InTx(ctx, func(tx *db.Tx) error { return install(ctx, tx) })
}

// step counts on the targets of a role.
func step(name, role string, to int) m {
	return m{
		"Name": name, "Properties": m{"Octopus.Action.TargetRoles": role},
		"Actions": []any{m{"Name": name, "ActionType": "Octopus.Script", "Properties": m{
			"Octopus.Action.Script.ScriptSource": "Inline", "Octopus.Action.Script.Syntax": "Bash",
			"Octopus.Action.Script.ScriptBody": fmt.Sprintf("count to %d as %s", to, name),
		}}},
	}
}

// founded is the installation on SQLite, made once.
var founded = sync.OnceValues(func() (subject, error) {
	dir := must(os.MkdirTemp("", "octavo-world-"))
	defer os.RemoveAll(dir)
	ctx := context.Background()
	file := filepath.Join(dir, "octavo.db")
	d, err := db.Open(ctx, file)
	if err != nil {
		return subject{}, err
	}
	if err := d.Migrate(ctx); err != nil {
		return subject{}, err
	}
	s, err := found(ctx, d, dir)
	if err != nil {
		return s, err
	}
	if err := d.Close(); err != nil {
		return s, err
	}
	s.file, err = os.ReadFile(file)
	return s, err
})

// engines are those that a test is run on. Under the race detector the pure-Go SQLite is 30 times slower, so it is left out.
func engines() []db.Engine {
	if race {
		return []db.Engine{db.Postgres}
	}
	return []db.Engine{db.SQLite, db.Postgres}
}

// place is a database with the installation, made outside of a bubble.
type place struct {
	where, dir string
	subject    subject
}

func newPlace(t *testing.T, on db.Engine) place {
	t.Helper()
	p := place{dir: ramDir(t)}
	var err error
	if on == db.SQLite {
		if p.subject, err = founded(); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(p.dir, "octavo.db")
		if err := os.WriteFile(file, p.subject.file, 0o600); err != nil {
			t.Fatal(err)
		}
		p.where = "sqlite:" + file
		return p
	}
	p.where = dbtest.Create(t, on) + "&hints=off" // a listening connection would hold the bubble's time
	d, err := db.Open(t.Context(), p.where)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if p.subject, err = found(t.Context(), d, p.dir); err != nil {
		t.Fatal(err)
	}
	return p
}

// newWorld is called in a bubble; leave has to be called at its end.
func newWorld(t *testing.T, p place) *world {
	t.Helper()
	w := &world{
		t: t, where: p.where, dir: p.dir, subject: p.subject, sound: dbtest.Open(t, p.where), net: newNetwork(), nodes: map[string]*node{}, begin: time.Now(),
		timing: cluster.FastTiming, fences: map[string]cluster.Fence{}, notes: map[string]int{},
	}
	must(0, os.MkdirAll(filepath.Join(w.dir, "blobs"), 0o700))
	w.blobs = must(blob.OpenFolder(t.Context(), filepath.Join(w.dir, "blobs"), blob.Options{}))
	w.agents = []*agent{w.newAgent("web1", false, ""), w.newAgent("web2", false, ""), w.newAgent("old1", true, "")}
	return w
}

// leave ends everything, so that the bubble can.
func (w *world) leave() {
	for _, n := range w.nodes {
		n.wire.Go()
	}
	for _, n := range w.nodes {
		if n.up() {
			n.kill()
		}
	}
	if w.guest != nil {
		w.guest()
	}
	w.clients.Wait()
	time.Sleep(20 * time.Second) // what is left of killed nodes winds down; once we return no time passes any more
	for _, a := range w.agents {
		a.stop()
		for _, p := range a.all() {
			p.kill()
		}
	}
	w.processes.Wait()
	w.buried.Wait()
	w.net.wait()
	if err := w.blobs.Close(); err != nil {
		w.t.Error(err)
	}
}

func (w *world) log() *slog.Logger {
	if os.Getenv("OCTAVO_WORLD_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(lines{w}, nil))
}

type lines struct{ w *world }

func (l lines) Write(b []byte) (int, error) {
	l.w.t.Logf("%7.2f %s", time.Since(l.w.begin).Seconds(), strings.TrimSpace(string(b)))
	return len(b), nil
}

// boot starts a node, for the first time or again.
func (w *world) boot(name string, taskCap int) *node {
	w.t.Helper()
	n := &node{w: w, name: name, dir: filepath.Join(w.dir, name), cap: taskCap, alive: make(chan struct{})}
	n.db, n.wire = dbtest.OpenWire(w.t, w.where)
	n.wire.Around(func(did []dbtest.Statement, commit func() error) error {
		err := w.around(did, commit)
		if err == nil && slices.ContainsFunc(did, func(s dbtest.Statement) bool { return strings.Contains(s.Query, "INSERT INTO script_run") }) {
			n.starts.Add(1)
			for _, a := range w.agents {
				if by := n.slowStart.Load(); by > 0 {
					w.net.delay(name, a.name, time.Duration(by))
				}
			}
		}
		return err
	})
	n.wire.Undone(w.undone)
	var registered atomic.Pointer[cluster.Node]
	log := w.log().With("on", name)
	n.hub = hub.New(hub.Config{
		DB: n.db, Identity: w.subject.identity, Ring: ring(), Blobs: w.blobs, Streams: filepath.Join(n.dir, "streams"), Node: name, Dial: w.net.dialer(name, n.alive), Log: log,
		Epoch: func() int64 {
			if n := registered.Load(); n != nil {
				return n.Epoch()
			}
			return 0
		},
	})
	packages := feed.Repository{DB: n.db, Blobs: w.blobs}
	use := &control.Control{DB: n.db, Ring: ring(), Hub: n.hub, Packages: packages, Node: name}
	n.api = must(api.New(use, tasklog.Reader{DB: n.db, Blobs: w.blobs}, log))
	carry := &engine.Engine{DB: n.db, Blobs: w.blobs, Hub: n.hub, Ring: ring(), Packages: packages, Log: log, Node: name, Work: filepath.Join(n.dir, "server"), Supervise: []string{must(os.Executable()), "supervise"}}
	background, end := context.WithCancel(context.Background())
	n.end = end
	n.loops.Go(func() { carry.Sweep(background) })
	comms := w.net.listen(name + ":10943")
	n.loops.Go(func() { _ = n.hub.Serve(background, comms) })
	var err error
	n.node, err = cluster.Start(w.t.Context(), n.db, cluster.Config{
		Name: name, DataDir: n.dir, Cap: taskCap, Handlers: carry.Handlers(), OnEnd: use.TaskEnded, Timing: w.timing, Log: log,
		Duties: []cluster.Duty{{Name: "World", Every: dutyEvery, Do: duty(n.db, name)}},
	})
	if err != nil {
		w.t.Fatalf("node %s does not start: %v", name, err)
	}
	registered.Store(n.node)
	w.nodes[name] = n
	return n
}

func (n *node) up() bool {
	select {
	case <-n.alive:
		return false
	default:
		return true
	}
}

// kill is kill -9: the process says nothing more to anybody. What is left of it in memory may run into walls.
func (n *node) kill() {
	n.wire.Cut()
	close(n.alive)
	n.w.net.hangUp(n.name, false)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_ = n.node.Stop(gone) // says that it was abandoned
	n.end()
	n.w.buried.Go(func() {
		n.loops.Wait()
		n.hub.Close()
		n.db.Close()
	})
}

// stop is SIGTERM.
func (n *node) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	err := n.node.Stop(ctx)
	close(n.alive)
	n.w.net.hangUp(n.name, false)
	n.end()
	n.w.buried.Go(func() {
		n.loops.Wait()
		n.hub.Close()
		n.db.Close()
	})
	return err
}

// answer is what the REST API gave back; its status is 0 if nothing came.
type answer struct {
	status int
	body   []byte
}

// ask makes a request of a node, without a network between.
func ask(ctx context.Context, handler http.Handler, method, path string, body any) answer {
	content := must(json.Marshal(body))
	q := must(http.NewRequestWithContext(ctx, method, path, bytes.NewReader(content)))
	q.Header.Set("X-Octopus-ApiKey", key)
	q.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	handler.ServeHTTP(rec, q)
	if ctx.Err() != nil {
		return answer{} // too late, whatever it was
	}
	return answer{rec.Code, rec.Body.Bytes()}
}

func (a answer) ok() bool { return a.status >= 200 && a.status < 300 }

// text gives a member at a path such as "Items.0.Id".
func (a answer) text(path string) string {
	var v any
	_ = json.Unmarshal(a.body, &v) // what is no JSON has no members
	for _, p := range strings.Split(path, ".") {
		switch at := v.(type) {
		case m:
			v = at[p]
		case []any:
			var i int
			if _, err := fmt.Sscan(p, &i); err != nil || i >= len(at) {
				return ""
			}
			v = at[i]
		}
	}
	return fmt.Sprint(v)
}

func (a answer) object() m {
	var o m
	_ = json.Unmarshal(a.body, &o)
	return o
}

// fail says what must never be.
func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	w.failures++
	n := w.failures
	w.mu.Unlock()
	if n <= 10 {
		w.t.Errorf("%7.2f %s", time.Since(w.begin).Seconds(), fmt.Sprintf(format, args...))
	}
}

// note counts how often something happened that is worth knowing.
func (w *world) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes[what]++
}

// until waits, in the bubble's time, until something holds.
func (w *world) until(limit time.Duration, what string, holds func() bool) time.Duration {
	w.t.Helper()
	begin := time.Now()
	for !holds() {
		if time.Since(begin) > limit {
			w.t.Fatalf("after %v still not: %s\n%s", limit, what, w.picture())
		}
		time.Sleep(50 * time.Millisecond)
	}
	return time.Since(begin)
}
