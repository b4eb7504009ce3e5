package cluster

import (
	"context"
	"time"

	"github.com/octavo/octavo/internal/db"
)

// view is all that a node reads again and again, in one transaction and on PostgreSQL one round trip, so that a node at rest
// costs little (performance.md P26). One goroutine reads it at most a poll apart and gives it to those who act upon it.
type view struct {
	asked mark      // before it was read
	at    time.Time // the same

	beats  []seenBeat // of all nodes that should be running
	lease  leaseRow   // of the leader
	renew  *Term      // what was to be renewed in the same transaction
	held   bool       // and whether it was
	due    []string   // duties whose time has come
	own    settings   // of this node
	back   bool       // this node was deleted while it runs
	runs   map[string]runRow
	peers  []peer
	serves []string // sets of labels that ready tasks ask for and this node has
	ending bool     // some released task waits to be ended
	ready  bool     // something may be claimed by any node
	dead   int64    // entries of queue that are over but not cleared away yet; PostgreSQL only
	late   []later
	ripe   []later
	spaces []string // whose tasks are to be hidden or shown
}

type seenBeat struct {
	beatRow
	absent  bool   // its session lock is free: one witness of its process's death
	address string // where it is reached; "" when it has no session lock
}

// runRow is a task that this node runs, as its row says.
type runRow struct {
	claim, incarnation int64
	cancel             bool
}

// look reads a view, or gives errEpochLost. A leader's term is renewed in the same transaction.
func (s *session) look(ctx context.Context, renew *Term) (v view, err error) {
	name := s.n.conf.Name
	run := s.n.db.QueueRead
	if renew != nil {
		run = s.n.db.Queue
	}
	err = run(ctx, func(tx *db.Tx) error {
		v = view{asked: now(), at: time.Now(), renew: renew, runs: map[string]runRow{}}
		var labels string
		absent, dead, here := "FALSE", "0", false
		if tx.Engine() == db.Postgres {
			dead = "pg_stat_get_dead_tuples('queue'::regclass)"
			absent = "(n.present AND n.address <> '' AND n.name <> $1 AND " + db.AbsentText("n.name") + ")"
		}
		statements := []db.Statement{
			{Query: "SELECT cap, draining, deleted IS NOT NULL, labels FROM node WHERE name = $1 AND epoch = $2", Args: []any{name, s.epoch}, Row: func(row db.Scanner) error {
				here = true
				return row.Scan(&v.own.cap, &v.own.draining, &v.back, &labels)
			}},
			{Query: "SELECT task, incarnation, claim, cancel FROM queue WHERE node = $1 AND state = 'running'", Args: []any{name}, Row: func(row db.Scanner) error {
				var task string
				var r runRow
				err := row.Scan(&task, &r.incarnation, &r.claim, &r.cancel)
				v.runs[task] = r
				return err
			}},
			{Query: "SELECT b.node, b.epoch, b.beats, " + absent + ", CASE WHEN n.present THEN n.address ELSE '' END FROM node_beat b JOIN node n ON n.name = b.node WHERE n.state = 'up' AND b.node <> $1", Args: []any{name}, Row: func(row db.Scanner) error {
				var b seenBeat
				err := row.Scan(&b.node, &b.epoch, &b.beats, &b.absent, &b.address)
				v.beats = append(v.beats, b)
				return err
			}},
			{Query: "SELECT holder, term, beats FROM lease WHERE name = $1", Args: []any{leaderLease}, Row: func(row db.Scanner) error {
				return row.Scan(&v.lease.holder, &v.lease.term, &v.lease.beats)
			}},
			{Query: peerLoads, Args: []any{name}, Row: func(row db.Scanner) error {
				var p peer
				err := row.Scan(&p.name, &p.cap, &p.running)
				v.peers = append(v.peers, p)
				return err
			}},
			{
				Query: `SELECT EXISTS (SELECT 1 FROM queue WHERE cancel AND state = 'released'),
					EXISTS (SELECT 1 FROM queue r WHERE r.head AND r.state IN ('queued', 'released') AND r.needs = '' AND NOT r.parked), ` + dead,
				Row: func(row db.Scanner) error { return row.Scan(&v.ending, &v.ready, &v.dead) },
			},
			laterStatement(tx, whereExpired, &v.late), laterStatement(tx, whereRipe, &v.ripe),
			{Query: "SELECT space FROM queue_stop WHERE NOT (stopped AND done)", Row: func(row db.Scanner) error {
				var space string
				err := row.Scan(&space)
				v.spaces = append(v.spaces, space)
				return err
			}},
			{Query: "SELECT name FROM duty WHERE next <= $1 AND NOT paused", Args: []any{tx.Ms()}, Row: func(row db.Scanner) error {
				var name string
				err := row.Scan(&name)
				v.due = append(v.due, name)
				return err
			}},
		}
		if renew != nil {
			statements = append(statements, renewStatement(*renew, name, s.epoch, &v.held))
		}
		err := tx.Send(ctx, statements...)
		if err != nil {
			return err
		}
		if !here {
			return errEpochLost
		}
		v.serves, err = served(ctx, tx, labels)
		return err
	})
	return v, err
}

// offer puts the newest value into a channel of one; who is slow misses older ones.
func offer[T any](to chan T, v T) {
	select {
	case <-to:
	default:
	}
	to <- v
}
