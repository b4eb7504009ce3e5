package tasklog

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/resource"
)

// Live lets readers follow logs as they grow, through any node. A task that is followed is read once per node, however
// many follow it here (performance.md P28).
type Live struct {
	Reader

	mu    sync.Mutex
	feeds map[string]*feed
}

// Event is an entry as followers get it.
type Event struct {
	Number int64
	JSON   []byte // an Event's members, see wireEvent
}

// wireEvent is a line of text, or a change of an activity, in the words of GET tasks/{id}/details.
type wireEvent struct {
	Number      int64
	OccurredAt  resource.Time
	ActivityId  string   //nolint:revive // the wire's name
	Category    Category `json:",omitempty"`
	MessageText *string  `json:",omitempty"` // of a line
	Detail      string   `json:",omitempty"`

	ParentId           string `json:",omitempty"` //nolint:revive // as above
	Name               string `json:",omitempty"`
	Status             Status `json:",omitempty"`
	ProgressPercentage int    `json:",omitempty"`
	ProgressMessage    string `json:",omitempty"`
	ShowAtSummaryLevel bool   `json:",omitempty"`
}

func eventOf(e Entry) (Event, error) {
	w := wireEvent{Number: e.Number, OccurredAt: at(e.At), ActivityId: e.Activity}
	if c := e.Change; c != nil {
		w.ParentId, w.Name, w.Status, w.ProgressPercentage, w.ProgressMessage, w.ShowAtSummaryLevel = c.Parent, c.Name, c.Status, c.Percent, c.Message, c.Summary
	} else {
		w.Category, w.MessageText, w.Detail = e.Category, &e.Text, e.Detail
	}
	b, err := json.Marshal(w)
	return Event{e.Number, b}, err
}

// feed is the newest entries of one task, shared by who follows it.
type feed struct {
	mu     sync.Mutex
	recent []Event       // without gaps
	last   int64         // number of the newest entry read
	grown  chan struct{} // closed, and made anew, when there is more
	err    error         // why there will be no more: errEnded, or what went wrong
	users  int
	stop   context.CancelFunc
	done   chan struct{} // nobody reads for it any more
}

// keep is how many entries a feed holds for those who are slow; who is slower reads them from the database.
const keep = 4096

var errEnded = errors.New("the task has ended")

// Follow sends the entries behind a number, those that are there and those to come, in order and each once, until the
// task has ended and all is sent. A batch's events must not be changed.
func (l *Live) Follow(ctx context.Context, task string, after int64, send func([]Event) error) error {
	f, err := l.enter(ctx, task)
	if err != nil {
		return err
	}
	defer l.leave(task, f)
	for {
		f.mu.Lock()
		batch, grown, over := f.behind(after), f.grown, f.err
		upTo := f.last
		if len(batch) > 0 {
			upTo = batch[0].Number - 1
		}
		f.mu.Unlock()
		switch {
		case after < upTo:
			if after, err = l.catchUp(ctx, task, after, send); err != nil {
				return err
			}
			after = max(after, upTo) // what is not stored any more is not asked for again and again
		case len(batch) > 0:
			if err := send(batch); err != nil {
				return err
			}
			after = batch[len(batch)-1].Number
		case errors.Is(over, errEnded):
			return nil
		case over != nil:
			return over
		default:
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-grown:
			}
		}
	}
}

// behind gives what the feed holds behind a number. The feed is locked.
func (f *feed) behind(after int64) []Event {
	i, _ := slices.BinarySearchFunc(f.recent, after+1, func(e Event, n int64) int { return int(e.Number - n) })
	return slices.Clip(f.recent[i:])
}

// catchUp sends what is stored behind a number.
func (l *Live) catchUp(ctx context.Context, task string, after int64, send func([]Event) error) (int64, error) {
	var batch []Event
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		defer func() { batch = nil }()
		return send(batch)
	}
	after, err := l.Each(ctx, task, after, func(e Entry) error {
		event, err := eventOf(e)
		if err != nil {
			return err
		}
		if batch = append(batch, event); len(batch) == 512 {
			return flush()
		}
		return nil
	})
	return after, errors.Join(err, flush())
}

// enter finds the task's feed, or begins it at the log's present end.
func (l *Live) enter(ctx context.Context, task string) (*feed, error) {
	var t cluster.Task
	err := l.DB.Read(ctx, func(tx *db.Tx) (err error) {
		t, err = cluster.Get(ctx, tx, task)
		return err
	})
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.feeds[task]
	if f == nil {
		if l.feeds == nil {
			l.feeds = map[string]*feed{}
		}
		reading, stop := context.WithCancel(context.WithoutCancel(ctx))
		f = &feed{last: t.LogLines, grown: make(chan struct{}), stop: stop, done: make(chan struct{})}
		l.feeds[task] = f
		go func() {
			defer close(f.done)
			l.read(reading, task, f)
		}()
	}
	f.users++
	return f, nil
}

func (l *Live) leave(task string, f *feed) {
	l.mu.Lock()
	f.users--
	last := f.users == 0
	if last {
		delete(l.feeds, task)
	}
	l.mu.Unlock()
	if last {
		f.stop()
		<-f.done
	}
}

// How often a feed reads: not more often than pause, however many hints come, and without any after poll.
const (
	pause    = 40 * time.Millisecond
	livePoll = time.Second
)

// read fills a feed until the task has ended or nobody follows it.
func (l *Live) read(ctx context.Context, task string, f *feed) {
	hinted, stop := l.DB.Listen(topic(task))
	defer stop()
	for f.add(l.more(ctx, task, f.last)) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		select {
		case <-ctx.Done():
			return
		case <-hinted:
		case <-time.After(livePoll):
		}
	}
}

// more reads what is behind a number. The state is read first: what an ended task said is all there.
func (l *Live) more(ctx context.Context, task string, after int64) (events []Event, err error) {
	var t cluster.Task
	err = l.DB.Read(ctx, func(tx *db.Tx) (err error) {
		t, err = cluster.Get(ctx, tx, task)
		return err
	})
	if err != nil {
		return nil, err
	}
	if t.LogLines > after {
		_, err = l.catchUp(ctx, task, after, func(batch []Event) error {
			events = append(events, batch...)
			return nil
		})
	}
	if err == nil && t.State.Ended() {
		err = errEnded
	}
	return events, err
}

// add takes new events over and wakes who waits; it tells whether there may be more.
func (f *feed) add(events []Event, err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(events) > 0 {
		f.last = events[len(events)-1].Number
		f.recent = append(f.recent, events...) // what followers hold is clipped, so it stays as it is
		f.recent = f.recent[max(0, len(f.recent)-keep):]
	}
	f.err = err
	if len(events) > 0 || err != nil {
		close(f.grown)
		f.grown = make(chan struct{})
	}
	return err == nil
}
