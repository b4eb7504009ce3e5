package dbtest

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/db"
)

// Wire is one process's way to its database. Tests hold it, slow it down and cut it; nothing of that reaches the
// database itself, which other processes go on using.
//
//	             begin                      a statement, commit              after the commit
//	Hold         waits                      transaction lost, then waits     waits, then all is well: the process was stopped
//	Part         waits, fails               transaction lost, waits, fails   fails: nobody knows that it took effect
//	Slow         waits a while              -                                waits a while
//	FailNth      fails                      transaction lost, fails          fails, with effect
//	Cut          fails for ever             transaction lost, fails          fails, with effect
//
// A transaction never sleeps in its middle: it would keep everybody else waiting in real time, in which the time of a
// synctest bubble stands still. A database ends such sessions by itself soon enough, so they are lost at once.
type Wire struct {
	mu     sync.Mutex
	cut    bool
	held   chan struct{} // closed when it goes on; nil: not held
	parted bool          // what is held fails in the end
	slow   time.Duration
	nth    int
	effect bool
	failed func()
	around func(did []Statement, commit func() error) error
	undone func(did []Statement)
}

// Statement is one of a transaction.
type Statement struct {
	Query string
	Args  []any
	Rows  int64 // that it changed, or gave and somebody read
}

// ErrWire is what a process is told whose connection was lost.
var ErrWire = errors.New("the connection to the database was lost")

// giveUp is how long a process waits for a database that does not answer: TCP's user timeout.
const giveUp = 3 * time.Second

// OpenWire opens a database for one process. Close it before the bubble ends.
func OpenWire(t testing.TB, where string) (*db.DB, *Wire) {
	t.Helper()
	w := &Wire{around: func(_ []Statement, commit func() error) error { return commit() }, undone: func([]Statement) {}}
	d, err := db.OpenThrough(context.Background(), where, func(c driver.Connector) driver.Connector { return wired{c, w} })
	if err != nil {
		t.Fatal(err)
	}
	return d, w
}

// Around is called for each commit, with what the transaction did; it has to call commit. Set it before the first use.
func (w *Wire) Around(f func(did []Statement, commit func() error) error) { w.around = f }

// Undone is called for each transaction that is rolled back. Set it before the first use.
func (w *Wire) Undone(f func(did []Statement)) { w.undone = f }

// Hold stops the process, as far as the database can see, until Go.
func (w *Wire) Hold() { w.hold(false) }

// Part takes the database away until Go.
func (w *Wire) Part() { w.hold(true) }

func (w *Wire) hold(parted bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == nil {
		w.held, w.parted = make(chan struct{}), parted
	}
}

// Go ends Hold, Part and Slow.
func (w *Wire) Go() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slow = 0
	if w.held != nil {
		close(w.held)
		w.held = nil
	}
}

// Slow lets every transaction take so much longer.
func (w *Wire) Slow(by time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slow = by
}

// FailNth lets the n-th statement from now on fail, begin and commit included; effect says that it is done
// nevertheless. told, if not nil, is called when it happens.
func (w *Wire) FailNth(n int, effect bool, told func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nth, w.effect, w.failed = n, effect, told
}

// Cut ends it all: the process was killed.
func (w *Wire) Cut() {
	w.mu.Lock()
	w.cut = true
	w.mu.Unlock()
	w.Go()
}

// verdict is what becomes of one statement.
type verdict struct {
	held   <-chan struct{}
	parted bool
	slow   time.Duration
	fail   bool // with an error
	effect bool // but done
}

func (w *Wire) judge() verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := verdict{held: w.held, parted: w.parted, slow: w.slow, fail: w.cut}
	if w.nth > 0 && !v.fail {
		if w.nth--; w.nth == 0 {
			v.fail, v.effect = true, w.effect
			if w.failed != nil {
				w.failed()
			}
		}
	}
	return v
}

// wait lets what is held wait. A process that was only stopped goes on, unless it was killed meanwhile.
func (w *Wire) wait(ctx context.Context, v verdict) error {
	if v.held != nil {
		var enough <-chan time.Time
		if v.parted {
			enough = time.After(giveUp)
		}
		select {
		case <-v.held:
		case <-enough:
			return ErrWire
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if v.slow > 0 {
		select {
		case <-time.After(v.slow):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		return ErrWire
	}
	return nil
}

type wired struct {
	driver.Connector
	w *Wire
}

func (c wired) Connect(ctx context.Context) (driver.Conn, error) {
	if err := c.w.wait(ctx, c.w.judge()); err != nil {
		return nil, err
	}
	real, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &wiredConn{Conn: real, w: c.w}, nil
}

type wiredConn struct {
	driver.Conn
	w    *Wire
	tx   driver.Tx // the transaction that is open
	did  []*Statement
	lost bool
}

// lose ends connection and transaction; database/sql throws the connection away.
func (c *wiredConn) lose() {
	c.lost = true
	if c.tx != nil {
		_ = c.tx.Rollback() // or its end ends it
		c.tx = nil
	}
}

func (c *wiredConn) IsValid() bool {
	if v, ok := c.Conn.(driver.Validator); ok && !v.IsValid() {
		return false
	}
	return !c.lost
}

func (c *wiredConn) ResetSession(ctx context.Context) error {
	if c.lost {
		return driver.ErrBadConn
	}
	if r, ok := c.Conn.(driver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

func (c *wiredConn) CheckNamedValue(v *driver.NamedValue) error {
	if k, ok := c.Conn.(driver.NamedValueChecker); ok {
		return k.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (c *wiredConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	v := c.w.judge()
	if err := c.w.wait(ctx, v); err != nil || v.fail {
		c.lose()
		return nil, errors.Join(err, failure(v))
	}
	tx, err := c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	c.tx, c.did = tx, nil
	return c, nil
}

func failure(v verdict) error {
	if v.fail {
		return ErrWire
	}
	return nil
}

// statement runs one of a transaction.
func (c *wiredConn) statement(ctx context.Context, query string, args []driver.NamedValue, run func(*Statement) error) error {
	if c.lost {
		return ErrWire
	}
	v := c.w.judge()
	if v.held != nil || v.fail && !v.effect {
		c.lose()
		return errors.Join(c.w.wait(ctx, v), ErrWire)
	}
	s := &Statement{Query: query, Args: make([]any, len(args))}
	for i, a := range args {
		s.Args[i] = a.Value
	}
	if err := run(s); err != nil {
		return err
	}
	if v.fail {
		c.lose()
		return ErrWire
	}
	c.did = append(c.did, s)
	return nil
}

func (c *wiredConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (result driver.Result, err error) {
	err = c.statement(ctx, query, args, func(s *Statement) (err error) {
		if result, err = c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args); err == nil {
			s.Rows, err = result.RowsAffected()
		}
		return err
	})
	return result, err
}

func (c *wiredConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (rows driver.Rows, err error) {
	err = c.statement(ctx, query, args, func(s *Statement) (err error) {
		if rows, err = c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args); err == nil {
			rows = counted{rows, &s.Rows}
		}
		return err
	})
	if err != nil && rows != nil { // they came, but nobody may know
		_ = rows.Close()
		rows = nil
	}
	return rows, err
}

// counted counts rows as they are read.
type counted struct {
	driver.Rows
	n *int64
}

func (c counted) Next(to []driver.Value) error {
	err := c.Rows.Next(to)
	if err == nil {
		*c.n++
	}
	return err
}

// Commit is the transaction's. It has no context, as database/sql would have it.
func (c *wiredConn) Commit() error {
	if c.lost {
		return ErrWire
	}
	v := c.w.judge()
	if v.held != nil || v.fail && !v.effect {
		c.lose()
		return errors.Join(c.w.wait(context.Background(), v), ErrWire)
	}
	tx := c.tx
	c.tx = nil
	if err := c.w.around(c.done(), tx.Commit); err != nil {
		return err
	}
	if v.fail {
		c.lose()
		return ErrWire
	}
	after := c.w.judged(v)
	if err := c.w.wait(context.Background(), after); err != nil {
		c.lose()
		return err
	}
	return nil
}

// judged looks again after a commit, without counting it twice.
func (w *Wire) judged(v verdict) verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	v.held, v.parted = w.held, w.parted
	return v
}

// Rollback is the transaction's.
func (c *wiredConn) Rollback() error {
	if c.lost || c.tx == nil {
		return ErrWire
	}
	tx := c.tx
	c.tx = nil
	c.w.undone(c.done())
	return tx.Rollback()
}

func (c *wiredConn) done() []Statement {
	did := make([]Statement, len(c.did))
	for i, s := range c.did {
		did[i] = *s
	}
	return did
}
