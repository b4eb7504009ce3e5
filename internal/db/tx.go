package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/id"
)

// Tx is a transaction with one time: every row that is written together has the same.
type Tx struct {
	querier
	Now    time.Time
	engine Engine
	number string
	update string
	hints  map[string]string // topic: "", or the query of HintOne
}

// Engine tells which text to run, in the few places where there are two.
func (tx *Tx) Engine() Engine { return tx.engine }

// Ms is the transaction's time as it is stored.
func (tx *Tx) Ms() int64 { return tx.Now.UnixMilli() }

// ForUpdate ends a SELECT whose rows are to be locked; SQLite's one writer holds them all anyway.
func (tx *Tx) ForUpdate() string { return tx.update }

// ForShare ends a SELECT whose rows are to stay as they are; who only reads them so is not held up.
func (tx *Tx) ForShare() string {
	if tx.engine == Postgres {
		return " FOR SHARE"
	}
	return ""
}

// Hint wakes whoever listens on a topic, on any node, after the commit. It may get lost: the truth
// is in the rows, and loops poll.
func (tx *Tx) Hint(topic string) {
	if tx.hints == nil {
		tx.hints = map[string]string{}
	}
	tx.hints[topic] = ""
}

// HintOne wakes, in this process, who listens on a topic; in others who listens on the topic that a query gives when the
// hint is sent, shortly after the commit. It gives at most one, or none when nobody needs to be woken any more. Where there
// are no other processes, the query is not asked.
func (tx *Tx) HintOne(topic, query string) {
	if tx.hints == nil {
		tx.hints = map[string]string{}
	}
	if _, all := tx.hints[topic]; !all {
		tx.hints[topic] = query
	}
}

// InTx runs a transaction that may write. If it loses against another one, or its connection before its commit was sent, it
// is run again, so fn must have no effect but on the transaction. After an error of the commit itself nobody knows
// whether it took effect.
func (d *DB) InTx(ctx context.Context, fn func(*Tx) error) error {
	return d.run(ctx, d.write, nil, fn)
}

// Queue is InTx on connections whose plans do not depend on statistics: for the task queue's tables.
func (d *DB) Queue(ctx context.Context, fn func(*Tx) error) error {
	return d.run(ctx, d.queue, nil, fn)
}

// QueueRead is Read on the connections of Queue.
func (d *DB) QueueRead(ctx context.Context, fn func(*Tx) error) error {
	if d.dialect.engine == SQLite {
		return d.Read(ctx, fn)
	}
	return d.run(ctx, d.queue, &sql.TxOptions{ReadOnly: true}, fn)
}

// Control is InTx on a connection used for nothing else than a node's own heartbeat
// (reliability-and-security.md M19).
func (d *DB) Control(ctx context.Context, fn func(*Tx) error) error {
	return d.run(ctx, d.control, nil, fn)
}

// Read runs a transaction that only reads.
func (d *DB) Read(ctx context.Context, fn func(*Tx) error) error {
	var opts *sql.TxOptions
	if d.dialect.engine == Postgres {
		opts = &sql.TxOptions{ReadOnly: true} // SQLite's read handle has query_only
	}
	return d.run(ctx, d.read, opts, fn)
}

const tries = 6

func (d *DB) run(ctx context.Context, on *sql.DB, opts *sql.TxOptions, fn func(*Tx) error) error {
	wait := 5 * time.Millisecond
	for try := 1; ; try++ {
		err := d.once(ctx, on, opts, fn)
		var lost *lostError
		if err == nil || !IsRetryable(err) && !errors.As(err, &lost) || ctx.Err() != nil {
			return err
		}
		if lost != nil {
			wait = max(wait, 40*time.Millisecond) // a database that restarts takes a moment
		}
		if try == tries {
			return fault.Because(fault.Busyf("The database is too busy just now. Please try again."), err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait + rand.N(wait)): // the spread parts those who collided
		}
		wait *= 3
	}
}

func (d *DB) once(ctx context.Context, on *sql.DB, opts *sql.TxOptions, fn func(*Tx) error) error {
	tx := &Tx{Now: time.Now(), engine: d.dialect.engine, number: d.dialect.number, update: d.dialect.forUpdate}
	if d.dialect.engine == Postgres {
		s, err := beginSession(ctx, on, opts != nil && opts.ReadOnly)
		if err != nil {
			return lostIf(isLost(err), fmt.Errorf("begin: %w", err))
		}
		if s != nil {
			defer s.end()
			tx.querier = s
			err := d.finish(tx, fn, func() error { return s.commit(ctx) })
			if err != nil && s.failed != nil { // what fn says of it may be another thing (QueryRowContext)
				err = fmt.Errorf("begin: %w", s.failed)
			}
			return lostIf(err != nil && !s.ending && (isLost(err) || s.broken()), err)
		}
	}
	alone := func() error {
		stx, err := on.BeginTx(ctx, opts)
		if err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		defer stx.Rollback() //nolint:errcheck // harmless after the commit; a panic keeps flying
		tx.querier, tx.Now, tx.hints = stx, time.Now(), nil
		return d.finish(tx, fn, stx.Commit)
	}
	if d.dialect.engine == Postgres || on != d.write {
		return alone()
	}
	shared := false
	err := d.group.run(ctx, on, func() error { shared = false; return alone() }, func(stx *sql.Tx) error {
		shared = true
		tx.querier, tx.Now, tx.hints = stx, time.Now(), nil
		return fn(tx)
	})
	if err == nil && shared {
		d.hints.send(tx.hints)
	}
	return err
}

func (d *DB) finish(tx *Tx, fn func(*Tx) error, commit func() error) error {
	if err := fn(tx); err != nil {
		return err
	}
	if err := commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	d.hints.send(tx.hints)
	return nil
}

// NextID makes the next id of a kind: NextID(ctx, tx, "Projects") gives "Projects-1", then "Projects-2".
// Numbers are never given twice; one whose transaction fails is left out.
func NextID(ctx context.Context, tx *Tx, prefix string) (string, error) {
	n, err := NextNumber(ctx, tx, prefix)
	if err != nil {
		return "", err
	}
	return id.New(prefix, n), nil
}

// NextNumber draws from a source of rising numbers; the first use of a name makes the source.
func NextNumber(ctx context.Context, tx *Tx, name string) (int64, error) {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' {
			return 0, fmt.Errorf("a number source's name has letters only, not %q", name)
		}
	}
	var n int64
	if err := tx.QueryRowContext(ctx, tx.number, name).Scan(&n); err != nil {
		return 0, fmt.Errorf("next number of %s: %w", name, err)
	}
	return n, nil
}

// List writes n placeholders from $first on, as in "$3,$4,$5", for IN (...). With n = 0 it is NULL,
// which nothing is in.
func List(first, n int) string {
	if n == 0 {
		return "NULL"
	}
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(first + i))
	}
	return b.String()
}
