package cluster

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/db"
)

// Estimates says for queued tasks how long they will probably wait until they start (behaviour.md 2.6, P22): what is before
// them, how long such tasks took lately, and how many slots there are. A task of which nothing can be said, since no node
// may run it or its space is stopped, is left out. It costs a few bounded questions, however long queue and history are.
func Estimates(ctx context.Context, tx *db.Tx, tasks []Task) (map[string]time.Duration, error) {
	e := estimator{ctx: ctx, tx: tx, means: map[[2]string]time.Duration{}, rooms: map[string]room{}, stopped: map[string]bool{}}
	out := map[string]time.Duration{}
	for _, t := range tasks {
		if t.State != StateQueued {
			continue
		}
		wait, ok, err := e.start(t)
		if err != nil {
			return nil, err
		}
		if ok {
			out[t.Id] = wait
		}
	}
	return out, nil
}

// estimator remembers the answers that several tasks share.
type estimator struct {
	ctx     context.Context
	tx      *db.Tx
	means   map[[2]string]time.Duration // by kind and project
	rooms   map[string]room             // by needs
	stopped map[string]bool             // by space
	oldest  int64                       // number of the first task in the queue; 0: not looked at
}

// start is how long it takes until a task starts.
func (e *estimator) start(t Task) (time.Duration, bool, error) {
	stopped, known := e.stopped[t.SpaceId]
	if !known {
		var err error
		if stopped, err = spaceStopped(e.ctx, e.tx, t.SpaceId); err != nil {
			return 0, false, err
		}
		e.stopped[t.SpaceId] = stopped
	}
	if stopped {
		return 0, false, nil
	}
	if until := t.QueueTime.Sub(e.tx.Now); until > 0 {
		return until, true, nil
	}
	if t.Head {
		return e.slot(t)
	}
	return e.turn(t)
}

// slot is how long the head of a turn waits for a slot: those before it take the free ones, then one slot becomes free
// each mean / slots.
func (e *estimator) slot(t Task) (time.Duration, bool, error) {
	needs := strings.Join(t.Labels, " ")
	r, known := e.rooms[needs]
	if !known {
		var err error
		if r, err = roomFor(e.ctx, e.tx, t.Labels); err != nil {
			return 0, false, err
		}
		e.rooms[needs] = r
	}
	if r.slots == 0 {
		return 0, false, nil
	}
	before, err := readyBefore(e.ctx, e.tx, t)
	if err != nil {
		return 0, false, err
	}
	missing := before + 1 - (r.slots - r.taken)
	if missing <= 0 {
		return 0, true, nil
	}
	mean, err := e.mean(t.Kind, t.ProjectId)
	return time.Duration(missing) * mean / time.Duration(r.slots), true, err
}

// turn is how long a task waits behind others of its turn: for the rest of the first one, then for each of the others.
func (e *estimator) turn(t Task) (time.Duration, bool, error) {
	mean, err := e.mean(t.Kind, t.ProjectId)
	if err != nil {
		return 0, false, err
	}
	holder, err := scanTask(e.tx.QueryRowContext(e.ctx, "SELECT "+taskColumns+" FROM queue q JOIN task t ON t.id = q.task WHERE q.turn = $1 AND q.head", t.Turn))
	if errors.Is(err, sql.ErrNoRows) {
		return e.slot(t)
	}
	if err != nil {
		return 0, false, err
	}
	var between int
	if err := e.tx.QueryRowContext(e.ctx, `SELECT count(*) FROM (SELECT 1 FROM queue q WHERE q.turn = $1 AND NOT q.head AND q.due
			AND (q.lane, q.place) < (SELECT m.lane, m.place FROM queue m WHERE m.task = $2) LIMIT $3) x`, t.Turn, t.Id, lookAhead).Scan(&between); err != nil {
		return 0, false, err
	}
	first := mean
	switch holder.State {
	case StateQueued:
		wait, ok, err := e.slot(holder)
		if err != nil || !ok {
			return 0, false, err
		}
		first += wait
	case StateRunning:
		first = max(0, mean-e.tx.Now.Sub(*holder.StartTime))
	case StateWaiting:
		return 0, false, nil // for a person: nobody knows
	}
	return first + time.Duration(between)*mean, true, nil
}

// unknownMean is taken where there is no history.
const unknownMean = time.Minute

// mean is how long the last tasks of a kind and a project took that were older than all that wait.
func (e *estimator) mean(kind, project string) (time.Duration, error) {
	key := [2]string{kind, project}
	if d, known := e.means[key]; known {
		return d, nil
	}
	if e.oldest == 0 {
		err := e.tx.QueryRowContext(e.ctx, `SELECT coalesce(min(t.number), 0) FROM (SELECT q.task FROM queue q
			WHERE q.head AND q.state IN ('queued', 'released') AND q.needs = '' AND NOT q.parked ORDER BY q.lane, q.place LIMIT 1) x JOIN task t ON t.id = x.task`).Scan(&e.oldest)
		if err != nil {
			return 0, err
		}
		if e.oldest == 0 {
			e.oldest = 1 << 62
		}
	}
	var ms sql.NullFloat64
	err := e.tx.QueryRowContext(e.ctx, `SELECT avg(x.ended - x.started) FROM (SELECT t.state, t.kind, t.started, t.ended FROM task t
			WHERE t.project = $1 AND t.number < $3 ORDER BY t.number DESC LIMIT 50) x
		WHERE x.state IN ('Success', 'Failed') AND x.kind = $2 AND x.started IS NOT NULL`, project, kind, e.oldest).Scan(&ms)
	if err != nil {
		return 0, err
	}
	d := unknownMean
	if ms.Valid {
		d = time.Duration(ms.Float64) * time.Millisecond
	}
	e.means[key] = d
	return d, nil
}
