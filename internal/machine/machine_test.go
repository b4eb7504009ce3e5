package machine

import (
	"strings"
	"testing"
	"time"
)

func TestTakesPart(t *testing.T) { // N3
	for _, c := range []struct {
		participation   string
		tenanted, match bool
		want            bool
	}{
		{"", false, false, true},
		{Untenanted, true, true, false},
		{Tenanted, false, true, false},
		{Tenanted, true, false, false},
		{Tenanted, true, true, true},
		{TenantedOrUntenanted, false, false, true},
		{TenantedOrUntenanted, true, false, false},
		{TenantedOrUntenanted, true, true, true},
	} {
		if got := TakesPart(c.participation, c.tenanted, c.match); got != c.want {
			t.Errorf("TakesPart(%q, %v, %v) = %v", c.participation, c.tenanted, c.match, got)
		}
	}
}

func TestCandidates(t *testing.T) { // T2-T4, T6, P7
	all := []Machine{}
	for _, name := range []string{"b", "A", "sick", "warned", "off", "elsewhere", "out"} {
		m := Machine{Name: name, EnvironmentIds: []string{"E"}, Roles: []string{"Web"}}
		m.Id = "Machines-" + name
		all = append(all, m)
	}
	all[2].HealthStatus, all[3].HealthStatus = Unhealthy, HasWarnings
	all[4].IsDisabled, all[5].EnvironmentIds = true, []string{"F"}
	names := func(c Choice) string {
		c.EnvironmentId = "E"
		var out []string
		for _, m := range c.Candidates(all) {
			out = append(out, m.Name)
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct {
		choice Choice
		want   string
	}{
		{Choice{}, "A b out sick warned"},
		{Choice{ExcludeUnhealthy: true, ExcludedIds: []string{"Machines-out"}}, "A b warned"},
		{Choice{SpecificIds: []string{"Machines-b", "Machines-off"}}, "b"},
		{Choice{SpecificRoles: []string{"db"}}, ""},
		{Choice{ExcludedRoles: []string{"WEB"}}, ""},
		{Choice{Tenanted: true}, ""},
	} {
		if got := names(c.choice); got != c.want {
			t.Errorf("%+v: %q, want %q", c.choice, got, c.want)
		}
	}
}

func TestChooseWorker(t *testing.T) { // W2, W3, W6
	w := func(name string, change func(*WorkerState)) WorkerState {
		s := WorkerState{Worker: Worker{Name: name, Health: Health{HealthStatus: Healthy}}}
		s.Id = name
		if change != nil {
			change(&s)
		}
		return s
	}
	for _, c := range []struct {
		name   string
		choice WorkerChoice
		want   string
		fails  bool
	}{
		{"fewest leases", WorkerChoice{Workers: []WorkerState{w("a", func(s *WorkerState) { s.Leases = 2 }), w("b", func(s *WorkerState) { s.Leases = 1 })}}, "b", false},
		{"then mine", WorkerChoice{Workers: []WorkerState{w("a", nil), w("b", func(s *WorkerState) { s.Mine = true })}}, "b", false},
		{"then name", WorkerChoice{Workers: []WorkerState{w("b", nil), w("A", nil)}}, "A", false},
		{"the one with the package", WorkerChoice{Prefer: "b", Workers: []WorkerState{w("a", nil), w("b", func(s *WorkerState) { s.Leases = 9 })}}, "b", false},
		{"cap", WorkerChoice{LeaseCap: 1, Prefer: "a", Workers: []WorkerState{w("a", func(s *WorkerState) { s.Steps = 1 }), w("b", nil)}}, "b", false},
		{"cap, but no other", WorkerChoice{LeaseCap: 1, Workers: []WorkerState{w("a", func(s *WorkerState) { s.Steps = 1 })}}, "a", false},
		{"one is held", WorkerChoice{Workers: []WorkerState{w("a", func(s *WorkerState) { s.Exclusive = true }), w("b", nil)}}, "b", false},
		{"default pool, only sick ones", WorkerChoice{DefaultPool: true, BuiltIn: true, Workers: []WorkerState{w("a", func(s *WorkerState) { s.HealthStatus = Unhealthy })}}, "", true},
		{"default pool, built-in off", WorkerChoice{DefaultPool: true}, "", true},
		{"never checked", WorkerChoice{Workers: []WorkerState{w("a", func(s *WorkerState) { s.HealthStatus = Unknown })}}, "", true},
	} {
		got, err := c.choice.Choose()
		if got.Id != c.want || (err != nil) != c.fails {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

func TestFindings(t *testing.T) { // H2
	for _, c := range []struct {
		finding Finding
		want    string
	}{
		{Finding{}, Unavailable},
		{Finding{Reached: true, OnlyConnectivity: true, ExitCode: 1}, Healthy},
		{Finding{Reached: true, Failed: true}, Unhealthy},
		{Finding{Reached: true, Errors: 1, Warnings: 1}, Unhealthy},
		{Finding{Reached: true}, Healthy},
	} {
		if got := c.finding.Status(); got != c.want {
			t.Errorf("%+v: %s", c.finding, got)
		}
	}
}

func TestValidate(t *testing.T) {
	good := func() Machine {
		return Machine{
			Name: "m", EnvironmentIds: []string{"E"}, Roles: []string{"web"},
			Endpoint: Endpoint{CommunicationStyle: StyleTentaclePassive, Uri: "https://m:10933/", Thumbprint: strings.Repeat("A1", 20)},
		}
	}
	for _, c := range []struct {
		name   string
		change func(*Machine)
		want   string
	}{
		{"good", func(*Machine) {}, ""},
		{"polling", func(m *Machine) { m.Endpoint.CommunicationStyle, m.Endpoint.Uri = StyleTentacleActive, "poll://x/" }, ""},
		{"a style we do not act on", func(m *Machine) { m.Endpoint = Endpoint{CommunicationStyle: "AzureWebApp"} }, ""},
		{"no name", func(m *Machine) { m.Name = " " }, "Name"},
		{"no environment", func(m *Machine) { m.EnvironmentIds = nil }, "EnvironmentIds"},
		{"no role", func(m *Machine) { m.Roles = nil }, "Roles"},
		{"tenants, untenanted", func(m *Machine) { m.TenantTags = []string{"A/B"} }, "TenantedDeploymentParticipation"},
		{"no style", func(m *Machine) { m.Endpoint.CommunicationStyle = "" }, "CommunicationStyle"},
		{"wrong address", func(m *Machine) { m.Endpoint.Uri = "m:10933" }, "Uri"},
		{"wrong thumbprint", func(m *Machine) { m.Endpoint.Thumbprint = "xyz" }, "Thumbprint"},
	} {
		m := good()
		c.change(&m)
		err := m.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	p := Policy{Name: "p", ConnectionConnectTimeout: "1 minute"}
	if err := p.Validate(); err == nil || !strings.Contains(err.Error(), "ConnectionConnectTimeout") {
		t.Errorf("policy: %v", err)
	}
}

func TestSpans(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"00:01:00": time.Minute, "1.02:03:04": 26*time.Hour + 3*time.Minute + 4*time.Second, "00:00:00.5": 500 * time.Millisecond,
		"-01:00:00": -time.Hour, "00:02:30": 150 * time.Second,
	} {
		if got, err := ParseSpan(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "1", "1:2", "24:00:00", "00:60:00", "a:b:c", "00:00:00.", "00:+1:00", "--01:00:00"} {
		if _, err := ParseSpan(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

func FuzzParseSpan(f *testing.F) {
	for _, s := range []string{"00:01:00", "1.02:03:04", "00:00:00.5", "-01:00:00", ".:::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseSpan(s)
		if err != nil {
			return
		}
		if again, err := ParseSpan(FormatSpan(d)); err != nil || again != d {
			t.Errorf("%q is %v, written %q, read %v, %v", s, d, FormatSpan(d), again, err)
		}
	})
}
