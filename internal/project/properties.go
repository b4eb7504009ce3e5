package project

import (
	"strconv"
	"strings"

	"github.com/octavo/octavo/internal/resource"
)

// Names of properties the server itself acts on (deployments.md 0.2-0.4).
const (
	PropRoles          = "Octopus.Action.TargetRoles"
	PropWindow         = "Octopus.Action.MaxParallelism"
	PropStepExpression = "Octopus.Step.ConditionVariableExpression"

	PropRunOnServer      = "Octopus.Action.RunOnServer"
	PropActionExpression = "Octopus.Action.ConditionVariableExpression"
	PropFeatures         = "Octopus.Action.EnabledFeatures"
	PropRetries          = "Octopus.Action.AutoRetry.MaximumCount"
	PropBackoff          = "Octopus.Action.AutoRetry.MinimumBackoff"
	PropTimeout          = "Octopus.Action.ExecutionTimeout.Minutes"

	PropScriptSource = "Octopus.Action.Script.ScriptSource"
	PropSyntax       = "Octopus.Action.Script.Syntax"
	PropScriptBody   = "Octopus.Action.Script.ScriptBody"
	PropScriptFile   = "Octopus.Action.Script.ScriptFileName"
	PropScriptParams = "Octopus.Action.Script.ScriptParameters"

	PropPackageId     = "Octopus.Action.Package.PackageId"
	PropPackageFeedId = "Octopus.Action.Package.FeedId"
	PropDownloadThere = "Octopus.Action.Package.DownloadOnTentacle"

	PropInstructions = "Octopus.Action.Manual.Instructions"
	PropTeams        = "Octopus.Action.Manual.ResponsibleTeamIds"
	PropBlock        = "Octopus.Action.Manual.BlockConcurrentDeployments"

	// PropSafeToRepeat is ours: True says that the action may run twice, so that an attempt whose fate nobody can know
	// is followed by another one instead of a question (deployments.md W7).
	PropSafeToRepeat = "Octavo.Action.SafeToRepeat"
)

// Action types the server itself acts on (deployments.md 0.4).
const (
	TypeScript        = "Octopus.Script"
	TypePackage       = "Octopus.TentaclePackage"
	TypeManual        = "Octopus.Manual"
	TypeEmail         = "Octopus.Email"
	TypeHealthCheck   = "Octopus.HealthCheck"
	TypeDeployRelease = "Octopus.DeployRelease"
	TypeTransfer      = "Octopus.TransferPackage"
)

// RunsInServer tells whether actions of a type always run inside the server (deployments.md T1).
func RunsInServer(actionType string) bool {
	switch actionType {
	case TypeManual, TypeEmail, TypeHealthCheck, TypeDeployRelease:
		return true
	}
	return false
}

// Flag reads a boolean property. They are written True and False and read ignoring case; absent is false.
func Flag(p resource.Properties, name string) bool {
	return strings.EqualFold(strings.TrimSpace(p.Get(name)), "True")
}

// List reads a comma separated property.
func List(p resource.Properties, name string) []string { return SplitList(p.Get(name)) }

// SplitList takes a comma separated text apart; empty parts do not count.
func SplitList(text string) []string {
	var out []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// Number reads a whole number from 0; absent and empty are absent (ok false, no error in text).
func Number(text string) (n int, ok bool) {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	return n, err == nil && n >= 0
}

// Roles are the target tags of a step; none makes it a run-once step.
func (s *Step) Roles() []string { return List(s.Properties, PropRoles) }

// RunOnServer tells whether an action runs on a worker. Absent, the step's tags decide (deployments.md T1).
func (a *Action) RunOnServer(tagged bool) bool {
	if strings.TrimSpace(a.Properties.Get(PropRunOnServer)) == "" {
		return !tagged
	}
	return Flag(a.Properties, PropRunOnServer)
}

// Required tells whether a caller may not skip the action (deployments.md T10).
func (a *Action) Required() bool {
	return a.IsRequired || a.ActionType == TypeManual && len(List(a.Properties, PropTeams)) > 0
}

// References are the packages an action names. Old documents name the primary one only in properties;
// where both are there the entry wins (deployments.md 0.4).
func (a *Action) References() []PackageReference {
	out := a.Packages
	for i := range out {
		if out[i].Name == "" {
			return out
		}
	}
	id := a.Properties.Get(PropPackageId)
	if id == "" || a.ActionType == TypeDeployRelease {
		return out
	}
	location := AcquireOnServer
	if Flag(a.Properties, PropDownloadThere) {
		location = AcquireOnTarget
	}
	primary := PackageReference{PackageId: id, FeedId: a.Properties.Get(PropPackageFeedId), AcquisitionLocation: location}
	return append([]PackageReference{primary}, out...)
}
