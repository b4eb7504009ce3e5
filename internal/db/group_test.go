package db_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

// Transactions that wait for SQLite's writer share commits: each takes effect whole, or not at all, and hears its own result.
func TestWaitingTransactionsShareACommit(t *testing.T) {
	d := dbtest.New(t, db.SQLite)
	exec := func(ctx context.Context, query string, args ...any) error {
		return d.InTx(ctx, func(tx *db.Tx) error {
			_, err := tx.ExecContext(ctx, query, args...)
			return err
		})
	}
	if err := exec(t.Context(), "CREATE TABLE g (n BIGINT PRIMARY KEY, half BIGINT NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	errMine := errors.New("mine")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	const n = 400
	for i := range n {
		wg.Go(func() {
			ctx := t.Context()
			if i%7 == 3 {
				ctx = gone
			}
			defer func() {
				if p := recover(); (p != nil) != (i%7 == 4) {
					t.Errorf("%d: panic %v", i, p)
				}
			}()
			err := d.InTx(ctx, func(tx *db.Tx) error {
				for half := range 2 {
					if _, err := tx.ExecContext(ctx, "INSERT INTO g (n, half) VALUES ($1, $2)", 2*i+half, half); err != nil {
						return err
					}
					switch {
					case half == 0 && i%7 == 1:
						return errMine
					case half == 0 && i%7 == 4:
						panic(fmt.Sprint("of ", i))
					}
				}
				return nil
			})
			switch {
			case i%7 == 1 && !errors.Is(err, errMine), i%7 == 3 && !errors.Is(err, context.Canceled), i%7 != 1 && i%7 != 3 && err != nil:
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	wg.Wait()
	var wrong, rows, want int
	for i := range n {
		if i%7 != 1 && i%7 != 3 && i%7 != 4 {
			want += 2
		}
	}
	if err := d.Read(t.Context(), func(tx *db.Tx) error {
		return tx.QueryRowContext(t.Context(), "SELECT count(*), count(*) FILTER (WHERE n / 2 % 7 IN (1, 3, 4)) FROM g").Scan(&rows, &wrong)
	}); err != nil {
		t.Fatal(err)
	}
	if rows != want || wrong != 0 {
		t.Errorf("%d rows, of them %d of transactions that failed; want %d", rows, wrong, want)
	}
}

// A statement that is interrupted makes SQLite undo the whole transaction; those who shared it run again.
func TestAnInterruptedMemberCostsNobodyElse(t *testing.T) {
	d := dbtest.New(t, db.SQLite)
	if err := d.InTx(t.Context(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(t.Context(), "CREATE TABLE g (n BIGINT PRIMARY KEY)")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	hold, held := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // keeps the writer until all wait
		if err := d.InTx(t.Context(), func(*db.Tx) error { close(held); <-hold; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-held
	var mu sync.Mutex
	ran := map[int]int{}
	for i := range 20 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := d.InTx(ctx, func(tx *db.Tx) error {
				mu.Lock()
				ran[i]++
				mu.Unlock()
				if i == 7 {
					cancel()
				}
				_, err := tx.ExecContext(ctx, `INSERT INTO g (n) WITH RECURSIVE s (k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM s WHERE k < 10) SELECT $1 * 100 + k FROM s`, i)
				return err
			})
			if (err != nil) != (i == 7) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	close(hold)
	wg.Wait()
	var rows int
	if err := d.Read(t.Context(), func(tx *db.Tx) error {
		return tx.QueryRowContext(t.Context(), "SELECT count(*) FROM g").Scan(&rows)
	}); err != nil {
		t.Fatal(err)
	}
	if rows != 190 {
		t.Errorf("%d rows, want 190", rows)
	}
}
