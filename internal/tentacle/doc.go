// Package tentacle is the contract between a server and an agent: which services an agent offers, with
// which methods, and what goes over the wire (tentacle-protocol.md 2). There is no behaviour here; the wire
// is internal/halibut, the server's side internal/hub, our agent's side internal/agent.
//
// A struct's members carry the C# names as BSON names, in the C# order, because the peer may be
// Octopus's own Tentacle. HalibutType is the $type a struct must begin with when it is a parameter or a result.
//
//	service                    method          parameters                     result
//	ICapabilitiesServiceV2     GetCapabilities -                              CapabilitiesResponseV2
//	IScriptServiceV2           StartScript     StartScriptCommandV2           ScriptStatusResponseV2
//	                           GetStatus       ScriptStatusRequestV2          ScriptStatusResponseV2
//	                           CancelScript    CancelScriptCommandV2          ScriptStatusResponseV2
//	                           CompleteScript  CompleteScriptCommandV2        -
//	IScriptService (V1)        StartScript     StartScriptCommand             ScriptTicket
//	                           GetStatus       ScriptStatusRequest            ScriptStatusResponse
//	                           CancelScript    CancelScriptCommand            ScriptStatusResponse
//	                           CompleteScript  CompleteScriptCommand          ScriptStatusResponse
//	IFileTransferService       UploadFile      string, *halibut.DataStream    UploadResult
//	                           DownloadFile    string                         *halibut.DataStream, nil when there is no such file
//	IKubernetesScriptServiceV1 as V2, with the Kubernetes types
//	IOctavoFenceServiceV1      StartScript     StartFencedScriptCommandV1     ScriptStatusResponseV2
//	                           Adopt           AdoptTaskCommandV1             AdoptTaskResponseV1
//
// # States of a script
//
//	(unknown) --StartScript--> Pending --mutex held, shell started--> Running --ended, cancelled--> Complete
//	(unknown) --GetStatus, CancelScript--> answers Complete, -45, and stays unknown
//	Complete --CompleteScript--> the workspace is gone; our agent keeps a tombstone for 30 days
//
// StartScript of V2 is idempotent by ticket; StartScript of V1 is not, so it is never retried.
package tentacle
