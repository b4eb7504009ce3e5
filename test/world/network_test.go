package world

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// network carries bytes between processes of a bubble, which are named by their hosts: "a:10943", "web1:10933". What was
// written is on its way even if the writer hangs up or dies, as with TCP; it is delayed, held back and lost on demand.
type network struct {
	mu        sync.Mutex
	listeners map[string]*listener // by address
	roads     map[road]*weather
	links     map[*link]struct{}
	pumps     sync.WaitGroup
	balanced  int
}

// road is the way between two processes, in alphabetical order.
type road struct{ one, other string }

func roadOf(a, b string) road { return road{min(a, b), max(a, b)} }

// weather is the state of a road.
type weather struct {
	latency time.Duration
	blocked chan struct{} // closed when it is free again; nil: free
}

func newNetwork() *network {
	return &network{listeners: map[string]*listener{}, roads: map[road]*weather{}, links: map[*link]struct{}{}}
}

var errRefused = errors.New("connection refused")

// listen takes an address.
func (n *network) listen(address string) net.Listener {
	host, _, _ := net.SplitHostPort(address)
	l := &listener{net: n, address: address, host: host, conns: make(chan net.Conn), gone: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[address] = l
	return l
}

// dialer is how one process dials. A former process of the same name dials no more once it was cut off.
func (n *network) dialer(host string, alive <-chan struct{}) func(ctx context.Context, _, address string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		select {
		case <-alive:
			return nil, errRefused
		default:
		}
		to := n.find(address)
		if to == nil {
			return nil, errRefused
		}
		if err := n.pass(ctx, roadOf(host, to.host), nil); err != nil {
			return nil, err
		}
		ours, near := net.Pipe()
		far, theirs := net.Pipe()
		select {
		case to.conns <- theirs:
		case <-to.gone:
			return nil, errRefused
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		n.join(&link{road: roadOf(host, to.host), hosts: [2]string{host, to.host}, ends: [2]net.Conn{near, far}, cut: make(chan struct{})})
		return ours, nil
	}
}

// find gives who listens at an address. "any" is a load balancer: whoever listens on that port, one after the other.
func (n *network) find(address string) *listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	port, balanced := strings.CutPrefix(address, "any:")
	if !balanced {
		return n.listeners[address]
	}
	all := slices.DeleteFunc(slices.Sorted(maps.Keys(n.listeners)), func(a string) bool { return !strings.HasSuffix(a, ":"+port) })
	if len(all) == 0 {
		return nil
	}
	n.balanced++
	return n.listeners[all[n.balanced%len(all)]]
}

// pass waits until a road lets something through, latency included.
func (n *network) pass(ctx context.Context, r road, cut <-chan struct{}) error {
	for {
		n.mu.Lock()
		var at weather
		if w := n.roads[r]; w != nil {
			at = *w
		}
		n.mu.Unlock()
		if at.latency > 0 {
			select {
			case <-time.After(at.latency):
			case <-cut:
				return errRefused
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if at.blocked == nil {
			return nil
		}
		select {
		case <-at.blocked:
		case <-cut:
			return errRefused
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// block lets nothing through between two processes; free ends that and any delay.
func (n *network) block(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.at(roadOf(a, b))
	if w.blocked == nil {
		w.blocked = make(chan struct{})
	}
}

func (n *network) delay(a, b string, by time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at(roadOf(a, b)).latency = by
}

func (n *network) free(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.at(roadOf(a, b))
	w.latency = 0
	if w.blocked != nil {
		close(w.blocked)
		w.blocked = nil
	}
}

// at gives the weather of a road; the lock is held.
func (n *network) at(r road) *weather {
	if n.roads[r] == nil {
		n.roads[r] = &weather{}
	}
	return n.roads[r]
}

// hangUp ends every connection of a process. What it has sent still arrives, unless its machine fell over.
func (n *network) hangUp(host string, machine bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for l := range n.links {
		for i, h := range l.hosts {
			if h != host {
				continue
			}
			l.ends[i].Close()
			if machine {
				l.lose()
			}
		}
	}
}

// wait waits until every connection has ended.
func (n *network) wait() { n.pumps.Wait() }

// link is one connection: two pipes, and pumps between them.
type link struct {
	road  road
	hosts [2]string   // who dialled, and whom
	ends  [2]net.Conn // next to them
	cut   chan struct{}
	once  sync.Once
}

func (l *link) lose() {
	l.once.Do(func() { close(l.cut) })
	l.ends[0].Close()
	l.ends[1].Close()
}

func (n *network) join(l *link) {
	n.mu.Lock()
	n.links[l] = struct{}{}
	n.mu.Unlock()
	var both sync.WaitGroup
	for i := range 2 {
		way := make(chan []byte, 1024) // the buffers of both machines
		n.pumps.Go(func() {            // what one side writes is on its way
			defer close(way)
			for {
				buf := make([]byte, 16<<10)
				got, err := l.ends[i].Read(buf)
				if got > 0 {
					select {
					case way <- buf[:got]:
					case <-l.cut:
						return
					}
				}
				if err != nil {
					return
				}
			}
		})
		both.Add(1)
		n.pumps.Go(func() { // and arrives
			defer both.Done()
			defer l.ends[1-i].Close()
			for packet := range way {
				if n.pass(context.Background(), l.road, l.cut) != nil {
					break
				}
				if _, err := l.ends[1-i].Write(packet); err != nil {
					break
				}
			}
			l.ends[i].Close()
			for range way { // the reader ends
			}
		})
	}
	n.pumps.Go(func() {
		both.Wait()
		n.mu.Lock()
		delete(n.links, l)
		n.mu.Unlock()
	})
}

// listener accepts connections of the network.
type listener struct {
	net           *network
	address, host string
	conns         chan net.Conn
	gone          chan struct{}
	once          sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.gone:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		if l.net.listeners[l.address] == l {
			delete(l.net.listeners, l.address)
		}
		close(l.gone)
	})
	return nil
}

func (l *listener) Addr() net.Addr { return address(l.address) }

type address string

func (address) Network() string  { return "bubble" }
func (a address) String() string { return string(a) }
