package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/db"
)

// TestMistakesAtStartRow66Row74Row83Row85 holds that a server which cannot work says why, and ends (reliability-and-security.md rows 74, 78-80).
func TestMistakesAtStartRow66Row74Row83Row85(t *testing.T) {
	parallel(t)
	for name, c := range map[string]struct {
		spoil func(t *testing.T, i *installation)
		want  []string
	}{
		"unreachable PostgreSQL": {
			func(_ *testing.T, i *installation) {
				i.database = "postgres://octavo@127.0.0.1:1/octavo?connect_timeout=2"
			}, []string{"database"},
		},
		"database in a folder that cannot be made": {
			func(t *testing.T, i *installation) {
				write(t, i.path("file"), "")
				i.database = i.path("file", "octavo.db")
			}, []string{"octavo.db"},
		},
		"blob folder gone": {
			func(t *testing.T, i *installation) {
				i.start()
				i.kill()
				if err := os.RemoveAll(i.path("blobs")); err != nil {
					t.Fatal(err)
				}
			}, []string{"blob", "blobs"},
		},
		"blob folder is a file": {
			func(t *testing.T, i *installation) {
				i.admin()
				write(t, i.path("blobs"), "")
			}, []string{"blob"},
		},
		"another database on the blobs of this installation": {
			func(t *testing.T, i *installation) {
				other := install(t, db.SQLite)
				other.kill()
				i.admin()
				if err := os.Symlink(other.path("blobs"), i.path("blobs")); err != nil {
					t.Fatal(err)
				}
			}, []string{"blob", "another"},
		},
		"wrong master key": {
			func(t *testing.T, i *installation) {
				i.start()
				i.kill()
				other := prepare(t, db.SQLite)
				other.admin()
				text, err := os.ReadFile(other.path("master.key"))
				if err != nil {
					t.Fatal(err)
				}
				write(t, i.path("master.key"), string(text))
			}, []string{"master key"},
		},
		"master key lost": {
			func(t *testing.T, i *installation) {
				i.start()
				i.kill()
				if err := os.Remove(i.path("master.key")); err != nil {
					t.Fatal(err)
				}
			}, []string{"master key"},
		},
		"port taken": {
			func(t *testing.T, i *installation) {
				other := install(t, db.SQLite)
				i.admin()
				i.listen = other.listen
			}, []string{"Cannot listen on", "--listen"},
		},
		"unknown setting and bad value": {
			func(_ *testing.T, i *installation) { i.more = []string{"--task-cap", "many", "--log-level", "loud"} },
			[]string{"task-cap", "log-level"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := prepare(t, db.SQLite)
			c.spoil(t, i)
			log := i.path("mistake.log")
			p := spawn(t, log, nil, octavo, i.arguments()...)
			defer p.kill()
			i.eventually(30*time.Second, "the server gives up", func() (bool, string) { return p.ended(), tail(log, 5) })
			said := tail(log, 100)
			if p.ProcessState.ExitCode() <= 0 {
				t.Errorf("it ended with %v", p.err)
			}
			for _, want := range c.want {
				if !strings.Contains(strings.ToLower(said), strings.ToLower(want)) {
					t.Errorf("it does not say %q:\n%s", want, said)
				}
			}
			if strings.Contains(said, "panic") || strings.Count(said, "\n") > 10 {
				t.Errorf("that is no clear message:\n%s", said)
			}
			t.Log(said)
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTerminated holds that SIGTERM hands a running deployment over, and that the next start goes on with it.
func TestTerminated(t *testing.T) {
	parallel(t)
	s := newSubject(t, db.Postgres)
	version := s.next()
	id := s.deploy(s.project, version, "Test", nil)
	s.counting(id, 3)
	s.server.signal(t, syscall.SIGTERM)
	s.eventually(15*time.Second, "the server ends", func() (bool, string) { return s.server.ended(), "" })
	if s.server.err != nil {
		t.Errorf("it ended with %v", s.server.err)
	}
	s.start()
	s.success(id)
	s.check(t, id, version, false)
	if raw := s.raw(id); !strings.Contains(raw, "goes on with this task") {
		t.Error("the log does not say that the task was taken over")
	}
}

// TestAdminBesideAServerRow88 holds that an administrator can be made, and the master key shown, while a server runs.
func TestAdminBesideAServerRow88(t *testing.T) {
	parallel(t)
	i := install(t, db.SQLite)
	other := client{url: i.url, key: "API-ANOTHERKEY0123456789AB"}
	if err := other.try("GET", "/api/users/me", nil, nil); err == nil {
		t.Fatal("an unknown key is accepted")
	}
	i.must(octavo, "admin", "--database", i.database, "--master-key-file", i.path("master.key"), "--username", "second", "--password", "Secret-enough-2", "--api-key", other.key)
	var me object
	if err := other.try("GET", "/api/users/me", nil, &me); err != nil || me.text("Username") != "second" {
		t.Errorf("users/me says %v, %v", me, err)
	}
	if key := strings.TrimSpace(i.must(octavo, "show-master-key", "--database", i.database, "--master-key-file", i.path("master.key"))); len(key) < 20 {
		t.Errorf("show-master-key says %q", key)
	}
	if info, err := os.Stat(filepath.Join(i.dir, "master.key")); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the master key can be read by others: %v, %v", info.Mode(), err)
	}
}
