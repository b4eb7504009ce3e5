// Package dbtest gives tests a database of their own on both engines.
//
// PostgreSQL is a real one, started by the tests: one server per user of the machine, its data in
// RAM, shared by all test packages and ended by itself when no test process has used it for a while.
// A database with all migrations is the template; each test gets a clone.
//
//	test process                          keeper (a shell, its own session)
//	takes "lock", shares "users"          every few seconds: can I have "users" for me alone?
//	no server answers: starts one         yes: under "lock", stops the server, removes the folder
//	drops "lock", keeps "users" to its end
package dbtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/octavo/octavo/internal/db"
)

// Each runs a test on SQLite and on PostgreSQL, in parallel, each with a migrated, empty database.
// OCTAVO_TEST_PG=off leaves PostgreSQL out.
func Each(t *testing.T, test func(t *testing.T, d *db.DB)) {
	t.Helper()
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			test(t, New(t, engine))
		})
	}
}

// New makes a migrated, empty database and opens it for the length of the test.
func New(t testing.TB, engine db.Engine) *db.DB {
	t.Helper()
	return Open(t, Create(t, engine))
}

// Create makes a migrated, empty database that lives as long as the test, and tells where it is. Use it
// before a synctest bubble; Open the database inside.
func Create(t testing.TB, engine db.Engine) string {
	t.Helper()
	if engine == db.SQLite {
		return createSQLite(t)
	}
	return createPostgres(t)
}

// Open opens a database for the length of the test.
func Open(t testing.TB, where string) *db.DB {
	t.Helper()
	d, err := db.Open(context.Background(), where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close the test's database: %v", err)
		}
	})
	return d
}

// ramDir is a folder in RAM where there is one: fsync costs nothing there.
func ramDir() string {
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}

// sqliteTemplate is the file of an empty, migrated database; it is made once per process.
var sqliteTemplate = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp(ramDir(), "octavo-sqlite-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "template.db")
	ctx := context.Background()
	d, err := db.Open(ctx, file)
	if err != nil {
		return nil, err
	}
	if err := d.Migrate(ctx); err != nil {
		d.Close()
		return nil, err
	}
	if err := d.Close(); err != nil { // the last close folds the journal into the file
		return nil, err
	}
	return os.ReadFile(file)
})

func createSQLite(t testing.TB) string {
	t.Helper()
	b, err := sqliteTemplate()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(ramDir(), "octavo-sqlite-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "octavo.db")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return "sqlite:" + file
}

// Empty makes a database with no tables at all, for tests of migrations.
func Empty(t testing.TB, engine db.Engine) *db.DB {
	t.Helper()
	return Open(t, CreateEmpty(t, engine))
}

// CreateEmpty is Create without a single table.
func CreateEmpty(t testing.TB, engine db.Engine) string {
	t.Helper()
	if engine == db.SQLite {
		return "sqlite:" + filepath.Join(t.TempDir(), "octavo.db")
	}
	return clone(t, "template0")
}

func createPostgres(t testing.TB) string {
	t.Helper()
	s := server(t)
	template, err := s.template()
	if err != nil {
		t.Fatalf("template database: %v", err)
	}
	return clone(t, template)
}

var clones struct {
	sync.Mutex
	n int
}

func clone(t testing.TB, template string) string {
	t.Helper()
	s := server(t)
	clones.Lock()
	clones.n++
	name := fmt.Sprintf("t%d_%d", os.Getpid(), clones.n)
	clones.Unlock()
	if err := s.exec("CREATE DATABASE " + name + " TEMPLATE " + template + " STRATEGY FILE_COPY"); err != nil {
		t.Fatalf("clone %s: %v", template, err)
	}
	t.Cleanup(func() {
		if err := s.exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return s.url(name)
}

func (s *postgres) url(name string) string {
	return "postgres://octavo@/" + name + "?host=" + strings.ReplaceAll(s.dir, "/", "%2F") + "&pool=4"
}
