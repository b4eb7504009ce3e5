package deployment

import (
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/release"
)

// References lists the package references a release of a channel needs versions for (deployments.md V7): those of every action
// that is not disabled and belongs to the channel ("" for a runbook: all do). fill fills in a feed or package id with what is known
// without environment and tenant; false says that this is not enough (IsResolvable).
func References(process project.Process, channel *project.Channel, fill func(text string) (string, bool)) ([]release.Reference, error) {
	rules, err := Rules(channel)
	if err != nil {
		return nil, err
	}
	var out []release.Reference
	for i := range process.Steps {
		step := &process.Steps[i]
		for j := range step.Actions {
			a := &step.Actions[j]
			if a.IsDisabled || channel != nil && len(a.Channels) > 0 && !slices.Contains(a.Channels, channel.Id) {
				continue
			}
			for _, ref := range a.References() {
				if ref.PackageId == "" {
					continue // a template's deferred entry that nobody filled
				}
				id, known := fill(ref.PackageId)
				feed, feedKnown := fill(ref.FeedId)
				rule, _ := rules.For(a.Name, ref.Name)
				out = append(out, release.Reference{
					ActionName: a.Name, StepName: step.Name, Name: ref.Name, PackageId: id, FeedId: feed,
					Fixed: ref.Version, Resolvable: known && feedKnown, Rule: rule,
				})
			}
		}
	}
	return out, nil
}

// ChannelRules are a channel's rules, compiled.
type ChannelRules struct {
	rules []release.Rule
	of    []project.ChannelRule
}

// Rules compiles a channel's rules; what cannot be is refused. No channel has none.
func Rules(channel *project.Channel) (ChannelRules, error) {
	var out ChannelRules
	if channel == nil {
		return out, nil
	}
	for _, r := range channel.Rules {
		rule, err := release.NewRule(r.VersionRange, r.Tag, r.VersioningStrategy, r.VersionTagRegex)
		if err != nil {
			return ChannelRules{}, err
		}
		out.rules = append(out.rules, rule)
	}
	out.of = channel.Rules
	return out, nil
}

// For finds the rule bound to a package: each package is in at most one (deployments.md V9).
func (c ChannelRules) For(action, reference string) (release.Rule, bool) {
	for i, r := range c.of {
		if slices.ContainsFunc(r.ActionPackages, func(p project.ActionPackage) bool {
			return strings.EqualFold(p.DeploymentAction, action) && strings.EqualFold(p.PackageReference, reference)
		}) {
			return c.rules[i], true
		}
	}
	return release.Rule{}, false
}

// GuidedFailureOn decides whether failures ask a person (deployments.md I1): the variable Octopus.UseGuidedFailure, else what the request
// says, else the project's or runbook's mode, else the environment.
func GuidedFailureOn(variable string, requested *bool, mode string, environment bool) bool {
	switch {
	case strings.EqualFold(strings.TrimSpace(variable), "True"):
		return true
	case strings.TrimSpace(variable) != "":
		return false
	case requested != nil:
		return *requested
	case mode == project.GuidedFailureOn:
		return true
	case mode == project.GuidedFailureOff:
		return false
	}
	return environment
}
