package project

import (
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
)

// Validate refuses a process that could not be carried out as written; everything that is wrong is said at once.
func (p *Process) Validate() error {
	var wrong fault.List
	steps, actions, ids := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i := range p.Steps {
		s := &p.Steps[i]
		unique(&wrong, steps, "step", s.Name)
		uniqueID(&wrong, ids, s.Id)
		p.validateStep(&wrong, s)
		for j := range s.Actions {
			a := &s.Actions[j]
			unique(&wrong, actions, "action", a.Name)
			uniqueID(&wrong, ids, a.Id)
			a.validate(&wrong, len(s.Roles()) > 0)
		}
	}
	p.validateAcquisition(&wrong)
	return wrong.Err()
}

func unique(wrong *fault.List, seen map[string]bool, what, name string) {
	key := strings.ToLower(strings.TrimSpace(name))
	switch {
	case key == "":
		wrong.Add("Every %s needs a name.", what)
	case seen[key]:
		wrong.Add("Two %ss are named %q; names must differ, ignoring case.", what, name)
	}
	seen[key] = true
}

func uniqueID(wrong *fault.List, seen map[string]bool, id string) {
	if id != "" && seen[id] {
		wrong.Add("The id %q is used twice; leave the Id of a new step or action empty.", id)
	}
	seen[id] = true
}

func (p *Process) validateStep(wrong *fault.List, s *Step) {
	if len(s.Actions) == 0 {
		wrong.Add("Step %q has no actions.", s.Name)
	}
	oneOf(wrong, s.Name, "Condition", s.Condition, ConditionSuccess, ConditionFailure, ConditionAlways, ConditionVariable)
	oneOf(wrong, s.Name, "StartTrigger", s.StartTrigger, StartAfterPrevious, StartWithPrevious)
	oneOf(wrong, s.Name, "PackageRequirement", s.PackageRequirement, LetOctopusDecide, BeforePackageAcquisition, AfterPackageAcquisition)
	if s.Condition == ConditionVariable && strings.TrimSpace(s.Properties.Get(PropStepExpression)) == "" {
		wrong.Add("Step %q runs by a variable expression, but %s is empty.", s.Name, PropStepExpression)
	}
	whole(wrong, s.Name, s.Properties, PropWindow, 1)
}

// oneOf holds an enumeration; empty takes the default.
func oneOf(wrong *fault.List, name, field, value string, known ...string) {
	if value != "" && !slices.Contains(known, value) {
		wrong.Add("%s of %q is %q; it must be one of %s.", field, name, value, strings.Join(known, ", "))
	}
}

// whole holds a number; empty and expressions are looked at when the plan is made.
func whole(wrong *fault.List, name string, properties resource.Properties, property string, least int) {
	text := strings.TrimSpace(properties.Get(property))
	if n, ok := Number(text); text != "" && !strings.Contains(text, "#{") && (!ok || n < least) {
		wrong.Add("%s of %q is %q; it must be a whole number from %d on.", property, name, text, least)
	}
}

func (a *Action) validate(wrong *fault.List, tagged bool) {
	if a.ActionType == "" {
		wrong.Add("Action %q has no ActionType.", a.Name)
	}
	oneOf(wrong, a.Name, "Condition", a.Condition, ConditionSuccess, ConditionVariable)
	if a.Condition == ConditionVariable && strings.TrimSpace(a.Properties.Get(PropActionExpression)) == "" {
		wrong.Add("Action %q runs by a variable expression, but %s is empty.", a.Name, PropActionExpression)
	}
	if !tagged && !RunsInServer(a.ActionType) && !a.RunOnServer(tagged) {
		wrong.Add("Action %q is to run on deployment targets, but its step has no target tags: set %s on the step, or %s to True on the action.", a.Name, PropRoles, PropRunOnServer)
	}
	for _, property := range []string{PropRetries, PropBackoff, PropTimeout} {
		whole(wrong, a.Name, a.Properties, property, 0)
	}
	names := map[string]bool{}
	for _, ref := range a.Packages {
		if key := strings.ToLower(ref.Name); names[key] {
			wrong.Add("Action %q has two package references named %q.", a.Name, ref.Name)
		} else {
			names[key] = true
		}
		if ref.PackageId == "" && ref.Properties["SelectionMode"] != "deferred" && ref.Properties["PackageParameterName"] == "" {
			wrong.Add("Package reference %q of action %q has no PackageId.", ref.Name, a.Name)
		}
	}
}

// validateAcquisition holds A2: nothing can run before packages are acquired that comes with or after their first user.
func (p *Process) validateAcquisition(wrong *fault.List) {
	first, group := "", 0
	firstGroup := 0
	for i := range p.Steps {
		s := &p.Steps[i]
		if i > 0 && s.StartTrigger != StartWithPrevious {
			group++
		}
		if first == "" && s.needsPackages() {
			first, firstGroup = s.Name, group
		}
	}
	group = 0
	for i := range p.Steps {
		s := &p.Steps[i]
		if i > 0 && s.StartTrigger != StartWithPrevious {
			group++
		}
		if first != "" && s.PackageRequirement == BeforePackageAcquisition && group >= firstGroup {
			wrong.Add("Step %q is to run before packages are acquired, but step %q needs its packages by then.", s.Name, first)
		}
	}
}

func (s *Step) needsPackages() bool {
	return slices.ContainsFunc(s.Actions, func(a Action) bool {
		return !a.IsDisabled && a.ActionType != TypeDeployRelease && slices.ContainsFunc(a.References(), func(r PackageReference) bool { return r.AcquisitionLocation != NotAcquired })
	})
}
