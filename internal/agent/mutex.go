//go:build unix

package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// mutexes are the isolation locks, one per name: FullIsolation writes, NoIsolation reads (tentacle-protocol.md 2.7).
// They are fair: nobody overtakes one who waits longer, so a stream of readers cannot starve a writer.
type mutexes struct {
	mu    sync.Mutex
	named map[string]*mutex
}

type mutex struct {
	holders []*hold
	waiting []*hold
}

// hold is a script's place at one mutex.
type hold struct {
	name    string
	write   bool
	task    string
	granted chan struct{}
}

var (
	errMutexTimeout = errors.New("the isolation mutex was not obtained in time")
	errCancelled    = errors.New("cancelled")
)

// ask queues up. blockers are the tasks it must wait for; none means that the mutex is held already.
func (m *mutexes) ask(name, task string, write bool) (h *hold, blockers []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h = &hold{name: strings.ToLower(name), write: write, task: task, granted: make(chan struct{})}
	x := m.named[h.name]
	if x == nil {
		x = &mutex{}
		if m.named == nil {
			m.named = map[string]*mutex{}
		}
		m.named[h.name] = x
	}
	for _, other := range append(slices.Clone(x.holders), x.waiting...) {
		if (write || other.write) && !slices.Contains(blockers, other.task) {
			blockers = append(blockers, other.task)
		}
	}
	x.waiting = append(x.waiting, h)
	x.grant()
	return h, blockers
}

// take holds without asking: the script runs already.
func (m *mutexes) take(name, task string, write bool) *hold {
	h, _ := m.ask(name, task, write)
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.named[h.name]
	if i := slices.Index(x.waiting, h); i >= 0 {
		x.waiting = slices.Delete(x.waiting, i, i+1)
		x.holders = append(x.holders, h)
		close(h.granted)
	}
	return h
}

// wait ends without error when the mutex is held. A limit of 0 is none. The place is the caller's to release in any case.
func (h *hold) wait(ctx context.Context, limit time.Duration, cancel <-chan struct{}) error {
	var late <-chan time.Time
	if limit > 0 {
		late = time.After(limit)
	}
	select {
	case <-cancel: // comes first when both are there
		return errCancelled
	default:
	}
	select {
	case <-h.granted:
		return context.Cause(ctx) // nobody starts any more once ctx has ended
	case <-late:
		return errMutexTimeout
	case <-cancel:
		return errCancelled
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// release gives a held mutex, or a place in its queue, to the next.
func (m *mutexes) release(h *hold) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x := m.named[h.name]
	is := func(o *hold) bool { return o == h }
	x.holders = slices.DeleteFunc(x.holders, is)
	x.waiting = slices.DeleteFunc(x.waiting, is)
	x.grant()
	if len(x.holders)+len(x.waiting) == 0 {
		delete(m.named, h.name)
	}
}

func (x *mutex) grant() {
	for len(x.waiting) > 0 {
		next := x.waiting[0]
		if len(x.holders) > 0 && (next.write || slices.ContainsFunc(x.holders, func(o *hold) bool { return o.write })) {
			return
		}
		x.waiting = x.waiting[1:]
		x.holders = append(x.holders, next)
		close(next.granted)
	}
}
