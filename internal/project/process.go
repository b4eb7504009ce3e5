package project

import "github.com/octavo/octavo/internal/resource"

// Conditions of a step; an action knows Success and Variable only (deployments.md 0.2, C).
const (
	ConditionSuccess  = "Success"
	ConditionFailure  = "Failure"
	ConditionAlways   = "Always"
	ConditionVariable = "Variable"
)

// Start triggers of a step (deployments.md P2).
const (
	StartAfterPrevious = "StartAfterPrevious"
	StartWithPrevious  = "StartWithPrevious"
)

// Package requirements of a step (deployments.md A2).
const (
	LetOctopusDecide         = "LetOctopusDecide"
	BeforePackageAcquisition = "BeforePackageAcquisition"
	AfterPackageAcquisition  = "AfterPackageAcquisition"
)

// Process is an ordered list of steps: a project's, a runbook's, or a release's frozen copy of one.
type Process struct {
	resource.Meta
	ProjectId      string
	RunbookId      string `json:",omitempty"`
	Version        int
	LastSnapshotId string `json:",omitempty"`
	Steps          []Step
}

// Step holds one or more actions in order (deployments.md 0.1).
type Step struct {
	Id                 string
	Name               string
	Slug               string
	Condition          string
	StartTrigger       string
	PackageRequirement string
	Properties         resource.Properties
	Actions            []Action
}

// Action is one thing a step does.
type Action struct {
	Id                            string
	Name                          string
	Slug                          string
	ActionType                    string
	Properties                    resource.Properties
	Packages                      []PackageReference
	GitDependencies               []GitDependency
	Container                     Container
	WorkerPoolId                  string `json:",omitempty"`
	WorkerPoolVariable            string `json:",omitempty"`
	Environments                  []string
	ExcludedEnvironments          []string
	Channels                      []string
	TenantTags                    []string
	IsDisabled                    bool
	IsRequired                    bool
	CanBeUsedForProjectVersioning bool
	Condition                     string `json:",omitempty"`
	Notes                         string `json:",omitempty"`
	StepPackageVersion            string `json:",omitempty"`
}

// Acquisition locations of a package reference; the value may also be an expression.
const (
	AcquireOnServer = "Server"
	AcquireOnTarget = "ExecutionTarget"
	NotAcquired     = "NotAcquired"
)

// PackageReference is a package an action needs; Name "" is the primary one.
type PackageReference struct {
	Id                  string
	Name                string
	PackageId           string
	FeedId              string
	AcquisitionLocation string
	Properties          map[string]string
	Version             string `json:",omitempty"` // fixed: skips selection (V7)
}

// GitDependency is a repository an action reads files from.
type GitDependency struct {
	Name                         string
	RepositoryUri                string
	DefaultBranch                string
	GitCredentialType            string
	GitCredentialId              string `json:",omitempty"`
	FilePathFilters              []string
	StepPackageInputsReferenceId string `json:",omitempty"`
}

// Container is the image an action runs in; empty for none.
type Container struct {
	Image  string `json:",omitempty"`
	FeedId string `json:",omitempty"`
}
