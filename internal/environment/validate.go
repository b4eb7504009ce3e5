package environment

import (
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
)

// Validate refuses an environment that asks for labels no node can have.
func (e *Environment) Validate() error {
	var wrong fault.List
	resource.CheckLabels(&wrong, "NodeLabels", e.NodeLabels)
	return wrong.Err()
}

// Validate refuses a lifecycle whose phases or policies make no sense; everything that is wrong is said at once.
func (l *Lifecycle) Validate() error {
	var wrong fault.List
	if strings.TrimSpace(l.Name) == "" {
		wrong.Add("A lifecycle needs a Name.")
	}
	l.ReleaseRetentionPolicy.validate(&wrong, "ReleaseRetentionPolicy")
	l.TentacleRetentionPolicy.validate(&wrong, "TentacleRetentionPolicy")
	names := map[string]bool{}
	phaseOf := map[string]string{}
	for _, p := range l.Phases {
		key := strings.ToLower(strings.TrimSpace(p.Name))
		switch {
		case key == "":
			wrong.Add("Every phase needs a Name.")
		case names[key]:
			wrong.Add("Two phases are named %q; names must differ, ignoring case.", p.Name)
		}
		names[key] = true
		if p.MinimumEnvironmentsBeforePromotion < 0 {
			wrong.Add("MinimumEnvironmentsBeforePromotion of phase %q must be 0 (all of its environments) or more.", p.Name)
		}
		for _, e := range slices.Concat(p.AutomaticDeploymentTargets, p.OptionalDeploymentTargets) {
			if before, again := phaseOf[e]; again {
				wrong.Add("Environment %s is listed twice, in phases %q and %q; an environment belongs into one list of one phase.", e, before, p.Name)
			}
			phaseOf[e] = p.Name
		}
		p.ReleaseRetentionPolicy.validate(&wrong, "ReleaseRetentionPolicy of phase "+p.Name)
		p.TentacleRetentionPolicy.validate(&wrong, "TentacleRetentionPolicy of phase "+p.Name)
	}
	return wrong.Err()
}

func (r *RetentionPolicy) validate(wrong *fault.List, field string) {
	if r == nil {
		return
	}
	if !slices.Contains([]string{"", RetainDefault, RetainForever, RetainCount}, r.Strategy) {
		wrong.Add("%s: Strategy is %q; it must be Default, Forever or Count.", field, r.Strategy)
	}
	counts := r.Strategy == RetainCount || r.Strategy == "" && r.QuantityToKeep > 0 && !r.ShouldKeepForever
	if counts && r.Unit != Days && r.Unit != Items {
		wrong.Add("%s: Unit is %q; it must be Days or Items.", field, r.Unit)
	}
	if r.QuantityToKeep < 0 || r.Strategy == RetainCount && r.QuantityToKeep == 0 {
		wrong.Add("%s: QuantityToKeep is %d; it must be 1 or more (use the strategy Forever to keep all).", field, r.QuantityToKeep)
	}
}
