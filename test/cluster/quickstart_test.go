package cluster

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestQuickstart is the newcomer's first command, twice. It is run as the README has it, from the root of the source.
func TestQuickstart(t *testing.T) {
	parallel(t)
	data := t.TempDir()
	t.Cleanup(func() { killIn(data) })
	listen := freeAddress(t)
	for _, version := range []string{"1.0.0", "1.0.1"} {
		ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
		defer cancel()
		run := exec.CommandContext(ctx, "go", "run", "./cmd/octavo", "quickstart", "--exit", "--data", filepath.Join(data, "octavo-data"), "--listen", listen)
		run.Dir, run.Env = moduleRoot, append(os.Environ(), "CGO_ENABLED=0") // as the other programs are built, so nothing is compiled twice
		run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		run.Cancel = func() error { return syscall.Kill(-run.Process.Pid, syscall.SIGTERM) }
		out, err := run.CombinedOutput()
		said := string(out)
		if err != nil {
			t.Fatalf("quickstart: %v\n%s\nnode.log:\n%s", err, said, tail(filepath.Join(data, "octavo-data", "logs", "node.log"), 30))
		}
		for _, want := range []string{"release", version, "Deploying Octavo " + version + " to Development", "Deploying Octavo " + version + " to Production", "listening-agent", "polling-agent", "API key"} {
			if !strings.Contains(said, want) {
				t.Errorf("it does not say %q:\n%s", want, said)
			}
		}
		if strings.Contains(said, "not-for-anybodys-eyes") {
			t.Error("it shows the secret")
		}
		for _, agent := range []string{"listening-agent", "polling-agent"} {
			installed, err := filepath.Glob(filepath.Join(data, "octavo-data", "agents", agent, "Applications", "*", "*", version+"*", "octavo"))
			if err != nil || len(installed) == 0 {
				t.Errorf("%s: version %s is not installed (%v)", agent, version, err)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(data, "octavo-data", "quickstart.key")); err != nil {
		t.Error(err)
	}
}

// TestQuickstartKillsANode is the newcomer's second command: three nodes, one of which is killed while it runs a deployment.
// The exit code says that another one went on, and that each script ran once; here it is held against what lies on the disk.
func TestQuickstartKillsANode(t *testing.T) {
	for _, database := range []string{"postgres", "sqlite"} {
		t.Run(database, func(t *testing.T) {
			if database == "sqlite" && !long() {
				t.Skip("OCTAVO_TEST_LONG is not set: a death is noticed after 15 s here")
			}
			parallel(t)
			data := t.TempDir()
			t.Cleanup(func() { killIn(data) })
			arguments := []string{"quickstart", "--nodes", "3", "--kill", "--exit", "--data", data, "--listen", freeAddress(t)}
			if database == "sqlite" {
				arguments = append(arguments, "--sqlite")
			}
			ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
			defer cancel()
			run := exec.CommandContext(ctx, octavo, arguments...)
			run.Cancel = func() error { return run.Process.Signal(syscall.SIGTERM) }
			out, err := run.CombinedOutput()
			said := string(out)
			folder := filepath.Join(data, "nodes-on-"+database)
			if err != nil {
				for _, node := range []string{"node-a", "node-b", "node-c", "postgres"} {
					t.Logf("%s:\n%s", node, tail(filepath.Join(folder, "logs", node+".log"), 30))
				}
				t.Fatalf("quickstart: %v\n%s", err, said)
			}
			killed := regexp.MustCompile(`✗ (node-[abc]) killed \(kill -9`).FindStringSubmatch(said)
			went := regexp.MustCompile(`\+[0-9.]+ s  (node-[abc]) goes on with`).FindStringSubmatch(said)
			if killed == nil || went == nil || killed[1] == went[1] {
				t.Errorf("killed: %v, went on: %v", killed, went)
			}
			for _, want := range []string{"Leader", "Success", "is back", "each of its 30 numbers is once in the log"} {
				if !strings.Contains(said, want) {
					t.Errorf("it does not say %q", want)
				}
			}
			if database == "sqlite" && !strings.Contains(said, "for showing, not for production") {
				t.Error("it does not say that SQLite is for showing")
			}
			files, err := filepath.Glob(filepath.Join(folder, "witness", "*"))
			if err != nil || len(files) != 2 {
				t.Errorf("the scripts wrote %v (%v)", files, err)
			}
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if lines := strings.Fields(string(text)); len(lines) != thirty+2 || lines[0] != "start" || lines[thirty+1] != "end" {
					t.Errorf("%s: %v", filepath.Base(file), lines)
				}
			}
			t.Log(said[strings.Index(said, "Deploying a script"):])
		})
	}
}

// TestQuickstartRefuses says what is wrong with flags that do not fit together.
func TestQuickstartRefuses(t *testing.T) {
	parallel(t)
	for want, flags := range map[string][]string{
		"--nodes must be 1 to 9":                    {"--nodes", "0"},
		"add --nodes 3":                             {"--kill"},
		"one node is always on SQLite":              {"--sqlite"},
		"unknown command \"now\" for":               {"now"},
		"invalid argument \"many\" for \"--nodes\"": {"--nodes", "many"},
	} {
		data := filepath.Join(t.TempDir(), "data")
		out, err := exec.Command(octavo, append([]string{"quickstart", "--exit", "--data", data}, flags...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("quickstart %v: %v\n%s\nwant: %s", flags, err, out, want)
		}
		if _, err := os.Stat(data); err == nil {
			t.Errorf("quickstart %v made its folder before it looked at its flags", flags)
		}
	}
}
