package db_test

import (
	"strings"
	"testing"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

// A transaction whose begin fails says why, whatever its first statement is; the next one has a new connection.
func TestBeginSaysWhyItFailed(t *testing.T) {
	where := dbtest.Create(t, db.Postgres)
	d, other := dbtest.Open(t, where), dbtest.Open(t, where)
	read := func() error {
		return d.InTx(t.Context(), func(tx *db.Tx) error {
			var one int
			return tx.QueryRowContext(t.Context(), "SELECT 1").Scan(&one)
		})
	}
	if err := read(); err != nil {
		t.Fatal(err)
	}
	exec(t, other, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	if err := read(); err == nil || !strings.HasPrefix(err.Error(), "begin: ") {
		t.Errorf("got %v", err)
	}
	if err := read(); err != nil {
		t.Errorf("with a new connection: %v", err)
	}
}
