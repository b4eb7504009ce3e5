package feed

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/time/rate"

	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

func contents(t *testing.T, d *db.DB, after string, limit int) (list []Content) {
	t.Helper()
	if err := d.Read(t.Context(), func(tx *db.Tx) (err error) {
		list, err = Contents(t.Context(), tx, after, limit)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestInspectFindsWhatIsMissingOrDamaged(t *testing.T) { // behaviour.md 2.16, I10
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r, dir := newRepository(t, d)
		for _, name := range []string{"Good", "Gone", "Bent", "Short"} {
			upload(t, r, name+".1.0.0.zip", zipOf(t, map[string]string{"a": name}), "")
		}
		upload(t, r, "Good.2.0.0.zip", zipOf(t, map[string]string{"a": "Good"}), "") // the same content
		file := map[string]string{}
		for at := ""; ; {
			page := contents(t, d, at, 2)
			if len(page) == 0 {
				break
			}
			for _, c := range page {
				file[strings.Fields(c.Versions[0])[0]] = filepath.Join(dir, filepath.FromSlash(c.Key))
				at = c.Key
			}
		}
		if len(file) != 4 {
			t.Fatalf("the pages had %v", file)
		}
		if err := os.Remove(file["Gone"]); err != nil {
			t.Fatal(err)
		}
		for name, change := range map[string]func([]byte) []byte{
			"Bent":  func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
			"Short": func(b []byte) []byte { return b[:len(b)-1] },
		} {
			b, err := os.ReadFile(file[name])
			if err == nil {
				err = os.Chmod(file[name], 0o600)
			}
			if err == nil {
				err = os.WriteFile(file[name], change(b), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		got := map[string]string{}
		for _, c := range contents(t, d, "", 100) {
			trouble, why, err := r.Inspect(t.Context(), c, nil)
			if err != nil || (trouble == "") != (why == "") {
				t.Fatalf("%v: %q %q, %v", c.Versions, trouble, why, err)
			}
			got[strings.Join(c.Versions, ", ")] = trouble
			if err := d.InTx(t.Context(), func(tx *db.Tx) error {
				current, err := Mark(t.Context(), tx, c, trouble)
				if !current {
					t.Errorf("%v: nobody pushed it meanwhile", c.Versions)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		want := map[string]string{"Good 1.0.0 (Spaces-1), Good 2.0.0 (Spaces-1)": "", "Gone 1.0.0 (Spaces-1)": Missing, "Bent 1.0.0 (Spaces-1)": Damaged, "Short 1.0.0 (Spaces-1)": Damaged}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		troubled := func() (n int) {
			if err := d.Read(t.Context(), func(tx *db.Tx) error {
				m, err := Troubled(t.Context(), tx)
				n = len(m)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := troubled(); n != 3 {
			t.Errorf("%d contents are marked, want 3", n)
		}
		looked := contents(t, d, "", 100)
		if err := d.InTx(t.Context(), func(tx *db.Tx) error { // pushes come later than the look, also by the clock
			_, err := tx.ExecContext(t.Context(), "UPDATE package_blob SET since = since - 1000")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for i := range looked {
			looked[i].since -= 1000
		}
		// Pushing the same again mends it and takes the mark away.
		for _, name := range []string{"Gone", "Bent", "Short"} {
			upload(t, r, name+".1.0.0.zip", zipOf(t, map[string]string{"a": name}), OverwriteExisting)
		}
		for _, c := range contents(t, d, "", 100) {
			if trouble, why, err := r.Inspect(t.Context(), c, nil); trouble != "" || err != nil {
				t.Errorf("%v is still %s: %s, %v", c.Versions, trouble, why, err)
			}
		}
		if n := troubled(); n != 0 {
			t.Errorf("%d contents are still marked", n)
		}
		// What was seen before says nothing of what was pushed since.
		for _, c := range looked {
			if err := d.InTx(t.Context(), func(tx *db.Tx) error {
				current, err := Mark(t.Context(), tx, c, Missing)
				if current != strings.HasPrefix(c.Versions[0], "Good") {
					t.Errorf("%v: current is %v", c.Versions, current)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		if n := troubled(); n != 1 {
			t.Errorf("%d contents are marked, want the one that was not pushed again", n)
		}
	})
}

func TestStrangersAreNamedAndStay(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r, _ := newRepository(t, d)
		upload(t, r, "Good.1.0.0.zip", zipOf(t, map[string]string{"a": "x"}), "")
		for _, key := range []string{"packages/ab/stranger", "logs/ab/other"} {
			if _, _, err := r.Blobs.Put(t.Context(), key, strings.NewReader("12345")); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for range 2 {
			got = nil
			if err := r.Strangers(t.Context(), func(i blob.Info) error { got = append(got, i.Key); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff([]string{"packages/ab/stranger"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestReindexMendsTheIndex(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r, _ := newRepository(t, d)
		for _, version := range []string{"1.9.0", "1.10.0", "1.2.0"} {
			upload(t, r, "Web."+version+".zip", zipOf(t, map[string]string{"a": version}), "")
		}
		var clashes []string
		run := func() (mended []string) {
			t.Helper()
			var at Place
			for done := false; !done; {
				if err := d.InTx(t.Context(), func(tx *db.Tx) error {
					next, some, same, last, err := Reindex(t.Context(), tx, at, 2)
					at, done, mended, clashes = next, last, append(mended, some...), append(clashes, same...)
					return err
				}); err != nil {
					t.Fatal(err)
				}
			}
			return mended
		}
		if got := run(); got != nil {
			t.Errorf("a good index was changed: %v", got)
		}
		if err := d.InTx(t.Context(), func(tx *db.Tx) error {
			_, err := tx.ExecContext(t.Context(), "UPDATE package SET sort_key = $1, id_key = 'weh' WHERE version = '1.10.0'", []byte("0"))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"Web 1.10.0 (Spaces-1)"}, run()); diff != "" {
			t.Error(diff)
		}
		if err := d.Read(t.Context(), func(tx *db.Tx) error {
			list, _, err := Versions(t.Context(), tx, space, VersionQuery{PackageID: "Web"})
			if len(list) != 3 || list[0].Version != "1.10.0" {
				t.Errorf("the versions are %v", list)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if clashes != nil {
			t.Errorf("there are no clashes, but %v", clashes)
		}
		// Two versions that are one by the rules are told, and what is behind them is mended all the same.
		if err := d.InTx(t.Context(), func(tx *db.Tx) error {
			for _, q := range []string{"UPDATE package SET version = '1.9.0', name_key = 'a' WHERE version = '1.2.0'", "UPDATE package SET id_key = 'weh' WHERE version = '1.10.0'"} {
				if _, err := tx.ExecContext(t.Context(), q); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"Web 1.10.0 (Spaces-1)"}, run()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"Web 1.9.0 (Spaces-1) and Web 1.9.0"}, clashes); diff != "" {
			t.Error(diff)
		}
	})
}

func TestInspectKeepsThePace(t *testing.T) {
	d := dbtest.New(t, db.SQLite)
	r, _ := newRepository(t, d)
	upload(t, r, "Web.1.0.0.zip", zipOf(t, map[string]string{"a": strings.Repeat("x", 1000)}), "")
	c := contents(t, d, "", 1)[0]
	pace := rate.NewLimiter(rate.Limit(10*c.Size), 16) // a tenth of a second
	begin := time.Now()
	if trouble, _, err := r.Inspect(t.Context(), c, pace); trouble != "" || err != nil {
		t.Fatal(trouble, err)
	}
	if took := time.Since(begin); took < 50*time.Millisecond {
		t.Errorf("%d bytes took %v, at %v bytes a second", c.Size, took, pace.Limit())
	}
}
