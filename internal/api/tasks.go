package api

import (
	"bufio"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
)

// Tasks is a page of tasks; it also tells how many there are of each state.
type Tasks struct {
	resource.Page[control.Task]
	TotalCounts map[string]int
}

// TaskDetails is a task with its log as a tree (rest-api.md 5).
type TaskDetails struct {
	Task            control.Task
	ActivityLogs    []*tasklog.Activity
	PhysicalLogSize int64
	Progress        Progress
	Runs            []tasklog.Run // which nodes ran it, and when
	Links           map[string]string
}

// Progress of a task, as far as it can be told.
type Progress struct {
	ProgressPercentage     int
	EstimatedTimeRemaining string
}

// NewState is the body of POST tasks/{id}/state.
type NewState struct {
	State  string
	Reason string
}

// TaskType is one kind of task.
type TaskType struct {
	Id   string
	Name string
}

func (a *API) taskRoutes() []route {
	one := func(do func(c *call, space, id string) (control.Task, error)) func(*call) (control.Task, error) {
		return func(c *call) (control.Task, error) { return do(c, c.space, c.id()) }
	}
	const filters = "skip take ids name states active running node project environment tenant tenantTag runbook batch description partialName hasPendingInterruptions hasPendingPreconditions hasWarningsOrErrors " +
		"fromQueueDate toQueueDate fromStartDate toStartDate fromCompletedDate toCompletedDate spaces includeSystem"
	return []route{
		get(mixed, "/tasks", access.TaskView, filters, (*call).tasks),
		send(http.MethodPost, http.StatusCreated, mixed, "/tasks", access.TaskCreate, "", func(c *call, in NewTask) (control.Task, error) {
			where := c.space
			if where == "" && in.SpaceId != "" {
				id, err := c.control.SpaceNamed(c.ctx, in.SpaceId)
				if err != nil {
					return control.Task{}, err
				}
				where = id
			}
			return c.control.PushTask(c.ctx, where, in.task())
		}),
		get(mixed, "/tasks/tasktypes", access.TaskView, "", func(c *call) ([]TaskType, error) {
			return []TaskType{{"Deploy", "Deploy"}, {"Health", "Check health"}, {"Upgrade", "Upgrade agents"}}, nil
		}),
		get(mixed, "/tasks/{id}", access.TaskView, "", one(func(c *call, space, id string) (control.Task, error) { return c.control.Task(c.ctx, space, id) })),
		get(mixed, "/tasks/{id}/details", access.TaskView, "verbose tail ranges", (*call).taskDetails),
		raw(get(mixed, "/tasks/{id}/raw", access.TaskView, "", (*call).taskRaw)),
		stream(get(mixed, "/tasks/{id}/follow", access.TaskView, "after", (*call).taskFollow)),
		act(http.MethodPost, mixed, "/tasks/{id}/cancel", access.TaskCancel, "", one(func(c *call, space, id string) (control.Task, error) { return c.control.CancelTask(c.ctx, space, id) })),
		act(http.MethodPost, mixed, "/tasks/{id}/prioritize", access.TaskPrioritize, "", one(func(c *call, space, id string) (control.Task, error) { return c.control.Prioritize(c.ctx, space, id) })),
		send(http.MethodPost, http.StatusOK, mixed, "/tasks/{id}/state", access.TaskEdit, "", func(c *call, in NewState) (control.Task, error) {
			return c.control.SetTaskState(c.ctx, c.space, c.id(), in.State, in.Reason)
		}),
		get(mixed, "/tasks/{id}/queued-behind", access.TaskView, "skip take", func(c *call) (resource.Page[control.Task], error) {
			skip, take, err := c.page()
			if err != nil {
				return resource.Page[control.Task]{}, err
			}
			tasks, total, err := c.control.QueuedBehind(c.ctx, c.space, c.id(), skip, take)
			return resource.NewPage("Task", c.path(), c.asked, skip, take, total, tasks), err
		}),
	}
}

// raw tells the document that the answer is plain text.
func raw(r route) route {
	r.answer = "text/plain"
	return r
}

// stream tells the document that the answer is a stream of events.
func stream(r route) route {
	r.answer = "text/event-stream"
	return r
}

// NewTask is the body of POST tasks.
type NewTask struct {
	Name            string
	Description     string
	SpaceId         string
	Arguments       map[string]any
	QueueTime       *resource.Time
	QueueTimeExpiry *resource.Time
}

func (n NewTask) task() control.NewTask {
	moment := func(t *resource.Time) *time.Time {
		if t == nil || t.IsZero() {
			return nil
		}
		return &t.Time
	}
	return control.NewTask{Name: n.Name, Description: n.Description, Arguments: n.Arguments, QueueTime: moment(n.QueueTime), QueueTimeExpiry: moment(n.QueueTimeExpiry)}
}

// tasks lists them, newest first.
func (c *call) tasks() (Tasks, error) {
	f, err := c.taskFilter()
	if err != nil {
		return Tasks{}, err
	}
	skip, take, err := c.page()
	if err != nil {
		return Tasks{}, err
	}
	f.Skip, f.Take = skip, max(take, 1)
	tasks, total, counts, err := c.control.Tasks(c.ctx, f)
	if take == 0 {
		tasks = nil
	}
	return Tasks{resource.NewPage("Task", c.path(), c.asked, skip, take, total, tasks), counts}, err
}

func (c *call) taskFilter() (control.TaskFilter, error) {
	f := control.TaskFilter{
		Ids: canonicalTasks(c.args("ids")), Kinds: c.args("name"), States: c.args("states"), Nodes: c.args("node"), Projects: c.args("project"), Environments: c.args("environment"), Tenants: c.args("tenant"),
		Runbooks: c.args("runbook"), Batches: c.args("batch"), Description: c.arg("description"), PartialName: c.arg("partialName"), Spaces: c.spaces(),
	}
	if tags := c.args("tenantTag"); tags != nil {
		tagged, err := c.control.TenantsTagged(c.ctx, f.Spaces, tags)
		if err != nil {
			return f, err
		}
		if named := f.Tenants; named != nil {
			tagged = slices.DeleteFunc(tagged, func(id string) bool { return !slices.Contains(named, id) })
		}
		f.Tenants = tagged
	}
	var wrong fault.List
	for name, to := range map[string]**bool{
		"active": &f.Active, "running": &f.Running, "hasPendingInterruptions": &f.HasPendingInterruptions, "hasWarningsOrErrors": &f.HasWarningsOrErrors,
	} {
		if s := c.arg(name); s != "" {
			b, err := strconv.ParseBool(strings.ToLower(s))
			if err != nil {
				wrong.Add("%s must be true or false, not '%s'.", name, s)
			}
			*to = &b
		}
	}
	for name, to := range map[string]**time.Time{
		"fromQueueDate": &f.FromQueue, "toQueueDate": &f.ToQueue, "fromStartDate": &f.FromStart, "toStartDate": &f.ToStart, "fromCompletedDate": &f.FromCompleted, "toCompletedDate": &f.ToCompleted,
	} {
		if s := c.arg(name); s != "" {
			t, err := parseTime(s)
			if err != nil {
				wrong.Add("%s must be a time such as 2026-11-21T01:54:24Z, not '%s'.", name, s)
			}
			*to = &t
		}
	}
	// Nothing has preconditions yet, so asking for tasks that have some finds none.
	if strings.EqualFold(c.arg("hasPendingPreconditions"), "true") {
		f.Ids = []string{}
	}
	return f, wrong.Err()
}

// canonicalTasks gives ids the case they were made with.
func canonicalTasks(ids []string) []string {
	const prefix = "ServerTasks-"
	for i, id := range ids {
		if len(id) > len(prefix) && strings.EqualFold(id[:len(prefix)], prefix) {
			ids[i] = prefix + id[len(prefix):]
		}
	}
	return ids
}

// parseTime reads a time; in a query a "+" may have become a space.
func parseTime(s string) (time.Time, error) {
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(form, strings.ReplaceAll(s, " ", "+")); err == nil {
			return t, nil
		}
	}
	return time.Parse(time.RFC3339, s)
}

func (c *call) taskDetails() (TaskDetails, error) {
	t, err := c.control.Task(c.ctx, c.space, c.id())
	if err != nil {
		return TaskDetails{}, err
	}
	tail := 0
	if s := c.arg("tail"); s != "" {
		if tail, err = strconv.Atoi(s); err != nil || tail < 0 {
			return TaskDetails{}, fault.InvalidField("tail", "tail must be a whole number from 0 on, not '%s'.", s)
		}
	}
	root, size, err := c.logs.Details(c.ctx, t.Id, !strings.EqualFold(c.arg("verbose"), "false"), tail)
	if err != nil {
		return TaskDetails{}, err
	}
	runs, err := c.logs.Runs(c.ctx, t.Id)
	if err != nil {
		return TaskDetails{}, err
	}
	d := TaskDetails{Task: t, PhysicalLogSize: size, Progress: Progress{EstimatedTimeRemaining: ""}, Runs: runs, Links: map[string]string{"Self": t.Links["Self"] + "/details"}}
	if root == nil { // it has said nothing yet: say what it waits for
		text, err := c.control.WhyWaiting(c.ctx, t.Id)
		if err != nil {
			return TaskDetails{}, err
		}
		root = &tasklog.Activity{Id: t.Id, Name: t.Description, Status: tasklog.Pending}
		if text != "" {
			root.LogElements = []tasklog.Element{{Category: tasklog.Wait, OccurredAt: t.LastUpdatedTime, MessageText: text}}
		}
	}
	d.Progress.ProgressPercentage = root.ProgressPercentage
	if t.IsCompleted {
		d.Progress.ProgressPercentage = 100
	}
	d.ActivityLogs = []*tasklog.Activity{root}
	return d, nil
}

// taskRaw streams the log as text; it may be longer than memory.
func (c *call) taskRaw() (done, error) {
	t, err := c.control.Task(c.ctx, c.space, c.id())
	if err != nil {
		return done{}, err
	}
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	c.w.Header().Set("X-Content-Type-Options", "nosniff")
	out := bufio.NewWriterSize(c.w, 64<<10)
	if err := c.logs.Raw(c.ctx, t.Id, out); err != nil {
		return done{}, err
	}
	return done{}, out.Flush()
}
