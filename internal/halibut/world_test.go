package halibut

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Keys are expensive, so all tests share three identities.
var (
	serverIdentity = sync.OnceValue(mustIdentity)
	agentIdentity  = sync.OnceValue(mustIdentity)
	strangerID     = sync.OnceValue(mustIdentity)
)

func mustIdentity() *Identity {
	id, err := NewIdentity("Octavo test")
	if err != nil {
		panic(err)
	}
	return id
}

// note is a result and a parameter that needs a $type and may hold streams.
type note struct {
	Text string      `bson:"Text"`
	More *DataStream `bson:"More"`
}

func (note) HalibutType() string { return "Test.Note, Test" }

type refusal struct{}

func (refusal) Error() string            { return "refused" }
func (refusal) HalibutErrorType() string { return "Octavo.TestRefusal" }

// testServices are an agent's, made to be called in every way there is.
func testServices(t testing.TB, started chan<- struct{}, release <-chan struct{}) *Services {
	s := NewServices(quiet())
	s.Register("IEcho", Methods{
		"Echo":  func(_ context.Context, text string) (string, error) { return text, nil },
		"Void":  func(context.Context) error { return nil },
		"Fail":  func(context.Context) error { return errors.New("it failed") },
		"Typed": func(context.Context) error { return fmt.Errorf("wrapped: %w", refusal{}) },
		"Panic": func(context.Context) error { panic("a defect") },
		"Note":  func(_ context.Context, n note) (note, error) { n.Text += "!"; return n, nil },
		"Notes": func(_ context.Context, a, b note) (note, error) {
			return note{Text: readAll(t, a.More) + readAll(t, b.More)}, nil
		},
		"Hash": func(_ context.Context, name string, s *DataStream) (note, error) {
			r, err := s.Open()
			if err != nil {
				return note{}, err
			}
			defer r.Close()
			h := sha1.New()
			_, err = io.Copy(h, r)
			return note{Text: name + " " + hex.EncodeToString(h.Sum(nil))}, err
		},
		"Download": func(_ context.Context, n string) (*DataStream, error) {
			if n == "" {
				return nil, nil
			}
			return BytesStream(bytes.Repeat([]byte(n), 100_000)), nil
		},
		"Wait": func(ctx context.Context) error {
			started <- struct{}{}
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	})
	return s
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// memory is a network of pipes, so that a test's time may be synctest's.
type memory struct {
	mu        sync.Mutex
	listeners map[string]*memoryListener
	dials     atomic.Int64
}

type memoryListener struct {
	net   *memory
	addr  string
	conns chan net.Conn
	gone  chan struct{}
	once  sync.Once
}

func newMemory() *memory { return &memory{listeners: map[string]*memoryListener{}} }

func (m *memory) listen(addr string) net.Listener {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := &memoryListener{net: m, addr: addr, conns: make(chan net.Conn), gone: make(chan struct{})}
	m.listeners[addr] = l
	return l
}

func (m *memory) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	m.dials.Add(1)
	m.mu.Lock()
	l := m.listeners[addr]
	m.mu.Unlock()
	if l == nil {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.gone:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.gone:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() {
		l.net.mu.Lock()
		if l.net.listeners[l.addr] == l {
			delete(l.net.listeners, l.addr)
		}
		l.net.mu.Unlock()
		close(l.gone)
	})
	return nil
}

func (l *memoryListener) Addr() net.Addr { return memoryAddr(l.addr) }

type memoryAddr string

func (memoryAddr) Network() string  { return "memory" }
func (a memoryAddr) String() string { return string(a) }

func trust(thumbprint string) func(context.Context, Peer) error {
	return func(_ context.Context, p Peer) error {
		if p.Thumbprint != thumbprint {
			return errors.New("no such machine")
		}
		return nil
	}
}

// rig is a server and an agent in one direction, over TCP or in memory.
type rig struct {
	call     func(ctx context.Context, method string, result any, params ...any) error
	listener *Listener
	polls    *Polls  // when polling
	client   *Client // when listening
	endpoint Endpoint
	address  string
	agentDir string
	stop     func() // of the agent, or of the listener; called at the end anyway
}

const testSubscription = "poll://ABCdefghij0123456789"

// within starts something that ends with the test, at the latest.
func within(t testing.TB, run func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func listenAt(t testing.TB, m *memory) net.Listener {
	t.Helper()
	if m != nil {
		return m.listen("peer:1")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func (m *memory) dialFunc() DialFunc {
	if m == nil {
		return nil
	}
	return m.dial
}

// listening is an agent that listens, called by a server.
func listening(t testing.TB, m *memory, services *Services) *rig {
	t.Helper()
	r := &rig{agentDir: t.TempDir()}
	ln := listenAt(t, m)
	r.address = ln.Addr().String()
	r.endpoint = Endpoint{Address: r.address, Thumbprint: agentIdentity().Thumbprint, SHA256: agentIdentity().SHA256}
	r.listener = NewListener(ListenerConfig{
		Identity: agentIdentity(), Authorize: trust(serverIdentity().Thumbprint),
		Services: services, StreamDir: r.agentDir, Log: quiet(),
	})
	r.client = NewClient(ClientConfig{Identity: serverIdentity(), StreamDir: t.TempDir(), Dial: m.dialFunc(), Log: quiet()})
	t.Cleanup(r.client.Close)
	r.stop = within(t, func(ctx context.Context) { _ = r.listener.Serve(ctx, ln) })
	r.call = func(ctx context.Context, method string, result any, params ...any) error {
		return r.client.Call(ctx, r.endpoint, "IEcho", method, result, params...)
	}
	return r
}

// polling is an agent that polls a server.
func polling(t testing.TB, m *memory, services *Services) *rig {
	t.Helper()
	r := &rig{agentDir: t.TempDir()}
	ln := listenAt(t, m)
	r.address = ln.Addr().String()
	r.polls = NewPolls(PollsConfig{StreamDir: t.TempDir()})
	r.listener = NewListener(ListenerConfig{
		Identity: serverIdentity(), Polls: r.polls, Log: quiet(),
		Authorize: func(ctx context.Context, p Peer) error {
			if p.Subscription != "poll://abcdefghij0123456789/" {
				return errors.New("no such subscription")
			}
			return trust(agentIdentity().Thumbprint)(ctx, p)
		},
	})
	within(t, func(ctx context.Context) { _ = r.listener.Serve(ctx, ln) })
	r.endpoint = Endpoint{Address: r.address, Thumbprint: serverIdentity().Thumbprint}
	r.stop = within(t, func(ctx context.Context) { r.poll(t, ctx, m, services) })
	r.call = func(ctx context.Context, method string, result any, params ...any) error {
		return r.polls.Call(ctx, testSubscription, "IEcho", method, result, params...)
	}
	return r
}

func (r *rig) poll(t testing.TB, ctx context.Context, m *memory, services *Services) {
	err := Poll(ctx, PollConfig{
		Server: r.endpoint, Subscription: testSubscription, Identity: agentIdentity(),
		Services: services, Connections: 2, StreamDir: r.agentDir, Dial: m.dialFunc(), Log: quiet(),
	})
	if err != nil {
		t.Error(err)
	}
}

var directions = map[string]func(testing.TB, *memory, *Services) *rig{"listening": listening, "polling": polling}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func zeroFile(t testing.TB, size int) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(size)); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}
