package cluster

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/crashpoint"
	"github.com/octavo/octavo/internal/db"
)

// The end of tasks and the claim of the next ones are one transaction, and on PostgreSQL one round trip too (performance.md
// 3.10): statements over lists, of which none depends on the answer of another one. SQLite is in this process; there the
// statements for one task run one by one.

const (
	lockTurns = "SELECT pg_advisory_xact_lock(791200403, hashtext(k)) FROM unnest($1::text[]) k"

	// endAll and then deleteEnded are end for many tasks of one claim number, end and reason, in practice nearly all. One whose
	// fence is over is left out. There is no join in it that could be run through from its wrong end: a plan is made once, from
	// whatever the statistics were then. For the same reason the state is compared in a way that no partial index knows.
	endAll = `UPDATE task AS t SET state = $4, error = $5, ended = $6, updated = $6,
			(node, started, warnings, log_lines) = (SELECT q.node, q.started, q.warnings, q.log_lines FROM queue q WHERE q.task = t.id)
		WHERE t.id = ANY (ARRAY(SELECT q.task FROM queue q
				WHERE q.task = ANY ($1) AND q.incarnation = $2 AND q.claim = $3 AND q.state || '' = 'running' FOR UPDATE))
			AND t.state = 'live' RETURNING t.id`
	deleteEnded = `DELETE FROM queue WHERE task = ANY ($1) AND (SELECT t.state FROM task t WHERE t.id = queue.task) <> 'live'`

	// promoteAll is promote for many turns.
	promoteAll = `UPDATE queue SET head = TRUE WHERE task = ANY (ARRAY(
			SELECT (SELECT b.task FROM queue b WHERE b.turn = k AND NOT b.head AND b.due AND b.state IN ('queued', 'released', 'running')
				ORDER BY b.lane, b.place LIMIT 1)
			FROM unnest($1::text[]) k WHERE NOT EXISTS (SELECT 1 FROM queue a WHERE a.turn = k AND a.head))) RETURNING place, needs`
)

// settled is what one transaction of the dispatcher has done.
type settled struct {
	got      []Task // claimed, to be started
	took     int    // of the free slots
	promoted int64
	lowest   int64 // place of what was promoted; 0: nothing was
}

// settleAndClaim writes what has ended and claims, if the flight has claims; with ending it claims what is to be ended too. The
// transaction is over when it returns nil on PostgreSQL, except where more had to be asked.
func (s *session) settleAndClaim(ctx context.Context, tx *db.Tx, f *flight) (out settled, err error) {
	c, ending := f.claims, f.ending
	// Turns are locked in one order, so that two nodes never wait for each other.
	slices.SortStableFunc(f.pending, func(a, b result) int { return strings.Compare(a.of.run.Task.Turn, b.of.run.Task.Turn) })
	together := tx.Engine() == db.Postgres
	var turns []string
	var ends []result
	for _, r := range f.pending {
		if turn := r.of.run.Task.Turn; together && turn != "" && (len(turns) == 0 || turns[len(turns)-1] != turn) {
			turns = append(turns, turn)
		}
	}
	var batch []db.Statement
	if len(turns) > 0 {
		batch = append(batch, db.Statement{Query: lockTurns, Args: []any{turns}})
	}
	for _, r := range f.pending {
		// The end of a cancelled one says why it was cancelled, which only its row knows.
		if o, is := r.outcome.(Ended); together && is && o.State != Canceled {
			ends = append(ends, r)
			continue
		}
		if err := tx.Send(ctx, batch...); err != nil {
			return out, err
		}
		batch = nil
		if err := s.settle(ctx, tx, r); err != nil {
			return out, err
		}
	}
	if len(ends) > 0 {
		over, statements := endStatements(tx, ends, &out)
		batch = append(batch, statements...)
		if s.n.conf.OnEnd != nil {
			if err := tx.Send(ctx, batch...); err != nil {
				return out, err
			}
			batch = nil
			for _, r := range ends {
				if id := r.of.run.Task.Id; over[id] {
					if err := s.onEnd(ctx, tx, id); err != nil {
						return out, err
					}
				}
			}
		}
	}
	if c != nil && (len(c.kinds) == 0 || c.most <= 0) {
		c = nil
	}
	switch {
	case together:
		if c != nil {
			batch = append(batch, claimStatement(tx, *c, &out.got))
		}
		send := tx.SendLast
		if ending || crashpoint.On { // more is to be asked; a process may die between the last statement and the commit
			send = tx.Send
		}
		if err = send(ctx, batch...); err == nil {
			byPlace(tx, out.got)
		}
	case c != nil:
		out.got, err = claim(ctx, tx, *c)
	}
	out.took = len(out.got)
	if err != nil || !ending {
		return out, err
	}
	more, err := claimEnding(ctx, tx, s.n.conf.Name, s.epoch, s.kinds)
	out.got = append(out.got, more...)
	return out, err
}

// endStatements end tasks under their fences and let the next ones of their turns be ready. over is filled with those
// whose fence held.
func endStatements(tx *db.Tx, ends []result, out *settled) (over map[string]bool, statements []db.Statement) {
	over = map[string]bool{}
	type group struct {
		incarnation, claim int64
		end                Ended
	}
	groups := map[group][]string{}
	var all, turns []string
	for _, r := range ends {
		f := r.of.run.Fence
		g := group{f.Incarnation, f.Claim, r.outcome.(Ended)}
		groups[g] = append(groups[g], f.Task)
		all = append(all, f.Task)
		if turn := r.of.run.Task.Turn; turn != "" {
			turns = append(turns, turn)
		}
	}
	for g, tasks := range groups {
		statements = append(statements, db.Statement{
			Query: endAll, Args: []any{tasks, g.incarnation, g.claim, string(g.end.State), g.end.Text, tx.Ms()},
			Row: func(row db.Scanner) error {
				var id string
				err := row.Scan(&id)
				over[id] = true
				tx.Hint(TaskTopic(id))
				return err
			},
		})
	}
	statements = append(statements, db.Statement{Query: deleteEnded, Args: []any{all}})
	if turns = slices.Compact(turns); len(turns) > 0 {
		statements = append(statements, db.Statement{Query: promoteAll, Args: []any{turns}, Row: func(row db.Scanner) error {
			var place int64
			var needs string
			err := row.Scan(&place, &needs)
			hintNeeds(tx, needs)
			if out.promoted++; out.lowest == 0 || place < out.lowest {
				out.lowest = place
			}
			return err
		}})
	}
	return over, statements
}

// claimStatement is a claim that answers with the whole tasks; PostgreSQL only.
func claimStatement(tx *db.Tx, c claimer, got *[]Task) db.Statement {
	text, args := claimText(db.Postgres, c, tx.Ms())
	return db.Statement{Query: text, Args: args, Row: func(row db.Scanner) error {
		t, err := scanTask(row)
		*got = append(*got, t)
		return err
	}}
}

// byPlace puts claimed tasks in their order and hints at them.
func byPlace(tx *db.Tx, got []Task) {
	slices.SortFunc(got, func(a, b Task) int { return cmp.Compare(a.place, b.place) })
	for _, t := range got {
		tx.Hint(TaskTopic(t.Id))
	}
}
