package environment

import "slices"

// Ends of a deployment that matter to progression.
const succeeded = "Success"

// Deployed is one deployment of a release, as far as progression looks at it.
type Deployed struct {
	EnvironmentId string
	TenantId      string
	State         string // of its task, in the wire's words
}

// Who a release is judged for: a tenant, untenanted deployments (the zero value), or anyone.
type Who struct {
	TenantId     string
	Environments []string // the tenant's, for this project (N2)
	Anyone       bool     // successes of all count: for showing a release as a whole
}

// Progress of a phase (deployments.md L6).
const (
	Complete = "Complete"
	Current  = "Current"
	Pending  = "Pending"
)

// PhaseProgress is one phase as a release stands in it.
type PhaseProgress struct {
	Phase
	Environments []string // as resolved by L1, in environment order; for a tenant only its own
	Progress     string
	Blocked      bool // closed by a defect (D2)
}

// Progression is how far a release has come (deployments.md L6).
type Progression struct {
	Phases                         []PhaseProgress
	Allowed                        []string // environments that may be deployed to now
	NextDeployments                []string
	NextDeploymentsMinimumRequired int
}

// Resolve gives a lifecycle's phases and the environments of each, in the order of environments (deployments.md L1).
func (l *Lifecycle) Resolve(environments []string) []PhaseProgress {
	var out []PhaseProgress
	if len(l.Phases) == 0 {
		for _, e := range environments {
			phase := Phase{Name: e, OptionalDeploymentTargets: []string{e}}
			out = append(out, PhaseProgress{Phase: phase, Environments: []string{e}})
		}
		return out
	}
	var earlier []string
	for _, p := range l.Phases {
		named := slices.Concat(p.AutomaticDeploymentTargets, p.OptionalDeploymentTargets)
		var in []string
		for _, e := range environments {
			if slices.Contains(named, e) || len(named) == 0 && !slices.Contains(earlier, e) {
				in = append(in, e)
			}
		}
		earlier = append(earlier, in...)
		out = append(out, PhaseProgress{Phase: p, Environments: in})
	}
	return out
}

// PhaseOf finds the first phase that holds an environment.
func (l *Lifecycle) PhaseOf(environment string, environments []string) (PhaseProgress, bool) {
	for _, p := range l.Resolve(environments) {
		if slices.Contains(p.Environments, environment) {
			return p, true
		}
	}
	return PhaseProgress{}, false
}

// Progress says where a release may go (deployments.md L2-L6, D2, N6, N7). environments are all of the space in their order,
// history is every deployment of the release, defect whether it has an unresolved one.
func (l *Lifecycle) Progress(environments []string, history []Deployed, who Who, defect bool) Progression {
	var out Progression
	reachable := true
	found := false // the phase NextDeploymentsMinimumRequired is about
	for i, p := range l.Resolve(environments) {
		done := successes(p.Environments, history, Who{Anyone: true})
		complete := done >= p.required() // over everybody's successes (N7)
		if !who.Anyone {
			if who.TenantId != "" {
				p.Environments = slices.DeleteFunc(slices.Clone(p.Environments), func(e string) bool { return !slices.Contains(who.Environments, e) })
			}
			if who.TenantId == "" || len(p.Environments) > 0 {
				done = successes(p.Environments, history, who)
				complete = done >= p.required()
			} else {
				done = 0
			}
		}
		p.Blocked = defect && i > 0 && done == 0
		p.Progress = Pending
		if complete {
			p.Progress = Complete
		} else if reachable {
			p.Progress = Current
		}
		if reachable && !p.Blocked {
			out.Allowed = addNew(out.Allowed, p.Environments)
			if !complete {
				open := slices.DeleteFunc(slices.Clone(p.Environments), func(e string) bool { return successes([]string{e}, history, who) > 0 })
				out.NextDeployments = addNew(out.NextDeployments, open)
				if !found && !p.IsOptionalPhase {
					found = true
					out.NextDeploymentsMinimumRequired = p.required() - done
				}
			}
		}
		reachable = reachable && (complete || p.IsOptionalPhase)
		out.Phases = append(out.Phases, p)
	}
	return out
}

// Missing names the phases that keep a release from an environment; none when it is allowed or in no phase at all.
func (p Progression) Missing(environment string) []string {
	var before []string
	for _, phase := range p.Phases {
		if slices.Contains(phase.Environments, environment) {
			if phase.Blocked {
				return []string{phase.Name + " (blocked by a defect)"}
			}
			return before
		}
		if phase.Progress != Complete && !phase.IsOptionalPhase {
			before = append(before, phase.Name)
		}
	}
	return nil
}

// required is how many environments of a phase need a success (L3).
func (p *PhaseProgress) required() int {
	n := len(p.Environments)
	if p.MinimumEnvironmentsBeforePromotion <= 0 {
		return n
	}
	return min(n, p.MinimumEnvironmentsBeforePromotion)
}

// successes counts the environments with a success; one success is enough for good (L4).
func successes(environments []string, history []Deployed, who Who) int {
	n := 0
	for _, e := range environments {
		if slices.ContainsFunc(history, func(d Deployed) bool {
			return d.EnvironmentId == e && d.State == succeeded && (who.Anyone || d.TenantId == who.TenantId)
		}) {
			n++
		}
	}
	return n
}

func addNew(to, from []string) []string {
	for _, e := range from {
		if !slices.Contains(to, e) {
			to = append(to, e)
		}
	}
	return to
}
