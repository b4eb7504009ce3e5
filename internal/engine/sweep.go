package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/hub"
	"github.com/octavo/octavo/internal/tentacle"
)

// Job is what every node does again and again, without a leader: for itself, or for all, in a way that does no harm when several
// nodes do it at once (behaviour.md P16). What only one node of the cluster is to do is a duty (schedule.go).
type Job struct {
	Name  string
	Every time.Duration
	do    func(context.Context) error
}

// Jobs are the node's own.
func (e *Engine) Jobs() []Job {
	agents := &leftovers{Engine: e, silent: map[string]time.Time{}}
	return []Job{
		{"Clear scripts that are left on agents", 20 * time.Second, agents.clear},
		{"Free the locks of ended tasks", time.Minute, e.unlockEnded},
		{"Seal the logs of ended tasks", 20 * time.Second, e.sealLogs},
		{"Store artifacts that waited for the blob store", 5 * time.Second, e.storeWaiting},
		{"Tidy the node's own folder", time.Hour, e.tidy},
	}
}

// Sweep does the node's jobs until ctx ends.
func (e *Engine) Sweep(ctx context.Context) {
	var loops sync.WaitGroup
	for _, job := range e.Jobs() {
		loops.Go(func() { e.often(ctx, job.Every, "cannot "+strings.ToLower(job.Name[:1])+job.Name[1:], job.do) })
	}
	loops.Wait()
}

// often does something about once in a time.
func (e *Engine) often(ctx context.Context, every time.Duration, trouble string, do func(context.Context) error) {
	wait := rand.N(every)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = every + rand.N(every/10)
		if err := do(ctx); err != nil && ctx.Err() == nil {
			e.Log.Warn(trouble+"; will try again", "err", err)
		}
	}
}

// leftovers are scripts that agents still know although nobody waits for them any more:
//
//	ended               the completion failed, or had to wait (adoptedDelay)
//	planned, started    they were given up, or their task ended without them, because the agent could not be reached
//
// An agent that is silent is asked again after a minute; after a week it keeps its workspace, and the row is let go.
type leftovers struct {
	*Engine
	mu     sync.Mutex
	silent map[string]time.Time // by machine: not to be asked before
}

type leftover struct {
	ticket, state, machine, task string
	logNext, since               int64
}

const (
	silentPause = time.Minute
	giveUp      = 7 * 24 * time.Hour
	machines    = 8 // asked at once
)

func (l *leftovers) clear(ctx context.Context) error {
	byMachine, err := l.list(ctx)
	if err != nil {
		return err
	}
	slots := make(chan struct{}, machines)
	var asking sync.WaitGroup
	for machine, all := range byMachine {
		slots <- struct{}{}
		asking.Go(func() {
			defer func() { <-slots }()
			for _, one := range all {
				if err := l.forget(ctx, one); err != nil {
					l.Log.Debug("a script is left on an agent", "machine", machine, "ticket", one.ticket, "err", err)
					l.mu.Lock()
					l.silent[machine] = time.Now().Add(silentPause)
					l.mu.Unlock()
					return
				}
			}
		})
	}
	asking.Wait()
	return nil
}

// list gives leftovers by machine, without those of machines that were silent a moment ago.
func (l *leftovers) list(ctx context.Context) (byMachine map[string][]leftover, err error) {
	l.mu.Lock()
	args := []any{time.Now().Add(-adoptedDelay).UnixMilli()}
	for machine, until := range l.silent {
		if time.Now().After(until) {
			delete(l.silent, machine)
		} else {
			args = append(args, machine)
		}
	}
	l.mu.Unlock()
	but := ""
	if len(args) > 1 {
		but = " AND r.place NOT IN (" + db.List(2, len(args)-1) + ")"
	}
	err = l.DB.Read(ctx, func(tx *db.Tx) error {
		byMachine = map[string][]leftover{}
		rows, err := tx.QueryContext(ctx, `SELECT r.ticket, r.state, r.place, r.task, r.log_next, COALESCE(r.ended, r.created)
			FROM script_run r JOIN task t ON t.id = r.task
			WHERE (r.state = 'ended' AND r.ended < $1
				OR r.state IN ('planned', 'started') AND r.place <> '' AND (r.ended IS NOT NULL OR t.state IN ('Success', 'Failed', 'Canceled', 'TimedOut')))`+but+`
			ORDER BY r.created LIMIT 200`, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var one leftover
			if err := rows.Scan(&one.ticket, &one.state, &one.machine, &one.task, &one.logNext, &one.since); err != nil {
				return err
			}
			byMachine[one.machine] = append(byMachine[one.machine], one)
		}
		return rows.Err()
	})
	return byMachine, err
}

// forget ends a script if it has to be ended, and has the agent forget it.
func (l *leftovers) forget(ctx context.Context, one leftover) error {
	err := l.tell(ctx, one)
	if err != nil && fault.KindOf(err) != fault.NotFound && time.Since(time.UnixMilli(one.since)) < giveUp {
		return err
	}
	return l.DB.InTx(ctx, func(tx *db.Tx) error { return setCompleted(ctx, tx, one.ticket) })
}

func (l *leftovers) tell(ctx context.Context, one leftover) error {
	if one.machine == "" {
		return nil // scripts on the server need no word
	}
	trust, err := l.Hub.Agent(ctx, one.machine)
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, stopCall)
	defer stop()
	if one.state != "ended" {
		if err := l.end(ctx, trust, one); err != nil {
			return err
		}
	}
	return l.Hub.Complete(ctx, trust, one.ticket)
}

// end kills a script that its task left behind.
func (l *leftovers) end(ctx context.Context, trust hub.Trust, one leftover) error {
	for {
		status, err := l.Hub.Cancel(ctx, trust, one.ticket, one.logNext, nil)
		if err != nil {
			return err
		}
		if status.State == tentacle.Complete {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("script %s does not end", one.ticket)
		case <-time.After(time.Second):
		}
	}
}

func setCompleted(ctx context.Context, tx *db.Tx, ticket string) error {
	_, err := tx.ExecContext(ctx, `UPDATE script_run SET state = 'completed', command = NULL WHERE ticket = $1`, ticket)
	return err
}

// sealLogs seals what it can; a log that cannot be sealed does not hold up the others.
func (e *Engine) sealLogs(ctx context.Context) error {
	var tasks []string
	err := e.DB.Read(ctx, func(tx *db.Tx) (err error) {
		tasks, err = tasklog.Unsealed(ctx, tx, 20)
		return err
	})
	if err != nil {
		return err
	}
	rand.Shuffle(len(tasks), func(i, j int) { tasks[i], tasks[j] = tasks[j], tasks[i] })
	reader := tasklog.Reader{DB: e.DB, Blobs: e.Blobs}
	for _, task := range tasks {
		if sealing := reader.Seal(ctx, task); sealing != nil {
			err = sealing
		}
	}
	return err
}
