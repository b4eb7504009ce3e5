package project

import (
	"slices"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
)

// Validate refuses a project whose words nobody knows; everything that is wrong is said at once.
func (p *Project) Validate() error {
	var wrong fault.List
	named(&wrong, "A project", p.Name)
	oneOf(&wrong, p.Name, "TenantedDeploymentMode", p.TenantedDeploymentMode, Untenanted, Tenanted, TenantedOrUntenanted)
	oneOf(&wrong, p.Name, "DefaultGuidedFailureMode", p.DefaultGuidedFailureMode, GuidedFailureFromEnvironment, GuidedFailureOff, GuidedFailureOn)
	p.ProjectConnectivityPolicy.validate(&wrong, p.Name)
	p.VersioningStrategy.validate(&wrong)
	resource.CheckLabels(&wrong, "NodeLabels", p.NodeLabels)
	return wrong.Err()
}

// Validate refuses settings whose words nobody knows.
func (s *DeploymentSettings) Validate() error {
	var wrong fault.List
	oneOf(&wrong, "the settings", "DefaultGuidedFailureMode", s.DefaultGuidedFailureMode, GuidedFailureFromEnvironment, GuidedFailureOff, GuidedFailureOn)
	s.ConnectivityPolicy.validate(&wrong, "the settings")
	s.VersioningStrategy.validate(&wrong)
	return wrong.Err()
}

func named(wrong *fault.List, what, name string) {
	if strings.TrimSpace(name) == "" {
		wrong.Add("%s needs a Name.", what)
	}
}

func (c *ConnectivityPolicy) validate(wrong *fault.List, name string) {
	oneOf(wrong, name, "SkipMachineBehavior", c.SkipMachineBehavior, SkipNone, SkipUnavailable)
}

// validate holds V4: a donor package excludes a template.
func (v *VersioningStrategy) validate(wrong *fault.List) {
	if v.Template != "" && v.DonorPackage != nil && v.DonorPackage.DeploymentAction != "" {
		wrong.Add("VersioningStrategy has both a Template and a DonorPackage; a release takes its version from one of them.")
	}
}

// Validate refuses a channel that binds a package twice (deployments.md V9). That its ranges and patterns can be read is
// checked where they are compiled.
func (c *Channel) Validate() error {
	var wrong fault.List
	named(&wrong, "A channel", c.Name)
	seen := map[string]bool{}
	for _, r := range c.Rules {
		for _, p := range r.ActionPackages {
			key := strings.ToLower(p.DeploymentAction + "\x00" + p.PackageReference)
			if seen[key] {
				wrong.Add("Package %q of step %q is in two rules of channel %q; it may be in one.", p.PackageReference, p.DeploymentAction, c.Name)
			}
			seen[key] = true
		}
	}
	return wrong.Err()
}

// Validate refuses a runbook whose words nobody knows.
func (r *Runbook) Validate() error {
	var wrong fault.List
	named(&wrong, "A runbook", r.Name)
	oneOf(&wrong, r.Name, "MultiTenancyMode", r.MultiTenancyMode, Untenanted, Tenanted, TenantedOrUntenanted)
	oneOf(&wrong, r.Name, "EnvironmentScope", r.EnvironmentScope, ScopeAll, ScopeSpecified, ScopeFromProjectLifecycles)
	oneOf(&wrong, r.Name, "DefaultGuidedFailureMode", r.DefaultGuidedFailureMode, GuidedFailureFromEnvironment, GuidedFailureOff, GuidedFailureOn)
	r.ConnectivityPolicy.validate(&wrong, r.Name)
	resource.CheckLabels(&wrong, "NodeLabels", r.NodeLabels)
	return wrong.Err()
}

// RunsIn tells whether a runbook may run in an environment (deployments.md B4). lifecycles are the environments of any
// lifecycle of the project's channels.
func (r *Runbook) RunsIn(environment string, lifecycles []string) bool {
	switch r.EnvironmentScope {
	case ScopeSpecified:
		return slices.Contains(r.Environments, environment)
	case ScopeFromProjectLifecycles:
		return slices.Contains(lifecycles, environment)
	}
	return true
}

// Validate refuses a trigger whose schedule cannot be read (deployments.md S11).
func (t *Trigger) Validate() error {
	var wrong fault.List
	named(&wrong, "A trigger", t.Name)
	if t.Filter.FilterType == "CronExpressionSchedule" {
		if _, err := ParseCron(t.Filter.CronExpression); err != nil {
			wrong.Add("%v", err)
		}
	}
	if t.Filter.Timezone != "" {
		if _, err := time.LoadLocation(t.Filter.Timezone); err != nil {
			wrong.Add("Filter.Timezone %q is not a zone this server knows; write it like Europe/Berlin or UTC.", t.Filter.Timezone)
		}
	}
	return wrong.Err()
}
