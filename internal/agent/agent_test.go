//go:build unix

package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/octavo/octavo/internal/halibut"
	"github.com/octavo/octavo/internal/script"
	"github.com/octavo/octavo/internal/tentacle"
)

// The test binary also is a supervisor, and a whole agent that can be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "supervise", "supervise-without-cgroup":
			if os.Args[1] != "supervise" {
				withoutCgroup()
			}
			if err := Supervise(os.Args[2]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		case "agent":
			if err := serveData(os.Args[2]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	goleak.VerifyTestMain(m)
}

// serveData is what `octavo-agent run` does; the address goes to standard output.
func serveData(data string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	id, err := LoadIdentity(data)
	if err != nil {
		return err
	}
	a, err := Open(Config{Data: data, Supervisor: []string{os.Args[0], "supervise"}, Grace: time.Second})
	if err != nil {
		return err
	}
	err = a.Serve(ctx, id, func(addr net.Addr) { fmt.Println(addr) })
	return errors.Join(err, a.Close())
}

func open(t *testing.T, data string) *Agent {
	t.Helper()
	a, err := Open(Config{
		Data: data, Supervisor: []string{os.Args[0], "supervise"}, Grace: time.Second,
		Applications: "/apps", Instance: "test", Version: "1.2.3", Log: quietLog,
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var quietLog = slog.New(slog.DiscardHandler)

// opened gives an agent with a new data directory, whose scripts do not outlive the test.
func opened(t *testing.T) *Agent {
	t.Helper()
	a := open(t, t.TempDir())
	t.Cleanup(func() { endAll(t, a) })
	return a
}

func endAll(t *testing.T, a *Agent) {
	t.Helper()
	for key := range a.known() {
		if err := a.complete(key); err != nil {
			t.Error(err)
		}
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

func command(ticket, body string) tentacle.StartScriptCommandV2 {
	return tentacle.StartScriptCommandV2{ScriptTicket: tentacle.ScriptTicket{TaskId: ticket}, ScriptBody: body, TaskId: "ServerTasks-1"}
}

func ticket(s string) tentacle.ScriptTicket { return tentacle.ScriptTicket{TaskId: s} }

func mustStart(t *testing.T, a *Agent, c tentacle.StartScriptCommandV2) tentacle.ScriptStatusResponseV2 {
	t.Helper()
	s, err := a.start(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// follow reads a script to its end as a server does.
func follow(t *testing.T, a *Agent, name string) (logs []tentacle.ProcessOutput, exit int32) {
	t.Helper()
	var last int64
	for {
		s, err := a.status(ticket(name), last)
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, s.Logs...)
		if s.NextLogSequence != last+int64(len(s.Logs)) {
			t.Errorf("asked after %d, got %d lines, next is %d", last, len(s.Logs), s.NextLogSequence)
		}
		last = s.NextLogSequence
		if s.State == tentacle.Complete {
			return logs, s.ExitCode
		}
		pause(t, a, name, last)
	}
}

// pause waits until a script has ended or has more to say.
func pause(t *testing.T, a *Agent, name string, after int64) {
	t.Helper()
	until(t, func() bool {
		s, err := a.status(ticket(name), after)
		return err != nil || len(s.Logs) > 0 || s.State == tentacle.Complete
	})
}

// until polls a fact about other processes.
func until(t *testing.T, fact func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(30 * time.Second); !fact(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("waited 30 s in vain")
		}
	}
}

func texts(logs []tentacle.ProcessOutput, source tentacle.ProcessOutputSource) string {
	var b strings.Builder
	for _, l := range logs {
		if l.Source == source {
			b.WriteString(l.Text + "\n")
		}
	}
	return b.String()
}

func TestScript(t *testing.T) {
	a := opened(t)
	c := command("T-1", "echo hello $1 $2; cat sub/f; echo bad >&2; printf 'no newline'; pwd; read x; echo $?; exit 7\r\n")
	c.Arguments = []string{`"a b"`, "c"}
	c.Files = []tentacle.ScriptFile{{Name: `sub\f`, Contents: halibut.BytesStream([]byte("content\n"))}}
	c.Scripts = map[string]string{"PowerShell": "nonsense"}
	s := mustStart(t, a, c)
	if s.State == tentacle.Complete || s.Ticket.TaskId != "T-1" {
		t.Errorf("first answer %+v", s)
	}
	logs, exit := follow(t, a, "t-1") // without case
	want := "hello a b c\ncontent\nno newline" + filepath.Join(a.config.Data, "Work", "t-1") + "\n1\n"
	if got := texts(logs, tentacle.StdOut); got != want || exit != 7 {
		t.Errorf("exit %d, output %q", exit, got)
	}
	if got := texts(logs, tentacle.StdErr); got != "bad\n" {
		t.Errorf("errors %q", got)
	}
	for _, name := range []string{"output", "run.json", "result.json"} {
		info, err := os.Stat(filepath.Join(a.config.Data, "Spool", "t-1", name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("OCTAVO_API_KEY", "API-SECRET")
	a := opened(t)
	mustStart(t, a, command("env", "env; ls -l /proc/$$/fd"))
	logs, _ := follow(t, a, "env")
	out := texts(logs, tentacle.StdOut)
	for _, want := range []string{"TentacleHome=" + a.config.Data, "TentacleApplications=/apps", "TentacleInstanceName=test", "TentacleVersion=1.2.3", "TentacleJournal=", "OCTAVO_TOOL=/"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in %s", want, out)
		}
	}
	if strings.Contains(out, "SECRET") {
		t.Error("our own settings reached the script")
	}
	// 0, 1, 2 and bash's own descriptor of its script: nothing of ours.
	if n := strings.Count(out, " -> "); n != 4 {
		t.Errorf("%d descriptors: %s", n, out)
	}
}

func TestStartTwice(t *testing.T) {
	a := opened(t)
	c := command("twice", "echo ran >> "+filepath.Join(a.config.Data, "witness")+"; exit 3")
	var starts []func()
	done := make(chan error, 8)
	for range cap(done) {
		starts = append(starts, func() {
			_, err := a.start(c, nil)
			done <- err
		})
	}
	for _, s := range starts {
		go s()
	}
	for range starts {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if _, exit := follow(t, a, "twice"); exit != 3 {
		t.Errorf("exit %d", exit)
	}
	if err := a.complete("twice"); err != nil {
		t.Fatal(err)
	}
	s := mustStart(t, a, c) // a tombstone answers
	if s.State != tentacle.Complete || s.ExitCode != 3 || len(s.Logs) != 0 || s.NextLogSequence != 0 {
		t.Errorf("tombstone says %+v", s)
	}
	b, err := os.ReadFile(filepath.Join(a.config.Data, "witness"))
	if string(b) != "ran\n" || err != nil {
		t.Errorf("it ran: %q %v", b, err)
	}
	for _, dir := range []string{"Work", "Spool"} {
		if exists(filepath.Join(a.config.Data, dir, "twice")) {
			t.Errorf("%s is left", dir)
		}
	}
}

func TestTombstoneKeepsTheCount(t *testing.T) {
	data := t.TempDir()
	a := open(t, data)
	mustStart(t, a, command("x", "seq 25000; exit 9"))
	logs, _ := follow(t, a, "x")
	if len(logs) != 25000 {
		t.Errorf("%d lines", len(logs))
	}
	endAll(t, a)
	a = open(t, data)
	defer endAll(t, a)
	s, err := a.status(ticket("X"), 0)
	if err != nil || s.NextLogSequence != 25000 || s.ExitCode != 9 || s.State != tentacle.Complete {
		t.Errorf("%+v %v", s, err)
	}
}

func TestUnknownTicket(t *testing.T) {
	a := opened(t)
	s, err := a.status(ticket("never"), 12)
	if err != nil || s.State != tentacle.Complete || s.ExitCode != tentacle.ExitUnknownScript || s.NextLogSequence != 12 {
		t.Errorf("%+v %v", s, err)
	}
	for _, bad := range []string{"", "../x", "a/b", strings.Repeat("x", 65)} {
		if _, err := a.start(command(bad, "true"), nil); err == nil || !strings.Contains(err.Error(), "ticket") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	c := command("bad-file", "true")
	c.Files = []tentacle.ScriptFile{{Name: "../../x", Contents: halibut.BytesStream(nil)}}
	if _, err := a.start(c, nil); err == nil || !strings.Contains(err.Error(), "inside") {
		t.Error(err)
	}
	if s, _ := a.status(ticket("bad-file"), 0); s.ExitCode != tentacle.ExitUnknownScript {
		t.Error("a refused script is known")
	}
}

// tagged counts living processes with a mark in their arguments.
func tagged(t *testing.T, mark string) int {
	t.Helper()
	n := 0
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		b, _ := os.ReadFile(p)
		if bytes.Contains(b, []byte(mark)) && !bytes.Contains(b, []byte("Bootstrap.sh")) {
			n++
		}
	}
	return n
}

func needProc(t *testing.T) {
	t.Helper()
	if !exists("/proc/self/cmdline") {
		t.Skip("needs /proc to see other processes")
	}
}

const escapes = `
setsid bash -c 'exec -a MARK sleep 1000' &
( ( setsid bash -c 'trap "" TERM; exec -a MARK sleep 1000' & ) & )
bash -c 'trap "" TERM; exec -a MARK sleep 1000' &
echo ready
wait
exec -a MARK sleep 1000
`

func TestCancelKillsEverybody(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"supervise", "supervise-without-cgroup"} {
		t.Run(how, func(t *testing.T) { cancelKillsEverybody(t, how) })
	}
}

func cancelKillsEverybody(t *testing.T, how string) {
	needProc(t)
	a := opened(t)
	a.config.Supervisor[1] = how
	mark := fmt.Sprintf("octavo-mark-%s-%d", how, os.Getpid())
	mustStart(t, a, command("c", strings.ReplaceAll(escapes, "MARK", mark)))
	until(t, func() bool { return tagged(t, mark) == 3 })
	if _, err := a.cancelScript(ticket("c"), 0); err != nil {
		t.Fatal(err)
	}
	if _, exit := follow(t, a, "c"); exit != tentacle.ExitCanceled {
		t.Errorf("exit %d", exit)
	}
	if n := tagged(t, mark); n != 0 {
		t.Errorf("%d processes survived", n)
	}
}

func TestCancelIsGentleFirst(t *testing.T) {
	a := opened(t)
	mustStart(t, a, command("g", "trap 'echo cleaning; exit 5' TERM; echo ready; while true; do sleep 0.05; done"))
	pause(t, a, "g", 0)
	if _, err := a.cancelScript(ticket("g"), 0); err != nil {
		t.Fatal(err)
	}
	logs, exit := follow(t, a, "g")
	if got := texts(logs, tentacle.StdOut); got != "ready\ncleaning\n" || exit != tentacle.ExitCanceled {
		t.Errorf("%d %q", exit, got)
	}
}

// A daemon that holds our pipe is killed after five seconds; one that does not is left alone and named.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	needProc(t)
	a := opened(t)
	mark := fmt.Sprintf("octavo-daemon-%d", os.Getpid())
	mustStart(t, a, command("holds", "setsid bash -c 'exec -a "+mark+"1 sleep 1000' & exit 4"))
	mustStart(t, a, command("polite", "setsid bash -c 'exec -a "+mark+"2 sleep 20' >/dev/null 2>&1 & while ! pgrep -f "+mark+"2 >/dev/null; do :; done; exit 0"))
	logs, exit := follow(t, a, "polite")
	if got := texts(logs, tentacle.Debug); exit != 0 || !strings.Contains(got, "left these processes running: sleep (") {
		t.Errorf("%d %q", exit, got)
	}
	if tagged(t, mark+"2") != 1 {
		t.Error("the daemon is gone")
	}
	logs, exit = follow(t, a, "holds")
	if got := texts(logs, tentacle.Debug); exit != 4 || !strings.Contains(got, "hold its output open and are killed: sleep (") {
		t.Errorf("%d %q", exit, got)
	}
	if tagged(t, mark+"1") != 0 {
		t.Error("the holder lives")
	}
	_ = exec.CommandContext(t.Context(), "pkill", "-f", mark+"2").Run() // ours, by its unique name
}

func TestIsolation(t *testing.T) {
	t.Parallel()
	a := opened(t)
	gate := filepath.Join(a.config.Data, "gate")
	full := func(name, body, mutex string) tentacle.StartScriptCommandV2 {
		c := command(name, body)
		c.Isolation, c.IsolationMutexName, c.TaskId = tentacle.FullIsolation, &mutex, "ServerTasks-"+name
		return c
	}
	hold := "echo up; while [ ! -e " + gate + " ]; do sleep 0.02; done"
	mustStart(t, a, full("first", hold, "m"))
	pause(t, a, "first", 0)
	mustStart(t, a, full("second", "echo second", "M")) // the same mutex: names have no case
	mustStart(t, a, full("other", "echo other", "n"))
	if _, exit := follow(t, a, "other"); exit != 0 {
		t.Error("another mutex was not free")
	}
	timeout := full("late", "echo never", "m")
	timeout.ScriptIsolationMutexTimeout = halibut.TimeSpan(50 * time.Millisecond)
	mustStart(t, a, timeout)
	logs, exit := follow(t, a, "late")
	if exit != tentacle.ExitMutexTimeout || !strings.Contains(texts(logs, tentacle.StdOut), "[ServerTasks-first](~/app#/tasks/ServerTasks-first)") {
		t.Errorf("%d %v", exit, logs)
	}
	cancelled := full("cancelled", "echo never", "m")
	mustStart(t, a, cancelled)
	if _, err := a.cancelScript(ticket("cancelled"), 0); err != nil {
		t.Fatal(err)
	}
	if logs, exit := follow(t, a, "cancelled"); exit != tentacle.ExitCanceled || strings.Contains(texts(logs, tentacle.StdOut), "never\n") {
		t.Errorf("%d %v", exit, logs)
	}
	if s, _ := a.status(ticket("second"), 0); s.State != tentacle.Pending {
		t.Errorf("second is %v", s.State)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if logs, exit := follow(t, a, "second"); exit != 0 || !strings.HasSuffix(texts(logs, tentacle.StdOut), "second\n") {
		t.Errorf("%d %v", exit, logs)
	}
}

func TestReadersShare(t *testing.T) {
	a := opened(t)
	// Two that wait for each other.
	body := func(me, you string) string {
		return "touch " + a.config.Data + "/" + me + "; while [ ! -e " + a.config.Data + "/" + you + " ]; do sleep 0.02; done"
	}
	mustStart(t, a, command("r1", body("a", "b")))
	mustStart(t, a, command("r2", body("b", "a")))
	for _, name := range []string{"r1", "r2"} {
		if _, exit := follow(t, a, name); exit != 0 {
			t.Errorf("%s: %d", name, exit)
		}
	}
}

func TestFence(t *testing.T) {
	data := t.TempDir()
	a := open(t, data)
	fence := func(incarnation, claim int64) tentacle.Fence {
		return tentacle.Fence{TaskId: "ServerTasks-9", Incarnation: incarnation, Claim: claim}
	}
	refused := func(err error) bool {
		var f *tentacle.FencedError
		return errors.As(err, &f)
	}
	f := fence(1, 2)
	if _, err := a.start(command("one", "sleep 1000"), &f); err != nil {
		t.Fatal(err)
	}
	low := fence(1, 1)
	if _, err := a.start(command("two", "true"), &low); !refused(err) {
		t.Errorf("a lower claim started: %v", err)
	}
	if _, err := a.start(command("one", "true"), &low); !refused(err) {
		t.Errorf("a lower claim got an answer: %v", err)
	}
	tickets, err := a.adopt(fence(2, 1))
	if err != nil || len(tickets) != 1 || tickets[0].TaskId != "one" {
		t.Errorf("%v %v", tickets, err)
	}
	endAll(t, a)
	a = open(t, data) // it is on disk
	defer endAll(t, a)
	if _, err := a.start(command("three", "true"), &f); !refused(err) {
		t.Errorf("after a restart a lower claim started: %v", err)
	}
	if _, err := a.adopt(fence(1, 99)); !refused(err) {
		t.Errorf("adopted with a lower incarnation: %v", err)
	}
	same := fence(2, 1)
	if _, err := a.start(command("four", "exit 8"), &same); err != nil {
		t.Error(err)
	}
	if _, exit := follow(t, a, "four"); exit != 8 {
		t.Error(exit)
	}
}

// A stopped agent leaves scripts running; the next one finds them, those that wait too.
func TestRestart(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	a := open(t, data)
	gate := filepath.Join(data, "gate")
	mutex := "m"
	c := command("runs", "echo one; while [ ! -e "+gate+" ]; do sleep 0.02; done; echo two; exit 6")
	c.Isolation, c.IsolationMutexName = tentacle.FullIsolation, &mutex
	mustStart(t, a, c)
	pause(t, a, "runs", 0)
	c = command("waits", "echo waited; exit 5")
	c.Isolation, c.IsolationMutexName = tentacle.FullIsolation, &mutex
	mustStart(t, a, c)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a = open(t, data)
	defer endAll(t, a)
	if s, _ := a.status(ticket("waits"), 0); s.State != tentacle.Pending {
		t.Errorf("it did not wait: %+v", s)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	logs, exit := follow(t, a, "runs")
	if got := texts(logs, tentacle.StdOut); got != "one\ntwo\n" || exit != 6 {
		t.Errorf("%d %q", exit, got)
	}
	logs, exit = follow(t, a, "waits")
	if !strings.HasSuffix(texts(logs, tentacle.StdOut), "waited\n") || exit != 5 {
		t.Errorf("%d %v", exit, logs)
	}
}

func TestOneAgentPerDirectory(t *testing.T) {
	a := opened(t)
	if _, err := Open(Config{Data: a.config.Data}); err == nil || !strings.Contains(err.Error(), "Another agent") {
		t.Error(err)
	}
}

// When the supervisor is killed, the script dies with it and its result is unknown, not invented.
func TestSupervisorKilled(t *testing.T) {
	t.Parallel()
	needProc(t)
	a := opened(t)
	mark := fmt.Sprintf("octavo-orphan-%d", os.Getpid())
	mustStart(t, a, command("k", "setsid bash -c 'exec -a "+mark+" sleep 1000' & echo up; exec -a "+mark+" sleep 1000"))
	until(t, func() bool { return tagged(t, mark) == 2 })
	var b begun
	if _, err := readJSON(filepath.Join(a.config.Data, "Spool", "k", "started"), &b); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(b.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	logs, exit := follow(t, a, "k")
	if exit != tentacle.ExitUnknownResult || !strings.Contains(texts(logs, tentacle.StdErr), "unknown") {
		t.Errorf("%d %v", exit, logs)
	}
	if b.Cgroup != "" {
		until(t, func() bool { return tagged(t, mark) == 0 })
	}
	_ = exec.CommandContext(t.Context(), "pkill", "-KILL", "-f", mark).Run() // ours, by its unique name
}

func TestNoShellAndSignals(t *testing.T) {
	a := opened(t)
	mustStart(t, a, command("sig", "kill -9 $$"))
	if _, exit := follow(t, a, "sig"); exit != 137 {
		t.Errorf("exit %d", exit)
	}
	broken := open(t, t.TempDir())
	defer endAll(t, broken)
	broken.config.Supervisor = []string{"/no/such/program"}
	mustStart(t, broken, command("s", "true"))
	logs, exit := follow(t, broken, "s")
	if exit != tentacle.ExitNoShell || !strings.Contains(texts(logs, tentacle.StdErr), "/no/such/program") {
		t.Errorf("%d %v", exit, logs)
	}
}

func TestLinesAreUTF8AndBounded(t *testing.T) {
	a := opened(t)
	mustStart(t, a, command("u", `printf 'a\xffb\r\n\n'; head -c 5000000 /dev/zero | tr '\0' x; echo; seq 30000`))
	logs, _ := follow(t, a, "u")
	if logs[0].Text != "a\uFFFDb" || logs[1].Text != "" {
		t.Errorf("%q %q", logs[0].Text, logs[1].Text)
	}
	if n := len(logs[2].Text) + len(logs[3].Text); n != 5000000 || len(logs[2].Text) < maxLine {
		t.Errorf("%d + %d bytes", len(logs[2].Text), len(logs[3].Text))
	}
	for i, l := range logs[4:] {
		if l.Text != strconv.Itoa(i+1) {
			t.Fatalf("line %d is %q", i+1, l.Text)
		}
	}
}

// What a script tells to mask is masked on disk too; the messages themselves stay whole for the server.
func TestMasking(t *testing.T) {
	a := opened(t)
	told := script.Message("mask", "value", "hunter22") + "\n" + script.Message("setVariable", "name", "n", "value", "s3cr3t!!", "sensitive", "True")
	mustStart(t, a, command("m", "echo hunter22; cat <<'X'\n"+told+"\nit is hunter22, s3cr3t!! and ##octopus[ hunter22\nX\nsleep 0.3; echo hunter22 >&2\n"))
	logs, _ := follow(t, a, "m")
	if got, want := texts(logs, tentacle.StdOut), "hunter22\n"+told+"\nit is ********, ******** and ##octopus[ ********\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := texts(logs, tentacle.StdErr); got != "********\n" {
		t.Errorf("%q", got)
	}
}

func TestFiles(t *testing.T) {
	a := opened(t)
	r, err := a.upload(`Files\sub/p.zip`, halibut.BytesStream([]byte("hello")))
	if err != nil || r.Length != 5 || r.Hash != "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d" || r.FullPath != filepath.Join(a.config.Data, "Files/sub/p.zip") {
		t.Fatalf("%+v %v", r, err)
	}
	s, err := a.download("Files/sub/p.zip")
	if err != nil || s.Length != 5 {
		t.Fatalf("%+v %v", s, err)
	}
	if s, err := a.download("Files/none"); s != nil || err != nil {
		t.Errorf("%+v %v", s, err)
	}
	if _, err := a.download("Files/sub"); err == nil {
		t.Error("a directory was offered")
	}
	if _, err := a.upload("Files/huge", halibut.NewStream(1<<60, nil)); err == nil || !strings.Contains(err.Error(), "room") {
		t.Error(err)
	}
}

func TestArguments(t *testing.T) {
	for in, want := range map[string][]string{
		``: nil, ` a  b `: {"a", "b"}, `"a b" c`: {"a b", "c"}, `""`: {""}, `a"b c"d`: {"ab cd"}, `\"x\"`: {`"x"`}, `c:\dir\`: {`c:\dir\`},
		`"a\\" b`: {`a\`, "b"}, `'a b'`: {"'a", "b'"}, `a\\b`: {`a\\b`},
	} {
		got, err := splitArguments(in)
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) || err != nil {
			t.Errorf("%s: %q %v", in, got, err)
		}
	}
}
