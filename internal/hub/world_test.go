package hub

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // the wire's hash of an upload
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/halibut"
	"github.com/octavo/octavo/internal/secret"
	"github.com/octavo/octavo/internal/tentacle"
)

// Keys are expensive, so all tests share three identities.
var (
	serverIdentity = sync.OnceValue(mustIdentity)
	agentIdentity  = sync.OnceValue(mustIdentity)
	strangerID     = sync.OnceValue(mustIdentity)
)

func mustIdentity() *halibut.Identity {
	id, err := halibut.NewIdentity("Octavo test")
	if err != nil {
		panic(err)
	}
	return id
}

// world is some nodes' hubs over one database and one blob store, with real listeners; agents are halibut's own pollers.
type world struct {
	t     *testing.T
	d     *db.DB // the test's own eye
	where string
	ring  *secret.Ring
	blobs *blob.Folder
	dir   string // of the blobs
	quick halibut.Timeouts
}

type node struct {
	*Hub
	w       *world
	name    string
	now     atomic.Int64 // its epoch
	address string
	d       *db.DB
	log     *logged
	stop    func()
}

const subscription = "poll://abcdefghij0123456789/"

var theAgent = Trust{Machine: "Machines-1", Address: subscription}

// each runs a test on both engines. On PostgreSQL every node has a database handle of its own, so hints go through the
// database; on SQLite the nodes share one.
func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	eachAlone(t, test)
}

// eachAlone is each for a test that measures this process.
func eachAlone(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			test(t, newWorld(t, engine))
		})
	}
}

func newWorld(t *testing.T, engine db.Engine) *world {
	t.Helper()
	w := &world{t: t, where: dbtest.Create(t, engine), dir: t.TempDir()}
	w.d = dbtest.Open(t, w.where)
	var err error
	w.ring, err = secret.NewRing(secret.NewKey())
	must(t, err)
	w.blobs, err = blob.OpenFolder(t.Context(), w.dir, blob.Options{LowBytes: -1, LowPercent: -1})
	must(t, err)
	t.Cleanup(func() { w.blobs.Close() })
	w.trust("Machines-1", subscription, agentIdentity().Thumbprint)
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) do(fn func(ctx context.Context, tx *db.Tx) error) {
	w.t.Helper()
	ctx := context.Background()
	must(w.t, w.d.InTx(ctx, func(tx *db.Tx) error { return fn(ctx, tx) }))
}

func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	w.do(func(ctx context.Context, tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
}

func (w *world) count(query string, args ...any) (n int) {
	w.t.Helper()
	ctx := context.Background()
	must(w.t, w.d.Read(ctx, func(tx *db.Tx) error { return tx.QueryRowContext(ctx, query, args...).Scan(&n) }))
	return n
}

func (w *world) trust(machine, address, thumbprint string) {
	w.t.Helper()
	w.do(func(ctx context.Context, tx *db.Tx) error {
		return SetTrust(ctx, tx, Trust{Machine: machine, Address: address, Thumbprint: thumbprint})
	})
}

// node starts a hub whose node is registered under epoch 1.
func (w *world) node(name string) *node { return w.nodeOn(name, nil) }

func (w *world) nodeOn(name string, own *db.DB) *node {
	w.t.Helper()
	n := &node{w: w, name: name, d: own, log: &logged{}}
	if n.d == nil {
		n.d = w.d
		if w.d.Engine() == db.Postgres {
			n.d = dbtest.Open(w.t, w.where)
		}
	}
	n.now.Store(1)
	w.exec(`INSERT INTO node (name, machine, epoch, state, cap, draining, version, address, labels, registered) VALUES ($1, 'm', 1, 'up', 5, FALSE, '', '', '{}', 0)`, name)
	n.Hub = New(Config{
		DB: n.d, Identity: serverIdentity(), Ring: w.ring, Blobs: w.blobs, Streams: w.t.TempDir(), Node: name, Epoch: n.now.Load, Timeouts: w.quick,
		Log: slog.New(slog.NewTextHandler(n.log, nil)),
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(w.t, err)
	n.address = ln.Addr().String()
	n.stop = within(w.t, func(ctx context.Context) {
		if err := n.Serve(ctx, ln); err != nil {
			w.t.Error(err)
		}
	})
	return n
}

// logged is a log that a test reads.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) has(words string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), words)
}

// dies makes the cluster believe that a node is dead; its process knows nothing of it yet.
func (n *node) dies() {
	n.w.t.Helper()
	n.w.exec("UPDATE node SET state = 'dead', epoch = epoch + 1 WHERE name = $1", n.name)
}

// registers brings a node back under the next epoch.
func (n *node) registers() {
	n.w.t.Helper()
	n.w.exec("UPDATE node SET state = 'up', epoch = epoch + 1 WHERE name = $1", n.name)
	n.now.Store(int64(n.w.count("SELECT epoch FROM node WHERE name = $1", n.name)))
}

// within starts something that ends with the test, at the latest.
func within(t testing.TB, run func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// agent is what a poller offers.
type agent struct {
	name    string
	started chan struct{} // a value for each Wait that began
	release chan struct{} // ends Waits
	ran     atomic.Int64
	ended   chan error // of a Swallow
	hold    chan struct{}
}

func newAgent(name string) *agent {
	return &agent{name: name, started: make(chan struct{}, 100), release: make(chan struct{}), ended: make(chan error, 10), hold: make(chan struct{})}
}

func (a *agent) services() *halibut.Services {
	s := halibut.NewServices(slog.New(slog.DiscardHandler))
	s.Register("IEcho", halibut.Methods{
		"Echo": func(_ context.Context, text string) (string, error) { a.ran.Add(1); return a.name + " " + text, nil },
		"Wait": func(ctx context.Context) error {
			a.ran.Add(1)
			a.started <- struct{}{}
			select {
			case <-a.release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		"Fail":  func(context.Context) error { a.ran.Add(1); return errors.New("it failed") },
		"Large": func(_ context.Context, n int) (string, error) { return strings.Repeat("x", n), nil },
	})
	s.Register(tentacle.ScriptServiceV2, halibut.Methods{
		tentacle.CompleteScript: func(context.Context, tentacle.CompleteScriptCommandV2) error {
			a.ran.Add(1)
			a.started <- struct{}{}
			<-a.release
			return nil
		},
	})
	s.Register(tentacle.FileTransferService, halibut.Methods{
		tentacle.UploadFile: func(_ context.Context, path string, s *halibut.DataStream) (tentacle.UploadResult, error) {
			from, err := s.Open()
			if err != nil {
				return tentacle.UploadResult{}, err
			}
			defer from.Close()
			hash := sha1.New() //nolint:gosec // see above
			n, err := io.Copy(hash, from)
			return tentacle.UploadResult{FullPath: path, Hash: hex.EncodeToString(hash.Sum(nil)), Length: n}, err
		},
		tentacle.DownloadFile: func(_ context.Context, path string) (*halibut.DataStream, error) {
			var size int64
			if _, err := fmt.Sscan(path, &size); err != nil {
				return nil, nil
			}
			return halibut.NewStream(size, func() (io.ReadCloser, error) { return io.NopCloser(io.LimitReader(&letters{}, size)), nil }), nil
		},
	})
	return s
}

// letters is a source without end, of which no two blocks are the same.
type letters struct {
	block []byte
	at    int
	n     uint64
}

func (l *letters) Read(p []byte) (int, error) {
	if l.at == len(l.block) {
		l.block, l.at = append(l.block[:0], noise()...), 0
		binary.LittleEndian.PutUint64(l.block, l.n)
		l.n++
	}
	n := copy(p, l.block[l.at:])
	l.at += n
	return n, nil
}

var noise = sync.OnceValue(func() []byte {
	b := make([]byte, 64<<10)
	_, _ = rand.Read(b) // it never fails
	return b
})

// polls starts a poller of a node and waits until the node holds its link.
func (a *agent) polls(n *node) (stop func()) {
	n.w.t.Helper()
	stop = a.dials(n.w.t, n.address, agentIdentity(), subscription)
	n.w.until("the agent is linked to "+n.name, func() bool {
		return n.w.count("SELECT count(*) FROM link WHERE node = $1 AND epoch = $2", n.name, n.now.Load()) > 0
	})
	return stop
}

func (a *agent) dials(t testing.TB, address string, id *halibut.Identity, subscription string) (stop func()) {
	services, dir := a.services(), t.TempDir()
	return within(t, func(ctx context.Context) {
		_ = halibut.Poll(ctx, halibut.PollConfig{
			Server: halibut.Endpoint{Address: address, Thumbprint: serverIdentity().Thumbprint}, Subscription: subscription, Identity: id,
			Services: services, StreamDir: dir, Log: slog.New(slog.DiscardHandler),
		})
	})
}

// until waits for something that no channel tells.
func (w *world) until(what string, so func() bool) {
	w.t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-deadline:
			w.t.Fatalf("waited too long until %s", what)
		case <-tick.C:
		}
	}
}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func (n *node) echo(ctx context.Context, text string) (string, error) {
	var got string
	err := n.call(ctx, theAgent, "IEcho", "Echo", &got, text)
	return got, err
}

// wait calls what does not end by itself.
func (n *node) wait(ctx context.Context) <-chan error {
	done := make(chan error, 1)
	go func() { done <- n.call(ctx, theAgent, "IEcho", "Wait", nil) }()
	return done
}

// clean fails if a call left something behind.
func (w *world) clean() {
	w.t.Helper()
	w.until("no call is left", func() bool { return w.count("SELECT count(*) FROM call") == 0 })
	w.until("no part of a call is left", func() bool { return len(w.parts()) == 0 })
}

func (w *world) parts() (keys []string) {
	for info, err := range w.blobs.List(context.Background(), blobPrefix) {
		must(w.t, err)
		keys = append(keys, info.Key)
	}
	return keys
}
