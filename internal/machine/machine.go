package machine

import "github.com/octavo/octavo/internal/resource"

// Health statuses (deployments.md H1).
const (
	Healthy     = "Healthy"
	HasWarnings = "HasWarnings"
	Unhealthy   = "Unhealthy"
	Unavailable = "Unavailable"
	Unknown     = "Unknown"
)

// Participation of a machine, an account or a certificate in tenanted deployments (deployments.md N3).
const (
	Untenanted           = "Untenanted"
	Tenanted             = "Tenanted"
	TenantedOrUntenanted = "TenantedOrUntenanted"
)

// Machine is a deployment target.
type Machine struct {
	resource.Meta
	Name                            string
	Slug                            string
	Endpoint                        Endpoint
	Thumbprint                      string `json:",omitempty"`
	Uri                             string `json:",omitempty"`
	EnvironmentIds                  []string
	Roles                           []string // "target tags"
	TenantIds                       []string
	TenantTags                      []string
	TenantedDeploymentParticipation string
	MachinePolicyId                 string
	IsDisabled                      bool
	Health
}

// Health is what the server found out about a machine or a worker. No client writes it.
type Health struct {
	HealthStatus      string
	Status            string
	StatusSummary     string
	IsInProcess       bool
	HasLatestCalamari bool
	OperatingSystem   string
	ShellName         string
	ShellVersion      string
	Architecture      string `json:",omitempty"`
}

// Worker runs what runs on no target.
type Worker struct {
	resource.Meta
	Name            string
	Slug            string
	Endpoint        Endpoint
	Thumbprint      string `json:",omitempty"`
	Uri             string `json:",omitempty"`
	WorkerPoolIds   []string
	MachinePolicyId string
	IsDisabled      bool
	Health
}

// Kinds of worker pools.
const (
	StaticWorkerPool  = "StaticWorkerPool"
	DynamicWorkerPool = "DynamicWorkerPool"
)

// WorkerPool is a set of workers of one kind (deployments.md W1).
type WorkerPool struct {
	resource.Meta
	Name           string
	Slug           string
	Description    string
	WorkerPoolType string
	WorkerType     string `json:",omitempty"`
	IsDefault      bool
	CanAddWorkers  bool
	SortOrder      int
}

// Communication styles of an endpoint.
const (
	StyleNone               = "None"
	StyleTentaclePassive    = "TentaclePassive" // it listens, we dial
	StyleTentacleActive     = "TentacleActive"  // it polls us
	StyleSsh                = "Ssh"
	StyleKubernetes         = "Kubernetes"
	StyleKubernetesTentacle = "KubernetesTentacle"
	StyleOfflineDrop        = "OfflineDrop"
)

// Endpoint says how a machine is reached; CommunicationStyle tells which members count.
// Members of styles we do not act on are kept by the store and are not named here.
type Endpoint struct {
	CommunicationStyle            string
	Uri                           string                 `json:",omitempty"`
	Thumbprint                    string                 `json:",omitempty"`
	CertificateSignatureAlgorithm string                 `json:",omitempty"`
	ProxyId                       string                 `json:",omitempty"`
	TentacleVersionDetails        *TentacleVersion       `json:",omitempty"`
	TentacleEndpointConfiguration *TentacleConfiguration `json:",omitempty"`
	KubernetesAgentDetails        map[string]any         `json:",omitempty"`
	AccountId                     string                 `json:",omitempty"`
	Host                          string                 `json:",omitempty"`
	Port                          int                    `json:",omitempty"`
	Fingerprint                   string                 `json:",omitempty"`
	HostKeyAlgorithm              string                 `json:",omitempty"`
	DotNetCorePlatform            string                 `json:",omitempty"`
	DefaultWorkerPoolId           string                 `json:",omitempty"`
	WorkerPoolId                  string                 `json:",omitempty"`
}

// TentacleVersion is what an agent said about itself.
type TentacleVersion struct {
	Version          string
	UpgradeSuggested bool
	UpgradeRequired  bool
	UpgradeLocked    bool
}

// TentacleConfiguration is how a Kubernetes agent wraps the two ways of being reached.
type TentacleConfiguration struct {
	CommunicationMode             string
	Uri                           string
	Thumbprint                    string
	CertificateSignatureAlgorithm string `json:",omitempty"`
}
