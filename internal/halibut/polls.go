package halibut

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// PollsConfig says how polling agents are called.
type PollsConfig struct {
	StreamDir string // where received data streams are kept until they are closed; empty is the system's
	Timeouts  Timeouts
	// Linked is told of every connection of a polling agent; the function it returns is called at its end. It may be nil.
	Linked func(Peer) (unlinked func())
}

// Polls hands calls to the polling agents that are connected to this node, first come first served for each
// subscription. All connections of a subscription serve the same queue (tentacle-protocol.md 1.14).
type Polls struct {
	config PollsConfig

	mu     sync.Mutex
	queues map[string]*pollQueue
}

// pollQueue is where callers and links of one subscription meet. The channel has no buffer, so that a call is
// either still the caller's or already a link's, never both.
type pollQueue struct {
	calls chan *pending
	users int // callers and links; the last one takes the queue away
	links int
}

// pending is a call that waits to be collected; the link that took it always answers it once.
type pending struct {
	*call
	ctx  context.Context
	done chan outcome
}

type outcome struct {
	answer *answer
	err    error
	unsent bool // the link was dead already when it took the call
}

// NewPolls makes the queues; a Listener brings the links.
func NewPolls(config PollsConfig) *Polls {
	config.Timeouts = config.Timeouts.withDefaults()
	return &Polls{config: config, queues: map[string]*pollQueue{}}
}

// Call is Client.Call for a polling agent: it waits until a link collects the call, at most Timeouts.Collect.
func (p *Polls) Call(ctx context.Context, subscription, service, method string, result any, params ...any) error {
	name, err := NormalSubscription(subscription)
	if err != nil {
		return err
	}
	c, err := newCall(service, method, params)
	if err != nil {
		return err
	}
	out, err := p.collect(ctx, name, c)
	if err != nil {
		return &ConnectError{name, err}
	}
	if out.err != nil {
		out.answer.drop()
		return &TransferError{name, out.err}
	}
	return c.result(out.answer, result)
}

// collect waits for a link and for its outcome; an error means that nothing was sent.
func (p *Polls) collect(ctx context.Context, name string, c *call) (outcome, error) {
	q := p.enter(name, 0)
	defer p.leave(name, q, 0)
	timeout := time.NewTimer(p.config.Timeouts.Collect)
	defer timeout.Stop()
	for {
		mine := &pending{c, ctx, make(chan outcome, 1)}
		select {
		case q.calls <- mine:
			if out := <-mine.done; !out.unsent {
				return out, nil
			}
		case <-ctx.Done():
			return outcome{}, context.Cause(ctx)
		case <-timeout.C:
			return outcome{}, &UncollectedError{p.config.Timeouts.Collect}
		}
	}
}

// UncollectedError is a call that no link of the agent took in time.
type UncollectedError struct{ Waited time.Duration }

// Error says it in the words that users of Octopus know.
func (e *UncollectedError) Error() string {
	return fmt.Sprintf("A request was sent to a polling endpoint, but the polling endpoint did not collect the request "+
		"within the allowed time (%s), so the request timed out.", TimeSpan(e.Waited))
}

// Connected says whether an agent holds a link to this node.
func (p *Polls) Connected(subscription string) bool {
	name, err := NormalSubscription(subscription)
	if err != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.queues[name]
	return q != nil && q.links > 0
}

func (p *Polls) enter(name string, links int) *pollQueue {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.queues[name]
	if q == nil {
		q = &pollQueue{calls: make(chan *pending)}
		p.queues[name] = q
	}
	q.users++
	q.links += links
	return q
}

func (p *Polls) leave(name string, q *pollQueue, links int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q.links -= links
	if q.users--; q.users == 0 {
		delete(p.queues, name)
	}
}

// serve runs one link until it ends.
func (p *Polls) serve(ctx context.Context, link *conn) error {
	q := p.enter(link.Subscription, 1)
	defer p.leave(link.Subscription, q, 1)
	if p.config.Linked != nil {
		if unlinked := p.config.Linked(link.Peer); unlinked != nil {
			defer unlinked()
		}
	}
	for {
		if err := p.exchange(ctx, link, q); err != nil {
			return err
		}
		word, err := readWord(link.in)
		if err != nil || word == endWord {
			return err
		}
		if word != nextWord {
			return fmt.Errorf("the agent said %s instead of NEXT", word)
		}
		if err := link.writeLine(proceedWord); err != nil {
			return err
		}
	}
}

// exchange sends the next call, or the null message when none comes in time. The link is watched all the while,
// so a dead one takes no call and is known at once.
func (p *Polls) exchange(ctx context.Context, link *conn, q *pollQueue) error {
	seen := link.watch(0)
	next, err := q.next(ctx, seen, p.config.Timeouts.Null)
	if err == nil && next != nil {
		err = p.deliver(link, seen, next)
	} else if err == nil {
		err = writeMessage(link, nullMessage)
		if err == nil {
			err = seen.await(link, link.idle)
		}
	}
	if err != nil {
		link.abort()
		<-seen.done
	}
	return err
}

// await gives a watch a deadline and waits for it.
func (w *watch) await(link *conn, wait time.Duration) error {
	if err := link.extend(wait); err != nil {
		return err
	}
	<-w.done
	return w.err
}

var errOutOfTurn = errors.New("the agent spoke out of turn")

// next takes a call for a link that is alive; nil means that the link must be kept alive with a null message.
func (q *pollQueue) next(ctx context.Context, seen *watch, wait time.Duration) (*pending, error) {
	idle := time.NewTimer(wait)
	defer idle.Stop()
	var next *pending
	select {
	case <-seen.done:
	case next = <-q.calls:
	case <-idle.C:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case <-seen.done:
		if next != nil {
			next.done <- outcome{unsent: true}
		}
		if seen.err == nil {
			return nil, errOutOfTurn
		}
		return nil, seen.err
	default:
		return next, nil
	}
}

// deliver carries a call out on a link. A caller that gives up closes the link: there is no cancel message.
func (p *Polls) deliver(link *conn, seen *watch, next *pending) error {
	var got *answer
	stop := context.AfterFunc(next.ctx, link.abort)
	doc, err := encodeRequest(next.request, link.Subscription, link.Thumbprint)
	if err == nil {
		err = link.send(doc, next.streams)
	}
	if err == nil {
		err = seen.await(link, p.config.Timeouts.Response)
	}
	if err == nil {
		got, err = next.receive(link, p.config.StreamDir)
	}
	if !stop() {
		err = context.Cause(next.ctx)
	}
	if err != nil {
		err = noEOF(err)
	}
	next.done <- outcome{answer: got, err: err}
	return err
}
