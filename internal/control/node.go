package control

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
)

// Node is a node as the wire has it (rest-api.md 5). Status, Warning, Rank, IsLeader and Labels are beyond what clients of
// today read; Rank and IsLeader are what old ones did.
type Node struct {
	Id                  string
	Name                string
	MaxConcurrentTasks  int
	IsInMaintenanceMode bool // it drains; the installation's maintenance is another thing (behaviour.md row 22)
	IsOffline           bool
	Status              string // Running, Draining, Drained or Offline
	Warning             string // "" when all is well
	LastSeen            resource.Time
	Rank                string
	IsLeader            bool
	Version             string
	Labels              []string
	RunningTaskCount    int
	Links               map[string]string

	takesNone bool
}

// TakesTasks tells that it starts tasks, if it has a slot.
func (n Node) TakesTasks() bool { return !n.IsOffline && !n.IsInMaintenanceMode && !n.takesNone }

func wireNode(n cluster.NodeInfo) Node {
	path := "/api/octopusservernodes/" + n.Id()
	w := Node{
		Id: n.Id(), Name: n.Name, MaxConcurrentTasks: n.Cap, IsInMaintenanceMode: n.Draining, IsOffline: n.IsOffline(), Status: n.Status(), LastSeen: resource.Time{Time: n.LastSeen},
		Rank: n.Rank(), IsLeader: n.Leader, Version: n.Version, Labels: n.Labels, RunningTaskCount: n.RunningTasks,
		Links: map[string]string{"Self": path, "Node": path, "Details": path + "/details", "Delete": path, "RunningTasks": "/api/tasks?node=" + n.Id() + "&running=true&spaces=all&includeSystem=true"},
	}
	if n.Trouble != "" {
		w.Warning = fmt.Sprintf("The node %s takes no tasks: %s", n.Name, n.Trouble)
		w.takesNone = true
	}
	if n.IsOffline() {
		how := "stopped"
		if n.State == "dead" {
			how = "does not answer any more; its tasks were given to the other nodes"
		}
		w.Warning = fmt.Sprintf("The node %s %s. It was last seen at %s.", n.Name, how, n.LastSeen.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	return w
}

// Nodes lists the nodes of the cluster.
func (c *Control) Nodes(ctx context.Context) (nodes []Node, err error) {
	err = c.DB.Read(ctx, func(tx *db.Tx) error {
		list, err := cluster.Nodes(ctx, tx)
		nodes = nil
		for _, n := range list {
			nodes = append(nodes, wireNode(n))
		}
		return err
	})
	return nodes, err
}

// GetNode reads one by its name or id.
func (c *Control) GetNode(ctx context.Context, id string) (node Node, err error) {
	err = c.DB.Read(ctx, func(tx *db.Tx) error {
		n, err := cluster.GetNode(ctx, tx, id)
		if fault.KindOf(err) == fault.NotFound {
			return fault.NotFoundf("The resource '%s' was not found.", id)
		}
		if err == nil {
			node = wireNode(n)
		}
		return err
	})
	return node, err
}

// NodeChange is what may be changed of a node; nil leaves it as it is.
type NodeChange struct {
	TaskCap  *int // 0: it serves the API only
	Draining *bool
	Labels   *[]string
}

// SetNode changes a node's task cap and labels, and drains it or lets it work again.
func (c *Control) SetNode(ctx context.Context, id string, change NodeChange) (node Node, err error) {
	err = c.DB.InTx(ctx, func(tx *db.Tx) error {
		old, err := cluster.GetNode(ctx, tx, id)
		if err != nil {
			return err
		}
		if _, err := cluster.SetNode(ctx, tx, id, change.TaskCap, change.Draining); err != nil {
			return err
		}
		if change.Labels != nil {
			if err := cluster.SetLabels(ctx, tx, id, *change.Labels); err != nil {
				return err
			}
		}
		n, err := cluster.GetNode(ctx, tx, id)
		if err != nil {
			return err
		}
		node = wireNode(n)
		return Event(ctx, tx, "", "Modified", "Node "+n.Name+" was changed"+difference(old, n), n.Id())
	})
	return node, err
}

func difference(old, n cluster.NodeInfo) string {
	var said []string
	if n.Cap != old.Cap {
		said = append(said, fmt.Sprintf("its task cap is %d, was %d", n.Cap, old.Cap))
	}
	if n.Draining != old.Draining {
		said = append(said, map[bool]string{true: "it drains", false: "it takes tasks again"}[n.Draining])
	}
	if a, b := strings.Join(old.Labels, ", "), strings.Join(n.Labels, ", "); a != b {
		said = append(said, fmt.Sprintf("its labels are [%s], were [%s]", b, a))
	}
	if said == nil {
		return ""
	}
	return ": " + strings.Join(said, "; ")
}

// DeleteNode takes a node off the list; one that runs comes back by itself (behaviour.md rows 25, 41 and 42).
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

// statusLimit bounds how long a load balancer waits for an answer, also while the database hangs.
const statusLimit = 800 * time.Millisecond

// StopSoon says that this process was told to end: from now on its health checks ask for no more requests.
func (c *Control) StopSoon() { c.stopping.Store(true) }

// Self is this node for health checks: what the database says, within a second, or what was last known. Broken says in
// a sentence why the node is no good at the moment, or is "".
func (c *Control) Self(ctx context.Context) (node Node, stopping bool, broken string) {
	ctx, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	err := c.DB.Read(ctx, func(tx *db.Tx) error {
		n, err := cluster.OwnNode(ctx, tx, c.Node)
		if err == nil {
			node = wireNode(n)
		}
		return err
	})
	stopping = c.stopping.Load()
	missing := fault.KindOf(err) == fault.NotFound
	if err == nil {
		c.self.Store(&node)
	} else if last := c.self.Load(); last != nil {
		node = *last
	} else {
		node = Node{Id: cluster.NodeId(c.Node), Name: c.Node}
	}
	switch {
	case err != nil && !missing:
		broken = "The database does not answer."
	case missing && !stopping:
		broken = "This node is not registered in the cluster."
	case node.IsOffline && !stopping:
		broken = "This node was declared dead and has not registered again yet."
	}
	switch {
	case broken != "":
		node.IsOffline, node.Status, node.Warning = true, "Offline", broken
	case missing: // deleted while it drained, and gone now that it stopped
		node.IsOffline, node.Status, node.Warning = true, "Offline", "This node has stopped."
	case stopping && !node.IsOffline:
		node.Status, node.Warning = "Draining", "This node is stopping."
	}
	return node, stopping, broken
}

// Drain is how a node is emptied before it is stopped or patched.
type Drain struct {
	Wait       time.Duration // for its tasks to end
	Cancel     bool          // those that have not ended then
	CancelWait time.Duration // for cancelled ones to end
}

// AwaitDrained waits until a node that drains owns no task and no process of one lives on it (behaviour.md 2.7, P10). When
// the time is over it says what still runs. say is told how it goes on.
func (c *Control) AwaitDrained(ctx context.Context, name string, d Drain, say func(string)) error {
	left, err := c.untilIdle(ctx, name, d.Wait, say)
	if err != nil || len(left) == 0 {
		return err
	}
	if !d.Cancel {
		return fault.Busyf("Node %s still runs %s. Wait longer (--wait), or cancel them (--cancel-tasks).", name, taskNames(left))
	}
	say("cancelling " + taskNames(left))
	for _, t := range left {
		_, err := c.changeTask(ctx, "", t.Id, "TaskCanceled", "was canceled", func(tx *db.Tx, id string) (cluster.Task, error) {
			return cluster.Cancel(ctx, tx, id, "The task was canceled because its node "+name+" was drained.")
		})
		if err != nil && fault.KindOf(err) != fault.Invalid { // it has ended meanwhile
			return err
		}
	}
	left, err = c.untilIdle(ctx, name, d.CancelWait, say)
	if err == nil && len(left) > 0 {
		err = fault.Busyf("Node %s still runs %s, which has been canceled but has not ended within %s. Wait longer (--cancel-wait).", name, taskNames(left), d.CancelWait)
	}
	return err
}

// untilIdle waits until a node has no task and no handler any more, at most for a time, and gives what is left.
func (c *Control) untilIdle(ctx context.Context, name string, wait time.Duration, say func(string)) (left []cluster.Task, err error) {
	// Handlers are told of at the next beat, and a database may be away for a moment.
	const shortest, longest, retell, linger = 500 * time.Millisecond, 5 * time.Second, 30 * time.Second, 10 * time.Second
	begin := time.Now()
	told := begin
	for {
		idle, ending := false, 0
		running := true
		err := c.DB.Read(ctx, func(tx *db.Tx) error {
			n, err := cluster.GetNode(ctx, tx, name)
			if fault.KindOf(err) == fault.NotFound {
				idle = true // its last word was that it stopped
				return nil
			}
			if err != nil {
				return err
			}
			ending = n.Handlers
			idle = n.RunningTasks == 0 && (ending == 0 || n.IsOffline())
			left, err = cluster.List(ctx, tx, cluster.Filter{Nodes: []string{name}, Running: &running})
			return err
		})
		waited := time.Since(begin)
		switch {
		case idle:
			return nil, nil
		case err == nil && waited >= wait && len(left) > 0:
			return left, nil
		case err == nil && waited >= wait+linger:
			return nil, fault.Busyf("Node %s owns no task any more, but %s of it have not come to their end. Wait longer.", name, plural(ending, "handler"))
		case err != nil && waited >= wait+linger:
			return nil, err
		}
		if time.Since(told) >= retell {
			told = time.Now()
			say(fmt.Sprintf("node %s still runs %s", name, taskNames(left)))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(min(max(waited/20, shortest), longest)):
		}
	}
}

// taskNames names a few tasks.
func taskNames(tasks []cluster.Task) string {
	const few = 5
	var names []string
	for _, t := range tasks[:min(few, len(tasks))] {
		names = append(names, t.Id+" ("+t.Description+")")
	}
	more := ""
	if len(tasks) > few {
		more = fmt.Sprintf(" and %d more", len(tasks)-few)
	}
	return plural(len(tasks), "task") + ": " + strings.Join(names, ", ") + more
}
