package project

import "github.com/octavo/octavo/internal/resource"

// Channel says which lifecycle and which package versions a release may have.
type Channel struct {
	resource.Meta
	Name                   string
	ProjectId              string
	LifecycleId            string `json:",omitempty"` // "" inherits the project's
	IsDefault              bool
	Description            string
	Type                   string
	Rules                  []ChannelRule
	GitReferenceRules      []string
	GitResourceRules       []GitResourceRule
	TenantTags             []string
	CustomFieldDefinitions []CustomField
}

// ChannelRule bounds the versions of some packages (deployments.md V9).
type ChannelRule struct {
	Id                 string
	VersionRange       string
	Tag                string
	ActionPackages     []ActionPackage
	VersioningStrategy string `json:",omitempty"`
	VersionTagRegex    string `json:",omitempty"`
}

// GitResourceRule bounds the references of some actions' Git dependencies (deployments.md V14).
type GitResourceRule struct {
	Id                   string
	GitDependencyActions []GitDependencyAction
	Rules                []string
}

// GitDependencyAction names one Git dependency of one action.
type GitDependencyAction struct {
	DeploymentActionSlug string
	GitDependencyName    string
}

// CustomField is a field releases of the channel carry.
type CustomField struct {
	FieldName   string
	Description string
}
