package variable

import (
	"fmt"
	"slices"
	"strings"
)

// Source says where a candidate comes from, which breaks ties (variables.md 3.4, 3.5).
type Source int

// The sources, the strongest first.
const (
	SourceProject Source = iota // a project's values, tenant values, prompts, outputs, generated ones
	SourceLibrary               // values of included library sets
	SourceDefault               // built-in settings a user may define himself (variables.md 4.2)
)

// Candidate is a value with its source. Among equals the earlier one wins, so candidates are given
// in the order project set, then library sets as the project includes them (variables.md 3.4).
type Candidate struct {
	Variable
	Source Source
}

// Context is the situation of a look-up; what does not exist in it is empty (variables.md 3.2).
type Context struct {
	Environment  string
	Machine      string
	MachineRoles []string // the roles of Machine
	StepRoles    []string // the roles the step targets
	Step         string   // step id
	Action       string   // action id; a value may be scoped to either
	Tenant       string
	TenantTags   []string // canonical Set/Tag names
	Channel      string
	ProcessOwner string // project id: its deployment process; runbook id: that runbook
	Project      string
}

// weights are the published ones (variables.md 3.3). A role the step targets counts as TargetRole instead.
var weights = map[Field]int{
	FieldPrivate:          1_000_000_000,
	FieldUser:             100_000_000,
	FieldTrigger:          100_000_000,
	FieldParentDeployment: 100_000_000,
	FieldAction:           10_000_000,
	FieldMachine:          1_000_000,
	FieldTargetRole:       100_000,
	FieldRole:             10_000,
	FieldTenant:           1_001,
	FieldTenantTag:        1_000,
	FieldEnvironment:      100,
	FieldChannel:          10,
	FieldProcessOwner:     5,
	FieldProject:          1,
	FieldProjectTemplate:  0,
}

// Rank tells whether a scope matches a situation and how specific it is (variables.md 3.2, 3.3).
func (s Scope) Rank(c Context) (weight int, matches bool) {
	for field, ids := range s {
		if len(ids) == 0 {
			continue
		}
		w, ok := c.match(field, ids)
		if !ok {
			return 0, false
		}
		weight += w
	}
	return weight, true
}

func (c Context) match(field Field, ids []string) (weight int, ok bool) {
	weight = weights[field]
	switch field {
	case FieldPrivate, FieldUser, FieldTrigger, FieldParentDeployment, FieldProjectTemplate, FieldTargetRole:
		if field == FieldTargetRole {
			weight = 0 // computed, never stored
		}
		return weight, true
	case FieldRole:
		for _, id := range ids {
			if !holds(c.MachineRoles, id) {
				continue
			}
			ok = true
			if holds(c.StepRoles, id) {
				return weights[FieldTargetRole], true
			}
		}
		return weight, ok
	case FieldTenantTag:
		return weight, slices.ContainsFunc(ids, func(id string) bool { return holds(c.TenantTags, id) })
	case FieldAction:
		return weight, c.Action != "" && holds(ids, c.Action) || c.Step != "" && holds(ids, c.Step)
	}
	have := ""
	switch field {
	case FieldEnvironment:
		have = c.Environment
	case FieldMachine:
		have = c.Machine
	case FieldTenant:
		have = c.Tenant
	case FieldChannel:
		have = c.Channel
	case FieldProcessOwner:
		have = c.ProcessOwner
	case FieldProject:
		have = c.Project
	}
	return weight, have != "" && holds(ids, have) // a field we do not know never matches
}

func holds(ids []string, id string) bool {
	return slices.ContainsFunc(ids, func(s string) bool { return strings.EqualFold(s, id) })
}

// Resolve computes the one value that each name has in a situation (variables.md 3). The warnings name
// variables of which two values had equal rights, so that the order decided.
func Resolve(candidates []Candidate, c Context) (d *Dictionary, warnings []string) {
	type best struct {
		at, weight int
		tied       bool
	}
	winners := make(map[string]*best, len(candidates))
	order := make([]*best, 0, len(candidates))
	for i := range candidates {
		weight, ok := candidates[i].Scope.Rank(c)
		if !ok {
			continue
		}
		key := fold(candidates[i].Name)
		b, seen := winners[key]
		if !seen {
			b = &best{at: i, weight: weight}
			winners[key] = b
			order = append(order, b)
			continue
		}
		switch sourceOf := candidates[b.at].Source; {
		case weight > b.weight, weight == b.weight && candidates[i].Source < sourceOf:
			*b = best{at: i, weight: weight}
		case weight == b.weight && candidates[i].Source == sourceOf:
			b.tied = true
		}
	}
	d = NewDictionary()
	for _, b := range order {
		v := candidates[b.at]
		d.Put(Entry{Name: v.Name, Value: v.Value, Sensitive: v.Sensitive()})
		if b.tied {
			warnings = append(warnings, fmt.Sprintf(
				"The variable %s has several values of equal rank here; the first one is used. Scope them apart.", v.Name))
		}
	}
	return d, warnings
}

// Definition is one candidate for a name and how it fared.
type Definition struct {
	Candidate Candidate
	Matches   bool
	Weight    int
	Wins      bool
}

// Explain lists all definitions of a name with their rank in a situation, for the variable preview.
func Explain(candidates []Candidate, name string, c Context) []Definition {
	var all []Definition
	best := -1
	for _, candidate := range candidates {
		if fold(candidate.Name) != fold(name) {
			continue
		}
		weight, ok := candidate.Scope.Rank(c)
		all = append(all, Definition{Candidate: candidate, Matches: ok, Weight: weight})
		if ok && (best < 0 || weight > all[best].Weight ||
			weight == all[best].Weight && candidate.Source < all[best].Candidate.Source) {
			best = len(all) - 1
		}
	}
	if best >= 0 {
		all[best].Wins = true
	}
	return all
}

// System makes a generated variable that no user's value can override (variables.md 3.5, item 1).
func System(name, value string) Candidate {
	return Candidate{Variable: Variable{Name: name, Value: &value, Type: TypeString, Scope: Scope{FieldPrivate: {"True"}}}}
}

// Setting makes a built-in value that any value of a user overrides (variables.md 4.2).
func Setting(name, value string) Candidate {
	return Candidate{Variable: Variable{Name: name, Value: &value, Type: TypeString}, Source: SourceDefault}
}
