package api_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/octavo/octavo/deploy"
)

const platform = "linux-amd64"

// bringAgent gives the server a program for agents.
func (c *client) bringAgent(text string) {
	c.t.Helper()
	c.control.Tools = c.t.TempDir()
	must(c.t, os.MkdirAll(filepath.Join(c.control.Tools, platform), 0o700))
	must(c.t, os.WriteFile(filepath.Join(c.control.Tools, platform, "octavo-agent"), []byte(text), 0o700))
}

// TestAgentProgram: what the installer asks for, by somebody without a key (behaviour.md 2.8).
func TestAgentProgram(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		c.bringAgent("a program\n")
		c.key = ""
		for path, want := range map[string]string{
			"/agent/install.sh":                      deploy.AgentInstaller,
			"/agent/octavo-agent.service":            deploy.AgentUnit,
			"/agent/linux-amd64/octavo-agent":        "a program\n",
			"/agent/linux-amd64/octavo-agent.sha256": fmt.Sprintf("%x  octavo-agent\n", sha256.Sum256([]byte("a program\n"))),
		} {
			a := c.try("GET", path, nil)
			if a.status != 200 || string(a.body) != want {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
		for path, says := range map[string]string{
			"/agent/linux-arm64/octavo-agent":    "Put it at " + c.control.Tools + "/linux-arm64/octavo-agent",
			"/agent/..%2f..%2fetc/octavo-agent":  "A platform is written as linux-amd64",
			"/agent/linux/octavo-agent.sha256":   "A platform is written as linux-amd64",
			"/agent/linux-amd64/octavo-agent.gz": "not found",
		} {
			if a := c.try("GET", path, nil); a.status != 404 || !strings.Contains(string(a.body), says) {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
	})
}
