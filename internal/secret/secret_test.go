package secret_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/secret"
)

func newRing(t testing.TB, text string) *secret.Ring {
	t.Helper()
	r, err := secret.NewRing(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRing(t *testing.T) {
	for name, c := range map[string]struct{ text, refusal string }{
		"ours":           {secret.NewKey(), ""},
		"16 bytes":       {"AAAAAAAAAAAAAAAAAAAAAA==", ""},
		"several":        {secret.NewKey() + "\r\n" + secret.NewKey() + " \n", ""},
		"empty":          {" \n", "no master key"},
		"not base64":     {"my secret password!", "not base64"},
		"end missing":    {strings.TrimRight(secret.NewKey(), "="), "not base64"},
		"wrong size":     {base64.StdEncoding.EncodeToString(make([]byte, 24)), "has 24 bytes"},
		"second is bad":  {secret.NewKey() + "\nx", "key 2 is not base64"},
		"same key twice": {"AAAAAAAAAAAAAAAAAAAAAA== AAAAAAAAAAAAAAAAAAAAAA==", ""},
	} {
		r, err := secret.NewRing(c.text)
		if c.refusal == "" {
			if err != nil || r.KeyID() == "" {
				t.Errorf("%s: %v", name, err)
			}
		} else if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), c.refusal) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && strings.Contains(fmt.Sprintf("%v %+v %s", r, r, r), strings.Fields(c.text)[0]) {
			t.Errorf("%s: printing the ring gives the key away", name)
		}
	}
}

// A sealed value opens in its own place only, unchanged only, and with its own key only.
func TestSealIsBoundToItsPlace(t *testing.T) {
	r := newRing(t, secret.NewKey())
	at := secret.Place{Table: "secret", Column: "sealed", Row: "Secrets-1", Space: "Spaces-1"}
	plain := []byte("hunter2")
	sealed, err := r.Seal(at, plain)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Open(at, sealed); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("%q %v", got, err)
	}
	again, _ := r.Seal(at, plain)
	if bytes.Equal(again, sealed) || bytes.Contains(sealed, plain) {
		t.Error("sealing twice gives the same, or the text is in it")
	}
	for _, other := range []secret.Place{
		{"secret", "sealed", "Secrets-2", "Spaces-1"},
		{"secret", "sealed", "Secrets-1", "Spaces-2"},
		{"secret", "other", "Secrets-1", "Spaces-1"},
		{"link", "sealed", "Secrets-1", "Spaces-1"},
		{"secret", "sealed", "Secrets-1Spaces-1", ""},
		{"secretsealed", "", "Secrets-1", "Spaces-1"},
	} {
		if _, err := r.Open(other, sealed); err == nil {
			t.Errorf("it opens at %+v", other)
		}
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 0x10
		if _, err := r.Open(at, bad); err == nil {
			t.Errorf("it opens with byte %d changed", i)
		}
		if _, err := r.Open(at, sealed[:i]); err == nil {
			t.Errorf("it opens cut to %d bytes", i)
		}
	}
	if _, err := newRing(t, secret.NewKey()).Open(at, sealed); err == nil || !strings.Contains(err.Error(), "sealed with master key "+r.KeyID()) {
		t.Errorf("with another key: %v", err)
	}
	both := newRing(t, secret.NewKey()+"\n"+r.Reveal())
	if got, err := both.Open(at, sealed); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("as second key: %q %v", got, err)
	}
}

func FuzzOpen(f *testing.F) {
	r := newRing(f, secret.NewKey())
	at := secret.Place{Table: "t", Column: "c", Row: "r"}
	good, err := r.Seal(at, []byte("x"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if plain, err := r.Open(at, b); err == nil && !bytes.Equal(b, good) {
			t.Errorf("%x opens as %q", b, plain)
		}
	})
}

func inTx(t testing.TB, d *db.DB, fn func(ctx context.Context, tx *db.Tx) error) {
	t.Helper()
	ctx := context.Background()
	if err := d.InTx(ctx, func(tx *db.Tx) error { return fn(ctx, tx) }); err != nil {
		t.Fatal(err)
	}
}

func TestTable(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		ring, err := secret.Start(ctx, d, secret.Source{Text: secret.NewKey()})
		if err != nil {
			t.Fatal(err)
		}
		ids := map[string]string{}
		inTx(t, d, func(ctx context.Context, tx *db.Tx) error {
			for _, plain := range []string{"hunter2", "", "ä\x00\n"} {
				id, err := secret.Put(ctx, tx, ring, "Spaces-1", plain)
				if err != nil {
					return err
				}
				ids[id] = plain
			}
			return nil
		})
		inTx(t, d, func(ctx context.Context, tx *db.Tx) error {
			var all []string
			for id, plain := range ids {
				all = append(all, id)
				if got, err := secret.Get(ctx, tx, ring, "Spaces-1", id); err != nil || got != plain {
					t.Errorf("%q %v, want %q", got, err, plain)
				}
				if _, err := secret.Get(ctx, tx, ring, "Spaces-2", id); fault.KindOf(err) != fault.NotFound {
					t.Errorf("from another space: %v", err)
				}
				if err := secret.Delete(ctx, tx, "Spaces-2", id); err != nil {
					t.Error(err)
				}
			}
			got, err := secret.GetAll(ctx, tx, ring, "Spaces-1", all)
			if err != nil || len(got) != 3 || got[all[0]] != ids[all[0]] {
				t.Errorf("all: %v %v", got, err)
			}
			if _, err := secret.GetAll(ctx, tx, ring, "Spaces-1", append(all, "Secrets-X")); fault.KindOf(err) != fault.NotFound {
				t.Errorf("one missing: %v", err)
			}
			// A row moved to another space by hand does not open there.
			if _, err := tx.ExecContext(ctx, "UPDATE secret SET space = 'Spaces-2' WHERE id = $1", all[0]); err != nil {
				return err
			}
			if got, err := secret.Get(ctx, tx, ring, "Spaces-2", all[0]); err == nil {
				t.Errorf("a moved row opens: %q", got)
			}
			if err := secret.Delete(ctx, tx, "Spaces-1", all[1]); err != nil {
				t.Error(err)
			}
			if _, err := secret.Get(ctx, tx, ring, "Spaces-1", all[1]); fault.KindOf(err) != fault.NotFound {
				t.Errorf("deleted: %v", err)
			}
			return nil
		})
	})
}

func TestStart(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		file := filepath.Join(t.TempDir(), "sub", "master.key")
		first, err := secret.Start(ctx, d, secret.Source{File: file})
		if err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(file)
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Fatalf("key file: %v %v", st.Mode(), err)
		}
		b, _ := os.ReadFile(file)
		if k, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(b))); err != nil || len(k) != 32 {
			t.Errorf("key file holds %d bytes %v", len(k), err)
		}
		if again, err := secret.Start(ctx, d, secret.Source{File: file}); err != nil || again.KeyID() != first.KeyID() {
			t.Errorf("second start: %v %v", again, err)
		}
		if text, err := secret.Start(ctx, d, secret.Source{Text: string(b), File: "/none"}); err != nil || text.KeyID() != first.KeyID() {
			t.Errorf("by setting: %v %v", text, err)
		}
		none := filepath.Join(t.TempDir(), "none")
		open := filepath.Join(t.TempDir(), "open")
		if err := os.WriteFile(open, b, 0o644); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			src  secret.Source
			want string
		}{
			"wrong key":  {secret.Source{Text: secret.NewKey()}, "the database was set up with master key " + first.KeyID()},
			"no file":    {secret.Source{File: none}, "There is no master key in " + none},
			"open file":  {secret.Source{File: open}, "chmod 600"},
			"folder":     {secret.Source{File: t.TempDir()}, "not a master key file"},
			"not a key":  {secret.Source{Text: "x"}, "not base64"},
			"below file": {secret.Source{File: filepath.Join(file, "x")}, "cannot be read"},
		} {
			if _, err := secret.Start(ctx, d, c.src); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
		}
		if _, err := os.Stat(none); err == nil {
			t.Error("a refused start left a key file behind")
		}
	})
}

// Two nodes that start a new cluster at once with keys of their own: one wins, the other is told.
func TestFirstStartOfTwo(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		dir := t.TempDir()
		errs := make([]error, 4)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				_, errs[i] = secret.Start(t.Context(), d, secret.Source{File: filepath.Join(dir, fmt.Sprint(i))})
			})
		}
		wg.Wait()
		won := 0
		for i, err := range errs {
			_, statErr := os.Stat(filepath.Join(dir, fmt.Sprint(i)))
			if err == nil {
				won++
			} else if fault.KindOf(err) != fault.Invalid || statErr == nil {
				t.Errorf("node %d: %v, file kept: %v", i, err, statErr == nil)
			}
		}
		if won != 1 {
			t.Errorf("%d nodes won: %v", won, errs)
		}
	})
}

func TestRotation(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		ctx := t.Context()
		k1, k2 := secret.NewKey(), secret.NewKey()
		old, err := secret.Start(ctx, d, secret.Source{Text: k1})
		if err != nil {
			t.Fatal(err)
		}
		ids := map[string]string{}
		inTx(t, d, func(ctx context.Context, tx *db.Tx) error {
			for i := range 25 {
				plain := fmt.Sprint("value ", i)
				id, err := secret.Put(ctx, tx, old, "Spaces-1", plain)
				if err != nil {
					return err
				}
				ids[id] = plain
			}
			return nil
		})
		if _, err := secret.Start(ctx, d, secret.Source{Text: k2}); err == nil {
			t.Fatal("a node with only the new key must not start yet")
		}
		ring, err := secret.Start(ctx, d, secret.Source{Text: k2 + "\n" + k1})
		if err != nil {
			t.Fatal(err)
		}
		inTx(t, d, func(ctx context.Context, tx *db.Tx) error {
			n, err := secret.Reseal(ctx, tx, ring, 10)
			if n != 10 {
				t.Errorf("resealed %d", n)
			}
			return err
		})
		err = d.InTx(ctx, func(tx *db.Tx) error { return secret.Retire(ctx, tx, old.KeyID()) })
		if fault.KindOf(err) != fault.Conflict {
			t.Errorf("retire too early: %v", err)
		}
		for n := 1; n > 0; {
			inTx(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
				n, err = secret.Reseal(ctx, tx, ring, 10)
				return err
			})
		}
		inTx(t, d, func(ctx context.Context, tx *db.Tx) error { return secret.Retire(ctx, tx, old.KeyID()) })
		only, err := secret.Start(ctx, d, secret.Source{Text: k2})
		if err != nil {
			t.Fatal(err)
		}
		inTx(t, d, func(ctx context.Context, tx *db.Tx) error {
			for id, plain := range ids {
				if got, err := secret.Get(ctx, tx, only, "Spaces-1", id); err != nil || got != plain {
					t.Errorf("%q %v, want %q", got, err, plain)
				}
			}
			return nil
		})
		// A node that missed the rotation may not store with the retired key.
		err = d.InTx(ctx, func(tx *db.Tx) error {
			_, err := secret.Put(ctx, tx, old, "Spaces-1", "x")
			return err
		})
		if err == nil || !strings.Contains(err.Error(), "taken out of use") {
			t.Errorf("put with the retired key: %v", err)
		}
	})
}

// TestFirstStartOnOneFile has a second node look for the file just before the first one makes it, and for the row just after.
func TestFirstStartOnOneFile(t *testing.T) {
	ctx := t.Context()
	d := dbtest.New(t, db.Postgres)
	file, away := filepath.Join(t.TempDir(), "master.key"), filepath.Join(t.TempDir(), "not yet")
	first, err := secret.Start(ctx, d, secret.Source{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file, away); err != nil {
		t.Fatal(err)
	}
	var second *secret.Ring
	var failed error
	var starting sync.WaitGroup
	err = d.InTx(ctx, func(tx *db.Tx) error {
		if _, err := tx.ExecContext(ctx, "LOCK TABLE master_key IN ACCESS EXCLUSIVE MODE"); err != nil {
			return err
		}
		starting.Go(func() { second, failed = secret.Start(ctx, d, secret.Source{File: file}) })
		for waits := false; !waits; { // it has missed the file, and waits for the row
			if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'master_key'::regclass AND NOT granted)").Scan(&waits); err != nil {
				return err
			}
		}
		return os.Rename(away, file)
	})
	starting.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if failed != nil || second.KeyID() != first.KeyID() {
		t.Fatalf("the second node: %v", failed)
	}
}
