package control

import (
	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/release"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/variable"
)

// The table of kinds (rest-api.md 4). Links are templates: {space} is "/api/Spaces-1", or "/api" for what is on the server;
// {Member} is that member's text. Everything else in braces is for the client to expand.
var (
	Spaces = &Kind{
		Kind: resource.Kind{
			Name: "Space", Path: "spaces", Prefix: "Spaces", Type: typeOf[Space](), Scope: resource.OnServer, HasSlug: true,
			Permissions: may(access.SpaceView, access.SpaceCreate, access.SpaceEdit, access.SpaceDelete),
			Defaults:    map[string]any{"Description": ""},
			Owned:       []string{"IsDefault"},
			Links: map[string]string{
				"Self": "/api/spaces/{Id}", "SpaceHome": "/api/{Id}", "Web": "/app#/spaces/{Id}", "SpaceSearch": "/api/spaces/{Id}/search{?keyword}", "Logo": "/api/spaces/{Id}/logo",
			},
		},
	}
	Environments = &Kind{
		Kind: resource.Kind{
			Name: "Environment", Path: "environments", Prefix: "Environments", Type: typeOf[environment.Environment](), HasSlug: true, SortBy: "SortOrder",
			Permissions: may(access.EnvironmentView, access.EnvironmentCreate, access.EnvironmentEdit, access.EnvironmentDelete),
			Links: map[string]string{
				"Self": "{space}/environments/{Id}", "Machines": "{space}/environments/{Id}/machines{?skip,take,partialName,roles,isDisabled,healthStatuses,commStyles,tenantIds,tenantTags,shellNames}",
				"SinglyScopedVariableDetails": "{space}/environments/{Id}/singlyScopedVariableDetails", "Metadata": "{space}/environments/{Id}/metadata",
			},
		},
	}
	ProjectGroups = &Kind{
		Kind: resource.Kind{
			Name: "ProjectGroup", Path: "projectgroups", Prefix: "ProjectGroups", Type: typeOf[project.ProjectGroup](), HasSlug: true,
			Permissions: may(access.ProjectGroupView, access.ProjectGroupCreate, access.ProjectGroupEdit, access.ProjectGroupDelete),
			Links:       map[string]string{"Self": "{space}/projectgroups/{Id}", "Projects": "{space}/projectgroups/{Id}/projects"},
		},
	}
	Lifecycles = &Kind{
		Kind: resource.Kind{
			Name: "Lifecycle", Path: "lifecycles", Prefix: "Lifecycles", Type: typeOf[environment.Lifecycle](), HasSlug: true,
			Permissions: may(access.LifecycleView, access.LifecycleCreate, access.LifecycleEdit, access.LifecycleDelete),
			References:  []resource.Reference{{Path: "Phases.AutomaticDeploymentTargets", Kind: "Environment"}, {Path: "Phases.OptionalDeploymentTargets", Kind: "Environment"}},
			Links:       map[string]string{"Self": "{space}/lifecycles/{Id}", "Preview": "{space}/lifecycles/{Id}/preview", "Projects": "{space}/lifecycles/{Id}/projects"},
		},
	}
	Projects = &Kind{
		Kind: resource.Kind{
			Name: "Project", Path: "projects", Prefix: "Projects", Type: typeOf[project.Project](), HasSlug: true,
			Permissions: may(access.ProjectView, access.ProjectCreate, access.ProjectEdit, access.ProjectDelete),
			Defaults: map[string]any{
				"TenantedDeploymentMode": project.Untenanted, "DefaultGuidedFailureMode": project.GuidedFailureFromEnvironment, "AllowIgnoreChannelRules": true,
			},
			Owned:      []string{"VariableSetId", "DeploymentProcessId", "ClonedFromProjectId", "IsVersionControlled"},
			References: []resource.Reference{{Path: "ProjectGroupId", Kind: "ProjectGroup"}, {Path: "LifecycleId", Kind: "Lifecycle"}},
			Lifted:     map[string]string{"clonedFromProjectId": "ClonedFromProjectId", "projectGroupId": "ProjectGroupId", "lifecycleId": "LifecycleId"},
			Links: map[string]string{
				"Self": "{space}/projects/{Id}", "Releases": "{space}/projects/{Id}/releases{/version}{?skip,take,searchByVersion}", "Channels": "{space}/projects/{Id}/channels{?skip,take,partialName}",
				"OrderChannels": "{space}/projects/{Id}/channels/order", "Triggers": "{space}/projects/{Id}/triggers{?skip,take,partialName,triggerActionType,triggerActionCategory}",
				"ScheduledTriggers": "{space}/projects/{Id}/triggers/scheduled{?skip,take}", "DeploymentProcess": "{space}/deploymentprocesses/{DeploymentProcessId}",
				"DeploymentSettings": "{space}/projects/{Id}/deploymentsettings", "Variables": "{space}/variables/{VariableSetId}", "Web": "/app#/projects/{Id}", "Logo": "{space}/projects/{Id}/logo",
				"Progression": "{space}/projects/{Id}/progression{?aggregate,releaseHistoryCount}", "RunbookTaskRunDashboardItemsTemplate": "{space}/progression/runbooks/taskRuns{?ids,environmentIds,tenantIds,skip,take}",
				"Runbooks": "{space}/projects/{Id}/runbooks{/id}{?skip,take,partialName}", "RunbookSnapshots": "{space}/projects/{Id}/runbookSnapshots{/name}{?skip,take,searchByName}",
				"Summary": "{space}/projects/{Id}/summary", "SensitiveVariables": "{space}/projects/{Id}/variables/sensitive", "ConvertToVcs": "{space}/projects/{Id}/git/convert", "Metadata": "{space}/projects/{Id}/metadata",
			},
		},
	}
	DeploymentSettings = &Kind{
		Kind: resource.Kind{
			Name: "DeploymentSettings", Path: "deploymentsettings", Prefix: "DeploymentSettings", Type: typeOf[project.DeploymentSettings](), AnyName: true,
			Permissions: may(access.ProjectView, access.ProjectEdit, access.ProjectEdit, access.ProjectEdit),
			Owned:       []string{"ProjectId"},
			Links:       map[string]string{"Self": "{space}/projects/{ProjectId}/deploymentsettings", "Project": "{space}/projects/{ProjectId}"},
		},
		Hidden: true,
	}
	Processes = &Kind{
		Kind: resource.Kind{
			Name: "DeploymentProcess", Path: "deploymentprocesses", Prefix: "deploymentprocess", Type: typeOf[project.Process](), AnyName: true, Versioned: true,
			Permissions: may(access.ProcessView, access.ProcessEdit, access.ProcessEdit, access.ProcessEdit),
			Owned:       []string{"ProjectId", "RunbookId", "LastSnapshotId"},
			References: []resource.Reference{
				{Path: "Steps.Actions.Environments", Kind: "Environment"},
				{Path: "Steps.Actions.ExcludedEnvironments", Kind: "Environment"},
				{Path: "Steps.Actions.Channels", Kind: "Channel"},
			},
			Links: map[string]string{"Self": "{space}/deploymentprocesses/{Id}", "Project": "{space}/projects/{ProjectId}", "Template": "{space}/deploymentprocesses/{Id}/template{?channel,releaseId}"},
		},
		Hidden: true,
	}
	VariableSets = &Kind{
		Kind: resource.Kind{
			Name: "VariableSet", Path: "variables", Prefix: "variableset", Type: typeOf[variable.VariableSet](), AnyName: true, Versioned: true,
			Permissions: may(access.VariableView, access.VariableEdit, access.VariableEdit, access.VariableEdit),
			Owned:       []string{"OwnerId", "LastSnapshotId"},
			References: []resource.Reference{
				{Path: "Variables.Scope.Environment", Kind: "Environment"}, {Path: "Variables.Scope.Machine", Kind: "Machine", Weak: true}, {Path: "Variables.Scope.Channel", Kind: "Channel", Weak: true},
			},
			Links: map[string]string{"Self": "{space}/variables/{Id}"},
		},
		Hidden: true,
	}
	Channels = &Kind{
		Kind: resource.Kind{
			Name: "Channel", Path: "channels", Prefix: "Channels", Type: typeOf[project.Channel](), HasSlug: true, NamedIn: "ProjectId",
			Permissions: may(access.ProcessView, access.ProcessEdit, access.ProcessEdit, access.ProcessEdit),
			Defaults:    map[string]any{"Type": "Lifecycle"},
			References:  []resource.Reference{{Path: "LifecycleId", Kind: "Lifecycle"}},
			Lifted:      map[string]string{"projectId": "ProjectId"},
			Links: map[string]string{
				"Self": "{space}/channels/{Id}", "Project": "{space}/projects/{ProjectId}", "Projects": "{space}/channels/{Id}/projects", "Releases": "{space}/channels/{Id}/releases{?skip,take,searchByVersion}",
			},
		},
	}
	Releases = &Kind{
		Kind: resource.Kind{
			Name: "Release", Path: "releases", Prefix: "Releases", Type: typeOf[release.Release](), AnyName: true,
			Permissions: may(access.ReleaseView, access.ReleaseCreate, access.ReleaseEdit, access.ReleaseDelete),
			References:  []resource.Reference{{Path: "ProjectId", Kind: "Project"}, {Path: "ChannelId", Kind: "Channel"}},
			Lifted:      map[string]string{"projectId": "ProjectId", "channelId": "ChannelId", "version": "Version", "process": "ProjectDeploymentProcessSnapshotId", "variables": "ProjectVariableSetSnapshotId"},
			Links: map[string]string{
				"Self": "{space}/releases/{Id}", "Project": "{space}/projects/{ProjectId}", "Progression": "{space}/releases/{Id}/progression", "Deployments": "{space}/releases/{Id}/deployments{?skip,take}",
				"DeploymentTemplate": "{space}/releases/{Id}/deployments/template", "Artifacts": "{space}/artifacts{?regarding}", "ProjectVariableSnapshot": "{space}/variables/{ProjectVariableSetSnapshotId}",
				"ProjectDeploymentProcessSnapshot": "{space}/deploymentprocesses/{ProjectDeploymentProcessSnapshotId}", "Web": "/app#/releases/{Id}", "SnapshotVariables": "{space}/releases/{Id}/snapshot-variables",
				"Defects": "{space}/releases/{Id}/defects", "ReportDefect": "{space}/releases/{Id}/defects", "ResolveDefect": "{space}/releases/{Id}/defects/resolve", "DeploymentPreviews": "{space}/releases/{Id}/deployments/previews",
			},
		},
		Newest: true, Hidden: true,
	}
	Deployments = &Kind{
		Kind: resource.Kind{
			Name: "Deployment", Path: "deployments", Prefix: "Deployments", Type: typeOf[deployment.Deployment](), AnyName: true,
			Permissions: may(access.DeploymentView, access.DeploymentCreate, access.DeploymentCreate, access.DeploymentDelete),
			Owned:       []string{"DeployedToMachineIds", "FailureEncountered"},
			References:  []resource.Reference{{Path: "ReleaseId", Kind: "Release"}, {Path: "EnvironmentId", Kind: "Environment"}, {Path: "ChannelId", Kind: "Channel"}},
			Lifted: map[string]string{
				"projects": "ProjectId", "environments": "EnvironmentId", "tenants": "TenantId", "channels": "ChannelId", "release": "ReleaseId", "task": "TaskId",
			},
			Links: map[string]string{
				"Self": "{space}/deployments/{Id}", "Release": "{space}/releases/{ReleaseId}", "Environment": "{space}/environments/{EnvironmentId}", "Project": "{space}/projects/{ProjectId}", "Task": "/api/tasks/{TaskId}",
				"Artifacts": "{space}/artifacts{?regarding}", "Interruptions": "{space}/interruptions{?regarding,pendingOnly}", "DeploymentProcess": "{space}/deploymentprocesses/{DeploymentProcessId}",
				"Variables": "{space}/variables/{ManifestVariableSetId}", "Web": "/app#/deployments/{Id}",
			},
		},
		Newest: true, Hidden: true,
	}
	Feeds = &Kind{
		Kind: resource.Kind{
			Name: "Feed", Path: "feeds", Prefix: "Feeds", Type: typeOf[Feed](), HasSlug: true,
			Permissions: may(access.FeedView, access.FeedEdit, access.FeedEdit, access.FeedEdit),
			Lifted:      map[string]string{"feedType": "FeedType"},
			Links: map[string]string{
				"Self": "{space}/feeds/{Id}", "SearchTemplate": "{space}/feeds/{Id}/packages/search{?term,skip,take}", "SearchPackagesTemplate": "{space}/feeds/{Id}/packages/search{?term,skip,take}",
				"SearchPackageVersionsTemplate": "{space}/feeds/{Id}/packages/versions{?packageId,take,skip,includePreRelease,versionRange,preReleaseTag,filter,includeReleaseNotes,versionTagRegex,versioningStrategy}",
				"VersionsTemplate":              "{space}/feeds/{Id}/packages/versions{?packageId,take,skip,includePreRelease,versionRange,preReleaseTag,filter,includeReleaseNotes,versionTagRegex,versioningStrategy}",
			},
		},
	}
	Accounts = &Kind{
		Kind: resource.Kind{
			Name: "Account", Path: "accounts", Prefix: "Accounts", Type: typeOf[Account](), HasSlug: true,
			Permissions: may(access.AccountView, access.AccountCreate, access.AccountEdit, access.AccountDelete),
			Defaults:    map[string]any{"TenantedDeploymentParticipation": machine.Untenanted},
			References:  []resource.Reference{{Path: "EnvironmentIds", Kind: "Environment"}, {Path: "TenantIds", Kind: "Tenant"}},
			Lifted:      map[string]string{"accountType": "AccountType"},
			Links: map[string]string{
				"Self": "{space}/accounts/{Id}", "Usages": "{space}/accounts/{Id}/usages", "WebSites": "{space}/accounts/{Id}/websites", "ResourceGroups": "{space}/accounts/{Id}/resourceGroups", "PublicKey": "{space}/accounts/{Id}/pk",
			},
		},
	}
	Machines = &Kind{
		Kind: resource.Kind{
			Name: "Machine", Path: "machines", Prefix: "Machines", Type: typeOf[machine.Machine](), HasSlug: true,
			Permissions: may(access.MachineView, access.MachineCreate, access.MachineEdit, access.MachineDelete),
			Defaults:    map[string]any{"TenantedDeploymentParticipation": machine.Untenanted},
			Owned:       healthMembers,
			References: []resource.Reference{
				{Path: "EnvironmentIds", Kind: "Environment"},
				{Path: "TenantIds", Kind: "Tenant"},
				{Path: "MachinePolicyId", Kind: "MachinePolicy"},
				{Path: "Endpoint.AccountId", Kind: "Account"},
				{Path: "Endpoint.ProxyId", Kind: "Proxy"},
				{Path: "Endpoint.DefaultWorkerPoolId", Kind: "WorkerPool"},
			},
			Lifted: map[string]string{
				"roles": "Roles", "isDisabled": "IsDisabled", "healthStatuses": "HealthStatus", "commStyles": "Endpoint.CommunicationStyle", "tenantIds": "TenantIds", "tenantTags": "TenantTags",
				"environmentIds": "EnvironmentIds", "thumbprint": "Endpoint.Thumbprint", "shellNames": "ShellName", "machinePolicyId": "MachinePolicyId", "proxyId": "Endpoint.ProxyId",
			},
			Links: map[string]string{
				"Self": "{space}/machines/{Id}", "Connection": "{space}/machines/{Id}/connection", "TasksTemplate": "{space}/machines/{Id}/tasks{?skip,take,type}", "DeploymentsTemplate": "{space}/machines/{Id}/deployments{?skip,take}",
				"SshDotNetCorePrerequisites": "{space}/machines/{Id}/ssh-prerequisites",
			},
		},
	}
	Workers = &Kind{
		Kind: resource.Kind{
			Name: "Worker", Path: "workers", Prefix: "Workers", Type: typeOf[machine.Worker](), HasSlug: true,
			Permissions: may(access.WorkerView, access.WorkerEdit, access.WorkerEdit, access.WorkerEdit),
			Owned:       healthMembers,
			References: []resource.Reference{
				{Path: "WorkerPoolIds", Kind: "WorkerPool"}, {Path: "MachinePolicyId", Kind: "MachinePolicy"}, {Path: "Endpoint.AccountId", Kind: "Account"}, {Path: "Endpoint.ProxyId", Kind: "Proxy"},
			},
			Lifted: map[string]string{
				"isDisabled": "IsDisabled", "healthStatuses": "HealthStatus", "commStyles": "Endpoint.CommunicationStyle", "workerPoolIds": "WorkerPoolIds", "thumbprint": "Endpoint.Thumbprint", "shellNames": "ShellName", "machinePolicyId": "MachinePolicyId",
			},
			Links: map[string]string{"Self": "{space}/workers/{Id}", "Connection": "{space}/workers/{Id}/connection", "TasksTemplate": "{space}/workers/{Id}/tasks{?skip,take,type}"},
		},
	}
	WorkerPools = &Kind{
		Kind: resource.Kind{
			Name: "WorkerPool", Path: "workerpools", Prefix: "WorkerPools", Type: typeOf[machine.WorkerPool](), HasSlug: true, SortBy: "SortOrder",
			Permissions: may(access.WorkerView, access.WorkerEdit, access.WorkerEdit, access.WorkerEdit),
			Defaults:    map[string]any{"WorkerPoolType": machine.StaticWorkerPool},
			Links: map[string]string{
				"Self": "{space}/workerpools/{Id}", "Workers": "{space}/workerpools/{Id}/workers{?skip,take,partialName,isDisabled,healthStatuses,commStyles,shellNames}",
			},
		},
	}
	MachinePolicies = &Kind{
		Kind: resource.Kind{
			Name: "MachinePolicy", Path: "machinepolicies", Prefix: "MachinePolicies", Type: typeOf[machine.Policy](),
			Permissions: may(access.MachinePolicyView, access.MachinePolicyCreate, access.MachinePolicyEdit, access.MachinePolicyDelete),
			Links: map[string]string{
				"Self": "{space}/machinepolicies/{Id}", "Machines": "{space}/machinepolicies/{Id}/machines", "Workers": "{space}/machinepolicies/{Id}/workers", "Template": "{space}/machinepolicies/template",
			},
		},
	}
	Tenants = &Kind{
		Kind: resource.Kind{
			Name: "Tenant", Path: "tenants", Prefix: "Tenants", Type: typeOf[environment.Tenant](), HasSlug: true,
			Permissions: may(access.TenantView, access.TenantCreate, access.TenantEdit, access.TenantDelete),
			References:  []resource.Reference{{Path: "ProjectEnvironments.@", Kind: "Project"}, {Path: "ProjectEnvironments.*", Kind: "Environment"}},
			Lifted:      map[string]string{"tags": "TenantTags", "projectId": "ProjectEnvironments.@", "isDisabled": "IsDisabled", "clonedFromTenantId": "ClonedFromTenantId"},
			Links: map[string]string{
				"Self": "{space}/tenants/{Id}", "Variables": "{space}/tenants/{Id}/variables", "Web": "/app#/tenants/{Id}", "Logo": "{space}/tenants/{Id}/logo",
			},
		},
	}
	TagSets = &Kind{
		Kind: resource.Kind{
			Name: "TagSet", Path: "tagsets", Prefix: "TagSets", Type: typeOf[environment.TagSet](), HasSlug: true, SortBy: "SortOrder",
			Permissions: may(access.TenantView, access.TagSetCreate, access.TagSetEdit, access.TagSetDelete),
			Defaults:    map[string]any{"Type": "MultiSelect"},
			Lifted:      map[string]string{"scopes": "Scopes"},
			Links:       map[string]string{"Self": "{space}/tagsets/{Id}"},
		},
	}
	Proxies = &Kind{
		Kind: resource.Kind{
			Name: "Proxy", Path: "proxies", Prefix: "Proxies", Type: typeOf[Proxy](),
			Permissions: may(access.ProxyView, access.ProxyCreate, access.ProxyEdit, access.ProxyDelete),
			Defaults:    map[string]any{"ProxyType": "HTTP"},
			Links:       map[string]string{"Self": "{space}/proxies/{Id}"},
		},
	}
	Users = &Kind{
		Kind: resource.Kind{
			Name: "User", Path: "users", Prefix: "Users", Type: typeOf[access.User](), Scope: resource.OnServer, AnyName: true,
			Defaults:    map[string]any{"IsActive": true, "CanPasswordBeEdited": true},
			Permissions: may(access.UserView, access.UserEdit, access.UserEdit, access.UserEdit),
			Lifted:      map[string]string{"username": "Username"},
			Links: map[string]string{
				"Self": "/api/users/{Id}", "Permissions": "/api/users/{Id}/permissions", "PermissionsConfiguration": "/api/users/{Id}/permissions/configuration", "ApiKeys": "/api/users/{Id}/apikeys{/id}{?skip,take}",
				"Spaces": "/api/users/{Id}/spaces", "Teams": "/api/users/{Id}/teams{?spaces,includeSystem}", "Avatar": "/api/users/{Id}/avatar", "RevokeSessions": "/api/users/{Id}/revoke-sessions",
			},
		},
		Hidden: true,
	}
	Teams = &Kind{
		Kind: resource.Kind{
			Name: "Team", Path: "teams", Prefix: "Teams", Type: typeOf[access.Team](), Scope: resource.Mixed, HasSlug: true,
			Permissions: may(access.TeamView, access.TeamCreate, access.TeamEdit, access.TeamDelete),
			Defaults:    map[string]any{"CanBeDeleted": true, "CanBeRenamed": true, "CanChangeRoles": true, "CanChangeMembers": true},
			Owned:       []string{"CanBeDeleted", "CanBeRenamed", "CanChangeRoles", "CanChangeMembers"},
			References:  []resource.Reference{{Path: "MemberUserIds", Kind: "User"}},
			Lifted:      map[string]string{"member": "MemberUserIds"},
			Links:       map[string]string{"Self": "/api/teams/{Id}", "ScopedUserRoles": "/api/teams/{Id}/scopeduserroles{?skip,take}"},
		},
	}
)

// Kinds are all of them, in the order they depend on each other: what comes later may name what comes before.
var Kinds = []*Kind{
	Spaces, Users, Teams, Environments, ProjectGroups, Lifecycles, TagSets, Tenants, Proxies, Accounts, Feeds, MachinePolicies, WorkerPools, Machines, Workers,
	Projects, Channels, DeploymentSettings, Processes, VariableSets, Releases, Deployments,
}

// healthMembers are what the server says of a machine or a worker.
var healthMembers = []string{"HealthStatus", "Status", "StatusSummary", "IsInProcess", "HasLatestCalamari", "OperatingSystem", "ShellName", "ShellVersion", "Architecture"}

// The rules of the kinds. They are set here and not in the rows, since rules look at other kinds and Go wants no circle.
func init() {
	Spaces.Check, Spaces.Stored, Spaces.Leaving = checkSpace, spaceStored, spaceLeaving
	Environments.Check = checkEnvironment
	ProjectGroups.Check = named
	Lifecycles.Check = checkLifecycle
	Projects.Check, Projects.Stored, Projects.Leaving = checkProject, projectStored, projectLeaving
	DeploymentSettings.Check, DeploymentSettings.Stored = checkDeploymentSettings, deploymentSettingsStored
	Processes.Check = checkProcess
	VariableSets.Check, VariableSets.Show = checkVariableSet, showVariableSet
	Channels.Check, Channels.Stored, Channels.Leaving = checkChannel, channelStored, channelLeaving
	Releases.Leaving, Releases.Gone = releaseLeaving, releaseGone
	Feeds.Check, Feeds.Leaving = checkFeed, feedLeaving
	Accounts.Check = checkAccount
	Machines.Check, Machines.Stored, Machines.Leaving = checkMachine, machineStored, machineLeaving
	Workers.Check, Workers.Stored, Workers.Leaving = checkWorker, machineStored, machineLeaving
	WorkerPools.Check, WorkerPools.Stored, WorkerPools.Leaving = checkWorkerPool, onlyDefault, defaultStays
	MachinePolicies.Check, MachinePolicies.Stored, MachinePolicies.Leaving = checkMachinePolicy, onlyDefault, defaultStays
	Tenants.Check = named
	TagSets.Check = checkTagSet
	Proxies.Check = checkProxy
	Users.Check, Users.Stored, Users.Leaving, Users.Show = checkUser, userStored, userLeaving, showUser
	Teams.Check, Teams.Leaving = named, teamLeaving
}
