package machine

import (
	"cmp"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/fault"
)

// WorkerState is a worker as the choice looks at it.
type WorkerState struct {
	Worker
	Leases    int  // of all tasks
	Steps     int  // of this task running on it now
	Mine      bool // this task has a lease on it
	Exclusive bool // another task holds it alone, to upgrade its agent
}

// WorkerChoice is what W1-W3 look at.
type WorkerChoice struct {
	Pool        string // name, for the message
	DefaultPool bool
	Workers     []WorkerState // of the pool, enabled or not
	BuiltIn     bool          // the built-in worker is not switched off
	Prefer      string        // id of the worker that already has the action's package (W3)
	LeaseCap    int           // Octopus.Deployment.WorkerLeaseCap; 0 is none (W6)
}

// ChosenWorker is a worker, the built-in one, or to wait for one.
type ChosenWorker struct {
	Id      string
	BuiltIn bool
	Wait    string // names of the workers to wait for, all of them held exclusively
}

// Choose picks a worker from a pool (deployments.md W2, W3, W6).
func (c WorkerChoice) Choose() (ChosenWorker, error) {
	if c.DefaultPool && len(c.Workers) == 0 {
		if !c.BuiltIn {
			return ChosenWorker{}, fault.Invalidf("The worker pool %q has no workers, and the built-in worker is switched off.", c.Pool)
		}
		return ChosenWorker{BuiltIn: true}, nil
	}
	var good []WorkerState
	var held []string
	for _, w := range c.Workers {
		switch {
		case w.IsDisabled || w.HealthStatus != Healthy && w.HealthStatus != HasWarnings:
		case w.Exclusive:
			held = append(held, w.Name)
		default:
			good = append(good, w)
		}
	}
	switch {
	case len(good) == 0 && len(held) > 0:
		slices.Sort(held)
		return ChosenWorker{Wait: strings.Join(held, ", ")}, nil
	case len(good) == 0:
		return ChosenWorker{}, fault.Invalidf("The worker pool %q has no enabled, healthy worker.", c.Pool)
	}
	full := func(w WorkerState) bool { return c.LeaseCap > 0 && w.Steps >= c.LeaseCap }
	if free := slices.DeleteFunc(slices.Clone(good), full); len(free) > 0 {
		good = free
	}
	if i := slices.IndexFunc(good, func(w WorkerState) bool { return w.Id == c.Prefer && c.Prefer != "" }); i >= 0 {
		return ChosenWorker{Id: good[i].Id}, nil
	}
	best := slices.MinFunc(good, func(a, b WorkerState) int {
		return cmp.Or(a.Leases-b.Leases, notFirst(a.Mine)-notFirst(b.Mine), ByName(a.Name, a.Id, b.Name, b.Id))
	})
	return ChosenWorker{Id: best.Id}, nil
}

func notFirst(mine bool) int {
	if mine {
		return 0
	}
	return 1
}
