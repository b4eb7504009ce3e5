package engine

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

func TestLocksAreFair(t *testing.T) { // deployments.md P11, behaviour.md 2.6: T,T,F,T,T
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		type attempt struct {
			run    string
			shared bool
		}
		asked := []attempt{{"a", true}, {"b", true}, {"c", false}, {"d", true}, {"e", true}}
		of := func(shared bool) lock { return lock{scope: "Machines-1", shared: shared, shown: "web"} }
		for _, a := range asked {
			in(t, d, func(tx *db.Tx) error { return of(a.shared).ask(ctx, tx, "ServerTasks-"+a.run, a.run) })
		}
		held := func() (runs []string) {
			for _, a := range asked {
				in(t, d, func(tx *db.Tx) error {
					holder, err := of(a.shared).before(ctx, tx, "ServerTasks-"+a.run, a.run)
					if err == nil && holder == "" {
						runs = append(runs, a.run)
					}
					return err
				})
			}
			return runs
		}
		free := func(run string) {
			in(t, d, func(tx *db.Tx) error { return unlock(ctx, tx, "ServerTasks-"+run, run) })
			asked = slices.DeleteFunc(asked, func(a attempt) bool { return a.run == run })
		}
		var got [][]string
		got = append(got, held())
		in(t, d, func(tx *db.Tx) error { return of(true).ask(ctx, tx, "ServerTasks-a", "a") }) // a new owner asks again
		got = append(got, held())
		free("b")
		got = append(got, held())
		free("a")
		got = append(got, held())
		free("c")
		got = append(got, held())
		want := [][]string{{"a", "b"}, {"a", "b"}, {"a"}, {"c"}, {"d", "e"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestNamedLocksAreRead(t *testing.T) {
	got := namedLocks("Spaces-1", " db , Web (shared), , web,db (shared)")
	want := []lock{{"Spaces-1", "db", false, "lock db"}, {"Spaces-1", "web", false, "lock web"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(lock{})); diff != "" {
		t.Error(diff)
	}
}

func in(t *testing.T, d *db.DB, do func(*db.Tx) error) {
	t.Helper()
	if err := d.InTx(t.Context(), do); err != nil {
		t.Fatal(err)
	}
}
