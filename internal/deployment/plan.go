package deployment

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Plan is what a deployment will do, written before it does any of it.
type Plan struct {
	Format        int // 1
	GuidedFailure bool
	SkipLost      bool     // SkipUnavailableMachines: who cannot be reached leaves the deployment (T7)
	SkipLostRoles []string // only targets with one of these, if there are any
	Cap           int      // steps of a group at once (P10)
	Bypass        bool     // OctopusBypassDeploymentMutex (P11)
	Targets       []Target // who takes part, in the order of lanes (P7)
	LeftOut       []Left   // who does not, although a candidate: unavailable at the start (T7)
	Steps         []Step
	Warnings      []string // for the top of the log
}

// Target is a machine that takes part.
type Target struct {
	Id        string
	Name      string
	Roles     []string
	Agentless bool // has no agent: its actions run on a worker on its behalf (T1)
}

// Left is a target that left the deployment, and why.
type Left struct {
	Id, Name string
	Reason   string
	ByPerson bool // excluded by an answer, not by being out of reach
}

// Kinds of steps.
const (
	KindStep      = ""
	KindAcquire   = "acquire"   // pseudo-step: packages to targets and workers (A1)
	KindRetention = "retention" // pseudo-step: old installations on targets (A9)
)

// Names of the pseudo-steps.
const (
	AcquireName   = "Acquire packages"
	RetentionName = "Apply retention policy on Tentacles"
)

// Step is a step of the plan, or one of the two pseudo-steps.
type Step struct {
	Id         string
	Name       string
	Slug       string
	Number     int    // as people count them, from 1; 0 for pseudo-steps
	Kind       string // KindStep, KindAcquire, KindRetention
	Group      int    // groups run one after the other (P1)
	Condition  string // project.ConditionSuccess ...
	Expression string // of ConditionVariable
	Roles      []string
	RunOnce    bool     // one lane, without a target
	Targets    []string // ids, one lane each, in order
	Window     int      // lanes open at once; 0 is no limit
	Actions    []Action
	Skipped    string // why the whole step was planned away; "" when it was not
}

// Where an action runs.
const (
	OnTarget = "target"
	OnWorker = "worker" // once, or on behalf of the lane's target
	OnServer = "server" // inside the node that runs the task
)

// Action is one action of a step of the plan. Its properties stay in the frozen process, found by Id.
type Action struct {
	Id         string
	Name       string
	Slug       string
	Type       string
	Where      string
	Condition  string
	Expression string
	Required   bool
	Retries    int           // automatic ones, after the first attempt (R1)
	Backoff    time.Duration // at least this long before each of them
	Timeout    time.Duration // of one attempt; 0 is none (R4)
	Packages   []Package
	Teams      []string // responsible for a manual step (I10)
	Blocks     bool     // a waiting manual step stops other tasks of project, environment and tenant (I12)
	Repeats    bool     // declared safe to repeat: an interrupted attempt is followed by another one (W7)
	Skipped    string   // why it was planned away (T8); "" when it was not
}

// Package is one package an action needs where it runs.
type Package struct {
	Reference string // "" is the primary one
	PackageId string
	FeedId    string
	Version   string
	Location  string // project.AcquireOnServer, AcquireOnTarget
}

// Whole is the Action of a Place that means a step or a lane.
const Whole = -1

// Place is where something happens: an action of a step, in the lane of a target ("" for a run-once step).
type Place struct {
	Step   int // index in Plan.Steps
	Action int // index in Step.Actions, or Whole
	Target string
}

// String is the stored form: "2", "2@Machines-1", "2.0", "2.0@Machines-1".
func (p Place) String() string {
	s := strconv.Itoa(p.Step)
	if p.Action != Whole {
		s += "." + strconv.Itoa(p.Action)
	}
	if p.Target != "" {
		s += "@" + p.Target
	}
	return s
}

// ParsePlace reads what String wrote.
func ParsePlace(s string) (Place, error) {
	p := Place{Action: Whole}
	head, target, _ := strings.Cut(s, "@")
	p.Target = target
	step, action, has := strings.Cut(head, ".")
	var err error
	if p.Step, err = strconv.Atoi(step); err != nil || p.Step < 0 {
		return Place{}, fmt.Errorf("place %q: no step number", s)
	}
	if has {
		if p.Action, err = strconv.Atoi(action); err != nil || p.Action < 0 {
			return Place{}, fmt.Errorf("place %q: no action number", s)
		}
	}
	return p, nil
}

// State is what a row says about its place.
type State string

// The states (see the package's table).
const (
	Opened      State = "open"    // decision: the step runs
	Skipped     State = "skipped" // decision: it does not
	Running     State = "running"
	Asked       State = "asked" // a manual step waits for a person
	Succeeded   State = "succeeded"
	Failed      State = "failed"
	TimedOut    State = "timedout"
	Unreachable State = "unreachable"
	Aborted     State = "aborted"
	Interrupted State = "interrupted"
	Cancelled   State = "cancelled"
)

// Ended tells whether an attempt in this state is over.
func (s State) Ended() bool { return s != Running && s != Asked }

// Answers to a question (I2, I4).
const (
	AnswerFail    = "Fail"
	AnswerRetry   = "Retry"
	AnswerIgnore  = "Ignore"
	AnswerExclude = "Exclude"
	AnswerProceed = "Proceed"
	AnswerAbort   = "Abort"
)

// Run is one row: a decision (Attempt 0), or one attempt of an action at a place.
type Run struct {
	Place
	Attempt    int
	State      State
	Text       string // why skipped, or the error of a failed attempt (F6)
	Started    time.Time
	Ended      time.Time
	Warnings   bool     // something was logged as a warning
	Asked      bool     // a person was asked what to do about this failed attempt
	Answer     string   // and said this
	NotStarted bool     // unreachable, and the agent is known not to have started it: AutoRetry may repeat it (R5)
	Left       []Left   // a health check step: who leaves (Y1)
	Joined     []Target // and who joins
}

// Facts are what Next must know besides plan and rows.
type Facts struct {
	Now       time.Time
	Cancelled bool // somebody asked to cancel the task (C7)
	// Judge fills in a condition's expression with the variables of a place. failure is the text of
	// Octopus.Deployment.Error there, "" when nothing failed. resolved is false when a reference could not be.
	Judge func(at Place, expression, failure string) (value string, resolved bool)
}

// MoveKind says what a move is.
type MoveKind string

// The moves.
const (
	Open  MoveKind = "open"  // store a decision row, nothing to do
	Skip  MoveKind = "skip"  // store a decision row, and log Reason
	Start MoveKind = "start" // store a row "running", then run the action
	Ask   MoveKind = "ask"   // store the question with the row, then tell people
)

// Move is something to store and do now.
type Move struct {
	Kind MoveKind
	Place
	Attempt  int
	Reason   string        // of a Skip; of a Start that repeats an interrupted attempt
	Warn     bool          // the reason is worth a warning
	Where    string        // of a Start: OnTarget, OnWorker, OnServer
	Timeout  time.Duration // of a Start; 0 is none
	Failure  string        // of a Start: Octopus.Deployment.Error as this attempt sees it
	Question *Question     // of an Ask
}

// Kinds of questions, in the words of the wire (deployments.md 6).
const (
	ManualIntervention = "ManualIntervention"
	GuidedFailure      = "GuidedFailure"
)

// Question is what a person is asked.
type Question struct {
	Kind    string
	Options []string
	Teams   []string
	Error   string // of the failed attempt
}

// Decision is what Next answers. No moves, no Wake and no End: wait for what runs.
type Decision struct {
	Moves  []Move
	Wake   time.Time // the next moment at which something is due without anything ending first; zero: none
	Paused bool      // nothing runs and nothing will before a person answers: the slot may go (I11)
	Blocks bool      // Paused, and other tasks of the same turn must wait (I12)
	End    *End      // all is over
}

// End is how the task ends.
type End struct {
	State    string // Success, Failed, Canceled
	Text     string // the first failure (F6)
	Warnings bool   // HasWarningsOrErrors
}

// Wire words for the end of a task.
const (
	TaskSuccess  = "Success"
	TaskFailed   = "Failed"
	TaskCanceled = "Canceled"
)
