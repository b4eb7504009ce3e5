package halibut

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// In these tests the time is synctest's and the network is in memory; TLS is real.

// TestIdlePollingLink is acceptance check 9: null messages keep a link up.
func TestIdlePollingLink(t *testing.T) {
	warm()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		r := polling(t, m, testServices(t, nil, nil))
		<-time.After(10 * time.Minute)
		if n := m.dials.Load(); n != 2 {
			t.Errorf("the two links were dialled %d times within 10 minutes", n)
		}
		if !r.polls.Connected(testSubscription) {
			t.Error("the agent is not connected")
		}
		began := time.Now()
		if err := r.call(soon(t), "Void", nil); err != nil || time.Since(began) > time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		r.stop()
		synctest.Wait()
		if r.polls.Connected(testSubscription) {
			t.Error("a link whose agent is gone is still there")
		}
		if n := len(r.polls.queues); n != 0 {
			t.Errorf("%d queues stay", n)
		}
	})
}

// warm makes the keys outside the bubble: once for all tests.
func warm() { serverIdentity(); agentIdentity(); strangerID() }

func TestNotCollected(t *testing.T) {
	warm()
	synctest.Test(t, func(t *testing.T) {
		polls := NewPolls(PollsConfig{})
		began := time.Now()
		err := polls.Call(context.Background(), testSubscription, "IEcho", "Void", nil)
		var uncollected *UncollectedError
		if !errors.As(err, &uncollected) || !NeverSent(err) || !Retryable(err) || !strings.Contains(err.Error(), "(00:02:00)") {
			t.Errorf("%v", err)
		}
		if waited := time.Since(began); waited != 2*time.Minute {
			t.Errorf("it waited %v", waited)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err = polls.Call(ctx, testSubscription, "IEcho", "Void", nil)
		if !NeverSent(err) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("cancelled before it was collected: %v", err)
		}
		if len(polls.queues) != 0 {
			t.Error("an empty queue stays")
		}
	})
}

// TestCancelledWhileRunning: the connection is closed, the caller learns that the call may have run, and the agent is reached again.
func TestCancelledWhileRunning(t *testing.T) {
	warm()
	for name, direct := range directions {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				started, release := make(chan struct{}), make(chan struct{})
				r := direct(t, newMemory(), testServices(t, started, release))
				ctx, cancel := context.WithCancel(context.Background())
				go func() { <-started; cancel() }()
				began := time.Now()
				err := r.call(ctx, "Wait", nil)
				if waited := time.Since(began); waited > time.Second {
					t.Errorf("the caller got away after %v", waited)
				}
				var transfer *TransferError
				if !errors.As(err, &transfer) || NeverSent(err) || !errors.Is(err, context.Canceled) || Retryable(err) {
					t.Errorf("%v", err)
				}
				close(release)
				if err := r.call(soon(t), "Void", nil); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestLongCall: a call may run for ten minutes, and not longer.
func TestLongCall(t *testing.T) {
	warm()
	for name, direct := range directions {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				started, release := make(chan struct{}, 2), make(chan struct{})
				r := direct(t, newMemory(), testServices(t, started, release))
				go func() {
					<-time.After(9 * time.Minute)
					release <- struct{}{}
				}()
				if err := r.call(context.Background(), "Wait", nil); err != nil {
					t.Errorf("nine minutes: %v", err)
				}
				began := time.Now()
				err := r.call(context.Background(), "Wait", nil)
				var transfer *TransferError
				if !errors.As(err, &transfer) || !Retryable(err) || time.Since(began) < 10*time.Minute {
					t.Errorf("for ever: %v after %v", err, time.Since(began))
				}
				close(release)
			})
		})
	}
}

// TestPool: the second call uses the first one's connection; after a minute there is none left.
func TestPool(t *testing.T) {
	warm()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		r := listening(t, m, testServices(t, nil, nil))
		for range 3 {
			if err := r.call(soon(t), "Void", nil); err != nil {
				t.Fatal(err)
			}
			<-time.After(40 * time.Second)
		}
		if n := m.dials.Load(); n != 1 {
			t.Errorf("%d connections for three calls", n)
		}
		<-time.After(time.Minute)
		if n := len(r.client.pool); n != 0 {
			t.Errorf("%d connections stay in the pool", n)
		}
		if err := r.call(soon(t), "Void", nil); err != nil || m.dials.Load() != 2 {
			t.Errorf("%v, %d connections", err, m.dials.Load())
		}
	})
}

// TestDeadPooledConnection: nothing was sent, so the call goes on over a new one.
func TestDeadPooledConnection(t *testing.T) {
	warm()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		r := listening(t, m, testServices(t, nil, nil))
		if err := r.call(soon(t), "Void", nil); err != nil {
			t.Fatal(err)
		}
		if n := r.listener.Disconnect(func(Peer) bool { return true }); n != 1 {
			t.Fatalf("%d connections", n)
		}
		if err := r.call(soon(t), "Void", nil); err != nil || m.dials.Load() != 2 {
			t.Errorf("%v, %d connections", err, m.dials.Load())
		}
	})
}

// TestConnectingIsRepeated: an agent that restarts is waited for; one that stays away is not.
func TestConnectingIsRepeated(t *testing.T) {
	warm()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		r := listening(t, m, testServices(t, nil, nil))
		r.stop()
		err := r.call(context.Background(), "Void", nil)
		if !NeverSent(err) || !Retryable(err) || m.dials.Load() != connectTries {
			t.Errorf("%v after %d dials", err, m.dials.Load())
		}
		go func() {
			<-time.After(2500 * time.Millisecond)
			ln := m.listen("peer:1")
			within(t, func(ctx context.Context) { _ = r.listener.Serve(ctx, ln) })
		}()
		if err := r.call(context.Background(), "Void", nil); err != nil {
			t.Error(err)
		}
	})
}

// TestPollerComesBack: soon after a restart of the server, and not all at once after a long outage.
func TestPollerComesBack(t *testing.T) {
	warm()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		r := polling(t, m, testServices(t, nil, nil))
		if err := r.call(soon(t), "Void", nil); err != nil {
			t.Fatal(err)
		}
		r.listener.Disconnect(func(Peer) bool { return true })
		synctest.Wait() // until the links are gone: a call they had taken would be lost with them
		began := time.Now()
		if err := r.call(context.Background(), "Void", nil); err != nil || time.Since(began) > pollPauseMin {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
	for _, test := range []struct {
		outage time.Duration
		random float64
		want   time.Duration
	}{
		{0, 0.5, 5 * time.Second},
		{10 * time.Second, 0.5, 15 * time.Second},
		{time.Hour, 0, 2 * time.Minute},
	} {
		if got := pollPause(test.outage, test.random); got != test.want {
			t.Errorf("after %v: %v", test.outage, got)
		}
	}
}

// TestStalledPeer is acceptance check 8: a peer that says nothing for a minute is given up, before and after it introduced itself.
func TestStalledPeer(t *testing.T) {
	warm()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		listening(t, m, testServices(t, nil, nil))
		d := dialer{serverIdentity(), m.dial, Timeouts{}.withDefaults()}
		mute, err := m.dial(context.Background(), "", "peer:1")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := io.ReadAll(mute); err != nil || time.Since(began) != time.Minute {
			t.Errorf("a mute peer: %v after %v", err, time.Since(began))
		}
		link, err := d.dial(context.Background(), Endpoint{Address: "peer:1", Thumbprint: agentIdentity().Thumbprint}, clientLine)
		if err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		if _, err := link.Write([]byte{0x7a}); err != nil { // the beginning of a message
			t.Fatal(err)
		}
		if err := link.awaitFirst(time.Hour); err == nil || time.Since(began) < time.Minute || time.Since(began) > 70*time.Second {
			t.Errorf("a stalled peer: %v after %v", err, time.Since(began))
		}
		link.abort()
	})
}

// trickle is a connection whose writes go out byte by byte, each in a TLS record and a packet of its own.
type trickle struct{ *conn }

func (c trickle) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := c.conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestByteByByte(t *testing.T) {
	m := newMemory()
	listening(t, m, testServices(t, nil, nil))
	d := dialer{serverIdentity(), m.dial, Timeouts{}.withDefaults()}
	link, err := d.dial(soon(t), Endpoint{Address: "peer:1", Thumbprint: agentIdentity().Thumbprint}, clientLine)
	if err != nil {
		t.Fatal(err)
	}
	defer link.close()
	slow := trickle{link}
	for range 2 {
		sent := note{"slow", BytesStream([]byte("bytes"))}
		c, err := NewCall("IEcho", "Note", sent)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := encodeRequest(c.request, "https://peer:1/", "")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(writeMessage(slow, doc), writeStream(slow, c.streams[0])); err != nil {
			t.Fatal(err)
		}
		a, err := c.receive(link, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		var got note
		if err := c.Result(a, &got); err != nil || got.Text != "slow!" || readAll(t, got.More) != "bytes" {
			t.Errorf("%q, %v", got.Text, err)
		}
		if _, err := io.WriteString(slow, "\r\nNEXT\r\n"); err != nil { // an empty line before the word is skipped
			t.Fatal(err)
		}
		if err := link.awaitWord(proceedWord); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSlowPeer: slow is not stalled. A byte every half minute is fine, for as long as it takes.
func TestSlowPeer(t *testing.T) {
	warm()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		listening(t, m, testServices(t, nil, nil))
		d := dialer{serverIdentity(), m.dial, Timeouts{}.withDefaults()}
		link, err := d.dial(context.Background(), Endpoint{Address: "peer:1", Thumbprint: agentIdentity().Thumbprint}, clientLine)
		if err != nil {
			t.Fatal(err)
		}
		defer link.abort()
		s := BytesStream([]byte("slow bytes"))
		c, err := NewCall("IEcho", "Hash", "slow", s)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := encodeRequest(c.request, "", "")
		if err != nil {
			t.Fatal(err)
		}
		slow := writerFunc(func(p []byte) (int, error) {
			for i := range p {
				<-time.After(30 * time.Second)
				if _, err := link.Write(p[i : i+1]); err != nil {
					return i, err
				}
			}
			return len(p), nil
		})
		if err := errors.Join(writeMessage(link, doc), writeStream(slow, s)); err != nil {
			t.Fatal(err)
		}
		if err := link.awaitFirst(time.Minute); err != nil {
			t.Fatal(err)
		}
		a, err := c.receive(link, t.TempDir())
		if err != nil || a.Error != nil {
			t.Fatalf("%+v, %v", a, err)
		}
	})
}

// TestDeadLinkTakesNoCall: whichever of a call and the end of the link is seen first, the caller learns that nothing was sent.
func TestDeadLinkTakesNoCall(t *testing.T) {
	taken := 0
	for range 200 {
		q := &pollQueue{calls: make(chan *pending)}
		seen := &watch{done: make(chan struct{}), err: io.EOF}
		close(seen.done)
		mine := &pending{done: make(chan outcome, 1)}
		offered, over := make(chan struct{}), make(chan struct{})
		var caller sync.WaitGroup
		caller.Go(func() {
			close(offered)
			select {
			case q.calls <- mine:
				taken++
				if out := <-mine.done; !out.unsent {
					t.Errorf("a dead link answered %+v", out)
				}
			case <-over:
			}
		})
		<-offered
		next, _, err := q.next(context.Background(), &pollLink{}, seen, Timeouts{Null: time.Hour})
		if next != nil || err == nil {
			t.Errorf("a dead link took a call (%v)", err)
		}
		close(over)
		caller.Wait()
	}
	t.Logf("%d of 200 calls were taken and given back", taken)
}

// TestCallOutlivesDeadLink: a call that a dead link gave back waits for the next one.
func TestCallOutlivesDeadLink(t *testing.T) {
	polls := NewPolls(PollsConfig{})
	q := polls.enter("poll://a/", nil)
	defer polls.leave("poll://a/", q, nil)
	var links sync.WaitGroup
	links.Go(func() {
		dead := <-q.calls
		dead.done <- outcome{unsent: true}
		alive := <-q.calls
		alive.done <- outcome{answer: &Answer{response: response{ID: alive.ID}}}
	})
	if err := polls.Call(soon(t), "poll://a", "I", "M", nil); err != nil {
		t.Error(err)
	}
	links.Wait()
}

// TestWrongResponse: a response to another request ends the connection.
func TestWrongResponse(t *testing.T) {
	m := newMemory()
	ln := m.listen("peer:1")
	within(t, func(ctx context.Context) {
		l := NewListener(ListenerConfig{
			Identity: agentIdentity(), Log: quiet(), Services: NewServices(nil),
			Authorize: func(context.Context, Peer) error { return nil },
		})
		raw, err := ln.Accept()
		if err != nil {
			return
		}
		defer raw.Close()
		c, _, err := l.welcome(ctx, raw, quiet())
		if err != nil {
			t.Error(err)
			return
		}
		_ = c.writeIdentity(serverLine)
		var r request
		if _, _, err := c.receive(&r, ""); err != nil {
			t.Error(err)
			return
		}
		doc, err := encodeResponse(response{ID: "another"})
		if err != nil {
			t.Error(err)
		}
		_ = c.send(doc, nil)
		_ = c.awaitFirst(time.Minute)
	})
	client := NewClient(ClientConfig{Identity: serverIdentity(), Dial: m.dial, Log: quiet()})
	defer client.Close()
	err := client.Call(soon(t), Endpoint{Address: "peer:1", Thumbprint: agentIdentity().Thumbprint}, "IEcho", "Void", nil)
	var transfer *TransferError
	if !errors.As(err, &transfer) || !strings.Contains(err.Error(), `"another"`) {
		t.Errorf("%v", err)
	}
}

// TestAgentDiesDuringCall: the caller learns at once that the call may have run.
func TestAgentDiesDuringCall(t *testing.T) {
	warm()
	for name, direct := range directions {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				started := make(chan struct{})
				release := make(chan struct{})
				r := direct(t, m, testServices(t, started, release))
				go func() {
					<-started
					r.listener.Disconnect(func(Peer) bool { return true })
				}()
				began := time.Now()
				err := r.call(context.Background(), "Wait", nil)
				var transfer *TransferError
				if !errors.As(err, &transfer) || !Retryable(err) || time.Since(began) > time.Second {
					t.Errorf("%v after %v", err, time.Since(began))
				}
				close(release)
			})
		})
	}
}

// TestShortSource: a source shorter than declared breaks the call, not the agent's idea of the file.
func TestShortSource(t *testing.T) {
	for name, direct := range directions {
		t.Run(name, func(t *testing.T) {
			r := direct(t, nil, testServices(t, nil, nil))
			s := BytesStream([]byte("hi"))
			s.Length = 100
			err := r.call(soon(t), "Hash", nil, "short", s)
			var transfer *TransferError
			if !errors.As(err, &transfer) {
				t.Errorf("%v", err)
			}
			for deadline := time.Now().Add(10 * time.Second); files(t, r.agentDir) != 0; {
				if time.Now().After(deadline) {
					t.Fatal("half a stream stays on the agent")
				}
				<-time.After(time.Millisecond)
			}
		})
	}
}

// TestManyAgents is acceptance check 3: fifty agents with five connections, a thousand calls, no goroutine left (see TestMain).
func TestManyAgents(t *testing.T) {
	m := newMemory()
	polls := NewPolls(PollsConfig{})
	var links atomic.Int64
	polls.config.Linked = func(Peer) func() { links.Add(1); return func() { links.Add(-1) } }
	listener := NewListener(ListenerConfig{
		Identity: serverIdentity(), Polls: polls, Log: quiet(), Authorize: trust(agentIdentity().Thumbprint),
	})
	ln := m.listen("server:1")
	stop := within(t, func(ctx context.Context) { _ = listener.Serve(ctx, ln) })
	name := func(i int) string { return "poll://agent" + string(rune('a'+i/10)) + string(rune('a'+i%10)) + "/" }
	for i := range 50 {
		within(t, func(ctx context.Context) {
			err := Poll(ctx, PollConfig{
				Server:       Endpoint{Address: "server:1", Thumbprint: serverIdentity().Thumbprint},
				Subscription: name(i), Identity: agentIdentity(), Connections: 5, Dial: m.dial, Log: quiet(),
				Services: testServices(t, nil, nil),
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	errs := make(chan error, 1000)
	for i := range 1000 {
		go func() {
			var got string
			err := polls.Call(soon(t), name(i%50), "IEcho", "Echo", &got, name(i%50))
			if err == nil && got != name(i%50) {
				err = errors.New("the answer to another call: " + got)
			}
			errs <- err
		}()
	}
	for range 1000 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if n := links.Load(); n != 0 {
		t.Errorf("%d links were not reported as ended", n)
	}
}
