package cluster

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	Address    string // host:port at which other nodes reach it; a refused connection is a witness of its death
	Labels     map[string]string
	Handlers   map[string]Handler // by the kind of task
	Duties     []Duty
	DrainGrace time.Duration // a draining node releases what still runs after it; 0: never
	StopGrace  time.Duration // how long Stop waits for handlers; 0: 10 s
	Timing     Timing        // zero: DefaultTiming
	Log        *slog.Logger  // nil: slog.Default()

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

	mu     sync.Mutex
	epoch  int64
	leader bool
}

// Name is the node's name.
func (n *Node) Name() string { return n.conf.Name }

// Epoch is the number of the node's present registration.
func (n *Node) Epoch() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.epoch
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
	if conf.Cap < 0 {
		return nil, fault.InvalidField("task-cap", "The task cap %d must not be negative.", conf.Cap)
	}
	n := &Node{db: d, conf: conf, log: conf.Log.With("node", conf.Name), stopping: make(chan struct{}), done: make(chan struct{})}
	var err error
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
			epoch, other, err = register(ctx, tx, n.conf, n.machine, n.present)
			return err
		})
		if err != nil {
			return fmt.Errorf("register node %s: %w", n.conf.Name, err)
		}
		if epoch > 0 {
			n.mu.Lock()
			n.epoch = epoch
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

// register gives the new epoch, or 0 and the beat of a node of that name on another machine.
func register(ctx context.Context, tx *db.Tx, conf Config, machine string, present bool) (int64, beatRow, error) {
	labels, err := json.Marshal(conf.Labels)
	if err != nil {
		return 0, beatRow{}, err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO node (name, machine, epoch, state, cap, draining, version, address, labels, registered)
		VALUES ($1, $2, 0, 'stopped', $3, FALSE, '', '', '{}', $4) ON CONFLICT (name) DO NOTHING`, conf.Name, machine, conf.Cap, tx.Ms()); err != nil {
		return 0, beatRow{}, err
	}
	other := beatRow{node: conf.Name}
	var state, owner string
	if err := tx.QueryRowContext(ctx, "SELECT epoch, state, machine FROM node WHERE name = $1"+tx.ForUpdate(), conf.Name).Scan(&other.epoch, &state, &owner); err != nil {
		return 0, beatRow{}, err
	}
	if state == "up" && owner != machine {
		err := tx.QueryRowContext(ctx, "SELECT beats FROM node_beat WHERE node = $1", conf.Name).Scan(&other.beats)
		return 0, other, err
	}
	epoch := other.epoch + 1
	if _, err := tx.ExecContext(ctx, `UPDATE node SET epoch = $2, state = 'up', machine = $3, version = $4, address = $5, labels = $6, registered = $7, present = $8
		WHERE name = $1`, conf.Name, epoch, machine, conf.Version, conf.Address, string(labels), tx.Ms(), present); err != nil {
		return 0, beatRow{}, err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO node_beat (node, epoch, beats, seen) VALUES ($1, $2, 1, $3)
		ON CONFLICT (node) DO UPDATE SET epoch = $2, beats = node_beat.beats + 1, seen = $3`, conf.Name, epoch, tx.Ms()); err != nil {
		return 0, beatRow{}, err
	}
	return epoch, other, releaseAll(ctx, tx, conf.Name)
}

// releaseAll lets every task go that a node holds; its row of node is locked.
func releaseAll(ctx context.Context, tx *db.Tx, node string) error {
	res, err := tx.ExecContext(ctx, "UPDATE queue SET state = 'released', updated = $2 WHERE node = $1 AND state = 'running'", node, tx.Ms())
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err == nil && n > 0 {
		tx.Hint(queueTopic)
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
	res, err := tx.ExecContext(ctx, "UPDATE node SET state = 'stopped' WHERE name = $1 AND epoch = $2", node, epoch)
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

// NodeInfo is a node as people and clients see it.
type NodeInfo struct {
	Name         string
	Cap          int
	Draining     bool
	State        string // up, stopped or dead
	Version      string
	Address      string
	Labels       map[string]string
	Epoch        int64
	Registered   time.Time
	LastSeen     time.Time
	RunningTasks int
	Leader       bool
}

// Id is the wire's id.
func (i NodeInfo) Id() string { return NodeId(i.Name) }

// Rank is Leader or Follower, as old clients show it.
func (i NodeInfo) Rank() string {
	if i.Leader {
		return "Leader"
	}
	return "Follower"
}

// IsOffline is the wire's rule: not running, or not seen for a minute (behaviour.md 2.2).
func (i NodeInfo) IsOffline(now time.Time) bool {
	return i.State != "up" || now.Sub(i.LastSeen) > time.Minute
}

const selectNode = `SELECT n.name, n.cap, n.draining, n.state, n.version, n.address, n.labels, n.epoch, n.registered, coalesce(b.seen, n.registered),
		(SELECT count(*) FROM queue q WHERE q.node = n.name AND q.state = 'running'),
		EXISTS (SELECT 1 FROM lease l WHERE l.name = 'leader' AND l.holder = n.name)
	FROM node n LEFT JOIN node_beat b ON b.node = n.name `

func scanNode(row interface{ Scan(...any) error }) (NodeInfo, error) {
	var i NodeInfo
	var labels string
	var registered, seen int64
	if err := row.Scan(&i.Name, &i.Cap, &i.Draining, &i.State, &i.Version, &i.Address, &labels, &i.Epoch, &registered, &seen, &i.RunningTasks, &i.Leader); err != nil {
		return NodeInfo{}, err
	}
	i.Registered, i.LastSeen = time.UnixMilli(registered), time.UnixMilli(seen)
	return i, json.Unmarshal([]byte(labels), &i.Labels)
}

// Nodes lists all nodes by name.
func Nodes(ctx context.Context, tx *db.Tx) ([]NodeInfo, error) {
	rows, err := tx.QueryContext(ctx, selectNode+"ORDER BY n.name")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []NodeInfo
	for rows.Next() {
		i, err := scanNode(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, i)
	}
	return out, rows.Err()
}

// GetNode reads a node by its name or its wire id.
func GetNode(ctx context.Context, tx *db.Tx, node string) (NodeInfo, error) {
	name := strings.TrimPrefix(node, nodePrefix)
	i, err := scanNode(tx.QueryRowContext(ctx, selectNode+"WHERE n.name = $1", name))
	if errors.Is(err, sql.ErrNoRows) {
		return NodeInfo{}, fault.NotFoundf("There is no node named %s.", name)
	}
	return i, err
}

// SetNode changes a node's task cap and whether it drains. Once this is committed no claim under the
// old values can be (reliability-and-security.md I4, I5); what runs goes on.
func SetNode(ctx context.Context, tx *db.Tx, node string, taskCap *int, draining *bool) (NodeInfo, error) {
	name := strings.TrimPrefix(node, nodePrefix)
	if taskCap != nil && *taskCap < 0 {
		return NodeInfo{}, fault.InvalidField("MaxConcurrentTasks", "MaxConcurrentTasks (%d) must not be negative; 0 takes no tasks.", *taskCap)
	}
	if _, err := GetNode(ctx, tx, name); err != nil {
		return NodeInfo{}, err
	}
	_, err := tx.ExecContext(ctx, "UPDATE node SET cap = coalesce($2, cap), draining = coalesce($3, draining) WHERE name = $1", name, taskCap, draining)
	if err != nil {
		return NodeInfo{}, err
	}
	tx.Hint(nodeTopic(name))
	return GetNode(ctx, tx, name)
}

// DeleteNode forgets a node that does not run any more; tasks it left are released.
func DeleteNode(ctx context.Context, tx *db.Tx, node string) error {
	i, err := GetNode(ctx, tx, node)
	if err != nil {
		return err
	}
	if !i.IsOffline(tx.Now) {
		return fault.Conflictf("The node %s is running. Stop it first, then delete it.", i.Name)
	}
	// The row's lock first: a claim or a registration that is under way ends before or is refused.
	if _, err := tx.ExecContext(ctx, "DELETE FROM node WHERE name = $1", i.Name); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM node_beat WHERE node = $1", i.Name); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE lease SET holder = '' WHERE holder = $1", i.Name); err != nil {
		return err
	}
	return releaseAll(ctx, tx, i.Name)
}
