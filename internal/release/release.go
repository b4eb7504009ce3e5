package release

import "github.com/octavo/octavo/internal/resource"

// Release is a frozen copy of a project's process, variables and package versions (deployments.md V1).
type Release struct {
	resource.Meta
	Version                            string
	ProjectId                          string
	ChannelId                          string
	ReleaseNotes                       string `json:",omitempty"`
	Assembled                          resource.Time
	IgnoreChannelRules                 bool
	SelectedPackages                   []SelectedPackage
	SelectedGitResources               []SelectedGitResource
	BuildInformation                   []BuildInformation
	ProjectVariableSetSnapshotId       string
	ProjectDeploymentProcessSnapshotId string
	LibraryVariableSetSnapshotIds      []string
	CustomFields                       map[string]string
	VersionControlReference            *GitReference `json:",omitempty"`
}

// SelectedPackage is the version chosen for one package reference of one action (deployments.md V7).
type SelectedPackage struct {
	ActionName           string
	StepName             string
	PackageReferenceName string
	Version              string
}

// SelectedGitResource is the commit chosen for one Git dependency.
type SelectedGitResource struct {
	ActionName               string
	GitReferenceName         string `json:",omitempty"`
	GitResourceReferenceName string `json:",omitempty"`
	GitReference             GitReference
}

// GitReference names a commit by how it was asked for and by what it is.
type GitReference struct {
	GitRef    string
	GitCommit string
}

// BuildInformation is what the build server told about one package of a release.
type BuildInformation struct {
	PackageId        string
	Version          string
	Branch           string
	BuildEnvironment string
	BuildNumber      string
	BuildUrl         string
	VcsType          string
	VcsRoot          string
	VcsCommitNumber  string
	VcsCommitUrl     string
	WorkItems        []WorkItem
	Commits          []Commit
}

// WorkItem is an issue a build mentions.
type WorkItem struct {
	Id          string
	LinkUrl     string
	Source      string
	Description string
}

// Commit is one commit of a build.
type Commit struct {
	Id      string
	LinkUrl string
	Comment string
}

// RunbookSnapshot is to a runbook what a release is to a project (deployments.md B2).
type RunbookSnapshot struct {
	resource.Meta
	Name                          string
	Notes                         string `json:",omitempty"`
	RunbookId                     string
	ProjectId                     string
	Assembled                     resource.Time
	FrozenRunbookProcessId        string
	FrozenProjectVariableSetId    string
	ProjectVariableSetSnapshotId  string
	LibraryVariableSetSnapshotIds []string
	SelectedPackages              []SelectedPackage
	SelectedGitResources          []SelectedGitResource
}

// Statuses of a defect (deployments.md D1).
const (
	DefectUnresolved = "Unresolved"
	DefectResolved   = "Resolved"
)

// Defect blocks a release from going further (deployments.md D1, D2).
type Defect struct {
	resource.Meta
	ReleaseId   string `json:",omitempty"`
	Description string
	Status      string
}
