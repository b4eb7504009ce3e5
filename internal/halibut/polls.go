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
	links map[*pollLink]bool
	gone  chan struct{} // closed while there is no link
}

// pollLink is one connection of a polling agent.
type pollLink struct {
	*conn
	doubt chan struct{} // has one value when the link is to prove that it lives
	heard time.Time     // when the agent last said something; guarded by Polls.mu
}

// pending is a call that waits to be collected; the link that took it always answers it once.
type pending struct {
	*Call
	ctx  context.Context
	done chan outcome
}

type outcome struct {
	answer *Answer
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
	c, err := NewCall(service, method, params...)
	if err != nil {
		return err
	}
	answer, err := p.Await(ctx, subscription, c)
	if err != nil {
		return err
	}
	return c.Result(answer, result)
}

// Await makes a call and gives the undecoded answer; it waits for the agent as Call does.
func (p *Polls) Await(ctx context.Context, subscription string, c *Call) (*Answer, error) {
	return p.exchanged(ctx, subscription, c, true)
}

// ErrNoLink says that the agent holds no connection to this node, so nothing was sent.
var ErrNoLink = errors.New("the agent is not connected to this node")

// Carry is Await for as long as the agent holds a link to this node, else a ConnectError that is ErrNoLink.
func (p *Polls) Carry(ctx context.Context, subscription string, c *Call) (*Answer, error) {
	return p.exchanged(ctx, subscription, c, false)
}

func (p *Polls) exchanged(ctx context.Context, subscription string, c *Call, patient bool) (*Answer, error) {
	name, err := NormalSubscription(subscription)
	if err != nil {
		return nil, err
	}
	out, err := p.collect(ctx, name, c, patient)
	if err != nil {
		return nil, &ConnectError{name, err}
	}
	if out.err != nil {
		out.answer.Drop()
		return nil, &TransferError{name, out.err}
	}
	return out.answer, nil
}

// collect waits for a link and for its outcome; an error means that nothing was sent.
func (p *Polls) collect(ctx context.Context, name string, c *Call, patient bool) (outcome, error) {
	q := p.enter(name, nil)
	defer p.leave(name, q, nil)
	timeout := time.NewTimer(p.config.Timeouts.Collect)
	defer timeout.Stop()
	for {
		var gone chan struct{}
		if !patient {
			p.mu.Lock()
			gone = q.gone
			p.mu.Unlock()
		}
		mine := &pending{c, ctx, make(chan outcome, 1)}
		select {
		case q.calls <- mine:
			if out := <-mine.done; !out.unsent {
				return out, nil
			}
		case <-gone:
			return outcome{}, ErrNoLink
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
	return q != nil && len(q.links) > 0
}

// recent is how long ago a link may have spoken so that a further connection to this node casts no doubt on it: workers
// make many at once.
const recent = time.Second

// Doubt has every idle link of an agent prove at once that it lives, because the agent was seen to connect elsewhere:
// it gets a null message, and no call before it has answered. One that stays silent for Timeouts.Proof is closed.
func (p *Polls) Doubt(subscription string) {
	name, err := NormalSubscription(subscription)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := p.queues[name]; q != nil {
		q.doubt(0)
	}
}

// doubt has all links prove that they live which were silent for a while.
func (q *pollQueue) doubt(silent time.Duration) {
	for link := range q.links {
		if time.Since(link.heard) < silent {
			continue
		}
		select {
		case link.doubt <- struct{}{}:
		default: // it is asked already
		}
	}
}

// enter joins the queue of a subscription, as a caller or as a link.
func (p *Polls) enter(name string, link *pollLink) *pollQueue {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.queues[name]
	if q == nil {
		q = &pollQueue{calls: make(chan *pending), links: map[*pollLink]bool{}, gone: make(chan struct{})}
		close(q.gone)
		p.queues[name] = q
	}
	q.users++
	if link != nil {
		if len(q.links) == 0 {
			q.gone = make(chan struct{})
		}
		q.doubt(recent) // the agent may have lost the older ones
		q.links[link] = true
		link.heard = time.Now()
	}
	return q
}

func (p *Polls) leave(name string, q *pollQueue, link *pollLink) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if link != nil {
		delete(q.links, link)
		if len(q.links) == 0 {
			close(q.gone)
		}
	}
	if q.users--; q.users == 0 {
		delete(p.queues, name)
	}
}

func (p *Polls) hear(link *pollLink) {
	p.mu.Lock()
	defer p.mu.Unlock()
	link.heard = time.Now()
}

// serve runs one link until it ends.
func (p *Polls) serve(ctx context.Context, c *conn) error {
	link := &pollLink{conn: c, doubt: make(chan struct{}, 1)}
	q := p.enter(link.Subscription, link)
	defer p.leave(link.Subscription, q, link)
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
		p.hear(link)
		if err := link.writeLine(proceedWord); err != nil {
			return err
		}
	}
}

// exchange sends the next call, or the null message when none comes in time or the link is doubted. The link is
// watched all the while, so a dead one takes no call and is known at once.
func (p *Polls) exchange(ctx context.Context, link *pollLink, q *pollQueue) error {
	seen := link.watch(0)
	next, patience, err := q.next(ctx, link, seen, p.config.Timeouts)
	if err == nil && next != nil {
		err = p.deliver(link.conn, seen, next)
	} else if err == nil {
		limit := time.AfterFunc(patience, link.abort)
		err = writeMessage(link, nullMessage)
		limit.Stop()
		if err == nil {
			err = seen.await(link.conn, patience)
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

// next takes a call for a link that is alive; nil means that the link gets a null message, which the agent has to
// answer with patience.
func (q *pollQueue) next(ctx context.Context, link *pollLink, seen *watch, t Timeouts) (next *pending, patience time.Duration, err error) {
	patience = t.Idle
	idle := time.NewTimer(t.Null)
	defer idle.Stop()
	select { // a link in doubt takes no call, even if one is there
	case <-link.doubt:
		patience = t.Proof
	default:
		select {
		case <-seen.done:
		case next = <-q.calls:
		case <-idle.C:
		case <-link.doubt:
			patience = t.Proof
		case <-ctx.Done():
			return nil, 0, context.Cause(ctx)
		}
	}
	select {
	case <-seen.done:
		if next != nil {
			next.done <- outcome{unsent: true}
		}
		if seen.err == nil {
			return nil, 0, errOutOfTurn
		}
		return nil, 0, seen.err
	default:
		return next, patience, nil
	}
}

// deliver carries a call out on a link. A caller that gives up closes the link: there is no cancel message.
func (p *Polls) deliver(link *conn, seen *watch, next *pending) error {
	var got *Answer
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
