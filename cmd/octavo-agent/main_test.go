//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/octavo/octavo/internal/halibut"
	"github.com/octavo/octavo/internal/tentacle"
)

// The test binary is the command itself when this is in its environment.
const asMain = "AGENT_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
		return
	}
	if err := os.Setenv(asMain, "1"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func agentCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), os.Args[0], args...)
}

func want(t *testing.T, exit int, says string, args ...string) string {
	t.Helper()
	cmd := agentCommand(t, args...)
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != exit || !strings.Contains(string(out), says) {
		t.Errorf("%v: exit %d, said %s", args, cmd.ProcessState.ExitCode(), out)
	}
	return strings.TrimSpace(string(out))
}

func TestConfigure(t *testing.T) {
	data := filepath.Join(t.TempDir(), "new")
	thumb := strings.Repeat("ab", 20)
	want(t, 0, "", "configure", "--data", data, "--trust", thumb, "--port", "1234", "--app", "/apps", "--noListen")
	first := want(t, 0, "", "show-thumbprint", "--data", data)
	if again := want(t, 0, "", "new-certificate", "-b", "--data", data); len(first) != 40 || again != first {
		t.Errorf("%q, then %q", first, again)
	}
	if other := want(t, 0, "", "new-certificate", "--data", data); other == first {
		t.Error("it is the same certificate")
	}
	b, err := os.ReadFile(filepath.Join(data, "agent.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s map[string]any
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	if s["Listen"] != ":1234" || s["Applications"] != "/apps" || s["NoListen"] != true || !strings.Contains(string(b), strings.ToUpper(thumb)) {
		t.Errorf("%s", b)
	}
	for _, name := range []string{"agent.json", "certificate.pem"} {
		if info, err := os.Stat(filepath.Join(data, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	want(t, 1, "40 hex digits", "configure", "--data", data, "--trust", "12")
	want(t, 1, "is not trusted", "configure", "--data", data, "--remove-trust", strings.Repeat("cd", 20))
	want(t, 0, "", "configure", "--data", data, "--remove-trust", thumb)
	want(t, 1, "host:port", "configure", "--data", data, "--listen", "1234")
	want(t, 1, "required flag", "register-with", "--data", data)
	want(t, 1, "OCTAVO_API_KEY", "register-with", "--data", data, "--server", "http://127.0.0.1:1", "--env", "e", "--role", "r")
	want(t, 64, "is not a command", "tool", "nonsense")
	want(t, 1, "log-level", "run", "--data", data, "--log-level", "loud")
}

// The real command, called by a server, stopped while a script runs, and started again.
func TestRun(t *testing.T) {
	data := t.TempDir()
	server, err := halibut.NewIdentity("server")
	if err != nil {
		t.Fatal(err)
	}
	want(t, 0, "", "configure", "--data", data, "--trust", server.Thumbprint)
	thumb := want(t, 0, "", "show-thumbprint", "--data", data)
	client := halibut.NewClient(halibut.ClientConfig{Identity: server})
	defer client.Close()
	start := func() (*exec.Cmd, halibut.Endpoint) {
		cmd := agentCommand(t, "run", "--data", data, "--listen", "127.0.0.1:0")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		address, ok := strings.CutPrefix(strings.TrimSpace(line), "Listening on ")
		if err != nil || !ok {
			t.Fatal(line, err)
		}
		return cmd, halibut.Endpoint{Address: address, Thumbprint: thumb}
	}
	stop := func(cmd *exec.Cmd) {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	cmd, at := start()
	gate := filepath.Join(data, "gate")
	c := tentacle.StartScriptCommandV2{
		ScriptTicket: tentacle.ScriptTicket{TaskId: "Run-1"}, TaskId: "ServerTasks-1", Scripts: map[string]string{}, Files: []tentacle.ScriptFile{}, Arguments: []string{},
		ScriptBody: "echo $TentacleApplications; while [ ! -e " + gate + " ]; do sleep 0.02; done; exit 21",
	}
	var s tentacle.ScriptStatusResponseV2
	if err := client.Call(t.Context(), at, tentacle.ScriptServiceV2, tentacle.StartScript, &s, c); err != nil {
		t.Fatal(err)
	}
	want(t, 1, "Another agent runs", "run", "--data", data, "--listen", "127.0.0.1:0")
	stop(cmd)
	cmd, at = start()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var text string
	for last := int64(0); s.State != tentacle.Complete; last = s.NextLogSequence {
		if err := client.Call(t.Context(), at, tentacle.ScriptServiceV2, tentacle.GetStatus, &s, tentacle.ScriptStatusRequestV2{Ticket: c.ScriptTicket, LastLogSequence: last}); err != nil {
			t.Fatal(err)
		}
		for _, l := range s.Logs {
			text += l.Text
		}
	}
	if s.ExitCode != 21 || text != filepath.Join(data, "Applications") {
		t.Errorf("exit %d, %q", s.ExitCode, text)
	}
	if err := client.Call(t.Context(), at, tentacle.ScriptServiceV2, tentacle.CompleteScript, nil, tentacle.CompleteScriptCommandV2{Ticket: c.ScriptTicket}); err != nil {
		t.Error(err)
	}
	stop(cmd)
}
