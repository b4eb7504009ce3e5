package control

import (
	"context"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
)

// Scheduler is what the leading node does again and again (behaviour.md row 19).
type Scheduler struct {
	IsRunning  bool // some node leads
	TaskStatus []ScheduledTask
	Links      map[string]string
}

// ScheduledTask is one duty of the leader. Members from Interval on are ours.
type ScheduledTask struct {
	Name        string
	IsEnabled   bool
	Interval    string // such as 1h0m0s
	IsRunning   bool
	LastStarted *resource.Time
	LastEnded   *resource.Time
	LastNode    string
	LastError   string
	NextDue     *resource.Time // null while it is stopped
	Links       map[string]string
}

// ScheduledRun is one time that a duty was done.
type ScheduledRun struct {
	Node    string
	Term    int64 // of the leadership; it only rises
	Started resource.Time
	Ended   *resource.Time
	Error   string
}

// Scheduler reads all duties.
func (c *Control) Scheduler(ctx context.Context) (s Scheduler, err error) {
	err = c.DB.Read(ctx, func(tx *db.Tx) error {
		s = Scheduler{Links: map[string]string{"Self": "/api/scheduler", "Start": "/api/scheduler/start{?task}", "Stop": "/api/scheduler/stop{?task}", "Trigger": "/api/scheduler/trigger{?task}"}}
		nodes, err := cluster.Nodes(ctx, tx)
		if err != nil {
			return err
		}
		s.IsRunning = slices.ContainsFunc(nodes, func(n cluster.NodeInfo) bool { return n.Leader && !n.IsOffline() })
		duties, err := cluster.Duties(ctx, tx)
		for _, d := range duties {
			s.TaskStatus = append(s.TaskStatus, scheduledTask(d))
		}
		return err
	})
	return s, err
}

func scheduledTask(d cluster.DutyInfo) ScheduledTask {
	path := "/api/scheduler/" + strings.ReplaceAll(d.Name, " ", "%20")
	t := ScheduledTask{
		Name: d.Name, IsEnabled: !d.Paused, Interval: d.Every.String(), IsRunning: d.Started != nil && d.Ended == nil, LastStarted: wireMoment(d.Started), LastEnded: wireMoment(d.Ended),
		LastNode: d.Node, LastError: d.Error, Links: map[string]string{"Logs": path + "/logs", "Start": path + "/start", "Stop": path + "/stop", "Trigger": path + "/trigger"},
	}
	if !d.Paused {
		t.NextDue = wireMoment(&d.Next)
	}
	return t
}

// ScheduledRuns lists the last times of a duty, the newest first.
func (c *Control) ScheduledRuns(ctx context.Context, name string) (runs []ScheduledRun, err error) {
	err = c.DB.Read(ctx, func(tx *db.Tx) error {
		name, err := dutyNamed(ctx, tx, name)
		if err != nil {
			return err
		}
		runs = nil
		list, err := cluster.DutyRuns(ctx, tx, name)
		for _, r := range list {
			runs = append(runs, ScheduledRun{Node: r.Node, Term: r.Term, Started: resource.Time{Time: r.Started}, Ended: wireMoment(r.Ended), Error: r.Error})
		}
		return err
	})
	return runs, err
}

// dutyNamed finds a duty whatever the case of its name.
func dutyNamed(ctx context.Context, tx *db.Tx, name string) (string, error) {
	duties, err := cluster.Duties(ctx, tx)
	if err != nil {
		return "", err
	}
	var names []string
	for _, d := range duties {
		if strings.EqualFold(d.Name, name) {
			return d.Name, nil
		}
		names = append(names, d.Name)
	}
	return "", fault.NotFoundf("There is no scheduled task named '%s'. There are: %s.", name, strings.Join(names, ", "))
}

// StartScheduled lets a duty go on; StopScheduled keeps it from running until then. "" is all of them.
func (c *Control) StartScheduled(ctx context.Context, name string) (Scheduler, error) {
	return c.changeDuties(ctx, name, "was started", func(tx *db.Tx, name string) error { return cluster.PauseDuty(ctx, tx, name, false) })
}

// StopScheduled keeps a duty from running, on every node and after every restart; a run under way goes on.
func (c *Control) StopScheduled(ctx context.Context, name string) (Scheduler, error) {
	return c.changeDuties(ctx, name, "was stopped", func(tx *db.Tx, name string) error { return cluster.PauseDuty(ctx, tx, name, true) })
}

// TriggerScheduled lets a duty run now.
func (c *Control) TriggerScheduled(ctx context.Context, name string) (Scheduler, error) {
	if name == "" {
		return Scheduler{}, fault.InvalidField("task", "Please name the scheduled task to run, as in scheduler/trigger?task=...")
	}
	return c.changeDuties(ctx, name, "was triggered", func(tx *db.Tx, name string) error { return cluster.TriggerDuty(ctx, tx, name) })
}

func (c *Control) changeDuties(ctx context.Context, name, verb string, do func(tx *db.Tx, name string) error) (Scheduler, error) {
	err := c.DB.InTx(ctx, func(tx *db.Tx) error {
		var names []string
		if name != "" {
			found, err := dutyNamed(ctx, tx, name)
			if err != nil {
				return err
			}
			names = []string{found}
		} else {
			duties, err := cluster.Duties(ctx, tx)
			if err != nil {
				return err
			}
			for _, d := range duties {
				names = append(names, d.Name)
			}
		}
		for _, n := range names {
			if err := do(tx, n); err != nil {
				return err
			}
			if err := Event(ctx, tx, "", "Modified", "Scheduled task "+n+" "+verb); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Scheduler{}, err
	}
	return c.Scheduler(ctx)
}
