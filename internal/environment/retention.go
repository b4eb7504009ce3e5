package environment

import "slices"

// Forever tells whether nothing is ever removed; old clients write it as a quantity of 0 without a strategy (deployments.md K8).
func (r RetentionPolicy) Forever() bool {
	return r.Strategy == RetainForever || r.ShouldKeepForever || r.QuantityToKeep == 0 && r.Strategy != RetainCount
}

// Room tells whether one more is kept that has so many before it and so many days behind it (deployments.md K4, K7).
func (r RetentionPolicy) Room(kept int, days float64) bool {
	switch {
	case r.Forever():
		return true
	case r.Unit == Days:
		return days <= float64(r.QuantityToKeep)
	}
	return kept < r.QuantityToKeep
}

// ReleaseRetention is the policy of the phase of an environment: its own, that of the latest earlier phase that has one, the
// lifecycle's, or the space's default (deployments.md K8). ok is false where no phase holds the environment.
func (l *Lifecycle) ReleaseRetention(environment string, environments []string, space RetentionPolicy) (policy RetentionPolicy, phase int, ok bool) {
	return l.retention(environment, environments, space, l.ReleaseRetentionPolicy, func(p *Phase) *RetentionPolicy { return p.ReleaseRetentionPolicy })
}

// TentacleRetention is the same for installations on targets.
func (l *Lifecycle) TentacleRetention(environment string, environments []string, space RetentionPolicy) (policy RetentionPolicy, ok bool) {
	policy, _, ok = l.retention(environment, environments, space, l.TentacleRetentionPolicy, func(p *Phase) *RetentionPolicy { return p.TentacleRetentionPolicy })
	return policy, ok
}

// Own is the lifecycle's own policy for releases, or the space's.
func (l *Lifecycle) Own(space RetentionPolicy) RetentionPolicy {
	return orSpace(l.ReleaseRetentionPolicy, space)
}

func (l *Lifecycle) retention(environment string, environments []string, space RetentionPolicy, own *RetentionPolicy, of func(*Phase) *RetentionPolicy) (RetentionPolicy, int, bool) {
	for i, p := range l.Resolve(environments) {
		if policy := of(&p.Phase); policy != nil {
			own = policy
		}
		if slices.Contains(p.Environments, environment) {
			return orSpace(own, space), i, true
		}
	}
	return orSpace(own, space), 0, false
}

func orSpace(policy *RetentionPolicy, space RetentionPolicy) RetentionPolicy {
	if policy == nil || policy.Strategy == RetainDefault {
		return space
	}
	return *policy
}
