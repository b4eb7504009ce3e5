package deployment

import (
	"slices"
	"time"

	"github.com/octavo/octavo/internal/machine"
)

// Newcomer is a machine of which a deployment target trigger saw an event.
type Newcomer struct {
	Id    string
	Roles []string
	Has   bool // a successful action of the release is recorded there, and it was not excluded (S6)
}

// TargetRound is one round of a deployment target trigger for one project, environment and tenant (deployments.md S5-S8).
type TargetRound struct {
	Machines     []Newcomer
	Last         *Repeat // the last successful deployment there; nil for none
	Override     string  // release of an auto-deploy override (S7)
	Busy         bool    // a deployment there runs or waits (S8)
	Redeploy     bool    // ShouldRedeployWhenMachineHasBeenDeployedTo
	UsedRoles    []string
	TriggerRoles []string // limit which steps' tags count, if there are any
}

// Repeat is a deployment to make again, for some machines only.
type Repeat struct {
	ReleaseId   string
	SkipActions []string
	MachineIds  []string
}

// Decide says what to deploy, if anything, or to look again when the running deployment ends.
func (r TargetRound) Decide() (deploy *Repeat, later bool) {
	if r.Busy {
		return nil, true
	}
	var out Repeat
	switch {
	case r.Override != "":
		out.ReleaseId = r.Override
	case r.Last != nil:
		out = *r.Last
	default:
		return nil, false
	}
	used := r.UsedRoles
	if len(r.TriggerRoles) > 0 {
		used = slices.DeleteFunc(slices.Clone(used), func(role string) bool { return !machine.HasRole([]string{role}, r.TriggerRoles) })
	}
	out.MachineIds = nil
	for _, m := range r.Machines {
		if machine.HasRole(m.Roles, used) && (r.Redeploy || !m.Has) {
			out.MachineIds = append(out.MachineIds, m.Id)
		}
	}
	if len(out.MachineIds) == 0 {
		return nil, false
	}
	return &out, false
}

// Success is a successful deployment as "deploy latest release" looks at it.
type Success struct {
	ReleaseId, EnvironmentId, TenantId, ChannelId string
	Ended                                         time.Time
}

// LatestRelease is what a "deploy latest release" trigger looks at (deployments.md S10).
type LatestRelease struct {
	Successes         []Success // of the project
	Sources           []string
	Destination       string
	ChannelId         string // "" for any
	TenantId          string // "" for untenanted
	ConnectedToSource bool   // the tenant is connected to one of the sources; true without a tenant
	RedeployCurrent   bool   // ShouldRedeployWhenReleaseIsCurrent
	Allowed           func(releaseId string) bool
}

// Choose finds the release to deploy; "" for none. A tenant that is not connected to a source gets what last succeeded there for anyone.
func (l LatestRelease) Choose() string {
	var latest, current *Success
	for i := range l.Successes {
		s := &l.Successes[i]
		mine := s.TenantId == l.TenantId
		if s.EnvironmentId == l.Destination && mine && (current == nil || s.Ended.After(current.Ended)) {
			current = s
		}
		switch {
		case !slices.Contains(l.Sources, s.EnvironmentId):
		case l.ChannelId != "" && s.ChannelId != l.ChannelId:
		case l.ConnectedToSource && !mine:
		case !l.ConnectedToSource && l.Allowed != nil && !l.Allowed(s.ReleaseId):
		case latest == nil || s.Ended.After(latest.Ended):
			latest = s
		}
	}
	switch {
	case latest == nil, l.Allowed != nil && !l.Allowed(latest.ReleaseId):
		return ""
	case !l.RedeployCurrent && current != nil && current.ReleaseId == latest.ReleaseId:
		return ""
	}
	return latest.ReleaseId
}
