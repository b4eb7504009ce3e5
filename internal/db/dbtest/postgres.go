package dbtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/octavo/octavo/internal/db"
)

type postgres struct {
	dir   string // socket, data and lock files
	bin   string
	cred  *syscall.Credential // who runs it; nil: ourselves
	users *os.File            // held as long as this process lives
	once  sync.Once
	tmpl  string
	err   error
}

var (
	startOnce sync.Once
	started   *postgres
	startErr  error
)

// server starts or finds the machine's test server.
func server(t testing.TB) *postgres {
	t.Helper()
	if os.Getenv("OCTAVO_TEST_PG") == "off" {
		t.Skip("OCTAVO_TEST_PG=off: not run on PostgreSQL")
	}
	startOnce.Do(func() { started, startErr = start() })
	if startErr != nil {
		t.Fatalf("PostgreSQL for tests: %v", startErr)
	}
	return started
}

// programs finds the newest installed PostgreSQL that we support (15 and up).
func programs() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // 0 when it is no number
		return n
	}
	sort.Slice(found, func(i, j int) bool { return version(found[i]) > version(found[j]) })
	if len(found) > 0 && version(found[0]) >= 15 {
		return filepath.Dir(found[0]), nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	return "", errors.New("no PostgreSQL 15 or newer is installed. Install it with:\n\tapt-get install -y postgresql\nor leave it out with OCTAVO_TEST_PG=off")
}

func start() (*postgres, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	s := &postgres{bin: bin, dir: filepath.Join(ramDir(), fmt.Sprintf("octavo-pg-%d", os.Getuid()))}
	if os.Getuid() == 0 { // PostgreSQL refuses to run as root
		uid, gid := 65534, 65534
		if u, err := user.Lookup("postgres"); err == nil {
			uid, _ = strconv.Atoi(u.Uid)
			gid, _ = strconv.Atoi(u.Gid)
		}
		s.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	if s.cred != nil {
		if err := os.Chown(s.dir, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
			return nil, err
		}
	}
	lock, err := flock(s.dir+".lock", syscall.LOCK_EX) // beside the folder, since the keeper removes that
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if s.users, err = flock(s.dir+".users", syscall.LOCK_SH); err != nil {
		return nil, err
	}
	if s.exec("SELECT 1") == nil {
		return s, nil
	}
	return s, s.boot()
}

func flock(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), how); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// keeper runs the server until no test process has shared "users" for a while.
const keeper = `
"$1/postgres" -D "$2/data" -k "$2" >"$2/log" 2>&1 &
server=$!
idle=0
while sleep 5; do
	kill -0 $server 2>/dev/null || break
	if flock -n "$2.users" true; then idle=$((idle + 1)); else idle=0; fi
	[ $idle -ge 12 ] || continue
	(
		flock -n 8 || exit 0
		flock -n 9 || exit 0
		kill -INT $server
		while kill -0 $server 2>/dev/null; do sleep 0.1; done
		rm -rf "$2/data" "$2/log"
	) 8<"$2.lock" 9<"$2.users"
done
`

const settings = `
listen_addresses = ''
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
max_connections = 500
shared_buffers = 128MB
autovacuum_naptime = 10s
`

func (s *postgres) boot() error {
	// A server that was killed leaves its folder; its data is worth nothing.
	if err := os.RemoveAll(filepath.Join(s.dir, "data")); err != nil {
		return err
	}
	as := &syscall.SysProcAttr{Credential: s.cred, Setsid: true}
	initdb := exec.Command(filepath.Join(s.bin, "initdb"), "-D", filepath.Join(s.dir, "data"), "-U", "octavo",
		"-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
	initdb.SysProcAttr, initdb.Dir = as, s.dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	conf, err := os.OpenFile(filepath.Join(s.dir, "data", "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := conf.WriteString(settings); err != nil {
		return err
	}
	if err := conf.Close(); err != nil {
		return err
	}
	keep := exec.Command("/bin/sh", "-c", keeper, "octavo-test-postgres", s.bin, s.dir)
	keep.SysProcAttr, keep.Dir = as, s.dir
	if err := keep.Start(); err != nil {
		return err
	}
	if err := keep.Process.Release(); err != nil {
		return err
	}
	for try := 0; ; try++ {
		err := s.exec("SELECT 1")
		if err == nil {
			return nil
		}
		if try == 600 {
			log, _ := os.ReadFile(filepath.Join(s.dir, "log")) // the reason, if it wrote one
			return fmt.Errorf("does not answer: %w\n%s", err, log)
		}
		time.Sleep(50 * time.Millisecond) // another process starts up; there is nothing to wait on
	}
}

// exec runs statements on the server's own database, over a connection made for it.
func (s *postgres) exec(statements ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, fmt.Sprintf("host=%s user=octavo dbname=postgres", s.dir))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, q := range statements {
		if _, err := conn.Exec(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// template is the name of a database with this binary's migrations, made by whoever needs it first.
func (s *postgres) template() (string, error) {
	s.once.Do(func() { s.tmpl, s.err = s.makeTemplate() })
	return s.tmpl, s.err
}

func (s *postgres) makeTemplate() (string, error) {
	hash, err := db.MigrationsHash()
	if err != nil {
		return "", err
	}
	name := "template_" + hash[:16]
	lock, err := flock(s.dir+".template", syscall.LOCK_EX)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, fmt.Sprintf("host=%s user=octavo dbname=postgres", s.dir))
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	var there bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&there); err != nil {
		return "", err
	}
	if there {
		return name, nil
	}
	building := name + "_new" // renamed when it is whole, so that a killed test leaves no half template
	for _, q := range []string{"DROP DATABASE IF EXISTS " + building, "CREATE DATABASE " + building + " TEMPLATE template0"} {
		if _, err := conn.Exec(ctx, q); err != nil {
			return "", err
		}
	}
	d, err := db.Open(ctx, s.url(building)+"&hints=off")
	if err != nil {
		return "", err
	}
	if err := errors.Join(d.Migrate(ctx), d.Close()); err != nil {
		return "", err
	}
	_, err = conn.Exec(ctx, "ALTER DATABASE "+building+" RENAME TO "+name)
	return name, err
}
