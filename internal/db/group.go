package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

// group lets transactions of SQLite that wait for the one writer share a commit, and so an fsync (performance.md 3.7). One that is
// alone runs as it always did. Where several wait, the first one begins; then each runs in its own goroutine, one after the other,
// within a savepoint, which is undone if it fails; then the first one commits, and only then do they return.
//
// A commit that fails fails all. A transaction that SQLite undid as a whole (an interrupted statement does that, say) is run again by
// each of them alone, which their contract allows: they have no effect but on the database.
type group struct {
	mu      sync.Mutex
	busy    bool      // somebody leads
	waiting []*member // who came since
}

const (
	mostTogether  = 512
	groupDuration = 5 * time.Millisecond // nobody joins a group that has run for longer
)

type member struct {
	ctx   context.Context
	turn  chan turn  // the leader's word; a buffer of one
	ran   chan error // the member's answer: what its function returned
	ended chan error // the leader's answer: what became of the transaction
}

// turn is what a member is told: to lead, or to run in the leader's transaction.
type turn struct {
	lead bool
	tx   *sql.Tx
}

// errAlone says to a member that it has to run again, by itself.
var errAlone = errors.New("the shared transaction was undone")

// run runs a transaction through the group. alone runs one by itself; within runs its function in a transaction that is open.
func (g *group) run(ctx context.Context, on *sql.DB, alone func() error, within func(*sql.Tx) error) error {
	m := &member{ctx: ctx, turn: make(chan turn, 1), ran: make(chan error, 1), ended: make(chan error, 1)}
	g.mu.Lock()
	if g.busy {
		g.waiting = append(g.waiting, m)
		g.mu.Unlock()
		select {
		case t := <-m.turn:
			if t.lead {
				break
			}
			return m.follow(t.tx, alone, within)
		case <-m.ended: // before it was its turn
			return alone()
		case <-ctx.Done():
			if g.leave(m) {
				return ctx.Err()
			}
			select { // it was called meanwhile
			case t := <-m.turn:
				if !t.lead {
					return m.follow(t.tx, alone, within)
				}
			case <-m.ended:
				return ctx.Err()
			}
		}
	} else {
		g.busy = true
		g.mu.Unlock()
	}
	defer g.next()
	if g.empty() {
		return alone()
	}
	err := g.lead(ctx, on, within)
	if errors.Is(err, errAlone) {
		return alone()
	}
	return err
}

func (g *group) empty() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting) == 0
}

// leave takes a member out that does not want to wait any more; false when it was called already.
func (g *group) leave(m *member) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, w := range g.waiting {
		if w == m {
			g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
			return true
		}
	}
	return false
}

func (g *group) pop() *member {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		return nil
	}
	m := g.waiting[0]
	g.waiting = g.waiting[1:]
	return m
}

// next lets the one who has waited longest lead.
func (g *group) next() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.busy = false
		return
	}
	g.waiting[0].turn <- turn{lead: true}
	g.waiting = g.waiting[1:]
}

// follow runs a member's function in the leader's transaction.
func (m *member) follow(tx *sql.Tx, alone func() error, within func(*sql.Tx) error) error {
	err := func() (err error) {
		returned := false
		defer func() {
			if !returned { // it panics: the leader undoes it, and the panic flies on
				err = errors.New("panic")
			}
			m.ran <- err
		}()
		err = within(tx)
		returned = true
		return err
	}()
	ended := <-m.ended
	switch {
	case errors.Is(ended, errAlone):
		return alone()
	case err != nil:
		return err
	}
	return ended
}

// lead runs its own function and those of who waits in one transaction.
func (g *group) lead(ctx context.Context, on *sql.DB, within func(*sql.Tx) error) (err error) {
	// The leader's context bounds the wait for the begin. From then on it must not undo the others' work.
	all, undo := context.WithCancel(context.WithoutCancel(ctx))
	defer undo()
	begun := context.AfterFunc(ctx, undo)
	tx, err := on.BeginTx(all, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", errors.Join(err, ctx.Err()))
	}
	if !begun() {
		_ = tx.Rollback()
		return ctx.Err()
	}
	var with []*member
	end := errAlone
	defer func() {
		_ = tx.Rollback() // harmless after the commit
		for _, m := range with {
			m.ended <- end
		}
	}()
	own, whole := saved(ctx, tx, func() error { return within(tx) })
	since := time.Now()
	for whole && len(with) < mostTogether && time.Since(since) < groupDuration {
		m := g.pop()
		if m == nil {
			break
		}
		with = append(with, m)
		_, whole = saved(m.ctx, tx, func() error {
			m.turn <- turn{tx: tx}
			return <-m.ran
		})
	}
	if !whole {
		return errAlone
	}
	if err := tx.Commit(); err != nil {
		end = fmt.Errorf("commit: %w", err)
		return end
	}
	end = nil
	return own
}

// saved runs a function within a savepoint. whole tells that the transaction around it goes on.
func saved(ctx context.Context, tx *sql.Tx, do func() error) (err error, whole bool) { //nolint:revive // the error is its result
	ctx = context.WithoutCancel(ctx)
	if _, err := tx.ExecContext(ctx, "SAVEPOINT one"); err != nil {
		return err, false
	}
	done := false
	defer func() {
		if !done {
			_ = tx.Rollback() // it panics
		}
	}()
	err = do()
	done = true
	if err != nil {
		if _, undo := tx.ExecContext(ctx, "ROLLBACK TO one"); undo != nil {
			return err, false // SQLite undid everything
		}
	}
	if _, err := tx.ExecContext(ctx, "RELEASE one"); err != nil {
		return err, false
	}
	return err, true
}
