package halibut

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// ListenerConfig says who may connect and what they find.
type ListenerConfig struct {
	Identity *Identity
	// Authorize decides about a peer that has a certificate; nothing was written to it yet. For a polling agent it must
	// check that the subscription belongs to a machine with this very thumbprint (tentacle-protocol.md 1.3).
	Authorize func(context.Context, Peer) error
	Services  *Services // for servers that dial us; nil refuses them
	Polls     *Polls    // for agents that poll us; nil refuses them
	StreamDir string    // where the data streams of calls are kept while they run; empty is the system's
	Timeouts  Timeouts
	Log       *slog.Logger
}

// Listener accepts Halibut connections.
type Listener struct {
	config ListenerConfig
	tls    *tls.Config

	turns  chan struct{} // one value for each handshake that is under way
	maxNew int

	mu    sync.Mutex
	peers map[*conn]Peer
	fresh list.List // of net.Conn: those that did not introduce themselves yet, the oldest first
}

// A thousand agents that come back at once wait in line, and not each with the memory of a handshake. Who only
// connects and says nothing waits before the line; who is slow gives the turn back and goes on without.
const (
	maxNew   = 4000            // connections that nobody vouches for; beyond that the oldest makes room
	maxTurns = 256             // handshakes at once
	turnTime = 5 * time.Second // how long one keeps others waiting
)

// NewListener makes a listener.
func NewListener(config ListenerConfig) *Listener {
	config.Timeouts = config.Timeouts.withDefaults()
	if config.Log == nil {
		config.Log = slog.Default()
	}
	l := &Listener{config: config, tls: config.Identity.acceptConfig(), peers: map[*conn]Peer{}, turns: make(chan struct{}, maxTurns), maxNew: maxNew}
	l.tls.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		return nil, hello.Context().Value(turnKey{}).(*turn).take(hello.Context())
	}
	return l
}

type turnKey struct{}

// turn is a connection's place among the handshakes that are under way. It is taken when the peer has spoken, before
// the costly part.
type turn struct {
	of    chan struct{}
	limit *time.Timer
	give  func()
}

func (t *turn) take(ctx context.Context) error {
	select {
	case t.of <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	t.give = sync.OnceFunc(func() { <-t.of })
	t.limit = time.AfterFunc(turnTime, t.give)
	return nil
}

func (t *turn) end() {
	if t.limit != nil {
		t.limit.Stop()
		t.give()
	}
}

// Serve accepts until ctx ends; then it closes ln and every connection, and waits for the calls under way.
func (l *Listener) Serve(ctx context.Context, ln net.Listener) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // also when accepting fails for good
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	pause := time.Duration(0)
	for {
		raw, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = raw.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // too many open files, for instance: it passes
			pause = min(2*pause+5*time.Millisecond, time.Second)
			l.config.Log.WarnContext(ctx, "cannot accept a connection; will try again", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			continue
		}
		pause = 0
		place := l.admit(raw)
		conns.Go(func() { l.serveConn(ctx, raw, place) })
	}
}

// admit notes a new connection. If there are too many, the oldest goes: it had the most time to introduce itself.
func (l *Listener) admit(raw net.Conn) *list.Element {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fresh.Len() >= l.maxNew {
		oldest := l.fresh.Remove(l.fresh.Front()).(net.Conn)
		l.config.Log.Warn("too many connections that did not introduce themselves; the oldest is closed", "peer", oldest.RemoteAddr().String())
		_ = oldest.Close()
	}
	return l.fresh.PushBack(raw)
}

func (l *Listener) introduced(place *list.Element) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fresh.Remove(place) // unless it made room already
}

// Disconnect closes the connections of the peers that match, for instance when one is not trusted any more.
// It returns how many there were.
func (l *Listener) Disconnect(match func(Peer) bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for c, peer := range l.peers {
		if match(peer) {
			c.abort()
			n++
		}
	}
	return n
}

func (l *Listener) serveConn(ctx context.Context, raw net.Conn, place *list.Element) {
	log := l.config.Log.With("peer", raw.RemoteAddr().String())
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(keepAlive) // without it we notice dead peers later
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	defer raw.Close()
	c, kind, err := l.welcome(ctx, raw, log)
	l.introduced(place)
	if err != nil {
		if ctx.Err() == nil {
			log.WarnContext(ctx, "refused a connection", "err", err)
		}
		return
	}
	if c == nil {
		return
	}
	defer l.forget(c)
	if err := l.serve(ctx, c, kind); err != nil && ctx.Err() == nil {
		log.DebugContext(ctx, "a connection ended", "err", err, "thumbprint", c.Thumbprint)
	}
	stop()
	c.close()
}

// welcome takes a connection up to the point where we introduce ourselves. Nothing is written to a peer that is
// not trusted; one that does not speak Halibut gets a page, and the connection is nil.
func (l *Listener) welcome(ctx context.Context, raw net.Conn, log *slog.Logger) (_ *conn, kind string, err error) {
	until := time.Now().Add(l.config.Timeouts.Hello)
	if err := raw.SetDeadline(until); err != nil {
		return nil, "", err
	}
	secure := tls.Server(raw, l.tls)
	ours := &turn{of: l.turns}
	defer ours.end()
	patient, cancel := context.WithDeadline(context.WithValue(ctx, turnKey{}, ours), until)
	defer cancel()
	if err := secure.HandshakeContext(patient); err != nil {
		return nil, "", fmt.Errorf("TLS: %w", err)
	}
	c := newConn(secure, raw, l.config.Timeouts.Idle)
	c.ownDeadline = true // one deadline for all of it
	isPeer, err := readPreamble(c.in)
	if err != nil {
		return nil, "", fmt.Errorf("preamble: %w", err)
	}
	if !isPeer {
		log.DebugContext(ctx, "gave a browser or a probe the page")
		return nil, "", c.givePage()
	}
	if c.Thumbprint == "" {
		return nil, "", errors.New("the peer has no client certificate")
	}
	who, err := readIdentity(c.in)
	if err != nil {
		return nil, "", err
	}
	if err := l.accepts(who.kind); err != nil {
		return nil, "", err
	}
	c.Subscription = who.subscription
	l.remember(c) // before the question, so that no trust is withdrawn unseen
	if err := l.config.Authorize(ctx, c.Peer); err != nil {
		l.forget(c)
		return nil, "", fmt.Errorf("the certificate with thumbprint %s is not trusted here: %w", c.Thumbprint, err)
	}
	c.ownDeadline = false
	return c, who.kind, nil
}

func (l *Listener) accepts(kind string) error {
	if kind == "MX-CLIENT" && l.config.Services != nil || kind == "MX-SUBSCRIBER" && l.config.Polls != nil {
		return nil
	}
	return fmt.Errorf("a peer that says %s finds nothing here", kind)
}

func (l *Listener) serve(ctx context.Context, c *conn, kind string) error {
	if err := c.writeIdentity(serverLine); err != nil {
		return err
	}
	if kind == "MX-SUBSCRIBER" {
		return l.config.Polls.serve(ctx, c)
	}
	return l.config.Services.serveClient(ctx, c, l.config.StreamDir)
}

func (l *Listener) remember(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.peers[c] = c.Peer
}

func (l *Listener) forget(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.peers, c)
}

const page = `<!DOCTYPE html>
<html lang="en"><head><title>Octavo</title></head>
<body><h1>Octavo</h1><p>This port is for agents and servers of Octavo and Octopus Deploy. It works.</p></body></html>
`

// givePage answers whoever does not speak Halibut, such as a Tentacle's probe before it registers (tentacle-protocol.md 1.18).
func (c *conn) givePage() error {
	_, err := fmt.Fprintf(c, "HTTP/1.0 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n"+
		"X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n%s", len(page), page)
	if err != nil {
		return err
	}
	if err := c.tls.CloseWrite(); err != nil {
		return err
	}
	// What the peer still sends must be read, or closing would destroy the page on its way.
	_ = c.raw.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = io.CopyN(io.Discard, c.in, maxPreamble) // ends at the peer's close, or after a second
	return nil
}
