package cluster

import (
	"slices"
	"testing"

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
