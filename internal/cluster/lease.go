package cluster

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/octavo/octavo/internal/db"
)

// mark is a moment on this machine. Go's own clock stands still while the machine is suspended; the
// boot-time clock does not, and whichever has gone further counts (reliability-and-security.md M1).
type mark struct {
	at   time.Time
	boot time.Duration
}

func now() mark {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return mark{at: time.Now()} // an old kernel: Go's clock alone
	}
	return mark{at: time.Now(), boot: time.Duration(ts.Nano())}
}

func (m mark) until(later mark) time.Duration {
	return max(later.at.Sub(m.at), later.boot-m.boot)
}

// beatRow is a counter as an observer read it.
type beatRow struct {
	node  string
	epoch int64
	beats int64
}

// observer times how long one counter has stood still, from its own reads only.
type observer struct {
	row   beatRow
	since mark // after the read that first saw the row as it is
	last  mark // when the last read was asked
	any   bool
}

// look takes what a read gave that was asked at a time. still: it stood still for long enough to be
// dead. moved: it was seen to change. A gap in the reads begins the window anew: this process may have
// been stopped meanwhile, and the other one with it.
func (o *observer) look(row beatRow, asked mark, t Timing) (still, moved bool) {
	gap := o.any && o.last.until(asked) > 2*t.Poll+t.Poll/2
	moved = o.any && row != o.row
	if !o.any || moved || gap {
		o.row, o.since, o.any = row, now(), true
	}
	o.last = asked
	return o.since.until(asked) >= t.Dead, moved
}

var errEpochLost = errors.New("this node's epoch is over")

// beat raises this node's counter, or tells that its epoch is over.
func beat(ctx context.Context, tx *db.Tx, node string, epoch, runs int64) error {
	res, err := tx.ExecContext(ctx, "UPDATE node_beat SET beats = beats + 1, seen = $3, runs = $4 WHERE node = $1 AND epoch = $2", node, epoch, tx.Ms(), runs)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err == nil && n == 0 {
		return errEpochLost
	}
	return nil
}

// beats reads the counters of all nodes that should be running.
func beats(ctx context.Context, tx *db.Tx) ([]beatRow, error) {
	rows, err := tx.QueryContext(ctx, "SELECT b.node, b.epoch, b.beats FROM node_beat b JOIN node n ON n.name = b.node WHERE n.state = 'up'")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []beatRow
	for rows.Next() {
		var b beatRow
		if err := rows.Scan(&b.node, &b.epoch, &b.beats); err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, rows.Err()
}

// reap declares a node dead whose counter is still what it was: compare and set. Its epoch is raised in
// both tables, so that neither a beat nor a claim of its can succeed, and its tasks are released.
func reap(ctx context.Context, tx *db.Tx, b beatRow) (bool, error) {
	var one int
	err := tx.QueryRowContext(ctx, "SELECT 1 FROM node WHERE name = $1 AND epoch = $2 AND state = 'up'"+tx.ForUpdate(), b.node, b.epoch).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	res, err := tx.ExecContext(ctx, "UPDATE node_beat SET epoch = epoch + 1 WHERE node = $1 AND epoch = $2 AND beats = $3", b.node, b.epoch, b.beats)
	if err != nil {
		return false, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return false, err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE node SET epoch = epoch + 1, state = 'dead', gone = $2, deleted = CASE WHEN retire THEN $2 ELSE deleted END WHERE name = $1", b.node, tx.Ms()); err != nil {
		return false, err
	}
	return true, releaseAll(ctx, tx, b.node)
}

// killed tells that two witnesses say that a node's process is gone: the database freed its session
// lock, and its port refuses, which has answered this node before (a firewall may refuse always). Either alone happens to living nodes; anything less sure than a refusal,
// such as no answer, waits for the counter (performance.md 3.9).
func (s *session) killed(ctx context.Context, b beatRow) bool {
	var gone bool
	var address, machine string
	err := s.n.db.Read(ctx, func(tx *db.Tx) error {
		gone = false
		err := tx.QueryRowContext(ctx, "SELECT address, machine FROM node WHERE name = $1 AND epoch = $2 AND state = 'up' AND present AND address <> ''", b.node, b.epoch).
			Scan(&address, &machine)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		gone, err = db.Absent(ctx, tx, b.node)
		return err
	})
	if _, answered := s.reached.Load(reachedNode{b.node, b.epoch}); err != nil || !gone || !answered {
		return false
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	if local := host == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified()); local && hostOf(machine) != hostOf(s.n.machine) {
		return false // its loopback is not ours
	}
	dialer := net.Dialer{Timeout: s.n.conf.Timing.Limit}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

func hostOf(machine string) string {
	_, host, _ := strings.Cut(machine, "@")
	return host
}

// releaseOrphans lets tasks go whose node is not there any more: no task depends on a node's row.
func releaseOrphans(ctx context.Context, tx *db.Tx) (int64, error) {
	res, err := tx.ExecContext(ctx, `UPDATE queue SET state = 'released', updated = $1
		WHERE state = 'running' AND NOT EXISTS (SELECT 1 FROM node n WHERE n.name = queue.node AND n.state = 'up')`, tx.Ms())
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// beating beats until its context ends, and fences the session when it could not for Hold.
func (s *session) beating(ctx context.Context) {
	t := s.n.conf.Timing
	var mu sync.Mutex
	last := s.n.registered() // that was a beat
	var watch sync.WaitGroup
	watch.Go(func() { // apart from the beat itself, which may hang
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(t.Hold / 20):
			}
			mu.Lock()
			silent := last.until(now())
			mu.Unlock()
			if silent > t.Hold {
				s.n.log.Error("no heartbeat came through; all runs stop", "silent", silent)
				s.cancel(ErrFenced)
				return
			}
		}
	})
	defer watch.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(t.Beat):
		}
		sent := now()
		bctx, cancel := context.WithTimeout(ctx, t.Limit)
		err := s.n.db.Control(bctx, func(tx *db.Tx) error { return beat(bctx, tx, s.n.conf.Name, s.epoch, s.n.handlers.Load()) })
		cancel()
		switch {
		case err == nil:
			mu.Lock()
			last = sent
			mu.Unlock()
		case errors.Is(err, errEpochLost):
			s.n.log.Error("another node declared this one dead; all runs stop", "epoch", s.epoch)
			s.cancel(ErrFenced)
			return
		case ctx.Err() == nil:
			s.n.log.Warn("heartbeat failed", "err", err)
		}
	}
}

// tell writes why this node takes no tasks, or that it does again, for people and for the other nodes, who take its share.
func (s *session) tell(ctx context.Context, trouble string) error {
	err := s.n.db.InTx(ctx, func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE node SET trouble = $3 WHERE name = $1 AND epoch = $2", s.n.conf.Name, s.epoch, trouble)
		hintWork(tx)
		return err
	})
	if err != nil {
		s.warn(ctx, "say what is wrong with this node", err)
		return err
	}
	if trouble == "" {
		s.n.log.Info("this node takes tasks again")
	} else {
		s.n.log.Error("this node takes no tasks", "reason", trouble)
	}
	return nil
}

// watching reads what there is to see for everybody, and reaps nodes that are dead.
func (s *session) watching(ctx context.Context) {
	t := s.n.conf.Timing
	seen := map[string]*observer{}
	var dials sync.WaitGroup
	defer dials.Wait()
	wait := s.jitter(t.Poll / 2)
	said := "" // by this epoch, of its trouble
	for round := 0; ; round++ {
		select {
		case <-ctx.Done():
			return
		case <-s.kick:
		case <-time.After(wait):
		}
		wait = t.Poll*19/20 + s.jitter(t.Poll/20) // reads at most Poll apart
		if now := s.n.trouble(); now != said && s.tell(ctx, now) == nil {
			said = now
		}
		lctx, cancel := context.WithTimeout(ctx, t.Hold/2) // a connection that hangs must not cost a leader its term
		v, err := s.look(lctx, s.renew.Load())
		cancel()
		if err != nil {
			s.lost(err)
			s.warn(ctx, "look at the cluster", err)
			continue
		}
		offer(s.views, v)
		offer(s.leases, v)
		offer(s.guards, v)
		for _, b := range v.beats {
			o := seen[b.node]
			if o == nil {
				o = &observer{}
				seen[b.node] = o
			}
			if _, answered := s.reached.Load(reachedNode{b.node, b.epoch}); !answered && b.address != "" && (o.row.epoch != b.epoch || round%16 == 0) {
				dials.Go(func() { s.reach(ctx, b) })
			}
			if still, _ := o.look(b.beatRow, v.asked, t); !still && !(b.absent && s.killed(ctx, b.beatRow)) {
				continue
			}
			var dead bool
			err := s.n.db.InTx(ctx, func(tx *db.Tx) (err error) {
				dead, err = reap(ctx, tx, b.beatRow)
				return err
			})
			s.warn(ctx, "reap "+b.node, err)
			if dead {
				s.n.log.Warn("a node is dead; its tasks are released", "dead", b.node, "epoch", b.epoch)
			}
			delete(seen, b.node)
		}
		if round%32 == 31 {
			err := s.n.db.InTx(ctx, func(tx *db.Tx) error {
				_, err := releaseOrphans(ctx, tx)
				return err
			})
			s.warn(ctx, "release orphans", err)
		}
	}
}

// ErrLeaseLost says that another node leads now.
var ErrLeaseLost = errors.New("another node leads now")

// Term is one span of leadership. Every write of a leader begins with Hold in its transaction.
type Term struct {
	Name   string
	Number int64
}

// Hold compares the term and keeps it for the length of the transaction, or gives ErrLeaseLost.
func (t Term) Hold(ctx context.Context, tx *db.Tx) error {
	query := "SELECT 1 FROM lease WHERE name = $1 AND term = $2 AND holder <> ''"
	if tx.Engine() == db.Postgres {
		query += " FOR KEY SHARE" // lets the holder renew, but holds a successor off
	}
	var one int
	err := tx.QueryRowContext(ctx, query, t.Name, t.Number).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrLeaseLost
	}
	return err
}

// leaderLease is the name of the one lease there is.
const leaderLease = "leader"

type leaseRow struct {
	holder string
	term   int64
	beats  int64
}

func readLease(ctx context.Context, tx *db.Tx, name string) (leaseRow, error) {
	var l leaseRow
	err := tx.QueryRowContext(ctx, "SELECT holder, term, beats FROM lease WHERE name = $1", name).Scan(&l.holder, &l.term, &l.beats)
	if errors.Is(err, sql.ErrNoRows) {
		return leaseRow{}, nil
	}
	return l, err
}

// takeLease begins a new term if the lease is still as it was read and this node may lead.
func takeLease(ctx context.Context, tx *db.Tx, name, node string, epoch int64, l leaseRow) (bool, error) {
	if _, err := tx.ExecContext(ctx, "INSERT INTO lease (name, holder, term, beats) VALUES ($1, '', 0, 0) ON CONFLICT (name) DO NOTHING", name); err != nil {
		return false, err
	}
	var one int
	err := tx.QueryRowContext(ctx, "SELECT 1 FROM lease WHERE name = $1 AND holder = $2 AND term = $3 AND beats = $4"+tx.ForUpdate(),
		name, l.holder, l.term, l.beats).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	res, err := tx.ExecContext(ctx, `UPDATE lease SET holder = $2, term = term + 1, beats = beats + 1 WHERE name = $1
		AND EXISTS (SELECT 1 FROM node n WHERE n.name = $2 AND n.epoch = $3 AND n.state = 'up' AND NOT n.draining)`, name, node, epoch)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// renewStatement goes on leading; a node that drains or whose epoch is over does not.
func renewStatement(term Term, node string, epoch int64, held *bool) db.Statement {
	return db.Statement{
		Query: `UPDATE lease SET beats = beats + 1 WHERE name = $1 AND term = $2 AND holder = $3
			AND EXISTS (SELECT 1 FROM node n WHERE n.name = $3 AND n.epoch = $4 AND n.state = 'up' AND NOT n.draining)`,
		Args: []any{term.Name, term.Number, node, epoch}, Done: func(rows int64) { *held = rows > 0 },
	}
}

func resignLease(ctx context.Context, tx *db.Tx, term Term, node string) error {
	tx.Hint(lookTopic) // the others need not wait for their next look
	_, err := tx.ExecContext(ctx, "UPDATE lease SET holder = '' WHERE name = $1 AND term = $2 AND holder = $3", term.Name, term.Number, node)
	return err
}

// leading stands for leadership until its context ends; as leader it carries out the duties.
func (s *session) leading(ctx context.Context) {
	t := s.n.conf.Timing
	wake, stop := s.n.db.Listen(nodeTopic(s.n.conf.Name))
	defer stop()
	var o observer
	for {
		select {
		case <-ctx.Done():
			return
		case v := <-s.leases:
			l := v.lease
			still, _ := o.look(beatRow{node: l.holder, epoch: l.term, beats: l.beats}, v.asked, t)
			// Our own name in it is an earlier process of ours: registering proved that it is over.
			if still || l.holder == "" || l.holder == s.n.conf.Name {
				var taken bool
				asked := now()
				err := s.n.db.Queue(ctx, func(tx *db.Tx) (err error) {
					taken, err = takeLease(ctx, tx, leaderLease, s.n.conf.Name, s.epoch, l)
					return err
				})
				if err == nil && taken {
					s.lead(ctx, Term{Name: leaderLease, Number: l.term + 1}, asked, wake)
					o = observer{}
				}
				s.warn(ctx, "stand for leadership", err)
			}
		}
	}
}

// lead carries out the duties under a context that ends when trust in the term ends. The views show whether the term still is
// this node's, renew it three times a Hold, and tell which duties are due.
func (s *session) lead(ctx context.Context, term Term, asked mark, wake <-chan struct{}) {
	t := s.n.conf.Timing
	ctx, lost := context.WithCancelCause(ctx)
	s.n.setLeader(true)
	s.n.log.Info("this node leads", "term", term.Number)
	var duties sync.WaitGroup
	due := map[string]chan struct{}{}
	for _, d := range s.n.conf.Duties {
		come := make(chan struct{}, 1)
		due[d.Name] = come
		duties.Go(func() { s.duty(ctx, term, d, come) })
	}
	last, taken := asked, now()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			continue
		case <-wake: // perhaps it is to drain
			s.renew.Store(&term)
			offer(s.kick, struct{}{})
		case v := <-s.leases:
			if taken.until(v.asked) < 0 {
				continue // it may have been read before this term was written
			}
			if v.lease.holder != s.n.conf.Name || v.lease.term != term.Number || v.renew != nil && !v.held {
				lost(ErrLeaseLost)
			}
			if v.held {
				last = v.asked
				s.renew.Store(nil)
			}
			switch {
			case v.own.draining && v.renew == nil: // then it cannot be renewed: do not wait for that
				s.renew.Store(&term)
				offer(s.kick, struct{}{})
			case last.until(now())+2*t.Poll > t.Hold/3: // the view after the next one would be late
				s.renew.Store(&term)
			}
			for _, name := range v.due {
				if d := due[name]; d != nil {
					offer(d, struct{}{})
				}
			}
		case <-time.After(t.Hold / 20):
			if silent := last.until(now()); silent > t.Hold {
				lost(ErrLeaseLost)
			} else if silent > t.Hold/3 {
				s.renew.Store(&term)
				offer(s.kick, struct{}{})
			}
		}
	}
	lost(nil)
	s.renew.Store(nil)
	s.n.setLeader(false)
	// Before the duties have returned: one that is slow must not keep a successor waiting, and can write nothing more.
	rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.Limit)
	defer cancel()
	if s.ctx.Err() == nil || s.stopped() { // not when fenced: then this node says nothing more
		if err := s.n.db.InTx(rctx, func(tx *db.Tx) error { return resignLease(rctx, tx, term, s.n.conf.Name) }); err != nil {
			s.n.log.Warn("give leadership up", "err", err)
		}
	}
	duties.Wait()
	s.n.log.Info("this node leads no more", "term", term.Number)
}

func (n *Node) setLeader(is bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.leader = is
}
