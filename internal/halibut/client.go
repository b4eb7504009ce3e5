package halibut

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// ClientConfig says how listening agents are called.
type ClientConfig struct {
	Identity  *Identity
	StreamDir string // where received data streams are kept until they are closed; empty is the system's
	Timeouts  Timeouts
	Dial      DialFunc // nil is the operating system's
	Log       *slog.Logger
}

// Client calls listening agents over pooled connections, one call at a time on each. Several calls to one agent
// run side by side, so a long upload does not hold up a status.
type Client struct {
	config ClientConfig
	dialer dialer

	mu     sync.Mutex
	pool   map[poolKey][]pooled
	closed bool
}

type poolKey struct{ address, thumbprint, sha256, proxy string }

type pooled struct {
	conn  *conn
	timer *time.Timer
}

// NewClient makes a client; Close it at the end.
func NewClient(config ClientConfig) *Client {
	config.Timeouts = config.Timeouts.withDefaults()
	if config.Log == nil {
		config.Log = slog.Default()
	}
	return &Client{
		config: config,
		dialer: dialer{config.Identity, config.Dial, config.Timeouts},
		pool:   map[poolKey][]pooled{},
	}
}

// Connecting is tried so often, with a pause between, because nothing of the request was sent (tentacle-protocol.md 1.15).
const (
	connectTries = 5
	connectPause = time.Second
	connectTotal = 5 * time.Minute
)

// Call runs a method of a listening agent's service and decodes its answer into result, a pointer, or nil for a
// method without result. Data streams in params are opened once per call; one in the result must be closed.
// The error is a ConnectError if nothing ran, a TransferError if that is unknown, a RemoteError if the agent answered so.
func (c *Client) Call(ctx context.Context, to Endpoint, service, method string, result any, params ...any) error {
	call, err := NewCall(service, method, params...)
	if err != nil {
		return err
	}
	doc, err := encodeRequest(call.request, to.URL(), to.Thumbprint)
	if err != nil {
		return err
	}
	link, err := c.connect(ctx, to)
	if err != nil {
		return &ConnectError{to.URL(), err}
	}
	stop := context.AfterFunc(ctx, link.abort)
	answer, err := call.exchange(link, doc, c.config.Timeouts.Response, c.config.StreamDir)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		link.abort()
		answer.Drop()
		return &TransferError{to.URL(), err}
	}
	c.put(to, link)
	return call.Result(answer, result)
}

// connect takes a pooled connection that still answers, or makes one.
func (c *Client) connect(ctx context.Context, to Endpoint) (*conn, error) {
	begun, failedNext := time.Now(), 0
	for try := 1; ; {
		link, err := c.take(to)
		if err != nil {
			return nil, err
		}
		if link != nil {
			if link.reuse(ctx) == nil {
				return link, nil
			}
			link.abort()
			if failedNext++; failedNext == 2 {
				c.Forget(to)
			}
			continue // a dead pooled connection is nothing to wait for
		}
		if link, err = c.dialer.dial(ctx, to, clientLine); err == nil {
			return link, nil
		}
		if ctx.Err() != nil || hopeless(err) || try == connectTries || time.Since(begun) > connectTotal {
			return nil, err
		}
		c.config.Log.DebugContext(ctx, "will connect again", "endpoint", to.URL(), "try", try, "err", err)
		try++
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(connectPause):
		}
	}
}

// hopeless failures do not go away within seconds: a wrong certificate, an unknown host, a proxy that refuses.
func hopeless(err error) bool {
	var certificate *CertificateError
	var proxy *ProxyError
	var name *net.DNSError
	return errors.As(err, &certificate) || errors.As(err, &proxy) || errors.As(err, &name) && name.IsNotFound
}

// reuse asks a pooled connection for another exchange.
func (c *conn) reuse(ctx context.Context) error {
	stop := context.AfterFunc(ctx, c.abort)
	defer stop()
	if err := c.writeLine(nextWord); err != nil {
		return err
	}
	return c.awaitWord(proceedWord)
}

func keyOf(to Endpoint) poolKey {
	key := poolKey{address: to.Address, thumbprint: to.Thumbprint, sha256: to.SHA256}
	if to.Proxy != nil {
		key.proxy = to.Proxy.Address + " " + to.Proxy.UserName
	}
	return key
}

func (c *Client) take(to Endpoint) (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	key := keyOf(to)
	for len(c.pool[key]) > 0 {
		rest := c.pool[key]
		last := rest[len(rest)-1]
		c.drop(key, last.conn)
		if last.timer.Stop() {
			return last.conn, nil
		}
	}
	return nil, nil
}

// put keeps a healthy connection for a while; the peer would close it after 60 s of silence.
func (c *Client) put(to Endpoint, link *conn) {
	key := keyOf(to)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		link.abort()
		return
	}
	timer := time.AfterFunc(c.config.Timeouts.Pooled, func() {
		c.mu.Lock()
		c.drop(key, link)
		c.mu.Unlock()
		link.goodbye()
	})
	c.pool[key] = append(c.pool[key], pooled{link, timer})
}

// drop takes a connection out of the pool; it was perhaps taken already.
func (c *Client) drop(key poolKey, link *conn) {
	for i, p := range c.pool[key] {
		if p.conn == link {
			c.pool[key] = append(c.pool[key][:i:i], c.pool[key][i+1:]...)
			break
		}
	}
	if len(c.pool[key]) == 0 {
		delete(c.pool, key)
	}
}

// goodbye ends a healthy connection politely.
func (c *conn) goodbye() {
	_ = c.writeLine(endWord) // politeness only
	c.close()
}

// Forget closes the idle connections to an agent, for instance when it is not trusted any more.
func (c *Client) Forget(to Endpoint) {
	c.mu.Lock()
	idle := c.pool[keyOf(to)]
	delete(c.pool, keyOf(to))
	c.mu.Unlock()
	closeAll(idle)
}

// Close ends all idle connections; calls that are under way end as their contexts do.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	pool := c.pool
	c.pool = map[poolKey][]pooled{}
	c.mu.Unlock()
	for _, idle := range pool {
		closeAll(idle)
	}
}

func closeAll(idle []pooled) {
	for _, p := range idle {
		if p.timer.Stop() {
			p.conn.goodbye()
		}
	}
}

// Call is one request with its data streams, made once and sent over whichever connection.
type Call struct {
	request
	streams []*DataStream
}

// NewCall makes a call of a method.
func NewCall(service, method string, params ...any) (*Call, error) {
	activity := NewGUID()
	c := &Call{request: request{
		ID:       fmt.Sprintf("%s::%sAsync[%d] / %s", service, method, len(params), activity),
		Activity: activity, Service: service, Method: method, Params: make([]bson.RawValue, len(params)),
	}, streams: streamsIn(params...)}
	for i, p := range params {
		v, err := Encode(p)
		if err != nil {
			return nil, fmt.Errorf("parameter %d of %s.%s: %w", i+1, service, method, err)
		}
		c.Params[i] = v
	}
	return c, nil
}

// Answer is what came back, with the streams that came with it.
type Answer struct {
	response
	streams map[GUID]*DataStream
}

// Drop removes what was received; of an answer that was decoded only the streams in the result are left, and they are the caller's.
func (a *Answer) Drop() {
	if a != nil {
		closeStreams(a.streams)
	}
}

// exchange sends the request and reads the response on one connection.
func (c *Call) exchange(link *conn, doc []byte, wait time.Duration, dir string) (*Answer, error) {
	if err := link.send(doc, c.streams); err != nil {
		return nil, err
	}
	if err := link.awaitFirst(wait); err != nil {
		return nil, fmt.Errorf("await the response: %w", noEOF(err))
	}
	return c.receive(link, dir)
}

// receive reads the response, which must be to this request.
func (c *Call) receive(link *conn, dir string) (*Answer, error) {
	var a Answer
	some, streams, err := link.receive(&a.response, dir)
	if err != nil {
		return nil, err
	}
	a.streams = streams
	if !some || a.ID != c.ID {
		a.Drop()
		return nil, fmt.Errorf("the response is to request %q, not to %q", a.ID, c.ID)
	}
	return &a, nil
}

// Result decodes the answer for the caller, or makes the error that the agent reported.
func (c *Call) Result(a *Answer, into any) error {
	if a.Error != nil {
		a.Drop()
		return remoteError(c.Service, c.Method, a.Error)
	}
	if into == nil {
		a.Drop()
		return nil
	}
	err := Decode(a.Result, into)
	if err == nil {
		err = attach(into, a.streams)
	}
	if err != nil {
		a.Drop()
		return fmt.Errorf("the result of %s.%s is not of the agreed form: %w", c.Service, c.Method, err)
	}
	closeStreams(a.streams) // those that the result's type has no place for; attach took the others out
	return nil
}

// attach gives the data streams of a decoded value their bytes.
func attach(value any, streams map[GUID]*DataStream) error {
	for _, s := range streamsIn(value) {
		got, ok := streams[s.ID]
		if !ok {
			return fmt.Errorf("data stream %s did not come", s.ID)
		}
		delete(streams, s.ID)
		*s = *got
	}
	return nil
}
