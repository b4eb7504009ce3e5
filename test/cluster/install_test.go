package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/db"
)

// TestAgentInstaller: a machine without anything becomes a healthy target with the one line of docs/install.md (behaviour.md 2.8).
func TestAgentInstaller(t *testing.T) {
	parallel(t)
	tools := t.TempDir()
	platform := runtime.GOOS + "-" + runtime.GOARCH
	program := filepath.Join(tools, platform, "octavo-agent")
	i := install(t, db.SQLite, "--tools", tools)
	i.environment("Test")
	bin, data := i.path("bin"), i.path("agents", "new")
	installer := func(arguments ...string) (said string, ok bool) {
		t.Helper()
		line := exec.Command("bash", "-c", `curl -fsSL "$0/agent/install.sh" | bash -s -- --no-service --bin "$1" --data "$2" "${@:3}"`, i.url, bin, data)
		line.Args = append(line.Args, arguments...)
		line.Env = append(os.Environ(), "OCTAVO_API_KEY="+i.key)
		out, err := line.CombinedOutput()
		return string(out), err == nil
	}
	refused := func(words string, arguments ...string) {
		t.Helper()
		if said, ok := installer(arguments...); ok || !strings.Contains(said, words) {
			t.Errorf("%s does not say %q: %s", arguments, words, said)
		}
		if _, err := os.Stat(filepath.Join(bin, "octavo-agent")); err == nil {
			t.Errorf("%s installed something", arguments)
		}
	}
	whole := []string{"--server", i.url + "/", "--environment", "Test", "--role", "app", "--name", "new", "--public-hostname", "127.0.0.1"}
	refused("--server is the server's address", "--role", "app")
	refused("there is no option --rolle", append(whole, "--rolle", "app")...)
	refused("needs a value", "--server")
	refused("does not go with", append(whole, "--worker-pool", "Default Worker Pool")...)
	refused("cannot get "+i.url+"/agent/"+platform, whole...) // the server has no programs yet

	if err := os.MkdirAll(filepath.Dir(program), 0o700); err != nil {
		t.Fatal(err)
	}
	copyFile(t, "/bin/false", program)
	refused("does not run on this machine", whole...)
	copyFile(t, agent, program)
	_, port, _ := strings.Cut(freeAddress(t), ":")
	// It registers before it runs here, so the first check would find nobody.
	said, ok := installer(append(whole, "--port", port)...)
	if !ok || !strings.Contains(said, "Registered as new") || !strings.Contains(said, "octavo-agent run --data "+data) {
		t.Fatal(said)
	}
	a := &agentProcess{name: "new", data: data}
	a.process = spawn(t, i.path("agent-new.log"), nil, filepath.Join(bin, "octavo-agent"), "run", "--data", data)
	i.agents = append(i.agents, a)
	i.eventually(time.Minute, "the new machine is healthy", func() (bool, string) {
		check := i.post("/tasks", object{"Name": "Health", "Arguments": object{"MachineIds": []string{i.find("/machines", "new").text("Id")}}})
		i.wait(check.text("Id"), time.Minute)
		m := i.find("/machines", "new")
		status := m.text("HealthStatus")
		return status == "Healthy" || status == "HasWarnings", status + ": " + m.text("StatusSummary")
	})

	// Once more without a place to register at: only the program is put in anew, while the old one runs.
	if said, ok := installer("--server", i.url); !ok || strings.Contains(said, "Registered") {
		t.Error(said)
	}
	left, err := filepath.Glob(filepath.Join(bin, ".octavo-agent*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, content, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}
