package cluster

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/db"
)

// deed is what happens to the server at a point, and what happens then.
type deed string

const (
	kill        deed = "kill"             // SIGKILL, started again
	stop        deed = "stop"             // SIGSTOP, continued after a moment
	stopLong    deed = "stop long"        // SIGSTOP, continued when it has to take itself for dead
	stopKilled  deed = "stop, then kill"  // SIGSTOP, then SIGKILL while it is stopped, started again
	killTwice   deed = "kill twice"       // SIGKILL, and the next one dies while it takes the task over
	killReport  deed = "kill report"      // SIGKILL while the script on the server runs, started again
	terminate   deed = "stop and SIGTERM" // SIGSTOP, SIGTERM, continued: it hands over, and is started again
	beyondFence      = 11 * time.Second   // a node that did not beat for 9 s stops everything (architecture, self-fence)
)

// shards is how many installations on each engine share the work.
const shards = 3

// TestTheServerDiesAtEveryPoint kills and stops the server at every named point of a deployment: around each commit and each
// call to an agent (reliability-and-security.md I1-I18; deployments.md 3.9). Whatever happened, each script ran once, and every line is there once.
func TestTheServerDiesAtEveryPoint(t *testing.T) {
	var kills, stops atomic.Int64
	var mu sync.Mutex
	names := map[string]bool{}
	t.Cleanup(func() {
		t.Logf("%d distinct points, %d kills, %d stops", len(names), kills.Load(), stops.Load())
		if !t.Failed() && !t.Skipped() && len(names) < 25 {
			t.Errorf("%d distinct points were tried, want at least 25", len(names))
		}
	})
	tried := func(point string, d deed) {
		mu.Lock()
		names[nameOf(point)] = true
		mu.Unlock()
		if strings.HasPrefix(string(d), "kill") {
			kills.Add(1)
		} else {
			stops.Add(1)
		}
	}
	if testing.Short() {
		t.Skip("-short: needs real processes and time")
	}
	for e, engine := range []db.Engine{db.SQLite, db.Postgres} {
		for shard := range shards {
			t.Run(fmt.Sprintf("%s-%d", engine, shard+1), func(t *testing.T) {
				parallel(t)
				s := newSubject(t, engine)
				for _, c := range chosen(s.points(), e, shard) {
					if t.Failed() {
						return // its state is not to be trusted any more
					}
					if !t.Run(c.point+" "+string(c.deed), func(t *testing.T) {
						s.t = t
						s.die(t, c, tried)
					}) {
						t.Log("the rest of this installation's points is left out")
					}
					s.t = t
				}
				s.checkRest(t, password)
			})
		}
	}
}

// points does one deployment in peace, and gives every point that it passed.
func (s *subject) points() []string {
	s.t.Helper()
	version := s.next()
	s.seen()
	id := s.deploy(s.project, version, "Test", nil)
	s.success(id)
	s.eventually(10*time.Second, "the end is settled", func() (bool, string) {
		last := tail(s.passed, 8)
		return strings.Contains(last, "settle committed#"), last
	})
	s.check(s.t, id, version, false)
	s.checkRest(s.t, password)
	return s.seen()
}

func nameOf(point string) string { name, _, _ := strings.Cut(point, "#"); return name }

// attempt is one point and what is done there.
type attempt struct {
	point string
	deed  deed
}

// chosen is one shard's share. By default each name is killed on one engine and stopped on the other, at one of its
// passings; with OCTAVO_TEST_LONG each is killed and stopped on both at an early, a middle and a late passing (how many there are depends on the speed of the machine).
func chosen(points []string, engine, shard int) (all []attempt) {
	passings := map[string][]string{}
	var names []string
	for _, p := range points {
		if passings[nameOf(p)] == nil {
			names = append(names, nameOf(p))
		}
		passings[nameOf(p)] = append(passings[nameOf(p)], p)
	}
	slices.Sort(names) // the same in every shard
	for n, name := range names {
		if n%shards != shard {
			continue
		}
		of := passings[name]
		if long() {
			for _, p := range slices.Compact([]string{of[0], of[len(of)/2], of[len(of)*4/5]}) {
				all = append(all, attempt{p, kill}, attempt{p, stop}, attempt{p, stopKilled}, attempt{p, killTwice})
			}
			all = append(all, attempt{of[len(of)/2], stopLong}, attempt{of[len(of)/2], terminate})
			continue
		}
		if slices.Contains([]string{"ask", "submit", "hear"}, strings.Fields(name)[0]) {
			continue // one each below
		}
		// Late passings are left to --long.
		p := of[(n/shards)%max(1, len(of)/2)]
		if n/shards%2 == engine {
			all = append(all, attempt{p, kill})
		} else {
			all = append(all, attempt{p, stop})
		}
	}
	if !long() {
		own := [][]attempt{
			{{"answer committed#5", killTwice}, {"status before#6", stopLong}, {"submit committed#1", kill}},
			{{"start answered#5", killTwice}, {"answer before#8", stopKilled}, {"answer before#1", killReport}, {"ask committed#1", kill}},
			{{"script committed#3", terminate}, {"run end written#2", stopKilled}, {"answer written#1", killReport}, {"hear written#1", kill}},
		}
		all = append(all, own[(shard+engine)%shards]...)
	}
	return all
}

// die has the server die at a point of one deployment, and holds what comes of it against the truth.
func (s *subject) die(t *testing.T, a attempt, tried func(string, deed)) {
	version := s.next()
	word := "stop"
	if strings.HasPrefix(string(a.deed), "kill") {
		word = "kill"
	}
	order := a.point + "=" + word
	if a.deed != killReport {
		s.arm(order)
	}
	defer s.arm("")
	asked := make(chan string, 1)
	go func() {
		id, err := s.tryDeploy(s.project, version, "Test", nil)
		if err != nil {
			id = "" // the server died while it answered
		}
		asked <- id
	}()
	id := ""
	reached := false
	s.eventually(60*time.Second, "the server dies at "+a.point, func() (bool, string) {
		select {
		case id = <-asked:
			asked = nil
		default:
		}
		if a.deed == killReport && id != "" && len(s.witness(id, "server")) > 0 {
			s.arm(order)
		}
		if reached = s.server.ended() || s.server.stopped(); reached {
			return true, ""
		}
		var now task
		if id != "" && s.hasty().try("GET", space+"/tasks/"+id, nil, &now) == nil && now.HasPendingInterruptions {
			s.answer(id)
		}
		return id != "" && s.hasty().try("GET", space+"/tasks/"+id, nil, &now) == nil && now.IsCompleted && !s.server.stopped(), now.State
	})
	if !reached {
		s.check(t, id, version, false)
		if strings.HasSuffix(a.point, "#1") {
			t.Fatalf("the deployment did not pass %s", a.point)
		}
		t.Logf("%s was not passed this time; trying the first passing", a.point)
		s.die(t, attempt{nameOf(a.point) + "#1", a.deed}, tried)
		return
	}
	tried(a.point, a.deed)
	mayInterrupt := s.afterDeath(t, a, func() bool { return id != "" && s.counted(id) })
	if id == "" && asked != nil {
		id = <-asked
	}
	if id == "" {
		var page struct{ Items []task }
		s.call("GET", "/tasks?name=Deploy&take=1", nil, &page)
		id = page.Items[0].Id
	}
	s.wait(id, 90*time.Second)
	if whole := s.check(t, id, version, mayInterrupt); whole && a.deed == killReport {
		t.Error("the script on the server died with the server, and the log does not say so")
	}
}

// afterDeath brings the server back. It tells whether the script on the server may have been interrupted.
func (s *subject) afterDeath(t *testing.T, a attempt, counted func() bool) (mayInterrupt bool) {
	switch a.deed {
	case kill, killReport:
		s.arm("")
		mayInterrupt = counted()
		s.restart()
	case killTwice:
		s.arm("adopt answered#1=kill")
		mayInterrupt = counted()
		s.kill()
		s.launch()
		// Where nothing is to be adopted, it just goes on.
		deadline := time.Now().Add(5 * time.Second)
		s.eventually(10*time.Second, "the second death", func() (bool, string) { return s.server.ended() || time.Now().After(deadline), "" })
		mayInterrupt = mayInterrupt || counted()
		s.arm("")
		if s.server.ended() {
			s.restart()
		} else {
			s.answers()
		}
	case stop, stopLong:
		s.arm("")
		pause := time.Second
		if a.deed == stopLong {
			pause = beyondFence
			mayInterrupt = counted()
		}
		until := time.Now().Add(pause)
		s.eventually(pause+time.Second, "it stays stopped", func() (bool, string) {
			if !s.server.stopped() {
				t.Fatal("somebody continued the server")
			}
			return time.Now().After(until), ""
		})
		s.server.signal(t, syscall.SIGCONT)
	case stopKilled:
		s.arm("")
		mayInterrupt = counted()
		s.restart()
	case terminate:
		s.arm("")
		mayInterrupt = counted()
		s.server.signal(t, syscall.SIGTERM)
		s.server.signal(t, syscall.SIGCONT)
		s.eventually(20*time.Second, "the server hands over and ends", func() (bool, string) { return s.server.ended(), "" })
		if s.server.err != nil {
			t.Errorf("after SIGTERM the server ended with %v", s.server.err)
		}
		s.start()
	}
	return mayInterrupt
}
