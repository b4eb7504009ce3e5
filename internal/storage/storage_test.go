package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/fault"
)

const ours = "the cluster"

var (
	never = blob.Options{LowBytes: -1, LowPercent: -1}
	fast  = Timing{Look: 50 * time.Millisecond, Relook: 20 * time.Millisecond, Patience: 30 * time.Second, Follow: 20 * time.Millisecond, Stale: 10 * time.Second, Dead: time.Minute}
)

func conf(t *testing.T, d *db.DB, own, node string) Config {
	return Config{DB: d, Own: own, Spool: filepath.Join(t.TempDir(), "spool"), Node: node, Cluster: ours, Options: never, Log: slog.New(slog.DiscardHandler), Timing: fast}
}

// live is a node's store that follows and watches for the length of the test.
func live(t *testing.T, c Config, isNew bool) *Live {
	t.Helper()
	if c.Node != "" {
		exec(t, c.DB, `INSERT INTO node (name, machine, epoch, state, cap, draining, version, address, labels, registered) VALUES ($1, '', 1, 'up', 1, false, '', '', '[]', 0)`, c.Node)
	}
	l, err := Open(t.Context(), c, isNew)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { l.Watch(ctx); close(done) }()
	t.Cleanup(func() {
		stop()
		<-done
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
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

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.After(20 * time.Second); !holds(); {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			t.Fatal("still not: " + what)
		}
	}
}

func put(t *testing.T, s blob.Store, key, text string) {
	t.Helper()
	if _, _, err := s.Put(t.Context(), key, strings.NewReader(text)); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func get(s blob.Store, key string) string {
	r, err := s.Open(context.Background(), key, 0)
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func keys(t *testing.T, s blob.Store, prefix string) (list []string) {
	t.Helper()
	for info, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, info.Key)
	}
	slices.Sort(list)
	return list
}

func mover(c Config, say func(string)) Mover {
	c.Node = ""
	if say == nil {
		say = func(string) {}
	}
	return Mover{Config: c, Say: say}
}

func bucket(t *testing.T) string {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "octavo")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "a secret of the test")
	backend := s3mem.New()
	if err := backend.CreateBucket("octavo-blobs"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
	t.Cleanup(server.Close)
	return "s3://octavo-blobs/new?path-style=true&endpoint=" + url.QueryEscape(server.URL)
}

// Two nodes write, read and delete all the time while their store moves and moves again. Nothing that one wrote is ever missing on the other.
func TestMoveWhileNodesWorkRow94Row95(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		first, second := t.TempDir(), t.TempDir()
		a := live(t, conf(t, d, first, "a"), true)
		b := live(t, conf(t, d, first, "b"), false)
		put(t, a, "logs/gone", "x")
		const before = 50
		for i := range before {
			put(t, a, fmt.Sprintf("logs/before-%d", i), fmt.Sprint("text ", i))
		}
		ctx, stop := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		var n, wrong atomic.Int64
		for i, pair := range [][2]*Live{{a, b}, {b, a}} {
			writers.Go(func() {
				for k := 0; ctx.Err() == nil; k++ {
					key := fmt.Sprintf("packages/%d-%d", i, k)
					if _, _, err := pair[0].Put(t.Context(), key, strings.NewReader(key)); err != nil {
						t.Errorf("put %s: %v", key, err)
						return
					}
					if got := get(pair[1], key); got != key {
						wrong.Add(1)
						t.Errorf("the other node reads %q of %s", got, key)
					}
					if k%3 == 0 {
						if err := pair[1].Delete(t.Context(), key); err != nil {
							t.Error(err)
						}
					} else {
						n.Add(1)
					}
					if wrong.Load() > 5 {
						return
					}
				}
			})
		}
		until(t, "some are written", func() bool { return n.Load() > 20 })
		if err := mover(conf(t, d, first, ""), nil).Move(t.Context(), "", second); err != nil {
			t.Fatal(err)
		}
		at := n.Load()
		until(t, "some are written there", func() bool { return n.Load() > at+10 })
		stop()
		writers.Wait()
		if err := os.Rename(first, first+"-gone"); err != nil { // nobody needs it any more
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(first + "-gone") })
		for _, l := range []*Live{a, b} {
			if got := keys(t, l, "packages/"); int64(len(got)) != n.Load() {
				t.Errorf("%d keys after the move, %d were written and not removed", len(got), n.Load())
			}
			for i := range before {
				if got := get(l, fmt.Sprintf("logs/before-%d", i)); got != fmt.Sprint("text ", i) {
					t.Errorf("text %d is %q", i, got)
				}
			}
			if err := l.Ready(); err != nil {
				t.Errorf("a node needs the old store: %v", err)
			}
		}
	})
}

// Whoever moves content may be killed after each of its words; the same command again ends it. From a folder to a bucket and back.
func TestMoveIsTakenUpAgainRow94(t *testing.T) {
	d := dbtest.New(t, db.SQLite)
	first, second, third := t.TempDir(), bucket(t), t.TempDir()
	a := live(t, conf(t, d, first, "a"), true)
	want := map[string]string{}
	for i := range 30 {
		key := fmt.Sprintf("artifacts/%d", i)
		want[key] = strings.Repeat(key, i)
		put(t, a, key, want[key])
	}
	check := func(where string) {
		t.Helper()
		for key, text := range want {
			if got := get(a, key); got != text {
				t.Errorf("%s: %s is %q", where, key, got)
			}
		}
		if got := keys(t, a, "artifacts/"); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
			t.Errorf("%s: %v", where, got)
		}
	}
	for _, to := range []string{second, third} {
		for word, died := 1, true; died; word++ {
			ctx, die := context.WithCancel(t.Context())
			said := 0
			err := mover(conf(t, d, first, ""), func(string) {
				if said++; said == word {
					die()
				}
			}).Move(ctx, "", to)
			die()
			if died = err != nil; died && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			check("after word " + fmt.Sprint(word))
		}
	}
	s, err := blob.Open(t.Context(), third, "", never)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := keys(t, s, "artifacts/"); len(got) != len(want) {
		t.Errorf("the last store has %v", got)
	}
}

// A kind lives elsewhere, is listed there only, and comes back.
func TestKindsApartRow78(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		main, apart := t.TempDir(), t.TempDir()
		c := conf(t, d, main, "a")
		a := live(t, c, true)
		put(t, a, "packages/1", "one")
		put(t, a, "logs/1", "log")
		if err := mover(c, nil).Move(t.Context(), "Packages", apart); err != nil {
			t.Fatal(err)
		}
		if err := mover(c, nil).Move(t.Context(), "Pictures", apart); fault.KindOf(err) != fault.Invalid {
			t.Errorf("a kind there is not: %v", err)
		}
		key, staged, err := blob.PutContent(t.Context(), a, "packages", strings.NewReader("two"))
		if err != nil || staged.Size != 3 {
			t.Fatal(key, err)
		}
		put(t, a, "logs/2", "log")
		for file, is := range map[string]bool{
			filepath.Join(apart, key): true, filepath.Join(main, key): false, filepath.Join(apart, "packages/1"): true,
			filepath.Join(main, "logs/2"): true, filepath.Join(apart, "logs/2"): false, filepath.Join(apart, "logs/1"): false,
		} {
			if _, err := os.Stat(file); (err == nil) != is {
				t.Errorf("%s: %v", file, err)
			}
		}
		all := []string{"logs/1", "logs/2", blob.Marker, "packages/1", key}
		slices.Sort(all)
		if got := keys(t, a, ""); !slices.Equal(got, all) {
			t.Errorf("all: %v", got)
		}
		if got := keys(t, a, "packages/"); len(got) != 2 {
			t.Errorf("packages: %v", got)
		}
		to, err := Absolute(main)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"", "Packages"} { // give the place a name, then bring the kind back to it
			if err := mover(c, nil).Move(t.Context(), kind, to); err != nil {
				t.Fatal(err)
			}
		}
		if got := get(a, key); got != "two" {
			t.Errorf("back again it is %q", got)
		}
		err = d.Read(t.Context(), func(tx *db.Tx) error {
			p, err := ReadPlaces(t.Context(), tx)
			if len(p.Of) != 1 {
				t.Errorf("places: %+v", p.Of)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// path --clusterShared writes a place down that has all content, once, and makes the folders.
func TestPutRow79Row81Row82(t *testing.T) {
	d := dbtest.New(t, db.SQLite)
	main, other := t.TempDir(), t.TempDir()
	c := conf(t, d, main, "")
	l, err := Open(t.Context(), c, true)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	put(t, l, "logs/1", "log")
	c.Timing.Dead = 2 * time.Second
	m := mover(c, nil)
	if err := m.Put(t.Context(), other); fault.KindOf(err) != fault.Conflict || !strings.Contains(err.Error(), "logs/1") || !strings.Contains(err.Error(), "migrate-storage") {
		t.Fatalf("content is missing there: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(other, "logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other, "logs/1"), []byte("log"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // twice is as good as once
		if err := m.Put(t.Context(), other); err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{"logs", "artifacts", "packages", "imports", "eventexports", "telemetry"} {
		if st, err := os.Stat(filepath.Join(other, folder)); err != nil || !st.IsDir() {
			t.Errorf("folder %s: %v", folder, err)
		}
	}
	n, err := Open(t.Context(), conf(t, d, "/nowhere/at/all", ""), false) // its own setting does not count any more
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if got := get(n, "logs/1"); got != "log" {
		t.Errorf("read %q", got)
	}
	if err := os.Rename(other, other+"-away"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), c, false); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "octavo path") {
		t.Errorf("the place that the database names is gone: %v", err)
	}
	if err := os.Rename(other+"-away", other); err != nil {
		t.Fatal(err)
	}
	exec(t, d, `INSERT INTO node (name, machine, epoch, state, cap, draining, version, address, labels, registered) VALUES ('web', '', 1, 'up', 1, false, '', '', '[]', 0)`)
	exec(t, d, "INSERT INTO node_beat (node, epoch, beats, seen) VALUES ('web', 1, 1, 1)")
	beating, stop := context.WithCancel(t.Context())
	var beats sync.WaitGroup
	beats.Go(func() {
		for beating.Err() == nil {
			exec(t, d, "UPDATE node_beat SET beats = beats + 1, seen = seen + 1")
			select {
			case <-beating.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	if err := m.Put(t.Context(), main); fault.KindOf(err) != fault.Conflict || !strings.Contains(err.Error(), "web") {
		t.Errorf("while a node runs: %v", err)
	}
	stop()
	beats.Wait()
	if err := m.Put(t.Context(), main); err != nil { // it was killed, and there is no other node to say so
		t.Errorf("after the only node was killed: %v", err)
	}
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, blob.Marker), []byte("somebody else\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.Move(t.Context(), "", foreign); fault.KindOf(err) != fault.Invalid {
		t.Errorf("another cluster's store: %v", err)
	}
}

// The share is replaced by an empty one, by another cluster's, and by none; then it is back. The node says so each time, keeps out of the
// wrong one, and heals.
func TestShareReplacedRow84(t *testing.T) {
	d := dbtest.New(t, db.SQLite)
	share := filepath.Join(t.TempDir(), "share")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(share, 0o700))
	a := live(t, conf(t, d, share, "a"), true)
	put(t, a, "logs/1", "log")
	for _, c := range []struct {
		name, want string
		lose       func()
	}{
		{"none", "does not exist", func() {}},
		{"an empty one", "Is the share mounted?", func() { must(os.Mkdir(share, 0o700)) }},
		{"another cluster's", "another cluster", func() {
			must(os.Mkdir(share, 0o700))
			must(os.WriteFile(filepath.Join(share, blob.Marker), []byte("other\n"), 0o600))
		}},
	} {
		until(t, "the node is well", func() bool { return a.Ready() == nil })
		must(os.Rename(share, share+"-away"))
		c.lose()
		until(t, "the node says that the share is "+c.name, func() bool { err := a.Ready(); return err != nil && strings.Contains(err.Error(), c.want) })
		if _, _, err := a.Put(t.Context(), "logs/2", strings.NewReader("x")); fault.KindOf(err) != fault.Busy {
			t.Errorf("%s: a write says %v", c.name, err)
		}
		if _, err := a.Open(t.Context(), "logs/1", 0); fault.KindOf(err) != fault.Busy || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a read says %v", c.name, err)
		}
		must(os.RemoveAll(share))
		must(os.Rename(share+"-away", share))
	}
	until(t, "the node is well", func() bool { return a.Ready() == nil })
	put(t, a, "logs/2", "x")
	if got := get(a, "logs/1"); got != "log" {
		t.Errorf("read %q", got)
	}
}

// stuck is a store whose server is gone: nothing returns, whatever the context says.
type stuck struct {
	blob.Store
	hang atomic.Pointer[chan struct{}]
}

func (s *stuck) wait() {
	if c := s.hang.Load(); c != nil {
		<-*c
	}
}

func (s *stuck) Stage(ctx context.Context, r io.Reader) (*blob.Staged, error) {
	s.wait()
	return s.Store.Stage(ctx, r)
}

func (s *stuck) Put(ctx context.Context, key string, r io.Reader) (int64, string, error) {
	s.wait()
	return s.Store.Put(ctx, key, r)
}

func (s *stuck) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	s.wait()
	r, err := s.Store.Open(ctx, key, offset)
	return struct {
		io.Reader
		io.Closer
	}{readerFunc(func(p []byte) (int, error) { s.wait(); return r.Read(p) }), r}, err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func (s *stuck) Stat(ctx context.Context, key string) (blob.Info, error) {
	s.wait()
	return s.Store.Stat(ctx, key)
}
func (s *stuck) Try(ctx context.Context) error { s.wait(); return s.Store.Try(ctx) }

// A share that hangs holds nobody for longer than the patience; whoever reads is let go as well; it heals by itself.
func TestShareHangsRow84(t *testing.T) {
	d := dbtest.New(t, db.SQLite)
	c := conf(t, d, t.TempDir(), "a")
	c.Timing.Patience = 2 * time.Second
	s := &stuck{}
	c.open = func(ctx context.Context, location string) (blob.Store, error) {
		f, err := blob.OpenFolder(ctx, location, never)
		if err == nil && s.Store == nil {
			s.Store = f
			return s, nil
		}
		return f, err
	}
	f, err := blob.OpenFolder(t.Context(), c.Own, never) // marks it without the store that is to hang
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(blob.Belongs(t.Context(), f, ours, true), f.Close()); err != nil {
		t.Fatal(err)
	}
	a := live(t, c, false)
	large := bytes.Repeat([]byte("x"), 3*readBytes)
	put(t, a, "logs/1", string(large))
	r, err := a.Open(t.Context(), "logs/1", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	hang := make(chan struct{})
	s.hang.Store(&hang)
	let := sync.OnceFunc(func() { s.hang.Store(nil); close(hang) })
	t.Cleanup(let)
	began := time.Now()
	var calls sync.WaitGroup
	for name, call := range map[string]func() error{
		"put":   func() error { _, _, err := a.Put(t.Context(), "logs/2", strings.NewReader("x")); return err },
		"stage": func() error { _, err := a.Stage(t.Context(), strings.NewReader("x")); return err },
		"open":  func() error { _, err := a.Open(t.Context(), "logs/1", 0); return err },
		"stat":  func() error { _, err := a.Stat(t.Context(), "logs/1"); return err },
		"read":  func() error { _, err := io.Copy(io.Discard, r); return err },
	} {
		calls.Go(func() {
			if err := call(); fault.KindOf(err) != fault.Busy || !strings.Contains(err.Error(), "does not answer") {
				t.Errorf("%s says %v", name, err)
			}
		})
	}
	calls.Wait()
	if waited := time.Since(began); waited > 15*time.Second {
		t.Errorf("they waited %s", waited)
	}
	if err := a.Ready(); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("the node says %v", err)
	}
	began = time.Now()
	if _, err := a.Stat(t.Context(), "logs/1"); fault.KindOf(err) != fault.Busy || time.Since(began) > 5*time.Second {
		t.Errorf("later calls say %v after %s", err, time.Since(began))
	}
	let()
	until(t, "the node is well", func() bool { return a.Ready() == nil })
	if got := get(a, "logs/1"); got != string(large) {
		t.Errorf("%d bytes are read", len(got))
	}
	if got := get(a, "logs/2"); got != "x" && !strings.Contains(got, "is not there") {
		t.Errorf("what was given up is %q", got)
	}
}

// A full share takes no uploads and no tasks, and says why (F26).
func TestShareLowRow84(t *testing.T) {
	d := dbtest.New(t, db.SQLite)
	c := conf(t, d, t.TempDir(), "a")
	c.Options = blob.Options{LowBytes: 1 << 62, LowPercent: -1}
	f, err := blob.OpenFolder(t.Context(), c.Own, never)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(blob.Belongs(t.Context(), f, ours, true), f.Close()); err != nil {
		t.Fatal(err)
	}
	a := live(t, c, false)
	until(t, "the node says that it is low", func() bool { err := a.Ready(); return err != nil && strings.Contains(err.Error(), "low on space") })
	if _, err := a.Stage(t.Context(), strings.NewReader("x")); fault.KindOf(err) != fault.Busy {
		t.Errorf("an upload says %v", err)
	}
}

// A key that names its content shows damage before anything is switched.
func TestMoveRefusesDamageRow94(t *testing.T) {
	d := dbtest.New(t, db.SQLite)
	main, to := t.TempDir(), t.TempDir()
	c := conf(t, d, main, "")
	l, err := Open(t.Context(), c, true)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	key, _, err := blob.PutContent(t.Context(), l, "packages", strings.NewReader("good"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(main, key), []byte("evil"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := mover(c, nil)
	if err := m.Move(t.Context(), "", to); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Fatalf("damage: %v", err)
	}
	if err := os.WriteFile(filepath.Join(main, key), []byte("good"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.Move(t.Context(), "", to); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(to, key)); string(got) != "good" {
		t.Error(string(got), err)
	}
}
