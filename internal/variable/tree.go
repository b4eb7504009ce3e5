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
	members  children
	indexes  children

	parsed atomic.Pointer[list] // of value, once it was needed
}

// children are nodes in the order they were created. Most places have one or two, so a map comes late.
type children struct {
	list  []child
	byKey map[string]*node
}

type child struct {
	key, name string
	node      *node
}

const fewChildren = 8

func (c *children) get(key string) *node {
	if c.byKey != nil {
		return c.byKey[key]
	}
	for i := range c.list {
		if c.list[i].key == key {
			return c.list[i].node
		}
	}
	return nil
}

func (c *children) add(key, name string, n *node) {
	c.list = append(c.list, child{key, name, n})
	switch {
	case c.byKey != nil:
		c.byKey[key] = n
	case len(c.list) > fewChildren:
		c.byKey = make(map[string]*node, 4*fewChildren)
		for _, old := range c.list {
			c.byKey[old.key] = old.node
		}
	}
}

func leaf(value string) *node { return &node{value: value, hasValue: true} }

func (n *node) child(s step) *node {
	switch s.kind {
	case identifierStep:
		return n.members.get(s.key)
	case indexStep:
		if s.text == "*" && len(n.indexes.list) > 0 {
			return n.indexes.list[0].node
		}
		return n.indexes.get(s.key)
	}
	return nil
}

// grow finds or makes a child; here * is an index like any other.
func (n *node) grow(s step) *node {
	kin := &n.members
	if s.kind == indexStep {
		kin = &n.indexes
	}
	c := kin.get(s.key)
	if c != nil {
		return c
	}
	c = new(node)
	if s.kind == indexStep {
		c.value, c.hasValue = s.text, true
	}
	kin.add(s.key, s.text, c)
	return c
}

// member puts a node in a place of its own, or of one that was there.
func (n *node) member(name string, c *node) {
	key := fold(name)
	for i := range n.members.list {
		if n.members.list[i].key == key {
			n.members.list[i].node = c
			return
		}
	}
	n.members.add(key, name, c)
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
