package dbtest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/octavo/octavo/internal/db"
)

// What a process sees of each fault, how long it takes, and what the database has afterwards.
func TestWire(t *testing.T) {
	for name, c := range map[string]struct {
		begin func(w *Wire) // before the transaction
		inTx  func(w *Wire) // between its statement and its commit
		ctx   time.Duration // of the transaction; 0: none
		err   error
		took  time.Duration
		wrote bool
	}{
		"nothing":                      {wrote: true},
		"held before":                  {begin: func(w *Wire) { w.Hold(); time.AfterFunc(time.Minute, w.Go) }, took: time.Minute, wrote: true},
		"held longer than its context": {begin: func(w *Wire) { w.Hold(); time.AfterFunc(time.Minute, w.Go) }, ctx: time.Second, err: context.DeadlineExceeded, took: time.Second},
		"held in the middle":           {inTx: func(w *Wire) { w.Hold(); time.AfterFunc(time.Minute, w.Go) }, err: ErrWire, took: time.Minute},
		"parted":                       {begin: func(w *Wire) { w.Part(); time.AfterFunc(time.Minute, w.Go) }, err: ErrWire, took: giveUp},
		"slow":                         {begin: func(w *Wire) { w.Slow(time.Second) }, took: 2 * time.Second, wrote: true},
		"the commit fails":             {inTx: func(w *Wire) { w.FailNth(1, false, nil) }, err: ErrWire},
		"the commit's answer is lost":  {inTx: func(w *Wire) { w.FailNth(1, true, nil) }, err: ErrWire, wrote: true},
		"the statement fails":          {begin: func(w *Wire) { w.FailNth(2, false, nil) }, err: ErrWire},
		"the statement's answer too":   {begin: func(w *Wire) { w.FailNth(2, true, nil) }, err: ErrWire},
		"killed before":                {begin: (*Wire).Cut, err: ErrWire},
		"killed in the middle":         {inTx: (*Wire).Cut, err: ErrWire},
	} {
		for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
			t.Run(string(engine)+" "+name, func(t *testing.T) {
				where := Create(t, engine)
				if engine == db.Postgres {
					where += "&hints=off"
				}
				synctest.Test(t, func(t *testing.T) {
					sound := Open(t, where)
					d, w := OpenWire(t, where)
					defer d.Close()
					commits := 0
					w.Around(func(did []Statement, commit func() error) error {
						if len(did) == 1 && strings.HasPrefix(did[0].Query, "UPDATE") && did[0].Args[0] == int64(7) && did[0].Rows == 1 {
							commits++
						}
						return commit()
					})
					ctx := context.Background()
					if c.ctx > 0 {
						var cancel func()
						ctx, cancel = context.WithTimeout(ctx, c.ctx)
						defer cancel()
					}
					if c.begin != nil {
						c.begin(w)
					}
					at := time.Now()
					err := d.InTx(ctx, func(tx *db.Tx) error {
						_, err := tx.ExecContext(ctx, "UPDATE cluster SET incarnation = $1", int64(7))
						if c.inTx != nil {
							c.inTx(w)
						}
						return err
					})
					if !errors.Is(err, c.err) {
						t.Errorf("error %v, want %v", err, c.err)
					}
					if took := time.Since(at); took != c.took {
						t.Errorf("it took %v, want %v", took, c.took)
					}
					var got int64
					if err := sound.Read(t.Context(), func(tx *db.Tx) error {
						return tx.QueryRowContext(t.Context(), "SELECT incarnation FROM cluster").Scan(&got)
					}); err != nil {
						t.Fatal(err)
					}
					if wrote := got == 7; wrote != c.wrote || wrote != (commits == 1) {
						t.Errorf("written: %v, want %v; %d commits seen", wrote, c.wrote, commits)
					}
					w.Go()
				})
			})
		}
	}
}
