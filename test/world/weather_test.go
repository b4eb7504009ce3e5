package world

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

// storm is a world with clients and weather, all of which follow from a seed.
type storm struct {
	*world
	rand *rand.Rand
	undo []undo // what the weather has still to put right
	away map[string]bool

	mu      sync.Mutex
	order   int // of what clients did and learned
	pushes  []*push
	struck  map[string]int    // faults that hit a running script
	blown   map[string]int    // faults at all
	owners  map[string]string // who ran which task at the last look
	asked   map[string]bool   // to be cancelled
	cancels map[string]cancel // that were acknowledged
	trouble []trouble
	moved   map[string]bool
}

// cancel is one that was acknowledged.
type cancel struct {
	at    time.Time
	owner string // the node that ran the task then
}

// trouble is a time in which a node could not be expected to do what it should; "" is any node.
type trouble struct {
	node     string
	from, to time.Time
}

// aftermath is how long a fault may be felt: until a dead node's tasks are another's.
const aftermath = 7 * time.Second

type undo struct {
	at time.Time
	do func()
}

// push is a deployment as the client who asked for it knows it.
type push struct {
	sent, acked int // 0: not acknowledged
	task        string
	priority    bool
}

// fault is one kind of weather. It gives how to end it.
type fault struct {
	name   string
	weight int
	least  time.Duration
	most   time.Duration
	strike func(s *storm, n *node) (over func())
	wide   bool // it is felt by all nodes
	mild   bool // by none: they go on as ever
}

var faults = []fault{
	{"kill", 5, time.Second, 9 * time.Second, func(s *storm, n *node) func() {
		n.kill()
		return s.back(n)
	}, false, false},
	{"kill the leader", 3, time.Second, 9 * time.Second, func(s *storm, n *node) func() {
		for _, other := range s.ready() {
			if other.node.Leading() {
				n = other
			}
		}
		n.kill()
		return s.back(n)
	}, false, false},
	{"kill while a start is on its way", 4, time.Second, 6 * time.Second, func(s *storm, n *node) func() {
		free := func() {
			for _, a := range s.agents {
				s.net.free(n.name, a.name)
			}
		}
		n.slowStart.Store(int64(time.Duration(200+s.rand.IntN(5000)) * time.Millisecond))
		before := n.starts.Load()
		for i := 0; n.starts.Load() == before; i++ {
			if i == 80 { // it plans none just now
				n.slowStart.Store(0)
				return free
			}
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(time.Duration(s.rand.IntN(1000)) * time.Millisecond)
		s.note("killed while a start was on its way")
		n.kill() // what it has sent arrives, perhaps after its heir has come
		back := s.back(n)
		return func() { free(); back() }
	}, false, false},
	{"restart", 3, 0, 0, func(s *storm, n *node) func() { // kill -9, and systemd
		n.kill()
		return s.back(n)
	}, false, false},
	{"SIGTERM", 3, 0, 3 * time.Second, func(s *storm, n *node) func() {
		s.away[n.name] = true
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			if err := n.stop(); err != nil {
				s.note("a stop failed")
			}
		}()
		back := s.back(n)
		return func() { <-stopped; back() }
	}, false, false},
	{"pause", 5, time.Second, 8 * time.Second, func(s *storm, n *node) func() {
		n.wire.Hold()
		for _, a := range s.agents {
			s.net.block(n.name, a.name)
		}
		return s.calm(n)
	}, false, false},
	{"partition from the database", 4, time.Second, 8 * time.Second, func(s *storm, n *node) func() {
		n.wire.Part()
		return s.calm(n)
	}, false, false},
	{"partition from an agent", 3, time.Second, 12 * time.Second, func(s *storm, n *node) func() {
		a := s.agents[s.rand.IntN(len(s.agents))]
		s.net.block(n.name, a.name)
		return func() { s.net.free(n.name, a.name) }
	}, false, false},
	{"slow database", 5, time.Second, 5 * time.Second, func(s *storm, n *node) func() {
		n.wire.Slow(time.Duration(20+s.rand.IntN(400)) * time.Millisecond)
		return s.calm(n)
	}, false, false},
	{"slow agent", 4, time.Second, 5 * time.Second, func(s *storm, n *node) func() {
		a := s.agents[s.rand.IntN(len(s.agents))]
		s.net.delay(n.name, a.name, time.Duration(20+s.rand.IntN(3000))*time.Millisecond)
		return func() { s.net.free(n.name, a.name) }
	}, false, false},
	{"failing statement", 8, 0, 0, func(s *storm, n *node) func() {
		n.wire.FailNth(1+s.rand.IntN(40), s.rand.IntN(2) == 0, func() { s.hit("failing statement", n.name, "") })
		return nil
	}, false, false},
	{"agent restarts", 3, 0, 3 * time.Second, func(s *storm, n *node) func() {
		a := s.agents[s.rand.IntN(len(s.agents))]
		if s.away[a.name] {
			return nil
		}
		s.away[a.name] = true
		s.hit("agent restarts", "", a.name)
		a.stop()
		return func() { a.start(); delete(s.away, a.name) }
	}, true, false},
	{"a clock runs too fast", 4, time.Second, 2 * time.Second, (*storm).hasty, true, false},
	{"drain", 3, time.Second, 8 * time.Second, func(s *storm, n *node) func() {
		s.set(n.name, m{"IsInMaintenanceMode": true})
		return func() { s.set(n.name, m{"IsInMaintenanceMode": false}) }
	}, false, true},
	{"cap", 3, time.Second, 8 * time.Second, func(s *storm, n *node) func() {
		s.set(n.name, m{"MaxConcurrentTasks": s.rand.IntN(5)})
		return func() { s.set(n.name, m{"MaxConcurrentTasks": 2}) }
	}, false, true},
}

// hasty lets a node come up for a moment whose clock runs ten times too fast: it takes everybody else for dead.
func (s *storm) hasty(*node) func() {
	if s.guest != nil {
		return nil
	}
	d, _ := dbtest.OpenWire(s.t, s.where)
	n, err := cluster.Start(context.Background(), d, cluster.Config{
		Name: "hasty", DataDir: filepath.Join(s.dir, "hasty"), Log: slog.New(slog.DiscardHandler),
		Timing: cluster.Timing{Beat: 80 * time.Millisecond, Limit: 40 * time.Millisecond, Hold: 250 * time.Millisecond, Dead: 300 * time.Millisecond, Kill: 20 * time.Millisecond, Poll: 80 * time.Millisecond},
		Duties: []cluster.Duty{{Name: "World", Every: dutyEvery, Do: duty(d, "hasty")}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.guest = func() {
		s.guest = nil
		if err := n.Stop(context.Background()); err != nil {
			s.t.Error(err)
		}
		d.Close()
	}
	return s.guest
}

// back boots a node again.
func (s *storm) back(n *node) func() {
	s.away[n.name] = true
	return func() {
		s.boot(n.name, n.cap)
		delete(s.away, n.name)
	}
}

// calm ends the weather of one process; a new one of the same name has its own.
func (s *storm) calm(n *node) func() {
	return func() {
		n.wire.Go()
		for _, a := range s.agents {
			s.net.free(n.name, a.name)
		}
	}
}

// ready lists the nodes that run, in the order of their names.
func (s *storm) ready() (all []*node) {
	for _, name := range []string{"a", "b", "c"} {
		if n := s.nodes[name]; n.up() && !s.away[name] {
			all = append(all, n)
		}
	}
	return all
}

// hit counts a fault, and whether a script ran under the node or on the agent that it hit.
func (s *storm) hit(what, on, at string) {
	scripts := 0
	for _, p := range s.history() {
		s.mu.Lock()
		owner := s.owners[p.task]
		s.mu.Unlock()
		if p.running() && (on == "" || owner == on) && (at == "" || p.agent.name == at) {
			scripts++
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blown[what]++
	if scripts > 0 {
		s.struck[what]++
	}
}

// look remembers who runs what.
func (s *storm) look() {
	owners := map[string]string{}
	for _, r := range s.query("SELECT task, node FROM queue WHERE state = 'running'") {
		owners[r[0]] = r[1]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owners = owners
}

// set changes a node's settings with the test's own connection: an operator who tries until it is done.
func (s *storm) set(name string, settings m) {
	taskCap, _ := settings["MaxConcurrentTasks"].(int)
	draining, drains := settings["IsInMaintenanceMode"].(bool)
	err := s.sound.InTx(context.Background(), func(tx *db.Tx) (err error) {
		if drains {
			_, err = cluster.SetNode(context.Background(), tx, name, nil, &draining)
			return err
		}
		_, err = cluster.SetNode(context.Background(), tx, name, &taskCap, nil)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// client asks a node for something; what comes back is known later, or never.
func (s *storm) client(method, path string, body any, then func(answer)) {
	nodes := s.ready()
	if len(nodes) == 0 {
		return
	}
	n := nodes[s.rand.IntN(len(nodes))]
	s.clients.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		a := ask(ctx, n.api, method, path, body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.order++
		then(a)
	})
}

func (s *storm) push() {
	p := &push{priority: s.rand.IntN(6) == 0}
	body := m{"ReleaseId": s.subject.releases[s.rand.IntN(2)], "EnvironmentId": s.subject.environments[s.rand.IntN(2)]}
	if p.priority {
		body["Priority"] = "On"
	}
	s.mu.Lock()
	s.order++
	p.sent = s.order
	s.pushes = append(s.pushes, p)
	s.mu.Unlock()
	s.client("POST", "/api/deployments", body, func(a answer) {
		if a.ok() {
			p.acked, p.task = s.order, a.text("TaskId")
		} else if a.status > 0 && a.status < 500 {
			s.fail("a deployment was refused: %d %s", a.status, a.body)
		}
	})
}

// some picks a task that a client knows.
func (s *storm) some() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var known []string
	for _, p := range s.pushes {
		if p.task != "" {
			known = append(known, p.task)
		}
	}
	if len(known) == 0 {
		return ""
	}
	return known[len(known)-1-s.rand.IntN(min(4, len(known)))]
}

func (s *storm) cancel() {
	if task := s.some(); task != "" {
		s.mu.Lock()
		s.asked[task] = true
		s.mu.Unlock()
		s.client("POST", "/api/tasks/"+task+"/cancel", nil, func(a answer) {
			if _, before := s.cancels[task]; a.ok() && !before {
				c := cancel{at: time.Now()}
				if r := s.query("SELECT node FROM queue WHERE task = $1 AND state = 'running'", task); len(r) > 0 {
					c.owner = r[0][0]
				}
				s.cancels[task] = c
			}
		})
	}
}

func (s *storm) move() {
	if task := s.some(); task != "" {
		s.mu.Lock()
		s.moved[task] = true
		s.mu.Unlock()
		s.client("POST", "/api/tasks/"+task+"/prioritize", nil, func(answer) {})
	}
}

const (
	stormy = 10 * time.Second
	heal   = 3 * time.Minute // until everything has ended once the weather is fine
)

// run is one seed.
func (s *storm) run() {
	for _, name := range []string{"a", "b", "c"} {
		s.boot(name, 2)
	}
	s.until(time.Minute, "the agents are healthy", func() bool { return len(s.query("SELECT task FROM queue")) == 0 })
	total := 0
	for _, f := range faults {
		total += f.weight
	}
	for range 3 {
		s.push()
	}
	end := time.Now().Add(stormy)
	for time.Now().Before(end) {
		s.pass(time.Duration(100+s.rand.IntN(600)) * time.Millisecond)
		switch dice := s.rand.IntN(20); {
		case dice < 2:
			s.push()
		case dice < 4:
			s.cancel()
		case dice < 5:
			s.move()
		default:
			pick := s.rand.IntN(total)
			i := slices.IndexFunc(faults, func(f fault) bool { pick -= f.weight; return pick < 0 })
			s.strike(faults[i])
		}
	}
	for len(s.undo) > 0 {
		s.pass(100 * time.Millisecond)
	}
	s.clients.Wait()
	for _, name := range []string{"a", "b", "c"} {
		s.set(name, m{"IsInMaintenanceMode": false})
		s.set(name, m{"MaxConcurrentTasks": 2})
	}
	s.until(heal, "I13: all tasks end", func() bool { return len(s.query("SELECT task FROM queue")) == 0 })
	s.checkEnd()
	s.checkClients()
}

// strike lets a fault happen to one of the nodes.
func (s *storm) strike(f fault) {
	nodes := s.ready()
	if len(nodes) == 0 {
		return
	}
	s.look()
	n := s.victim(nodes)
	if f.name != "failing statement" && f.name != "agent restarts" {
		s.hit(f.name, n.name, "")
	}
	after := f.least
	if f.most > f.least {
		after += time.Duration(s.rand.Int64N(int64(f.most - f.least)))
	}
	if !f.mild {
		hurt := trouble{n.name, time.Now(), time.Now().Add(after + aftermath)}
		if f.wide {
			hurt.node = ""
		}
		s.trouble = append(s.trouble, hurt)
	}
	over := f.strike(s, n)
	if over == nil {
		return
	}
	s.undo = append(s.undo, undo{time.Now().Add(after), over})
}

// victim picks a node, most often one under which scripts run: there is more to break.
func (s *storm) victim(nodes []*node) *node {
	busy := map[string]bool{}
	for _, p := range s.history() {
		busy[s.owners[p.task]] = busy[s.owners[p.task]] || p.running()
	}
	if working := slices.DeleteFunc(slices.Clone(nodes), func(n *node) bool { return !busy[n.name] }); len(working) > 0 && s.rand.IntN(4) > 0 {
		nodes = working
	}
	return nodes[s.rand.IntN(len(nodes))]
}

// pass lets time go by, and weather end.
func (s *storm) pass(d time.Duration) {
	until := time.Now().Add(d)
	for {
		slices.SortStableFunc(s.undo, func(a, b undo) int { return a.at.Compare(b.at) })
		if len(s.undo) == 0 || s.undo[0].at.After(until) {
			time.Sleep(time.Until(until))
			s.check()
			return
		}
		next := s.undo[0]
		s.undo = s.undo[1:]
		time.Sleep(time.Until(next.at))
		next.do()
	}
}

// checkClients compares what clients were told with what came of it.
func (s *storm) checkClients() {
	s.mu.Lock()
	defer s.mu.Unlock()
	tasks := map[string]cluster.Task{}
	for _, t := range s.tasks() {
		tasks[t.Id] = t
		if t.State != cluster.Success && t.State != cluster.Canceled {
			s.fail("I2: %s ended %s: %s", t.Id, t.State, t.ErrorMessage)
		}
		if t.State == cluster.Canceled && !s.asked[t.Id] && !strings.Contains(t.Description, "Shop") {
			s.fail("I2: %s was canceled, and nobody had asked for it: %s", t.Id, t.ErrorMessage)
		}
	}
	for i, p := range s.pushes {
		if p.acked == 0 {
			continue
		}
		t, there := tasks[p.task]
		if !there {
			s.fail("I2: %s was acknowledged and is not there", p.task)
		}
		for _, q := range s.pushes[:i] {
			before := tasks[q.task]
			if q.acked == 0 || q.acked > p.sent || p.priority || s.moved[p.task] || before.Turn != t.Turn || t.StartTime == nil {
				continue
			}
			if before.StartTime == nil && before.CompletedTime.After(*t.StartTime) || before.StartTime != nil && before.StartTime.After(*t.StartTime) {
				s.fail("I3: %s was pushed before %s of the same turn, and began later", q.task, p.task)
			}
		}
	}
	for task, c := range s.cancels {
		for _, p := range s.history() {
			late := p.began.Sub(c.at)
			if p.task == task && (late > aftermath+2*time.Second || late > 2500*time.Millisecond && !s.troubled(c.owner, c.at, p.began)) {
				s.fail("I8: %s of %s was cancelled at %.2f; %v begins at %.2f", task, c.owner, c.at.Sub(s.begin).Seconds(), &p, p.began.Sub(s.begin).Seconds())
			}
		}
		if t := tasks[task]; t.State != cluster.Canceled && t.CompletedTime.After(c.at.Add(2500*time.Millisecond)) && !s.troubled(c.owner, c.at, *t.CompletedTime) {
			s.fail("I8: %s of %s was cancelled at %.2f and ended %s at %.2f", task, c.owner, c.at.Sub(s.begin).Seconds(), t.State, t.CompletedTime.Sub(s.begin).Seconds())
		}
	}
}

// troubled tells whether weather kept a node from doing what it should.
func (s *storm) troubled(node string, from, to time.Time) bool {
	return slices.ContainsFunc(s.trouble, func(t trouble) bool {
		return (t.node == "" || t.node == node) && t.from.Before(to) && t.to.After(from)
	})
}

// How many seeds a normal run blows on SQLite and on PostgreSQL; OCTAVO_TEST_LONG=1 does many more.
const (
	seedsOnSQLite   = 50
	seedsOnPostgres = 3
	seedsInLong     = 1000
)

// -seed=7 blows one seed, -seeds=500 the first ones, -from=1000 others.
var (
	oneSeed  = flag.Int64("seed", -1, "blow only this seed, on SQLite and on PostgreSQL")
	howMany  = flag.Int("seeds", 0, "how many seeds to blow on SQLite instead of the usual number")
	fromSeed = flag.Uint64("from", 0, "the first seed")
)

// sum is what all seeds together came to.
type sum struct {
	sync.Mutex
	blown, struck, notes map[string]int
	pushes, cancels      int
	took                 time.Duration
}

func (a *sum) add(s *storm) {
	a.Lock()
	defer a.Unlock()
	for what, n := range s.blown {
		a.blown[what] += n
	}
	for what, n := range s.struck {
		a.struck[what] += n
	}
	for what, n := range s.notes {
		a.notes[what] += n
	}
	a.pushes += len(s.pushes)
	a.cancels += len(s.cancels)
	a.took += time.Since(s.begin)
}

func TestSeeds(t *testing.T) {
	n, postgres := seedsOnSQLite, seedsOnPostgres
	if os.Getenv("OCTAVO_TEST_LONG") != "" {
		n, postgres = seedsInLong, seedsInLong/20
	}
	if race {
		n = 0 // the pure-Go SQLite is 30 times slower there
	}
	if *howMany > 0 {
		n, postgres = *howMany, 0
	}
	all := &sum{blown: map[string]int{}, struck: map[string]int{}, notes: map[string]int{}}
	t.Run("all", func(t *testing.T) {
		if *oneSeed >= 0 {
			for _, engine := range engines() {
				t.Run(string(engine), func(t *testing.T) { blow(t, engine, uint64(*oneSeed), all) })
			}
			return
		}
		for i := range n {
			seed := *fromSeed + uint64(i)
			t.Run(fmt.Sprintf("sqlite %d", seed), func(t *testing.T) {
				t.Parallel()
				blow(t, db.SQLite, seed, all)
			})
		}
		for i := range postgres {
			seed := *fromSeed + 1_000_000 + uint64(i)
			t.Run(fmt.Sprintf("postgres %d", seed), func(t *testing.T) {
				t.Parallel()
				blow(t, db.Postgres, seed, all)
			})
		}
	})
	if n >= seedsOnSQLite && *oneSeed < 0 { // else luck decides
		for _, f := range faults {
			if got := all.struck[f.name]; got < n/25 {
				t.Errorf("%s struck a running script %d times only; %d are wanted, or these seeds prove little", f.name, got, n/25)
			}
		}
		for what, least := range map[string]int{"writes that were fenced": n / 10, "scripts begun by a later owner": n, "killed while a start was on its way": n / 25} {
			if all.notes[what] < least {
				t.Errorf("%s: %d times only; %d are wanted, or these seeds prove little", what, all.notes[what], least)
			}
		}
	}
	t.Logf("%d deployments and %d cancels in %v of the bubbles' time", all.pushes, all.cancels, all.took.Round(time.Second))
	for _, what := range slices.Sorted(maps.Keys(all.blown)) {
		t.Logf("%-30s %4d times, %4d of them while a script ran", what, all.blown[what], all.struck[what])
	}
	for _, what := range slices.Sorted(maps.Keys(all.notes)) {
		t.Logf("%-50s %4d", what, all.notes[what])
	}
}

// blow is one seed on one engine.
func blow(t *testing.T, on db.Engine, seed uint64, all *sum) {
	p := newPlace(t, on)
	defer func() {
		if t.Failed() {
			t.Logf("seed %d on %s failed. Again: go test ./test/world -run 'TestSeeds' -seed %d -count 10", seed, on, seed)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		s := &storm{
			world: newWorld(t, p), rand: rand.New(rand.NewPCG(seed, 1)), away: map[string]bool{},
			struck: map[string]int{}, blown: map[string]int{}, owners: map[string]string{}, asked: map[string]bool{}, cancels: map[string]cancel{}, moved: map[string]bool{},
		}
		defer s.leave()
		s.run()
		all.add(s)
		if t.Failed() {
			t.Log(s.picture())
		}
	})
}
