package variable

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/fault"
)

// Prompt asks for a value when a deployment or a runbook run is created (variables.md 7).
type Prompt struct {
	Label           string
	Description     string
	Required        bool
	DisplaySettings map[string]string `json:",omitempty"`
}

// Keys of Prompt.DisplaySettings.
const (
	DisplayControlType   = "Octopus.ControlType"
	DisplaySelectOptions = "Octopus.SelectOptions"
)

// ControlType is how a prompt is shown.
type ControlType string

// The controls (variables.md 7).
const (
	ControlSingleLineText ControlType = "SingleLineText"
	ControlMultiLineText  ControlType = "MultiLineText"
	ControlSelect         ControlType = "Select"
	ControlCheckbox       ControlType = "Checkbox"
	ControlSensitive      ControlType = "Sensitive"
)

// Option is one line of a Select.
type Option struct {
	Value string
	Label string
}

// Control reads the display settings: the kind of control, SingleLineText if none is named, and what a
// Select offers, one value|label a line with the label optional. Kinds of other products (accounts,
// certificates, worker pools) come through as they are.
func (p Prompt) Control() (kind ControlType, options []Option) {
	kind = ControlSingleLineText
	if s := p.DisplaySettings[DisplayControlType]; s != "" {
		kind = ControlType(s)
	}
	for line := range strings.Lines(p.DisplaySettings[DisplaySelectOptions]) {
		line = strings.TrimRight(line, "\r\n")
		value, label, ok := strings.Cut(line, "|")
		value, label = strings.TrimSpace(value), strings.TrimSpace(label)
		if value == "" && label == "" {
			continue
		}
		if !ok || label == "" {
			label = value
		}
		options = append(options, Option{Value: value, Label: label})
	}
	return kind, options
}

// Question is one field of the form; its key there is the variable's id.
type Question struct {
	Variable Variable
	Label    string
	Control  ControlType
	Options  []Option
}

// hasDefault tells whether the stored value would do.
func (q Question) hasDefault() bool {
	return strings.TrimSpace(q.Variable.Text()) != "" || q.Variable.SecretId != ""
}

// Questions lists what to ask for a run of which only the plan is known (variables.md 7).
func Questions(candidates []Candidate, plan Context) []Question {
	var questions []Question
	for _, v := range candidates {
		if v.Prompt == nil || !asked(candidates, v, plan) {
			continue
		}
		q := Question{Variable: v.Variable, Label: cmp.Or(strings.TrimSpace(v.Prompt.Label), v.Name)}
		q.Control, q.Options = v.Prompt.Control()
		if v.Sensitive() {
			q.Control = ControlSensitive
		}
		questions = append(questions, q)
	}
	slices.SortStableFunc(questions, func(a, b Question) int { return cmp.Compare(fold(a.Label), fold(b.Label)) })
	return questions
}

// lateFields are decided only when a step meets a target, so they never keep a prompt from being asked.
var lateFields = []Field{FieldAction, FieldMachine, FieldRole}

func asked(candidates []Candidate, v Candidate, plan Context) bool {
	early := maps.Clone(v.Scope)
	late := 0
	for _, f := range lateFields {
		if len(early[f]) == 0 {
			continue
		}
		late += weights[f]
		if f == FieldRole {
			late += weights[FieldTargetRole] - weights[FieldRole]
		}
		delete(early, f)
	}
	weight, ok := early.Rank(plan)
	if !ok {
		return false
	}
	for _, other := range candidates {
		if other.Prompt != nil || fold(other.Name) != fold(v.Name) {
			continue
		}
		if w, ok := other.Scope.Rank(plan); ok && w > weight+late {
			return false // it certainly wins, whatever is typed
		}
	}
	return true
}

// Answer matches what a client gave, by id, label or name, with the questions. Values come back by the
// variable's id, ready for FormValues; a question without an answer is absent and keeps its stored value.
func Answer(questions []Question, given map[string]string) (values map[string]string, warnings []string, err error) {
	values = map[string]string{}
	for _, key := range sortedKeys(given) {
		known := false
		for _, q := range questions {
			if q.Variable.Id == key || strings.EqualFold(q.Label, key) || strings.EqualFold(q.Variable.Name, key) {
				known = true
				if _, byID := given[q.Variable.Id]; byID && q.Variable.Id != key {
					continue // the id says it more exactly
				}
				values[q.Variable.Id] = q.normal(given[key])
			}
		}
		if !known {
			warnings = append(warnings, "Nothing asks for "+key+" here, so its value is ignored.")
		}
	}
	var lacking []string
	for _, q := range questions {
		value, answered := values[q.Variable.Id]
		if !q.Variable.Prompt.Required {
			continue
		}
		if answered && strings.TrimSpace(value) == "" || !answered && !q.hasDefault() {
			lacking = append(lacking, q.Label)
		}
	}
	if len(lacking) > 0 {
		return nil, warnings, fault.InvalidField("FormValues", "Please give a value for: %s.", strings.Join(lacking, ", "))
	}
	return values, warnings, nil
}

// normal gives a checkbox its words.
func (q Question) normal(value string) string {
	if q.Control != ControlCheckbox {
		return value
	}
	return boolText(Truthy(value))
}

// Typed makes the value that was typed, which beats every stored one where it applies (variables.md 7).
func Typed(v Variable, value string) Candidate {
	v.Value, v.Prompt, v.SecretId = &value, nil, ""
	v.Scope = maps.Clone(v.Scope)
	if v.Scope == nil {
		v.Scope = Scope{}
	}
	v.Scope[FieldUser] = []string{"True"}
	return Candidate{Variable: v}
}
