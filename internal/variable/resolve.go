package variable

// Source says where a candidate comes from, which breaks ties (variables.md 3.4, 3.5).
type Source int

// The sources, the strongest first.
const (
	SourceProject Source = iota // a project's values, tenant values, prompts, outputs, generated ones
	SourceLibrary               // values of included library sets
	SourceDefault               // built-in settings a user may define himself (variables.md 4.2)
)

// Candidate is a value with its source. Candidates are given in order of precedence among equals:
// project set, then library sets in the project's inclusion order.
type Candidate struct {
	Variable
	Source Source
}

// Context is the situation of a lookup; what does not exist in it is empty (variables.md 3.2).
type Context struct {
	Environment  string
	Machine      string
	MachineRoles []string // roles of Machine
	StepRoles    []string // roles the step targets
	Action       string   // the action's id; or, with ActionStep, also the step's
	Tenant       string
	TenantTags   []string // canonical Set/Tag names
	Channel      string
	ProcessOwner string // project id: its deployment process; runbook id: that runbook
	Project      string
}
