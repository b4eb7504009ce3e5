package machine

import "github.com/octavo/octavo/internal/resource"

// Behaviours of a machine policy (deployments.md H3, M2, M3).
const (
	ExpectedToBeOnline          = "ExpectedToBeOnline"
	MayBeOfflineAndCanBeSkipped = "MayBeOfflineAndCanBeSkipped"
	CheckRunScript              = "RunScript"
	CheckOnlyConnectivity       = "OnlyConnectivity"
	ScriptInheritFromDefault    = "InheritFromDefault"
	ScriptInline                = "Inline"
	DoNotDeleteMachines         = "DoNotDelete"
	DeleteUnavailableMachines   = "DeleteUnavailableMachines"
	CalamariUpdateOnDeployment  = "UpdateOnDeployment"
	CalamariUpdateOnNewMachine  = "UpdateOnNewMachine"
	CalamariUpdateAlways        = "UpdateAlways"
	TentacleNeverUpdate         = "NeverUpdate"
	TentacleUpdate              = "Update"
)

// Policy is a MachinePolicy: how machines are reached, checked, cleaned up and updated (deployments.md M1-M5).
// Spans of time are texts on the wire ("d.hh:mm:ss"); ParseSpan reads them.
type Policy struct {
	resource.Meta
	Name                                          string
	Description                                   string
	IsDefault                                     bool
	ConnectionConnectTimeout                      string `json:",omitempty"`
	ConnectionRetryCountLimit                     int
	ConnectionRetrySleepInterval                  string `json:",omitempty"`
	ConnectionRetryTimeLimit                      string `json:",omitempty"`
	PollingRequestQueueTimeout                    string `json:",omitempty"`
	PollingRequestMaximumMessageProcessingTimeout string `json:",omitempty"`
	MachineHealthCheckPolicy                      HealthCheckPolicy
	MachineConnectivityPolicy                     ConnectivityPolicy
	MachineCleanupPolicy                          CleanupPolicy
	MachineUpdatePolicy                           UpdatePolicy
	MachineRpcCallRetryPolicy                     RpcCallRetryPolicy
	MachinePackageCacheRetentionPolicy            PackageCacheRetentionPolicy
}

// HealthCheckPolicy says when and how health is checked (deployments.md H2, M1).
type HealthCheckPolicy struct {
	HealthCheckType             string
	HealthCheckInterval         string `json:",omitempty"`
	HealthCheckCron             string `json:",omitempty"`
	HealthCheckCronTimezone     string `json:",omitempty"`
	PowerShellHealthCheckPolicy ScriptPolicy
	BashHealthCheckPolicy       ScriptPolicy
}

// ScriptPolicy is the health check's script for one shell.
type ScriptPolicy struct {
	RunType    string
	ScriptBody string `json:",omitempty"`
}

// ConnectivityPolicy says whether an unreachable machine fails a health check (deployments.md H3).
type ConnectivityPolicy struct{ MachineConnectivityBehavior string }

// CleanupPolicy says when an unavailable machine is deleted (deployments.md M2).
type CleanupPolicy struct {
	DeleteMachinesBehavior        string
	DeleteMachinesElapsedTimeSpan string `json:",omitempty"`
}

// UpdatePolicy says when runner and agent are updated (deployments.md M3).
type UpdatePolicy struct {
	CalamariUpdateBehavior  string
	TentacleUpdateBehavior  string
	TentacleUpdateAccountId string `json:",omitempty"`
}

// RpcCallRetryPolicy says for how long a lost connection is tried again (deployments.md M4).
type RpcCallRetryPolicy struct {
	Enabled                  bool
	DeploymentRetryDuration  string `json:",omitempty"`
	HealthCheckRetryDuration string `json:",omitempty"`
}

// PackageCacheRetentionPolicy bounds a target's package cache (deployments.md K26).
type PackageCacheRetentionPolicy struct {
	Strategy                 string `json:",omitempty"`
	PackageUnit              string `json:",omitempty"`
	QuantityOfPackagesToKeep int
	VersionUnit              string `json:",omitempty"`
	QuantityOfVersionsToKeep int
}
