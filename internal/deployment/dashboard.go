package deployment

import (
	"cmp"
	"slices"
	"time"

	"github.com/octavo/octavo/internal/resource"
)

// Task states in the wire's words.
const (
	TaskQueued     = "Queued"
	TaskExecuting  = "Executing"
	TaskCancelling = "Cancelling"
	TaskTimedOut   = "TimedOut"
)

// TaskEnded tells whether a task in this state is over.
func TaskEnded(state string) bool {
	return state != TaskQueued && state != TaskExecuting && state != TaskCancelling && state != ""
}

// Past is a deployment as dashboards and retention look at it.
type Past struct {
	Id            string
	ReleaseId     string
	ProjectId     string
	EnvironmentId string
	TenantId      string
	ChannelId     string
	Created       time.Time
	QueueTime     time.Time
	StartTime     time.Time // zero: not started
	State         string
}

// Moment is when a deployment counts from: its start, or (once due) its place in the queue. Due is false for one
// that is scheduled for later (deployments.md Q1).
func (p Past) Moment(now time.Time) (at time.Time, due bool) {
	switch {
	case !p.StartTime.IsZero():
		return p.StartTime, true
	case !p.QueueTime.IsZero():
		return p.QueueTime, !p.QueueTime.After(now)
	}
	return p.Created, true
}

// Slot is what deployments replace one another in: an environment, a tenant and, with discrete channels, a channel (Q1, N12).
type Slot struct{ ProjectId, EnvironmentId, TenantId, ChannelId string }

// SlotOf is a deployment's slot.
func (p Past) SlotOf(discrete bool) Slot {
	s := Slot{ProjectId: p.ProjectId, EnvironmentId: p.EnvironmentId, TenantId: p.TenantId}
	if discrete {
		s.ChannelId = p.ChannelId
	}
	return s
}

// Shown is what a slot shows: the current deployment, the previous one, and the last success (deployments.md Q1-Q3). Any may be nil.
type Shown struct{ Current, Previous, LastSuccess *Past }

// Show finds, for each slot, what it shows (deployments.md Q1-Q3).
func Show(history []Past, discrete bool, now time.Time) map[Slot]Shown {
	slots := map[Slot][]Past{}
	for _, p := range history {
		if _, due := p.Moment(now); due {
			slots[p.SlotOf(discrete)] = append(slots[p.SlotOf(discrete)], p)
		}
	}
	out := map[Slot]Shown{}
	for slot, list := range slots {
		slices.SortStableFunc(list, func(a, b Past) int { // latest first
			at, _ := a.Moment(now)
			bt, _ := b.Moment(now)
			return cmp.Or(bt.Compare(at), b.Created.Compare(a.Created))
		})
		shown := Shown{Current: &list[0]}
		for i := range list {
			if list[i].State != TaskSuccess {
				continue
			}
			if shown.LastSuccess == nil {
				shown.LastSuccess = &list[i]
			}
			if list[i].ReleaseId != list[0].ReleaseId {
				shown.Previous = &list[i]
				break
			}
		}
		out[slot] = shown
	}
	return out
}

// DashboardItem is one deployment on the dashboard (rest-api.md 4). Clients refuse members they do not know.
type DashboardItem struct {
	resource.Meta
	ProjectId               string
	EnvironmentId           string
	ReleaseId               string
	DeploymentId            string
	TaskId                  string
	TenantId                *string
	ChannelId               string
	ReleaseVersion          string
	Created                 resource.Time
	QueueTime               resource.Time
	StartTime               resource.Time
	CompletedTime           resource.Time
	State                   string
	HasPendingInterruptions bool
	HasPendingPreconditions bool
	HasWarningsOrErrors     bool
	ErrorMessage            string
	Duration                string
	IsCurrent               bool
	IsPrevious              bool
	IsCompleted             bool
}
