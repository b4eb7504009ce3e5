package environment

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func tenant(tags ...string) *Tenant {
	t := &Tenant{TenantTags: tags}
	t.Id = "Tenants-1"
	return t
}

func TestTags(t *testing.T) { // N4, N5
	for _, c := range []struct {
		name   string
		tenant *Tenant
		want   []string
		has    bool
	}{
		{"no restriction", nil, nil, true},
		{"untenanted never matches", nil, []string{"A/1"}, false},
		{"or inside a set", tenant("A/1"), []string{"A/1", "A/2"}, true},
		{"and between sets", tenant("A/1"), []string{"A/1", "B/1"}, false},
		{"both sets", tenant("A/1", "B/2"), []string{"A/2", "a/1", "B/2"}, true},
	} {
		if got := c.tenant.HasTags(c.want); got != c.has {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	for _, c := range []struct {
		ids, tags []string
		want      bool
	}{{nil, nil, false}, {[]string{"Tenants-1"}, []string{"X/1"}, true}, {nil, []string{"A/1"}, true}, {[]string{"Tenants-2"}, nil, false}} {
		if got := Admits(c.ids, c.tags, tenant("A/1")); got != c.want {
			t.Errorf("Admits(%v, %v) = %v", c.ids, c.tags, got)
		}
	}
}

// TestPhases is the table {successes} x {minimum} x {optional} x {defect} (deployments.md 2).
func TestPhases(t *testing.T) {
	envs := []string{"D", "T1", "T2", "P"}
	for _, c := range []struct {
		successes, minimum int
		optional, defect   bool
		prod               bool // the last phase may be deployed to
	}{
		{0, 0, false, false, false},
		{1, 0, false, false, false},
		{2, 0, false, false, true},
		{0, 1, false, false, false},
		{1, 1, false, false, true},
		{2, 1, false, false, true},
		{1, 5, false, false, false},
		{2, 5, false, false, true},
		{0, 0, true, false, true},
		{1, 5, true, false, true},
		{2, 0, false, true, false},
		{0, 0, true, true, false},
	} {
		l := Lifecycle{Phases: []Phase{
			{Name: "Dev", OptionalDeploymentTargets: []string{"D"}},
			{Name: "Test", AutomaticDeploymentTargets: []string{"T1"}, OptionalDeploymentTargets: []string{"T2"}, MinimumEnvironmentsBeforePromotion: c.minimum, IsOptionalPhase: c.optional},
			{Name: "Prod"},
		}}
		history := []Deployed{{EnvironmentId: "D", State: succeeded}}
		for _, e := range []string{"T1", "T2"}[:c.successes] {
			history = append(history, Deployed{EnvironmentId: e, State: succeeded}, Deployed{EnvironmentId: e, State: "Failed"}) // L4
		}
		p := l.Progress(envs, history, Who{}, c.defect)
		if got := slices.Contains(p.Allowed, "P"); got != c.prod {
			t.Errorf("%+v: %v", c, got)
		}
		if blocked := len(p.Missing("P")) > 0; blocked == c.prod {
			t.Errorf("%+v: missing %v", c, p.Missing("P"))
		}
	}
}

func TestProgressForAnyone(t *testing.T) {
	l := Lifecycle{Phases: []Phase{{Name: "Dev", OptionalDeploymentTargets: []string{"D"}}, {Name: "Prod", OptionalDeploymentTargets: []string{"P"}}}}
	history := []Deployed{{EnvironmentId: "D", TenantId: "Tenants-1", State: succeeded}}
	if p := l.Progress([]string{"D", "P"}, history, Who{}, false); p.Phases[0].Progress != Current {
		t.Error("a tenant's success must not move untenanted deployments")
	}
	if p := l.Progress([]string{"D", "P"}, history, Who{Anyone: true}, false); p.Phases[0].Progress != Complete {
		t.Error("seen as a whole, the phase is complete")
	}
}

// TestOneTenantMovesThoseWhoWait is N8 with N7: Tenants-2 is only in P, and waits for anybody's success in D.
func TestOneTenantMovesThoseWhoWait(t *testing.T) {
	l := Lifecycle{Phases: []Phase{{Name: "Dev", OptionalDeploymentTargets: []string{"D"}}, {Name: "Prod", AutomaticDeploymentTargets: []string{"P"}}}}
	connected := func(id string, envs ...string) Tenant {
		t := Tenant{ProjectEnvironments: map[string][]string{"Projects-1": envs}}
		t.Id = id
		return t
	}
	in := Automatic{
		Environments: []string{"D", "P"}, ProjectId: "Projects-1", Untenanted: true,
		Tenants: []Tenant{connected("Tenants-1", "D", "P"), connected("Tenants-2", "P"), connected("Tenants-3", "D", "P")},
		History: []Deployed{{EnvironmentId: "D", TenantId: "Tenants-1", State: succeeded}},
		Event:   Event{EnvironmentId: "D", TenantId: "Tenants-1"},
	}
	want := []Pair{{"P", "Tenants-1"}, {"P", "Tenants-2"}}
	if diff := cmp.Diff(want, l.Automatic(in)); diff != "" {
		t.Errorf("first success: %s", diff)
	}
	// The next tenant's success moves only itself: Tenants-2 could go on before it.
	in.History = append(in.History, Deployed{EnvironmentId: "D", TenantId: "Tenants-3", State: succeeded})
	in.Event.TenantId = "Tenants-3"
	if diff := cmp.Diff([]Pair{{"P", "Tenants-3"}}, l.Automatic(in)); diff != "" {
		t.Errorf("second success: %s", diff)
	}
	in.History = append(in.History, Deployed{EnvironmentId: "P", TenantId: "Tenants-3", State: "Failed"})
	if diff := cmp.Diff([]Pair(nil), l.Automatic(in), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("deployed there in any state: %s", diff)
	}
}

func TestRetention(t *testing.T) { // K8
	three := &RetentionPolicy{Strategy: RetainCount, Unit: Items, QuantityToKeep: 3}
	l := Lifecycle{
		ReleaseRetentionPolicy: &RetentionPolicy{Strategy: RetainDefault},
		Phases: []Phase{
			{Name: "Dev", OptionalDeploymentTargets: []string{"D"}},
			{Name: "Test", OptionalDeploymentTargets: []string{"T"}, ReleaseRetentionPolicy: three},
			{Name: "Prod", OptionalDeploymentTargets: []string{"P"}},
		},
	}
	envs, space := []string{"D", "T", "P", "X"}, RetentionPolicy{Strategy: RetainCount, Unit: Days, QuantityToKeep: 30}
	for env, want := range map[string]RetentionPolicy{"D": space, "T": *three, "P": *three} {
		if got, _, ok := l.ReleaseRetention(env, envs, space); got != want || !ok {
			t.Errorf("%s: %+v", env, got)
		}
	}
	if _, _, ok := l.ReleaseRetention("X", envs, space); ok {
		t.Error("X is in no phase")
	}
	for _, c := range []struct {
		policy RetentionPolicy
		kept   int
		days   float64
		room   bool
	}{
		{RetentionPolicy{}, 999, 999, true}, // as old clients write it
		{RetentionPolicy{Strategy: RetainForever}, 999, 999, true},
		{RetentionPolicy{Strategy: RetainCount, Unit: Items, QuantityToKeep: 2}, 1, 999, true},
		{RetentionPolicy{Strategy: RetainCount, Unit: Items, QuantityToKeep: 2}, 2, 0, false},
		{RetentionPolicy{Unit: Days, QuantityToKeep: 2}, 99, 2, true},
		{RetentionPolicy{Unit: Days, QuantityToKeep: 2}, 0, 2.1, false},
	} {
		if got := c.policy.Room(c.kept, c.days); got != c.room {
			t.Errorf("%+v", c)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		l  Lifecycle
		ok bool
	}{
		{Lifecycle{Name: "L"}, true},
		{Lifecycle{}, false},
		{Lifecycle{Name: "L", Phases: []Phase{{Name: "A"}, {Name: "a"}}}, false},
		{Lifecycle{Name: "L", Phases: []Phase{{Name: "A", MinimumEnvironmentsBeforePromotion: -1}}}, false},
		{Lifecycle{Name: "L", Phases: []Phase{{Name: "A", AutomaticDeploymentTargets: []string{"E"}, OptionalDeploymentTargets: []string{"E"}}}}, false},
		{Lifecycle{Name: "L", Phases: []Phase{{Name: "A", OptionalDeploymentTargets: []string{"E"}}, {Name: "B", OptionalDeploymentTargets: []string{"E"}}}}, false},
		{Lifecycle{Name: "L", ReleaseRetentionPolicy: &RetentionPolicy{Strategy: "Sometimes"}}, false},
		{Lifecycle{Name: "L", ReleaseRetentionPolicy: &RetentionPolicy{Strategy: RetainCount, Unit: "Weeks", QuantityToKeep: 1}}, false},
		{Lifecycle{Name: "L", ReleaseRetentionPolicy: &RetentionPolicy{Strategy: RetainCount, Unit: Days}}, false},
	} {
		if err := c.l.Validate(); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.l, err)
		}
	}
}
