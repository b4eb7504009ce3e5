package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
)

var _ blob.Store = (*Live)(nil)

// Config is what a Live needs.
type Config struct {
	DB      *db.DB
	Own     string // the node's own setting, for what the database names no place for
	Spool   string // local folder, for buckets only
	Node    string // who acts upon the places; "" for a command, which nobody waits for
	Cluster string // whose the store must be
	Options blob.Options
	Log     *slog.Logger
	Timing  Timing // zero: DefaultTiming

	open func(ctx context.Context, location string) (blob.Store, error) // nil: blob.Open; for tests
}

// Timing is how often a Live looks.
type Timing struct {
	Look     time.Duration // between two looks at a location
	Relook   time.Duration // the same while there is trouble
	Patience time.Duration // a look that takes longer hangs
	Follow   time.Duration // between two looks at the table of places, when no hint tells that it changed
	Stale    time.Duration // a write reads the table first when it was not read for so long; below Dead
	Dead     time.Duration // a node whose beats stand still for so long is not waited for
}

// DefaultTiming is for production.
var DefaultTiming = Timing{Look: 15 * time.Second, Relook: 2 * time.Second, Patience: 20 * time.Second, Follow: 5 * time.Second, Stale: 12 * time.Second, Dead: 15 * time.Second}

// Live is the blob store of a running process: it follows the places, and watches them (doc.go).
type Live struct {
	conf Config

	mu       sync.Mutex
	now      *routes
	older    []*routes // still written through
	read     time.Duration
	told     int64 // the version this node was said to act upon
	broken   error // a new version could not be followed
	backends map[string]*backend
}

// routes are the places at one version.
type routes struct {
	version int64
	of      map[string]route // by kind; "" is always there
	writes  int              // under way
}

type route struct{ first, other *backend }

func (r *routes) to(key string) route { return r.of[r.owner(key)] }

// owner is the kind whose place a key is in.
func (r *routes) owner(key string) string {
	if kind := kindOf(key); r.of[kind].first != nil {
		return kind
	}
	return ""
}

// within narrows a prefix of keys to a kind's place; some is false when nothing there begins so.
func (r *routes) within(kind, prefix string) (narrow string, some bool) {
	if kindOf(prefix) != "" {
		return prefix, r.owner(prefix) == kind
	}
	for _, k := range Kinds {
		if k.Name == kind {
			return k.Prefix, strings.HasPrefix(k.Prefix, prefix)
		}
	}
	return prefix, true
}

// Open opens every place. A new installation's own store is marked as its own.
func Open(ctx context.Context, conf Config, isNew bool) (*Live, error) {
	if conf.Timing == (Timing{}) {
		conf.Timing = DefaultTiming
		if conf.DB.Engine() == db.Postgres { // where hints come from every process, and a look is the database's time
			conf.Timing.Follow = 30 * time.Second
		}
	}
	if conf.Log == nil {
		conf.Log = slog.Default()
	}
	l := &Live{conf: conf, backends: map[string]*backend{}}
	if isNew {
		s, err := l.store(ctx, conf.Own)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(blob.Belongs(ctx, s, conf.Cluster, true), s.Close()); err != nil {
			return nil, err
		}
	}
	if err := l.follow(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Live) store(ctx context.Context, location string) (blob.Store, error) {
	if l.conf.open != nil {
		return l.conf.open(ctx, location)
	}
	return blob.Open(ctx, location, l.conf.Spool, l.conf.Options)
}

// follow reads the places, acts upon them if they are new, and says so once no write of an older version is under way.
func (l *Live) follow(ctx context.Context) error {
	asked := bootClock()
	var places Places
	err := l.conf.DB.Read(ctx, func(tx *db.Tx) (err error) {
		places, err = ReadPlaces(ctx, tx)
		return err
	})
	if err != nil {
		return fmt.Errorf("read where blobs are: %w", err)
	}
	l.mu.Lock()
	known := l.now != nil && l.now.version == places.Version
	l.mu.Unlock()
	if !known {
		err := l.act(ctx, places)
		l.mu.Lock()
		l.broken = err
		l.mu.Unlock()
		if err != nil {
			return err
		}
	}
	l.mu.Lock()
	l.read = max(l.read, asked)
	at := l.now.version
	tell := l.conf.Node != "" && l.told != at
	for _, r := range l.older {
		tell = tell && r.writes == 0
	}
	l.mu.Unlock()
	if !tell {
		return nil
	}
	if err := l.conf.DB.InTx(ctx, func(tx *db.Tx) error { return follow(ctx, tx, l.conf.Node, at) }); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now.version == at {
		l.told, l.older = at, nil
	}
	return nil
}

// act opens what is new of the places and goes over to them.
func (l *Live) act(ctx context.Context, places Places) error {
	r := &routes{version: places.Version, of: map[string]route{}}
	all := places.Of
	if _, named := all[""]; !named {
		all[""] = Place{}
	}
	for kind, at := range all {
		first, err := l.backend(ctx, at.Location)
		if err != nil {
			return err
		}
		to := route{first: first}
		if at.Other != nil {
			if to.other, err = l.backend(ctx, *at.Other); err != nil {
				return err
			}
		}
		r.of[kind] = to
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now != nil && l.now.version >= r.version {
		return nil // somebody else was faster
	}
	if l.now != nil {
		l.older = append(l.older, l.now)
		l.conf.Log.Info("blobs are in other places now", "version", r.version)
	}
	l.now = r
	return nil
}

// backend opens a location once.
func (l *Live) backend(ctx context.Context, location string) (*backend, error) {
	if location == "" {
		location = l.conf.Own
	}
	l.mu.Lock()
	b := l.backends[location]
	l.mu.Unlock()
	if b != nil {
		return b, nil
	}
	s, err := l.store(ctx, location)
	if err == nil {
		if err = blob.Belongs(ctx, s, l.conf.Cluster, false); err != nil {
			s.Close()
		}
	}
	if err != nil && location != l.conf.Own { // --blobs would not help
		err = fault.Because(fault.InvalidField("blobs", "%s (The database names this place; see: octavo path.)", err.Error()), err)
	}
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if other := l.backends[location]; other != nil {
		return other, s.Close()
	}
	b = &backend{location: location, store: s, stuck: make(chan struct{})}
	l.backends[location] = b
	return b, nil
}

// bootClock goes on while the machine is suspended, as the other nodes' patience does.
func bootClock() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return time.Duration(time.Now().UnixNano())
	}
	return time.Duration(ts.Nano())
}

// writing gives the routes for one write. Done must be called.
func (l *Live) writing(ctx context.Context) (r *routes, done func(), err error) {
	l.mu.Lock()
	stale := bootClock()-l.read > l.conf.Timing.Stale
	l.mu.Unlock()
	if stale {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err := l.follow(ctx); err != nil {
			return nil, nil, fault.Because(fault.Busyf("Where content is to be stored cannot be told just now, since the database does not say. Try again."), err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r = l.now
	r.writes++
	return r, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		r.writes--
	}, nil
}

func (l *Live) routes() *routes {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// Stage receives content next to where most of it is; Keep knows where it goes.
func (l *Live) Stage(ctx context.Context, r io.Reader) (*blob.Staged, error) {
	return bounded(ctx, l.routes().of[""].first, true, func(s *blob.Staged) { _ = s.Discard() }, func(ctx context.Context, s blob.Store) (*blob.Staged, error) { return s.Stage(ctx, r) })
}

// Keep gives staged content a key, which must be free in both places while content moves.
func (l *Live) Keep(ctx context.Context, st *blob.Staged, key string) error {
	return l.write(ctx, key, func(ctx context.Context, s blob.Store) error { return s.Keep(ctx, st, key) })
}

// Put stores all of r under a key that must be free.
func (l *Live) Put(ctx context.Context, key string, r io.Reader) (size int64, digest string, err error) {
	type stored struct {
		size   int64
		digest string
	}
	var kept stored
	err = l.write(ctx, key, func(ctx context.Context, s blob.Store) error {
		n, d, err := s.Put(ctx, key, r)
		kept = stored{n, d}
		return err
	})
	if err != nil {
		return 0, "", err
	}
	return kept.size, kept.digest, nil
}

func (l *Live) write(ctx context.Context, key string, do func(context.Context, blob.Store) error) error {
	routes, done, err := l.writing(ctx)
	if err != nil {
		return err
	}
	defer done()
	to := routes.to(key)
	if to.other != nil {
		_, err := bounded(ctx, to.other, false, nil, func(ctx context.Context, s blob.Store) (blob.Info, error) { return s.Stat(ctx, key) })
		if err == nil {
			return fault.Because(fault.Conflictf("The stored content %q is there already.", key), fs.ErrExist)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	_, err = bounded(ctx, to.first, true, nil, func(ctx context.Context, s blob.Store) (struct{}, error) { return struct{}{}, do(ctx, s) })
	return err
}

// find looks in the places of a key until one has it. Before it says that none has, it reads the table of places again.
func find[T any](ctx context.Context, l *Live, key string, look func(*backend) (T, error)) (v T, err error) {
	for again := false; ; again = true {
		routes := l.routes()
		to := routes.to(key)
		if v, err = look(to.first); to.other != nil && errors.Is(err, fs.ErrNotExist) {
			if v, err = look(to.other); errors.Is(err, fs.ErrNotExist) {
				v, err = look(to.first) // it was copied and removed in between
			}
		}
		if !errors.Is(err, fs.ErrNotExist) || again {
			return v, err
		}
		if l.follow(ctx) != nil || l.routes() == routes {
			return v, err
		}
	}
}

// Open reads from offset to the end.
func (l *Live) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	return find(ctx, l, key, func(b *backend) (io.ReadCloser, error) { return b.open(ctx, key, offset) })
}

// Stat tells size and age.
func (l *Live) Stat(ctx context.Context, key string) (blob.Info, error) {
	return find(ctx, l, key, func(b *backend) (blob.Info, error) {
		return bounded(ctx, b, false, nil, func(ctx context.Context, s blob.Store) (blob.Info, error) { return s.Stat(ctx, key) })
	})
}

// List gives the keys that start with prefix, each once.
func (l *Live) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		routes := l.routes()
		for kind, to := range routes.of {
			within, some := routes.within(kind, prefix)
			if !some {
				continue
			}
			seen := map[string]bool{}
			for _, b := range []*backend{to.first, to.other} {
				if b == nil {
					continue
				}
				store, state, _ := b.now()
				if state.read != nil {
					yield(blob.Info{}, state.read)
					return
				}
				for info, err := range store.List(ctx, within) {
					if err != nil {
						yield(blob.Info{}, err)
						return
					}
					if routes.owner(info.Key) != kind || seen[info.Key] {
						continue
					}
					if to.other != nil {
						seen[info.Key] = true
					}
					if !yield(info, nil) {
						return
					}
				}
			}
		}
	}
}

// Delete removes a key from all of its places.
func (l *Live) Delete(ctx context.Context, key string) error {
	routes, done, err := l.writing(ctx)
	if err != nil {
		return err
	}
	defer done()
	to := routes.to(key)
	for _, b := range []*backend{to.first, to.other} {
		if b == nil {
			continue
		}
		if _, err := bounded(ctx, b, true, nil, func(ctx context.Context, s blob.Store) (struct{}, error) { return struct{}{}, s.Delete(ctx, key) }); err != nil {
			return err
		}
	}
	return nil
}

// Sweep removes what dead writers left, everywhere.
func (l *Live) Sweep(ctx context.Context, older time.Duration) (n int, err error) {
	for _, b := range l.all() {
		m, sweeping := bounded(ctx, b, true, nil, func(ctx context.Context, s blob.Store) (int, error) { return s.Sweep(ctx, older) })
		n, err = n+m, errors.Join(err, sweeping)
	}
	return n, err
}

// Try tries every place.
func (l *Live) Try(ctx context.Context) (err error) {
	for _, b := range l.all() {
		_, trying := bounded(ctx, b, true, nil, func(ctx context.Context, s blob.Store) (struct{}, error) { return struct{}{}, s.Try(ctx) })
		err = errors.Join(err, trying)
	}
	return err
}

// Low says why nothing more is taken, as far as the last look knows.
func (l *Live) Low() error {
	for _, to := range l.routes().of {
		if _, state, _ := to.first.now(); state.low != nil {
			return state.low
		}
	}
	return nil
}

// Ready says why this node is not to start tasks, or nil. It answers at once.
func (l *Live) Ready() error {
	l.mu.Lock()
	broken, now := l.broken, l.now
	l.mu.Unlock()
	if broken != nil {
		return broken
	}
	for _, to := range now.of {
		for _, b := range []*backend{to.first, to.other} {
			if b == nil {
				continue
			}
			_, state, _ := b.now()
			if b == to.other {
				state = verdict{read: state.read} // nothing new goes there
			}
			if err := state.trouble(); err != nil {
				return err
			}
		}
	}
	return nil
}

// all are the backends in use.
func (l *Live) all() (list []*backend) {
	seen := map[*backend]bool{}
	for _, to := range l.routes().of {
		for _, b := range []*backend{to.first, to.other} {
			if b != nil && !seen[b] {
				seen[b] = true
				list = append(list, b)
			}
		}
	}
	return list
}

// Close lets go of everything.
func (l *Live) Close() (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.backends {
		store, _, _ := b.now()
		err = errors.Join(err, store.Close())
	}
	return err
}

// makeFolders makes the folders of the kinds in a folder, so that their rights can be looked at (behaviour.md 82).
func makeFolders(location string) error {
	if blob.IsS3(location) {
		return nil
	}
	root, err := os.OpenRoot(location)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, k := range Kinds {
		if err := root.MkdirAll(strings.TrimSuffix(k.Prefix, "/"), 0o750); err != nil {
			return err
		}
	}
	return nil
}
