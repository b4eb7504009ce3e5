package cluster

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
)

// NodeInfo is a node as people and clients see it.
type NodeInfo struct {
	Name         string
	Cap          int
	Draining     bool
	State        string // up, stopped or dead
	Version      string
	Address      string
	Labels       []string
	Epoch        int64
	Registered   time.Time
	LastSeen     time.Time // stands still while the node is offline
	RunningTasks int       // tasks it owns
	Handlers     int       // of tasks, alive in its process at its last beat
	Leader       bool
	Trouble      string // why it takes no tasks just now; "" when it does
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

// IsOffline tells that the node stopped, or that its counter stood still. No clock decides (rule 8): one that is a
// minute off would make a sound node look dead.
func (i NodeInfo) IsOffline() bool { return i.State != "up" }

// Status is the node's state in one word (behaviour.md rows 11 and 12). Drained says that it owns no task and that no
// handler lives in its process (reliability-and-security.md I5).
func (i NodeInfo) Status() string {
	switch {
	case i.IsOffline():
		return "Offline"
	case !i.Draining:
		return "Running"
	case i.RunningTasks == 0 && i.Handlers == 0:
		return "Drained"
	default:
		return "Draining"
	}
}

const selectNode = `SELECT n.name, n.cap, n.draining, n.state, n.version, n.address, n.labels, n.epoch, n.registered, coalesce(b.seen, n.registered), coalesce(b.runs, 0),
		(SELECT count(*) FROM queue q WHERE q.node = n.name AND q.state = 'running'),
		EXISTS (SELECT 1 FROM lease l WHERE l.name = 'leader' AND l.holder = n.name), n.trouble
	FROM node n LEFT JOIN node_beat b ON b.node = n.name `

func scanNode(row interface{ Scan(...any) error }) (NodeInfo, error) {
	var i NodeInfo
	var labels string
	var registered, seen int64
	if err := row.Scan(&i.Name, &i.Cap, &i.Draining, &i.State, &i.Version, &i.Address, &labels, &i.Epoch, &registered, &seen, &i.Handlers, &i.RunningTasks, &i.Leader, &i.Trouble); err != nil {
		return NodeInfo{}, err
	}
	i.Registered, i.LastSeen = time.UnixMilli(registered), time.UnixMilli(seen)
	return i, json.Unmarshal([]byte(labels), &i.Labels)
}

// Nodes lists all nodes by name.
func Nodes(ctx context.Context, tx *db.Tx) ([]NodeInfo, error) {
	rows, err := tx.QueryContext(ctx, selectNode+"WHERE n.deleted IS NULL ORDER BY n.name")
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
	return nodeWhere(ctx, tx, selectNode+"WHERE n.deleted IS NULL AND n.name = $1", node)
}

// OwnNode reads a node for itself: while it runs it does not miss its row because somebody deleted it.
func OwnNode(ctx context.Context, tx *db.Tx, node string) (NodeInfo, error) {
	return nodeWhere(ctx, tx, selectNode+"WHERE (n.deleted IS NULL OR n.state = 'up') AND n.name = $1", node)
}

func nodeWhere(ctx context.Context, tx *db.Tx, query, node string) (NodeInfo, error) {
	name := strings.TrimPrefix(node, nodePrefix)
	i, err := scanNode(tx.QueryRowContext(ctx, query, name))
	if errors.Is(err, sql.ErrNoRows) {
		return NodeInfo{}, fault.NotFoundf("There is no node named %s.", name)
	}
	return i, err
}

// SetNode changes a node's task cap and whether it drains. Once this is committed no claim under the
// old values can be (reliability-and-security.md I4, I5); what runs goes on. A leader that drains sees it within half a
// second, and resigns.
func SetNode(ctx context.Context, tx *db.Tx, node string, taskCap *int, draining *bool) (NodeInfo, error) {
	name := strings.TrimPrefix(node, nodePrefix)
	if taskCap != nil && (*taskCap < 0 || *taskCap > MaxCap) {
		return NodeInfo{}, fault.InvalidField("MaxConcurrentTasks", "MaxConcurrentTasks (%d) must be between 0 (no tasks, only the API) and %d.", *taskCap, MaxCap)
	}
	if _, err := GetNode(ctx, tx, name); err != nil {
		return NodeInfo{}, err
	}
	_, err := tx.ExecContext(ctx, `UPDATE node SET cap = coalesce($2, cap), draining = coalesce($3, draining), retire = retire AND coalesce($3, draining)
		WHERE name = $1`, name, taskCap, draining)
	if err != nil {
		return NodeInfo{}, err
	}
	tx.Hint(nodeTopic(name))
	return GetNode(ctx, tx, name)
}

// MaxCap bounds a node's task cap.
const MaxCap = 10000

// DeleteNode takes a node off the list. One that has stopped or died is gone for good, until a node of its name is
// started anew. One that runs is back within a second as it was, since it does run; its tasks notice nothing
// (behaviour.md rows 25, 41 and 42). No task depends on a node's row.
func DeleteNode(ctx context.Context, tx *db.Tx, node string) error {
	i, err := GetNode(ctx, tx, node)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE node SET deleted = $2 WHERE name = $1", i.Name, tx.Ms())
	return err
}

// How long nodes stay on the list that nobody deletes: those that stopped in good order, those that died, and the
// hidden rows of deleted ones, which keep epochs rising.
const (
	forgetStopped = 7 * 24 * time.Hour
	forgetDead    = 30 * 24 * time.Hour
	forgetDeleted = 90 * 24 * time.Hour
)

// Tidying is the name of the duty that every cluster has.
const Tidying = "Tidy nodes and duties"

// tidy is the duty that lets go of what is long over: names of machines that come and go must not pile up
// (behaviour.md P12), nor duties that no version does any more.
func (n *Node) tidy(ctx context.Context, term Term) error {
	return n.db.InTx(ctx, func(tx *db.Tx) error {
		if err := term.Hold(ctx, tx); err != nil {
			return err
		}
		ago := func(d time.Duration) int64 { return tx.Now.Add(-d).UnixMilli() }
		_, err := tx.ExecContext(ctx, `UPDATE node SET deleted = $1 WHERE deleted IS NULL AND (state = 'stopped' AND gone < $2 OR state = 'dead' AND gone < $3)`,
			tx.Ms(), ago(forgetStopped), ago(forgetDead))
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM node WHERE deleted < $1 AND state <> 'up'", ago(forgetDeleted)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM node_beat WHERE NOT EXISTS (SELECT 1 FROM node n WHERE n.name = node_beat.node)"); err != nil {
			return err
		}
		return forgetDuties(ctx, tx, n.conf.Duties)
	})
}
