package deployment

import (
	"slices"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/project"
)

// CheckTenant refuses a tenant where the mode or the tenant's connections or tags do not allow it, and the lack of one
// where the mode needs one (deployments.md X2, N1, N2, N9). channelTags are nil for a runbook.
func CheckTenant(mode string, tenant *environment.Tenant, projectId, environmentId string, channelTags []string) error {
	switch {
	case tenant == nil && mode == project.Tenanted:
		return fault.InvalidField("TenantId", "This project is only deployed for tenants: name one.")
	case tenant == nil:
		return nil
	case mode == "" || mode == project.Untenanted:
		return fault.InvalidField("TenantId", "This project is not deployed for tenants; tenant %s was named.", tenant.Name)
	case tenant.IsDisabled:
		return fault.InvalidField("TenantId", "Tenant %s is disabled.", tenant.Name)
	case !tenant.ConnectedTo(projectId, environmentId):
		return fault.InvalidField("TenantId", "Tenant %s is not connected to this project in environment %s; connect it first.", tenant.Name, environmentId)
	case !tenant.HasTags(channelTags):
		return fault.InvalidField("TenantId", "Tenant %s does not carry the tags the release's channel asks for (%s).", tenant.Name, strings.Join(channelTags, ", "))
	}
	return nil
}

// CheckProgression refuses an environment the lifecycle does not allow yet (deployments.md X3).
func CheckProgression(p environment.Progression, environmentId, environmentName string) error {
	if slices.Contains(p.Allowed, environmentId) {
		return nil
	}
	missing := p.Missing(environmentId)
	if len(missing) == 0 {
		return fault.InvalidField("EnvironmentId", "Environment %s is in no phase of the release's lifecycle.", environmentName)
	}
	return fault.InvalidField("EnvironmentId", "The release cannot be deployed to %s yet: first complete %s.", environmentName, strings.Join(missing, ", "))
}

// maxAhead is how far ahead a deployment may be scheduled (deployments.md X8).
const maxAhead = 30 * 24 * time.Hour

// pastGrace forgives a client's clock that is a little behind.
const pastGrace = 5 * time.Minute

// CheckTimes refuses a queue time that is past or too far ahead, and an expiry that comes before it (deployments.md X8).
func (r *Request) CheckTimes(now time.Time) error {
	begin := now
	if r.QueueTime != nil && !r.QueueTime.IsZero() {
		begin = r.QueueTime.Time
		switch {
		case begin.Before(now.Add(-pastGrace)):
			return fault.InvalidField("QueueTime", "The start (QueueTime, or RunAt) is in the past; leave it out to deploy now.")
		case begin.After(now.Add(maxAhead)):
			return fault.InvalidField("QueueTime", "The start (QueueTime, or RunAt) is more than 30 days ahead; choose an earlier one.")
		}
	}
	if r.QueueTimeExpiry != nil && !r.QueueTimeExpiry.IsZero() && !r.QueueTimeExpiry.After(begin) {
		return fault.InvalidField("QueueTimeExpiry", "The latest start (QueueTimeExpiry, or NoRunAfter) must come after the start (QueueTime, or RunAt).")
	}
	return nil
}
