package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/fault"
)

// PropLocks is the action property that names locks to hold while the action runs, separated by commas. One with
// " (shared)" behind it lets others in that share it too. Names are the space's, filled with variables.
const PropLocks = "Octavo.Action.Locks"

// lock is what an attempt holds while it runs: its target, or a lock that its action names (deployments.md P11).
type lock struct {
	scope, name string
	shared      bool
	shown       string // for people
}

// targetLock keeps a target to one script at a time, over all tasks. Those that bypass the mutex share it among each other,
// as readers do, and wait for those that do not (behaviour.md 2.6).
func targetLock(at place, bypass bool) lock {
	return lock{scope: at.machine, shared: bypass, shown: at.name}
}

// namedLocks reads the locks that an action names.
func namedLocks(space, text string) (locks []lock) {
	for name := range strings.SplitSeq(text, ",") {
		name, shared := strings.CutSuffix(strings.TrimSpace(name), "(shared)")
		if name = strings.ToLower(strings.TrimSpace(name)); name == "" {
			continue
		}
		i := slices.IndexFunc(locks, func(l lock) bool { return l.name == name })
		if i < 0 {
			locks = append(locks, lock{scope: space, name: name, shared: shared, shown: "lock " + name})
		} else {
			locks[i].shared = locks[i].shared && shared
		}
	}
	return locks
}

// lock takes an attempt's locks, one after the other in one order for all, so that nobody waits in a circle. Who asked
// first is first. They are held until the attempt's end is stored (unlock): a dead node lets go of nothing, since its
// scripts run on.
//
// So the task of a dead node has to be taken up by another one before those behind it can go on. If these kept all slots
// there would be none for it. A task of which all that runs waits for locks of tasks that nobody carries out gives its slot
// away (walk), keeps its place with every lock, and is resumed when it has one.
func (w *walk) lock(ctx context.Context, run, activity string, locks []lock) error {
	slices.SortFunc(locks, func(a, b lock) int {
		if c := strings.Compare(b.name, a.name); c != 0 { // targets, which have no name, come last
			return c
		}
		return strings.Compare(a.scope, b.scope)
	})
	for _, l := range locks {
		if err := w.wait(ctx, run, activity, l); err != nil {
			return err
		}
	}
	if !w.stays(run) { // the slot is given away this moment; the next owner begins where we are
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

// orphanPatience is how long a lock's holder may be without an owner before those who wait for it give their slots away.
const orphanPatience = 5 * time.Second

// stuck notes that an attempt waits for a task that nobody carries out.
func (w *walk) stuck(run string) {
	w.mu.Lock()
	w.stuckRuns[run] = true
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default: // the walker is told already
	}
}

// stays notes that an attempt goes on, unless the slot was given away before.
func (w *walk) stays(run string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.gaveSlot {
		delete(w.stuckRuns, run)
	}
	return !w.gaveSlot
}

// givesSlot tells whether all that runs is stuck; from then on nothing of it goes on here.
func (w *walk) givesSlot() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.stuckRuns) == 0 {
		return false
	}
	for _, r := range w.runs {
		if r.State == deployment.Running && !w.stuckRuns[runID(r)] {
			return false
		}
	}
	w.gaveSlot = true
	return true
}

// wait queues up for one lock and returns when it is held.
func (w *walk) wait(ctx context.Context, run, activity string, l lock) error {
	freed, stop := w.DB.Listen(l.topic())
	defer stop()
	holder, told := "", ""
	var orphan time.Time // since when nobody carries the holder out
	err := w.store(ctx, "lock", func(tx *db.Tx) (err error) {
		if err := l.ask(ctx, tx, w.task.Id, run); err != nil {
			return err
		}
		holder, err = l.before(ctx, tx, w.task.Id, run)
		return err
	})
	for err == nil && holder != "" {
		if holder != told {
			told = holder
			w.say(ctx, activity, tasklog.Wait, "Waiting for %s, which %s holds.", l.shown, w.describe(ctx, holder))
			orphan = time.Time{}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w.run.Cancelled():
			return errCancelled
		case <-freed:
		case <-time.After(lockPoll):
		}
		var carried bool
		err = w.DB.Read(ctx, func(tx *db.Tx) (err error) {
			if holder, err = l.before(ctx, tx, w.task.Id, run); err != nil || holder == "" || holder == w.task.Id {
				carried = holder == "" // of two attempts of ours, what the first one does counts
				return err
			}
			t, err := cluster.Get(ctx, tx, holder)
			carried = t.State == cluster.StateRunning || t.State.Ended() || fault.KindOf(err) == fault.NotFound // unlockEnded frees the latter's
			if fault.KindOf(err) == fault.NotFound {
				return nil
			}
			return err
		})
		switch {
		case err != nil:
		case carried:
			orphan = time.Time{}
			if !w.stays(run) {
				<-ctx.Done()
				return context.Cause(ctx)
			}
		case orphan.IsZero():
			orphan = time.Now()
		case time.Since(orphan) >= orphanPatience:
			w.stuck(run)
		}
	}
	return err
}

// lockPoll is how often a waiting attempt looks without a hint.
const lockPoll = 2 * time.Second

func (l lock) topic() string { return "lock:" + l.scope + "/" + l.name }

// ask takes a place in the lock's queue, once per attempt. Places are given one at a time, so that who sees no
// earlier row never will.
func (l lock) ask(ctx context.Context, tx *db.Tx, task, run string) error {
	if tx.Engine() == db.Postgres {
		if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(791200404, hashtext($1))", l.topic()); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO run_lock (scope, name, seq, shared, task, run)
		VALUES ($1, $2, (SELECT coalesce(max(o.seq), 0) + 1 FROM run_lock o WHERE o.scope = $1 AND o.name = $2), $3, $4, $5)
		ON CONFLICT (task, run, scope, name) DO NOTHING`, l.scope, l.name, l.shared, task, run)
	if err != nil {
		return fmt.Errorf("ask for %s: %w", l.topic(), err)
	}
	return nil
}

// before gives the task that an attempt has to wait for, "" when it holds the lock.
func (l lock) before(ctx context.Context, tx *db.Tx, task, run string) (holder string, err error) {
	err = tx.QueryRowContext(ctx, `SELECT o.task FROM run_lock me JOIN run_lock o ON o.scope = me.scope AND o.name = me.name AND o.seq < me.seq
		WHERE me.task = $1 AND me.run = $2 AND me.scope = $3 AND me.name = $4 AND NOT (o.shared AND me.shared)
		ORDER BY o.seq LIMIT 1`, task, run, l.scope, l.name).Scan(&holder)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return holder, err
}

// writer gives the task that holds the lock for itself alone, or will before all others that ask; "" when readers have it.
func (l lock) writer(ctx context.Context, tx *db.Tx) (task string, err error) {
	var shared bool
	err = tx.QueryRowContext(ctx, `SELECT task, shared FROM run_lock WHERE scope = $1 AND name = $2 ORDER BY seq LIMIT 1`, l.scope, l.name).Scan(&task, &shared)
	if errors.Is(err, sql.ErrNoRows) || shared {
		return "", nil
	}
	return task, err
}

// unlock lets go of an attempt's locks, or of all that a task holds when run is "".
func unlock(ctx context.Context, tx *db.Tx, task, run string) error {
	rows, err := tx.QueryContext(ctx, `DELETE FROM run_lock WHERE task = $1 AND ($2 = '' OR run = $2) RETURNING scope, name`, task, run)
	if err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	locks, err := freed(tx, rows)
	if err != nil {
		return err
	}
	for _, l := range locks {
		if err := resumeUnlocked(ctx, tx, " AND r.scope = $1 AND r.name = $2", l.scope, l.name); err != nil {
			return err
		}
	}
	return nil
}

// resumeUnlocked resumes the tasks that gave their slot away, once an attempt of theirs has all its locks. which narrows
// down the rows of run_lock r to look at.
func resumeUnlocked(ctx context.Context, tx *db.Tx, which string, args ...any) error {
	tasks, err := texts(ctx, tx, `SELECT DISTINCT r.task FROM run_lock r WHERE NOT EXISTS (SELECT 1 FROM run_lock me
		JOIN run_lock o ON o.scope = me.scope AND o.name = me.name AND o.seq < me.seq AND NOT (o.shared AND me.shared)
		WHERE me.task = r.task AND me.run = r.run)`+which+` ORDER BY 1`, args...)
	if err != nil {
		return fmt.Errorf("find who has a lock now: %w", err)
	}
	for _, task := range tasks {
		t, err := cluster.Get(ctx, tx, task)
		if fault.KindOf(err) == fault.NotFound {
			continue
		}
		if err == nil && t.State == cluster.StateWaiting {
			err = cluster.Resume(ctx, tx, task)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unlockEnded lets go of what tasks left that have ended, and resumes whom an unlock missed that came while he gave his
// slot away.
func (e *Engine) unlockEnded(ctx context.Context) error {
	return e.DB.InTx(ctx, func(tx *db.Tx) error {
		rows, err := tx.QueryContext(ctx, `DELETE FROM run_lock WHERE NOT EXISTS (SELECT 1 FROM task t WHERE t.id = run_lock.task AND t.state = 'live') RETURNING scope, name`)
		if err != nil {
			return err
		}
		if _, err := freed(tx, rows); err != nil {
			return err
		}
		return resumeUnlocked(ctx, tx, "")
	})
}

func freed(tx *db.Tx, rows *sql.Rows) (locks []lock, err error) {
	defer rows.Close()
	for rows.Next() {
		var l lock
		if err := rows.Scan(&l.scope, &l.name); err != nil {
			return nil, err
		}
		tx.Hint(l.topic())
		locks = append(locks, l)
	}
	return locks, rows.Err()
}

// describe names a task for people.
func (w *work) describe(ctx context.Context, task string) string {
	var text string
	err := w.DB.Read(ctx, func(tx *db.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT description FROM task WHERE id = $1", task).Scan(&text)
	})
	if err != nil || text == "" {
		return task
	}
	return fmt.Sprintf("%s (%s)", task, text)
}
