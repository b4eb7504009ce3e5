package control

import (
	"context"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
)

// Nodes lists the nodes of the cluster.
func (c *Control) Nodes(ctx context.Context) (nodes []Node, err error) {
	err = c.DB.Read(ctx, func(tx *db.Tx) error {
		list, err := cluster.Nodes(ctx, tx)
		nodes = nil
		for _, n := range list {
			nodes = append(nodes, wireNode(n, tx.Now))
		}
		return err
	})
	return nodes, err
}

// GetNode reads one by its name or id; "" is this node.
func (c *Control) GetNode(ctx context.Context, id string) (node Node, err error) {
	if id == "" {
		id = c.Node
	}
	err = c.DB.Read(ctx, func(tx *db.Tx) error {
		n, err := cluster.GetNode(ctx, tx, id)
		if fault.KindOf(err) == fault.NotFound {
			return fault.NotFoundf("The resource '%s' was not found.", id)
		}
		node = wireNode(n, tx.Now)
		return err
	})
	return node, err
}

// SetNode changes a node's task cap, and drains it or lets it work again.
func (c *Control) SetNode(ctx context.Context, id string, taskCap *int, draining *bool) (node Node, err error) {
	err = c.DB.InTx(ctx, func(tx *db.Tx) error {
		n, err := cluster.SetNode(ctx, tx, id, taskCap, draining)
		if err != nil {
			return err
		}
		node = wireNode(n, tx.Now)
		return Event(ctx, tx, "", "Modified", "Node "+n.Name+" was changed", n.Id())
	})
	return node, err
}

// DeleteNode forgets a node that does not run any more.
func (c *Control) DeleteNode(ctx context.Context, id string) error {
	return c.DB.InTx(ctx, func(tx *db.Tx) error {
		node, err := cluster.GetNode(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := cluster.DeleteNode(ctx, tx, id); err != nil {
			return err
		}
		return Event(ctx, tx, "", "Deleted", "Node "+node.Name+" was deleted", node.Id())
	})
}

// Node is a node as the wire has it (rest-api.md 5).
type Node struct {
	Id                  string
	Name                string
	MaxConcurrentTasks  int
	IsInMaintenanceMode bool
	IsOffline           bool
	LastSeen            resource.Time
	Rank                string
	Version             string
	RunningTaskCount    int
	Links               map[string]string
}

func wireNode(n cluster.NodeInfo, now time.Time) Node {
	path := "/api/octopusservernodes/" + n.Id()
	return Node{
		Id: n.Id(), Name: n.Name, MaxConcurrentTasks: n.Cap, IsInMaintenanceMode: n.Draining, IsOffline: n.IsOffline(now), LastSeen: resource.Time{Time: n.LastSeen}, Rank: n.Rank(), Version: n.Version,
		RunningTaskCount: n.RunningTasks, Links: map[string]string{"Self": path, "Node": path, "Details": path + "/details", "Delete": path},
	}
}
