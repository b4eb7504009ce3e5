package resource

import "reflect"

// Scope says where the resources of a kind live.
type Scope int

// The scopes (rest-api.md 1: routing).
const (
	InSpace  Scope = iota // each belongs to one space
	OnServer              // none does
	Mixed                 // may belong to a space or to the server
)

// Permissions name what the four verbs of a kind ask for.
type Permissions struct{ View, Create, Edit, Delete string }

// Reference is a member that names resources of another kind.
type Reference struct {
	Path string // as Object.Texts reads it: "Phases.AutomaticDeploymentTargets"
	Kind string // the Name of the kind named; "" accepts any id and checks nothing
	Weak bool   // does not keep the named one from being deleted
}

// Kind declares a kind of resource, once. Routes, OpenAPI, filters, "in use by" checks, audit and links fall out of it.
type Kind struct {
	Name        string // for people and ItemType: "Environment"
	Path        string // the segment of its routes: "environments"
	Prefix      string // of its ids: "Environments"
	Type        reflect.Type
	Scope       Scope
	Permissions Permissions

	Defaults   map[string]any    // given to members that were not sent
	Links      map[string]string // templates; {space} is /api/Spaces-1 (or /api), {Member} a member's text
	References []Reference
	Lifted     map[string]string // list filter -> path of the member it looks at
	Owned      []string          // members the server owns: a client's values for them are ignored
	Versioned  bool              // Version must be the stored one on PUT
	HasSlug    bool              // the server makes a slug where none was sent
	NamedIn    string            // names are unique among those with the same text in this member; "" is the whole space
	AnyName    bool              // names need not be unique, or there are none
	SortBy     string            // a number member lists are ordered by, before the name
}
