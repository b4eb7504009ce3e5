package convention

import (
	"errors"
	"strings"
)

// replaceXML changes what the XPaths among the variables' names select (variables.md 5.2, XML).
func replaceXML(text string, with *replacements) (string, error) {
	doc, err := parseXML(text)
	if err != nil {
		return "", &notThisFormat{"XML", err}
	}
	prefixes := declaredPrefixes(doc, with.log)
	end := newline(text)
	for _, r := range with.all {
		if !strings.ContainsAny(r.name, "/:") {
			continue
		}
		x, err := compileXPath(r.name, prefixes)
		if err != nil {
			continue // most names with a colon are no path at all
		}
		set, ok := x.nodes(doc)
		if !ok || len(set) == 0 {
			continue
		}
		value := ""
		if r.value != nil {
			value = *r.value
		}
		hit := false
		for _, n := range set {
			if err := setSelected(n, withNewline(value, end)); err != nil {
				with.unable(r.name, err)
				continue
			}
			hit = true
		}
		if hit {
			with.hit(r.name)
			doc.number()
		}
	}
	return doc.String(), nil
}

// setSelected changes one node; its kind says how.
func setSelected(n *xmlNode, value string) error {
	switch n.kind {
	case xmlAttribute, xmlText, xmlCData, xmlComment, xmlInstruction:
		n.set(value)
		return nil
	case xmlElement:
	default:
		return errors.New("nodes of this kind are not supported")
	}
	if len(n.children) == 1 && n.children[0].kind == xmlCData {
		n.children[0].set(value)
		return nil
	}
	for _, c := range n.children {
		if c.kind == xmlElement {
			return n.setInner(value)
		}
	}
	n.set(value)
	return nil
}

// setInner makes the value the element's content, with the namespaces that hold there.
func (n *xmlNode) setInner(value string) error {
	var b strings.Builder
	b.WriteString("<x")
	seen := map[string]bool{}
	for e := n; e != nil; e = e.parent {
		for _, a := range e.attrs {
			if (a.prefix == "xmlns" || a.name() == "xmlns") && !seen[a.name()] {
				seen[a.name()] = true
				b.WriteString(" " + a.name() + `="` + escapeAttribute(a.value, `"`) + `"`)
			}
		}
	}
	doc, err := parseXML(b.String() + ">" + value + "</x>")
	if err != nil {
		return err
	}
	n.children, n.empty = nil, false
	for _, c := range doc.element().children {
		n.add(c)
	}
	return nil
}

// declaredPrefixes gives those declared anywhere; the first meaning of a prefix counts.
func declaredPrefixes(doc *xmlNode, log log) map[string]string {
	prefixes := map[string]string{"xml": "http://www.w3.org/XML/1998/namespace"}
	var visit func(*xmlNode)
	visit = func(n *xmlNode) {
		for _, a := range n.attrs {
			if a.prefix != "xmlns" {
				continue
			}
			if was, there := prefixes[a.local]; there && was != a.value {
				log.warning("The namespace prefix '%s' is bound to '%s' and to '%s'; only the first is used.", a.local, was, a.value)
				continue
			}
			prefixes[a.local] = a.value
		}
		for _, c := range n.children {
			visit(c)
		}
	}
	visit(doc)
	return prefixes
}
