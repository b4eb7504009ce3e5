package tentacle

import (
	"fmt"
	"math"
	"time"

	"github.com/octavo/octavo/internal/halibut"
)

// ProcessState is how far a script is (tentacle-protocol.md 2.1).
type ProcessState int32

// The states a script may be in.
const (
	Pending  ProcessState = 0
	Running  ProcessState = 1
	Complete ProcessState = 2
)

// String names a state.
func (s ProcessState) String() string {
	return enumName(int32(s), "Pending", "Running", "Complete")
}

// ProcessOutputSource is where a line of a log comes from.
type ProcessOutputSource int32

// The sources; Debug lines are the agent's own and belong to the verbose log.
const (
	StdOut ProcessOutputSource = 0
	StdErr ProcessOutputSource = 1
	Debug  ProcessOutputSource = 2
)

// String names a source.
func (s ProcessOutputSource) String() string {
	return enumName(int32(s), "StdOut", "StdErr", "Debug")
}

// ScriptIsolationLevel says what may run beside a script on the same agent under the same mutex name.
type ScriptIsolationLevel int32

// NoIsolation reads the lock, FullIsolation writes it.
const (
	NoIsolation   ScriptIsolationLevel = 0
	FullIsolation ScriptIsolationLevel = 1
)

// String names a level.
func (l ScriptIsolationLevel) String() string {
	return enumName(int32(l), "NoIsolation", "FullIsolation")
}

func enumName(n int32, names ...string) string {
	if n >= 0 && int(n) < len(names) {
		return names[n]
	}
	return fmt.Sprintf("unknown (%d)", n)
}

// DefaultMutex is the isolation mutex of a script that names none.
const DefaultMutex = "RunningScript"

// The keys of Scripts: which shell a body is for.
const (
	PowerShell = "PowerShell"
	Bash       = "Bash"
)

// Exit codes that are an agent's own (tentacle-protocol.md 2.1); the others are the script's.
const (
	ExitFatal         int32 = -41 // the log could not be written
	ExitNoShell       int32 = -42 // the shell could not be started
	ExitCanceled      int32 = -43
	ExitMutexTimeout  int32 = -44
	ExitUnknownScript int32 = -45 // nothing is known about the ticket
	ExitUnknownResult int32 = -46 // the agent restarted while the script ran
	ExitNoPowerShell  int32 = -47
	ExitPodNotFound   int32 = -81
)

// NoMutexTimeout is the longest wait for a mutex; it and zero mean "no limit" (tentacle-protocol.md 2.7).
const NoMutexTimeout = halibut.TimeSpan(math.MaxInt32 * time.Millisecond)

// ScriptTicket names one run of a script on one agent.
type ScriptTicket struct {
	TaskId string `bson:"TaskId"`
}

// HalibutType is the $type of a ticket that is a result (V1 only).
func (ScriptTicket) HalibutType() string { return v1Type("ScriptTicket") }

// ProcessOutput is one line of a script's log.
type ProcessOutput struct {
	Source   ProcessOutputSource `bson:"Source"`
	Occurred time.Time           `bson:"Occurred"` // to the millisecond
	Text     string              `bson:"Text"`
}

// ScriptFile is saved in the workspace before the script starts; Name may hold sub-folders.
type ScriptFile struct {
	Name               string              `bson:"Name"`
	Contents           *halibut.DataStream `bson:"Contents"`
	EncryptionPassword *string             `bson:"EncryptionPassword"`
}

// StartScriptCommandV2 starts a script at most once per ticket (tentacle-protocol.md 2.3).
type StartScriptCommandV2 struct {
	ScriptTicket                    ScriptTicket         `bson:"ScriptTicket"`
	ScriptBody                      string               `bson:"ScriptBody"`
	TaskId                          string               `bson:"TaskId"` // the server task's id; other scripts' logs show it while they wait
	DurationToWaitForScriptToFinish *halibut.TimeSpan    `bson:"DurationToWaitForScriptToFinish"`
	Isolation                       ScriptIsolationLevel `bson:"Isolation"`
	ScriptIsolationMutexTimeout     halibut.TimeSpan     `bson:"ScriptIsolationMutexTimeout"`
	IsolationMutexName              *string              `bson:"IsolationMutexName"` // nil is DefaultMutex
	Scripts                         map[string]string    `bson:"Scripts"`            // keys Bash and PowerShell; wins over ScriptBody
	Files                           []ScriptFile         `bson:"Files"`
	Arguments                       []string             `bson:"Arguments"` // joined by spaces, unquoted: quote them yourself
}

// HalibutType is the $type.
func (StartScriptCommandV2) HalibutType() string { return v2Type("StartScriptCommandV2") }

// ScriptStatusRequestV2 asks for the log lines after the first LastLogSequence ones.
type ScriptStatusRequestV2 struct {
	Ticket          ScriptTicket `bson:"Ticket"`
	LastLogSequence int64        `bson:"LastLogSequence"`
}

// HalibutType is the $type.
func (ScriptStatusRequestV2) HalibutType() string { return v2Type("ScriptStatusRequestV2") }

// CancelScriptCommandV2 kills the script's processes; it is repeated until the state is Complete.
type CancelScriptCommandV2 struct {
	Ticket          ScriptTicket `bson:"Ticket"`
	LastLogSequence int64        `bson:"LastLogSequence"`
}

// HalibutType is the $type.
func (CancelScriptCommandV2) HalibutType() string { return v2Type("CancelScriptCommandV2") }

// CompleteScriptCommandV2 deletes the workspace; called once, at the end.
type CompleteScriptCommandV2 struct {
	Ticket ScriptTicket `bson:"Ticket"`
}

// HalibutType is the $type.
func (CompleteScriptCommandV2) HalibutType() string { return v2Type("CompleteScriptCommandV2") }

// ScriptStatusResponseV2 holds the new log lines, and the count of lines to pass as LastLogSequence next time.
// The first answer that says Complete may miss the last lines: ask once more before CompleteScript.
type ScriptStatusResponseV2 struct {
	Ticket          ScriptTicket    `bson:"Ticket"`
	Logs            []ProcessOutput `bson:"Logs"`
	NextLogSequence int64           `bson:"NextLogSequence"`
	State           ProcessState    `bson:"State"`
	ExitCode        int32           `bson:"ExitCode"`
}

// HalibutType is the $type.
func (ScriptStatusResponseV2) HalibutType() string { return v2Type("ScriptStatusResponseV2") }

func v2Type(name string) string {
	return "Octopus.Tentacle.Contracts.ScriptServiceV2." + name + ", Octopus.Tentacle.Contracts"
}
