package control

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/resource"
)

// TaskFilter chooses tasks.
type TaskFilter = cluster.Filter

// Task is a task as the wire has it (rest-api.md 5).
type Task struct {
	resource.Meta
	Name                                   string
	Description                            string
	Arguments                              map[string]any
	State                                  string
	Completed                              string
	QueueTime                              resource.Time
	QueueTimeExpiry                        *resource.Time
	StartTime                              *resource.Time
	LastUpdatedTime                        resource.Time
	CompletedTime                          *resource.Time
	ServerNode                             *string
	Duration                               string
	ErrorMessage                           string
	HasBeenPickedUpByProcessor             bool
	IsCompleted                            bool
	FinishedSuccessfully                   bool
	HasPendingInterruptions                bool
	HasPendingPreconditions                bool
	PendingInterruptionTypes               []string
	PendingPreconditionTypes               []string
	CanRerun                               bool
	HasWarningsOrErrors                    bool
	ProjectId                              *string
	EstimatedRemainingQueueDurationSeconds int
}

// WireTask turns a task of the cluster into the wire's.
func WireTask(t cluster.Task) Task {
	w := Task{
		Name: t.Kind, Description: t.Description, State: t.Wire(), Completed: completed(t), QueueTime: resource.Time{Time: t.QueueTime}, QueueTimeExpiry: wireMoment(t.QueueTimeExpiry),
		StartTime: wireMoment(t.StartTime), LastUpdatedTime: resource.Time{Time: t.LastUpdatedTime}, CompletedTime: wireMoment(t.CompletedTime), Duration: duration(t), ErrorMessage: t.ErrorMessage,
		HasBeenPickedUpByProcessor: t.HasBeenPickedUpByProcessor(), IsCompleted: t.State.Ended(), FinishedSuccessfully: t.State == cluster.Success,
		HasPendingInterruptions: t.HasPendingInterruptions(), PendingInterruptionTypes: t.Interruptions, HasWarningsOrErrors: t.HasWarningsOrErrors(),
	}
	w.Id, w.SpaceId = t.Id, t.SpaceId
	_ = json.Unmarshal(t.Arguments, &w.Arguments) // Push made it an object
	if t.ProjectId != "" {
		w.ProjectId = &t.ProjectId
	}
	if node := t.ServerNode(); node != "" {
		w.ServerNode = &node
	}
	path := "/api/tasks/" + t.Id
	w.Links = map[string]string{
		"Self": path, "Web": "/app#/tasks/" + t.Id, "Raw": path + "/raw", "Follow": path + "/follow{?after}", "Details": path + "/details{?verbose,tail,ranges}", "Cancel": path + "/cancel", "State": path + "/state",
		"QueuedBehind": path + "/queued-behind{?skip,take}", "Prioritize": path + "/prioritize", "Rerun": "/api/tasks/rerun/" + t.Id,
	}
	if t.SpaceId != "" {
		w.Links["Artifacts"] = "/api/" + t.SpaceId + "/artifacts?regarding=" + t.Id
		w.Links["Interruptions"] = "/api/" + t.SpaceId + "/interruptions{?regarding,pendingOnly}"
	}
	return w
}

func wireMoment(t *time.Time) *resource.Time {
	if t == nil {
		return nil
	}
	return &resource.Time{Time: *t}
}

// completed is how the reference says it for people.
func completed(t cluster.Task) string {
	switch {
	case t.CompletedTime != nil && t.State == cluster.TimedOut:
		return "Timed out"
	case t.CompletedTime != nil:
		return t.CompletedTime.UTC().Format("Monday, 02 January 2006 3:04 PM -07:00")
	case t.Cancelling:
		return "Cancelling..."
	case t.State == cluster.StateQueued:
		return "Queued..."
	default:
		return "Executing..."
	}
}

// duration is how long a task ran, for people.
func duration(t cluster.Task) string {
	if t.StartTime == nil {
		return ""
	}
	until := t.LastUpdatedTime
	if t.CompletedTime != nil {
		until = *t.CompletedTime
	}
	d := max(until.Sub(*t.StartTime), 0)
	switch {
	case d < time.Minute:
		return plural(int(d.Seconds()), "second")
	case d < time.Hour:
		return plural(int(d.Minutes()), "minute")
	default:
		return plural(int(d.Hours()), "hour")
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
