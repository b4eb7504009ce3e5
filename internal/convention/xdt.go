package convention

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const xdtNamespace = "http://schemas.microsoft.com/XML-Document-Transform"

// xdt applies one transform to a document (variables.md 5.4, XDT language).
type xdt struct {
	prefixes map[string]string
	warn     func(format string, args ...any)
}

var errXDTRoot = errors.New("the transform's root element is another one than the document's")

// transformXML changes doc as the transform says. What finds nothing to change is a warning.
func transformXML(doc, transform *xmlNode, warn func(format string, args ...any)) error {
	x := &xdt{prefixes: map[string]string{}, warn: warn}
	quiet := log{discard{}}
	for _, tree := range []*xmlNode{transform, doc} {
		for p, uri := range declaredPrefixes(tree, quiet) {
			if _, there := x.prefixes[p]; !there {
				x.prefixes[p] = uri
			}
		}
	}
	root := doc.element()
	x.prefixes[""] = root.namespace()
	from := transform.element()
	if from.local != root.local || from.namespace() != root.namespace() {
		return errXDTRoot
	}
	return x.apply(from, []*xmlNode{root.parent})
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// instruction is "Name(arguments)" of a Locator or Transform attribute.
var instruction = regexp.MustCompile(`(?s)^\s*(\w+)\s*(?:\((.*)\))?\s*$`)

func (n *xmlNode) instruction(attribute string) (name, arguments string, err error) {
	for _, a := range n.attrs {
		if a.local != attribute || a.namespace() != xdtNamespace {
			continue
		}
		m := instruction.FindStringSubmatch(a.value)
		if m == nil {
			return "", "", fmt.Errorf("the %s %q cannot be read", attribute, a.value)
		}
		return m[1], strings.TrimSpace(m[2]), nil
	}
	return "", "", nil
}

func splitArguments(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' })
}

// apply does what one element of the transform says; parents are what its parent matched.
func (x *xdt) apply(t *xmlNode, parents []*xmlNode) error {
	targets, err := x.locate(t, parents)
	if err != nil {
		return err
	}
	do, arguments, err := t.instruction("Transform")
	if err != nil {
		return err
	}
	needs := do != "" && do != "Insert" && do != "InsertIfMissing" && do != "InsertBefore" && do != "InsertAfter"
	if needs && len(targets) == 0 {
		x.warn("No element in the source document matches '%s'", pathOf(t))
		return nil
	}
	switch do {
	case "":
	case "Replace":
		replaceNode(targets[0], t.content())
		return nil
	case "Remove":
		removeNode(targets[0])
		return nil
	case "RemoveAll":
		for _, n := range targets {
			removeNode(n)
		}
		return nil
	case "Insert", "InsertIfMissing":
		if do == "InsertIfMissing" && len(targets) > 0 {
			return nil
		}
		if len(parents) == 0 {
			x.warn("No element in the source document matches '%s'", pathOf(t.parent))
			return nil
		}
		insertAt(parents[0], len(parents[0].children), t.content())
		return nil
	case "InsertBefore", "InsertAfter":
		return x.insertBeside(t, parents, do == "InsertAfter", arguments)
	case "SetAttributes":
		for _, n := range targets {
			setAttributes(n, t, splitArguments(arguments))
		}
	case "RemoveAttributes":
		for _, n := range targets {
			names := splitArguments(arguments)
			n.attrs = slices.DeleteFunc(n.attrs, func(a *xmlNode) bool { return slices.Contains(names, a.name()) })
		}
	default:
		return fmt.Errorf("the transform %q is not known", do)
	}
	for _, c := range t.children {
		if c.kind == xmlElement {
			if err := x.apply(c, targets); err != nil {
				return err
			}
		}
	}
	return nil
}

// locate finds what an element of the transform speaks of.
func (x *xdt) locate(t *xmlNode, parents []*xmlNode) ([]*xmlNode, error) {
	how, arguments, err := t.instruction("Locator")
	if err != nil {
		return nil, err
	}
	var same []*xmlNode
	for _, p := range parents {
		for _, c := range p.children {
			if c.kind == xmlElement && c.local == t.local && c.namespace() == t.namespace() {
				same = append(same, c)
			}
		}
	}
	switch how {
	case "":
		return same, nil
	case "Match":
		for _, name := range splitArguments(arguments) {
			want := t.attr(name)
			if want == nil {
				return nil, fmt.Errorf("Match(%s): the transform's element %s has no such attribute", name, t.name())
			}
			same = slices.DeleteFunc(same, func(n *xmlNode) bool { a := n.attr(name); return a == nil || a.value != want.value })
		}
		return same, nil
	case "Condition":
		e, err := compileXPath(arguments, x.prefixes)
		if err != nil {
			return nil, fmt.Errorf("Condition(%s): %w", arguments, err)
		}
		return filtered(same, e.expr), nil
	case "XPath":
		return x.choose(arguments, parents)
	}
	return nil, fmt.Errorf("the locator %q is not known", how)
}

// choose evaluates a path from what the parent matched.
func (x *xdt) choose(path string, parents []*xmlNode) ([]*xmlNode, error) {
	e, err := compileXPath(path, x.prefixes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var all []*xmlNode
	for _, p := range parents {
		p.root().number()
		set, ok := e.nodes(p)
		if !ok {
			return nil, fmt.Errorf("%s selects no nodes", path)
		}
		all = append(all, set...)
	}
	return inOrder(all), nil
}

func (x *xdt) insertBeside(t *xmlNode, parents []*xmlNode, after bool, path string) error {
	where, err := x.choose(path, parents)
	if err != nil {
		return err
	}
	if len(where) == 0 || where[0].parent == nil || where[0].kind != xmlElement {
		x.warn("No element in the source document matches '%s'", path)
		return nil
	}
	n := where[0]
	if after {
		n = where[len(where)-1]
	}
	i := slices.Index(n.parent.children, n)
	if after {
		i++
	}
	insertAt(n.parent, i, t.content())
	return nil
}

// content is a copy of the transform's element without what belongs to the transform.
func (n *xmlNode) content() *xmlNode {
	c := *n
	c.parent, c.attrs, c.children = nil, nil, nil
	for _, a := range n.attrs {
		if a.namespace() == xdtNamespace || a.prefix == "xmlns" && a.value == xdtNamespace {
			continue
		}
		copied := *a
		copied.parent = &c
		c.attrs = append(c.attrs, &copied)
	}
	for _, child := range n.children {
		switch child.kind {
		case xmlElement:
			c.add(child.content())
		default:
			copied := *child
			c.add(&copied)
		}
	}
	return &c
}

func setAttributes(n, t *xmlNode, names []string) {
	for _, a := range t.attrs {
		if a.namespace() == xdtNamespace || a.prefix == "xmlns" || len(names) > 0 && !slices.Contains(names, a.name()) {
			continue
		}
		n.setAttr(a.name(), a.value)
	}
}

func replaceNode(n, with *xmlNode) {
	with.parent = n.parent
	n.parent.children[slices.Index(n.parent.children, n)] = with
}

// removeNode takes an element away, and the white space in front of it.
func removeNode(n *xmlNode) {
	p := n.parent
	i := slices.Index(p.children, n)
	from := i
	if i > 0 && p.children[i-1].kind == xmlText && strings.TrimSpace(p.children[i-1].value) == "" {
		from--
	}
	p.children = slices.Delete(p.children, from, i+1)
}

// insertAt puts an element among the children, on a line of its own if the others stand so.
func insertAt(p *xmlNode, i int, n *xmlNode) {
	n.parent = p
	p.empty = false
	blank := func(c *xmlNode) bool { return c.kind == xmlText && strings.TrimSpace(c.value) == "" }
	if i > 0 && i == len(p.children) && blank(p.children[i-1]) {
		i-- // in front of the white space before the end tag
	}
	lead := ""
	for k, c := range p.children {
		if c.kind == xmlElement && k > 0 && blank(p.children[k-1]) {
			lead = p.children[k-1].raw
			break
		}
	}
	added := []*xmlNode{n}
	if lead != "" {
		space := &xmlNode{kind: xmlText, parent: p, raw: lead, value: lead}
		added = []*xmlNode{space, n}
		if i > 0 && i < len(p.children) && blank(p.children[i-1]) && !blank(p.children[i]) {
			added = []*xmlNode{n, space} // the place is between white space and the element behind it
		}
	}
	p.children = slices.Insert(p.children, i, added...)
}

func pathOf(n *xmlNode) string {
	if n.parent == nil || n.kind == xmlDocument {
		return ""
	}
	return pathOf(n.parent) + "/" + n.name()
}
