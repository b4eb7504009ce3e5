package quickstart

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Backend is one node behind a Balancer.
type Backend struct {
	Address string // host:port that connections go to
	Ping    string // URL that answers 200 when the node wants work, 418 when it drains
}

// Balancer is one address for several nodes: it passes each TCP connection on to the next node that is well. It asks
// the nodes' pings as any load balancer does: a node that drains gets no new connections but keeps those it has; of
// one that does not answer they are cut. It is for showing and for tests.
type Balancer struct {
	listener net.Listener
	nodes    []*backend
	stop     context.CancelFunc
	work     sync.WaitGroup

	mu   sync.Mutex
	next int
}

type backend struct {
	Backend
	well  bool // it wants new connections
	conns map[net.Conn]bool
}

const (
	pingEvery   = 200 * time.Millisecond
	pingPatient = time.Second
)

// Balance serves a listener until Close. Every node counts as well until its ping says something else.
func Balance(listener net.Listener, backends ...Backend) *Balancer {
	ctx, stop := context.WithCancel(context.Background())
	b := &Balancer{listener: listener, stop: stop}
	for _, to := range backends {
		node := &backend{Backend: to, well: true, conns: map[net.Conn]bool{}}
		b.nodes = append(b.nodes, node)
		b.work.Go(func() { b.watch(ctx, node) })
	}
	b.work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			b.work.Go(func() { b.carry(ctx, conn) })
		}
	})
	return b
}

// Close ends the address and every connection through it.
func (b *Balancer) Close() {
	b.stop()
	b.listener.Close()
	for _, node := range b.nodes {
		b.cut(node)
	}
	b.work.Wait()
}

// watch asks one node's ping. Two failures in a row are needed to take it for gone.
func (b *Balancer) watch(ctx context.Context, node *backend) {
	client := http.Client{Timeout: pingPatient, Transport: &http.Transport{DisableKeepAlives: true}}
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pingEvery):
		}
		status := 0
		if request, err := http.NewRequestWithContext(ctx, http.MethodGet, node.Ping, nil); err == nil {
			if response, err := client.Do(request); err == nil {
				response.Body.Close()
				status = response.StatusCode
			}
		}
		b.mu.Lock()
		node.well = status == http.StatusOK
		b.mu.Unlock()
		if failures++; status != 0 {
			failures = 0
		}
		if failures == 2 {
			b.cut(node)
		}
	}
}

// cut ends the connections to a node.
func (b *Balancer) cut(node *backend) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for conn := range node.conns {
		conn.Close()
	}
}

// order is whom to try for a new connection: each in turn, those that are well first.
func (b *Balancer) order() (nodes []*backend) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	for _, well := range []bool{true, false} {
		for n := range b.nodes {
			if node := b.nodes[(b.next+n)%len(b.nodes)]; node.well == well {
				nodes = append(nodes, node)
			}
		}
	}
	return nodes
}

func (b *Balancer) carry(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	dialer := net.Dialer{Timeout: pingPatient}
	for _, node := range b.order() {
		far, err := dialer.DialContext(ctx, "tcp", node.Address)
		if err != nil {
			continue
		}
		defer far.Close()
		if !b.hold(ctx, node, conn, far) {
			return
		}
		var both sync.WaitGroup
		both.Go(func() { pass(conn, far) })
		both.Go(func() { pass(far, conn) })
		both.Wait()
		b.mu.Lock()
		delete(node.conns, conn)
		delete(node.conns, far)
		b.mu.Unlock()
		return
	}
}

// hold remembers both ends, so that they can be cut; it gives false when the balancer is closed already.
func (b *Balancer) hold(ctx context.Context, node *backend, conns ...net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, conn := range conns {
		node.conns[conn] = true
		if ctx.Err() != nil {
			conn.Close()
		}
	}
	return ctx.Err() == nil
}

// pass copies one direction to its end. An end in good order is passed on, so that answers may still come back.
func pass(from, to net.Conn) {
	if _, err := io.Copy(to, from); err == nil {
		if half, ok := to.(*net.TCPConn); ok && half.CloseWrite() == nil {
			return
		}
	}
	from.Close()
	to.Close()
}
