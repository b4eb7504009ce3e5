package tentacle

import (
	"errors"
	"fmt"
	"time"

	"github.com/octavo/octavo/internal/halibut"
)

// TombstoneLife is how long our agent answers for a ticket that was completed.
const TombstoneLife = 30 * 24 * time.Hour

// Fence is a claim's token: which task, and the how-manieth owner of it speaks (reliability-and-security.md M5).
// Tokens are ordered by Incarnation, then by Claim.
type Fence struct {
	TaskId      string `bson:"TaskId"`
	Incarnation int64  `bson:"Incarnation"`
	Claim       int64  `bson:"Claim"`
}

// Below says whether another owner of the same task came after this one.
func (f Fence) Below(highest Fence) bool {
	if f.Incarnation != highest.Incarnation {
		return f.Incarnation < highest.Incarnation
	}
	return f.Claim < highest.Claim
}

// StartFencedScriptCommandV1 is StartScript of V2 under a fence. The agent
//   - refuses it with a FencedError if it has seen a higher fence for the task (I1b);
//   - otherwise keeps this fence as the highest, durably, before anything starts;
//   - answers for a ticket it knows, running, ended or a tombstone, without starting again.
//
// A tombstone's answer is Complete with the exit code it ended with, no logs, and the count of lines there were.
type StartFencedScriptCommandV1 struct {
	Fence   Fence                `bson:"Fence"`
	Command StartScriptCommandV2 `bson:"Command"`
}

// HalibutType is the $type.
func (StartFencedScriptCommandV1) HalibutType() string {
	return fenceType("StartFencedScriptCommandV1")
}

// AdoptTaskCommandV1 is what a task's new owner says first: no earlier owner may start anything from here on.
// A lower fence than the highest seen is refused with a FencedError.
type AdoptTaskCommandV1 struct {
	Fence Fence `bson:"Fence"`
}

// HalibutType is the $type.
func (AdoptTaskCommandV1) HalibutType() string { return fenceType("AdoptTaskCommandV1") }

// AdoptTaskResponseV1 lists the task's tickets that the agent knows, not those of tombstones.
type AdoptTaskResponseV1 struct {
	Tickets []ScriptTicket `bson:"Tickets"`
}

// HalibutType is the $type.
func (AdoptTaskResponseV1) HalibutType() string { return fenceType("AdoptTaskResponseV1") }

func fenceType(name string) string { return "Octavo.Fence." + name + ", Octavo" }

// FencedError is the agent's refusal of an owner that is no more.
type FencedError struct {
	Asked, Highest Fence
}

// Error tells a person what happened.
func (e *FencedError) Error() string {
	return fmt.Sprintf("task %s is owned by claim %d.%d now; claim %d.%d may start nothing any more",
		e.Asked.TaskId, e.Highest.Incarnation, e.Highest.Claim, e.Asked.Incarnation, e.Asked.Claim)
}

const fencedErrorType = "Octavo.FencedException"

// HalibutErrorType is how the refusal is told from other failures on the wire.
func (e *FencedError) HalibutErrorType() string { return fencedErrorType }

// IsFenced says whether a call was refused because of its fence.
func IsFenced(err error) bool {
	var remote *halibut.RemoteError
	return errors.As(err, &remote) && remote.Type == fencedErrorType
}
