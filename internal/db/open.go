package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"

	"github.com/octavo/octavo/internal/fault"
)

// DB is one database: a PostgreSQL, or an SQLite file.
type DB struct {
	dialect dialect
	write   *sql.DB
	read    *sql.DB
	queue   *sql.DB
	control *sql.DB
	hints   *hints
	group   group // of SQLite's writer
	name    string
}

// Engine tells which database program this is.
func (d *DB) Engine() Engine { return d.dialect.engine }

// Name is a name of the database for messages and logs; it has no password in it.
func (d *DB) Name() string { return d.name }

// Open opens the database that the text names: postgres://user:password@host/name for PostgreSQL, a
// path or sqlite:path for SQLite. It answers only once the database does.
//
// Two members of a PostgreSQL URL are ours: pool=N bounds the connections of ordinary work (16), and
// hints=off leaves out LISTEN, for a pooler in transaction mode; then polling alone wakes the loops.
func Open(ctx context.Context, where string) (*DB, error) {
	return OpenThrough(ctx, where, func(c driver.Connector) driver.Connector { return c })
}

// OpenThrough is Open with something between us and the driver, such as a log of statements, or faults (dbtest).
// It is put around each of the pools; hints go their own way.
func OpenThrough(ctx context.Context, where string, through func(driver.Connector) driver.Connector) (*DB, error) {
	var d *DB
	var err error
	switch {
	case strings.HasPrefix(where, "postgres://"), strings.HasPrefix(where, "postgresql://"):
		d, err = openPostgres(where, through)
	case strings.HasPrefix(where, "sqlite:"):
		d, err = openSQLite(strings.TrimPrefix(where, "sqlite:"), through)
	case where == "":
		return nil, fault.InvalidField("database", "No database was named. Give the path of an SQLite file, or postgres://user:password@host/name.")
	case strings.Contains(where, "://"):
		scheme, _, _ := strings.Cut(where, "://")
		return nil, fault.InvalidField("database", "The database scheme %q is unknown. Use postgres://, or a path for SQLite.", scheme)
	default:
		d, err = openSQLite(where, through)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := d.write.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("the database %s does not answer: %w", d.name, err), d.Close())
	}
	return d, nil
}

// Close ends every connection. No transaction may be open.
func (d *DB) Close() error {
	d.hints.close()
	err := d.write.Close()
	for _, other := range []*sql.DB{d.read, d.queue, d.control} {
		if other != d.write {
			err = errors.Join(err, other.Close())
		}
	}
	return err
}

func openSQLite(path string, through func(driver.Connector) driver.Connector) (*DB, error) {
	if path == "" {
		return nil, fault.InvalidField("database", "The path of the SQLite file is empty.")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := refuseNetworkFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	// The file is made here, so that only its owner can read it whatever the umask is.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fault.Because(fault.InvalidField("database", "The SQLite file %s cannot be opened for writing. Does its folder exist, and may this user write to it?", path), err)
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	dsn := func(lock string, more ...string) string {
		q := url.Values{"_txlock": {lock}}
		for _, p := range append([]string{"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "temp_store(MEMORY)"}, more...) {
			q.Add("_pragma", p)
		}
		return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
	}
	one, err := sqlite.NewConnector(dsn("immediate"))
	if err != nil {
		return nil, err
	}
	many, err := sqlite.NewConnector(dsn("deferred", "query_only(1)"))
	if err != nil {
		return nil, err
	}
	write, read := sql.OpenDB(through(prepared{one})), sql.OpenDB(through(prepared{many}))
	write.SetMaxOpenConns(1) // SQLite has one writer; waiting here is cheaper and fairer than its busy loop
	read.SetMaxOpenConns(max(4, runtime.NumCPU()))
	read.SetMaxIdleConns(max(4, runtime.NumCPU()))
	return &DB{dialect: dialects[SQLite], write: write, read: read, queue: write, control: write, hints: newHints(nil), name: path}, nil
}

func openPostgres(where string, through func(driver.Connector) driver.Connector) (*DB, error) {
	u, err := url.Parse(where)
	if err != nil {
		return nil, fault.InvalidField("database", "The database URL cannot be read. Write postgres://user:password@host:5432/name, with special characters of the password percent-encoded.")
	}
	q := u.Query()
	size := 16
	if s := q.Get("pool"); s != "" {
		if size, err = strconv.Atoi(s); err != nil || size < 1 {
			return nil, fault.InvalidField("database", "pool=%s in the database URL must be a number of connections, at least 1.", s)
		}
	}
	listen := true
	switch q.Get("hints") {
	case "", "on":
	case "off":
		listen = false
	default:
		return nil, fault.InvalidField("database", "hints=%s in the database URL must be on or off.", q.Get("hints"))
	}
	q.Del("pool")
	q.Del("hints")
	u.RawQuery = q.Encode()
	conf, err := pgx.ParseConfig(u.String())
	if err != nil {
		// The parser's own text may quote the URL and so the password.
		return nil, fault.InvalidField("database", "The database URL cannot be used: check host, port and parameters.")
	}
	if conf.ConnectTimeout == 0 {
		conf.ConnectTimeout = 5 * time.Second
	}
	set(conf, map[string]string{
		"application_name":                    "octavo",
		"timezone":                            "UTC",
		"jit":                                 "off",
		"lock_timeout":                        "2s",
		"statement_timeout":                   "60s",
		"idle_in_transaction_session_timeout": "5s",
	})
	conf.ValidateConnect = pgconnWritable // after a failover, refuse the node that became a standby
	pool := func(size int, more map[string]string) *sql.DB {
		c := conf.Copy()
		for k, v := range more {
			c.RuntimeParams[k] = v
		}
		// By default a connection that was idle for a second is asked whether it still lives, which is a transaction too. A
		// transaction whose connection turns out to be dead is run again.
		ping := stdlib.OptionShouldPing(func(_ context.Context, p stdlib.ShouldPingParams) bool { return p.IdleDuration > time.Minute })
		p := sql.OpenDB(through(stdlib.GetConnector(*c, ping)))
		p.SetMaxOpenConns(size)
		p.SetMaxIdleConns(size)
		p.SetConnMaxIdleTime(5 * time.Minute)
		return p
	}
	write := pool(size, nil)
	// No plan of the queue may depend on the statistics of a table that empties every minute
	// (performance.md 3.11, trap 2).
	queue := pool(min(size, 4), map[string]string{
		"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "enable_bitmapscan": "off", "enable_sort": "off", "enable_hashjoin": "off", "enable_mergejoin": "off",
	})
	control := pool(1, map[string]string{"statement_timeout": "1500ms", "lock_timeout": "1s"})
	h := newHints(nil)
	if listen {
		h = newHints(conf)
	}
	name := fmt.Sprintf("%s on %s:%d", conf.Database, conf.Host, conf.Port)
	return &DB{dialect: dialects[Postgres], write: write, read: write, queue: queue, control: control, hints: h, name: name}, nil
}

// set gives run-time parameters that the URL did not.
func set(conf *pgx.ConnConfig, params map[string]string) {
	for k, v := range params {
		if _, given := conf.RuntimeParams[k]; !given {
			conf.RuntimeParams[k] = v
		}
	}
}
