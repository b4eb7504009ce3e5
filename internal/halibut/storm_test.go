package halibut

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestThousandAgentsComeBackRow59: agents that all reconnect at once are let in with few handshakes at a time, while
// others only hold connections open. OCTAVO_TEST_LONG makes it a thousand.
func TestThousandAgentsComeBackRow59(t *testing.T) {
	agents, turns := 200, 8
	if os.Getenv("OCTAVO_TEST_LONG") != "" {
		agents, turns = 1000, 64
	}
	var links, now, most atomic.Int64
	all := make(chan struct{})
	polls := NewPolls(PollsConfig{Linked: func(Peer) func() {
		if links.Add(1) == int64(agents) {
			close(all)
		}
		return nil
	}})
	listener := NewListener(ListenerConfig{
		Identity: serverIdentity(), Polls: polls, Log: quiet(),
		Authorize: func(ctx context.Context, p Peer) error {
			most.Store(max(most.Load(), now.Add(1))) // close enough
			defer now.Add(-1)
			return trust(agentIdentity().Thumbprint)(ctx, p)
		},
	})
	listener.turns = make(chan struct{}, turns)
	ln := listenAt(t, nil)
	within(t, func(ctx context.Context) { _ = listener.Serve(ctx, ln) })
	hello := []byte{22, 3, 1, 0, 200} // the beginning of a ClientHello that never goes on
	for i := range 4 * turns {
		raw, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		if i%2 == 0 {
			if _, err := raw.Write(hello); err != nil {
				t.Fatal(err)
			}
		}
	}
	services := testServices(t, nil, nil)
	begun := time.Now()
	for i := range agents {
		within(t, func(ctx context.Context) {
			_ = Poll(ctx, PollConfig{
				Server: Endpoint{Address: ln.Addr().String(), Thumbprint: serverIdentity().Thumbprint}, Subscription: fmt.Sprintf("poll://agent%d/", i),
				Identity: agentIdentity(), Services: services, Log: quiet(),
			})
		})
	}
	select {
	case <-all:
	case <-time.After(time.Minute):
		t.Fatalf("%d of %d agents came back within a minute", links.Load(), agents)
	}
	t.Logf("%d agents in %s", agents, time.Since(begun))
	if n := most.Load(); n > int64(turns) {
		t.Errorf("%d handshakes at once, %d are allowed", n, turns)
	}
	var got string
	if err := polls.Call(soon(t), "poll://agent7/", "IEcho", "Echo", &got, "x"); err != nil || got != "x" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestSlowHandshakesGiveWay: who takes its turn and then dawdles keeps others out for a while only, and is cut in the end.
func TestSlowHandshakesGiveWay(t *testing.T) {
	warm()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		r := polling(t, m, testServices(t, nil, nil))
		r.stop()
		polls := NewPolls(PollsConfig{})
		listener := NewListener(r.listener.config)
		listener.config.Polls = polls
		listener.turns = make(chan struct{}, 1)
		ln := m.listen("slow:1")
		within(t, func(ctx context.Context) { _ = listener.Serve(ctx, ln) })
		raw, err := m.dial(t.Context(), "", "slow:1")
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		// A whole ClientHello: it takes the only turn, and reads nothing of the answer.
		first, peer := net.Pipe()
		go func() {
			d := dialer{identity: agentIdentity(), timeouts: Timeouts{}.withDefaults(), tcp: func(context.Context, string, string) (net.Conn, error) { return first, nil }}
			_, _ = d.dial(t.Context(), Endpoint{Address: "x:1", Thumbprint: serverIdentity().Thumbprint}, subscriberLine+testSubscription)
		}()
		hello := make([]byte, 4096)
		n, err := peer.Read(hello)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := raw.Write(hello[:n]); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(listener.turns) != 1 {
			t.Fatal("the slow one has no turn")
		}
		begun := time.Now()
		r.endpoint.Address = "slow:1"
		within(t, func(ctx context.Context) { r.poll(t, ctx, m, testServices(t, nil, nil)) })
		for !polls.Connected(testSubscription) {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(begun); took < turnTime/2 || took > turnTime+time.Second {
			t.Errorf("the next one came in after %s", took)
		}
		time.Sleep(time.Minute)
		if _, err := io.Copy(io.Discard, raw); err != nil {
			t.Errorf("the slow one is not cut: %v", err)
		}
		peer.Close()
	})
}

// TestOldestStrangerMakesRoom: a flood of connections that say nothing keeps nobody out.
func TestOldestStrangerMakesRoom(t *testing.T) {
	warm()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		r := polling(t, m, testServices(t, nil, nil))
		r.listener.mu.Lock()
		r.listener.maxNew = 10
		r.listener.mu.Unlock()
		var silent []net.Conn
		for range 50 {
			raw, err := m.dial(t.Context(), "", "peer:1")
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			silent = append(silent, raw)
		}
		within(t, func(ctx context.Context) {
			r.poll(t, ctx, m, testServices(t, nil, nil))
		})
		if err := r.call(soon(t), "Void", nil); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		r.listener.mu.Lock()
		fresh := r.listener.fresh.Len()
		r.listener.mu.Unlock()
		if fresh > 10 {
			t.Errorf("%d strangers are kept", fresh)
		}
		_ = silent[0].SetReadDeadline(time.Now().Add(time.Second)) // long before its own time is up
		if _, err := silent[0].Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the oldest one is still there: %v", err)
		}
	})
}

// TestDoubtedLink: a link that is doubted takes no call before it has proved that it lives; a dead one is closed.
func TestDoubtedLink(t *testing.T) {
	warm()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		r := polling(t, m, testServices(t, nil, nil))
		synctest.Wait()
		time.Sleep(10 * time.Second)
		r.polls.Doubt(testSubscription)
		synctest.Wait()
		if !r.polls.Connected(testSubscription) {
			t.Error("a living link was closed")
		}
		if err := r.call(soon(t), "Void", nil); err != nil {
			t.Error(err)
		}

		// The agent is gone, and nobody told us.
		polls := NewPolls(PollsConfig{})
		listener := NewListener(r.listener.config)
		listener.config.Polls = polls
		ln := m.listen("other:1")
		within(t, func(ctx context.Context) { _ = listener.Serve(ctx, ln) })
		d := dialer{identity: agentIdentity(), timeouts: Timeouts{}.withDefaults(), tcp: m.dial}
		link, err := d.dial(t.Context(), Endpoint{Address: "other:1", Thumbprint: serverIdentity().Thumbprint}, subscriberLine+testSubscription)
		if err != nil {
			t.Fatal(err)
		}
		defer link.abort()
		synctest.Wait()
		begun := time.Now()
		polls.Doubt(testSubscription)
		synctest.Wait()
		c, err := NewCall("IEcho", "Void")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := polls.Carry(soon(t), testSubscription, c); !errors.Is(err, ErrNoLink) || !NeverSent(err) {
			t.Errorf("a call over a doubted link: %v", err)
		}
		if took := time.Since(begun); took > 11*time.Second {
			t.Errorf("it took %s", took)
		}
		if polls.Connected(testSubscription) {
			t.Error("the dead link is still there")
		}
	})
}

// TestCarried: a call that went to another node as a document, and its answer that came back so, are what they would
// have been here.
func TestCarried(t *testing.T) {
	r := polling(t, nil, testServices(t, nil, nil))
	carry := func(into any, method string, params ...any) error {
		mine, err := NewCall("IEcho", method, params...)
		if err != nil {
			return err
		}
		doc, err := mine.Document()
		if err != nil {
			return err
		}
		sent := map[GUID]*DataStream{}
		for _, s := range mine.Streams() {
			sent[s.ID] = s
		}
		theirs, err := ReadCall(doc, func(id GUID, _ int64) (io.ReadCloser, error) { return sent[id].Open() })
		if err != nil {
			return err
		}
		for { // the first link may not be there yet
			answer, err := r.polls.Carry(soon(t), testSubscription, theirs)
			if errors.Is(err, ErrNoLink) {
				continue
			}
			if err != nil {
				return err
			}
			defer answer.Drop()
			if doc, err = answer.Document(); err != nil {
				return err
			}
			back, err := ReadAnswer(doc, t.TempDir(), func(id GUID, _ int64) (io.ReadCloser, error) {
				for _, s := range answer.Streams() {
					if s.ID == id {
						return s.Open()
					}
				}
				return nil, errors.New("unknown stream")
			})
			if err != nil {
				return err
			}
			return mine.Result(back, into)
		}
	}
	var got note
	if err := carry(&got, "Note", note{"n", BytesStream([]byte("bytes"))}); err != nil || got.Text != "n!" || readAll(t, got.More) != "bytes" {
		t.Errorf("%+v, %v", got, err)
	}
	_ = got.More.Close()
	if err := carry(&got, "Notes", note{"", BytesStream([]byte("a"))}, note{"", BytesStream([]byte("b"))}); err != nil || got.Text != "ab" {
		t.Errorf("%+v, %v", got, err)
	}
	if err := carry(nil, "Typed"); !isClass(err, ServiceThrew) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v", err)
	}
	if err := carry(nil, "Void"); err != nil {
		t.Error(err)
	}
	for name, doc := range map[string][]byte{"no document": []byte("x"), "the null message": nullMessage} {
		if _, err := ReadCall(bytes.Clone(doc), nil); err == nil {
			t.Errorf("a call was read from %s", name)
		}
		if _, err := ReadAnswer(bytes.Clone(doc), "", nil); err == nil {
			t.Errorf("an answer was read from %s", name)
		}
	}
}
