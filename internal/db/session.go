package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// querier is what a transaction's statements go through: a *sql.Tx, or a session.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Statement is one of several that Tx.Send gives to the database.
type Statement struct {
	Query string
	Args  []any
	Row   func(row Scanner) error // is called for each row of the answer
	Done  func(rows int64)        // is told how many rows there were or were changed
}

// Scanner is a row of an answer.
type Scanner interface{ Scan(into ...any) error }

// Send runs statements in their order. On PostgreSQL they travel together: one round trip for all of them, and for the
// begin of the transaction if they are its first. A statement cannot depend on the answer of one before it, but sees what it did.
func (tx *Tx) Send(ctx context.Context, statements ...Statement) error {
	if s, ok := tx.querier.(*session); ok {
		return s.send(ctx, statements, false)
	}
	for _, st := range statements {
		if err := one(ctx, tx, st); err != nil {
			return err
		}
	}
	return nil
}

// SendLast is Send for the last statements of a transaction: its commit travels with them. When it returns nil the
// transaction may be committed already, so nothing may come after it.
func (tx *Tx) SendLast(ctx context.Context, statements ...Statement) error {
	if s, ok := tx.querier.(*session); ok {
		return s.send(ctx, statements, true)
	}
	return tx.Send(ctx, statements...)
}

func one(ctx context.Context, on querier, st Statement) error {
	if st.Row == nil {
		res, err := on.ExecContext(ctx, st.Query, st.Args...)
		if err != nil || st.Done == nil {
			return err
		}
		n, err := res.RowsAffected()
		st.Done(n)
		return err
	}
	rows, err := on.QueryContext(ctx, st.Query, st.Args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	n := int64(0)
	for ; rows.Next(); n++ {
		if err := st.Row(rows); err != nil {
			return err
		}
	}
	if st.Done != nil {
		st.Done(n)
	}
	return rows.Err()
}

// session is a transaction on one PostgreSQL connection whose begin and commit may travel with its statements.
type session struct {
	conn   *sql.Conn
	begin  string // not sent yet; "" once it was
	failed error  // to begin
	over   bool   // the commit came with the last statements
	ending bool   // a commit was sent, perhaps
}

// beginSession gives nil when the connection is no plain one of the driver's (OpenThrough).
func beginSession(ctx context.Context, on *sql.DB, readOnly bool) (*session, error) {
	conn, err := on.Conn(ctx)
	if err != nil {
		return nil, err
	}
	plain := false
	if err := conn.Raw(func(c any) error { _, plain = c.(*stdlib.Conn); return nil }); err != nil || !plain {
		conn.Close()
		return nil, err
	}
	s := &session{conn: conn, begin: "begin"}
	if readOnly {
		s.begin = "begin read only"
	}
	return s, nil
}

func (s *session) start(ctx context.Context) error {
	if s.begin != "" {
		begin := s.begin
		s.begin = ""
		_, s.failed = s.conn.ExecContext(ctx, begin)
	}
	return s.failed
}

func (s *session) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s.conn.ExecContext(ctx, query, args...)
}

func (s *session) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s.conn.QueryContext(ctx, query, args...)
}

func (s *session) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if s.start(ctx) != nil { // the row cannot carry that error; commit does
		ended, end := context.WithCancel(ctx)
		end()
		ctx = ended
	}
	return s.conn.QueryRowContext(ctx, query, args...)
}

func (s *session) raw(do func(c *pgx.Conn) error) error {
	return s.conn.Raw(func(c any) error { return do(c.(*stdlib.Conn).Conn()) })
}

func (s *session) send(ctx context.Context, statements []Statement, last bool) error {
	if s.failed != nil {
		return s.failed
	}
	var b pgx.Batch
	if s.begin != "" {
		b.Queue(s.begin)
	}
	for _, st := range statements {
		b.Queue(st.Query, st.Args...)
	}
	if last {
		b.Queue("commit")
		s.ending = true
	}
	return s.raw(func(c *pgx.Conn) (err error) {
		answers := c.SendBatch(ctx, &b)
		defer func() {
			if closed := answers.Close(); err == nil {
				err = closed
			}
			if err == nil {
				s.over = last
			}
		}()
		if s.begin != "" {
			s.begin = ""
			if _, err := answers.Exec(); err != nil {
				return err
			}
		}
		for _, st := range statements {
			if err := answer(answers, st); err != nil {
				return err
			}
		}
		if last {
			tag, err := answers.Exec()
			if err != nil {
				return err
			}
			return committed(tag.String())
		}
		return nil
	})
}

func answer(answers pgx.BatchResults, st Statement) error {
	rows, err := answers.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if st.Row == nil {
			continue
		}
		if err := st.Row(rows); err != nil {
			return err
		}
	}
	rows.Close()
	if st.Done != nil && rows.Err() == nil {
		st.Done(rows.CommandTag().RowsAffected())
	}
	return rows.Err()
}

// committed tells whether a commit was one: that of a transaction with a failed statement is a rollback.
func committed(tag string) error {
	if tag != "COMMIT" {
		return pgx.ErrTxCommitRollback
	}
	return nil
}

func (s *session) commit(ctx context.Context) error {
	switch {
	case s.failed != nil:
		return s.failed
	case s.over, s.begin != "": // it is, or nothing was ever done
		return nil
	}
	s.ending = true
	return s.raw(func(c *pgx.Conn) error {
		tag, err := c.Exec(ctx, "commit")
		if err != nil {
			return err
		}
		s.over = true
		return committed(tag.String())
	})
}

// broken tells that the connection is closed; whatever a statement said of it, it did not take effect.
func (s *session) broken() bool {
	closed := false
	err := s.raw(func(c *pgx.Conn) error {
		closed = c.IsClosed()
		return nil
	})
	return closed || err != nil
}

// lostError is the loss of a connection before the transaction's commit was sent: nothing took effect.
type lostError struct{ error }

func (e *lostError) Unwrap() error { return e.error }

func lostIf(lost bool, err error) error {
	if lost {
		return &lostError{err}
	}
	return err
}

// isLost tells that an error is that of a connection: it broke, could not be made, or the database ended it.
func isLost(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "57P01", "57P02", "57P03", "25P03": // shut down, crashed, starting, stood still for too long
			return true
		}
		return strings.HasPrefix(pg.Code, "08")
	}
	var network *net.OpError
	var connect *pgconn.ConnectError
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network) || errors.As(err, &connect)
}

// end gives the connection back, after a rollback if the transaction is not committed.
func (s *session) end() {
	if !s.over && s.begin == "" {
		_ = s.conn.Raw(func(dc any) error {
			c := dc.(*stdlib.Conn).Conn()
			if !c.IsClosed() {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				if _, err := c.Exec(ctx, "rollback"); err == nil {
					return nil
				}
			}
			return driver.ErrBadConn // the pool throws it away, and the database ends the transaction
		})
	}
	_ = s.conn.Close() // gives it back
}
