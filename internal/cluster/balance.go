package cluster

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/octavo/octavo/internal/db"
)

// balance keeps a node from taking a whole burst while others idle (behaviour.md 2.1, P31), without a look at how much is
// queued. A node whose load (running / cap) is at most that of the idlest other one, plus a fifth, takes what it can get.
// Beyond that it holds back for a breath, in which the others, who have been hinted at too, take theirs; then by another
// fifth, and so on. So nodes fill up side by side in proportion to their caps, and work that nobody else takes waits for
// five breaths at most.
type balance struct {
	breath time.Duration
	others []load // nodes that may take tasks, as the last look saw them
	since  mark   // since when it holds back; zero: it does not
}

// load is what a node runs and could run.
type load struct{ running, cap int }

const share = 0.2

// breathOf: on PostgreSQL a hint reaches all nodes within a few milliseconds; on SQLite other processes see a task when they
// look by themselves.
func breathOf(engine db.Engine, t Timing) time.Duration {
	if engine == db.Postgres {
		return 40 * time.Millisecond
	}
	return t.Poll / 2
}

// most is how many tasks to claim now at most, besides those the node runs already.
func (b *balance) most(mine load, at mark) int {
	level := 1.0
	for _, o := range b.others {
		level = min(level, float64(o.running)/float64(o.cap))
	}
	breaths := 0.0
	if b.since != (mark{}) {
		breaths = math.Floor(float64(b.since.until(at)) / float64(b.breath))
	}
	if level += share * (1 + breaths); level >= 1 {
		return math.MaxInt32
	}
	return max(0, int(math.Ceil(level*float64(mine.cap)-1e-9))-mine.running)
}

// claimed is told what a claim of at most so many has brought. It tells whether to claim again after a breath: there may be
// more, which is left to the others first.
func (b *balance) claimed(got, most int, mine load, at mark) (again bool) {
	if got < most || mine.running+got >= mine.cap {
		b.since = mark{}
		return false
	}
	if b.since == (mark{}) {
		b.since = at
	}
	return true
}

// peerLoads reads the loads of the other nodes that may take tasks.
const peerLoads = `SELECT n.name, n.cap, (SELECT count(*) FROM queue q WHERE q.node = n.name AND q.state = 'running')
	FROM node n WHERE n.state = 'up' AND NOT n.draining AND n.cap > 0 AND n.trouble = '' AND n.name <> $1`

// peer is another node that may take tasks.
type peer struct {
	name string
	load
}

// picker says which other node to wake, from what the last view showed and whom it woke since. Nobody, if this node is idler than all:
// it is awake already. To ask the database for each push would cost as much as the push.
type picker struct {
	running *atomic.Int64 // handlers of this node
	mu      sync.Mutex
	cap     int // of this node; 0 while it takes no tasks
	peers   []peer
	next    int // where to begin to look
}

func (p *picker) saw(v *view, takes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peers, p.cap = slices.Clone(v.peers), 0
	if takes {
		p.cap = v.own.cap
	}
}

// rest says that this node takes no more tasks.
func (p *picker) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cap = 0
}

func (p *picker) who() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	best, level := -1, 1.0
	if p.cap > 0 {
		level = min(level, float64(p.running.Load())/float64(p.cap))
	}
	for k := range p.peers {
		i := (k + p.next) % len(p.peers) // equals take turns
		o := p.peers[i]
		if l := float64(o.running) / float64(o.cap); l < level {
			best, level = i, l
		}
	}
	if best < 0 {
		return ""
	}
	p.peers[best].running++ // as if it took one
	p.next = best + 1
	return workTopic(p.peers[best].name)
}
