package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/octavo/octavo/internal/crashpoint"
	"github.com/octavo/octavo/internal/db"
)

// Handler carries one kind of task out. It may be called again for the same task, on any node, after a
// node died, was stopped, or the task waited: it goes on from what is written. It must return soon after
// its context ends; context.Cause tells why (ErrFenced, ErrReleased).
type Handler func(ctx context.Context, run *Run) Outcome

// Outcome is what a handler gives back: Ended, Waiting or Released.
type Outcome interface{ outcome() }

// Ended says that the task is over. Text is the reason, for people; "" after success.
type Ended struct {
	State State
	Text  string
}

// Waiting says that the task waits for a person or a child, until Resume or Cancel. It holds no slot,
// and its turn only if it must keep others out.
type Waiting struct{ KeepTurn bool }

// Released says that another run has to go on: the answer to ErrReleased.
type Released struct{}

func (Ended) outcome()    {}
func (Waiting) outcome()  {}
func (Released) outcome() {}

// Run is one claim of a task by this node.
type Run struct {
	Task  Task
	Fence Fence
	Epoch int64 // of the node, for people: which of its registrations runs this

	cancelled chan struct{}
}

// Cancelled is closed when somebody asked for the task's cancel: end the scripts, then the task, with
// Ended{Canceled, ...}. The run's context goes on, since that is work too.
func (r *Run) Cancelled() <-chan struct{} { return r.cancelled }

// active is a run as the dispatcher knows it; only the dispatcher touches it.
type active struct {
	run    *Run
	stop   context.CancelCauseFunc
	done   chan struct{} // the handler has returned
	told   bool          // Cancelled is closed
	fenced bool
	since  time.Time // after its claim was committed
}

type result struct {
	of      *active
	outcome Outcome
}

// session is the node's life under one epoch.
type session struct {
	n      *Node
	epoch  int64
	ctx    context.Context
	cancel context.CancelCauseFunc

	runs    map[*active]struct{}
	of      map[string][]*active // the runs of a task: one, unless a fenced one has not ended yet
	results chan result
	views   chan view            // for the dispatcher
	leases  chan view            // for who stands for leadership
	guards  chan view            // for who guards the next node
	kick    chan struct{}        // asks for a view now
	renew   atomic.Pointer[Term] // what the next view is to renew
	pending []result             // handlers have returned; not yet written
	flying  *flight              // the transaction under way
	landed  chan *flight
	kinds   []string
	serves  []string          // sets of labels that ready tasks ask for and this node has, at the last look
	cap     int               // of this node, at the last look
	floor   int64             // of the next claim
	crowded bool              // by the last view: claims without a floor step over many dead entries
	unbegun map[string]runRow // claims that the last view showed and this node knows nothing of
	hinted  time.Time         // when somebody last said that there is work
	balance balance
	picker  picker
	breath  <-chan time.Time // when to claim again what was left to others first
	drained mark             // since when the node drains; zero: it does not
	hands   sync.WaitGroup
	reached sync.Map // nodes, by reachedNode, whose ports have answered this one
}

func newSession(n *Node) *session {
	s := &session{n: n, epoch: n.Epoch(), runs: map[*active]struct{}{}, of: map[string][]*active{}, results: make(chan result), landed: make(chan *flight, 1), views: make(chan view, 1), leases: make(chan view, 1), guards: make(chan view, 1), kick: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancelCause(n.ctx)
	s.picker.running = &n.handlers
	s.balance.breath = breathOf(n.db.Engine(), n.conf.Timing)
	for k := range n.conf.Handlers {
		s.kinds = append(s.kinds, k)
	}
	slices.Sort(s.kinds)
	return s
}

// run lives until the node is stopped, or fenced.
func (s *session) run() {
	ctx, end := context.WithCancel(s.ctx) // ends the helpers after the dispatcher
	var loops sync.WaitGroup
	loops.Go(func() { s.beating(ctx) })
	loops.Go(func() { s.watching(ctx) })
	loops.Go(func() { s.guarding(ctx) })
	leading, endLeading := context.WithCancel(ctx)
	loops.Go(func() { s.leading(leading) })
	go func() { // leadership is given up first
		select {
		case <-s.n.stopping:
		case <-ctx.Done():
		}
		endLeading()
	}()
	s.dispatch()
	end()
	loops.Wait()
	s.cancel(nil)
}

func (s *session) stopped() bool {
	select {
	case <-s.n.stopping:
		return true
	default:
		return false
	}
}

func (s *session) jitter(d time.Duration) time.Duration { return rand.N(d) }

func (s *session) warn(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		s.n.log.WarnContext(ctx, "will try again", "what", what, "err", err)
	}
}

// dispatch claims, starts and settles. It is one goroutine, so what this node runs is known exactly.
func (s *session) dispatch() {
	work, stopWork := s.n.db.Listen(queueTopic)
	defer stopWork()
	mine, stopMine := s.n.db.Listen(workTopic(s.n.conf.Name))
	defer stopMine()
	orders, stopOrders := s.n.db.Listen(nodeTopic(s.n.conf.Name))
	defer stopOrders()
	looks, stopLooks := s.n.db.Listen(lookTopic)
	defer stopLooks()
	defer s.n.db.Pick(queueTopic, s.picker.who)()
	stopping, grace := s.n.stopping, (<-chan time.Time)(nil)
	look := true  // at what others want of this node, now
	woken := true // not only by what ended here
	due := true   // something happened since the last turn
	var seen *view
	for {
		if look {
			if v := s.lookNow(); v != nil {
				seen = v
			}
		}
		if s.flying == nil && due {
			s.tick(seen, woken)
			seen, woken = nil, false
		}
		if stopping == nil && len(s.runs) == 0 && s.flying == nil {
			return
		}
		look, due = false, true
		select {
		case <-s.ctx.Done():
			s.abandon()
			return
		case <-stopping:
			stopping, work, mine = nil, nil, nil
			s.picker.rest()
			grace = time.After(s.n.conf.StopGrace)
			s.letGo()
		case <-grace:
			s.takeBack()
			return
		case r := <-s.results:
			s.pending = append(s.pending, r)
			s.gather()
		case f := <-s.landed:
			// After a failure the next event tries again; there is one within a poll.
			ok := s.land(f)
			again := ok && f.claims != nil && f.claims.floor > 0 && s.floor == 0 // something may be ready before the floor
			due = ok && (len(s.pending) > 0 || seen != nil || woken || again)
		case <-work:
			woken, s.hinted = true, time.Now()
		case <-mine:
			woken, s.hinted = true, time.Now()
		case <-s.breath:
			woken = true
		case <-orders:
			look, woken = true, true
		case <-looks:
			look, woken = true, true
		case v := <-s.views:
			seen, woken = &v, true
		}
	}
}

// gather takes what else has ended, so that it shares a transaction. One result is never delayed; where several come at once,
// others may be on their way, and are waited for for 2 ms (performance.md 6).
func (s *session) gather() {
	var enough <-chan time.Time
	for len(s.pending) < len(s.runs) {
		select {
		case r := <-s.results:
			s.pending = append(s.pending, r)
			continue
		default:
		}
		if len(s.pending) == 1 || s.flying != nil { // what comes later has time until the one under way is over
			return
		}
		if enough == nil {
			enough = time.After(2 * time.Millisecond)
		}
		select {
		case r := <-s.results:
			s.pending = append(s.pending, r)
		case <-enough:
			return
		case <-s.ctx.Done():
			return
		}
	}
}

// letGo asks every run to give its task back.
func (s *session) letGo() {
	for a := range s.runs {
		a.stop(ErrReleased)
	}
}

// abandon stops every run without a word to the database, and waits for them: nothing of this epoch
// may go on under the next one.
func (s *session) abandon() {
	if s.flying != nil {
		<-s.landed // its context has ended; what it may have claimed is never begun
	}
	returned := make(chan struct{})
	go func() {
		s.hands.Wait()
		close(returned)
	}()
	for {
		select {
		case <-s.results:
		case <-returned:
			return
		case <-time.After(10 * time.Second):
			s.n.log.Error("a handler does not return although its context has ended; this node waits for it")
		}
	}
}

// takeBack releases what handlers have not given back in time, and fences them.
func (s *session) takeBack() {
	if s.flying != nil {
		<-s.landed
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.n.conf.Timing.Hold)
	defer cancel()
	err := s.n.db.InTx(ctx, func(tx *db.Tx) error {
		var one int // who was declared dead has nothing to release: the name may be another's by now
		err := tx.QueryRowContext(ctx, "SELECT 1 FROM node WHERE name = $1 AND epoch = $2"+tx.ForUpdate(), s.n.conf.Name, s.epoch).Scan(&one)
		if err != nil {
			return fencedIfNone(err)
		}
		return releaseAll(ctx, tx, s.n.conf.Name)
	})
	s.warn(ctx, "release tasks at stop", err)
	s.n.log.Error("some handlers did not return in time; their tasks are released without them", "runs", len(s.runs))
	s.cancel(ErrFenced)
}

// tick begins one transaction: write what has ended, then claim up to the free slots.
func (s *session) tick(seen *view, woken bool) {
	ctx := s.ctx
	if ctx.Err() != nil {
		return
	}
	ending := false
	if seen != nil {
		s.floor, s.crowded = 0, seen.dead > crowd
		var err error
		if ending, err = s.apply(ctx, seen); err != nil {
			s.warn(ctx, "look at this node's orders", err)
			return
		}
		changed := s.ripen(ctx, seen.late, seen.ripe)
		changed = s.park(ctx, seen.spaces) || changed
		if len(s.pending) == 0 && !ending && !seen.ready && len(s.serves) == 0 && !changed && s.hinted.Before(seen.at) {
			s.balance.since, s.breath = mark{}, nil
			return
		}
	}
	claiming := !s.stopped() && len(s.kinds) > 0
	trouble := s.n.trouble() != ""
	if trouble && len(s.pending) == 0 && !ending {
		return
	}
	if len(s.pending) == 0 && (!claiming || !ending && len(s.runs) >= s.cap) { // no slot is free
		return
	}
	f := &flight{pending: s.pending, ending: ending && claiming, woken: woken, mine: load{running: len(s.runs) - len(s.pending), cap: s.cap}, trouble: trouble, engine: s.n.db.Engine()}
	f.most = s.balance.most(f.mine, now())
	if trouble {
		f.most = 0 // what has to be cancelled is still taken, to be ended
	}
	if claiming {
		f.claims = &claimer{node: s.n.conf.Name, epoch: s.epoch, busy: f.mine.running, most: f.most, floor: s.floor, kinds: s.kinds, serves: s.serves}
	}
	s.pending, s.flying, s.breath = nil, f, nil
	go func() {
		f.err = s.fly(ctx, f)
		s.landed <- f
	}()
}

// flight is a transaction under way: what it settles, and what it claims. There is one at a time, so that the node's cap is
// exact; meanwhile the dispatcher takes what else ends.
type flight struct {
	pending []result
	claims  *claimer // nil: it does not claim
	ending  bool
	woken   bool
	trouble bool
	engine  db.Engine
	mine    load
	most    int

	did  settled
	over []result // of pending, those that are written
	left []result // those that are not, to be tried again
	err  error
}

// fly settles and claims together. If that fails it tries one by one: what fails whatever it shares a transaction with, for
// instance in OnEnd, must keep neither the other ends nor the claim back.
func (s *session) fly(ctx context.Context, f *flight) error {
	err := s.commit(ctx, f)
	switch {
	case err == nil:
		f.over = f.pending
		return nil
	case len(f.pending) == 0, ctx.Err() != nil:
		f.left = f.pending
		return err
	}
	s.warn(ctx, "settle and claim, now one by one", err)
	for _, r := range f.pending {
		if err := s.commit(ctx, &flight{pending: []result{r}, mine: f.mine, engine: f.engine}); err != nil {
			s.warn(ctx, "settle "+r.of.run.Task.Id, err)
			f.left = append(f.left, r)
		} else {
			f.over = append(f.over, r)
		}
	}
	if f.claims == nil {
		return nil
	}
	f.pending = nil
	f.mine.running += len(f.left) // their slots are not free yet
	f.claims.busy = f.mine.running
	return s.commit(ctx, f)
}

func (s *session) commit(ctx context.Context, f *flight) error {
	reach := func(point string) {
		if len(f.pending) > 0 {
			crashpoint.Reach("settle " + point)
		}
		if len(f.did.got) > 0 {
			crashpoint.Reach("claim " + point)
		}
	}
	reach("before")
	err := s.n.db.Queue(ctx, func(tx *db.Tx) (err error) {
		if f.did, err = s.settleAndClaim(ctx, tx, f); err != nil {
			return err
		}
		reach("written")
		// What this node leaves is for another one: it made tasks ready that it did not take, or it has all it may have
		// after somebody told it that there is work. A node that only goes on after its own tasks tells nobody.
		took := f.did.took
		if int64(took) < f.did.promoted || f.woken && took > 0 && (took >= f.most || f.mine.running+took >= f.mine.cap) {
			hintWork(tx)
		}
		return nil
	})
	if err == nil {
		reach("committed")
	}
	return err
}

// crowd is how many dead entries claims step over before they begin behind a floor. Autovacuum keeps them below it, but for
// thousands of tasks a second or a snapshot that is held.
const crowd = 20_000

// floor is that of the next claim: there is one when this claim was filled.
func (f *flight) floor() (place int64) {
	if f.engine != db.Postgres || f.claims == nil || f.did.took == 0 || f.did.took < f.most && f.mine.running+f.did.took < f.mine.cap {
		return 0
	}
	place = f.did.got[0].place
	if f.did.lowest > 0 {
		place = min(place, f.did.lowest)
	}
	return place
}

// land takes the result of a flight; false when it failed.
func (s *session) land(f *flight) bool {
	s.flying = nil
	for _, r := range f.over {
		s.forget(r.of)
	}
	s.pending = append(f.left, s.pending...)
	if f.err != nil {
		s.warn(s.ctx, "settle and claim", f.err)
		return false
	}
	if f.claims != nil && !f.trouble && s.balance.claimed(f.did.took, f.most, f.mine, now()) {
		s.breath = time.After(s.balance.breath)
	}
	if s.floor = 0; s.crowded {
		s.floor = f.floor()
	}
	for _, t := range f.did.got { // after the commit: nothing starts that nobody owns
		s.start(t)
	}
	return len(f.left) == 0
}

// settle writes one handler's outcome. A fenced run has nothing to say any more.
func (s *session) settle(ctx context.Context, tx *db.Tx, r result) error {
	f, turn := r.of.run.Fence, r.of.run.Task.Turn
	var err error
	switch o := r.outcome.(type) {
	case Ended:
		if err = finish(ctx, tx, f, turn, o.State, o.Text); err == nil {
			err = s.onEnd(ctx, tx, f.Task)
		}
	case Waiting:
		err = wait(ctx, tx, f, turn, o.KeepTurn)
	default:
		err = release(ctx, tx, f)
	}
	if errors.Is(err, ErrFenced) {
		return nil
	}
	return err
}

func (s *session) onEnd(ctx context.Context, tx *db.Tx, task string) error {
	if s.n.conf.OnEnd == nil {
		return nil
	}
	t, err := Get(ctx, tx, task)
	if err != nil {
		return err
	}
	return s.n.conf.OnEnd(ctx, tx, t)
}

// lookNow reads a view because somebody hinted; nil when it could not.
func (s *session) lookNow() *view {
	v, err := s.look(s.ctx, nil)
	if err != nil {
		s.lost(err)
		s.warn(s.ctx, "look at this node's orders", err)
		return nil
	}
	return &v
}

// lost ends the session when its epoch is over.
func (s *session) lost(err error) {
	if errors.Is(err, errEpochLost) {
		s.cancel(ErrFenced)
	}
}

// apply does what others want of this node's runs: cancels, fences, drain. It tells whether some released task waits to be
// ended.
func (s *session) apply(ctx context.Context, v *view) (ending bool, err error) {
	s.cap, s.serves, s.balance.others = v.own.cap, v.serves, nil
	for _, p := range v.peers {
		s.balance.others = append(s.balance.others, p.load)
	}
	s.picker.saw(v, !v.own.draining && !s.stopped() && s.n.trouble() == "")
	if err := s.n.saw(ctx, s.epoch, v.own, v.back); err != nil {
		return false, err
	}
	for a := range s.runs {
		if !a.since.Before(v.at) {
			continue // claimed after the view was asked for
		}
		r, ours := v.runs[a.run.Task.Id]
		switch {
		case !ours || r.claim != a.run.Fence.Claim || r.incarnation != a.run.Fence.Incarnation:
			a.fenced = true
			a.stop(ErrFenced)
		case r.cancel && !a.told:
			a.told = true
			close(a.run.cancelled)
		}
	}
	if err := s.letGoUnbegun(ctx, v); err != nil {
		return false, err
	}
	switch {
	case !v.own.draining:
		s.drained = mark{}
	case s.drained == mark{}:
		s.drained = now()
	}
	if g := s.n.conf.DrainGrace; v.own.draining && g > 0 && s.drained.until(now()) >= g {
		s.letGo()
	}
	return v.ending && !v.own.draining, nil
}

// letGoUnbegun releases what this node has claimed without knowing it: the answer to the commit was lost. Nothing runs under such
// a claim, as runs begin after the commit. Two views must show it, since one may be older than an end.
func (s *session) letGoUnbegun(ctx context.Context, v *view) error {
	before := s.unbegun
	s.unbegun = map[string]runRow{}
	var lost []Fence
	for task, r := range v.runs {
		f, r := Fence{Task: task, Incarnation: r.incarnation, Claim: r.claim}, runRow{claim: r.claim, incarnation: r.incarnation}
		switch {
		case slices.ContainsFunc(s.of[task], func(a *active) bool { return a.run.Fence == f }):
		case before[task] == r:
			lost = append(lost, f)
		default:
			s.unbegun[task] = r
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return s.n.db.InTx(ctx, func(tx *db.Tx) error {
		for _, f := range lost {
			if err := release(ctx, tx, f); err != nil && !errors.Is(err, ErrFenced) {
				return err
			}
		}
		return nil
	})
}

// parkTime is how long the dispatcher parks at a time. Ends, cancels and claims wait meanwhile; what is left comes with the next view.
const parkTime = 100 * time.Millisecond

// park goes on with hiding the tasks of stopped spaces, and with showing those of spaces that go on.
func (s *session) park(ctx context.Context, spaces []string) (changed bool) {
	since := time.Now()
	for _, space := range spaces {
		for more := true; more && ctx.Err() == nil && time.Since(since) < parkTime; {
			err := s.n.db.InTx(ctx, func(tx *db.Tx) (err error) {
				if more, err = park(ctx, tx, space); err != nil || more {
					return err
				}
				more, err = unpark(ctx, tx, space)
				return err
			})
			if err != nil {
				s.warn(ctx, "park the tasks of "+space, err)
				break
			}
			changed = true
		}
	}
	return changed
}

// ripen queues scheduled tasks whose time has come and ends queued ones that are too late. Any node
// does it; who is second finds nothing to do.
func (s *session) ripen(ctx context.Context, late, ripe []later) (changed bool) {
	for _, l := range late {
		err := s.n.db.InTx(ctx, func(tx *db.Tx) error {
			ended, err := expire(ctx, tx, l)
			if err != nil || !ended {
				return err
			}
			return s.onEnd(ctx, tx, l.task)
		})
		s.warn(ctx, "expire "+l.task, err)
	}
	for _, l := range ripe {
		err := s.n.db.InTx(ctx, func(tx *db.Tx) error { return ripen(ctx, tx, l) })
		s.warn(ctx, "queue "+l.task, err)
	}
	return len(late)+len(ripe) > 0
}

func (s *session) forget(a *active) {
	delete(s.runs, a)
	task := a.run.Task.Id
	if s.of[task] = slices.DeleteFunc(s.of[task], func(b *active) bool { return b == a }); len(s.of[task]) == 0 {
		delete(s.of, task)
	}
}

// start runs a claimed task's handler.
func (s *session) start(t Task) {
	a := &active{run: &Run{Task: t, Fence: t.fence, Epoch: s.epoch, cancelled: make(chan struct{})}, done: make(chan struct{}), since: time.Now()}
	if t.Cancelling {
		a.told = true
		close(a.run.cancelled)
	}
	ctx, stop := context.WithCancelCause(s.ctx)
	a.stop = stop
	var before []<-chan struct{} // a fenced run of the same task on this very node ends first
	for _, b := range s.of[t.Id] {
		before = append(before, b.done)
	}
	s.runs[a] = struct{}{}
	s.of[t.Id] = append(s.of[t.Id], a)
	s.n.handlers.Add(1)
	if s.stopped() {
		stop(ErrReleased)
	}
	s.hands.Go(func() {
		defer stop(nil)
		for _, b := range before {
			<-b
		}
		outcome := s.handle(ctx, a.run)
		s.n.handlers.Add(-1)
		close(a.done)
		select {
		case s.results <- result{of: a, outcome: outcome}:
		case <-s.ctx.Done():
		}
	})
}

// handle calls the handler. One that panics fails its task, and nothing else.
func (s *session) handle(ctx context.Context, run *Run) (o Outcome) {
	defer func() {
		if p := recover(); p != nil {
			s.n.log.Error("a handler panicked", "task", run.Task.Id, "kind", run.Task.Kind, "panic", p, "stack", string(debug.Stack()))
			o = Ended{State: Failed, Text: fmt.Sprintf("An internal error stopped the task. The log of node %s has the details.", s.n.conf.Name)}
		}
	}()
	if ctx.Err() != nil {
		return Released{}
	}
	o = s.n.conf.Handlers[run.Task.Kind](ctx, run)
	if e, ok := o.(Ended); ok && !e.State.Ended() {
		s.n.log.Error("a handler ended its task in a state that is no end", "task", run.Task.Id, "state", e.State)
		o = Ended{State: Failed, Text: "An internal error: the task ended in an unknown state."}
	} else if ok { // PostgreSQL takes no other text
		e.Text = strings.ToValidUTF8(strings.ReplaceAll(e.Text, "\x00", ""), "\uFFFD")
		o = e
	}
	return o
}
