package db_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/fault"
)

func exec(t *testing.T, d *db.DB, q string, args ...any) {
	t.Helper()
	err := d.InTx(t.Context(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(t.Context(), q, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func one[T any](t *testing.T, d *db.DB, q string, args ...any) T {
	t.Helper()
	var v T
	err := d.Read(t.Context(), func(tx *db.Tx) error { return tx.QueryRowContext(t.Context(), q, args...).Scan(&v) })
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestIDsAreNeverGivenTwice(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		seen := map[string]bool{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 10 {
					err := d.InTx(t.Context(), func(tx *db.Tx) error {
						v, err := db.NextID(t.Context(), tx, "Projects")
						if err != nil {
							return err
						}
						mu.Lock()
						defer mu.Unlock()
						if seen[v] {
							return fmt.Errorf("%s was given twice", v)
						}
						seen[v] = true
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if !seen["Projects-1"] || len(seen) != 80 {
			t.Errorf("got %d ids, first there: %v", len(seen), seen["Projects-1"])
		}
		err := d.InTx(t.Context(), func(tx *db.Tx) error {
			_, err := db.NextID(t.Context(), tx, "x; drop table y")
			return err
		})
		if err == nil {
			t.Error("a prefix that is no word was taken")
		}
	})
}

func TestInTxRollsBackAndSeesOneTime(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		exec(t, d, "CREATE TABLE thing (id BIGINT PRIMARY KEY, good BOOLEAN NOT NULL CHECK (good), at BIGINT)")
		boom := errors.New("boom")
		err := d.InTx(t.Context(), func(tx *db.Tx) error {
			if _, err := tx.ExecContext(t.Context(), "INSERT INTO thing VALUES ($2, $1, $3)", true, 1, tx.Ms()); err != nil {
				return err
			}
			return boom
		})
		if !errors.Is(err, boom) {
			t.Fatalf("got %v", err)
		}
		if n := one[int](t, d, "SELECT count(*) FROM thing"); n != 0 {
			t.Fatalf("%d rows stayed", n)
		}
		exec(t, d, "INSERT INTO thing VALUES ($2, $1, $3)", true, 7, 5) // placeholders go by number, not by place
		if got := one[int](t, d, "SELECT id FROM thing WHERE good"); got != 7 {
			t.Errorf("id %d", got)
		}
		insert := func(args ...any) error {
			return d.InTx(t.Context(), func(tx *db.Tx) error {
				_, err := tx.ExecContext(t.Context(), "INSERT INTO thing VALUES ($1, $2, 0)", args...)
				return err
			})
		}
		if err := insert(7, true); !db.IsUnique(err) || db.IsCheck(err) || db.IsRetryable(err) {
			t.Errorf("a taken key gives %v", err)
		}
		if err := insert(8, false); !db.IsCheck(err) || db.IsUnique(err) {
			t.Errorf("a refused value gives %v", err)
		}
		err = d.Read(t.Context(), func(tx *db.Tx) error {
			_, err := tx.ExecContext(t.Context(), "INSERT INTO thing VALUES (9, true, 0)")
			return err
		})
		if err == nil {
			t.Error("Read let a write through")
		}
	})
}

func TestForeignKeysHold(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		exec(t, d, "CREATE TABLE a (id BIGINT PRIMARY KEY)")
		exec(t, d, "CREATE TABLE b (a BIGINT NOT NULL REFERENCES a (id))")
		err := d.InTx(t.Context(), func(tx *db.Tx) error {
			_, err := tx.ExecContext(t.Context(), "INSERT INTO b VALUES (1)")
			return err
		})
		if !db.IsForeignKey(err) {
			t.Errorf("got %v", err)
		}
	})
}

// Two transactions that read, then write what the other read, both end: one is run again.
func TestDeadlockIsRunAgain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		exec(t, d, "CREATE TABLE counter (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)")
		exec(t, d, "INSERT INTO counter VALUES (1, 0), (2, 0)")
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() {
				err := d.InTx(t.Context(), func(tx *db.Tx) error {
					for j := range 2 {
						if _, err := tx.ExecContext(t.Context(), "UPDATE counter SET n = n + 1 WHERE id = $1", 1+(i+j)%2); err != nil {
							return err
						}
						if tx.Engine() == db.Postgres {
							if _, err := tx.ExecContext(t.Context(), "SELECT pg_sleep(0.05)"); err != nil {
								return err
							}
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := one[int](t, d, "SELECT sum(n) FROM counter"); n != 4 {
			t.Errorf("sum %d, want 4", n)
		}
	})
}

func TestHintComesAfterCommitOnly(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		wake, stop := d.Listen("queue")
		defer stop()
		other, stopOther := d.Listen("other")
		defer stopOther()
		drain := func(c <-chan struct{}) {
			for {
				select {
				case <-c:
				case <-time.After(300 * time.Millisecond): // the listener's first connection wakes everybody once
					return
				}
			}
		}
		drain(wake)
		drain(other)
		boom := errors.New("boom")
		if err := d.InTx(t.Context(), func(tx *db.Tx) error { tx.Hint("queue"); return boom }); !errors.Is(err, boom) {
			t.Fatal(err)
		}
		select {
		case <-wake:
			t.Error("a rolled-back transaction hinted")
		default:
		}
		if err := d.InTx(t.Context(), func(tx *db.Tx) error { tx.Hint("queue"); return nil }); err != nil {
			t.Fatal(err)
		}
		<-wake
		select {
		case <-other:
			t.Error("the wrong topic was woken")
		default:
		}
	})
}

func TestHintReachesOtherNodes(t *testing.T) {
	where := dbtest.Create(t, db.Postgres)
	a, b := dbtest.Open(t, where), dbtest.Open(t, where)
	wake, stop := b.Listen("task:ServerTasks-1")
	defer stop()
	<-wake // b listens now: the first connection wakes everybody
	a.Hint("task:ServerTasks-1")
	select {
	case <-wake:
	case <-time.After(10 * time.Second):
		t.Fatal("no hint came")
	}
}

func TestOpenRefusesWithReasons(t *testing.T) {
	for _, where := range []string{"", "mysql://x/y", "sqlite:", "/no/such/folder/x.db", "postgres://h/d?pool=none", "postgres://h/d?hints=maybe", "postgres://u:pa%ss@h/d"} {
		d, err := db.Open(context.Background(), where)
		if err == nil {
			d.Close()
		}
		var f *fault.Fault
		if !errors.As(err, &f) || f.Kind != fault.Invalid || f.Field != "database" {
			t.Errorf("Open(%q) gives %v", where, err)
		}
	}
}

func TestMigrateByManyAtOnce(t *testing.T) {
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			d := dbtest.Empty(t, engine)
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					if err := d.Migrate(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if err := d.CheckSchema(t.Context()); err != nil {
				t.Error(err)
			}
			if n := one[int](t, d, "SELECT min(number) FROM migration"); n != 1 {
				t.Errorf("first recorded step is %d", n)
			}
		})
	}
}

func TestRowsMissIsPlain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		err := d.Read(t.Context(), func(tx *db.Tx) error {
			var n int
			return tx.QueryRowContext(t.Context(), "SELECT number FROM migration WHERE number IN ("+db.List(1, 0)+")").Scan(&n)
		})
		if !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("got %v", err)
		}
		if got := db.List(3, 3); got != "$3,$4,$5" {
			t.Errorf("List gives %q", got)
		}
	})
}
