package engine

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/engine/tasklog"
)

// Sweep does what no task waits for, until ctx ends: it has agents forget ended scripts, and seals the logs of ended
// tasks. Any node may do any of it at any time.
func (e *Engine) Sweep(ctx context.Context) {
	const every = 5 * time.Second
	wait := rand.N(every)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = every + rand.N(every/10)
		if err := e.completeLeft(ctx); err != nil && ctx.Err() == nil {
			e.Log.Warn("cannot complete ended scripts; will try again", "err", err)
		}
		if err := e.sealLogs(ctx); err != nil && ctx.Err() == nil {
			e.Log.Warn("cannot seal the logs of ended tasks; will try again", "err", err)
		}
	}
}

// completeLeft completes scripts whose completion failed or had to wait (adoptedDelay). An agent that cannot be
// reached for a week keeps the workspace; the row is let go.
func (e *Engine) completeLeft(ctx context.Context) error {
	type left struct {
		ticket, machine string
		ended           int64
	}
	var all []left
	err := e.DB.Read(ctx, func(tx *db.Tx) error {
		all = nil
		rows, err := tx.QueryContext(ctx, `SELECT ticket, place, ended FROM script_run WHERE state = 'ended' AND ended < $1 ORDER BY ended LIMIT 100`,
			tx.Now.Add(-adoptedDelay).UnixMilli())
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var l left
			if err := rows.Scan(&l.ticket, &l.machine, &l.ended); err != nil {
				return err
			}
			all = append(all, l)
		}
		return rows.Err()
	})
	if err != nil {
		return err
	}
	for _, l := range all {
		if l.machine != "" && time.Since(time.UnixMilli(l.ended)) < 7*24*time.Hour {
			trust, err := e.Hub.Agent(ctx, l.machine)
			if err == nil && e.Hub.Complete(ctx, trust, l.ticket) != nil {
				continue // tried again in the next round
			}
		}
		if err := e.DB.InTx(ctx, func(tx *db.Tx) error { return setCompleted(ctx, tx, l.ticket) }); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) sealLogs(ctx context.Context) error {
	var tasks []string
	err := e.DB.Read(ctx, func(tx *db.Tx) (err error) {
		tasks, err = tasklog.Unsealed(ctx, tx, 20)
		return err
	})
	if err != nil {
		return err
	}
	reader := tasklog.Reader{DB: e.DB, Blobs: e.Blobs}
	for _, task := range tasks {
		if err := reader.Seal(ctx, task); err != nil {
			return err
		}
	}
	return nil
}
