package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/octavo/octavo/internal/db"
)

// build makes the programs as they are released.
func (b *bench) build(ctx context.Context) error {
	out := filepath.Join(b.dir, "bin")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out+"/", "./cmd/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, text)
	}
	b.octavo, b.agent = filepath.Join(out, "octavo"), filepath.Join(out, "octavo-agent")
	return nil
}

// world is a started server, with its data in a folder of its own.
type world struct {
	*bench
	dir       string
	engine    db.Engine
	database  string // as the server takes it
	pg        string // name of the database on PostgreSQL
	url, key  string
	comms     string
	env       []string // more environment of the server
	server    *exec.Cmd
	processes []*exec.Cmd
}

type object map[string]any

func (o object) text(name string) string { s, _ := o[name].(string); return s }

// world makes the folder and the database; nothing runs yet.
func (b *bench) world(ctx context.Context, engine db.Engine) (*world, error) {
	b.worlds++
	w := &world{bench: b, engine: engine, dir: filepath.Join(b.dir, fmt.Sprintf("world%d", b.worlds)), key: "API-" + rand.Text()}
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return nil, err
	}
	w.database = filepath.Join(w.dir, "octavo.db")
	if engine == db.Postgres {
		name, err := b.postgres.Create(ctx)
		if err != nil {
			return nil, err
		}
		w.pg, w.database = name, b.postgres.URL(name)
	}
	for _, to := range []*string{&w.url, &w.comms} {
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		*to = address
	}
	w.url = "http://" + w.url
	return w, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// started is a world whose server runs and has an administrator.
func (b *bench) started(ctx context.Context, engine db.Engine, env ...string) (*world, error) {
	w, err := b.world(ctx, engine)
	if err != nil {
		return nil, err
	}
	w.env = env
	if _, err := w.serve(ctx); err != nil {
		w.stop()
		return nil, err
	}
	admin := exec.CommandContext(ctx, w.octavo, "admin", "--database", w.database, "--master-key-file", filepath.Join(w.dir, "master.key"), "--username", "admin", "--password", rand.Text(), "--api-key", w.key)
	if out, err := admin.CombinedOutput(); err != nil {
		w.stop()
		return nil, fmt.Errorf("octavo admin: %w\n%s", err, out)
	}
	return w, nil
}

// serve starts the server and tells how long it took to the first 200.
func (w *world) serve(ctx context.Context) (time.Duration, error) {
	since := time.Now()
	server, err := w.start("server", w.env, w.octavo, "server", "run", "--database", w.database, "--blobs", filepath.Join(w.dir, "blobs"), "--data", w.dir, "--tools", filepath.Join(w.dir, "tools"),
		"--listen", strings.TrimPrefix(w.url, "http://"), "--comms-listen", w.comms, "--node-name", "bench", "--master-key-file", filepath.Join(w.dir, "master.key"), "--log-level", "warn")
	if err != nil {
		return 0, err
	}
	w.server = server
	for {
		response, err := http.Get(w.url + "/api")
		if err == nil {
			_, _ = io.Copy(io.Discard, response.Body) // its end is all that counts
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return time.Since(since), nil
			}
		}
		if time.Since(since) > time.Minute || ctx.Err() != nil {
			return 0, fmt.Errorf("the server did not start:\n%s", w.said("server"))
		}
		time.Sleep(time.Millisecond)
	}
}

func (w *world) said(name string) []byte {
	text, _ := os.ReadFile(filepath.Join(w.dir, name+".log")) // nothing said is said as nothing
	return text
}

func (w *world) start(name string, env []string, program string, arguments ...string) (*exec.Cmd, error) {
	log, err := os.OpenFile(filepath.Join(w.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	process := exec.Command(program, arguments...)
	process.Env = append(os.Environ(), env...)
	process.Stdout, process.Stderr = log, log
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is ours to pass on
	if err := process.Start(); err != nil {
		return nil, err
	}
	w.processes = append(w.processes, process)
	return process, nil
}

// halt ends one process.
func halt(process *exec.Cmd) {
	_ = process.Process.Signal(syscall.SIGTERM) // it may be gone
	hard := time.AfterFunc(20*time.Second, func() { _ = process.Process.Kill() })
	_ = process.Wait()
	hard.Stop()
}

// stop ends all processes, the newest first, and removes the data.
func (w *world) stop() {
	for i := len(w.processes) - 1; i >= 0; i-- {
		if w.processes[i].ProcessState == nil {
			halt(w.processes[i])
		}
	}
	_ = os.RemoveAll(w.dir) // what is left goes with the run's folder
	if w.pg != "" {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = w.postgres.Exec(ctx, "postgres", "DROP DATABASE "+w.pg+" WITH (FORCE)") // the server goes at the end anyway
	}
}

// call sends one request; in and out may be nil.
func (w *world) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	text, err := w.send(ctx, method, path, "application/json", body)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(text, out)
}

func (w *world) send(ctx context.Context, method, path, contentType string, body io.Reader) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, w.url+path, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-Octopus-ApiKey", w.key)
	request.Header.Set("Accept-Encoding", "identity")
	if body != nil {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %.500s", method, path, response.Status, text)
	}
	return text, err
}

// Names of the environments, each with one agent.
const (
	listening = "Listening"
	polling   = "Polling"
)

// project is what is deployed: one script step, to the agents of the environment.
type project struct{ id, process, release string }

// agents starts a listening and a polling agent, each in an environment of its own.
func (w *world) agents(ctx context.Context) error {
	for _, name := range []string{listening, polling} {
		if err := w.call(ctx, "POST", "/api/environments", object{"Name": name}, nil); err != nil {
			return err
		}
		data := filepath.Join(w.dir, name)
		register := []string{"register-with", "--data", data, "--server", w.url, "--apiKey", w.key, "--name", name, "--environment", name, "--role", "bench", "--force"}
		configure := []string{"configure", "--data", data, "--app", filepath.Join(data, "Applications")}
		if name == listening {
			address, err := freeAddress()
			if err != nil {
				return err
			}
			_, port, _ := net.SplitHostPort(address)
			configure = append(configure, "--listen", address)
			register = append(register, "--comms-style", "TentaclePassive", "--publicHostName", "127.0.0.1", "--tentacle-comms-port", port)
		} else {
			host, port, _ := net.SplitHostPort(w.comms)
			configure = append(configure, "--noListen")
			register = append(register, "--comms-style", "TentacleActive", "--server-comms-address", host, "--server-comms-port", port)
		}
		for _, arguments := range [][]string{{"new-certificate", "--data", data, "--if-blank"}, configure, register} {
			if out, err := exec.CommandContext(ctx, w.agent, arguments...).CombinedOutput(); err != nil {
				return fmt.Errorf("octavo-agent %s: %w\n%s", arguments[0], err, out)
			}
		}
		if _, err := w.start(name, nil, w.agent, "run", "--data", data); err != nil {
			return err
		}
	}
	return nil
}

// project makes a project of one script step, and a release of it.
func (w *world) project(ctx context.Context, name, script string) (p project, err error) {
	var groups []object
	if err := w.call(ctx, "GET", "/api/projectgroups/all", nil, &groups); err != nil {
		return p, err
	}
	var environments []object
	if err := w.call(ctx, "GET", "/api/environments/all", nil, &environments); err != nil {
		return p, err
	}
	var ids []string
	for _, e := range environments {
		ids = append(ids, e.text("Id"))
	}
	var lifecycle, made object
	if err := w.call(ctx, "POST", "/api/lifecycles", object{"Name": name, "Phases": []object{{"Name": "All", "OptionalDeploymentTargets": ids}}}, &lifecycle); err != nil {
		return p, err
	}
	if err := w.call(ctx, "POST", "/api/projects", object{"Name": name, "ProjectGroupId": groups[0]["Id"], "LifecycleId": lifecycle["Id"]}, &made); err != nil {
		return p, err
	}
	p.id, p.process = made.text("Id"), made.text("DeploymentProcessId")
	var process object
	if err := w.call(ctx, "GET", "/api/deploymentprocesses/"+p.process, nil, &process); err != nil {
		return p, err
	}
	process["Steps"] = []object{{
		"Name": "Script", "Properties": object{"Octopus.Action.TargetRoles": "bench"},
		"Actions": []object{{"Name": "Script", "ActionType": "Octopus.Script", "Properties": object{
			"Octopus.Action.RunOnServer": "False", "Octopus.Action.Script.ScriptSource": "Inline", "Octopus.Action.Script.Syntax": "Bash", "Octopus.Action.Script.ScriptBody": script,
		}}},
	}}
	if err := w.call(ctx, "PUT", "/api/deploymentprocesses/"+p.process, process, nil); err != nil {
		return p, err
	}
	var release struct{ ReleaseVersion string }
	err = w.call(ctx, "POST", "/api/Spaces-1/releases/create/v1", object{"SpaceIdOrName": "Spaces-1", "ProjectName": name, "ReleaseVersion": "1.0.0"}, &release)
	p.release = release.ReleaseVersion
	return p, err
}

// deploy queues a deployment and gives its task.
func (w *world) deploy(ctx context.Context, p project, environment string) (string, error) {
	var made struct {
		DeploymentServerTasks []struct{ ServerTaskID string }
	}
	if err := w.call(ctx, "POST", "/api/Spaces-1/deployments/create/untenanted/v1", object{
		"SpaceIdOrName": "Spaces-1", "ProjectName": p.id, "ReleaseVersion": p.release, "EnvironmentNames": []string{environment},
	}, &made); err != nil {
		return "", err
	}
	if len(made.DeploymentServerTasks) != 1 {
		return "", fmt.Errorf("a deployment made %d tasks", len(made.DeploymentServerTasks))
	}
	return made.DeploymentServerTasks[0].ServerTaskID, nil
}

// task is what we read of one.
type task struct {
	State                               string
	IsCompleted                         bool
	QueueTime, StartTime, CompletedTime time.Time
}

func (w *world) task(ctx context.Context, id string) (t task, err error) {
	err = w.call(ctx, "GET", "/api/tasks/"+id, nil, &t)
	return t, err
}

// wait asks for the task until it has ended well.
func (w *world) wait(ctx context.Context, id string, every time.Duration) (t task, err error) {
	for since := time.Now(); ; {
		if t, err = w.task(ctx, id); err != nil {
			return t, err
		}
		if t.IsCompleted {
			if t.State != "Success" {
				raw, _ := w.raw(ctx, id) // its absence is no news
				return t, fmt.Errorf("%s ended as %s:\n%.2000s", id, t.State, raw)
			}
			return t, nil
		}
		if time.Since(since) > 5*time.Minute {
			return t, fmt.Errorf("%s is still %s after 5 minutes", id, t.State)
		}
		select {
		case <-ctx.Done():
			return t, ctx.Err()
		case <-time.After(every):
		}
	}
}

func (w *world) raw(ctx context.Context, id string) ([]byte, error) {
	return w.send(ctx, "GET", "/api/tasks/"+id+"/raw", "", nil)
}

// status reads a line of /proc/<pid>/status, in KiB.
func status(pid int, name string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		return 0, errors.New("there is no " + name + " in /proc")
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

func rss(p *exec.Cmd) (float64, error) { return status(p.Process.Pid, "VmRSS") }

// resetPeak makes VmHWM begin again at what is used now.
func resetPeak(p *exec.Cmd) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.Process.Pid), []byte("5"), 0)
}

// pause waits, unless the run ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
