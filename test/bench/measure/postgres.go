package measure

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/octavo/octavo/internal/db"
)

// Postgres is a server of our own: durable, on the disk that is measured, with its default settings but for those below.
type Postgres struct {
	dir     string
	process *exec.Cmd
	made    int
}

const settings = `
listen_addresses = ''
shared_buffers = 256MB
max_connections = 200
max_wal_size = 4GB
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.max = 5000
`

// StartPostgres makes a server in a folder and starts it. more are lines of its configuration, which win over ours.
func StartPostgres(ctx context.Context, dir, more string) (*Postgres, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return nil, errors.Join(err, errors.New("no PostgreSQL is installed; ./scripts/test installs it, or: apt-get install -y postgresql"))
	}
	bin := filepath.Dir(slices.Max(found))
	p := &Postgres{dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	as := &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() == 0 { // PostgreSQL refuses to run as root
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		as.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			return nil, err
		}
	}
	data := filepath.Join(dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", "octavo", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-instructions")
	initdb.SysProcAttr, initdb.Dir = as, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	conf, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	_, err = conf.WriteString(settings + more)
	if err := errors.Join(err, conf.Close()); err != nil {
		return nil, err
	}
	p.process = exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", dir)
	p.process.SysProcAttr, p.process.Dir = as, dir
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.process.Stdout, p.process.Stderr = log, log
	if err := p.process.Start(); err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		err := p.Exec(ctx, "postgres", "SELECT 1")
		if err == nil {
			return p, nil
		}
		if try == 200 {
			p.Stop()
			return nil, fmt.Errorf("PostgreSQL does not answer: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Stop ends the server.
func (p *Postgres) Stop() {
	_ = p.process.Process.Signal(syscall.SIGINT) // fast shutdown; it may be gone
	_ = p.process.Wait()
}

// URL names a database for every driver.
func (p *Postgres) URL(database string) string {
	return "postgres://octavo@/" + database + "?host=" + url.QueryEscape(p.dir)
}

// Config is URL, parsed.
func (p *Postgres) Config(database string) (*pgx.ConnConfig, error) {
	return pgx.ParseConfig(p.URL(database))
}

// Connect opens one connection.
func (p *Postgres) Connect(ctx context.Context, database string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, p.URL(database))
}

// Exec runs one statement on a connection of its own.
func (p *Postgres) Exec(ctx context.Context, database, text string) error {
	c, err := p.Connect(ctx, database)
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, text)
	return errors.Join(err, c.Close(ctx))
}

// Create makes an empty database and gives its name.
func (p *Postgres) Create(ctx context.Context) (string, error) {
	p.made++
	name := fmt.Sprintf("bench%d", p.made)
	if err := p.Exec(ctx, "postgres", "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	return name, p.Exec(ctx, name, "CREATE EXTENSION pg_stat_statements")
}

// Durability reads the settings back from a connection of ours.
func (p *Postgres) Durability(ctx context.Context) (string, error) {
	c, err := p.Connect(ctx, "postgres")
	if err != nil {
		return "", err
	}
	defer c.Close(ctx)
	var out []string
	for _, name := range []string{"server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers"} {
		var value string
		if err := c.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&value); err != nil {
			return "", err
		}
		out = append(out, name+"="+value)
	}
	return strings.Join(out, " "), nil
}

// SQLiteDurability opens a database as the server does, and reads its settings back from that connection.
func SQLiteDurability(ctx context.Context, path string) (string, error) {
	d, err := db.Open(ctx, path)
	if err != nil {
		return "", err
	}
	defer d.Close()
	var out []string
	err = d.InTx(ctx, func(tx *db.Tx) error {
		out = nil
		for _, name := range []string{"journal_mode", "synchronous"} {
			var value string
			if err := tx.QueryRowContext(ctx, "PRAGMA "+name).Scan(&value); err != nil {
				return err
			}
			out = append(out, name+"="+value)
		}
		var version string
		if err := tx.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version); err != nil {
			return err
		}
		out = append([]string{version}, out...)
		return nil
	})
	return strings.Join(out, " ") + " (2 is FULL)", err
}

// Work is what a database has done so far.
type Work struct {
	Statements float64 // each one is a round trip
	Commits    float64
	Reads      float64 // transactions that were begun read only
	MS         float64 // inside the statements
}

// Minus gives what was done since o.
func (w Work) Minus(o Work) Work {
	return Work{w.Statements - o.Statements, w.Commits - o.Commits, w.Reads - o.Reads, w.MS - o.MS}
}

// Times scales.
func (w Work) Times(f float64) Work {
	return Work{w.Statements * f, w.Commits * f, w.Reads * f, w.MS * f}
}

// Done reads the counters of one database.
func (p *Postgres) Done(ctx context.Context, c *pgx.Conn) (w Work, err error) {
	err = c.QueryRow(ctx, `SELECT coalesce(sum(calls), 0), coalesce(sum(calls) FILTER (WHERE query ILIKE 'commit%'), 0),
		coalesce(sum(calls) FILTER (WHERE query ILIKE 'begin%read only%'), 0), coalesce(sum(total_exec_time), 0)
		FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
		AND query NOT LIKE '%pg_stat_statements%'`).Scan(&w.Statements, &w.Commits, &w.Reads, &w.MS)
	return w, err
}

// CPU is the processor time of all processes of the database so far, ended ones included.
func (p *Postgres) CPU() time.Duration {
	var ticks int64
	self := strconv.Itoa(p.process.Process.Pid)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is right
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		f := strings.Fields(rest) // f[0] is the state, field 3 of proc(5)
		if len(f) < 15 {
			continue
		}
		mine := path == "/proc/"+self+"/stat"
		if !mine && f[1] != self {
			continue
		}
		for i, n := range []int{11, 12, 13, 14} { // utime, stime, cutime, cstime
			if v, err := strconv.ParseInt(f[n], 10, 64); err == nil && (i < 2 || mine) {
				ticks += v
			}
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100 on every Linux
}
