package cluster

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

// store runs one of the commands that know where blobs are.
func (i *installation) store(want int, words string, arguments ...string) {
	i.t.Helper()
	all := append(arguments, "--database", i.database, "--data", i.path("nodes", i.name))
	if arguments[0] != "restore" {
		all = append(all, "--blobs", i.path("blobs"), "--master-key-file", i.path("master.key"))
	}
	out, err := exec.Command(octavo, all...).CombinedOutput()
	code := 0
	if exit, is := err.(*exec.ExitError); is {
		code = exit.ExitCode()
	} else if err != nil {
		i.t.Fatal(err)
	}
	said := string(out)
	if code != want {
		i.t.Fatalf("octavo %s: exit code %d, want %d\n%s", all, code, want, said)
	}
	for _, word := range strings.Split(words, "|") {
		if !strings.Contains(said, word) {
			i.t.Errorf("octavo %s does not say %q:\n%s", arguments, word, said)
		}
	}
}

// TestFromSQLiteToPostgresRow88Row92Row93 backs a node up while a deployment runs on an agent, restores it to PostgreSQL, and starts the
// node there: the deployment goes on, its script was started once, and what was there before is there.
func TestFromSQLiteToPostgresRow88Row92Row93(t *testing.T) {
	parallel(t)
	i := fleet(t, db.SQLite, 2)
	i.upload("Web.1.0.0.zip", map[string]string{"a.txt": "content of the package"})
	done := i.project("Done", []object{scriptStep("Say", "", "echo said before the backup")}, nil)
	i.release(done, "1.0.0", "")
	before := i.deploy(done, "1.0.0", "Test", nil)
	i.success(before)
	hold := i.project("Hold", []object{scriptStep("Hold", "app", i.script(gated, "hold"))}, []object{{"Name": "Secret", "Value": "kept-secret-value", "IsSensitive": true, "Type": "Sensitive"}})
	i.release(hold, "1.0.0", "")
	running := i.deploy(hold, "1.0.0", "Test", nil)
	i.logs(running, "waiting for the gate")

	i.store(0, "rows of|The backup in|The master key is not in it", "backup", "--to", i.path("backup"))
	i.kill()
	i.database = dbtest.Create(t, db.Postgres)
	blobs := i.path("blobs")
	if err := os.Rename(blobs, blobs+"-old"); err != nil {
		t.Fatal(err)
	}
	i.store(0, "written and read back|Restored as of", "restore", "--from", i.path("backup"), "--blobs", blobs)
	i.store(1, "not empty", "restore", "--from", i.path("backup"), "--blobs", blobs)
	i.engine = db.Postgres
	i.launch()
	i.answers()
	if raw := i.raw(before); !strings.Contains(raw, "said before the backup") {
		t.Errorf("the log of a task that had ended: %s", raw)
	}
	if err := os.WriteFile(i.path("witness", "open"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	i.success(running)
	if got := strings.Join(i.witnessed("hold"), " "); got != "start start end end" {
		t.Errorf("the scripts of two agents: %s", got)
	}
	i.success(i.deploy(done, "1.0.0", "Test", nil))
}

// TestMoveBlobsRow81Row82Row94 moves the store of a running node, then brings it back with the node stopped.
func TestMoveBlobsRow81Row82Row94(t *testing.T) {
	parallel(t)
	i := fleet(t, db.SQLite, 0)
	p := i.project("Say", []object{scriptStep("Say", "", "echo said before the move")}, nil)
	i.release(p, "1.0.0", "")
	id := i.deploy(p, "1.0.0", "Test", nil)
	i.success(id)
	i.upload("Web.1.0.0.zip", map[string]string{"a.txt": "content of the package"})
	old, other := i.path("blobs"), i.path("other")
	for _, dir := range []string{other, i.path("third")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	i.store(0, "TaskLogs|Artifacts|Packages|Imports|EventExports|Telemetry|each node's --blobs", "path")
	i.store(0, "Nodes go over|Done.", "migrate-storage", "--to", other)
	i.store(0, "there already", "migrate-storage", "--to", other)
	i.store(1, "Nodes are running: node-1", "path", "--clusterShared", i.path("third"))
	if err := os.RemoveAll(old); err != nil {
		t.Fatal(err)
	}
	check := func(version string) {
		t.Helper()
		i.upload("Web."+version+".zip", map[string]string{"a.txt": "more"})
		if raw := i.raw(id); !strings.Contains(raw, "said before the move") {
			t.Errorf("the log: %s", raw)
		}
		if got, err := i.send("GET", "/api/packages/Web.1.0.0/raw", "", nil); err != nil || !strings.Contains(string(got), "a.txt") {
			t.Errorf("the package: %v", err)
		}
	}
	check("1.1.0")

	i.server.signal(t, syscall.SIGTERM)
	i.eventually(30*time.Second, "the node has stopped", func() (bool, string) { return i.server.ended(), "" })
	third := i.path("third")
	i.store(1, "lacks|migrate-storage", "path", "--clusterShared", third)
	if err := os.CopyFS(i.path("copied"), os.DirFS(other)); err != nil { // as rsync would
		t.Fatal(err)
	}
	for range 2 {
		i.store(0, "copied|the database", "path", "--clusterShared", i.path("copied"))
	}
	if err := os.RemoveAll(other); err != nil {
		t.Fatal(err)
	}
	i.launch()
	i.answers()
	check("1.2.0")
}

// TestShareLostRow84 takes the store away under a node at work: it runs on what it has, takes nothing new, says why, and heals.
func TestShareLostRow84(t *testing.T) {
	if !long() {
		t.Skip("OCTAVO_TEST_LONG: a node looks at its store every 15 s; internal/storage tests the same faster")
	}
	parallel(t)
	i := fleet(t, db.SQLite, 1)
	p := i.project("Hold", []object{scriptStep("Hold", "app", i.script(gated, "hold"))}, nil)
	i.release(p, "1.0.0", "")
	running := i.deploy(p, "1.0.0", "Test", nil)
	i.logs(running, "waiting for the gate")
	share := i.path("blobs")
	if err := os.Rename(share, share+"-away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(share, 0o700); err != nil {
		t.Fatal(err)
	}
	ready := func() string {
		body, err := i.send("GET", "/readyz", "", nil)
		if err != nil {
			return err.Error()
		}
		return string(body)
	}
	i.eventually(30*time.Second, "the node says that its share is gone", func() (bool, string) { r := ready(); return strings.Contains(r, "Is the share mounted?"), r })
	say := i.project("Say", []object{scriptStep("Say", "", "echo hello")}, nil)
	i.release(say, "1.0.0", "")
	queued := i.deploy(say, "1.0.0", "Test", nil)
	if err := os.WriteFile(i.path("witness", "open"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	i.success(running) // what runs ends, share or not
	if got := i.task(queued).State; got != "Queued" {
		t.Errorf("a task was started: it is %s", got)
	}
	if err := os.RemoveAll(share); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(share+"-away", share); err != nil {
		t.Fatal(err)
	}
	i.success(queued)
	i.eventually(30*time.Second, "the node is well", func() (bool, string) {
		r := ready()
		return strings.Contains(r, `"Warning": ""`) || strings.Contains(r, `"Warning":""`), r
	})
	if raw := i.raw(running); !strings.Contains(raw, "waiting for the gate") {
		t.Errorf("the log of what ran meanwhile: %s", raw)
	}
}
