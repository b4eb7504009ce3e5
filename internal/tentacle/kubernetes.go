package tentacle

import "github.com/octavo/octavo/internal/halibut"

// StartKubernetesScriptCommandV1 starts a script in a pod of its own, at most once per ticket (tentacle-protocol.md 2.5).
type StartKubernetesScriptCommandV1 struct {
	IsRawScript                 bool                        `bson:"IsRawScript"`
	ScriptBody                  string                      `bson:"ScriptBody"`
	TaskId                      string                      `bson:"TaskId"`
	ScriptTicket                ScriptTicket                `bson:"ScriptTicket"`
	Isolation                   ScriptIsolationLevel        `bson:"Isolation"`
	ScriptIsolationMutexTimeout halibut.TimeSpan            `bson:"ScriptIsolationMutexTimeout"`
	IsolationMutexName          *string                     `bson:"IsolationMutexName"`
	PodImageConfiguration       *PodImageConfigurationV1    `bson:"PodImageConfiguration"`
	Scripts                     map[string]string           `bson:"Scripts"`
	Files                       []ScriptFile                `bson:"Files"`
	Arguments                   []string                    `bson:"Arguments"`
	ScriptPodServiceAccountName *string                     `bson:"ScriptPodServiceAccountName"`
	AuthContext                 *KubernetesAuthContext      `bson:"AuthContext"`
	ScriptPodPlatform           *string                     `bson:"ScriptPodPlatform"` // like linux-x64
	CalamariImageConfiguration  *CalamariImageConfiguration `bson:"CalamariImageConfiguration"`
}

// HalibutType is the $type.
func (StartKubernetesScriptCommandV1) HalibutType() string {
	return k8sType("StartKubernetesScriptCommandV1")
}

// PodImageConfigurationV1 is the image of the script's pod.
type PodImageConfigurationV1 struct {
	Image        *string `bson:"Image"`
	FeedUrl      *string `bson:"FeedUrl"`
	FeedUsername *string `bson:"FeedUsername"`
	FeedPassword *string `bson:"FeedPassword"`
}

// KubernetesAuthContext says for what the script runs.
type KubernetesAuthContext struct {
	SpaceSlug        string  `bson:"SpaceSlug"`
	ProjectSlug      string  `bson:"ProjectSlug"`
	ProjectGroupSlug *string `bson:"ProjectGroupSlug"`
	EnvironmentSlug  string  `bson:"EnvironmentSlug"`
	TenantSlug       *string `bson:"TenantSlug"`
	StepSlug         *string `bson:"StepSlug"`
}

// CalamariImageConfiguration names the image that holds the target-side tool.
type CalamariImageConfiguration struct {
	Name    string  `bson:"Name"`
	Version *string `bson:"Version"`
}

// KubernetesScriptStatusRequestV1 asks for the log lines after LastLogSequence.
type KubernetesScriptStatusRequestV1 struct {
	ScriptTicket    ScriptTicket `bson:"ScriptTicket"`
	LastLogSequence int64        `bson:"LastLogSequence"`
}

// HalibutType is the $type.
func (KubernetesScriptStatusRequestV1) HalibutType() string {
	return k8sType("KubernetesScriptStatusRequestV1")
}

// CancelKubernetesScriptCommandV1 deletes the script's pod.
type CancelKubernetesScriptCommandV1 struct {
	ScriptTicket    ScriptTicket `bson:"ScriptTicket"`
	LastLogSequence int64        `bson:"LastLogSequence"`
}

// HalibutType is the $type.
func (CancelKubernetesScriptCommandV1) HalibutType() string {
	return k8sType("CancelKubernetesScriptCommandV1")
}

// CompleteKubernetesScriptCommandV1 deletes the workspace.
type CompleteKubernetesScriptCommandV1 struct {
	ScriptTicket ScriptTicket `bson:"ScriptTicket"`
}

// HalibutType is the $type.
func (CompleteKubernetesScriptCommandV1) HalibutType() string {
	return k8sType("CompleteKubernetesScriptCommandV1")
}

// KubernetesScriptStatusResponseV1 is the answer to the first three; sequence numbers come from the pod's log.
type KubernetesScriptStatusResponseV1 struct {
	ScriptTicket    ScriptTicket    `bson:"ScriptTicket"`
	Logs            []ProcessOutput `bson:"Logs"`
	NextLogSequence int64           `bson:"NextLogSequence"`
	State           ProcessState    `bson:"State"`
	ExitCode        int32           `bson:"ExitCode"`
}

// HalibutType is the $type.
func (KubernetesScriptStatusResponseV1) HalibutType() string {
	return k8sType("KubernetesScriptStatusResponseV1")
}

func k8sType(name string) string {
	return "Octopus.Tentacle.Contracts.KubernetesScriptServiceV1." + name + ", Octopus.Tentacle.Contracts"
}
