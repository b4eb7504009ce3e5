package convention

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// xmlKind is the kind of a node, as XPath sees them.
type xmlKind int

const (
	xmlDocument xmlKind = iota
	xmlElement
	xmlAttribute
	xmlText
	xmlCData
	xmlComment
	xmlInstruction
	xmlOther // declaration and DOCTYPE, which no path selects
)

// xmlNode is a node of a tree that writes back, byte for byte, what was not changed: quotes, white space inside
// tags, entities and line ends included.
type xmlNode struct {
	kind     xmlKind
	parent   *xmlNode
	prefix   string
	local    string // of an instruction: its target
	value    string // decoded; of an element: unused
	attrs    []*xmlNode
	children []*xmlNode
	order    int // in the document, for node sets

	lead   string // attribute: white space in front of it
	equals string // attribute: what is between name and value
	quote  string // attribute
	raw    string // as written: an attribute's value, or all of a leaf
	tail   string // element: white space at the end of its start tag
	empty  bool   // element: written as <a/>
	end    string // element: its end tag as written
}

// parseXML reads a well-formed document.
func parseXML(text string) (*xmlNode, error) {
	if err := wellFormed(text); err != nil {
		return nil, err
	}
	doc := &xmlNode{kind: xmlDocument}
	open := doc
	for at := 0; at < len(text); {
		rest := text[at:]
		switch {
		case strings.HasPrefix(rest, "</"):
			n := strings.IndexByte(rest, '>') + 1
			open.end = rest[:n]
			open = open.parent
			at += n
		case strings.HasPrefix(rest, "<!--"):
			at += open.leaf(xmlComment, rest, "<!--", "-->")
		case strings.HasPrefix(rest, "<![CDATA["):
			at += open.leaf(xmlCData, rest, "<![CDATA[", "]]>")
		case strings.HasPrefix(rest, "<?"):
			at += open.leaf(xmlInstruction, rest, "<?", "?>")
		case strings.HasPrefix(rest, "<!"):
			n := directiveEnd(rest)
			open.add(&xmlNode{kind: xmlOther, raw: rest[:n]})
			at += n
		case rest[0] == '<':
			e, n, err := startTag(rest)
			if err != nil {
				return nil, err
			}
			open.add(e)
			if !e.empty {
				open = e
			}
			at += n
		default:
			n := strings.IndexByte(rest, '<')
			if n < 0 {
				n = len(rest)
			}
			open.add(&xmlNode{kind: xmlText, raw: rest[:n], value: unescapeXML(rest[:n])})
			at += n
		}
	}
	doc.number()
	return doc, nil
}

func wellFormed(text string) error {
	d := xml.NewDecoder(strings.NewReader(text))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil } // it was decoded already
	root := false
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			line, column := d.InputPos()
			return fmt.Errorf("%w (line %d, position %d)", err, line, column)
		}
		_, isElement := t.(xml.StartElement)
		root = root || isElement
	}
	if !root {
		return errors.New("there is no element in it")
	}
	return nil
}

func (n *xmlNode) add(c *xmlNode) {
	c.parent = n
	n.children = append(n.children, c)
}

// leaf adds a node that goes from one mark to the next, and gives its length.
func (n *xmlNode) leaf(kind xmlKind, rest, open, shut string) int {
	end := strings.Index(rest[len(open):], shut)
	if end < 0 { // not in what is well-formed
		end = len(rest) - len(open) - len(shut)
	}
	length := len(open) + end + len(shut)
	c := &xmlNode{kind: kind, raw: rest[:length], value: rest[len(open) : len(open)+end]}
	if kind == xmlInstruction {
		c.local, c.value, _ = strings.Cut(c.value, " ")
		if strings.EqualFold(c.local, "xml") {
			c.kind = xmlOther
		}
	}
	n.add(c)
	return length
}

// directiveEnd finds the end of <!...>, over quotes and an inner subset.
func directiveEnd(rest string) int {
	depth := 0
	var quote byte
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '<' || c == '[':
			depth++
		case c == ']':
			depth--
		case c == '>':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(rest)
}

const xmlBlank = " \t\r\n"

// startTag reads an element's start tag and gives its length.
func startTag(rest string) (*xmlNode, int, error) {
	broken := errors.New("a tag is not written rightly")
	nameEnd := strings.IndexAny(rest, xmlBlank+"/>")
	if nameEnd < 0 {
		return nil, 0, broken
	}
	e := &xmlNode{kind: xmlElement}
	e.prefix, e.local = splitName(rest[1:nameEnd])
	for at := nameEnd; ; {
		from := at
		for at < len(rest) && strings.IndexByte(xmlBlank, rest[at]) >= 0 {
			at++
		}
		switch {
		case strings.HasPrefix(rest[at:], "/>"):
			e.tail, e.empty = rest[from:at], true
			return e, at + 2, nil
		case strings.HasPrefix(rest[at:], ">"):
			e.tail = rest[from:at]
			return e, at + 1, nil
		}
		a := &xmlNode{kind: xmlAttribute, parent: e, lead: rest[from:at]}
		equals := strings.IndexByte(rest[at:], '=')
		if equals < 0 {
			return nil, 0, broken
		}
		name := strings.TrimRight(rest[at:at+equals], xmlBlank)
		a.prefix, a.local = splitName(name)
		quoteAt := strings.IndexAny(rest[at+equals:], `"'`)
		if quoteAt < 0 {
			return nil, 0, broken
		}
		quoteAt += at + equals
		a.equals, a.quote = rest[at+len(name):quoteAt], rest[quoteAt:quoteAt+1]
		end := strings.Index(rest[quoteAt+1:], a.quote)
		if end < 0 {
			return nil, 0, broken
		}
		a.raw = rest[quoteAt+1 : quoteAt+1+end]
		a.value = unescapeXML(a.raw)
		e.attrs = append(e.attrs, a)
		at = quoteAt + 1 + end + 1
	}
}

func splitName(name string) (prefix, local string) {
	prefix, local, ok := strings.Cut(name, ":")
	if !ok {
		return "", name
	}
	return prefix, local
}

func unescapeXML(s string) string {
	if !strings.Contains(s, "&") {
		return s
	}
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "&")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		name, after, ok := strings.Cut(rest, ";")
		if !ok {
			b.WriteString("&" + rest)
			return b.String()
		}
		b.WriteString(entity(name))
		s = after
	}
}

func entity(name string) string {
	if plain, ok := map[string]string{"lt": "<", "gt": ">", "amp": "&", "quot": `"`, "apos": "'"}[name]; ok {
		return plain
	}
	if digits, ok := strings.CutPrefix(name, "#"); ok {
		base := 10
		if hex, ok := strings.CutPrefix(digits, "x"); ok {
			digits, base = hex, 16
		}
		if n, err := strconv.ParseInt(digits, base, 32); err == nil {
			return string(rune(n))
		}
	}
	return "&" + name + ";"
}

// number gives every node its place in the document.
func (n *xmlNode) number() {
	next := 0
	var visit func(*xmlNode)
	visit = func(n *xmlNode) {
		n.order = next
		next++
		for _, a := range n.attrs {
			a.order = next
			next++
		}
		for _, c := range n.children {
			visit(c)
		}
	}
	visit(n)
}

func (n *xmlNode) String() string {
	var b strings.Builder
	n.writeTo(&b)
	return b.String()
}

func (n *xmlNode) writeTo(b *strings.Builder) {
	switch n.kind {
	case xmlDocument:
		for _, c := range n.children {
			c.writeTo(b)
		}
	case xmlElement:
		b.WriteString("<" + n.name())
		for _, a := range n.attrs {
			b.WriteString(a.lead + a.name() + a.equals + a.quote + a.raw + a.quote)
		}
		b.WriteString(n.tail)
		if n.empty && len(n.children) == 0 {
			b.WriteString("/>")
			return
		}
		b.WriteString(">")
		for _, c := range n.children {
			c.writeTo(b)
		}
		if n.end == "" {
			n.end = "</" + n.name() + ">"
		}
		b.WriteString(n.end)
	default:
		b.WriteString(n.raw)
	}
}

func (n *xmlNode) name() string {
	if n.prefix != "" {
		return n.prefix + ":" + n.local
	}
	return n.local
}

// text is the string value of XPath.
func (n *xmlNode) text() string {
	if n.kind != xmlElement && n.kind != xmlDocument {
		return n.value
	}
	var b strings.Builder
	for _, c := range n.children {
		if c.kind == xmlElement || c.kind == xmlText || c.kind == xmlCData {
			b.WriteString(c.text())
		}
	}
	return b.String()
}

// root gives the document.
func (n *xmlNode) root() *xmlNode {
	for n.parent != nil {
		n = n.parent
	}
	return n
}

// element gives the document's one element.
func (n *xmlNode) element() *xmlNode {
	for _, c := range n.root().children {
		if c.kind == xmlElement {
			return c
		}
	}
	return nil
}

// namespace resolves a prefix where the node stands; "" for an attribute without one.
func (n *xmlNode) namespace() string {
	if n.kind == xmlAttribute && n.prefix == "" {
		return ""
	}
	for e := n; e != nil; e = e.parent {
		for _, a := range e.attrs {
			if n.prefix != "" && a.prefix == "xmlns" && a.local == n.prefix || n.prefix == "" && a.prefix == "" && a.local == "xmlns" {
				return a.value
			}
		}
	}
	if n.prefix == "xml" {
		return "http://www.w3.org/XML/1998/namespace"
	}
	return ""
}

// attr finds an attribute by its full name.
func (n *xmlNode) attr(name string) *xmlNode {
	for _, a := range n.attrs {
		if a.name() == name {
			return a
		}
	}
	return nil
}

// setAttr changes an attribute or adds it behind the others.
func (n *xmlNode) setAttr(name, value string) {
	a := n.attr(name)
	if a == nil {
		a = &xmlNode{kind: xmlAttribute, parent: n, lead: " ", equals: "=", quote: `"`}
		a.prefix, a.local = splitName(name)
		n.attrs = append(n.attrs, a)
	}
	a.set(value)
}

// set changes the value of a node that has one; of an element it replaces the content by text.
func (n *xmlNode) set(value string) {
	switch n.kind {
	case xmlElement:
		t := &xmlNode{kind: xmlText}
		n.children, n.empty = nil, false
		n.add(t)
		t.set(value)
		return
	case xmlAttribute:
		n.raw = escapeAttribute(value, n.quote)
	case xmlText:
		n.raw = escapeText(value)
	case xmlCData:
		n.raw = "<![CDATA[" + strings.ReplaceAll(value, "]]>", "]]]]><![CDATA[>") + "]]>"
	case xmlComment:
		for strings.Contains(value, "--") {
			value = strings.ReplaceAll(value, "--", "- -")
		}
		value = strings.TrimSuffix(value, "-")
		n.raw = "<!--" + value + "-->"
	case xmlInstruction:
		value = strings.ReplaceAll(value, "?>", "? >")
		n.raw = "<?" + n.local + " " + value + "?>"
	}
	n.value = value
}

var (
	textEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\r", "&#xD;")
	attrEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\r", "&#xD;", "\n", "&#xA;", "\t", "&#x9;")
)

func escapeText(s string) string { return textEscapes.Replace(allowed(s)) }

func escapeAttribute(s, quote string) string {
	s = attrEscapes.Replace(allowed(s))
	if quote == "'" {
		return strings.ReplaceAll(s, "'", "&apos;")
	}
	return strings.ReplaceAll(s, `"`, "&quot;")
}

// allowed drops the characters that no XML may hold.
func allowed(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff {
			return -1
		}
		return r
	}, s)
}
