package cluster

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
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
		run.Dir = moduleRoot
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
