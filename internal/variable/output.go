package variable

import "slices"

// Output is a value that a step set for later steps of the same run (variables.md 4.3).
type Output struct {
	Action      string // the action's name
	MachineId   string //nolint:revive // as on the wire; empty for a step on the server
	MachineName string
	Name        string
	Value       string
	Sensitive   bool
}

// OutputName is how later steps refer to it.
func OutputName(action, name string) string { return "Octopus.Action[" + action + "].Output." + name }

// MachineOutputName is the same for one machine, by its name.
func MachineOutputName(action, machine, name string) string {
	return "Octopus.Action[" + action + "].Output[" + machine + "]." + name
}

// Variables are the values an output creates: by machine name, for the machine, and for everybody (variables.md 4.3).
func (o Output) Variables() []Variable {
	typ := TypeString
	if o.Sensitive {
		typ = TypeSensitive
	}
	make1 := func(name string, scope Scope) Variable {
		return Variable{Name: name, Value: &o.Value, Type: typ, IsSensitive: o.Sensitive, Scope: scope}
	}
	unscoped := make1(OutputName(o.Action, o.Name), nil)
	if o.MachineId == "" {
		return []Variable{unscoped}
	}
	return []Variable{
		make1(MachineOutputName(o.Action, o.MachineName, o.Name), nil),
		make1(OutputName(o.Action, o.Name), Scope{FieldMachine: {o.MachineId}}),
		unscoped,
	}
}

// AddOutput puts an output into the values of a run. What was set before under the same name and
// scope is replaced: the value reported last wins.
func AddOutput(values []Variable, o Output) []Variable {
	for _, v := range o.Variables() {
		i := slices.IndexFunc(values, func(old Variable) bool {
			return fold(old.Name) == fold(v.Name) && slices.Equal(old.Scope[FieldMachine], v.Scope[FieldMachine])
		})
		if i < 0 {
			values = append(values, v)
		} else {
			values[i] = v
		}
	}
	return values
}
