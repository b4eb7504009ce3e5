package clients_test

import "net/http"

// page is what every list answers.
func page(more ...string) []string {
	return append([]string{"Items[]", "TotalResults", "ItemsPerPage", "NumberOfPages", "LastPageNumber", "Links{}", "Links/Self", "Links/Page.Current", "Links/Page.Last"}, more...)
}

// notFound is a lookup by name: clients need Errors to be null, or they do not see the status.
func notFound(path string) call {
	return call{send: "GET " + path, status: http.StatusNotFound, need: []string{"ErrorMessage", "!Errors"}}
}

// fiveGets start every command of the CLI.
var fiveGets = []call{
	{send: "GET /api/", need: []string{"Application=Octopus Deploy", "Version", "ApiVersion=3.0.0", "InstallationId", "Links{}", "Links/Spaces", "Links/Tasks"}},
	{send: "GET /api/spaces", need: page("Items/IsDefault=true/Id")},
	{send: "GET /api/spaces/all", need: []string{"[]", "Name={S}/Id={space}"}},
	{send: "GET /api/"},
	{send: "GET /api/{space}", need: []string{"Links{}", "Links/Feeds", "Links/Environments", "Links/Projects", "!Version", "!ApiVersion"}},
}

// cliSequences are those of the official CLI (rest-api.md 2, tier T1), behind the five.
var cliSequences = []sequence{
	{"cli login", []call{
		{send: "GET /api/"},
		{send: "GET /api/spaces", need: page("Items/IsDefault=true/Id")},
		{send: "GET /api/users/me", need: []string{"Id > me", "Username", "DisplayName", "IsService=false", "Links{}", "Links/ApiKeys", "Links/Spaces"}},
	}},
	{"cli space create", []call{
		{send: "GET /api/teams/all", need: []string{"[]", "0/Id", "0/MemberUserIds[]", "0/ExternalSecurityGroups[]"}},
		{send: "GET /api/users/all", need: []string{"[]", "Id={me}/Username"}},
		{
			send: "POST /api/spaces", status: http.StatusCreated,
			body: `{"Description":"","Slug":"","IsDefault":false,"Name":"{S}","SpaceManagersTeamMembers":["{me}"],"SpaceManagersTeams":[],"TaskQueueStopped":false}`,
			need: []string{"Id > space", "Slug", "Name={S}", "SpaceManagersTeams[]", "SpaceManagersTeamMembers[]", "Links{}", "Links/Web", "Links/SpaceHome"},
		},
	}},
	{"cli space list", []call{{send: "GET /api/spaces/all", need: []string{"[]", "Name={S}/Id={space}"}}}},
	{"cli space view", []call{
		notFound("/api/spaces/No%20such%20space"),
		{send: "GET /api/spaces?partialName=No+such+space", need: page("TotalResults=0")},
		{send: "GET /api/spaces/{space}", need: []string{"Links/Web", "Description="}},
	}},
	{"cli space delete", []call{
		{send: "POST /api/spaces", status: http.StatusCreated, body: `{"Name":"{S} 2","SpaceManagersTeamMembers":["{me}"],"SpaceManagersTeams":[],"Slug":"","IsDefault":false,"TaskQueueStopped":false}`, need: []string{"Id > leaving"}},
		{send: "DELETE /api/spaces/{leaving}", status: http.StatusBadRequest, need: []string{"ErrorMessage", "Errors[]"}},
		{send: "GET /api/spaces/{leaving}"},
		{send: "PUT /api/spaces/{leaving}", again: map[string]any{"TaskQueueStopped": true}, need: []string{"TaskQueueStopped=true"}},
		{send: "DELETE /api/spaces/{leaving}"},
		notFound("/api/spaces/{leaving}"),
	}},
	{"cli environment create, list, delete", []call{
		{
			send: "POST /api/{space}/environments", status: http.StatusCreated, body: `{"AllowDynamicInfrastructure":false,"Description":"","Name":"Test","SortOrder":0,"UseGuidedFailure":false}`,
			need: []string{"Id > environment", "Slug=test", "Description=", "ExtensionSettings[]", "EnvironmentTags[]", "SpaceId={space}", "Links{}"},
		},
		{send: "POST /api/{space}/environments", status: http.StatusCreated, body: `{"Name":"Short lived"}`, need: []string{"Id > short"}},
		{send: "GET /api/{space}/environments", need: page("TotalResults=2")},
		notFound("/api/{space}/environments/Short%20lived"),
		{send: "GET /api/{space}/environments?partialName=Short%20lived", need: page("Items/0/Id={short}")},
		{send: "DELETE /api/{space}/environments/{short}"},
		notFound("/api/{space}/environments/{short}"),
	}},
	{"cli project-group create, list, view, delete", []call{
		{send: "POST /api/{space}/projectgroups", status: http.StatusCreated, body: `{"Description":"","EnvironmentIds":null,"Name":"Shops"}`, need: []string{"Id > group", "EnvironmentIds[]"}},
		{send: "POST /api/{space}/projectgroups", status: http.StatusCreated, body: `{"Name":"Leaving group"}`, need: []string{"Id > leaving"}},
		{send: "GET /api/{space}/projectgroups/all", need: []string{"[]", "Name=Shops/Id={group}"}},
		notFound("/api/{space}/projectgroups/Leaving%20group"),
		{send: "GET /api/{space}/projectgroups?partialName=Leaving+group", need: page("Items/0/Id={leaving}")},
		{send: "GET /api/{space}/projectgroups/{leaving}", need: []string{"Links/Projects == /api/{space}/projectgroups/{leaving}/projects"}},
		{send: "GET /api/{space}/projectgroups/{leaving}/projects", need: page("TotalResults=0")},
		{send: "DELETE /api/{space}/projectgroups/{leaving}"},
	}},
	{"cli project create", []call{
		notFound("/api/{space}/lifecycles/Default%20Lifecycle"),
		{send: "GET /api/{space}/lifecycles?partialName=Default+Lifecycle", need: page("Items/0/Id > lifecycle", "Items/0/Phases[]", "Items/0/ReleaseRetentionPolicy/Strategy", "Items/0/Links/Projects")},
		notFound("/api/{space}/projectgroups/Shops%20"),
		{send: "GET /api/{space}/projectgroups?partialName=Shops", need: page("Items/0/Id={group}")},
		{
			send: "POST /api/{space}/projects", status: http.StatusCreated,
			body: `{"AutoCreateRelease":false,"DefaultToSkipIfAlreadyInstalled":false,"Description":"","DiscreteChannelRelease":false,"IsDisabled":false,"IsVersionControlled":false,"LifecycleId":"{lifecycle}","Name":"Web Shop","ProjectConnectivityPolicy":{"AllowDeploymentsToNoTargets":false,"ExcludeUnhealthyTargets":false},"ProjectGroupId":"{group}"}`,
			need: []string{
				"Id > project", "Slug=web-shop", "VariableSetId > variables", "DeploymentProcessId > process", "Templates[]", "IncludedLibraryVariableSetIds[]", "ExtensionSettings[]", "AutoDeployReleaseOverrides[]",
				"TenantedDeploymentMode=Untenanted", "PersistenceSettings/Type=Database", "VersioningStrategy", "Links{}", "Links/Channels", "Links/Releases", "Links/Progression", "Links/Summary", "Links/ConvertToVcs",
				"Links/DeploymentSettings", "Links/DeploymentProcess", "!Links/Branches",
			},
		},
	}},
	{"cli project list, view, disable, enable, clone, delete", []call{
		{send: "GET /api/{space}/projects/all", need: []string{"[]", "Name=Web Shop/Id={project}"}},
		notFound("/api/{space}/projects/Web%20Shop"),
		{send: "GET /api/{space}/projects?partialName=Web+Shop", need: page("Items/0/Id={project}")},
		{send: "GET /api/{space}/projects/web-shop", need: []string{"Id={project}"}},
		{send: "PUT /api/{space}/projects/{project}", again: map[string]any{"IsDisabled": true}, need: []string{"IsDisabled=true", "VariableSetId={variables}"}},
		{send: "PUT /api/{space}/projects/{project}", again: map[string]any{"IsDisabled": false}, need: []string{"IsDisabled=false", "Slug=web-shop"}},
		{
			send: "POST /api/{space}/projects?clone={project}", status: http.StatusCreated, body: `{"Name":"Web Shop copy","Description":"","LifecycleID":"{lifecycle}","ProjectGroupID":"{group}"}`,
			need: []string{"Id > copy", "ClonedFromProjectId={project}", "ProjectGroupId={group}", "Slug=web-shop-copy"},
		},
		{send: "DELETE /api/{space}/projects/{copy}"},
		notFound("/api/{space}/projects/{copy}"),
	}},
	{"cli project variables", []call{
		{send: "GET /api/{space}/projects/{project}"},
		{send: "GET /api/{space}/variables/{variables}", need: []string{"OwnerId={project}", "Version", "Variables[]", "ScopeValues/Environments/Name=Test/Id={environment}", "ScopeValues/Machines[]", "ScopeValues/Actions[]", "ScopeValues/Roles[]", "ScopeValues/Channels[]", "ScopeValues/TenantTags[]", "ScopeValues/Processes[]", "Links{}"}},
		{
			send: "PUT /api/{space}/variables/{variables}",
			again: map[string]any{"Variables": []any{
				map[string]any{"Name": "Colour", "Value": "blue", "Description": "", "IsEditable": true, "IsSensitive": false, "Type": "String", "Scope": map[string]any{"Environment": []string{"{environment}"}}},
				map[string]any{"Name": "Password", "Value": "hunter2", "IsEditable": true, "IsSensitive": true, "Type": "Sensitive", "Scope": map[string]any{}},
			}},
			need: []string{"Variables/Name=Colour/Id", "Variables/Name=Colour/Value=blue", "Variables/Name=Colour/Scope/Environment/0={environment}", "Variables/Name=Password/Id", "Variables/Name=Password/IsSensitive=true", "Version=1"},
		},
		{send: "PUT /api/{space}/variables/{variables}", again: map[string]any{"Version": 0}, status: http.StatusBadRequest, need: []string{"ErrorMessage", "Errors/0"}},
		{send: "GET /api/{space}/variables/{variables}", need: []string{"Variables/Name=Password/Type=Sensitive"}},
	}},
	{"cli channel create, list, view, delete", []call{
		{send: "POST /api/{space}/channels", status: http.StatusCreated, body: `{"Description":"","IsDefault":false,"Name":"Hotfix","ProjectId":"{project}","Rules":[],"TenantTags":[],"Type":"Lifecycle"}`, need: []string{"Id > channel", "Rules[]", "TenantTags[]", "Links{}", "Links/Releases", "Links/Projects"}},
		{send: "GET /api/{space}/projects/{project}/channels", need: page("Items/Name=Default/Id > default", "Items/Name=Default/IsDefault=true", "Items/Name=Hotfix/Id={channel}")},
		{send: "GET /api/{space}/lifecycles/all", need: []string{"[]", "Id={lifecycle}/Name"}},
		{send: "GET /api/{space}/channels/{channel}", need: []string{"Name=Hotfix", "ProjectId={project}"}},
		{send: "DELETE /api/{space}/channels/{channel}"},
		notFound("/api/{space}/channels/{channel}"),
	}},
	{"cli package upload, list, versions, delete", []call{
		{send: "POST /api/{space}/packages/raw?overwriteMode=FailIfExists", file: "{package}.1.0.0.zip", status: http.StatusCreated, need: []string{"Id", "PackageId={package}", "Version=1.0.0"}},
		{send: "POST /api/{space}/packages/raw?overwriteMode=IgnoreIfExists", file: "{package}.1.0.0.zip", need: []string{"Id"}},
		{send: "POST /api/{space}/packages/raw?overwriteMode=FailIfExists", file: "{package}.2.0.0-beta.1.zip", status: http.StatusCreated, need: []string{"Id > beta", "Version=2.0.0-beta.1"}},
		{send: "GET /api/{space}/packages?take=2147483647", need: page("TotalResults=2", "Items/0/PackageId={package}", "!Items/0/ReleaseNotes")},
		{send: "GET /api/{space}/feeds?feedType=BuiltIn&take=1", need: page("Items/0/Id > feed", "Items/0/FeedType=BuiltIn", "Items/0/Links/SearchPackagesTemplate", "Items/0/Links/SearchPackageVersionsTemplate")},
		{send: "GET /api/{space}/feeds/{feed}/packages/versions?includePreRelease=false&packageId={package}&take=2147483647", need: page("TotalResults=1", "Items/0/Version=1.0.0", "Items/0/Published", "Items/0/SizeBytes")},
		{send: "GET /api/{space}/feeds/{feed}/packages/versions?packageId={package}&take=10", need: page("TotalResults=2", "Items/0/Version=2.0.0-beta.1")},
		{send: "GET /api/{space}/packages?nuGetPackageId={package}", need: page("TotalResults=2")},
		{send: "DELETE /api/{space}/packages/{beta}"},
		notFound("/api/{space}/packages/{beta}"),
	}},
	{"provider process_step", []call{
		{send: "GET /api/{space}/projects/{project}"},
		{send: "GET /api/{space}/deploymentprocesses/{process}", need: []string{"Version=0", "Steps[]", "ProjectId={project}", "Links{}", "Links/Self", "Links/Template"}},
		{
			send: "PUT /api/{space}/deploymentprocesses/{process}",
			again: map[string]any{"Steps": []any{map[string]any{
				"Name": "Say", "Condition": "Success", "PackageRequirement": "LetOctopusDecide", "StartTrigger": "StartAfterPrevious", "Properties": map[string]string{},
				"Actions": []any{map[string]any{
					"Name": "Say", "ActionType": "Octopus.Script", "CanBeUsedForProjectVersioning": false, "IsDisabled": false, "IsRequired": false, "Condition": "Success",
					"Packages": []any{map[string]any{"Name": "content", "PackageId": "{package}", "FeedId": "{feed}", "AcquisitionLocation": "NotAcquired", "Properties": map[string]string{}}},
					"Properties": map[string]string{
						"Octopus.Action.RunOnServer": "true", "Octopus.Action.Script.ScriptSource": "Inline", "Octopus.Action.Script.Syntax": "Bash", "Octopus.Action.Script.ScriptBody": "echo said by the server",
					},
				}},
			}}},
			need: []string{
				"Version=1", "Steps/0/Id", "Steps/0/Slug=say", "Steps/0/Properties", "Steps/0/Actions/0/Id > action", "Steps/0/Actions/0/Slug=say", "Steps/0/Actions/0/Channels[]", "Steps/0/Actions/0/Environments[]",
				"Steps/0/Actions/0/ExcludedEnvironments[]", "Steps/0/Actions/0/TenantTags[]", "Steps/0/Actions/0/Packages/0/Id", "Steps/0/Actions/0/Packages/0/Name=content", "Steps/0/Actions/0/Packages/0/Properties",
				"Steps/0/Actions/0/Properties/Octopus.Action.RunOnServer=true", "Steps/0/Condition=Success", "Steps/0/StartTrigger=StartAfterPrevious",
			},
		},
		{send: "PUT /api/{space}/deploymentprocesses/{process}", again: map[string]any{"Version": 0}, status: http.StatusBadRequest, need: []string{"ErrorMessage", "Errors/0"}},
		{send: "GET /api/{space}/deploymentprocesses/{process}", need: []string{"Version=1", "Steps/0/Actions/0/Id={action}"}},
	}},
	{"cli release create", []call{
		notFound("/api/{space}/projects/Web%20Shop"),
		{send: "GET /api/{space}/projects?partialName=Web+Shop", need: page("Items/Name=Web Shop/Id={project}")},
		{
			send: "POST /api/{space}/releases/create/v1", status: http.StatusCreated,
			body: `{"spaceIdOrName":"{space}","spaceId":"{space}","projectName":"Web Shop","packageVersion":"1.0.0","releaseVersion":"1.0.0","ignoreIfAlreadyExists":false,"ignoreChannelRules":false}`,
			need: []string{"ReleaseId > release", "ReleaseVersion=1.0.0"},
		},
		{send: "GET /api/{space}/releases/{release}", need: []string{"Assembled", "ChannelId={default}", "Version=1.0.0", "SelectedPackages/0/Version=1.0.0", "SelectedPackages/0/PackageReferenceName=content", "ProjectVariableSetSnapshotId > snapshot", "ProjectDeploymentProcessSnapshotId > frozen", "LibraryVariableSetSnapshotIds[]", "BuildInformation[]", "Links{}", "Links/Progression", "Links/Deployments"}},
		{send: "GET /api/{space}/channels/{default}", need: []string{"Name=Default"}},
		{send: "POST /api/{space}/releases/create/v1", status: http.StatusBadRequest, body: `{"spaceIdOrName":"{space}","spaceId":"{space}","projectName":"Web Shop","releaseVersion":"1.0.0","ignoreIfAlreadyExists":false,"ignoreChannelRules":false}`, need: []string{"ErrorMessage", "Errors/0"}},
		{send: "POST /api/{space}/releases/create/v1", status: http.StatusCreated, body: `{"spaceIdOrName":"{space}","spaceId":"{space}","projectName":"{project}","releaseVersion":"1.0.0","ignoreIfAlreadyExists":true,"ignoreChannelRules":false}`, need: []string{"ReleaseId={release}"}},
	}},
	{"cli release create, interactive", []call{
		{send: "GET /api/{space}/deploymentprocesses/{process}"},
		{send: "GET /api/{space}/projects/{project}/channels", need: page()},
		{send: "GET /api/{space}/deploymentprocesses/{process}/template?channel={default}", need: []string{"DeploymentProcessId={process}", "NextVersionIncrement=1.0.1", "LastReleaseVersion=1.0.0", "Packages/0/PackageId={package}", "Packages/0/FeedId={feed}", "Packages/0/ActionName=Say", "Packages/0/PackageReferenceName=content", "Packages/0/IsResolvable=true", "Packages/0/VersionSelectedLastRelease=1.0.0", "GitResources[]"}},
		{send: "GET /api/{space}/feeds?ids={feed}&take=1", need: page("Items/0/Id={feed}")},
		{send: "GET /api/{space}/feeds/{feed}/packages/versions?packageId={package}&take=1", need: page("Items/0/Version=1.0.0")},
		{send: "GET /api/{space}/projects/{project}/deploymentsettings", need: []string{"ProjectId={project}", "VersioningStrategy", "ConnectivityPolicy/SkipMachineBehavior", "DefaultGuidedFailureMode", "Links/Self"}},
		{send: "POST /api/{space}/releases/create/v1", status: http.StatusCreated, body: `{"spaceIdOrName":"{space}","spaceId":"{space}","projectName":"Web Shop","channelName":"Default","releaseVersion":"1.0.1","packages":["Say:content:1.0.0"],"releaseNotes":"# New\nthings","ignoreIfAlreadyExists":false,"ignoreChannelRules":false}`, need: []string{"ReleaseId > second"}},
		{send: "GET /api/{space}/releases/{second}", need: []string{"ReleaseNotes=# New\nthings"}},
	}},
	{"cli release list, delete", []call{
		{send: "GET /api/{space}/projects/{project}/releases", need: page("TotalResults=2", "Items/0/Version=1.0.1", "Items/1/Version=1.0.0")},
		{send: "GET /api/{space}/channels?ids={default}&take=1", need: page("Items/0/Name=Default")},
		{send: "DELETE /api/{space}/releases/{second}"},
		notFound("/api/{space}/releases/{second}"),
		notFound("/api/{space}/projects/{project}/releases/1.0.1"),
	}},
	{"cli release deploy", []call{
		notFound("/api/{space}/projects/Web%20Shop"),
		{send: "GET /api/{space}/projects?partialName=Web+Shop", need: page("Items/Name=Web Shop/Id={project}")},
		{
			send: "POST /api/{space}/deployments/create/untenanted/v1",
			body: `{"spaceIdOrName":"{space}","releaseVersion":"1.0.0","environmentNames":["Test"],"forcePackageRedeployment":false,"updateVariableSnapshot":false,"spaceId":"{space}","projectName":"Web Shop","forcePackageDownload":false,"useGuidedFailure":null}`,
			need: []string{"DeploymentServerTasks/0/DeploymentId > deployment", "DeploymentServerTasks/0/ServerTaskId > task"},
		},
		{send: "GET /api/{space}/projects/{project}/releases/1.0.0", need: []string{"Id={release}"}},
		{send: "GET /api/{space}/deployments/{deployment}", need: []string{"ReleaseId={release}", "EnvironmentId={environment}", "TaskId={task}", "Created", "SkipActions[]", "SpecificMachineIds[]", "ExcludedMachineIds[]", "Links{}"}},
		{send: "POST /api/{space}/deployments/create/untenanted/v1", body: `{"spaceIdOrName":"{space}","spaceId":"{space}","projectName":"Web Shop","releaseVersion":"1.0.0","environmentNames":[],"useGuidedFailure":null}`, need: []string{"DeploymentServerTasks[]"}},
		{send: "POST /api/{space}/deployments/create/untenanted/v1", status: http.StatusBadRequest, body: `{"spaceIdOrName":"{space}","spaceId":"{space}","projectName":"Web Shop","releaseVersion":"1.0.0","environmentNames":["Test"],"specificMachineNames":["nobody"],"useGuidedFailure":null}`, need: []string{"Errors/0"}},
	}},
	{"cli task wait", []call{
		{send: "GET /api/tasks?ids={task}", need: page("Items/0/Id={task}", "Items/0/SpaceId={space}", "Items/0/Arguments/DeploymentId={deployment}", "Items/0/HasPendingInterruptions=false")},
	}},
	{"cli task wait, on timeout", []call{
		{send: "POST /api/{space}/deployments/create/untenanted/v1", body: `{"spaceId":"{space}","spaceIdOrName":"{space}","projectName":"Web Shop","releaseVersion":"1.0.0","environmentNames":["Test"],"runAt":"{tomorrow}","useGuidedFailure":null}`, need: []string{"DeploymentServerTasks/0/ServerTaskId > later"}},
		{send: "GET /api/tasks?ids={later},{task}", need: page("TotalResults=2", "Items/Id={later}/State=Queued", "Items/Id={later}/IsCompleted=false", "Items/Id={task}/IsCompleted=true")},
		{send: "POST /api/spaces/{space}/tasks/{later}/cancel", body: `null`, need: []string{"Id={later}", "State=Canceled"}},
	}},
	{"cli deployment-target create, list, view, delete", []call{
		{send: "GET /api/{space}/environments/all", need: []string{"[]", "Name=Test/Id={environment}"}},
		{send: "GET /api/{space}/machinepolicies/all", need: []string{"[]", "IsDefault=true/Id > policy", "0/MachineHealthCheckPolicy", "0/MachineConnectivityPolicy"}},
		{send: "GET /api/{space}/tenants/all", need: []string{"[]"}},
		{
			send: "POST /api/{space}/machines", status: http.StatusCreated,
			body: `{"EnvironmentIds":["{environment}"],"Roles":["web"],"TenantedDeploymentParticipation":"Untenanted","Endpoint":{"CommunicationStyle":"TentaclePassive","Thumbprint":"5a3e00000000000000000000000000000000beef","Uri":"https://127.0.0.1:9/"},"IsDisabled":false,"MachinePolicyId":"{policy}","Name":"Web one"}`,
			need: []string{"Id > machine", "Endpoint/CommunicationStyle=TentaclePassive", "Endpoint/Thumbprint=5A3E00000000000000000000000000000000BEEF", "EnvironmentIds[]", "Roles[]", "TenantIds[]", "TenantTags[]", "HealthStatus=Unknown", "Status", "StatusSummary", "IsInProcess=false", "Links{}", "Links/Connection"},
		},
		{send: "GET /api/{space}/machines?take=2147483647", need: page("Items/Name=Web one/Id={machine}")},
		{send: "GET /api/{space}/workerpools/all", need: []string{"[]", "IsDefault=true/Id > pool"}},
		notFound("/api/{space}/machines/Web%20one"),
		{send: "GET /api/{space}/machines?name=Web+one", need: page("Items/0/Id={machine}")},
		{send: "DELETE /api/{space}/machines/{machine}"},
		notFound("/api/{space}/machines/{machine}"),
	}},
	{"cli worker list, create, delete; worker-pool list", []call{
		{send: "GET /api/{space}/workers/all", need: []string{"[]"}},
		{send: "GET /api/{space}/workerpools/all", need: []string{"[]", "0/WorkerPoolType=StaticWorkerPool", "0/CanAddWorkers=true", "0/Links/Workers"}},
		{send: "GET /api/{space}/machinepolicies/all", need: []string{"[]"}},
		{
			send: "POST /api/{space}/workers", status: http.StatusCreated,
			body: `{"Endpoint":{"CommunicationStyle":"TentaclePassive","Thumbprint":"5A3E00000000000000000000000000000000BEEE","Uri":"https://127.0.0.1:9/"},"IsDisabled":true,"MachinePolicyId":"{policy}","Name":"Worker one","WorkerPoolIds":["{pool}"]}`,
			need: []string{"Id > worker", "WorkerPoolIds/0={pool}", "HealthStatus=Unknown"},
		},
		{send: "GET /api/{space}/workers?name=Worker+one", need: page("Items/0/Id={worker}")},
		{send: "GET /api/{space}/workerpools/{pool}/workers", need: page("Items/0/Id={worker}")},
		{send: "DELETE /api/{space}/workers/{worker}"},
	}},
	{"cli account create, list, delete", []call{
		{send: "GET /api/{space}/environments/all", need: []string{"[]"}},
		{send: "POST /api/{space}/accounts", status: http.StatusCreated, body: `{"AccountType":"Token","Description":"","Name":"Deploy token","TenantedDeploymentParticipation":"Untenanted","Token":{"HasValue":true,"NewValue":"s3cret"}}`, need: []string{"Id > account", "Token/HasValue=true", "!Token/NewValue", "EnvironmentIds[]", "TenantIds[]", "TenantTags[]", "Links/Usages"}},
		{send: "GET /api/{space}/accounts?take=2147483647", need: page("Items/0/Id={account}")},
		{send: "GET /api/{space}/accounts?accountType=Token", need: page("Items/0/Id={account}")},
		{send: "GET /api/{space}/accounts?accountType=UsernamePassword", need: page("TotalResults=0")},
		{send: "GET /api/{space}/accounts?partialName=Deploy+token", need: page("Items/0/Id={account}")},
		{send: "DELETE /api/{space}/accounts/{account}"},
	}},
	{"cli user list", []call{{send: "GET /api/users/all", need: []string{"[]", "Id={me}/IsActive=true", "0/Identities[]"}}}},
}

// providerSequences are those of the Terraform provider (rest-api.md 3, tier T1).
var providerSequences = []sequence{
	{"provider start", []call{
		{send: "GET /api/"},
		{send: "GET /api/spaces", need: page("Items/IsDefault=true/Id")},
		{send: "GET /api/"},
		{send: "GET /api/configuration/feature-toggles?Name=CommonVariableScopingFeatureToggle", need: []string{"FeatureToggles[]"}},
		{send: "GET /api/spaces/{space}", need: []string{"Id={space}"}},
		{send: "GET /api/{space}", need: []string{"Links/Lifecycles", "Links/DeploymentProcesses", "Links/Variables"}},
	}},
	{"provider lifecycle", []call{
		{
			send: "POST /api/{space}/lifecycles", status: http.StatusCreated,
			body: `{"Name":"Only Test","Description":"","Phases":[{"AutomaticDeploymentTargets":[],"IsOptionalPhase":false,"IsPriorityPhase":false,"MinimumEnvironmentsBeforePromotion":0,"Name":"Test","OptionalDeploymentTargets":["{environment}"],"ReleaseRetentionPolicy":null,"TentacleRetentionPolicy":{"QuantityToKeep":7,"ShouldKeepForever":false,"Unit":"Items","Strategy":"Count"}}],"ReleaseRetentionPolicy":{"QuantityToKeep":0,"ShouldKeepForever":true,"Unit":"Items","Strategy":"Forever"}}`,
			need: []string{"Id > made", "Description=", "Phases/0/Id", "Phases/0/OptionalDeploymentTargets/0={environment}", "Phases/0/AutomaticDeploymentTargets[]", "!Phases/0/ReleaseRetentionPolicy", "Phases/0/TentacleRetentionPolicy/QuantityToKeep=7", "ReleaseRetentionPolicy/Strategy=Forever", "Links/Projects == /api/{space}/lifecycles/{made}/projects"},
		},
		{send: "GET /api/{space}/lifecycles/{made}", need: []string{"Description=", "Phases/0/Name=Test"}},
		{send: "PUT /api/{space}/lifecycles/{made}", again: map[string]any{"Description": "changed"}, need: []string{"Description=changed", "Phases/0/Id"}},
		{send: "GET /api/{space}/lifecycles?ids={made}&partialName=&skip=0&take=30", need: page("Items/0/Id={made}")},
		{send: "GET /api/{space}/lifecycles/{made}/projects", need: []string{"[]"}},
		{send: "DELETE /api/{space}/lifecycles/{made}"},
	}},
	{"provider environment", []call{
		{send: "POST /api/{space}/environments", status: http.StatusCreated, body: `{"AllowDynamicInfrastructure":true,"Name":"From Terraform","Description":"","SortOrder":7,"UseGuidedFailure":true,"ExtensionSettings":[{"ExtensionId":"jira-integration","Values":{"JiraEnvironmentType":"unmapped"}}]}`, need: []string{"Id > made", "SortOrder", "UseGuidedFailure=true", "AllowDynamicInfrastructure=true", "Slug=from-terraform", "ExtensionSettings/0/ExtensionId=jira-integration"}},
		{send: "GET /api/{space}/environments/{made}"},
		{send: "PUT /api/{space}/environments/{made}", again: map[string]any{"Description": "now with words"}, need: []string{"Description=now with words", "UseGuidedFailure=true"}},
		{send: "GET /api/{space}/environments?ids={made}&skip=0&take=1", need: page("TotalResults=1")},
		{send: "DELETE /api/{space}/environments/{made}"},
	}},
	{"provider project, project_group, deployment settings", []call{
		{send: "POST /api/{space}/projectgroups", status: http.StatusCreated, body: `{"Name":"TF group","Description":""}`, need: []string{"Id > tfgroup", "Description="}},
		{send: "PUT /api/{space}/projectgroups/{tfgroup}", again: map[string]any{"Description": "of Terraform"}, need: []string{"Description=of Terraform"}},
		{
			send: "POST /api/{space}/projects", status: http.StatusCreated,
			body: `{"Name":"TF project","Slug":"","SpaceId":"{space}","Description":"","LifecycleId":"{lifecycle}","ProjectGroupId":"{tfgroup}","TenantedDeploymentMode":"Untenanted","DefaultGuidedFailureMode":"EnvironmentDefault","IsDisabled":false,"AutoCreateRelease":false,"IncludedLibraryVariableSetIds":[],"ProjectConnectivityPolicy":{"AllowDeploymentsToNoTargets":true,"ExcludeUnhealthyTargets":false,"SkipMachineBehavior":"None","TargetRoles":[]},"VersioningStrategy":{"Template":"#{Octopus.Version.LastMajor}.#{Octopus.Version.NextMinor}.0"}}`,
			need: []string{"Id > tfproject", "Slug=tf-project", "Description=", "VersioningStrategy/Template", "ProjectConnectivityPolicy/AllowDeploymentsToNoTargets=true", "ProjectConnectivityPolicy/TargetRoles[]", "DefaultGuidedFailureMode=EnvironmentDefault", "DeploymentProcessId > tfprocess"},
		},
		{send: "GET /api/{space}/projects/{tfproject}/deploymentsettings", need: []string{"VersioningStrategy/Template", "ConnectivityPolicy/AllowDeploymentsToNoTargets=true"}},
		{send: "PUT /api/{space}/projects/{tfproject}/deploymentsettings", again: map[string]any{"DefaultGuidedFailureMode": "Off", "ForcePackageDownload": true}, need: []string{"DefaultGuidedFailureMode=Off", "ForcePackageDownload=true"}},
		{send: "GET /api/{space}/projects/{tfproject}", need: []string{"DefaultGuidedFailureMode=Off"}},
		{send: "PUT /api/{space}/projects/{tfproject}", again: map[string]any{"Description": "described"}, need: []string{"Description=described", "DeploymentProcessId={tfprocess}"}},
		{send: "GET /api/{space}/projects?ids={tfproject}&skip=0&take=30", need: page("Items/0/Id={tfproject}")},
	}},
	{"provider variable", []call{
		{send: "GET /api/{space}/projects/{tfproject}", need: []string{"VariableSetId > tfvariables"}},
		{send: "GET /api/{space}/variables/variableset-{tfproject}", need: []string{"Id={tfvariables}", "Variables[]"}},
		{
			send: "PUT /api/{space}/variables/variableset-{tfproject}",
			again: map[string]any{"Variables": []any{map[string]any{
				"Id": "", "Name": "Asked", "Value": "", "Description": "", "IsEditable": true, "IsSensitive": false, "Type": "String", "Scope": map[string]any{},
				"Prompt": map[string]any{"Label": "What?", "Description": "", "Required": true, "DisplaySettings": map[string]string{"Octopus.ControlType": "SingleLineText"}},
			}}},
			need: []string{"Variables/0/Id > asked", "Variables/0/Prompt/Label=What?", "Variables/0/Prompt/Required=true", "Variables/0/Value=", "Variables/0/Description="},
		},
		{send: "GET /api/{space}/variables/variableset-{tfproject}", need: []string{"Variables/0/Id={asked}"}},
		{send: "PUT /api/{space}/variables/variableset-{tfproject}", again: map[string]any{"Variables": []any{}}, need: []string{"Variables[]"}},
	}},
	{"provider channel", []call{
		{send: "POST /api/{space}/channels", status: http.StatusCreated, body: `{"Name":"TF channel","Description":"","ProjectId":"{tfproject}","LifecycleId":"{lifecycle}","IsDefault":false,"Rules":[],"TenantTags":[]}`, need: []string{"Id > made", "LifecycleId={lifecycle}", "Rules[]"}},
		{send: "GET /api/{space}/channels/{made}"},
		{send: "PUT /api/{space}/channels/{made}", again: map[string]any{"Description": "for hotfixes"}, need: []string{"Description=for hotfixes"}},
		{send: "DELETE /api/{space}/channels/{made}"},
		{send: "DELETE /api/{space}/projects/{tfproject}"},
		{send: "DELETE /api/{space}/projectgroups/{tfgroup}"},
	}},
	{"provider listening and polling targets", []call{
		{send: "POST /api/{space}/machines", status: http.StatusCreated, body: `{"EnvironmentIds":["{environment}"],"Roles":["web"],"TenantIds":[],"TenantTags":[],"TenantedDeploymentParticipation":"Untenanted","Endpoint":{"CommunicationStyle":"TentacleActive","Thumbprint":"5A3E00000000000000000000000000000000BEED","Uri":"poll://abcdefghijklmnopqrst/"},"IsDisabled":false,"MachinePolicyId":"{policy}","Name":"Poller","Thumbprint":"5A3E00000000000000000000000000000000BEED","Uri":"poll://abcdefghijklmnopqrst/"}`, need: []string{"Id > machine", "Uri == poll://abcdefghijklmnopqrst/", "Thumbprint=5A3E00000000000000000000000000000000BEED"}},
		{send: "GET /api/{space}/machines/{machine}", need: []string{"Endpoint/Uri == poll://abcdefghijklmnopqrst/"}},
		{send: "PUT /api/{space}/machines/{machine}", again: map[string]any{"Roles": []string{"web", "db"}}, need: []string{"Roles/1=db", "Endpoint/CommunicationStyle=TentacleActive"}},
		{send: "GET /api/{space}/machines?thumbprint=5A3E00000000000000000000000000000000BEED&partialName=Poll&roles=db&environmentIds={environment}", need: page("Items/0/Id={machine}")},
		{send: "DELETE /api/{space}/machines/{machine}"},
	}},
	{"actions and helm", []call{
		{send: "GET /api/capabilities", need: []string{"Capabilities[]"}},
		{send: "GET /api/serverstatus", need: []string{"IsInMaintenanceMode=false"}},
		{send: "GET /api/serverstatus/hosted/internal"},
		{send: "GET /api/octopusservernodes/ping", need: []string{"Id", "Name", "IsOffline=false", "IsInMaintenanceMode=false", "MaxConcurrentTasks"}},
		{send: "GET /api/octopusservernodes/summary", need: []string{"Nodes/0/Id", "Nodes/0/RunningTaskCount", "Links{}"}},
		{send: "GET /api/configuration/certificates/certificate-global", need: []string{"Thumbprint"}},
		{send: "GET /api/{space}/deployments?ids={deployment}&take=1", need: page("Items/0/TaskId={task}")},
		{send: "GET /api/{space}/tasks?skip=0&take=300&ids={task}", need: page("Items/0/State=Success")},
	}},
}
