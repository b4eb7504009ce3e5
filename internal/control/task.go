package control

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/store"
)

// The kinds of task a client may push itself, with POST tasks. What runs them is the engine's.
var taskKinds = []string{"Health", "Upgrade", "Retention", "SynchronizeBuiltInPackageRepositoryIndex"}

// described is what a task is called whose client gave it no description.
var described = map[string]string{"Health": "Health check", "Upgrade": "Upgrade agents", "Retention": "Apply retention policies", "SynchronizeBuiltInPackageRepositoryIndex": "Re-index built-in package repository"}

// Tasks lists tasks, how many there are, and how many of each state (rest-api.md 5).
func (c *Control) Tasks(ctx context.Context, f TaskFilter) (tasks []Task, total int, counts map[string]int, err error) {
	err = c.DB.Read(ctx, func(tx *db.Tx) error {
		list, err := cluster.List(ctx, tx, f)
		if err != nil {
			return err
		}
		var estimates map[string]time.Duration
		if f.Skip == 0 { // of the first page: what people look at again and again
			if estimates, err = cluster.Estimates(ctx, tx, list); err != nil {
				return err
			}
		}
		tasks = wireTasks(list, estimates)
		total, counts, err = cluster.Totals(ctx, tx, f)
		return err
	})
	return tasks, total, counts, err
}

// Task reads one; one of another space than the one asked for is not there.
func (c *Control) Task(ctx context.Context, space, id string) (Task, error) {
	var t cluster.Task
	var estimates map[string]time.Duration
	err := c.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if t, err = taskOf(ctx, tx, space, id); err != nil {
			return err
		}
		estimates, err = cluster.Estimates(ctx, tx, []cluster.Task{t})
		return err
	})
	return wireTasks([]cluster.Task{t}, estimates)[0], err
}

// wireTasks gives tasks their wire form; those of which it is known tell how long they will probably wait in the queue.
func wireTasks(list []cluster.Task, estimates map[string]time.Duration) []Task {
	out := make([]Task, len(list))
	for i, t := range list {
		out[i] = WireTask(t)
		out[i].EstimatedRemainingQueueDurationSeconds = int(estimates[t.Id].Round(time.Second) / time.Second)
	}
	return out
}

// TenantsTagged gives the ids of the tenants that pass a filter of tags (rest-api.md 5, tenantTag).
func (c *Control) TenantsTagged(ctx context.Context, spaces, tags []string) (ids []string, err error) {
	err = c.DB.Read(ctx, func(tx *db.Tx) error {
		ids = []string{}
		tenants, err := store.Views[environment.Tenant](ctx, tx, &Tenants.Kind, store.Query{Spaces: spaces, Filters: map[string][]string{"tags": tags}})
		for _, t := range tenants {
			if t.HasTags(tags) {
				ids = append(ids, t.Id)
			}
		}
		return err
	})
	return ids, err
}

func taskOf(ctx context.Context, tx *db.Tx, space, id string) (cluster.Task, error) {
	t, err := cluster.Get(ctx, tx, canonicalTask(id))
	if fault.KindOf(err) == fault.NotFound || (err == nil && space != "" && t.SpaceId != "" && t.SpaceId != space) {
		return t, fault.NotFoundf("The resource '%s' was not found.", id)
	}
	return t, err
}

func canonicalTask(id string) string {
	const prefix = "ServerTasks-"
	if len(id) > len(prefix) && strings.EqualFold(id[:len(prefix)], prefix) {
		return prefix + id[len(prefix):]
	}
	return id
}

// WhyWaiting says what a task waits for, or "".
func (c *Control) WhyWaiting(ctx context.Context, id string) (why string, err error) {
	err = c.DB.Read(ctx, func(tx *db.Tx) error {
		why, err = cluster.Why(ctx, tx, id)
		return err
	})
	return why, err
}

// changeTask does something to a task and writes the event of it.
func (c *Control) changeTask(ctx context.Context, space, id, category, verb string, do func(*db.Tx, string) (cluster.Task, error)) (Task, error) {
	var t cluster.Task
	err := c.DB.InTx(ctx, func(tx *db.Tx) error {
		old, err := taskOf(ctx, tx, space, id)
		if err != nil {
			return err
		}
		if t, err = do(tx, old.Id); err != nil {
			return err
		}
		return Event(ctx, tx, old.SpaceId, category, "Task "+old.Description+" "+verb, old.Id)
	})
	return WireTask(t), err
}

// CancelTask cancels a task: at once when it has not begun, else as soon as its scripts have been ended.
func (c *Control) CancelTask(ctx context.Context, space, id string) (Task, error) {
	return c.changeTask(ctx, space, id, "TaskCanceled", "was canceled", func(tx *db.Tx, id string) (cluster.Task, error) {
		t, err := cluster.Cancel(ctx, tx, id, "The task was canceled by a user.")
		if err != nil || !t.HasPendingInterruptions() {
			return t, err
		}
		if err := Withdraw(ctx, tx, id, "its task was cancelled"); err != nil {
			return t, err
		}
		return cluster.Get(ctx, tx, id)
	})
}

// Prioritize moves a queued task to the top.
func (c *Control) Prioritize(ctx context.Context, space, id string) (Task, error) {
	return c.changeTask(ctx, space, id, "TaskPrioritized", "was moved to the top of the queue", func(tx *db.Tx, id string) (cluster.Task, error) {
		return cluster.MoveToTop(ctx, tx, id)
	})
}

// SetTaskState corrects the end of a task by hand.
func (c *Control) SetTaskState(ctx context.Context, space, id, state, reason string) (Task, error) {
	if strings.TrimSpace(reason) == "" {
		return Task{}, fault.InvalidField("Reason", "Please say why the state of the task is changed (Reason).")
	}
	return c.changeTask(ctx, space, id, "TaskStateChanged", "was set to "+state+": "+reason, func(tx *db.Tx, id string) (cluster.Task, error) {
		return cluster.SetState(ctx, tx, id, cluster.State(state), reason)
	})
}

// QueuedBehind lists what a task waits for.
func (c *Control) QueuedBehind(ctx context.Context, space, id string, skip, take int) (tasks []Task, total int, err error) {
	err = c.DB.Read(ctx, func(tx *db.Tx) error {
		t, err := taskOf(ctx, tx, space, id)
		if err != nil {
			return err
		}
		list, n, err := cluster.QueuedBehind(ctx, tx, t.Id, skip, take)
		tasks, total = wireTasks(list, nil), n
		return err
	})
	return tasks, total, err
}

// NewTask is what POST tasks takes.
type NewTask struct {
	Name            string
	Description     string
	SpaceId         string
	Arguments       map[string]any
	QueueTime       *time.Time
	QueueTimeExpiry *time.Time
}

// PushTask queues a task a client asks for by name.
func (c *Control) PushTask(ctx context.Context, space string, n NewTask) (Task, error) {
	i := slices.IndexFunc(taskKinds, func(k string) bool { return strings.EqualFold(k, n.Name) })
	if i < 0 {
		return Task{}, fault.InvalidField("Name", "Tasks of the name '%s' cannot be created; those of %s can. Deployments are created with POST deployments/create/untenanted/v1.", n.Name, strings.Join(taskKinds, ", "))
	}
	push := cluster.NewTask{SpaceId: space, Kind: taskKinds[i], Description: n.Description, Arguments: n.Arguments}
	if push.Description == "" {
		push.Description = described[push.Kind]
	}
	if push.Kind == "Health" || push.Kind == "Upgrade" { // they choose machines alike
		arguments, err := json.Marshal(n.Arguments)
		if err != nil {
			return Task{}, err
		}
		if _, _, _, err := ReadHealthArguments(arguments); err != nil {
			return Task{}, err
		}
	}
	if n.QueueTime != nil {
		push.QueueTime = *n.QueueTime
	}
	if n.QueueTimeExpiry != nil {
		push.QueueTimeExpiry = *n.QueueTimeExpiry
	}
	var t cluster.Task
	err := c.DB.InTx(ctx, func(tx *db.Tx) (err error) {
		if t, err = cluster.Push(ctx, tx, push); err != nil {
			return err
		}
		return Event(ctx, tx, space, "Queued", "Task "+t.Description+" was queued", t.Id)
	})
	return WireTask(t), err
}

// noLiveTask refuses to take away what a task still works on.
func (c *Control) noLiveTask(ctx context.Context, tx *db.Tx, what, id, name string) error {
	live := true
	f := cluster.Filter{Active: &live}
	if what == "space" {
		f.Spaces = []string{id}
	} else {
		f.Projects = []string{id}
	}
	n, err := cluster.Count(ctx, tx, f)
	if err == nil && n > 0 {
		err = fault.Invalidf("The %s '%s' cannot be deleted while %d of its tasks have not ended. Wait for them, or cancel them.", what, name, n)
	}
	return err
}
