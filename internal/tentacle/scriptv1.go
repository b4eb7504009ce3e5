package tentacle

import "github.com/octavo/octavo/internal/halibut"

// StartScriptCommand starts a script on an old agent, which makes the ticket. It is not idempotent: never retried (tentacle-protocol.md 2.4).
type StartScriptCommand struct {
	ScriptBody                  string               `bson:"ScriptBody"`
	Isolation                   ScriptIsolationLevel `bson:"Isolation"`
	ScriptIsolationMutexTimeout halibut.TimeSpan     `bson:"ScriptIsolationMutexTimeout"`
	IsolationMutexName          *string              `bson:"IsolationMutexName"`
	Scripts                     map[string]string    `bson:"Scripts"`
	Files                       []ScriptFile         `bson:"Files"`
	Arguments                   []string             `bson:"Arguments"`
	TaskId                      *string              `bson:"TaskId"`
}

// HalibutType is the $type.
func (StartScriptCommand) HalibutType() string { return v1Type("StartScriptCommand") }

// ScriptStatusRequest asks for the log lines after the first LastLogSequence ones.
type ScriptStatusRequest struct {
	Ticket          ScriptTicket `bson:"Ticket"`
	LastLogSequence int64        `bson:"LastLogSequence"`
}

// HalibutType is the $type.
func (ScriptStatusRequest) HalibutType() string { return v1Type("ScriptStatusRequest") }

// CancelScriptCommand kills the script's processes.
type CancelScriptCommand struct {
	Ticket          ScriptTicket `bson:"Ticket"`
	LastLogSequence int64        `bson:"LastLogSequence"`
}

// HalibutType is the $type.
func (CancelScriptCommand) HalibutType() string { return v1Type("CancelScriptCommand") }

// CompleteScriptCommand ends a script; the answer holds the last lines and the definitive exit code.
type CompleteScriptCommand struct {
	Ticket          ScriptTicket `bson:"Ticket"`
	LastLogSequence int64        `bson:"LastLogSequence"`
}

// HalibutType is the $type.
func (CompleteScriptCommand) HalibutType() string { return v1Type("CompleteScriptCommand") }

// ScriptStatusResponse is V1's answer; its members are those of ScriptStatusResponseV2.
type ScriptStatusResponse struct {
	Ticket          ScriptTicket    `bson:"Ticket"`
	Logs            []ProcessOutput `bson:"Logs"`
	NextLogSequence int64           `bson:"NextLogSequence"`
	State           ProcessState    `bson:"State"`
	ExitCode        int32           `bson:"ExitCode"`
}

// HalibutType is the $type.
func (ScriptStatusResponse) HalibutType() string { return v1Type("ScriptStatusResponse") }

// v1Type is the historic name: old Tentacles know no other, current ones translate (tentacle-protocol.md 1.10).
func v1Type(name string) string {
	return "Octopus.Shared.Contracts." + name + ", Octopus.Shared"
}
