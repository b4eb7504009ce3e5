package variable

// Names of variables that several packages agree on (variables.md 4.1, 4.2, 4.3).
const (
	NameActionID        = "Octopus.Action.Id"
	NameActionName      = "Octopus.Action.Name"
	NameActionNumber    = "Octopus.Action.Number"
	NameActionRoles     = "Octopus.Action.TargetRoles"
	NameStepID          = "Octopus.Step.Id"
	NameStepName        = "Octopus.Step.Name"
	NameStepNumber      = "Octopus.Step.Number"
	NameEnvironmentID   = "Octopus.Environment.Id"
	NameEnvironmentName = "Octopus.Environment.Name"
	NameMachineID       = "Octopus.Machine.Id"
	NameMachineName     = "Octopus.Machine.Name"
	NameMachineRoles    = "Octopus.Machine.Roles"
	NameMachineHostname = "Octopus.Machine.Hostname"
	NameProjectID       = "Octopus.Project.Id"
	NameProjectName     = "Octopus.Project.Name"
	NameSpaceID         = "Octopus.Space.Id"
	NameSpaceName       = "Octopus.Space.Name"
	NameTaskID          = "Octopus.Task.Id"
	NameTaskName        = "Octopus.Task.Name"
	NameReleaseID       = "Octopus.Release.Id"
	NameReleaseNumber   = "Octopus.Release.Number"
	NameDeploymentID    = "Octopus.Deployment.Id"
	NameDeploymentName  = "Octopus.Deployment.Name"
	NameTenantID        = "Octopus.Deployment.Tenant.Id"
	NameTenantName      = "Octopus.Deployment.Tenant.Name"
	NameTenantTags      = "Octopus.Deployment.Tenant.Tags"
	NameError           = "Octopus.Deployment.Error"
	NameErrorDetail     = "Octopus.Deployment.ErrorDetail"

	NameScriptBody   = "Octopus.Action.Script.ScriptBody"
	NameScriptSyntax = "Octopus.Action.Script.Syntax"
	NameScriptSource = "Octopus.Action.Script.ScriptSource"
	NameScriptFile   = "Octopus.Action.Script.ScriptFileName"
	NameScriptArgs   = "Octopus.Action.Script.ScriptParameters"

	NamePackageID           = "Octopus.Action.Package.PackageId"
	NamePackageVersion      = "Octopus.Action.Package.PackageVersion"
	NamePackageFeed         = "Octopus.Action.Package.FeedId"
	NamePackageInstalledDir = "Octopus.Action.Package.InstallationDirectoryPath"
	NamePackageCustomDir    = "Octopus.Action.Package.CustomInstallationDirectory"
	NamePackagePurgeCustom  = "Octopus.Action.Package.CustomInstallationDirectoryShouldBePurgedBeforeDeployment"
	NameEnabledFeatures     = "Octopus.Action.EnabledFeatures"

	NameMaxParallelism          = "Octopus.Action.MaxParallelism"
	NamePrintVariables          = "OctopusPrintVariables"
	NamePrintEvaluated          = "OctopusPrintEvaluatedVariables"
	NameFailOnSubstitutionError = "OctopusShouldFailDeploymentOnSubstitutionFails"
	NameBypassMutex             = "OctopusBypassDeploymentMutex"
	NameConcurrencyTag          = "Octopus.Task.ConcurrencyTag"
	NameSkipRemaining           = "Octopus.Action.SkipRemainingConventions"
	NameFailOnErrorOutput       = "Octopus.Action.FailScriptOnErrorOutput"
	NameSubstituteTargets       = "Octopus.Action.SubstituteInFiles.TargetFiles"
	NameSubstituteEncoding      = "Octopus.Action.SubstituteInFiles.OutputEncoding"
	NameStructuredTargets       = "Octopus.Action.Package.JsonConfigurationVariablesTargets"
)

// ActionName is the name of an action's variable as other steps see it: Octopus.Action[name].suffix (variables.md 4.1).
func ActionName(action, suffix string) string { return "Octopus.Action[" + action + "]." + suffix }

// StepName is the same for a step, as in Octopus.Step[name].Status.Code.
func StepName(step, suffix string) string { return "Octopus.Step[" + step + "]." + suffix }

// PackageName is the same for a referenced package of the running action.
func PackageName(reference, suffix string) string {
	return "Octopus.Action.Package[" + reference + "]." + suffix
}
