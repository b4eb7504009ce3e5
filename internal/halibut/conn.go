package halibut

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"
)

// Timeouts of a connection; a zero member has its default (tentacle-protocol.md 1.16).
type Timeouts struct {
	Connect  time.Duration // TCP, through a proxy too: 60 s
	Hello    time.Duration // TLS, preamble and identity together: 60 s
	Idle     time.Duration // between bytes once they flow, and for control lines: 60 s
	Response time.Duration // until the first byte of a response, which is how long a call may run: 10 min
	Null     time.Duration // an idle polling connection gets a null message after it: 30 s
	Pooled   time.Duration // how long a connection to a listening agent is kept for the next call: 50 s
	Collect  time.Duration // until a polling agent collects a request: 2 min
	Proof    time.Duration // until a polling link that is doubted has to answer a null message: 10 s
}

// CollectWithin is how long a call waits for its polling agent unless Timeouts.Collect says otherwise.
const CollectWithin = 2 * time.Minute

func (t Timeouts) withDefaults() Timeouts {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&t.Connect, time.Minute)
	set(&t.Hello, time.Minute)
	set(&t.Idle, time.Minute)
	set(&t.Response, 10*time.Minute)
	set(&t.Null, 30*time.Second)
	set(&t.Pooled, 50*time.Second)
	set(&t.Collect, CollectWithin)
	set(&t.Proof, 10*time.Second)
	return t
}

// keepAlive finds dead peers of idle connections (tentacle-protocol.md 1.2).
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 10}

// conn is one Halibut connection. It has one reader for lines, messages and streams, because each ends where the
// next one begins. After an error it is closed and of no more use.
type conn struct {
	Peer
	tls  *tls.Conn
	raw  net.Conn
	in   *bufio.Reader
	idle time.Duration

	ownDeadline bool // reads keep the deadline that was set, instead of idle for each
}

func newConn(t *tls.Conn, raw net.Conn, idle time.Duration) *conn {
	c := &conn{Peer: newPeer(t.ConnectionState(), raw.RemoteAddr().String()), tls: t, raw: raw, idle: idle}
	c.in = bufio.NewReaderSize(c, 4<<10) // TLS keeps whole records itself; most connections are idle (performance.md P22)
	return c
}

// Read gives every read its own deadline, so that a slow gigabyte is fine and a stalled one is not.
func (c *conn) Read(p []byte) (int, error) {
	if !c.ownDeadline {
		if err := c.raw.SetReadDeadline(time.Now().Add(c.idle)); err != nil {
			return 0, err
		}
	}
	return c.tls.Read(p)
}

// Write is one TLS record or more of its own; lines and messages must not be joined (tentacle-protocol.md 1.5).
func (c *conn) Write(p []byte) (int, error) {
	if err := c.raw.SetWriteDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.tls.Write(p)
}

func (c *conn) writeLine(word string) error {
	_, err := io.WriteString(c, word+"\r\n")
	return err
}

// writeIdentity sends the line and its empty line at once: old peers fail when they are split.
func (c *conn) writeIdentity(line string) error {
	_, err := io.WriteString(c, line+"\r\n\r\n")
	return err
}

// awaitWord requires one word.
func (c *conn) awaitWord(word string) error {
	got, err := readWord(c.in)
	if err != nil {
		return fmt.Errorf("await %s: %w", word, err)
	}
	if got != word {
		return fmt.Errorf("the peer said %s instead of %s", got, word)
	}
	return nil
}

// send writes a message and its data streams.
func (c *conn) send(doc []byte, streams []*DataStream) error {
	if err := writeMessage(c, doc); err != nil {
		return err
	}
	for _, s := range streams {
		if err := writeStream(c, s); err != nil {
			return err
		}
	}
	return nil
}

// receive reads a message and its data streams into a request or a response; false is the null message.
func (c *conn) receive(into any, dir string) (bool, map[GUID]*DataStream, error) {
	doc, err := readMessage(c.in, maxMessage)
	if err != nil {
		return false, nil, err
	}
	heads, err := inspect(doc)
	if err != nil {
		return false, nil, err
	}
	some, err := decodeEnvelope(doc, into)
	if err != nil || !some {
		return false, nil, err
	}
	streams, err := readStreams(c.in, heads, dir)
	return true, streams, err
}

// awaitFirst waits for the first byte of what comes next.
func (c *conn) awaitFirst(wait time.Duration) error {
	w := c.watch(wait)
	<-w.done
	return w.err
}

// watch is a background wait for the next byte, or for the end of the connection.
type watch struct {
	done chan struct{}
	err  error // nil when a byte is there; valid after done
}

// watch begins to wait. Until it is done nobody else may read; extend gives it another deadline meanwhile.
// Zero waits for ever.
func (c *conn) watch(wait time.Duration) *watch {
	w := &watch{done: make(chan struct{})}
	if w.err = c.extend(wait); w.err != nil {
		close(w.done)
		return w
	}
	c.ownDeadline = true
	go func() {
		_, w.err = c.in.Peek(1)
		c.ownDeadline = false
		close(w.done)
	}()
	return w
}

// extend sets the deadline of a watch that is under way.
func (c *conn) extend(wait time.Duration) error {
	deadline := time.Time{}
	if wait > 0 {
		deadline = time.Now().Add(wait)
	}
	return c.raw.SetReadDeadline(deadline)
}

// abort closes at once: the peer sees a broken connection, and whoever reads or writes here wakes up.
func (c *conn) abort() { _ = c.raw.Close() }

// close says goodbye to TLS and closes.
func (c *conn) close() { _ = c.tls.Close() }
