package project

import "github.com/octavo/octavo/internal/resource"

// Environment scopes of a runbook (deployments.md B4).
const (
	ScopeAll                   = "All"
	ScopeSpecified             = "Specified"
	ScopeFromProjectLifecycles = "FromProjectLifecycles"
)

// Runbook is a process that runs without a release (deployments.md 7).
type Runbook struct {
	resource.Meta
	Name                       string
	Slug                       string
	Description                string
	ProjectId                  string
	RunbookProcessId           string
	PublishedRunbookSnapshotId string `json:",omitempty"`
	MultiTenancyMode           string
	EnvironmentScope           string
	Environments               []string
	ConnectivityPolicy         ConnectivityPolicy
	DefaultGuidedFailureMode   string
	RunRetentionPolicy         RunRetention
	ForcePackageDownload       bool
	RunbookTags                []string
	NodeLabels                 []string `json:",omitempty"` // ours: only nodes that have them all run it
}

// RunRetention says how many runs of a runbook stay, per environment and tenant (deployments.md B8).
type RunRetention struct {
	Strategy          string `json:",omitempty"`
	Unit              string `json:",omitempty"`
	QuantityToKeep    int
	ShouldKeepForever bool
}

// Trigger is one filter and one action (deployments.md 10.1).
type Trigger struct {
	resource.Meta
	Name        string
	Description string
	ProjectId   string
	IsDisabled  bool
	Filter      TriggerFilter
	Action      TriggerAction
}

// TriggerFilter says when a trigger fires; FilterType tells which members count.
type TriggerFilter struct {
	FilterType      string
	EnvironmentIds  []string         `json:",omitempty"`
	Roles           []string         `json:",omitempty"`
	EventGroups     []string         `json:",omitempty"`
	EventCategories []string         `json:",omitempty"`
	CronExpression  string           `json:",omitempty"`
	Timezone        string           `json:",omitempty"`
	StartTime       string           `json:",omitempty"`
	DaysOfWeek      []string         `json:",omitempty"`
	Packages        []TriggerPackage `json:",omitempty"`
}

// TriggerPackage names a package reference a feed trigger watches.
type TriggerPackage struct {
	DeploymentActionSlug string
	PackageReference     string
}

// TriggerAction is what a trigger does; ActionType tells which members count.
type TriggerAction struct {
	ActionType                                 string
	ShouldRedeployWhenMachineHasBeenDeployedTo bool              `json:",omitempty"`
	ShouldRedeployWhenReleaseIsCurrent         *bool             `json:",omitempty"`
	SourceEnvironmentIds                       []string          `json:",omitempty"`
	DestinationEnvironmentId                   string            `json:",omitempty"`
	EnvironmentId                              string            `json:",omitempty"`
	EnvironmentIds                             []string          `json:",omitempty"`
	ChannelId                                  string            `json:",omitempty"`
	RunbookId                                  string            `json:",omitempty"`
	RunbookTags                                []string          `json:",omitempty"`
	TenantIds                                  []string          `json:",omitempty"`
	TenantTags                                 []string          `json:",omitempty"`
	FormValues                                 map[string]string `json:",omitempty"`
	Variables                                  string            `json:",omitempty"`
}
