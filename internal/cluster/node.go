package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
)

const nodePrefix = "OctopusServerNodes-"

// NodeId is the wire's id of a node.
func NodeId(name string) string { return nodePrefix + name }

// Timing is one profile of the cluster's times (reliability-and-security.md 2.2). All nodes of a cluster
// use the same.
type Timing struct {
	Beat  time.Duration // R: between two beats
	Limit time.Duration // C: the longest one beat may take
	Hold  time.Duration // H: how long a node acts after it sent its last good beat
	Dead  time.Duration // L: how long a counter must have stood still for its node to be dead
	Kill  time.Duration // K + G: allowance to stop what runs, and margin
	Poll  time.Duration // how often loops look even if nothing was hinted at
}

// DefaultTiming is for production, FastTiming for tests and quiet networks.
var (
	DefaultTiming = Timing{Beat: 2 * time.Second, Limit: 1500 * time.Millisecond, Hold: 9 * time.Second, Dead: 15 * time.Second, Kill: 2 * time.Second, Poll: time.Second}
	FastTiming    = Timing{Beat: 500 * time.Millisecond, Limit: 400 * time.Millisecond, Hold: 2400 * time.Millisecond, Dead: 4 * time.Second, Kill: 700 * time.Millisecond, Poll: time.Second}
)

func (t Timing) check() error {
	if t.Beat <= 0 || t.Poll <= 0 || t.Hold+t.Kill >= t.Dead || t.Beat+t.Limit >= t.Hold/2 {
		return fault.Invalidf("The cluster's times do not fit together: Hold + Kill must be below Dead, and Beat + Limit below half of Hold.")
	}
	return nil
}

// Config is what a node needs to start.
type Config struct {
	Name       string // unique in the cluster
	DataDir    string // this node's own folder: its lock and its id are there
	Cap        int    // task cap of a node that registers for the first time; 0 takes no tasks
	Version    string
	Address    string             // host:port at which other nodes reach it; a refused connection is a witness of its death
	Labels     []string           // what tasks may ask for, such as gpu or zone=eu
	Handlers   map[string]Handler // by the kind of task
	Duties     []Duty
	DrainGrace time.Duration // a draining node releases what still runs after it; 0: never
	StopGrace  time.Duration // how long Stop waits for handlers; 0: 10 s
	Timing     Timing        // zero: DefaultTiming
	Log        *slog.Logger  // nil: slog.Default()

	// Ready, if set, says why this node must not take tasks just now, or nil (reliability-and-security.md M17). It is asked
	// before each claim and must answer at once. What runs goes on, and cancelled tasks are ended.
	Ready func() error

	// OnEnd, if set, is called in the transaction of every end that this node makes: of its own runs,
	// and of queued tasks that expire. An error undoes the end; it is tried again.
	OnEnd func(ctx context.Context, tx *db.Tx, t Task) error
}

// Node is this process's part in the cluster.
type Node struct {
	db      *db.DB
	conf    Config
	log     *slog.Logger
	machine string
	lock    *os.File

	present bool   // a session lock in the database says that this process lives
	absent  func() // gives it up

	ctx      context.Context
	cancel   context.CancelFunc
	stopping chan struct{}
	stopOnce sync.Once
	stopErr  error
	done     chan struct{}

	handlers atomic.Int64 // of tasks that have not returned

	mu     sync.Mutex
	epoch  int64
	sent   mark // when the registration was
	leader bool
	last   settings // as its row had them
}

// settings are what people decide about a node.
type settings struct {
	cap      int
	draining bool
}

// Name is the node's name.
func (n *Node) Name() string { return n.conf.Name }

// Epoch is the number of the node's present registration.
func (n *Node) Epoch() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.epoch
}

func (n *Node) registered() mark {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sent
}

// Leading tells that this node leads just now; for display only.
func (n *Node) Leading() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leader
}

// Start registers this process as a node and begins to claim tasks. ctx bounds the registration only;
// Stop ends the node. Tasks that an earlier process of this node left are released at once and claimed
// again, by whoever has a slot first.
func Start(ctx context.Context, d *db.DB, conf Config) (*Node, error) {
	if conf.Timing == (Timing{}) {
		conf.Timing = DefaultTiming
	}
	if conf.StopGrace == 0 {
		conf.StopGrace = 10 * time.Second
	}
	if conf.Log == nil {
		conf.Log = slog.Default()
	}
	if err := conf.Timing.check(); err != nil {
		return nil, err
	}
	if conf.Name == "" || strings.ContainsAny(conf.Name, "/\\?#\n") {
		return nil, fault.InvalidField("node-name", "The node's name %q must be one word without / \\ ? or #.", conf.Name)
	}
	labels, err := Labels("label", conf.Labels)
	if err != nil {
		return nil, err
	}
	conf.Labels = labels
	if conf.Cap < 0 {
		return nil, fault.InvalidField("task-cap", "The task cap %d must not be negative.", conf.Cap)
	}
	n := &Node{
		db: d, conf: conf, log: conf.Log.With("node", conf.Name), stopping: make(chan struct{}), done: make(chan struct{}), last: settings{cap: conf.Cap},
	}
	n.conf.Duties = append(slices.Clone(conf.Duties), Duty{Name: Tidying, Every: time.Hour, Do: n.tidy})
	if n.lock, n.machine, err = lockDataDir(conf.DataDir); err != nil {
		return nil, err
	}
	n.absent, n.present = d.Announce(ctx, conf.Name)
	if err := n.register(ctx); err != nil {
		n.absent()
		return nil, errors.Join(err, n.lock.Close())
	}
	n.ctx, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go n.live()
	return n, nil
}

// lockDataDir takes the data directory for this process and gives the machine's id. Only a process
// that has both may take a name over at once: a cloned machine has another id, a second process no lock.
func lockDataDir(dir string) (*os.File, string, error) {
	if dir == "" {
		return nil, "", fault.InvalidField("data-dir", "The node needs a data directory of its own.")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, "", fault.Because(fault.InvalidField("data-dir", "The data directory %s cannot be made.", dir), err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "node.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, "", fault.Because(fault.InvalidField("data-dir", "The data directory %s cannot be written to.", dir), err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, "", fault.Because(fault.Conflictf("The data directory %s is in use by another Octavo process. Stop that one, or give this node a directory of its own.", dir), err)
	}
	file := filepath.Join(dir, "node-id")
	own, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		own = []byte(rand.Text())
		err = os.WriteFile(file, own, 0o600)
	}
	if err != nil {
		lock.Close()
		return nil, "", err
	}
	host, err := os.ReadFile("/etc/machine-id")
	if err != nil || len(host) == 0 {
		name, err := os.Hostname() // containers often have no machine id; their names are theirs
		if err != nil {
			lock.Close()
			return nil, "", err
		}
		host = []byte(name)
	}
	return lock, strings.TrimSpace(string(own)) + "@" + strings.TrimSpace(string(host)), nil
}

// register takes the node's name under a new epoch. A name that another machine still beats for is
// refused; one that stood still is taken once its counter has done so for long enough.
func (n *Node) register(ctx context.Context) error {
	var seen observer
	for {
		asked := now()
		var epoch int64
		var other beatRow
		err := n.db.InTx(ctx, func(tx *db.Tx) (err error) {
			epoch, other, err = register(ctx, tx, n.conf, n.settings(), n.machine, n.present)
			return err
		})
		if err != nil {
			return fmt.Errorf("register node %s: %w", n.conf.Name, err)
		}
		if epoch > 0 {
			n.mu.Lock()
			n.epoch, n.sent = epoch, asked
			n.mu.Unlock()
			return nil
		}
		still, moved := seen.look(other, asked, n.conf.Timing)
		if moved {
			return fault.Conflictf("Another machine runs a node named %s. Give this node a name of its own (--node-name).", n.conf.Name)
		}
		if still {
			err := n.db.InTx(ctx, func(tx *db.Tx) error {
				_, err := reap(ctx, tx, other)
				return err
			})
			if err != nil {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(n.conf.Timing.Poll):
		}
	}
}

// register gives the new epoch, or 0 and the beat of a node of that name on another machine. A row that was deleted
// after its node had stopped counts as none; one that is missing is made as the node last saw it.
func register(ctx context.Context, tx *db.Tx, conf Config, last settings, machine string, present bool) (int64, beatRow, error) {
	given, err := labelsText(conf.Labels)
	if err != nil {
		return 0, beatRow{}, err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO node (name, machine, epoch, state, cap, draining, version, address, labels, registered)
		VALUES ($1, $2, 0, 'stopped', $3, $4, '', '', '[]', $5) ON CONFLICT (name) DO NOTHING`, conf.Name, machine, last.cap, last.draining, tx.Ms()); err != nil {
		return 0, beatRow{}, err
	}
	other := beatRow{node: conf.Name}
	var state, owner, labels string
	var deleted, retire bool
	err = tx.QueryRowContext(ctx, "SELECT epoch, state, machine, labels, cap, draining, deleted IS NOT NULL, retire FROM node WHERE name = $1"+tx.ForUpdate(), conf.Name).
		Scan(&other.epoch, &state, &owner, &labels, &last.cap, &last.draining, &deleted, &retire)
	if err != nil {
		return 0, beatRow{}, err
	}
	if state == "up" && owner != machine {
		err := tx.QueryRowContext(ctx, "SELECT beats FROM node_beat WHERE node = $1", conf.Name).Scan(&other.beats)
		return 0, other, err
	}
	if deleted && state != "up" {
		last, labels, retire = settings{cap: conf.Cap}, "[]", false
	}
	if len(conf.Labels) > 0 {
		labels = given
	}
	epoch := other.epoch + 1
	if _, err := tx.ExecContext(ctx, `UPDATE node SET epoch = $2, state = 'up', trouble = '', machine = $3, version = $4, address = $5, labels = $6, registered = $7, present = $8,
			cap = $9, draining = $10, retire = $11, deleted = NULL, gone = NULL
		WHERE name = $1`, conf.Name, epoch, machine, conf.Version, conf.Address, labels, tx.Ms(), present, last.cap, last.draining, retire); err != nil {
		return 0, beatRow{}, err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO node_beat (node, epoch, beats, seen) VALUES ($1, $2, 1, $3)
		ON CONFLICT (node) DO UPDATE SET epoch = $2, beats = node_beat.beats + 1, seen = $3, runs = 0`, conf.Name, epoch, tx.Ms()); err != nil {
		return 0, beatRow{}, err
	}
	tx.Hint(lookTopic) // the others leave it its share of the work
	return epoch, other, releaseAll(ctx, tx, conf.Name)
}

// settings are the node's own as it saw them last.
func (n *Node) settings() settings {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.last
}

// saw takes what the node's row says of it. A node that was deleted while it runs comes back as it was, as it would at
// a check-in (behaviour.md rows 25 and 42); if it drains, it is on its way out and goes for good when it stops.
func (n *Node) saw(ctx context.Context, epoch int64, s settings, deleted bool) error {
	n.mu.Lock()
	n.last = s
	n.mu.Unlock()
	if !deleted {
		return nil
	}
	err := n.db.InTx(ctx, func(tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE node SET deleted = NULL, retire = draining WHERE name = $1 AND epoch = $2 AND state = 'up'", n.conf.Name, epoch)
		return err
	})
	if err == nil {
		n.log.Warn("this node was deleted while it runs, and is back; to remove it for good drain it, stop it, then delete it")
	}
	return err
}

// trouble is why the node takes no tasks just now, in a sentence, or "".
func (n *Node) trouble() string {
	if n.conf.Ready == nil {
		return ""
	}
	if err := n.conf.Ready(); err != nil {
		return err.Error()
	}
	return ""
}

// releaseAll lets every task go that a node holds; its row of node is locked.
func releaseAll(ctx context.Context, tx *db.Tx, node string) error {
	res, err := tx.ExecContext(ctx, "UPDATE queue SET state = 'released', updated = $2 WHERE node = $1 AND state = 'running'", node, tx.Ms())
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err == nil && n > 0 {
		hintWork(tx)
	}
	return nil
}

// live is the node's life: one session per epoch until it is stopped.
func (n *Node) live() {
	defer close(n.done)
	for {
		s := newSession(n)
		s.run()
		select {
		case <-n.stopping:
			return
		case <-n.ctx.Done():
			return
		default:
		}
		n.log.Warn("this node was fenced; it comes back under a new epoch", "epoch", s.epoch)
		for n.register(n.ctx) != nil {
			select {
			case <-n.stopping:
				return
			case <-n.ctx.Done():
				return
			case <-time.After(n.conf.Timing.Poll):
			}
		}
	}
}

// Stop lets every task go and leaves the cluster in good order: claims stop at once, handlers' contexts
// end with ErrReleased, and what they have not given back when the grace is over is taken from them.
// If ctx ends first the node is abandoned, as if the process had been killed.
//
// Stop may be called again; it gives the same answer.
func (n *Node) Stop(ctx context.Context) error {
	n.stopOnce.Do(func() { n.stopErr = n.stop(ctx) })
	return n.stopErr
}

func (n *Node) stop(ctx context.Context) error {
	close(n.stopping)
	select {
	case <-n.done:
	case <-ctx.Done():
		n.cancel()
		n.absent()
		return errors.Join(ctx.Err(), n.lock.Close())
	}
	err := n.db.InTx(ctx, func(tx *db.Tx) error { return leave(ctx, tx, n.conf.Name, n.Epoch()) })
	n.absent()
	n.cancel()
	return errors.Join(err, n.lock.Close())
}

func leave(ctx context.Context, tx *db.Tx, node string, epoch int64) error {
	res, err := tx.ExecContext(ctx, `UPDATE node SET state = 'stopped', gone = $3, deleted = CASE WHEN retire THEN $3 ELSE deleted END
		WHERE name = $1 AND epoch = $2`, node, epoch, tx.Ms())
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err // it was declared dead meanwhile; its tasks are released already
	}
	if _, err := tx.ExecContext(ctx, "UPDATE lease SET holder = '' WHERE holder = $1", node); err != nil {
		return err
	}
	return releaseAll(ctx, tx, node)
}
