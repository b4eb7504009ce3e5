package tasklog

import (
	"context"
	"time"

	"github.com/octavo/octavo/internal/resource"
)

// Activity is a node of the tree of GET tasks/{id}/details (rest-api.md 5); the names are the wire's.
type Activity struct {
	Id                 string //nolint:revive // the wire's name
	Name               string
	Status             Status
	Started            *resource.Time
	Ended              *resource.Time
	ShowAtSummaryLevel bool
	ProgressPercentage int
	ProgressMessage    string
	Children           []*Activity
	LogElements        []Element

	dropped int64
}

// Element is a line of an activity.
type Element struct {
	Category    Category
	OccurredAt  resource.Time
	MessageText string
	Detail      string
	Number      int64
}

// DefaultTail is how many lines of each activity details show when the caller does not say.
// A longer log is whole in raw; the omission is marked by a line of category Gap.
const DefaultTail = 5000

// Details folds the log into its tree. Without verbose, lines of category Verbose are left out;
// tail > 0 keeps only the last lines of each activity. size is the length of the shown texts in bytes.
// A task that has said nothing yet has no tree.
func (r Reader) Details(ctx context.Context, task string, verbose bool, tail int) (root *Activity, size int64, err error) {
	if tail <= 0 {
		tail = DefaultTail
	}
	activities := map[string]*Activity{}
	_, err = r.Each(ctx, task, 0, func(e Entry) error {
		activity := activities[e.Activity]
		if activity == nil {
			activity = &Activity{Id: e.Activity, Status: Pending, Children: []*Activity{}, LogElements: []Element{}}
			activities[e.Activity] = activity
			if root == nil {
				root = activity
			} else if parent := activities[parentOf(e)]; parent != nil {
				parent.Children = append(parent.Children, activity)
			} else {
				root.Children = append(root.Children, activity)
			}
		}
		if e.Change != nil {
			activity.apply(e)
			return nil
		}
		size += int64(len(e.Text)) + 1
		if e.Category == Verbose && !verbose {
			return nil
		}
		activity.LogElements = append(activity.LogElements, Element{e.Category, at(e.At), e.Text, e.Detail, e.Number})
		if len(activity.LogElements) >= 2*tail { // cut seldom, so that a long log costs one copy per tail lines
			activity.cut(tail)
		}
		return nil
	})
	for _, activity := range activities {
		activity.cut(tail)
		if activity.dropped > 0 {
			first := activity.LogElements[0]
			gap := Element{Gap, first.OccurredAt, "Earlier lines are left out here; the raw log has all of them.", "", first.Number - 1}
			activity.LogElements = append([]Element{gap}, activity.LogElements...)
		}
	}
	return root, size, err
}

func parentOf(e Entry) string {
	if e.Change == nil {
		return ""
	}
	return e.Change.Parent
}

func at(ms int64) resource.Time { return resource.Time{Time: time.UnixMilli(ms)} }

// cut drops all but the last tail lines.
func (a *Activity) cut(tail int) {
	if n := len(a.LogElements) - tail; n > 0 {
		a.dropped += int64(n)
		a.LogElements = append([]Element{}, a.LogElements[n:]...)
	}
}

// apply takes over a change.
func (a *Activity) apply(e Entry) {
	c := e.Change
	if c.Name != "" {
		a.Name = c.Name
	}
	if c.Status != "" {
		when := at(e.At)
		if a.Started == nil && c.Status != Pending {
			a.Started = &when
		}
		a.Ended = nil
		if c.Status.ended() {
			a.Ended = &when
		}
		a.Status = c.Status
	}
	if c.Percent != 0 {
		a.ProgressPercentage = c.Percent
	}
	if c.Message != "" {
		a.ProgressMessage = c.Message
	}
	if c.Summary {
		a.ShowAtSummaryLevel = true
	}
}
