package engine_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/octavo/octavo/internal/agent"
	"github.com/octavo/octavo/internal/api"
	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/convention"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/engine"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/feed"
	"github.com/octavo/octavo/internal/hub"
	"github.com/octavo/octavo/internal/secret"
)

// The test binary also is what scripts run under, and the tool they run, as octavo and octavo-agent are.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "agent-supervise":
			if err := agent.Supervise(os.Args[2]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		case "supervise":
			os.Exit(engine.Supervise(os.Stdin, os.Args[2:]))
		case "tool":
			os.Exit(convention.Main(context.Background(), os.Args[2:], os.Stdout, os.Stderr))
		}
	}
	// Under the race detector every process sleeps a second before it ends; ours are many.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

type m = map[string]any

// world is a node with its REST face, a project, and agents that really run scripts.
type world struct {
	t                                    *testing.T
	d                                    *db.DB
	dir                                  string
	hub                                  *hub.Hub
	server                               *httptest.Server
	environment, project, process, group string
	releases                             int
	start                                func(name string) *cluster.Node
	nodes                                map[string]*cluster.Node // that run
	engines                              map[string]*engine.Engine
	away                                 atomic.Bool // the blob store
}

// share is a blob store that can be away.
type share struct {
	blob.Store
	away *atomic.Bool
}

func (s share) gone() error {
	if s.away.Load() {
		return fault.Busyf("The share is away.")
	}
	return nil
}

func (s share) Stage(ctx context.Context, r io.Reader) (*blob.Staged, error) {
	if err := s.gone(); err != nil {
		return nil, err
	}
	return s.Store.Stage(ctx, r)
}

func (s share) Put(ctx context.Context, key string, r io.Reader) (int64, string, error) {
	if err := s.gone(); err != nil {
		return 0, "", err
	}
	return s.Store.Put(ctx, key, r)
}

func (s share) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	if err := s.gone(); err != nil {
		return nil, err
	}
	return s.Store.Open(ctx, key, offset)
}

const key = "API-ENGINETESTS0123456789"

// each runs a test in a world of its own on both engines.
func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) { test(t, newWorld(t, d)) })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newWorld(t *testing.T, d *db.DB) *world {
	t.Helper()
	w := &world{t: t, d: d, dir: t.TempDir()}
	ring, err := secret.Start(t.Context(), d, secret.Source{Text: secret.NewKey()})
	must(t, err)
	identity, err := hub.Identity(t.Context(), d, ring)
	must(t, err)
	must(t, os.Mkdir(filepath.Join(w.dir, "blobs"), 0o700))
	folder, err := blob.OpenFolder(t.Context(), filepath.Join(w.dir, "blobs"), blob.Options{})
	must(t, err)
	blobs := share{folder, &w.away}
	log := slog.New(slog.NewTextHandler(lines{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	w.hub = hub.New(hub.Config{DB: d, Identity: identity, Ring: ring, Blobs: blobs, Streams: t.TempDir(), Log: log})
	packages := feed.Repository{DB: d, Blobs: blobs}
	use := &control.Control{DB: d, Ring: ring, Hub: w.hub, Packages: packages, Node: "n1", Served: control.Served{InstallationID: "79af4d4a-dc7f-479c-b0c5-8bf30cb0a827", Thumbprint: identity.Thumbprint}}
	must(t, use.Bootstrap(t.Context()))
	_, err = use.Admin(t.Context(), "admin", "secret password", key)
	must(t, err)
	handler, err := api.New(use, tasklog.Reader{DB: d, Blobs: blobs}, log)
	must(t, err)
	w.server = httptest.NewServer(handler)
	self, err := os.Executable()
	must(t, err)
	w.nodes, w.engines = map[string]*cluster.Node{}, map[string]*engine.Engine{}
	w.start = func(name string) *cluster.Node {
		carry := &engine.Engine{
			DB: d, Blobs: blobs, Hub: w.hub, Ring: ring, Packages: packages, Log: log, Node: name, Work: filepath.Join(w.dir, "server", name), Supervise: []string{self, "supervise"},
		}
		w.engines[name] = carry
		node, err := cluster.Start(t.Context(), d, cluster.Config{
			Name: name, DataDir: filepath.Join(w.dir, "node", name), Cap: 5, Version: api.Version, Handlers: carry.Handlers(), OnEnd: use.TaskEnded, Timing: cluster.FastTiming, Log: log,
		})
		must(t, err)
		w.nodes[name] = node
		return node
	}
	comms, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	background, stop := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	loops.Go(func() { _ = w.hub.Serve(background, comms) })
	w.start("n1")
	t.Cleanup(func() {
		for _, node := range w.nodes {
			if err := node.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		}
		stop()
		comms.Close()
		loops.Wait()
		w.server.Close()
		if err := blobs.Close(); err != nil {
			t.Error(err)
		}
	})
	w.environment = w.call("POST", "/api/environments", m{"Name": "Test"}).text("Id")
	w.group = w.call("GET", "/api/projectgroups", nil).text("Items.0.Id")
	p := w.call("POST", "/api/projects", m{"Name": "Web", "ProjectGroupId": w.group, "LifecycleId": w.call("GET", "/api/lifecycles", nil).text("Items.0.Id")})
	w.project, w.process = p.text("Id"), p.text("DeploymentProcessId")
	return w
}

// lines is a log that goes to the test's.
type lines struct{ t *testing.T }

func (l lines) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// agent starts a listening agent that trusts the server; it gives the members of a machine that names it.
func (w *world) agent(name string) (endpoint m, home string) {
	w.t.Helper()
	home = filepath.Join(w.dir, name)
	must(w.t, agent.UpdateSettings(home, func(s *agent.Settings) error {
		s.Name, s.Listen = name, "127.0.0.1:0"
		s.Trust(w.hub.Thumbprint())
		return nil
	}))
	self, err := os.Executable()
	must(w.t, err)
	a, err := agent.Open(agent.Config{
		Data: home, Supervisor: []string{self, "agent-supervise"}, Instance: name, Applications: filepath.Join(home, "Applications"), Grace: time.Second, Log: slog.New(slog.DiscardHandler),
	})
	must(w.t, err)
	identity, err := agent.LoadIdentity(home)
	must(w.t, err)
	ctx, stop := context.WithCancel(context.Background())
	address := make(chan net.Addr, 1)
	var served sync.WaitGroup
	served.Go(func() {
		if err := a.Serve(ctx, identity, func(at net.Addr) { address <- at }); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(func() {
		stop()
		served.Wait()
		if err := a.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return m{"CommunicationStyle": "TentaclePassive", "Uri": "https://" + (<-address).String() + "/", "Thumbprint": identity.Thumbprint}, home
}

// target makes a deployment target with an agent, and waits for the check that every new machine gets.
func (w *world) target(name string, more m) (id, home string) {
	w.t.Helper()
	endpoint, home := w.agent(name)
	o := m{"Name": name, "EnvironmentIds": []any{w.environment}, "Roles": []any{"web"}, "Endpoint": endpoint}
	for member, v := range more {
		o[member] = v
	}
	id = w.call("POST", "/api/machines", o).text("Id")
	w.checked()
	return id, home
}

// checked waits until no health check runs.
func (w *world) checked() {
	w.t.Helper()
	w.until("health checks end", func() (bool, string) {
		a := w.call("GET", "/api/tasks?name=Health&active=true", nil)
		return a.text("TotalResults") == "0", a.text("TotalResults")
	})
}

// until asks again and again.
func (w *world) until(what string, so func() (bool, string)) {
	w.t.Helper()
	deadline := time.After(90 * time.Second)
	for {
		ok, why := so()
		if ok {
			return
		}
		select {
		case <-deadline:
			w.t.Fatalf("%s: waited too long; last: %s", what, why)
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// answer is JSON that came back.
type answer struct{ v any }

// text gives a member at a path such as "Items.0.Id".
func (a answer) text(path string) string {
	v := a.v
	for _, p := range strings.Split(path, ".") {
		switch at := v.(type) {
		case m:
			v = at[p]
		case []any:
			var i int
			if _, err := fmt.Sscan(p, &i); err != nil || i >= len(at) {
				return "<no " + path + ">"
			}
			v = at[i]
		}
	}
	return fmt.Sprint(v)
}

func (a answer) object() m { o, _ := a.v.(m); return o }

// call asks the server, and wants it to agree.
func (w *world) call(method, path string, body any) answer {
	w.t.Helper()
	content, err := json.Marshal(body)
	must(w.t, err)
	return w.send(method, path, "application/json", bytes.NewReader(content))
}

func (w *world) send(method, path, kind string, body io.Reader) answer {
	w.t.Helper()
	q, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path, body)
	must(w.t, err)
	q.Header.Set("X-Octopus-ApiKey", key)
	q.Header.Set("Content-Type", kind)
	resp, err := w.server.Client().Do(q)
	must(w.t, err)
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	must(w.t, err)
	if resp.StatusCode > 299 {
		w.t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, content)
	}
	var v any
	if err := json.Unmarshal(content, &v); err != nil {
		v = string(content)
	}
	return answer{v}
}

// upload pushes a zip with some files to the built-in feed.
func (w *world) upload(name string, files map[string]string) {
	w.t.Helper()
	var body, packed bytes.Buffer
	z := zip.NewWriter(&packed)
	for file, content := range files {
		f, err := z.Create(file)
		must(w.t, err)
		_, err = io.WriteString(f, content)
		must(w.t, err)
	}
	must(w.t, z.Close())
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", name)
	must(w.t, err)
	_, err = part.Write(packed.Bytes())
	must(w.t, err)
	must(w.t, form.Close())
	w.send("POST", "/api/Spaces-1/packages/raw", form.FormDataContentType(), &body)
}

// step is one with one action; more are the action's members.
func step(name, roles string, properties m, more m) m {
	action := m{"Name": name, "ActionType": "Octopus.Script", "Properties": properties}
	for member, v := range more {
		action[member] = v
	}
	s := m{"Name": name, "Actions": []any{action}, "Properties": m{}}
	if roles != "" {
		s["Properties"] = m{"Octopus.Action.TargetRoles": roles}
	}
	return s
}

// bash are the properties of a Bash script.
func bash(body string, more m) m {
	p := m{"Octopus.Action.Script.ScriptSource": "Inline", "Octopus.Action.Script.Syntax": "Bash", "Octopus.Action.Script.ScriptBody": body}
	for name, v := range more {
		p[name] = v
	}
	return p
}

// save gives the project its steps.
func (w *world) save(steps ...any) {
	w.t.Helper()
	p := w.call("GET", "/api/deploymentprocesses/"+w.process, nil).object()
	p["Steps"] = steps
	w.call("PUT", "/api/deploymentprocesses/"+w.process, p)
}

// release makes another one.
func (w *world) release(more m) (version string) {
	w.t.Helper()
	w.releases++
	version = fmt.Sprintf("1.0.%d", w.releases)
	body := m{"ProjectName": "Web", "ReleaseVersion": version}
	for member, v := range more {
		body[member] = v
	}
	w.call("POST", "/api/Spaces-1/releases/create/v1", body)
	return version
}

// ended is a deployment that is over.
type ended struct {
	task, deployment answer
	log              string
}

// deploy deploys a release and waits for the end.
func (w *world) deploy(version string, more m) ended {
	w.t.Helper()
	body := m{"ProjectName": "Web", "ReleaseVersion": version, "EnvironmentNames": []any{"Test"}}
	for member, v := range more {
		body[member] = v
	}
	made := w.call("POST", "/api/Spaces-1/deployments/create/untenanted/v1", body)
	id := made.text("DeploymentServerTasks.0.ServerTaskId")
	var e ended
	w.until("the deployment ends", func() (bool, string) {
		e.task = w.call("GET", "/api/tasks/"+id, nil)
		return e.task.text("IsCompleted") == "true", e.task.text("State")
	})
	e.log = fmt.Sprint(w.call("GET", "/api/tasks/"+id+"/raw", nil).v)
	e.deployment = w.call("GET", "/api/deployments/"+made.text("DeploymentServerTasks.0.DeploymentId"), nil)
	return e
}

// want checks a task's end and looks for lines in its log.
func (e ended) want(t *testing.T, state string, parts ...string) {
	t.Helper()
	if got := e.task.text("State"); got != state {
		t.Errorf("the task is %s, want %s", got, state)
	}
	for _, part := range parts {
		if !strings.Contains(e.log, part) {
			t.Errorf("the log has no %q", part)
		}
	}
	if t.Failed() {
		t.Log(e.log)
	}
}
