package variable

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/fault"
)

// maxName is long enough for any address in a configuration file.
const maxName = 2000

// settable are the fields a user may scope by (variables.md 3.1).
var settable = []Field{
	FieldEnvironment, FieldMachine, FieldRole, FieldTenantTag, // and in a project also:
	FieldTenant, FieldAction, FieldChannel, FieldProcessOwner,
}

const settableInLibrary = 4

// Normalise brings a set into the form it is stored in: names trimmed, every value with an id and a
// type, Type and IsSensitive of one mind.
func (s *VariableSet) Normalise() {
	for i := range s.Variables {
		v := &s.Variables[i]
		v.Name = strings.TrimSpace(v.Name)
		if v.Id == "" {
			v.Id = newID()
		}
		v.IsEditable = true
		switch {
		case v.Type == "" && v.IsSensitive:
			v.Type = TypeSensitive
		case v.Type == "":
			v.Type = TypeString
		}
		for _, t := range Types {
			if strings.EqualFold(v.Type, t) {
				v.Type = t
			}
		}
		if v.Type == TypeString && v.IsSensitive {
			v.Type = TypeSensitive // old clients set the flag only
		}
		v.IsSensitive = v.Type == TypeSensitive
	}
}

// newID makes the id of one value; unlike resources, values have random ones.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Validate refuses what cannot be stored; library says that the set belongs to a library, whose
// values cannot be scoped to one project's things (variables.md 3.1).
func (s VariableSet) Validate(library bool) error {
	var list fault.List
	ids := map[string]bool{}
	for i, v := range s.Variables {
		what := fmt.Sprintf("Variables[%d] (%s)", i, v.Name)
		switch {
		case strings.TrimSpace(v.Name) == "":
			list.Add("Variables[%d].Name is empty. Give the variable a name, or remove it.", i)
		case len(v.Name) > maxName:
			list.Add("Variables[%d].Name is longer than %d characters. Shorten it.", i, maxName)
		}
		if v.Id != "" && ids[v.Id] {
			list.Add("%s has the id of another value, %s. Leave Id out for a new value.", what, v.Id)
		}
		ids[v.Id] = true
		if v.Type != "" && !slices.Contains(Types, v.Type) {
			list.Add("%s has the unknown type %s. Use one of %s.", what, v.Type, strings.Join(Types, ", "))
		}
		allowed := settable
		if library {
			allowed = settable[:settableInLibrary]
		}
		for _, f := range sortedKeys(v.Scope) {
			if len(v.Scope[f]) > 0 && !slices.Contains(allowed, f) {
				list.Add("%s cannot be scoped by %s here. Use %s.", what, f, joinFields(allowed))
			}
			if slices.Contains(v.Scope[f], "") {
				list.Add("%s lists an empty id in Scope.%s. Remove it.", what, f)
			}
		}
	}
	return list.Err()
}

func joinFields(fields []Field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = string(f)
	}
	return strings.Join(names, ", ")
}
