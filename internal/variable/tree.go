package variable

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/octavo/octavo/internal/fault"
)

// node is one place in the tree of names (variables.md 1.6). Members and indexes live apart.
type node struct {
	value    string
	hasValue bool
	name     string // of an index: its text
	members  map[string]*node
	indexes  []*node // in the order they were created
	byIndex  map[string]*node

	parsed atomic.Pointer[list] // of value, once it was needed
}

func leaf(value string) *node { return &node{value: value, hasValue: true} }

func (n *node) child(s step) *node {
	switch s.kind {
	case identifierStep:
		return n.members[s.key]
	case indexStep:
		if s.text == "*" && len(n.indexes) > 0 {
			return n.indexes[0]
		}
		return n.byIndex[s.key]
	}
	return nil
}

func (n *node) grow(s step) *node {
	if c := n.grown(s); c != nil {
		return c
	}
	if s.kind == identifierStep {
		c := new(node)
		if n.members == nil {
			n.members = map[string]*node{}
		}
		n.members[s.key] = c
		return c
	}
	c := leaf(s.text)
	c.name = s.text
	if n.byIndex == nil {
		n.byIndex = map[string]*node{}
	}
	n.byIndex[s.key] = c
	n.indexes = append(n.indexes, c)
	return c
}

// grown is child without the meaning of *.
func (n *node) grown(s step) *node {
	if s.kind == identifierStep {
		return n.members[s.key]
	}
	return n.byIndex[s.key]
}

func (n *node) member(name string, c *node) {
	if n.members == nil {
		n.members = map[string]*node{}
	}
	n.members[fold(name)] = c
}

// tree binds the names, once for every state of the dictionary.
func (d *Dictionary) tree() *node {
	d.binding.Lock()
	defer d.binding.Unlock()
	if d.root != nil {
		return d.root
	}
	root := new(node)
	for _, e := range d.entries {
		sym, ok := parseName(e.Name)
		if !ok || sym.symbolic {
			continue // only look-up by full name finds it
		}
		n := root
		for _, s := range sym.steps {
			n = n.grow(s)
		}
		n.value, n.hasValue = "", true
		if e.Value != nil {
			n.value = *e.Value
		}
	}
	d.root = root
	return root
}

// template gives the value parsed, nil if it is to be used as it is: no token in it, or it does not parse.
func (n *node) template() *list {
	l := n.parsed.Load()
	if l == nil {
		l = literal
		if strings.Contains(n.value, "#{") {
			if parsed, err := parse(n.value); err == nil && parsed != nil {
				l = parsed
			}
		}
		n.parsed.Store(l)
	}
	if l == literal {
		return nil
	}
	return l
}

// literal marks a value that is no template.
var literal = new(list)

func missingVariable(name string) error {
	return fault.InvalidField(name, "The variable %s has no value here. Give it one whose scope includes this step and target.", name)
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
