package hub

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/halibut"
)

// TestTrustRow62: only who shows the thumbprint and the subscription of one row comes in, on every node, and only as
// long as the row is there.
func TestTrustRow62(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		w.trust("Machines-2", "poll://second/", strangerID().Thumbprint)
		agent := newAgent("agent")
		// Each of the two is trusted, but not with the other's subscription.
		agent.dials(t, b.address, agentIdentity(), "poll://second/")
		agent.dials(t, a.address, strangerID(), subscription)
		for n, thumbprint := range map[*node]string{b: agentIdentity().Thumbprint, a: strangerID().Thumbprint} {
			w.until("the refusal is in the log of "+n.name, func() bool {
				return n.log.has("refused a connection") && n.log.has("no machine has thumbprint "+thumbprint)
			})
		}
		if n := w.count("SELECT count(*) FROM link"); n != 0 {
			t.Errorf("%d links of strangers", n)
		}
		// A server with another certificate than the agent trusts gets nothing either.
		within(t, func(ctx context.Context) {
			_ = halibut.Poll(ctx, halibut.PollConfig{
				Server: halibut.Endpoint{Address: a.address, Thumbprint: strangerID().Thumbprint}, Subscription: subscription, Identity: agentIdentity(),
				Services: agent.services(), Log: slog.New(slog.NewTextHandler(b.log, nil)),
			})
		})
		w.until("the agent says why it does not talk", func() bool { return b.log.has("presented a certificate with thumbprint") })
		agent.polls(b)
		begun := time.Now()
		w.do(func(ctx context.Context, tx *db.Tx) error { return RemoveTrust(ctx, tx, "Machines-1") })
		w.until("the link is cut", func() bool { return !b.polls.Connected(subscription) })
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
		w.until("its row is gone", func() bool { return w.count("SELECT count(*) FROM link") == 0 })
	})
}

// TestTrustGivenElsewhere: a machine that was saved on one node is known to the others at once, and its links go with a
// changed thumbprint.
func TestTrustGivenElsewhere(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		must(t, a.d.InTx(soon(t), func(tx *db.Tx) error {
			return SetTrust(context.Background(), tx, Trust{Machine: "Machines-3", Address: "poll://Third", Thumbprint: strangerID().Thumbprint})
		}))
		agent := newAgent("third")
		agent.dials(t, b.address, strangerID(), "poll://third/")
		begun := time.Now()
		w.until("the agent is linked", func() bool { return b.polls.Connected("poll://third/") })
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
		must(t, a.d.InTx(soon(t), func(tx *db.Tx) error {
			return SetTrust(context.Background(), tx, Trust{Machine: "Machines-3", Address: "poll://third/", Thumbprint: agentIdentity().Thumbprint})
		}))
		w.until("the link is cut", func() bool { return !b.polls.Connected("poll://third/") })
	})
}

// TestWithoutHints: where no hint gets through, polling finds everything, only later. SQLite's hints stay in a handle.
func TestWithoutHints(t *testing.T) {
	t.Parallel()
	w := newWorld(t, db.SQLite)
	a, b := w.nodeOn("a", dbtest.Open(t, w.where)), w.nodeOn("b", dbtest.Open(t, w.where))
	stop := newAgent("agent").polls(b)
	if got, err := a.echo(soon(t), "x"); got != "agent x" {
		t.Errorf("%q, %v", got, err)
	}
	stop()
	agent := newAgent("agent")
	agent.polls(b)
	ctx, cancel := context.WithCancel(context.Background())
	done := a.wait(ctx)
	<-agent.started
	cancel()
	<-done
	w.until("the link of the call is closed", func() bool { return !b.polls.Connected(subscription) })
	close(agent.release)
	w.clean()
	newAgent("agent").polls(a)
	begun := time.Now()
	w.do(func(ctx context.Context, tx *db.Tx) error { return RemoveTrust(ctx, tx, "Machines-1") })
	w.until("the link is cut", func() bool { return !a.polls.Connected(subscription) })
	if took := time.Since(begun); took > trustPoll+2*time.Second {
		t.Errorf("it took %s", took)
	}
}

// TestEveryNodeIsPolledRow60Row61: agents that poll each node, at addresses of its own or at ports of its own, are
// called over any link.
func TestEveryNodeIsPolledRow60Row61(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		agent := newAgent("agent")
		agent.polls(a)
		agent.polls(b)
		for _, n := range []*node{a, b} {
			if got, err := n.echo(soon(t), "x"); got != "agent x" {
				t.Errorf("from %s: %q, %v", n.name, got, err)
			}
		}
		// Both links proved that they live, so neither is cut.
		w.until("both nodes hold a link", func() bool { return w.count("SELECT count(*) FROM link") == 2 })
		if !a.polls.Connected(subscription) || !b.polls.Connected(subscription) {
			t.Error("a link of an agent that polls several nodes was cut")
		}
	})
}

// TestOneAddressRow65: an agent that knows one address, behind which is every node, gets work from all of them.
func TestOneAddressRow65(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		balancer, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		var conns sync.WaitGroup
		within(t, func(ctx context.Context) {
			defer conns.Wait()
			stop := context.AfterFunc(ctx, func() { balancer.Close() })
			defer stop()
			for i := 0; ; i++ {
				in, err := balancer.Accept()
				if err != nil {
					return
				}
				out, err := net.Dial("tcp", []string{a.address, b.address}[i%2])
				if err != nil {
					in.Close()
					continue
				}
				end := context.AfterFunc(ctx, func() { in.Close(); out.Close() })
				conns.Go(func() { defer end(); defer out.Close(); _, _ = io.Copy(out, in) })
				conns.Go(func() { defer in.Close(); _, _ = io.Copy(in, out) })
			}
		})
		agent := newAgent("agent")
		agent.dials(t, balancer.Addr().String(), agentIdentity(), subscription)
		w.until("the agent is linked", func() bool { return w.count("SELECT count(*) FROM link") == 1 })
		for _, n := range []*node{a, b} {
			if got, err := n.echo(soon(t), "x"); got != "agent x" {
				t.Errorf("from %s: %q, %v", n.name, got, err)
			}
		}
	})
}

// TestListeningRow64: any node dials a listening agent.
func TestListeningRow64(t *testing.T) {
	t.Parallel()
	w := newWorld(t, db.SQLite)
	agent := newAgent("agent")
	listener := halibut.NewListener(halibut.ListenerConfig{
		Identity: agentIdentity(), Services: agent.services(), StreamDir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Authorize: func(_ context.Context, p halibut.Peer) error {
			if p.Thumbprint != serverIdentity().Thumbprint {
				t.Errorf("a node shows %s", p.Thumbprint)
			}
			return nil
		},
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	within(t, func(ctx context.Context) { _ = listener.Serve(ctx, ln) })
	to := Trust{Address: "https://" + ln.Addr().String() + "/", Thumbprint: agentIdentity().Thumbprint}
	for _, name := range []string{"a", "b"} {
		n := w.node(name)
		var got string
		if err := n.call(soon(t), to, "IEcho", "Echo", &got, "x"); err != nil || got != "agent x" {
			t.Errorf("from %s: %q, %v", name, got, err)
		}
		n.Close()
	}
	if n := w.count("SELECT count(*) FROM call"); n != 0 {
		t.Errorf("%d calls went through the database", n)
	}
}

// frozen is a connection that may lose everything without a word, as behind a firewall that forgot it.
type frozen struct {
	net.Conn
	cold atomic.Bool
	ends chan struct{}
	once sync.Once
}

func (f *frozen) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	if f.cold.Load() {
		<-f.ends
		return 0, io.EOF
	}
	return n, err
}

func (f *frozen) Write(p []byte) (int, error) {
	if f.cold.Load() {
		return len(p), nil
	}
	return f.Conn.Write(p)
}

func (f *frozen) Close() error {
	f.once.Do(func() { close(f.ends) })
	return f.Conn.Close()
}

// TestSilentLinkIsFoundOutRow59: an agent that lost its link without a word and links to another node is called there,
// also by the node that still believes in the old link.
func TestSilentLinkIsFoundOutRow59(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.quick.Proof = 200 * time.Millisecond
		a, b := w.node("a"), w.node("b")
		var link atomic.Pointer[frozen]
		lost := newAgent("lost")
		within(t, func(ctx context.Context) {
			_ = halibut.Poll(ctx, halibut.PollConfig{
				Server: halibut.Endpoint{Address: b.address, Thumbprint: serverIdentity().Thumbprint}, Subscription: subscription, Identity: agentIdentity(),
				Services: lost.services(), Log: slog.New(slog.DiscardHandler),
				Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
					raw, err := (&net.Dialer{}).DialContext(ctx, network, address)
					if err != nil {
						return nil, err
					}
					link.Store(&frozen{Conn: raw, ends: make(chan struct{})})
					return link.Load(), nil
				},
			})
		})
		w.until("the agent is linked to b", func() bool { return w.count("SELECT count(*) FROM link WHERE node = 'b'") == 1 })
		link.Load().cold.Store(true)
		newAgent("found").polls(a)
		w.until("b knows that its link is dead", func() bool { return !b.polls.Connected(subscription) })
		if got, err := b.echo(soon(t), "x"); got != "found x" {
			t.Errorf("%q, %v", got, err)
		}
	})
}
