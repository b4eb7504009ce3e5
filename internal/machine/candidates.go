package machine

import (
	"cmp"
	"slices"
	"strings"
)

// TakesPart tells whether something with a participation takes part in a deployment (deployments.md N3).
// tenanted is whether the deployment has a tenant, match whether ids and tags of the thing select that tenant.
func TakesPart(participation string, tenanted, match bool) bool {
	switch participation {
	case Tenanted:
		return tenanted && match
	case TenantedOrUntenanted:
		return !tenanted || match
	default:
		return !tenanted
	}
}

// HasRole tells whether a target carries any of some tags, ignoring case (deployments.md T5).
func HasRole(have, want []string) bool {
	return slices.ContainsFunc(want, func(w string) bool {
		return slices.ContainsFunc(have, func(h string) bool { return strings.EqualFold(h, w) })
	})
}

// Choice narrows the candidates of a deployment (deployments.md T2-T4, T6).
type Choice struct {
	EnvironmentId    string
	Tenanted         bool
	Match            func(*Machine) bool // whether its ids and tags select the deployment's tenant
	SpecificIds      []string            // only these, if there are any
	ExcludedIds      []string
	SpecificRoles    []string // only targets with any of these, if there are any
	ExcludedRoles    []string
	ExcludeUnhealthy bool
}

// Candidates are the targets a deployment may use, in the order in which lanes open (deployments.md P7).
func (c Choice) Candidates(all []Machine) []Machine {
	var out []Machine
	for _, m := range all {
		switch {
		case m.IsDisabled:
		case !slices.Contains(m.EnvironmentIds, c.EnvironmentId):
		case !TakesPart(m.TenantedDeploymentParticipation, c.Tenanted, c.Match != nil && c.Match(&m)):
		case len(c.SpecificIds) > 0 && !slices.Contains(c.SpecificIds, m.Id):
		case slices.Contains(c.ExcludedIds, m.Id):
		case len(c.SpecificRoles) > 0 && !HasRole(m.Roles, c.SpecificRoles):
		case HasRole(m.Roles, c.ExcludedRoles):
		case c.ExcludeUnhealthy && m.HealthStatus == Unhealthy:
		default:
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b Machine) int { return ByName(a.Name, a.Id, b.Name, b.Id) })
	return out
}

// ByName orders by name, ignoring case, then by id (deployments.md P7).
func ByName(nameA, idA, nameB, idB string) int {
	return cmp.Or(strings.Compare(strings.ToLower(nameA), strings.ToLower(nameB)), strings.Compare(idA, idB))
}

// HasAgent tells whether scripts can run on the target itself. Others are worked on from a worker (deployments.md T1).
func (e *Endpoint) HasAgent() bool {
	switch e.CommunicationStyle {
	case StyleTentaclePassive, StyleTentacleActive, StyleSsh, StyleKubernetesTentacle, StyleNone, "":
		return true
	}
	return false
}
