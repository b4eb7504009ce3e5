package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/store"
)

type shelf struct {
	resource.Meta
	Name   string
	Slug   string
	Status string
	Tags   []string
	Room   string
}

type book struct {
	resource.Meta
	Name    string
	ShelfId string //nolint:revive // as on the wire
	Version int
}

var (
	shelves = &resource.Kind{
		Name: "Shelf", Path: "shelves", Prefix: "Shelves", Type: reflect.TypeFor[shelf](), HasSlug: true,
		Owned: []string{"Status"}, Lifted: map[string]string{"tags": "Tags", "status": "Status"},
	}
	books = &resource.Kind{
		Name: "Book", Path: "books", Prefix: "Books", Type: reflect.TypeFor[book](), Versioned: true, NamedIn: "ShelfId",
		References: []resource.Reference{{Path: "ShelfId", Kind: "Shelf"}},
	}
)

func write(t *testing.T, d *db.DB, fn func(tx *db.Tx) error) {
	t.Helper()
	if err := d.InTx(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func parse(t *testing.T, k *resource.Kind, text string) resource.Object {
	t.Helper()
	o, err := resource.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return resource.Fold(k.Type, o)
}

func insert(t *testing.T, d *db.DB, k *resource.Kind, text string) resource.Object {
	t.Helper()
	var out resource.Object
	write(t, d, func(tx *db.Tx) (err error) {
		out, err = store.Insert(t.Context(), tx, k, "Spaces-1", parse(t, k, text))
		return err
	})
	return out
}

func text(o resource.Object) string { b, _ := json.Marshal(o); return string(b) }

func TestRoundTripKeepsWhatWasSent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		in := `{"name":"Top","Future":{"a":[1,2.50,null]},"Room":""}`
		o := insert(t, d, shelves, in)
		want := `{"Future":{"a":[1,2.50,null]},"Id":"Shelves-1","Name":"Top","Room":"","Slug":"top","SpaceId":"Spaces-1","Tags":[]}`
		if diff := cmp.Diff(want, text(o)); diff != "" {
			t.Error(diff)
		}
		write(t, d, func(tx *db.Tx) error {
			for _, key := range []string{"Shelves-1", "shelves-1", "top", "TOP"} {
				got, err := store.Get(t.Context(), tx, shelves, "Spaces-1", key)
				if err != nil || text(got) != want {
					t.Errorf("Get(%s): %v %s", key, err, text(got))
				}
			}
			if _, err := store.Get(t.Context(), tx, shelves, "Spaces-2", "Shelves-1"); fault.KindOf(err) != fault.NotFound {
				t.Errorf("another space sees it: %v", err)
			}
			s, err := store.View[shelf](t.Context(), tx, "Shelves-1")
			if err != nil || s.Name != "Top" {
				t.Errorf("View: %+v, %v", s, err)
			}
			return nil
		})
	})
}

func TestOwnedMembersSurviveASave(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		o := insert(t, d, shelves, `{"Name":"A","Status":"Unknown"}`)
		write(t, d, func(tx *db.Tx) error {
			return store.SetOwned(t.Context(), tx, "Shelves-1", map[string]any{"Status": "Full"})
		})
		write(t, d, func(tx *db.Tx) error {
			old, err := store.Lock(t.Context(), tx, shelves, "Spaces-1", "Shelves-1")
			if err != nil {
				return err
			}
			o["Status"], o["Room"] = "Unknown", "Cellar" // a client's stale copy
			o, err = store.Update(t.Context(), tx, shelves, old, o)
			return err
		})
		if o.Text("Status") != "Full" || o.Text("Room") != "Cellar" {
			t.Errorf("got %s", text(o))
		}
		write(t, d, func(tx *db.Tx) error {
			for status, want := range map[string]int{"Full": 1, "Unknown": 0} {
				_, n, err := store.List(t.Context(), tx, shelves, store.Query{Filters: map[string][]string{"status": {status}}})
				if err != nil || n != want {
					t.Errorf("filter %s: %d, %v", status, n, err)
				}
			}
			return nil
		})
	})
}

func TestSlugsAndNamesAreUnique(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		insert(t, d, shelves, `{"Name":"My Shelf"}`)
		if o := insert(t, d, shelves, `{"Name":"My  shelf!"}`); o.Text("Slug") != "my-shelf-2" {
			t.Errorf("slug %q", o["Slug"])
		}
		for _, bad := range []string{`{"Name":"MY SHELF"}`, `{"Name":"x","Slug":"my-shelf"}`, `{"Name":"y","Slug":"a b"}`} {
			err := d.InTx(t.Context(), func(tx *db.Tx) error {
				_, err := store.Insert(t.Context(), tx, shelves, "Spaces-1", parse(t, shelves, bad))
				return err
			})
			if fault.KindOf(err) != fault.Invalid {
				t.Errorf("%s: %v", bad, err)
			}
		}
	})
}

func TestVersionIsCompared(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		insert(t, d, shelves, `{"Name":"A"}`)
		insert(t, d, books, `{"Name":"B","ShelfId":"Shelves-1"}`)
		save := func(version int) error {
			return d.InTx(t.Context(), func(tx *db.Tx) error {
				old, err := store.Lock(t.Context(), tx, books, "Spaces-1", "Books-1")
				if err != nil {
					return err
				}
				o := parse(t, books, fmt.Sprintf(`{"Name":"B","ShelfId":"Shelves-1","Version":%d}`, version))
				o, err = store.Update(t.Context(), tx, books, old, o)
				if err == nil && o.Int("Version") != int64(version+1) {
					t.Errorf("new version %v", o["Version"])
				}
				return err
			})
		}
		if err := save(0); err != nil {
			t.Error(err)
		}
		if err := save(0); !errors.Is(err, store.ErrStale) || fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "another user has made changes") {
			t.Errorf("stale save: %v", err)
		}
	})
}

func TestWhatIsInUseStays(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		insert(t, d, shelves, `{"Name":"A"}`)
		insert(t, d, books, `{"Name":"B","ShelfId":"Shelves-1"}`)
		del := func(id string) error {
			return d.InTx(t.Context(), func(tx *db.Tx) error { return store.Delete(t.Context(), tx, id) })
		}
		if err := del("Shelves-1"); err == nil || !strings.Contains(err.Error(), "book 'B' (Books-1)") {
			t.Errorf("got %v", err)
		}
		if err := del("Books-1"); err != nil {
			t.Error(err)
		}
		if err := del("Shelves-1"); err != nil {
			t.Error(err)
		}
		err := d.InTx(t.Context(), func(tx *db.Tx) error {
			_, err := store.Insert(t.Context(), tx, books, "Spaces-1", parse(t, books, `{"Name":"C","ShelfId":"Shelves-1"}`))
			return err
		})
		if fault.KindOf(err) != fault.Invalid {
			t.Errorf("a reference to nothing: %v", err)
		}
	})
}

func TestListFiltersAndPages(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, s := range []string{`{"Name":"b_1","Tags":["Web","db"]}`, `{"Name":"a%1","Tags":["web"]}`, `{"Name":"c","Tags":["db"]}`} {
			insert(t, d, shelves, s)
		}
		for name, c := range map[string]struct {
			q     store.Query
			want  string
			total int
		}{
			"all by name":   {store.Query{}, "a%1 b_1 c", 3},
			"newest":        {store.Query{Newest: true}, "c a%1 b_1", 3},
			"page":          {store.Query{Skip: 1, Take: 1}, "b_1", 3},
			"skip only":     {store.Query{Skip: 2}, "c", 3},
			"ids":           {store.Query{Ids: []string{"shelves-3", "Shelves-9"}}, "c", 1},
			"no ids":        {store.Query{Ids: []string{}}, "", 0},
			"name":          {store.Query{Name: "B_1"}, "b_1", 1},
			"partial":       {store.Query{PartialName: "_"}, "b_1", 1},
			"partial %":     {store.Query{PartialName: "A%"}, "a%1", 1},
			"lifted":        {store.Query{Filters: map[string][]string{"tags": {"WEB"}}}, "a%1 b_1", 2},
			"lifted either": {store.Query{Filters: map[string][]string{"tags": {"web", "db"}}}, "a%1 b_1 c", 3},
			"other space":   {store.Query{Spaces: []string{"Spaces-2"}}, "", 0},
		} {
			write(t, d, func(tx *db.Tx) error {
				list, total, err := store.List(t.Context(), tx, shelves, c.q)
				if err != nil {
					return err
				}
				var names []string
				for _, o := range list {
					names = append(names, o.Text("Name"))
				}
				if got := strings.Join(names, " "); got != c.want || total != c.total {
					t.Errorf("%s: %q of %d, want %q of %d", name, got, total, c.want, c.total)
				}
				return nil
			})
		}
	})
}
