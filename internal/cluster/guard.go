package cluster

import (
	"cmp"
	"context"
	"net"
	"slices"
	"time"
)

// guarding holds a connection to the next node's port, in the ring of their names, and says nothing on it. When that process
// dies, its kernel ends the connection at once: then the nodes are looked at without waiting for the next poll, and the two
// witnesses are asked. The connection itself proves nothing, since a living node ends silent ones too.
func (s *session) guarding(ctx context.Context) {
	var v view
	for {
		select {
		case <-ctx.Done():
			return
		case v = <-s.guards:
		}
		next := nextOf(v.beats, s.n.conf.Name)
		if next.address == "" {
			continue
		}
		dialer := net.Dialer{Timeout: s.n.conf.Timing.Limit}
		conn, err := dialer.DialContext(ctx, "tcp", next.address)
		if err != nil {
			continue // who reads the views asks the witnesses
		}
		s.reached.Store(reachedNode{next.node, next.epoch}, true)
		if s.until(ctx, conn, next) {
			// Its session lock is free as soon as the database has noticed, too.
			for _, pause := range []time.Duration{5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond} {
				select {
				case <-ctx.Done():
					return
				case <-time.After(pause):
				}
				offer(s.kick, struct{}{})
			}
		}
	}
}

// reachedNode is one registration of a node.
type reachedNode struct {
	node  string
	epoch int64
}

// reach notes that a node's port answers this one.
func (s *session) reach(ctx context.Context, b seenBeat) {
	dialer := net.Dialer{Timeout: s.n.conf.Timing.Limit}
	if conn, err := dialer.DialContext(ctx, "tcp", b.address); err == nil {
		conn.Close()
		s.reached.Store(reachedNode{b.node, b.epoch}, true)
	}
}

// until waits for the end of a connection, or for another node to be the next one; true when the connection ended by itself.
func (s *session) until(ctx context.Context, conn net.Conn, next seenBeat) (ended bool) {
	over := make(chan struct{})
	defer func() {
		conn.Close()
		<-over
	}()
	go func() {
		_, _ = conn.Read(make([]byte, 1)) // nothing is said; it ends with the connection
		close(over)
	}()
	for {
		select {
		case <-over:
			return true
		case <-ctx.Done():
			return false
		case v := <-s.guards:
			if now := nextOf(v.beats, s.n.conf.Name); now.node != next.node || now.address != next.address {
				return false
			}
		}
	}
}

// nextOf is the node that comes after a name, or the first one.
func nextOf(beats []seenBeat, name string) seenBeat {
	if len(beats) == 0 {
		return seenBeat{}
	}
	ring := slices.SortedFunc(slices.Values(beats), func(a, b seenBeat) int { return cmp.Compare(a.node, b.node) })
	for _, b := range ring {
		if b.node > name {
			return b
		}
	}
	return ring[0]
}
