package deployment

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/resource"
)

// Effect is what this version does with a member of a resource besides keeping it and giving it back.
type Effect string

// The effects. Every member is kept and given back, whatever its effect.
const (
	Acts       Effect = "acts"        // it changes what happens, and a test shows it
	ShownOnly  Effect = "shown"       // it is for people and clients to read; there is nothing to act on
	StoredOnly Effect = "stored only" // it should change what happens, and does not yet
)

// Member is one row of docs/compatibility.md.
type Member struct {
	Name    string
	Effect  Effect
	Says    string   // one sentence
	Test    string   // of one that acts: package.TestName, below internal
	Default []string // values of one that is stored only which mean what happens anyway
}

// Part is a table of docs/compatibility.md: a struct of the wire, or, without Of, a list of known names.
type Part struct {
	Name    string
	Of      reflect.Type
	Members []Member
}

// find gives the row of a name. A row "Prefix.*" stands for all names that begin so.
func (p *Part) find(name string) *Member {
	for i, m := range p.Members {
		prefix, open := strings.CutSuffix(m.Name, "*")
		if strings.EqualFold(m.Name, name) || open && len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			return &p.Members[i]
		}
	}
	return nil
}

// Subject is something a deployment meets, and what its log calls it.
type Subject struct {
	Name string
	What any // a struct of Compatibility, or a pointer to one
}

// Meeting collects what a deployment meets that is stored only.
type Meeting struct {
	order []string
	where map[string][]string // member -> who has it
	says  map[string]string
}

// Lines says each of them once, with all that have it, in the order they were met.
func (m *Meeting) Lines() []string {
	var lines []string
	for _, member := range m.order {
		lines = append(lines, fmt.Sprintf("%s: %s is stored, but this version does not act on it. %s", strings.Join(m.where[member], ", "), member, m.says[member]))
	}
	return lines
}

func (m *Meeting) add(member, where, says string) {
	if m.where == nil {
		m.where, m.says = map[string][]string{}, map[string]string{}
	}
	if _, known := m.where[member]; !known {
		m.order = append(m.order, member)
		m.says[member] = says
	}
	if !slices.Contains(m.where[member], where) {
		m.where[member] = append(m.where[member], where)
	}
}

// Meet looks at one subject.
func (m *Meeting) Meet(s Subject) { m.look(s.Name, "", reflect.ValueOf(s.What)) }

// Variable looks at a variable that steers execution by its name.
func (m *Meeting) Variable(name string) {
	if row := steering.find(name); row != nil && row.Effect == StoredOnly {
		m.add("the variable "+row.Name, "The project", row.Says)
	}
}

// look goes through a value along the rows of its type.
func (m *Meeting) look(where, path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			m.look(where, path, v.Elem())
		}
		return
	case reflect.Slice:
		for i := range v.Len() {
			m.look(where, path, v.Index(i))
		}
		return
	case reflect.Struct:
	default:
		return
	}
	switch is := v.Interface().(type) {
	case project.Step:
		where, path = fmt.Sprintf("Step %q", is.Name), ""
		m.properties(where, stepProperties, is.Properties)
	case project.Action:
		if is.IsDisabled {
			return
		}
		where, path = fmt.Sprintf("Step %q", is.Name), ""
		m.properties(where, actionProperties, is.Properties)
		for _, name := range project.List(is.Properties, project.PropFeatures) {
			if row := features.find(name); row == nil || row.Effect == StoredOnly {
				m.add("the feature "+name, where, "The step runs without it.")
			}
		}
	case environment.Phase:
		where, path = fmt.Sprintf("Phase %q", is.Name), ""
	}
	part := partOf(v.Type())
	if part == nil {
		return
	}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Anonymous {
			m.look(where, path, v.Field(i))
			continue
		}
		row := part.find(field.Name)
		if row == nil {
			continue
		}
		if row.Effect != StoredOnly {
			m.look(where, path+field.Name+".", v.Field(i))
		} else if says(v.Field(i), row) {
			m.add(path+field.Name, where, row.Says)
		}
	}
}

func (m *Meeting) properties(where string, of *Part, p resource.Properties) {
	for name, value := range p {
		if row := of.find(name); row != nil && row.Effect == StoredOnly && !row.isDefault(value.Value) {
			m.add(name, where, row.Says)
		}
	}
}

// says tells whether a value asks for more than what happens anyway.
func says(v reflect.Value, row *Member) bool {
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if v.IsZero() || (v.Kind() == reflect.Slice || v.Kind() == reflect.Map) && v.Len() == 0 {
		return false
	}
	if keep, is := v.Interface().(environment.RetentionPolicy); is {
		return keep.Strategy != environment.RetainForever && keep.Strategy != environment.RetainDefault && !keep.ShouldKeepForever && keep.QuantityToKeep > 0
	}
	return !row.isDefault(fmt.Sprint(v.Interface()))
}

func (m *Member) isDefault(text string) bool {
	text = strings.TrimSpace(text)
	return text == "" || strings.EqualFold(text, "False") || slices.ContainsFunc(m.Default, func(d string) bool { return strings.EqualFold(d, text) })
}

func partOf(t reflect.Type) *Part {
	for i := range Compatibility {
		if Compatibility[i].Of == t {
			return Compatibility[i]
		}
	}
	return nil
}

// CompatibilityDoc is the text of docs/compatibility.md.
func CompatibilityDoc() string {
	var b strings.Builder
	b.WriteString(`# What each member does

Every member of every resource is kept and given back, those below and those nobody has heard of. This page says which of
them also change what happens. It is generated from the table in ` + "`internal/deployment/members.go`" + ` by
` + "`go generate ./internal/deployment`" + `; a test compares the two, wants a row for each member and, for each that acts, the test that shows it.

- **acts**: it changes what happens; the test is named.
- **shown**: it is for people and clients to read; there is nothing to act on.
- **stored only**: it should change what happens, and does not in this version. A deployment that meets one with a value that asks
  for anything says so in its log, once for each member.

`)
	for _, part := range Compatibility {
		fmt.Fprintf(&b, "## %s\n\n| Member | Does | What | Test |\n|---|---|---|---|\n", part.Name)
		for _, m := range part.Members {
			test := ""
			if m.Test != "" {
				test = "`" + m.Test + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Effect, m.Says, test)
		}
		b.WriteString("\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}
