package deployment

import (
	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/release"
	"github.com/octavo/octavo/internal/resource"
)

// Priorities of a deployment (deployments.md L12).
const (
	PriorityLifecycleDefault = "LifecycleDefault"
	PriorityOn               = "On"
	PriorityOff              = "Off"
)

// Deployment is one release going to one environment (and one tenant) by one task (deployments.md X).
type Deployment struct {
	resource.Meta
	ReleaseId string
	ChannelId string
	Request
	DeploymentProcessId      string
	ForcePackageRedeployment bool
	Changes                  []Change
	ChangesMarkdown          string                       `json:",omitempty"`
	TentacleRetentionPeriod  *environment.RetentionPolicy `json:",omitempty"`
	Priority                 string                       `json:",omitempty"`
}

// RunbookRun is one run of a runbook in one environment (and for one tenant).
type RunbookRun struct {
	resource.Meta
	RunbookId         string
	RunbookSnapshotId string
	Request
	FrozenRunbookProcessId  string
	TentacleRetentionPeriod *environment.RetentionPolicy `json:",omitempty"`
}

// Request is what a deployment and a runbook run have in common.
type Request struct {
	ProjectId                      string
	EnvironmentId                  string
	TenantId                       string `json:",omitempty"`
	TaskId                         string
	Name                           string
	Created                        resource.Time
	DeployedBy                     string
	DeployedById                   string
	ManifestVariableSetId          string
	Comments                       string `json:",omitempty"`
	FormValues                     resource.Properties
	QueueTime                      *resource.Time `json:",omitempty"`
	QueueTimeExpiry                *resource.Time `json:",omitempty"`
	SkipActions                    []string
	SpecificMachineIds             []string
	ExcludedMachineIds             []string
	SpecificTargetTagIds           []string
	ExcludedTargetTagIds           []string
	DeployedToMachineIds           []string
	ForcePackageDownload           bool
	UseGuidedFailure               bool
	FailureEncountered             bool
	DebugMode                      bool
	DeploymentFreezeNames          []string `json:",omitempty"`
	DeploymentFreezeOverrideReason string   `json:",omitempty"`
}

// Change is what one release brings to an environment (deployments.md V18).
type Change struct {
	Version          string
	ReleaseNotes     string
	BuildInformation []release.BuildInformation
	WorkItems        []release.WorkItem
	Commits          []release.Commit
}

// Freeze stops deployments for a while (deployments.md Z).
type Freeze struct {
	resource.Meta
	Name                          string
	Start                         resource.Time
	End                           resource.Time
	ProjectEnvironmentScope       map[string][]string
	TenantProjectEnvironmentScope []TenantScope
	RecurringSchedule             *Recurrence `json:",omitempty"`
	OwnerId                       string      `json:",omitempty"`
}

// TenantScope is one tenant's slice of a freeze.
type TenantScope struct{ TenantId, ProjectId, EnvironmentId string }

// Recurrence repeats a freeze (deployments.md Z5).
type Recurrence struct {
	Type                   string
	Unit                   int
	DaysOfWeek             []string `json:",omitempty"`
	MonthlyScheduleType    string   `json:",omitempty"`
	DateOfMonth            string   `json:",omitempty"`
	DayNumberOfMonth       string   `json:",omitempty"`
	DayOfWeek              string   `json:",omitempty"`
	EndType                string
	EndOnDate              *resource.Time `json:",omitempty"`
	EndAfterOccurrences    int            `json:",omitempty"`
	UserUtcOffsetInMinutes int
}
