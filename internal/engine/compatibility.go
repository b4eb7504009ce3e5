package engine

import (
	"slices"

	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/machine"
)

// storedOnly lists what this deployment meets that we keep and give back, but do not act on (docs/compatibility.md).
func (d *walk) storedOnly(plan *deployment.Plan) []string {
	var met deployment.Meeting
	for _, s := range []deployment.Subject{
		{Name: "The process", What: &d.process},
		{Name: "The deployment", What: &d.deployment},
		{Name: "The release", What: &d.release},
		{Name: "The channel", What: &d.channel},
		{Name: "The lifecycle", What: &d.lifecycle},
		{Name: "The project", What: &d.project},
	} {
		met.Meet(s)
	}
	for i := range d.machines {
		m := &d.machines[i]
		if !slices.ContainsFunc(plan.Targets, func(t deployment.Target) bool { return t.Id == m.Id }) {
			continue
		}
		met.Meet(deployment.Subject{Name: m.Name, What: m})
		if p := slices.IndexFunc(d.policies, func(p machine.Policy) bool { return p.Id == m.MachinePolicyId }); p >= 0 {
			met.Meet(deployment.Subject{Name: "The machine policy " + d.policies[p].Name, What: &d.policies[p]})
		}
	}
	for _, candidate := range d.candidates {
		met.Variable(candidate.Name)
	}
	return met.Lines()
}
