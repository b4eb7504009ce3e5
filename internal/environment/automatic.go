package environment

import "slices"

// Pair is an environment, and a tenant unless it is "".
type Pair struct {
	EnvironmentId string
	TenantId      string
}

// Event is what may start automatic deployments: a success, or (with no environment) the creation of the release.
type Event struct{ EnvironmentId, TenantId string }

// Automatic is what L7-L9 and N8 look at.
type Automatic struct {
	Environments []string // of the space, in their order
	History      []Deployed
	Event        Event
	Untenanted   bool     // the project's mode allows untenanted deployments
	Tenants      []Tenant // connected ones; none where the mode allows none
	ProjectId    string
	ChannelTags  []string
	Defect       bool
}

// Automatic lists the deployments that start by themselves (deployments.md L7-L9, N8). That each is made once only is
// the business of a unique key (L11); whether it is refused (L10) that of its creation.
func (l *Lifecycle) Automatic(in Automatic) []Pair {
	var out []Pair
	for i := range in.Tenants {
		if t := &in.Tenants[i]; t.HasTags(in.ChannelTags) && !t.IsDisabled {
			out = append(out, l.automaticFor(in, Who{TenantId: t.Id, Environments: t.ProjectEnvironments[in.ProjectId]})...)
		}
	}
	if in.Untenanted {
		out = append(out, l.automaticFor(in, Who{})...)
	}
	return out
}

func (l *Lifecycle) automaticFor(in Automatic, who Who) []Pair {
	now := l.Progress(in.Environments, in.History, who, in.Defect)
	var before Progression // what was reachable without the event; only asked for where somebody else's success counts
	created := in.Event.EnvironmentId == ""
	own := !created && in.Event.TenantId == who.TenantId
	if !created && !own {
		before = l.Progress(in.Environments, in.without(), who, in.Defect)
	}
	var out []Pair
	passed := created || !own // L9: only phases after the one that just succeeded
	for i, p := range now.Phases {
		forward := passed
		passed = passed || slices.Contains(p.Environments, in.Event.EnvironmentId)
		if !forward || p.IsOptionalPhase || p.Blocked || !now.reachable(i) || !created && !own && before.reachable(i) {
			continue
		}
		for _, e := range p.Environments {
			pair := Pair{e, who.TenantId}
			if slices.Contains(p.AutomaticDeploymentTargets, e) && !in.deployed(pair) && !slices.Contains(out, pair) {
				out = append(out, pair)
			}
		}
	}
	return out
}

// reachable tells whether a phase is (L2).
func (p Progression) reachable(phase int) bool {
	return !slices.ContainsFunc(p.Phases[:phase], func(e PhaseProgress) bool { return e.Progress != Complete && !e.IsOptionalPhase })
}

// without is the history before the event.
func (in Automatic) without() []Deployed {
	for i, d := range slices.Backward(in.History) {
		if d.EnvironmentId == in.Event.EnvironmentId && d.TenantId == in.Event.TenantId && d.State == succeeded {
			return slices.Delete(slices.Clone(in.History), i, i+1)
		}
	}
	return in.History
}

// deployed tells whether the release was ever deployed there, in any state (L9).
func (in Automatic) deployed(to Pair) bool {
	return slices.ContainsFunc(in.History, func(d Deployed) bool { return d.EnvironmentId == to.EnvironmentId && d.TenantId == to.TenantId })
}
