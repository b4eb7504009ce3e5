package environment

import (
	"slices"
	"strings"
)

// HasTags tells whether a tenant passes a tag filter: inside a set one is enough, between sets all are needed
// (deployments.md N5). No tags are no restriction; no tenant never passes a restriction (N4).
func (t *Tenant) HasTags(want []string) bool {
	if len(want) == 0 {
		return true
	}
	if t == nil {
		return false
	}
	sets := map[string]bool{}
	for _, tag := range want {
		set, _, _ := strings.Cut(strings.ToLower(tag), "/")
		sets[set] = sets[set] || slices.ContainsFunc(t.TenantTags, func(have string) bool { return strings.EqualFold(have, tag) })
	}
	for _, matched := range sets {
		if !matched {
			return false
		}
	}
	return true
}

// Admits tells whether a filter of ids and tags admits a tenant: named, or passing the tags (deployments.md N5).
// A filter of neither admits nobody; callers for whom it is no restriction (channels, actions) ask HasTags.
func Admits(ids, tags []string, t *Tenant) bool {
	if t == nil {
		return false
	}
	return slices.Contains(ids, t.Id) || len(tags) > 0 && t.HasTags(tags)
}

// ConnectedTo tells whether a tenant may be deployed to in an environment (deployments.md N2).
func (t *Tenant) ConnectedTo(project, environment string) bool {
	return slices.Contains(t.ProjectEnvironments[project], environment)
}
