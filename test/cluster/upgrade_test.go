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

// TestUpgradeAgents gives a listening and a polling agent another program in the middle of a deployment (reliability-and-security.md
// M3): they become it, the scripts that run say each number once, and a program that cannot run changes nothing.
func TestUpgradeAgents(t *testing.T) {
	parallel(t)
	tools := t.TempDir()
	program := filepath.Join(tools, runtime.GOOS+"-"+runtime.GOARCH, "octavo-agent")
	if err := os.MkdirAll(filepath.Dir(program), 0o700); err != nil {
		t.Fatal(err)
	}
	s := newSubject(t, db.SQLite, "--tools", tools)
	upgrade := func(state string, words ...string) {
		t.Helper()
		id := s.post("/tasks", object{"Name": "upgrade", "Arguments": object{"MachineIds": []string{s.agents[0].id, s.agents[1].id}}}).text("Id")
		if got := s.wait(id, 2*time.Minute); got.State != state {
			t.Fatalf("%s: %s\n%s", got.State, got.ErrorMessage, s.raw(id))
		}
		for _, word := range words {
			if raw := s.raw(id); strings.Count(raw, word) != 2 {
				t.Errorf("not twice: %s\n%s", word, raw)
			}
		}
	}
	upgrade("Failed", "Put it at "+program)
	copyFile(t, agent, program)
	upgrade("Success", "The agent is up to date.")
	copyFile(t, "/bin/false", program)
	upgrade("Failed", "ended with exit code")

	newer := exec.Command("go", "build", "-ldflags", "-X github.com/octavo/octavo/internal/version.release=9.8.7", "-o", program, "./cmd/octavo-agent")
	newer.Dir, newer.Env = moduleRoot, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := newer.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	version := s.next()
	id := s.deploy(s.project, version, "Test", nil)
	s.counting(id, 3)
	upgrade("Success", "The agent is 9.8.7 now.", "no script was stopped")
	s.success(id)
	s.check(t, id, version, false)
	upgrade("Success", "octavo-agent 9.8.7", "The agent is up to date.")

	// Killed, they come back as what they became, although their own program is started.
	for _, a := range s.agents {
		a.kill()
		s.startAgent(a)
	}
	upgrade("Success", "octavo-agent 9.8.7", "The agent is up to date.")
}
