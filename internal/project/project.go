package project

import "github.com/octavo/octavo/internal/resource"

// Tenanted deployment modes (deployments.md N1).
const (
	Untenanted           = "Untenanted"
	Tenanted             = "Tenanted"
	TenantedOrUntenanted = "TenantedOrUntenanted"
)

// Guided failure modes (deployments.md I1).
const (
	GuidedFailureFromEnvironment = "EnvironmentDefault"
	GuidedFailureOff             = "Off"
	GuidedFailureOn              = "On"
)

// Project is what releases are made of.
type Project struct {
	resource.Meta
	Name                            string
	Slug                            string
	Description                     string
	ProjectGroupId                  string
	LifecycleId                     string
	VariableSetId                   string
	DeploymentProcessId             string
	IsDisabled                      bool
	AutoCreateRelease               bool
	DiscreteChannelRelease          bool
	TenantedDeploymentMode          string
	DefaultGuidedFailureMode        string
	DefaultToSkipIfAlreadyInstalled bool
	ProjectConnectivityPolicy       ConnectivityPolicy
	VersioningStrategy              VersioningStrategy
	ReleaseCreationStrategy         ReleaseCreationStrategy
	AutoDeployReleaseOverrides      []AutoDeployReleaseOverride
	IncludedLibraryVariableSetIds   []string
	Templates                       []Parameter
	PersistenceSettings             PersistenceSettings
	IsVersionControlled             bool
	ReleaseNotesTemplate            string `json:",omitempty"`
	DeploymentChangesTemplate       string `json:",omitempty"`
	ClonedFromProjectId             string `json:",omitempty"`
	AllowIgnoreChannelRules         bool
	ProjectTags                     []string
	NodeLabels                      []string `json:",omitempty"` // ours: only nodes that have them all run its tasks
	ExtensionSettings               []ExtensionSettings
}

// DeploymentSettings are the project's: what a deployment reads when it is created.
type DeploymentSettings struct {
	resource.Meta
	ProjectId                       string
	ConnectivityPolicy              ConnectivityPolicy
	DefaultGuidedFailureMode        string
	VersioningStrategy              VersioningStrategy
	ReleaseNotesTemplate            string `json:",omitempty"`
	DeploymentChangesTemplate       string `json:",omitempty"`
	DefaultToSkipIfAlreadyInstalled bool
	ForcePackageDownload            bool
	CancelQueuedTasks               bool // a new full deployment supersedes queued ones (behaviour.md 2.6)
	CancelRunningTasks              bool // a success cancels older ones that wait for a person
}

// ProjectGroup sorts projects on the dashboard.
type ProjectGroup struct {
	resource.Meta
	Name              string
	Slug              string
	Description       string
	EnvironmentIds    []string
	RetentionPolicyId string `json:",omitempty"`
}

// Machine behaviours of a connectivity policy (deployments.md T7).
const (
	SkipNone        = "None"
	SkipUnavailable = "SkipUnavailableMachines"
)

// ConnectivityPolicy says what happens to targets that cannot be reached (deployments.md T6, T7, T11).
type ConnectivityPolicy struct {
	SkipMachineBehavior         string
	TargetRoles                 []string
	AllowDeploymentsToNoTargets bool
	ExcludeUnhealthyTargets     bool
}

// VersioningStrategy gives a release its version: a template (V2), or a donor package (V4).
type VersioningStrategy struct {
	Template           string         `json:",omitempty"`
	DonorPackage       *ActionPackage `json:",omitempty"`
	DonorPackageStepId string         `json:",omitempty"`
}

// ReleaseCreationStrategy says which package push creates a release, and in which channel (deployments.md S9).
type ReleaseCreationStrategy struct {
	ChannelId                    string         `json:",omitempty"`
	ReleaseCreationPackage       *ActionPackage `json:",omitempty"`
	ReleaseCreationPackageStepId string         `json:",omitempty"`
}

// ActionPackage names one package reference of one action; "" is the primary one.
type ActionPackage struct {
	DeploymentAction string
	PackageReference string
}

// AutoDeployReleaseOverride replaces the release a target trigger repeats (deployments.md S7).
type AutoDeployReleaseOverride struct {
	EnvironmentId string
	TenantId      string `json:",omitempty"`
	ReleaseId     string
}

// Parameter is a variable template: a project's, a library set's, or a step template's.
type Parameter struct {
	Id              string
	Name            string
	Label           string
	HelpText        string
	DefaultValue    *resource.PropertyValue `json:",omitempty"`
	DisplaySettings map[string]string
}

// PersistenceSettings say where process and variables live: Database, or VersionControlled.
type PersistenceSettings struct {
	Type                        string
	Url                         string   `json:",omitempty"`
	DefaultBranch               string   `json:",omitempty"`
	BasePath                    string   `json:",omitempty"`
	ProtectedDefaultBranch      bool     `json:",omitempty"`
	ProtectedBranchNamePatterns []string `json:",omitempty"`
}

// ExtensionSettings are kept for extensions; nothing here reads them.
type ExtensionSettings struct {
	ExtensionId string
	Values      map[string]any
}
