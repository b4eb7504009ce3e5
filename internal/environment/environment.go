package environment

import "github.com/octavo/octavo/internal/resource"

// Environment is a group of targets a release is deployed to.
type Environment struct {
	resource.Meta
	Name                       string
	Slug                       string
	Description                string
	SortOrder                  int
	UseGuidedFailure           bool
	AllowDynamicInfrastructure bool
	EnvironmentTags            []string
	NodeLabels                 []string `json:",omitempty"` // ours: only nodes that have them all run tasks for it
	ExtensionSettings          []ExtensionSettings
}

// ExtensionSettings are kept for extensions; nothing here reads them.
type ExtensionSettings struct {
	ExtensionId string
	Values      map[string]any
}

// Lifecycle orders environments into phases (deployments.md 2).
type Lifecycle struct {
	resource.Meta
	Name                    string
	Slug                    string
	Description             string
	Phases                  []Phase
	ReleaseRetentionPolicy  *RetentionPolicy
	TentacleRetentionPolicy *RetentionPolicy
}

// Phase is one stage of a lifecycle.
type Phase struct {
	Id                                 string
	Name                               string
	AutomaticDeploymentTargets         []string
	OptionalDeploymentTargets          []string
	MinimumEnvironmentsBeforePromotion int
	IsOptionalPhase                    bool
	IsPriorityPhase                    bool
	ReleaseRetentionPolicy             *RetentionPolicy `json:",omitempty"`
	TentacleRetentionPolicy            *RetentionPolicy `json:",omitempty"`
}

// Strategies and units of a retention policy.
const (
	RetainDefault = "Default"
	RetainForever = "Forever"
	RetainCount   = "Count"

	Days  = "Days"
	Items = "Items"
)

// RetentionPolicy says how much stays (deployments.md 11). QuantityToKeep 0 without a strategy is forever (K8).
type RetentionPolicy struct {
	Strategy          string `json:",omitempty"`
	Unit              string `json:",omitempty"`
	QuantityToKeep    int
	ShouldKeepForever bool
}

// Tenant is somebody a project is deployed for (deployments.md 8).
type Tenant struct {
	resource.Meta
	Name                string
	Slug                string
	Description         string
	ProjectEnvironments map[string][]string // project id -> the environments it is connected to (N2)
	TenantTags          []string            // "Set/Tag"
	IsDisabled          bool
	ClonedFromTenantId  string `json:",omitempty"`
}

// TagSet is a list of tags of which a tenant (or another resource) carries some.
type TagSet struct {
	resource.Meta
	Name        string
	Slug        string
	Description string
	SortOrder   int
	Scopes      []string
	Type        string
	Tags        []Tag
}

// Tag is one of a tag set; CanonicalTagName is "Set/Tag".
type Tag struct {
	Id               string
	Name             string
	Slug             string
	CanonicalTagName string
	Color            string
	Description      string
	SortOrder        int
}
