package deployment

import (
	"reflect"

	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/release"
	"github.com/octavo/octavo/internal/resource"
)

//go:generate go test . -run TestCompatibilityDoc -update

func acts(name, says, test string) Member {
	return Member{Name: name, Effect: Acts, Says: says, Test: test}
}

func shown(name, says string) Member { return Member{Name: name, Effect: ShownOnly, Says: says} }

func stored(name, says string, defaults ...string) Member {
	return Member{Name: name, Effect: StoredOnly, Says: says, Default: defaults}
}

// Sentences that several rows share.
const (
	noTenants    = "Deployments for tenants are not made by this version."
	noGit        = "Nothing is kept in or read from Git by this version."
	noContainers = "Scripts run on the machine itself."
	noSteps      = "Steps of this type fail with a message that says so."
	noFreezes    = "Freezes are not made by this version."
	fixedTimes   = "Connecting and trying again follow fixed times."
	noUpgrades   = "Nothing is upgraded by itself."
	onlyTentacle = "Only listening and polling agents are reached."
	tool         = "The target-side tool follows it."
)

// Compatibility has a part for each struct that a process, lifecycle, project, machine, release or deployment is made of,
// and for the names that deployments.md 0.2-0.6 gives properties, features and variables.
var Compatibility = []*Part{
	{"Every resource", reflect.TypeFor[resource.Meta](), []Member{
		acts("Id", "Everything is found by it.", "api.TestTheMainJob"),
		acts("SpaceId", "A space sees its own things only.", "api.TestSpaces"),
		shown("Links", "Made anew for each answer."),
	}},
	{"Process", reflect.TypeFor[project.Process](), []Member{
		shown("ProjectId", "Whose process it is."),
		stored("RunbookId", "There are no runbooks in this version."),
		acts("Version", "A save over a newer version is refused.", "api.TestStaleVersionIsRefused"),
		shown("LastSnapshotId", "The newest frozen copy."),
		acts("Steps", "They are carried out in order.", "deployment.TestVectors"),
	}},
	{"Step", reflect.TypeFor[project.Step](), []Member{
		acts("Id", "Variables may be scoped to it.", "variable.TestScopeVectors"),
		acts("Name", "Its status is known to later steps by it.", "engine.TestVariablesReachScripts"),
		shown("Slug", "A name for addresses."),
		acts("Condition", "Success, Failure, Always, Variable (C1-C4).", "deployment.TestVectors"),
		acts("StartTrigger", "With the step before, or after it (P1-P3).", "deployment.TestVectors"),
		acts("PackageRequirement", "Before or after packages are acquired (A1, A2).", "deployment.TestPackageRequirement"),
		acts("Properties", "See step properties.", "deployment.TestVectors"),
		acts("Actions", "They are carried out in order on each target.", "deployment.TestVectors"),
	}},
	{"Action", reflect.TypeFor[project.Action](), []Member{
		acts("Id", "It is skipped, and variables are scoped, by it.", "deployment.TestVectors"),
		acts("Name", "Output variables and package versions are found by it.", "engine.TestVariablesReachScripts"),
		acts("Slug", "Steps may be skipped by it.", "api.TestDeploymentFollowsItsRequest"),
		acts("ActionType", "Octopus.Script, Octopus.TentaclePackage, Octopus.TransferPackage and Octopus.Manual are carried out; steps of other types fail with a message that says so.", "engine.TestVariablesReachScripts"),
		acts("Properties", "See action properties.", "deployment.TestVectors"),
		acts("Packages", "Their versions are chosen, and they are brought to where they are needed.", "engine.TestPackages"),
		stored("GitDependencies", noGit),
		stored("Container", noContainers),
		acts("WorkerPoolId", "The pool a worker is taken from (W1).", "engine.TestWorkers"),
		acts("WorkerPoolVariable", "The variable that names the pool (W1).", "engine.TestWorkers"),
		acts("Environments", "It runs in these only (T8).", "deployment.TestActionsApply"),
		acts("ExcludedEnvironments", "It does not run in these (T8).", "deployment.TestActionsApply"),
		acts("Channels", "It runs in these only, and only there its packages need a version (T8, V7).", "deployment.TestActionsApply"),
		acts("TenantTags", "An action with tags does not run without a tenant (T8).", "deployment.TestActionsApply"),
		acts("IsDisabled", "It does not run (T8).", "deployment.TestActionsApply"),
		acts("IsRequired", "Nobody may skip it (T10).", "deployment.TestVectors"),
		shown("CanBeUsedForProjectVersioning", "Whether a portal offers its packages as donors of versions."),
		acts("Condition", "Success or Variable within its step (C5).", "deployment.TestVectors"),
		shown("Notes", "A text for people."),
		stored("StepPackageVersion", "Step packages are not loaded."),
	}},
	{"Package reference", reflect.TypeFor[project.PackageReference](), []Member{
		shown("Id", "Given when the process is saved."),
		acts("Name", "Versions and files are found by it; none is the primary package.", "engine.TestPackages"),
		acts("PackageId", "Which package.", "engine.TestPackages"),
		acts("FeedId", "The built-in feed; packages of other feeds are refused.", "api.TestTheMainJob"),
		acts("AcquisitionLocation", "NotAcquired brings nothing. ExecutionTarget brings built-in packages as Server does: all come through us.", "deployment.TestNotAcquired"),
		acts("Properties", "Extract; the others are variables to the step. SelectionMode and PackageParameterName belong to step templates, which there are none of.", "engine.TestPackages"),
		acts("Version", "It is taken whatever the feed has (V7).", "release.TestSelect"),
	}},
	stepProperties, actionProperties, features, steering,
	{"Space", nil, []Member{
		acts("TaskQueueStopped", "Queued tasks of the space do not start; those that have begun go on. It has to be set before a space is deleted.", "api.TestStoppedSpace"),
	}},
	{"Lifecycle", reflect.TypeFor[environment.Lifecycle](), []Member{
		acts("Name", "Refusals name it.", "api.TestLifecycleMembers"),
		shown("Slug", "A name for addresses."),
		shown("Description", "A text for people."),
		acts("Phases", "A release cannot skip one (L1-L3).", "environment.TestPhases"),
		acts("ReleaseRetentionPolicy", "Retention deletes releases by it, about every four hours (K1-K14).", "engine.TestRetentionDoesTheDocumentedExample"),
		acts("TentacleRetentionPolicy", "Old installations are removed from targets (K20-K25).", "api.TestLifecycleMembers"),
	}},
	{"Phase", reflect.TypeFor[environment.Phase](), []Member{
		shown("Id", "Given when the lifecycle is saved."),
		acts("Name", "Refusals name it.", "api.TestLifecycleMembers"),
		acts("AutomaticDeploymentTargets", "A release goes there by itself (L7).", "api.TestLifecycleStartsDeploymentsByItself"),
		acts("OptionalDeploymentTargets", "A release may go there (L1).", "environment.TestPhases"),
		acts("MinimumEnvironmentsBeforePromotion", "So many successes open the next phase (L3).", "api.TestLifecycleMembers"),
		acts("IsOptionalPhase", "It may be left out (L5).", "api.TestLifecycleMembers"),
		acts("IsPriorityPhase", "Deployments into it go before others (L12).", "api.TestLifecycleMembers"),
		acts("ReleaseRetentionPolicy", "It comes before the lifecycle's (K8).", "deployment.TestVectors"),
		acts("TentacleRetentionPolicy", "It comes before the lifecycle's (K8).", "api.TestLifecycleMembers"),
	}},
	{"Retention policy", reflect.TypeFor[environment.RetentionPolicy](), []Member{
		acts("Strategy", "Default, Forever or Count (K8).", "environment.TestRetention"),
		acts("Unit", "Days or Items.", "convention.TestVectors"),
		acts("QuantityToKeep", "How many.", "convention.TestVectors"),
		acts("ShouldKeepForever", "Nothing is removed.", "environment.TestRetention"),
	}},
	{"Project", reflect.TypeFor[project.Project](), []Member{
		acts("Name", "It is found by it, and a variable.", "api.TestTheMainJob"),
		acts("Slug", "It is found by it.", "api.TestTheMainJob"),
		shown("Description", "A text for people."),
		acts("ProjectGroupId", "Its group is a variable.", "engine.TestVariablesReachScripts"),
		acts("LifecycleId", "Where its releases go, and in which order.", "api.TestTheMainJob"),
		shown("VariableSetId", "Its variables."),
		shown("DeploymentProcessId", "Its process."),
		acts("IsDisabled", "Nothing of it is released or deployed (X1).", "api.TestProjectMembers"),
		stored("AutoCreateRelease", "A pushed package makes no release."),
		acts("DiscreteChannelRelease", "Retention judges each channel for itself (K9).", "deployment.TestRetentionOfDiscreteChannels"),
		acts("TenantedDeploymentMode", "A Tenanted project is not deployed without a tenant. "+noTenants, "api.TestProjectMembers"),
		acts("DefaultGuidedFailureMode", "Whether a person is asked when a step fails (I1).", "api.TestGuidedFailureIsDecided"),
		acts("DefaultToSkipIfAlreadyInstalled", "A package that is installed is not installed again (G1).", "engine.TestPackages"),
		acts("ProjectConnectivityPolicy", "See connectivity policy; the settings show the same.", "deployment.TestVectors"),
		acts("VersioningStrategy", "The next version (V2, V4).", "api.TestProjectMembers"),
		stored("ReleaseCreationStrategy", "A pushed package makes no release."),
		stored("AutoDeployReleaseOverrides", "There are no triggers in this version."),
		stored("IncludedLibraryVariableSetIds", "There are no library variable sets in this version."),
		stored("Templates", noTenants),
		acts("PersistenceSettings", "Anything but Database is refused.", "api.TestProjectMembers"),
		shown("IsVersionControlled", "Always false."),
		stored("ReleaseNotesTemplate", "Release notes are taken as they are given."),
		stored("DeploymentChangesTemplate", "Deployments list no changes."),
		shown("ClonedFromProjectId", "What it was made from."),
		acts("AllowIgnoreChannelRules", "Without it, IgnoreChannelRules is refused (V12).", "api.TestChannelMembers"),
		shown("ProjectTags", "For people who look for it."),
		acts("NodeLabels", "Ours: its tasks run on nodes that have all of these labels.", "api.TestNodeLabelsRow35"),
		stored("ExtensionSettings", "There are no extensions."),
	}},
	{"Persistence settings", reflect.TypeFor[project.PersistenceSettings](), []Member{
		acts("Type", "Anything but Database is refused.", "api.TestProjectMembers"),
		stored("Url", noGit),
		stored("DefaultBranch", noGit),
		stored("BasePath", noGit),
		stored("ProtectedDefaultBranch", noGit),
		stored("ProtectedBranchNamePatterns", noGit),
	}},
	{"Deployment settings", reflect.TypeFor[project.DeploymentSettings](), []Member{
		shown("ProjectId", "Whose they are."),
		acts("ConnectivityPolicy", "See connectivity policy; the project shows the same.", "api.TestSettingsShowOnProjectAndSettings"),
		acts("DefaultGuidedFailureMode", "Whether a person is asked when a step fails (I1).", "api.TestGuidedFailureIsDecided"),
		acts("VersioningStrategy", "The project's.", "api.TestProjectMembers"),
		stored("ReleaseNotesTemplate", "Release notes are taken as they are given."),
		stored("DeploymentChangesTemplate", "Deployments list no changes."),
		acts("DefaultToSkipIfAlreadyInstalled", "The project's.", "engine.TestPackages"),
		acts("ForcePackageDownload", "Packages are brought again even where they are.", "api.TestProjectMembers"),
		acts("CancelQueuedTasks", "A new full deployment cancels queued ones of its project, environment and tenant.", "api.TestSuperseding"),
		acts("CancelRunningTasks", "A full deployment that succeeds cancels older ones that wait for a person.", "api.TestSuperseding"),
	}},
	{"Connectivity policy of a project", reflect.TypeFor[project.ConnectivityPolicy](), []Member{
		acts("SkipMachineBehavior", "Targets that cannot be reached leave the deployment (T7).", "deployment.TestVectors"),
		acts("TargetRoles", "Only targets with one of these tags do (T7).", "deployment.TestVectors"),
		acts("AllowDeploymentsToNoTargets", "Steps without targets are skipped and not refused (T11).", "deployment.TestVectors"),
		acts("ExcludeUnhealthyTargets", "Unhealthy targets take no part (T6).", "machine.TestCandidates"),
	}},
	{"Versioning strategy", reflect.TypeFor[project.VersioningStrategy](), []Member{
		acts("Template", "The next version is made from it (V2).", "api.TestTheMainJob"),
		acts("DonorPackage", "The version is this package's (V4).", "api.TestProjectMembers"),
		stored("DonorPackageStepId", "The step is found by the name in DonorPackage."),
	}},
	{"Package of an action", reflect.TypeFor[project.ActionPackage](), []Member{
		acts("DeploymentAction", "The action, by its name.", "api.TestProjectMembers"),
		acts("PackageReference", "The reference; none is the primary one.", "api.TestProjectMembers"),
	}},
	{"Channel", reflect.TypeFor[project.Channel](), []Member{
		acts("Name", "It is chosen by it, and a variable.", "api.TestChannelMembers"),
		shown("ProjectId", "Whose it is."),
		acts("LifecycleId", "It comes before the project's.", "api.TestChannelMembers"),
		acts("IsDefault", "It is taken when nothing else is said (V13).", "release.TestChooseChannel"),
		shown("Description", "A text for people."),
		stored("Type", "There are no ephemeral environments.", "Lifecycle"),
		acts("Rules", "They bound the versions of packages (V9).", "api.TestChannelMembers"),
		stored("GitReferenceRules", noGit),
		stored("GitResourceRules", noGit),
		stored("TenantTags", noTenants),
		stored("CustomFieldDefinitions", "A release may carry any custom fields."),
	}},
	{"Channel rule", reflect.TypeFor[project.ChannelRule](), []Member{
		shown("Id", "Given when the channel is saved."),
		acts("VersionRange", "NuGet or Maven notation (V9).", "release.TestRules"),
		acts("Tag", "A pattern for what follows the numbers (V10).", "release.TestRules"),
		acts("ActionPackages", "What it binds.", "api.TestChannelMembers"),
		acts("VersioningStrategy", "The highest, or the newest (V9).", "release.TestPick"),
		acts("VersionTagRegex", "A pattern for whole versions (V9).", "release.TestPick"),
	}},
	{"Machine", reflect.TypeFor[machine.Machine](), []Member{
		acts("Name", "Targets go in its order, and a variable (P7).", "machine.TestCandidates"),
		shown("Slug", "A name for addresses."),
		acts("Endpoint", "How it is reached.", "engine.TestVariablesReachScripts"),
		acts("Thumbprint", "The endpoint's; older clients write it here.", "api.TestMachines"),
		acts("Uri", "The endpoint's; older clients write it here.", "api.TestMachineMembers"),
		acts("EnvironmentIds", "Where it takes part (T2).", "machine.TestCandidates"),
		acts("Roles", "In which steps it takes part (T5).", "deployment.TestVectors"),
		stored("TenantIds", noTenants),
		stored("TenantTags", noTenants),
		acts("TenantedDeploymentParticipation", "A Tenanted target takes no part without a tenant (N3).", "machine.TestTakesPart"),
		acts("MachinePolicyId", "How its health is checked.", "engine.TestHealth"),
		acts("IsDisabled", "It takes no part and is not checked (T3).", "machine.TestCandidates"),
	}},
	{"Health of a machine", reflect.TypeFor[machine.Health](), []Member{
		acts("HealthStatus", "Connectivity policies look at it (T6, T7).", "engine.TestHealth"),
		shown("Status", "What older clients read."),
		shown("StatusSummary", "What the last check found."),
		shown("IsInProcess", "Always false."),
		shown("HasLatestCalamari", "Always false: there is no Calamari."),
		shown("OperatingSystem", "What the last check found."),
		shown("ShellName", "What the last check found."),
		shown("ShellVersion", "What the last check found."),
		shown("Architecture", "What the last check found."),
	}},
	{"Endpoint", reflect.TypeFor[machine.Endpoint](), []Member{
		acts("CommunicationStyle", "TentaclePassive and TentacleActive are reached; steps on others fail.", "test/cluster.TestTheServerDiesAtEveryPoint"),
		acts("Uri", "Where the agent listens, or its subscription.", "engine.TestVariablesReachScripts"),
		acts("Thumbprint", "The only certificate that is let in.", "halibut.TestUntrustedPeersGetNothing"),
		shown("CertificateSignatureAlgorithm", "What the agent said."),
		stored("ProxyId", "Agents are dialled directly."),
		shown("TentacleVersionDetails", "What the agent said."),
		stored("TentacleEndpointConfiguration", onlyTentacle),
		stored("KubernetesAgentDetails", onlyTentacle),
		stored("AccountId", onlyTentacle),
		stored("Host", onlyTentacle),
		stored("Port", onlyTentacle),
		stored("Fingerprint", onlyTentacle),
		stored("HostKeyAlgorithm", onlyTentacle),
		stored("DotNetCorePlatform", onlyTentacle),
		stored("DefaultWorkerPoolId", "Steps take the pool from the action, else the default one."),
		stored("WorkerPoolId", "Steps take the pool from the action, else the default one."),
	}},
	{"Machine policy", reflect.TypeFor[machine.Policy](), []Member{
		shown("Name", "For people."),
		shown("Description", "A text for people."),
		acts("IsDefault", "New machines get it.", "api.TestMachines"),
		stored("ConnectionConnectTimeout", fixedTimes, "00:01:00"),
		stored("ConnectionRetryCountLimit", fixedTimes, "5"),
		stored("ConnectionRetrySleepInterval", fixedTimes, "00:00:01"),
		stored("ConnectionRetryTimeLimit", fixedTimes, "00:05:00"),
		stored("PollingRequestQueueTimeout", fixedTimes, "00:02:00"),
		stored("PollingRequestMaximumMessageProcessingTimeout", fixedTimes, "00:10:00"),
		acts("MachineHealthCheckPolicy", "See health check policy.", "engine.TestHealth"),
		acts("MachineConnectivityPolicy", "See connectivity policy of a machine.", "engine.TestHealth"),
		acts("MachineCleanupPolicy", "See clean-up policy.", "engine.TestHealthEventsAndGoneMachines"),
		stored("MachineUpdatePolicy", noUpgrades, "{UpdateOnDeployment NeverUpdate }"),
		stored("MachineRpcCallRetryPolicy", fixedTimes, "{true 00:02:30 00:02:30}", "{false 00:02:30 00:02:30}"),
		stored("MachinePackageCacheRetentionPolicy", "Caches are trimmed by free disk space only."),
	}},
	{"Health check policy", reflect.TypeFor[machine.HealthCheckPolicy](), []Member{
		acts("HealthCheckType", "With a script, or whether it answers.", "engine.TestHealth"),
		acts("HealthCheckInterval", "Once per interval, whoever leads; left out without a cron schedule: never (M1).", "engine.TestHealthChecksStartOncePerIntervalRow19Row20"),
		acts("HealthCheckCron", "Six fields, seconds first; where there is no interval (M1).", "engine.TestNextCheck"),
		acts("HealthCheckCronTimezone", "As in Europe/Berlin; none is UTC.", "engine.TestNextCheck"),
		stored("PowerShellHealthCheckPolicy", "Scripts are Bash.", "{InheritFromDefault }"),
		acts("BashHealthCheckPolicy", "See health check script.", "engine.TestHealth"),
	}},
	{"Health check script", reflect.TypeFor[machine.ScriptPolicy](), []Member{
		acts("RunType", "Inline runs ScriptBody behind our own questions; anything else only those.", "engine.TestHealth"),
		acts("ScriptBody", "The script.", "engine.TestHealth"),
	}},
	{"Clean-up policy", reflect.TypeFor[machine.CleanupPolicy](), []Member{
		acts("DeleteMachinesBehavior", "DeleteUnavailableMachines: a health check deletes machines that were unavailable without a break for that long (M2).", "engine.TestHealthEventsAndGoneMachines"),
		acts("DeleteMachinesElapsedTimeSpan", "For how long; 00:00:00 deletes none.", "engine.TestHealthEventsAndGoneMachines"),
	}},
	{"Connectivity policy of a machine", reflect.TypeFor[machine.ConnectivityPolicy](), []Member{
		acts("MachineConnectivityBehavior", "Whether an unreachable machine fails the check (H3).", "engine.TestHealth"),
	}},
	{"Release", reflect.TypeFor[release.Release](), []Member{
		acts("Version", "Unique in its project, and a variable (V5, V6).", "api.TestTheMainJob"),
		shown("ProjectId", "Whose it is."),
		acts("ChannelId", "Its rules, its lifecycle, its variables.", "api.TestChannelMembers"),
		acts("ReleaseNotes", "A variable.", "engine.TestVariablesReachScripts"),
		acts("Assembled", "A variable; the newest release is the last version.", "engine.TestVariablesReachScripts"),
		acts("IgnoreChannelRules", "Versions that break a rule are taken (V12).", "api.TestChannelMembers"),
		acts("SelectedPackages", "The versions that are deployed.", "engine.TestPackages"),
		stored("SelectedGitResources", noGit),
		stored("BuildInformation", "There is no build information in this version."),
		acts("ProjectVariableSetSnapshotId", "The variables as they were.", "api.TestTheMainJob"),
		acts("ProjectDeploymentProcessSnapshotId", "The process as it was.", "api.TestTheMainJob"),
		stored("LibraryVariableSetSnapshotIds", "There are no library variable sets in this version."),
		acts("CustomFields", "Variables; ten at most (V1).", "engine.TestVariablesReachScripts"),
		stored("VersionControlReference", noGit),
	}},
	{"Selected package", reflect.TypeFor[release.SelectedPackage](), []Member{
		acts("ActionName", "Which action.", "engine.TestPackages"),
		shown("StepName", "The step of the action."),
		acts("PackageReferenceName", "Which reference of it.", "engine.TestPackages"),
		acts("Version", "The version that is deployed.", "engine.TestPackages"),
	}},
	{"Deployment", reflect.TypeFor[Deployment](), []Member{
		acts("ReleaseId", "What is deployed.", "api.TestOlderReleaseAndDeployment"),
		shown("ChannelId", "The release's."),
		shown("DeploymentProcessId", "The release's frozen process."),
		acts("ForcePackageRedeployment", "A package is installed even where it is already (G1).", "engine.TestPackages"),
		stored("Changes", "Deployments list no changes."),
		stored("ChangesMarkdown", "Deployments list no changes."),
		acts("TentacleRetentionPeriod", "The phase's policy when the deployment was made (K8).", "api.TestLifecycleMembers"),
		acts("Priority", "On and Off beat the phase (L12).", "api.TestLifecycleMembers"),
	}},
	{"What a deployment was asked for", reflect.TypeFor[Request](), []Member{
		acts("ProjectId", "A variable; who waits for whom.", "engine.TestVariablesReachScripts"),
		acts("EnvironmentId", "Where it goes.", "api.TestTheMainJob"),
		acts("TenantId", "Refused. "+noTenants, "api.TestDeploymentFollowsItsRequest"),
		shown("TaskId", "The task that carries it out."),
		acts("Name", "A variable.", "engine.TestVariablesReachScripts"),
		acts("Created", "A variable.", "engine.TestVariablesReachScripts"),
		acts("DeployedBy", "A variable.", "engine.TestVariablesReachScripts"),
		acts("DeployedById", "A variable.", "engine.TestVariablesReachScripts"),
		acts("ManifestVariableSetId", "The release's variables when the deployment was made.", "engine.TestVariablesReachScripts"),
		acts("Comments", "A variable.", "engine.TestVariablesReachScripts"),
		acts("FormValues", "Answers to prompts (X5).", "engine.TestVariablesReachScripts"),
		acts("QueueTime", "Not before then (X8).", "api.TestDeploymentFollowsItsRequest"),
		acts("QueueTimeExpiry", "Not after then (X8).", "api.TestDeploymentFollowsItsRequest"),
		acts("SkipActions", "They do not run (T8, X6).", "deployment.TestVectors"),
		acts("SpecificMachineIds", "Only these targets (T4).", "deployment.TestVectors"),
		acts("ExcludedMachineIds", "Not these targets (T4).", "machine.TestCandidates"),
		acts("SpecificTargetTagIds", "Only targets with one of these tags (T4).", "machine.TestCandidates"),
		acts("ExcludedTargetTagIds", "No targets with one of these tags (T4).", "machine.TestCandidates"),
		shown("DeployedToMachineIds", "Who really ran an action (T12)."),
		acts("ForcePackageDownload", "Packages are brought again even where they are (A5).", "engine.TestPackages"),
		acts("UseGuidedFailure", "When a step fails, a person says what to do: Fail, Retry, Ignore or Exclude (I3-I9).", "engine.TestGuidedFailure"),
		shown("FailureEncountered", "Whether it failed."),
		stored("DebugMode", "Set OctopusPrintVariables to see variables."),
		stored("DeploymentFreezeNames", noFreezes),
		stored("DeploymentFreezeOverrideReason", noFreezes),
	}},
}

// stepProperties are deployments.md 0.2.
var stepProperties = &Part{"Step properties", nil, []Member{
	acts("Octopus.Action.TargetRoles", "On which targets (T5).", "deployment.TestVectors"),
	acts("Octopus.Action.MaxParallelism", "The rolling window (P9, P10).", "deployment.TestVectors"),
	acts("Octopus.Step.ConditionVariableExpression", "Of Condition Variable (C2-C4).", "deployment.TestVectors"),
}}

// actionProperties are deployments.md 0.3 and 0.4.
var actionProperties = &Part{"Action properties", nil, []Member{
	acts("Octopus.Action.RunOnServer", "On a worker, or on the target (T1).", "engine.TestWorkers"),
	acts("Octopus.Action.ConditionVariableExpression", "Of a child with Condition Variable (C5).", "deployment.TestVectors"),
	acts("Octopus.Action.EnabledFeatures", "See features.", "convention.TestSubstituteAndStructured"),
	acts("Octopus.Action.AutoRetry.MaximumCount", "It is tried again on that target (R1).", "engine.TestRetries"),
	acts("Octopus.Action.AutoRetry.MinimumBackoff", "Not before so many seconds (R1).", "engine.TestRetries"),
	acts("Octopus.Action.ExecutionTimeout.Minutes", "The script is stopped, and the attempt has failed (R4).", "engine.TestTimeLimit"),
	stored("Octopus.Action.Template.*", "There are no step templates: the action runs as it was saved."),
	stored("OctopusUseBundledTooling", "There are no cloud tools."),
	acts("Octopus.Action.Script.ScriptSource", "Inline or Package; GitRepository fails.", "engine.TestPackages"),
	acts("Octopus.Action.Script.Syntax", "Bash and Python; others fail with a message that says so.", "convention.TestLanguages"),
	acts("Octopus.Action.Script.ScriptBody", "The script.", "engine.TestVariablesReachScripts"),
	acts("Octopus.Action.Script.ScriptFileName", "The script within the package.", "engine.TestPackages"),
	acts("Octopus.Action.Script.ScriptParameters", "Its arguments.", "engine.TestPackages"),
	acts("Octopus.Action.Package.PackageId", "The primary package, where Packages has none.", "project.TestReferences"),
	acts("Octopus.Action.Package.FeedId", "Its feed.", "project.TestReferences"),
	acts("Octopus.Action.Package.DownloadOnTentacle", "Its AcquisitionLocation.", "project.TestReferences"),
	acts("Octopus.Action.Package.CustomInstallationDirectory", "The package is copied there (G5).", "convention.TestCustomDirectory"),
	acts("Octopus.Action.Package.CustomInstallationDirectoryShouldBePurgedBeforeDeployment", "After the folder was emptied.", "convention.TestCustomDirectory"),
	acts("Octopus.Action.Package.CustomInstallationDirectoryPurgeExclusions", "But for these.", "convention.TestCustomDirectory"),
	acts("Octopus.Action.Package.TransferPath", "Where the package file is copied.", "convention.TestTransferPackage"),
	acts("Octopus.Action.CustomScripts.*", "Scripts written in the process (G2).", "convention.TestVectors"),
	acts("Octopus.Action.SubstituteInFiles.TargetFiles", "Variables are filled into these files.", "convention.TestSubstituteAndStructured"),
	acts("Octopus.Action.SubstituteInFiles.OutputEncoding", tool, "convention.TestSubstituteAndStructured"),
	acts("Octopus.Action.SubstituteInFiles.EnableNoMatchWarning", tool, "convention.TestSubstituteAndStructured"),
	acts("Octopus.Action.Package.AutomaticallyRunConfigurationTransformationFiles", tool, "convention.TestTransforms"),
	acts("Octopus.Action.Package.AdditionalXmlConfigurationTransforms", tool, "convention.TestTransforms"),
	acts("Octopus.Action.Package.AutomaticallyUpdateAppSettingsAndConnectionStrings", tool, "convention.TestConfigVariables"),
	acts("Octopus.Action.Package.JsonConfigurationVariablesTargets", tool, "convention.TestSubstituteAndStructured"),
	acts("Octopus.Action.Manual.Instructions", "What a person reads, filled in when the step is reached (I2).", "engine.TestManualStep"),
	acts("Octopus.Action.Manual.ResponsibleTeamIds", "Who may answer; with it the step cannot be skipped (I10, T10).", "api.TestWhoMayAnswer"),
	acts("Octopus.Action.Manual.BlockConcurrentDeployments", "While the step waits, other tasks of project, environment and tenant do not start (I12).", "engine.TestManualStep"),
	acts("Octavo.Action.SafeToRepeat", "Ours. True: when its server dies the script is repeated; otherwise a person is asked (W7).", "engine.TestInterruptedOnTheServer"),
	stored("Octopus.Action.Email.*", noSteps),
	stored("Octopus.Action.HealthCheck.*", noSteps),
	stored("Octopus.Action.DeployRelease.*", noSteps),
}}

// features are deployments.md 0.5; those without a row are stored only.
var features = &Part{"Features", nil, []Member{
	acts("Octopus.Features.CustomDirectory", tool, "convention.TestCustomDirectory"),
	acts("Octopus.Features.CustomScripts", tool, "convention.TestVectors"),
	acts("Octopus.Features.SubstituteInFiles", tool, "convention.TestSubstituteAndStructured"),
	acts("Octopus.Features.ConfigurationTransforms", tool, "convention.TestTransforms"),
	acts("Octopus.Features.ConfigurationVariables", tool, "convention.TestConfigVariables"),
	acts("Octopus.Features.JsonConfigurationVariables", tool, "convention.TestSubstituteAndStructured"),
	stored("Octopus.Features.*", "The step runs without it."),
}}

// steering are deployments.md 0.6.
var steering = &Part{"Variables that steer", nil, []Member{
	acts("Octopus.Action.MaxParallelism", "How many steps and targets at once (P10).", "deployment.TestVectors"),
	acts("Octopus.Acquire.MaxParallelism", "How many targets acquire at once.", "deployment.TestAcquireAtOnce"),
	acts("OctopusBypassDeploymentMutex", "More than one script at once on a target (P11).", "deployment.TestInvariants"),
	acts("Octopus.Task.ConcurrencyTag", "Deployments with the same tag exclude one another.", "api.TestConcurrencyTag"),
	acts("Octopus.UseGuidedFailure", "It comes before what the deployment, the project and the environment say (I1).", "api.TestGuidedFailureIsDecided"),
	acts("Octopus.Action.Package.SkipIfAlreadyInstalled", "What is installed is not installed again (G1).", "engine.TestPackages"),
	acts("Octopus.Action.Package.RunScripts", "False: the package's own scripts do not run.", "convention.TestSwitches"),
	acts("Octopus.Action.SkipRemainingConventions", "What follows is left out (G10).", "convention.TestVectors"),
	acts("Octopus.Action.SkipJournal", "The installation is not noted.", "convention.TestSwitches"),
	acts("Octopus.Action.FailScriptOnErrorOutput", "A script that writes errors has failed (E7).", "convention.TestErrorOutputCanFail"),
	acts("OctopusDeleteScriptsOnCleanup", "False: scripts of the package stay.", "convention.TestSwitches"),
	acts("OctopusSkipFreeDiskSpaceCheck", tool, "convention.TestDiskSpaceIsAskedFor"),
	acts("OctopusFreeDiskSpaceOverrideInMegaBytes", tool, "convention.TestDiskSpaceIsAskedFor"),
	acts("OctopusPrintVariables", "Variables are written to the log; not for inline Bash on an unmodified Tentacle.", "convention.TestSwitches"),
	acts("OctopusPrintEvaluatedVariables", "Filled-in variables are written to the log; not for inline Bash on an unmodified Tentacle.", "convention.TestSwitches"),
	acts("OctopusShouldFailDeploymentOnSubstitutionFails", "A variable that is missing in a file fails the step.", "convention.TestSubstituteAndStructured"),
	stored("Octopus.Deployment.WorkerLeaseCap", "A worker takes any number of scripts."),
}}
