package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/resource"
)

// NodeSettings is what a client may change of a node; what is left out stays (behaviour.md 5.14).
type NodeSettings struct {
	IsInMaintenanceMode *bool
	MaxConcurrentTasks  *int
	Labels              *[]string
}

// NodeDetails is GET octopusservernodes/{id}/details.
type NodeDetails struct {
	Id           string
	RunningTasks int
	Links        map[string]string
}

// Summary is GET octopusservernodes/summary. Members beside Nodes and Links are ours.
type Summary struct {
	Nodes             []control.Node
	IsHighlyAvailable bool // two or more nodes are online (behaviour.md row 2)
	TotalTaskCap      int  // of the nodes that take tasks
	RunningTaskCount  int
	Links             map[string]string
}

// Ping is GET octopusservernodes/ping: this node as it is (behaviour.md rows 43 to 47).
type Ping struct {
	control.Node
	ErrorMessage string `json:",omitempty"`
}

func (a *API) nodeRoutes() []route {
	nodes := func(c *call) ([]control.Node, error) {
		all, err := c.control.Nodes(c.ctx)
		ids, part := c.args("ids"), strings.ToLower(c.arg("partialName"))
		return slices.DeleteFunc(all, func(n control.Node) bool {
			return len(ids) > 0 && !slices.Contains(ids, n.Id) || !strings.Contains(strings.ToLower(n.Name), part)
		}), err
	}
	return []route{
		get(server, "/octopusservernodes", access.SignedIn, "ids partialName skip take", func(c *call) (resource.Page[control.Node], error) {
			all, err := nodes(c)
			if err != nil {
				return resource.Page[control.Node]{}, err
			}
			skip, take, err := c.page()
			return resource.NewPage("OctopusServerNode", c.path(), c.asked, skip, take, len(all), all[min(skip, len(all)):min(skip+take, len(all))]), err
		}),
		get(server, "/octopusservernodes/all", access.SignedIn, "", nodes),
		get(server, "/octopusservernodes/summary", access.SignedIn, "", func(c *call) (Summary, error) {
			all, err := c.control.Nodes(c.ctx)
			return summaryOf(all), err
		}),
		get(server, "/octopusservernodes/ping", access.Anonymous, "", func(c *call) (stated, error) {
			n, stopping, broken := c.control.Self(c.ctx)
			switch {
			case broken != "":
				return stated{http.StatusServiceUnavailable, Ping{n, broken}}, nil
			case stopping || n.IsOffline || n.IsInMaintenanceMode:
				return stated{http.StatusTeapot, Ping{Node: n}}, nil // load balancers look at it
			}
			return stated{http.StatusOK, Ping{Node: n}}, nil
		}).typed(nil, typeOf[Ping]()),
		get(server, "/octopusservernodes/{id}", access.SignedIn, "", func(c *call) (control.Node, error) { return c.control.GetNode(c.ctx, c.id()) }),
		send(http.MethodPut, http.StatusOK, server, "/octopusservernodes/{id}", access.ConfigureServer, "", func(c *call, in NodeSettings) (control.Node, error) {
			return c.control.SetNode(c.ctx, c.id(), control.NodeChange{TaskCap: in.MaxConcurrentTasks, Draining: in.IsInMaintenanceMode, Labels: in.Labels})
		}),
		act(http.MethodDelete, server, "/octopusservernodes/{id}", access.ConfigureServer, "", func(c *call) (empty, error) { return empty{}, c.control.DeleteNode(c.ctx, c.id()) }),
		get(server, "/octopusservernodes/{id}/details", access.SignedIn, "", func(c *call) (NodeDetails, error) {
			n, err := c.control.GetNode(c.ctx, c.id())
			return NodeDetails{n.Id, n.RunningTaskCount, n.Links}, err
		}),
	}
}

func summaryOf(all []control.Node) Summary {
	s := Summary{Nodes: all, Links: map[string]string{"Self": "/api/octopusservernodes/summary"}}
	online := 0
	for _, n := range all {
		s.RunningTaskCount += n.RunningTaskCount
		if n.IsOffline {
			continue
		}
		online++
		if !n.IsInMaintenanceMode {
			s.TotalTaskCap += n.MaxConcurrentTasks
		}
	}
	s.IsHighlyAvailable = online > 1
	return s
}

func (a *API) schedulerRoutes() []route {
	// The name is in the path, or in the query as old clients send it.
	named := func(do func(c *call, name string) (control.Scheduler, error)) func(*call) (control.Scheduler, error) {
		return func(c *call) (control.Scheduler, error) {
			name := c.id()
			if name == "" {
				name = c.arg("task")
			}
			return do(c, name)
		}
	}
	start := named(func(c *call, name string) (control.Scheduler, error) { return c.control.StartScheduled(c.ctx, name) })
	stop := named(func(c *call, name string) (control.Scheduler, error) { return c.control.StopScheduled(c.ctx, name) })
	trigger := named(func(c *call, name string) (control.Scheduler, error) { return c.control.TriggerScheduled(c.ctx, name) })
	return []route{
		get(server, "/scheduler", access.AdministerSystem, "", func(c *call) (control.Scheduler, error) { return c.control.Scheduler(c.ctx) }),
		get(server, "/scheduler/{id}/logs", access.AdministerSystem, "", (*call).scheduledLogs),
		act(http.MethodPost, server, "/scheduler/start", access.AdministerSystem, "task", start),
		act(http.MethodPost, server, "/scheduler/stop", access.AdministerSystem, "task", stop),
		act(http.MethodPost, server, "/scheduler/trigger", access.AdministerSystem, "task", trigger),
		act(http.MethodPost, server, "/scheduler/{id}/start", access.AdministerSystem, "", start),
		act(http.MethodPost, server, "/scheduler/{id}/stop", access.AdministerSystem, "", stop),
		act(http.MethodPost, server, "/scheduler/{id}/trigger", access.AdministerSystem, "", trigger),
	}
}

// ScheduledLogs is GET scheduler/{name}/logs: the last times of a duty, the newest first.
type ScheduledLogs struct {
	Name         string
	ActivityLogs []ScheduledActivity
	Links        map[string]string
}

// ScheduledActivity is one of them, in the words of a task's log.
type ScheduledActivity struct {
	Id     string
	Name   string
	Status string // Running, Success, Failed or Canceled
	control.ScheduledRun
}

func (c *call) scheduledLogs() (ScheduledLogs, error) {
	runs, err := c.control.ScheduledRuns(c.ctx, c.id())
	out := ScheduledLogs{Name: c.id(), Links: map[string]string{"Self": c.path()}}
	for i, r := range runs {
		status := "Success"
		switch {
		case r.Error != "":
			status = "Failed"
		case r.Ended == nil && i == 0:
			status = "Running"
		case r.Ended == nil: // another leader took over before its end
			status = "Canceled"
		}
		out.ActivityLogs = append(out.ActivityLogs, ScheduledActivity{Id: r.Started.UTC().Format("20060102T150405.000Z"), Name: out.Name + " on " + r.Node, Status: status, ScheduledRun: r})
	}
	return out, err
}
