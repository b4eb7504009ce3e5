package hub

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // the wire's hash of an upload
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/halibut"
	"github.com/octavo/octavo/internal/tentacle"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("database/sql.(*DB).connectionOpener"))
}

// TestCallThroughAnotherNodeRow59: an agent that is attached to one node gets work from every node.
func TestCallThroughAnotherNodeRow59(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		agent := newAgent("agent")
		agent.polls(b)
		for _, n := range []*node{a, b} {
			if is, err := n.Connected(soon(t), subscription); !is || err != nil {
				t.Errorf("node %s believes that the agent is not connected (%v)", n.name, err)
			}
			if got, err := n.echo(soon(t), "grüße"); err != nil || got != "agent grüße" {
				t.Errorf("from %s: %q, %v", n.name, got, err)
			}
			var remote *halibut.RemoteError
			if err := n.call(soon(t), theAgent, "IEcho", "Fail", nil); !errors.As(err, &remote) || remote.Message != "it failed" || remote.Class != halibut.ServiceThrew {
				t.Errorf("from %s: the agent's own failure is %#v", n.name, err)
			}
			if err := n.call(soon(t), theAgent, "INothing", "Do", nil); !errors.As(err, &remote) || remote.Class != halibut.NoService {
				t.Errorf("from %s: a missing service is %#v", n.name, err)
			}
			var large string
			if err := n.call(soon(t), theAgent, "IEcho", "Large", &large, 3<<20); err != nil || len(large) != 3<<20 {
				t.Errorf("from %s: %d bytes came, %v", n.name, len(large), err)
			}
			if got, err := n.echo(soon(t), strings.Repeat("y", 2<<20)); err != nil || len(got) != 2<<20+len("agent ") {
				t.Errorf("from %s: a large request: %d bytes, %v", n.name, len(got), err)
			}
		}
		var calls sync.WaitGroup
		for i := range 20 {
			calls.Go(func() {
				n := []*node{a, b}[i%2]
				if got, err := n.echo(soon(t), fmt.Sprint(i)); err != nil || got != fmt.Sprint("agent ", i) {
					t.Errorf("call %d: %q, %v", i, got, err)
				}
			})
		}
		calls.Wait()
		w.clean()
		if is, err := a.Connected(soon(t), "poll://other/"); is || err != nil {
			t.Errorf("an agent that nobody knows is connected (%v)", err)
		}
	})
}

// TestAgentLinksLaterRow59: a call waits for its agent, wherever it comes.
func TestAgentLinksLaterRow59(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		answers := make(chan string, 2)
		for _, n := range []*node{a, b} {
			go func() {
				got, err := n.echo(soon(t), "late")
				answers <- fmt.Sprint(got, err)
			}()
		}
		w.until("both calls wait", func() bool { return w.count("SELECT count(*) FROM call WHERE state = 'waiting'") == 2 })
		newAgent("agent").polls(b)
		for range 2 {
			if got := <-answers; got != "agent late<nil>" {
				t.Error(got)
			}
		}
		w.clean()
	})
}

// TestNotCollected: the words and the kind of failure are those of a single node.
func TestNotCollected(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.quick.Collect = 300 * time.Millisecond
		a := w.node("a")
		_, err := a.echo(soon(t), "nobody")
		var late *halibut.UncollectedError
		if !errors.As(err, &late) || !strings.Contains(err.Error(), "the polling endpoint did not collect the request within the allowed time (00:00:00.3") {
			t.Errorf("%v", err)
		}
		if !halibut.NeverSent(err) || !halibut.Retryable(err) || !Unreachable(err) {
			t.Errorf("%v must be worth another try", err)
		}
		w.clean()
		// Who gives up before has sent nothing.
		ctx, cancel := context.WithCancel(context.Background())
		w.quick.Collect = time.Minute
		b := w.node("b")
		done := b.wait(ctx)
		w.until("the call waits", func() bool { return w.count("SELECT count(*) FROM call") == 1 })
		cancel()
		if err := <-done; !halibut.NeverSent(err) || !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		w.clean()
	})
}

// TestCarrierDies: the caller of a call that a dead node took learns it, and is not told that nothing ran.
func TestCarrierDiesRow59(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		agent := newAgent("agent")
		stop := agent.polls(b)
		done := a.wait(soon(t))
		<-agent.started
		b.dies()
		err := <-done
		var transfer *halibut.TransferError
		if !errors.As(err, &transfer) || !halibut.Retryable(err) || halibut.NeverSent(err) || !strings.Contains(err.Error(), "node b") {
			t.Errorf("%v", err)
		}
		// Links of the dead do not count.
		if is, err := a.Connected(soon(t), subscription); is || err != nil {
			t.Errorf("the agent is connected to a dead node only (%v)", err)
		}
		short, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		if _, err := a.echo(short, "x"); !halibut.NeverSent(err) {
			t.Errorf("a node whose epoch is over took a call: %v", err)
		}
		if n := agent.ran.Load(); n != 1 {
			t.Errorf("%d calls ran", n)
		}
		close(agent.release)
		stop()
		again := newAgent("again")
		again.polls(a)
		if got, err := a.echo(soon(t), "x"); got != "again x" {
			t.Errorf("%q, %v", got, err)
		}
		w.clean()
	})
}

// TestNodeComesBack: a node that was declared dead and registers again offers the links that it still holds.
func TestNodeComesBack(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		newAgent("agent").polls(b)
		b.dies()
		b.registers()
		if got, err := a.echo(soon(t), "x"); got != "agent x" {
			t.Errorf("%q, %v", got, err)
		}
		w.clean()
	})
}

// TestCompleteIsNotRepeated: it is the one verb that is not safe to repeat.
func TestCompleteIsNotRepeated(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		agent := newAgent("agent")
		agent.polls(b)
		done := make(chan error, 1)
		go func() { done <- a.Complete(soon(t), theAgent, "ticket") }()
		<-agent.started
		agent.polls(a) // another link is there, if it were wanted
		b.dies()
		if err := <-done; !Unreachable(err) || halibut.NeverSent(err) {
			t.Errorf("%v", err)
		}
		close(agent.release)
		if n := agent.ran.Load(); n != 1 {
			t.Errorf("it ran %d times", n)
		}
	})
}

// TestNewestLinkWinsRow59: of several links the newest is used; when it ends, the others are.
func TestNewestLinkWinsRow59(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b, c := w.node("a"), w.node("b"), w.node("c")
		newAgent("first").polls(b)
		stop := newAgent("second").polls(a)
		if got, err := c.echo(soon(t), "x"); got != "second x" {
			t.Errorf("%q, %v", got, err)
		}
		stop()
		w.until("the end of the newest link is known", func() bool { return w.count("SELECT count(*) FROM link") == 1 })
		if got, err := c.echo(soon(t), "x"); got != "first x" {
			t.Errorf("%q, %v", got, err)
		}
		newAgent("third").polls(a)
		a.dies()
		if got, err := c.echo(soon(t), "x"); got != "first x" {
			t.Errorf("the newest link is a dead node's: %q, %v", got, err)
		}
		w.clean()
	})
}

// TestFenceIsCheckedWhenTaken: a call of a task that has another owner meanwhile is not made.
func TestFenceIsCheckedWhenTaken(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		w.exec(`INSERT INTO task (id, number, space, kind, description, search, arguments, priority, project, environment, tenant, runbook, batch, created, queue_time, state, updated)
			VALUES ('ServerTasks-1', 1, '', 'k', '', '', '{}', FALSE, '', '', '', '', '', 0, 0, 'live', 0)`)
		w.exec(`INSERT INTO queue (task, kind, lane, place, state, due, head, queue_time, node, incarnation, claim, updated)
			VALUES ('ServerTasks-1', 'k', 0, 1, 'running', TRUE, TRUE, 0, 'a', 1, 7, 0)`)
		fence := tentacle.Fence{TaskId: "ServerTasks-1", Incarnation: 1, Claim: 7}
		lost := make(chan error, 1)
		go func() {
			_, err := a.echo(WithFence(soon(t), fence), "x")
			lost <- err
		}()
		w.until("the call waits", func() bool {
			return w.count("SELECT count(*) FROM call WHERE task = 'ServerTasks-1' AND claim = 7") == 1
		})
		w.exec("UPDATE queue SET claim = 8")
		agent := newAgent("agent")
		agent.polls(b)
		if err := <-lost; !errors.Is(err, ErrNotOwner) || halibut.Retryable(err) {
			t.Errorf("%v", err)
		}
		if n := agent.ran.Load(); n != 0 {
			t.Errorf("a call ran whose task has another owner")
		}
		fence.Claim = 8
		if got, err := a.echo(WithFence(soon(t), fence), "x"); got != "agent x" {
			t.Errorf("%q, %v", got, err)
		}
		w.exec("UPDATE queue SET state = 'released'")
		if _, err := a.echo(WithFence(soon(t), fence), "x"); !errors.Is(err, ErrNotOwner) {
			t.Errorf("the task was released: %v", err)
		}
		w.clean()
	})
}

// TestWhoTakes is the rule of taking, statement by statement: which of two nodes may take a call.
func TestWhoTakes(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		for _, test := range []struct {
			name, but string // a statement that changes the situation in which b, with the newest link, may take
			lists     string // who finds the call
			takes     string // whom the call lets take it
		}{
			{"as it is", "", "b", "ab"},
			{"the newest link's node is dead", "UPDATE node SET state = 'dead', epoch = 2 WHERE name = 'b'", "ab", "a"}, // b does not know it yet
			{"the newest link's node stopped", "UPDATE node SET state = 'stopped' WHERE name = 'b'", "ab", "a"},
			{"the newest link is of an earlier epoch", "UPDATE link SET epoch = 0 WHERE node = 'b'", "a", "ab"},
			{"equal numbers", "UPDATE link SET number = 4", "b", "ab"},
			{"the other link is newer", "UPDATE link SET number = 9 WHERE node = 'a'", "a", "ab"},
			{"another agent's link is newer", "UPDATE link SET number = 9, subscription = 'poll://y/' WHERE node = 'a'", "b", "ab"},
			{"the caller is dead", "UPDATE node SET state = 'dead' WHERE name = 'c'", "", ""},
			{"the caller registered again", "UPDATE node SET epoch = 2 WHERE name = 'c'", "", ""},
			{"the caller is not there", "DELETE FROM node WHERE name = 'c'", "", ""},
			{"it was taken", "UPDATE call SET state = 'taken', taker = 'b', taker_epoch = 1", "", ""},
		} {
			for _, node := range []string{"a", "b"} {
				err := d.InTx(t.Context(), func(tx *db.Tx) error {
					for _, q := range []string{
						`INSERT INTO node (name, machine, epoch, state, cap, draining, version, address, labels, registered)
							SELECT n, 'm', 1, 'up', 5, FALSE, '', '', '{}', 0 FROM (SELECT 'a' AS n UNION ALL SELECT 'b' UNION ALL SELECT 'c') x`,
						"INSERT INTO link (subscription, node, epoch, number, since) VALUES ('poll://x/', 'a', 1, 3, 0), ('poll://x/', 'b', 1, 4, 0)",
						`INSERT INTO call (id, subscription, state, caller, caller_epoch, taker, taker_epoch, given_up, task, incarnation, claim, request, error, created)
							VALUES ('1', 'poll://x/', 'waiting', 'c', 1, '', 0, FALSE, '', 0, 0, '', '', 0)`,
						test.but,
					} {
						if q == "" {
							continue
						}
						if _, err := tx.ExecContext(t.Context(), q); err != nil {
							return err
						}
					}
					list, err := waitingCalls(t.Context(), tx, node, 1, 10)
					if err != nil {
						return err
					}
					if want := strings.Contains(test.lists, node); want != (len(list) == 1) {
						t.Errorf("%s: node %s finds %v", test.name, node, list)
					}
					_, _, got, err := takeCall(t.Context(), tx, "1", node, 1)
					if err != nil {
						return err
					}
					if want := strings.Contains(test.takes, node); want != got {
						t.Errorf("%s: node %s may take it: %t", test.name, node, got)
					}
					return errUndo
				})
				if !errors.Is(err, errUndo) {
					t.Fatalf("%s: %v", test.name, err)
				}
			}
		}
	})
}

var errUndo = errors.New("undo")

// TestCancelClosesTheLinkRow59: there is no cancel message, so the link of a call that nobody waits for is closed,
// wherever it is.
func TestCancelClosesTheLinkRow59(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		agent := newAgent("agent")
		agent.polls(b)
		ctx, cancel := context.WithCancel(context.Background())
		done := a.wait(ctx)
		<-agent.started
		cancel()
		if err := <-done; halibut.NeverSent(err) || !Unreachable(err) || !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		w.until("the link is closed", func() bool { return !b.polls.Connected(subscription) })
		w.clean()
		close(agent.release)
	})
}

// TestCallerDies: what a dead node asked for is not begun, and what is under way is ended.
func TestCallerDies(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b, c := w.node("a"), w.node("b"), w.node("c")
		agent := newAgent("agent")
		stop := agent.polls(b)
		busy := a.wait(soon(t))
		<-agent.started
		a.dies()
		a.stop()
		w.until("the link is closed", func() bool { return !b.polls.Connected(subscription) })
		<-busy
		stop()
		close(agent.release)

		ctx, cancel := context.WithCancel(context.Background())
		early := c.wait(ctx)
		w.until("the call waits", func() bool { return w.count("SELECT count(*) FROM call WHERE caller = 'c' AND state = 'waiting'") == 1 })
		c.dies()
		second := newAgent("second")
		second.polls(b)
		if got, err := b.echo(soon(t), "x"); got != "second x" {
			t.Errorf("%q, %v", got, err)
		}
		cancel()
		<-early
		if n := second.ran.Load(); n != 1 {
			t.Errorf("%d calls ran; that of the dead node must not", n)
		}
	})
}

// TestOwnEpochEnds: a caller that is registered anew does not wait for what nobody takes any more.
func TestOwnEpochEnds(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.node("a")
		done := a.wait(soon(t))
		w.until("the call waits", func() bool { return w.count("SELECT count(*) FROM call") == 1 })
		a.dies()
		a.registers()
		if err := <-done; !halibut.NeverSent(err) || !halibut.Retryable(err) || !errors.Is(err, errOwnEpoch) {
			t.Errorf("%v", err)
		}
		w.clean()
	})
}

// TestCarrierStops: a node that stops in good order gives back what it did not send, and breaks what it did.
func TestCarrierStopsRow59(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		agent := newAgent("agent")
		gone := agent.polls(b)
		sent := a.wait(soon(t))
		<-agent.started // it holds the only connection
		queued := make(chan string, 1)
		go func() {
			got, err := a.echo(soon(t), "x")
			queued <- fmt.Sprint(got, err)
		}()
		w.until("both calls are taken", func() bool { return w.count("SELECT count(*) FROM call WHERE state = 'taken'") == 2 })
		b.stop()
		if err := <-sent; !Unreachable(err) || halibut.NeverSent(err) {
			t.Errorf("%v", err)
		}
		if n := w.count("SELECT count(*) FROM link"); n != 0 {
			t.Errorf("%d links of the stopped node are left", n)
		}
		close(agent.release)
		gone()
		newAgent("again").polls(a)
		if got := <-queued; got != "again x<nil>" {
			t.Error(got)
		}
		w.clean()
	})
}

// TestDatabaseOutageKeepsLinks: agents stay connected, calls over held links go on, and those that come meanwhile get in.
func TestDatabaseOutageKeepsLinksRow59(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		own, err := db.Open(t.Context(), w.where)
		must(t, err)
		b := w.nodeOn("b", own)
		agent := newAgent("agent")
		agent.polls(b)
		must(t, own.Close())
		for range 3 {
			if got, err := b.echo(soon(t), "x"); got != "agent x" {
				t.Errorf("%q, %v", got, err)
			}
		}
		w.until("the node noticed", func() bool { return b.log.has("using what was known") })
		other := Trust{Address: "poll://other/"}
		if err := b.call(soon(t), other, "IEcho", "Wait", nil); !halibut.NeverSent(err) && !Unreachable(err) {
			t.Errorf("an agent that is not here: %v", err)
		}
		newcomer := newAgent("agent")
		newcomer.dials(t, b.address, agentIdentity(), subscription)
		w.until("a known agent comes in without the database", func() bool {
			b.links.mu.Lock()
			defer b.links.mu.Unlock()
			return b.links.of[subscription].count == 2
		})
		if got, err := b.echo(soon(t), "x"); got != "agent x" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// TestSealed: nothing of a call can be read from the database or the blob store, and no row opens as another.
func TestSealed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.node("a")
		const word = "correct horse battery staple"
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		done := make(chan error, 2)
		for range 2 {
			go func() {
				large := strings.Repeat(word, 40_000)
				_, err := a.Upload(ctx, theAgent, word, int64(len(large)), func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(large)), nil }, nil)
				done <- err
			}()
		}
		w.until("both calls wait", func() bool { return w.count("SELECT count(*) FROM call") == 2 })
		rows := map[string][]byte{}
		must(t, w.d.Read(ctx, func(tx *db.Tx) error {
			all, err := tx.QueryContext(ctx, "SELECT id, request FROM call")
			if err != nil {
				return err
			}
			defer all.Close()
			for all.Next() {
				var id string
				var request []byte
				if err := all.Scan(&id, &request); err != nil {
					return err
				}
				rows[id] = request
			}
			return all.Err()
		}))
		var ids []string
		for id, request := range rows {
			ids = append(ids, id)
			if bytes.Contains(request, []byte("horse")) || bytes.Contains(request, []byte("UploadFile")) {
				t.Error("the row is not sealed")
			}
			if len(request) > 1<<20 {
				t.Errorf("the row has %d bytes", len(request))
			}
		}
		if _, _, err := a.unpack(ctx, ids[0], asked, rows[ids[1]]); err == nil {
			t.Error("one row's content opens as another's")
		}
		parts := w.parts()
		if len(parts) != 2 {
			t.Fatalf("parts %v", parts)
		}
		for _, key := range parts {
			content, err := os.ReadFile(filepath.Join(w.dir, filepath.FromSlash(key)))
			must(t, err)
			if bytes.Contains(content, []byte("horse")) {
				t.Error("the part is not sealed")
			}
		}
		cancel()
		<-done
		<-done
		w.clean()
	})
}

// TestBigFilesRow59: files of any size go through another node, in memory that does not depend on it.
func TestBigFilesRow59(t *testing.T) {
	eachAlone(t, func(t *testing.T, w *world) {
		size := int64(64 << 20)
		if w.d.Engine() == db.Postgres || testing.Short() {
			size = 3<<20 + 1 // what is big does not see the engine
		}
		a, b := w.node("a"), w.node("b")
		newAgent("agent").polls(b)
		hash := sha1.New() //nolint:gosec // see above
		_, err := io.CopyN(hash, &letters{}, size)
		must(t, err)
		want := hex.EncodeToString(hash.Sum(nil))

		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		result, err := a.Upload(soon(t), theAgent, "/tmp/big", size, func() (io.ReadCloser, error) { return io.NopCloser(io.LimitReader(&letters{}, size)), nil }, nil)
		must(t, err)
		if result.Hash != want || result.Length != size || result.FullPath != "/tmp/big" {
			t.Errorf("%+v, want %s", result, want)
		}
		file, length, err := a.Download(soon(t), theAgent, fmt.Sprint(size), nil)
		must(t, err)
		hash.Reset()
		if _, err := io.Copy(hash, file); err != nil || length != size || hex.EncodeToString(hash.Sum(nil)) != want {
			t.Errorf("%d bytes of hash %x, %v", length, hash.Sum(nil), err)
		}
		must(t, file.Close())
		runtime.ReadMemStats(&after)
		if after.Sys > before.Sys+48<<20 {
			t.Errorf("memory grew by %d MiB", (after.Sys-before.Sys)>>20)
		}
		if file, _, err := a.Download(soon(t), theAgent, "missing", nil); file != nil || err != nil {
			t.Errorf("a missing file is %v, %v", file, err)
		}
		w.clean()
		for _, n := range []*node{a, b} {
			if left, _ := filepath.Glob(filepath.Join(n.streams, "*")); len(left) > 0 {
				t.Errorf("files of %s stay: %v", n.name, left)
			}
		}
	})
}

// TestTakenWithoutKnowing: a node that is told that the commit failed by which it took a call carries it out all the same.
func TestTakenWithoutKnowing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		own, wire := dbtest.OpenWire(t, w.where)
		t.Cleanup(func() { own.Close() })
		var once sync.Once
		var lost atomic.Bool
		wire.Around(func(did []dbtest.Statement, commit func() error) error {
			err := commit()
			for _, s := range did {
				if err == nil && s.Rows > 0 && strings.Contains(s.Query, "SET state = 'taken'") {
					once.Do(func() { err = dbtest.ErrWire; lost.Store(true) })
				}
			}
			return err
		})
		a, b := w.node("a"), w.nodeOn("b", own)
		agent := newAgent("agent")
		agent.polls(b)
		if got, err := a.echo(soon(t), "x"); got != "agent x" || err != nil || !lost.Load() {
			t.Errorf("%q, %v; the commit was lost: %v", got, err, lost.Load())
		}
		w.clean()
	})
}

// TestAnsweredWithoutKnowing: a node that is told that the commit failed by which it wrote an answer leaves what belongs to
// it, since the caller reads it, or has removed the row when it did.
func TestAnsweredWithoutKnowing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		own, wire := dbtest.OpenWire(t, w.where)
		t.Cleanup(func() { own.Close() })
		b := w.nodeOn("b", own)
		newAgent("agent").polls(b) // so it serves
		if is, err := b.Connected(t.Context(), subscription); !is || err != nil {
			t.Fatal(is, err)
		}
		for _, read := range []bool{false, true} {
			w.do(func(ctx context.Context, tx *db.Tx) error {
				if err := insertCall(ctx, tx, "1", "poll://x/", "b", b.now.Load(), []byte("r")); err != nil {
					return err
				}
				_, err := tx.ExecContext(ctx, "UPDATE call SET state = 'taken', taker = 'b', taker_epoch = $1", b.now.Load())
				return err
			})
			var once sync.Once
			var lost atomic.Bool
			wire.Around(func(did []dbtest.Statement, commit func() error) error {
				err := commit()
				for _, s := range did {
					if err == nil && s.Rows > 0 && strings.Contains(s.Query, "SET state = $4, answer") {
						once.Do(func() { err = dbtest.ErrWire; lost.Store(true) })
					}
				}
				if read && errors.Is(err, dbtest.ErrWire) {
					w.exec("DELETE FROM call")
				}
				return err
			})
			if told := b.settle(taken{id: "1", subscription: "poll://x/", epoch: b.now.Load()}, "answered", []byte("x"), ""); !told || !lost.Load() {
				t.Errorf("read: %v; told: %v; the commit was lost: %v", read, told, lost.Load())
			}
			w.exec("DELETE FROM call")
		}
		if b.settle(taken{id: "1", subscription: "poll://x/", epoch: b.now.Load()}, "answered", []byte("x"), "") {
			t.Error("nobody waits for it, but it is told")
		}
	})
}

// TestGivenUp: only of a call that it took away itself while it waited a caller may say that nothing ran.
func TestGivenUp(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.node("a")
		if err := a.giveUp(t.Context(), "a row that a sweep removed"); !errors.Is(err, errMaybeSent) {
			t.Errorf("of a call without a row it is said that nothing ran: %v", err)
		}
		w.do(func(ctx context.Context, tx *db.Tx) error {
			return insertCall(ctx, tx, "waits", "poll://x/", "a", 1, []byte("r"))
		})
		if err := a.giveUp(t.Context(), "waits"); err != nil {
			t.Errorf("nobody took it: %v", err)
		}
		w.clean()
	})
}

func TestReasonsCanBeStored(t *testing.T) {
	for text, want := range map[string]string{"a\x00b\xff": "ab\uFFFD", "": "no reason was given", "plain": "plain"} {
		if got := reason(&halibut.TransferError{Endpoint: "poll://x/", Err: errors.New(text)}); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
