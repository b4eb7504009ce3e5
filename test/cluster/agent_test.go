package cluster

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/db"
)

// TestAgentsDie kills agents, alone and with the server, while their scripts count (tentacle-protocol.md 2.3: scripts outlive the agent).
func TestAgentsDie(t *testing.T) {
	parallel(t)
	s := newSubject(t, db.SQLite)
	for _, c := range []struct {
		name string
		who  func() []*agentProcess
		both bool
		when int // which number both targets have reached
	}{
		{"listening, at once", func() []*agentProcess { return s.agents[:1] }, false, 1},
		{"polling, in the middle", func() []*agentProcess { return s.agents[1:] }, false, 6},
		{"both", func() []*agentProcess { return s.agents }, false, 4},
		{"both and the server", func() []*agentProcess { return s.agents }, true, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.t = t
			defer func() { s.t = t }()
			version := s.next()
			id := s.deploy(s.project, version, "Test", nil)
			s.counting(id, c.when)
			for _, a := range c.who() {
				a.kill()
			}
			if c.both {
				s.restart()
			}
			for _, a := range c.who() {
				s.startAgent(a)
			}
			s.success(id)
			s.check(t, id, version, false)
		})
		s.t = t
	}
}

// TestTalkativeScript kills the server while two scripts say more than one answer can carry; every line is there once, in order.
func TestTalkativeScript(t *testing.T) {
	parallel(t)
	const count = 30000
	i := fleet(t, db.Postgres, 2)
	p := i.project("Talk", []object{scriptStep("Talk", "app", fmt.Sprintf(`
for part in $(seq 0 9); do
	seq -f 'line %%.0f of a script that has a lot to say' $((part * %[1]d + 1)) $(((part + 1) * %[1]d))
	sleep 0.2
done
`, count/10))}, nil)
	i.release(p, "1.0.0", "")
	id := i.deploy(p, "1.0.0", "Test", nil)
	for range 2 {
		i.arm("answer written#3=kill")
		i.eventually(30*time.Second, "the server dies", func() (bool, string) { return i.server.ended(), "" })
		i.arm("")
		i.start()
	}
	i.success(id)
	raw, tree := i.raw(id), i.details(id)
	for _, a := range i.agents {
		for reader, lines := range map[string][]string{
			"the raw log":  section(raw, "Step 1: Talk / "+a.name),
			"the log tree": tree.at(t, "Step 1: Talk", a.name).lines(),
		} {
			n := 0
			for _, line := range lines {
				if !strings.HasPrefix(line, "line ") {
					continue
				}
				n++
				if want := fmt.Sprintf("line %d of a script that has a lot to say", n); line != want {
					t.Fatalf("%s of %s has %q where %q belongs", reader, a.name, line, want)
				}
			}
			if n != count {
				t.Errorf("%s of %s has %d lines, want %d", reader, a.name, n, count)
			}
		}
	}
}

// counting waits until both targets have counted to n.
func (s *subject) counting(id string, n int) {
	s.t.Helper()
	for _, a := range s.agents {
		s.eventually(60e9, a.name+" counts", func() (bool, string) {
			lines := s.witness(id, "count."+a.name)
			return len(lines) > n, slices.Concat(lines, []string{s.raw(id)})[0]
		})
	}
}
