package tentacle

import "time"

// The services, by their names on the wire.
const (
	CapabilitiesServiceV2     = "ICapabilitiesServiceV2"
	ScriptServiceV1           = "IScriptService"
	ScriptServiceV2           = "IScriptServiceV2"
	FileTransferService       = "IFileTransferService"
	KubernetesScriptServiceV1 = "IKubernetesScriptServiceV1"
	FenceServiceV1            = "IOctavoFenceServiceV1" // our own agent's; no Tentacle has it
)

// The methods, by their names on the wire.
const (
	GetCapabilities = "GetCapabilities"
	StartScript     = "StartScript"
	GetStatus       = "GetStatus"
	CancelScript    = "CancelScript"
	CompleteScript  = "CompleteScript"
	UploadFile      = "UploadFile"
	DownloadFile    = "DownloadFile"
	Adopt           = "Adopt"
)

// Ports an agent and a server listen on unless told otherwise.
const (
	ListeningPort = 10933
	PollingPort   = 10943
)

// CapabilitiesTTL is how long an answer to GetCapabilities may be believed.
const CapabilitiesTTL = 10 * time.Minute

// CapabilitiesResponseV2 lists the services an agent offers (tentacle-protocol.md 2.2).
type CapabilitiesResponseV2 struct {
	SupportedCapabilities []string `bson:"SupportedCapabilities"`
}

// HalibutType is the $type.
func (CapabilitiesResponseV2) HalibutType() string {
	return "Octopus.Tentacle.Contracts.Capabilities.CapabilitiesResponseV2, Octopus.Tentacle.Contracts"
}

// OldCapabilities is what an agent without a capabilities service can do.
func OldCapabilities() CapabilitiesResponseV2 {
	return CapabilitiesResponseV2{SupportedCapabilities: []string{ScriptServiceV1, FileTransferService}}
}
