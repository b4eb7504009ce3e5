package backup

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/feed"
	"github.com/octavo/octavo/internal/secret"
)

const ours = "the cluster"

// installation is a database and its blobs.
type installation struct {
	d     *db.DB
	blobs blob.Store
	dir   string
}

func store(t *testing.T, dir string) blob.Store {
	t.Helper()
	s, err := blob.OpenFolder(t.Context(), dir, blob.Options{LowBytes: -1, LowPercent: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func empties(t *testing.T, engine db.Engine) installation {
	t.Helper()
	dir := t.TempDir()
	return installation{dbtest.New(t, engine), store(t, dir), dir}
}

func exec(t *testing.T, d *db.DB, text string, args ...any) {
	t.Helper()
	err := d.InTx(t.Context(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(t.Context(), text, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// lived is an installation with users, secrets, packages, tasks that ran, run and wait, logs and events; with awkward texts and bytes.
func lived(t *testing.T, engine db.Engine) installation {
	t.Helper()
	i := empties(t, engine)
	ctx := access.With(t.Context(), access.Actor{Username: "test"})
	if err := blob.Belongs(ctx, i.blobs, ours, true); err != nil {
		t.Fatal(err)
	}
	ring, err := secret.Start(ctx, i.d, secret.Source{File: filepath.Join(t.TempDir(), "key")})
	if err != nil {
		t.Fatal(err)
	}
	packages := feed.Repository{DB: i.d, Blobs: i.blobs}
	use := &control.Control{DB: i.d, Ring: ring, Packages: packages}
	if err := use.Bootstrap(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := use.Admin(ctx, "admin", "Secret-enough-1", "API-BACKUPTESTS0123456789"); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		var z bytes.Buffer
		w := zip.NewWriter(&z)
		f, err := w.Create("a.txt")
		if err == nil {
			_, err = f.Write(bytes.Repeat([]byte{byte(n)}, 1000*n))
		}
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := packages.Upload(ctx, "Spaces-1", fmt.Sprintf("Web.1.%d.zip", n), &z, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 5 {
		err := i.d.InTx(ctx, func(tx *db.Tx) error {
			_, err := cluster.Push(ctx, tx, cluster.NewTask{Kind: "Deploy", Description: fmt.Sprintf("<deploy> “%d” &amp; \\ ' \" \n\t\u2028", n), Turn: "one"})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	exec(t, i.d, `INSERT INTO node (name, machine, epoch, state, cap, draining, version, address, labels, registered) VALUES ('old', '', 7, 'up', 1, true, '', '', '[]', 0)`)
	exec(t, i.d, "UPDATE queue SET state = 'running', lane = 0, node = 'old', claim = 3, incarnation = 1 WHERE head")
	for n, state := range []string{"Success", "Failed", "Success"} {
		exec(t, i.d, `INSERT INTO task (id, number, space, kind, description, search, arguments, priority, project, environment, tenant, runbook, batch, created, queue_time, state, ended, updated)
			VALUES ($1, $2, 'Spaces-1', 'Deploy', '', '', '{}', false, 'Projects-1', 'Environments-1', '', '', '', 1, 1, $3, 9007199254740993, -5)`, fmt.Sprintf("ServerTasks-%d", 900_000+n), 900_000+n, state)
	}
	exec(t, i.d, "INSERT INTO task_mask (task, seq, sealed) VALUES ('ServerTasks-900000', 1, $1)", []byte{0, 1, 0xff, '\'', 0x80})
	exec(t, i.d, "INSERT INTO log_chunk (task, seq, entries, body) VALUES ('ServerTasks-900000', 1, 2, $1)", "{\"a\":\"\U0001F680 ä\"}\n{}\n")
	key, staged, err := blob.PutContent(ctx, i.blobs, "artifacts", strings.NewReader("an artifact"))
	if err != nil {
		t.Fatal(err)
	}
	exec(t, i.d, `INSERT INTO artifact (id, space, task, run, activity, filename, source, blob, size, sha256, created) VALUES ('Artifacts-1', '', 'ServerTasks-900000', '', '', 'a', 'a', $1, $2, $3, 1)`, key, staged.Size, staged.SHA256)
	exec(t, i.d, "DELETE FROM event WHERE number = (SELECT max(number) FROM event)") // its number is not given again
	return i
}

func (i installation) backup(t *testing.T, to string) (Complete, error) {
	t.Helper()
	return Backup{DB: i.d, Blobs: i.blobs, Cluster: ours, Version: "test", To: to, Say: func(string) {}}.Run(t.Context())
}

func (i installation) restore(ctx context.Context, from string) (Complete, error) {
	return Restore{DB: i.d, Blobs: i.blobs, From: from, Say: func(string) {}}.Run(ctx)
}

// contents is all that is in an installation, by table, each row as a text.
func (i installation) contents(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	err := i.d.Read(t.Context(), func(tx *db.Tx) error {
		clear(out)
		all, err := tables(t.Context(), tx)
		if err != nil {
			return err
		}
		for _, tb := range all {
			if err := each(t.Context(), tx, tb, func(line []byte) error { out[tb.name] = append(out[tb.name], string(line)); return nil }); err != nil {
				return err
			}
			slices.Sort(out[tb.name])
		}
		rows, err := tx.QueryContext(t.Context(), "SELECT project, state, sum(n) FROM task_tally GROUP BY project, state HAVING sum(n) <> 0 ORDER BY 1, 2")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var project, state string
			var n int64
			if err := rows.Scan(&project, &state, &n); err != nil {
				return err
			}
			out["tally"] = append(out["tally"], fmt.Sprint(project, state, n))
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	for info, err := range i.blobs.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(i.dir, info.Key))
		if err != nil {
			t.Fatal(err)
		}
		out["blobs"] = append(out["blobs"], info.Key+" "+string(b))
	}
	slices.Sort(out["blobs"])
	return out
}

// From one node's SQLite to PostgreSQL and back: every table and blob is what it was, but for the new history.
func TestRoundTripOfEnginesRow88Row92Row93(t *testing.T) {
	was := lived(t, db.SQLite)
	want := was.contents(t)
	if len(want["task"]) != 8 || len(want["secret"]) == 0 && len(want["master_key"]) == 0 || len(want["blobs"]) < 4 || len(want["event"]) == 0 || len(want["tally"]) == 0 {
		t.Fatalf("too little is there to be copied: %v", want)
	}
	next := func(i installation, name string) (n int64) {
		t.Helper()
		err := i.d.InTx(t.Context(), func(tx *db.Tx) (err error) {
			n, err = db.NextNumber(t.Context(), tx, name)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	event := func(i installation) (n int64) {
		t.Helper()
		err := i.d.InTx(t.Context(), func(tx *db.Tx) error {
			return tx.QueryRowContext(t.Context(), `INSERT INTO event (space, category, actor, username, established, address, user_agent, message, documents, occurred)
				VALUES ('', 'x', '', '', '', '', '', '', '[]', 1) RETURNING number`).Scan(&n)
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	from := was
	var incarnations []int64
	for _, engine := range []db.Engine{db.Postgres, db.SQLite} {
		folder := filepath.Join(t.TempDir(), "backup")
		c, err := from.backup(t, folder)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Missing) > 0 {
			t.Errorf("missing: %v", c.Missing)
		}
		if _, err := from.backup(t, folder); fault.KindOf(err) != fault.Invalid {
			t.Errorf("a second backup into one folder: %v", err)
		}
		to := empties(t, engine)
		if _, err := to.restore(t.Context(), folder); err != nil {
			t.Fatal(err)
		}
		if _, err := to.restore(t.Context(), folder); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "not empty") {
			t.Errorf("a restore over an installation: %v", err)
		}
		got := to.contents(t)
		var i int64
		if err := to.d.Read(t.Context(), func(tx *db.Tx) error {
			return tx.QueryRowContext(t.Context(), "SELECT incarnation FROM cluster").Scan(&i)
		}); err != nil {
			t.Fatal(err)
		}
		incarnations = append(incarnations, i)
		// The new history is what Restored makes of the old rows.
		for name, rows := range want {
			switch name {
			case "cluster", "node", "lease", "queue":
				if len(got[name]) != len(rows) {
					t.Errorf("%s, table %s: %d rows of %d", engine, name, len(got[name]), len(rows))
				}
			default:
				if diff := cmp.Diff(rows, got[name]); diff != "" {
					t.Errorf("%s, %s: %s", engine, name, diff)
				}
			}
		}
		if text := strings.Join(got["queue"], ""); strings.Contains(text, `"running"`) || !strings.Contains(text, `"released"`) {
			t.Errorf("what ran is not released: %s", text)
		}
		if text := strings.Join(got["node"], ""); strings.Contains(text, `"up"`) {
			t.Errorf("a node of old is up: %s", text)
		}
		from = to
	}
	if incarnations[0] <= 1 || incarnations[1] <= incarnations[0] {
		t.Errorf("incarnations %v", incarnations)
	}
	for _, source := range []string{"ServerTasks", "Users", "Secrets"} {
		if a, b := next(was, source), next(from, source); a != b {
			t.Errorf("the next of %s is %d, it would have been %d", source, b, a)
		}
	}
	if a, b := event(was), event(from); a != b {
		t.Errorf("the next event is %d, it would have been %d", b, a)
	}
}

// Rows are of one moment, however much is written meanwhile: no row comes without the one it refers to.
func TestRowsAreOfOneMomentRow93(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		was := lived(t, d.Engine())
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var writer sync.WaitGroup
		var pushed atomic.Int64
		writer.Go(func() {
			for ctx.Err() == nil {
				err := was.d.InTx(t.Context(), func(tx *db.Tx) error {
					_, err := cluster.Push(t.Context(), tx, cluster.NewTask{Kind: "Deploy"})
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
				pushed.Add(1)
			}
		})
		for n := range 2 {
			before := pushed.Load()
			folder := filepath.Join(t.TempDir(), "backup")
			if _, err := was.backup(t, folder); err != nil {
				t.Fatal(err)
			}
			if n == 1 {
				if pushed.Load() == before {
					t.Error("nothing was written meanwhile")
				}
				stop()
				writer.Wait()
				to := installation{d, store(t, t.TempDir()), ""}
				if _, err := to.restore(t.Context(), folder); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// breaks is a store that ends the process's life, as far as the backup can see, after so many blobs.
type breaks struct {
	blob.Store
	left int
	die  context.CancelFunc
}

func (b *breaks) Put(ctx context.Context, key string, r io.Reader) (int64, string, error) {
	if b.left--; b.left < 0 {
		b.die()
		return 0, "", context.Canceled
	}
	return b.Store.Put(ctx, key, r)
}

// A restore that is interrupted at any blob leaves no row, and goes on.
func TestRestoreIsTakenUpAgainRow93(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		was := lived(t, d.Engine())
		folder := filepath.Join(t.TempDir(), "backup")
		if _, err := was.backup(t, folder); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		to := installation{d, store(t, dir), dir}
		for range 3 {
			ctx, die := context.WithCancel(t.Context())
			broken := to
			broken.blobs = &breaks{to.blobs, 1, die}
			if _, err := broken.restore(ctx, folder); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			die()
			if got := to.contents(t); len(got["task"]) > 0 || len(got["document"]) > 0 {
				t.Error("rows are there before all blobs")
			}
		}
		if _, err := to.restore(t.Context(), folder); err != nil {
			t.Fatal(err)
		}
		a, b := was.contents(t), to.contents(t)
		for _, name := range []string{"task", "document", "blobs", "package"} {
			if diff := cmp.Diff(a[name], b[name]); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	})
}

// dies reads some blobs, then no more.
type dies struct {
	blob.Store
	left int
}

func (d *dies) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	if d.left--; d.left < 0 {
		return nil, errors.New("killed")
	}
	return d.Store.Open(ctx, key, offset)
}

// A backup that is interrupted goes on with its rows and blobs; one of another installation is not mixed in; what a package of
// the backup lacks is said.
func TestBackupIsTakenUpAgainRow93(t *testing.T) {
	was := lived(t, db.SQLite)
	folder := filepath.Join(t.TempDir(), "backup")
	broken := was
	broken.blobs = &dies{was.blobs, 2}
	if _, err := broken.backup(t, folder); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatal(err)
	}
	if _, err := Read(folder); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("half a backup: %v", err)
	}
	want := was.contents(t)
	exec(t, was.d, "DELETE FROM task_mask") // after the view
	var said []string
	c, err := Backup{DB: was.d, Blobs: was.blobs, Cluster: "another", To: folder, Say: func(string) {}}.Run(t.Context())
	if fault.KindOf(err) != fault.Invalid {
		t.Errorf("another installation's: %v", err)
	}
	c, err = Backup{DB: was.d, Blobs: was.blobs, Cluster: ours, To: folder, Say: func(text string) { said = append(said, text) }}.Run(t.Context())
	if err != nil || c.Blobs != len(want["blobs"]) || !strings.Contains(strings.Join(said, " "), "goes on") {
		t.Fatal(err, c.Blobs, said)
	}
	to := empties(t, db.SQLite)
	if _, err := to.restore(t.Context(), folder); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want["task_mask"], to.contents(t)["task_mask"]); diff != "" {
		t.Errorf("rows are not of the first view: %s", diff)
	}
}

// Whatever byte of a backup is changed, restoring it is refused and leaves no row; what was damaged or missing before is said when
// the backup is made.
func TestDamageIsSeenRow84(t *testing.T) {
	was := lived(t, db.SQLite)
	var content string
	for info, err := range was.blobs.List(t.Context(), "packages/") {
		if err != nil {
			t.Fatal(err)
		}
		content = info.Key
	}
	folder := filepath.Join(t.TempDir(), "backup")
	if _, err := was.backup(t, folder); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"tables/task.jsonl.zst", "blobs.jsonl", "blobs/" + content} {
		file = filepath.Join(folder, file)
		good, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range [][]byte{append(bytes.Clone(good[:len(good)/2]), append([]byte{good[len(good)/2] ^ 1}, good[len(good)/2+1:]...)...), good[:len(good)-1]} {
			if err := os.WriteFile(file, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			to := empties(t, db.SQLite)
			if _, err := to.restore(t.Context(), folder); err == nil {
				t.Errorf("damage of %s is not seen", file)
			}
			if len(to.contents(t)["task"]) > 0 {
				t.Errorf("damage of %s left rows", file)
			}
		}
		if err := os.WriteFile(file, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := empties(t, db.SQLite).restore(t.Context(), folder); err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(filepath.Join(was.dir, content), []byte("rot"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := was.backup(t, filepath.Join(t.TempDir(), "second"))
	if err != nil || !slices.Equal(c.Missing, []string{content}) {
		t.Errorf("a damaged blob: %v, %v", err, c.Missing)
	}
}

// Every table is either copied or left out for a reason, and only seeded ones have rows at first.
func TestEveryTableIsKnown(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		err := d.Read(t.Context(), func(tx *db.Tx) error { return empty(t.Context(), tx) })
		if err != nil {
			t.Errorf("a new database is not empty: %v", err)
		}
	})
	var names [2][]table
	for n, engine := range []db.Engine{db.SQLite, db.Postgres} {
		err := dbtest.New(t, engine).Read(t.Context(), func(tx *db.Tx) (err error) {
			names[n], err = tables(t.Context(), tx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	describe := func(all []table) (out []string) {
		for _, tb := range all {
			out = append(out, fmt.Sprint(tb.name, tb.columns, tb.identity))
		}
		slices.Sort(out)
		return out
	}
	if diff := cmp.Diff(describe(names[0]), describe(names[1])); diff != "" {
		t.Errorf("the engines' tables differ: %s", diff)
	}
}

// What pack gives comes back through a file's line as it was, whatever it is.
func TestValuesComeBack(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		kind := rapid.SampledFrom([]string{"text", "number", "boolean", "bytes"}).Draw(r, "kind")
		var v any
		switch kind {
		case "text":
			v = rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(r, "v")
		case "number":
			v = rapid.Int64().Draw(r, "v")
		case "boolean":
			v = rapid.Bool().Draw(r, "v")
		case "bytes":
			v = rapid.SliceOf(rapid.Byte()).Draw(r, "v")
		}
		packed, err := pack(kind, v)
		if err != nil {
			r.Fatal(err)
		}
		line, err := encode([]any{packed, nil})
		if err != nil {
			r.Fatal(err)
		}
		if strings.Count(string(line), "\n") != 1 {
			r.Fatalf("%q is not one line", line)
		}
		var raw []json.RawMessage
		if err := json.Unmarshal(line, &raw); err != nil {
			r.Fatal(err)
		}
		got, err := unpack(kind, raw[0])
		if err != nil || fmt.Sprintf("%q", got) != fmt.Sprintf("%q", v) {
			r.Fatalf("%q comes back as %q, %v", v, got, err)
		}
	})
}

func FuzzUnpack(f *testing.F) {
	f.Add("text", `{"Bytes":"/w=="}`)
	f.Add("bytes", `"AAE="`)
	f.Add("number", "9007199254740993")
	f.Fuzz(func(t *testing.T, kind, raw string) {
		_, _ = unpack(kind, json.RawMessage(raw)) // no panic
	})
}
