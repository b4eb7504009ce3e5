package db

import (
	"context"
	"database/sql/driver"
)

// prepared keeps the statements of SQLite's connections compiled: to compile one anew costs more than to run it, the more so
// where it fires triggers.
type prepared struct{ driver.Connector }

// liteConn is what the driver's connections can do.
type liteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
	driver.Pinger
}

func (p prepared) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := p.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &preparedConn{liteConn: c.(liteConn), kept: map[string]*preparedStmt{}}, nil
}

// preparedConn is used by one goroutine at a time, as every connection.
type preparedConn struct {
	liteConn
	kept map[string]*preparedStmt
}

type preparedStmt struct {
	driver.Stmt
	uses int
	busy bool // its rows are being read
}

// mostKept bounds what a connection keeps. Our own texts are fewer; those of lists vary with their filters.
const mostKept = 300

// get gives a compiled statement, or nil where there is none to use: a text that comes for the first time (a migration comes
// once), or one whose rows are being read just now.
func (c *preparedConn) get(ctx context.Context, query string) (*preparedStmt, error) {
	s := c.kept[query]
	if s == nil {
		if len(c.kept) >= mostKept {
			c.drop()
		}
		c.kept[query] = &preparedStmt{uses: 1}
		return nil, nil
	}
	if s.uses++; s.busy {
		return nil, nil
	}
	if s.Stmt == nil {
		st, err := c.PrepareContext(ctx, query)
		if err != nil {
			return nil, err
		}
		s.Stmt = st
	}
	return s, nil
}

func (c *preparedConn) drop() {
	for query, s := range c.kept {
		if s.busy {
			continue
		}
		if s.Stmt != nil {
			_ = s.Close() // it only frees memory
		}
		delete(c.kept, query)
	}
}

func (c *preparedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	s, err := c.get(ctx, query)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return c.liteConn.ExecContext(ctx, query, args)
	}
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

func (c *preparedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.get(ctx, query)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return c.liteConn.QueryContext(ctx, query, args)
	}
	rows, err := s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	s.busy = true
	return &preparedRows{rows, s}, nil
}

func (c *preparedConn) Close() error {
	c.drop()
	return c.liteConn.Close()
}

type preparedRows struct {
	driver.Rows
	of *preparedStmt
}

func (r *preparedRows) Close() error {
	r.of.busy = false
	return r.Rows.Close()
}
