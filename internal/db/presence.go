package db

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const presenceKey = 791200404

// Announce takes a lock that the database frees by itself as soon as this process or its connection is
// gone, and takes it again whenever the connection was lost, until stop. ok is false where there is no
// such thing (SQLite; hints=off) or when another process has the lock.
func (d *DB) Announce(ctx context.Context, name string) (stop func(), ok bool) {
	h := d.hints
	if h.conf == nil {
		return func() {}, false
	}
	live, end := context.WithCancel(h.ctx)
	first := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		held := false
		for live.Err() == nil {
			conn, err := pgx.ConnectConfig(live, h.conf.Copy())
			if err == nil {
				var got bool
				err = conn.QueryRow(live, "SELECT pg_try_advisory_lock($1, hashtext($2))", presenceKey, name).Scan(&got)
				if err == nil && got {
					if !held {
						held = true
						close(first)
					}
					_, _ = conn.WaitForNotification(live) // listens to nothing: ends when the connection does
				}
				closing, cancel := context.WithTimeout(context.Background(), time.Second)
				_ = conn.Close(closing)
				cancel()
			}
			select {
			case <-live.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	stop = func() {
		end()
		<-done
	}
	select {
	case <-first:
		return stop, true
	case <-ctx.Done():
	case <-time.After(3 * time.Second):
	}
	stop()
	return func() {}, false
}

// Absent tells that nobody holds the lock of a name just now: its process is gone, or its connection is.
func Absent(ctx context.Context, tx *Tx, name string) (gone bool, err error) {
	if tx.engine != Postgres {
		return false, nil
	}
	err = tx.QueryRowContext(ctx, "SELECT pg_try_advisory_xact_lock_shared($1, hashtext($2))", presenceKey, name).Scan(&gone)
	return gone, err
}

// AbsentText is Absent as an expression of a PostgreSQL query, over the names that another expression gives.
func AbsentText(name string) string {
	return fmt.Sprintf("pg_try_advisory_xact_lock_shared(%d, hashtext(%s))", presenceKey, name)
}
