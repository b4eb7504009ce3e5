package db_test

import (
	"testing"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

// A connection that is lost before the commit was sent costs a repetition; one that is lost in the commit is an error, because
// nobody knows what became of it.
func TestLostConnections(t *testing.T) {
	where := dbtest.Create(t, db.Postgres)
	d, other := dbtest.Open(t, where), dbtest.Open(t, where)
	ctx := t.Context()
	exec(t, other, "CREATE TABLE said (word TEXT)")
	exec(t, other, "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$")
	exec(t, other, "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON said DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.word = 'fatal') EXECUTE FUNCTION die()")
	words := func() (n int) {
		err := d.Read(ctx, func(tx *db.Tx) error { return tx.QueryRowContext(ctx, "SELECT count(*) FROM said").Scan(&n) })
		if err != nil {
			t.Errorf("read: %v", err)
		}
		return n
	}
	words()
	exec(t, other, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	words() // the connection was found dead at its begin

	calls := 0
	err := d.InTx(ctx, func(tx *db.Tx) error {
		calls++
		if _, err := tx.ExecContext(ctx, "INSERT INTO said (word) VALUES ('once')"); err != nil {
			return err
		}
		if calls == 1 {
			_, err := tx.ExecContext(ctx, "SELECT pg_terminate_backend(pg_backend_pid())")
			return err
		}
		return nil
	})
	if n := words(); err != nil || calls != 2 || n != 1 {
		t.Errorf("lost in the middle: %v after %d calls, %d words", err, calls, n)
	}
	calls = 0
	err = d.InTx(ctx, func(tx *db.Tx) error {
		calls++
		_, err := tx.ExecContext(ctx, "INSERT INTO said (word) VALUES ('fatal')")
		return err
	})
	if err == nil || calls != 1 {
		t.Errorf("lost in the commit: %v after %d calls", err, calls)
	}
}
