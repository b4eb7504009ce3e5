package convention

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// replaceYAML changes values of YAML documents (variables.md 5.2, YAML). Scalars are changed in place, so that all else
// stays byte for byte; the result is parsed again and held against what it should be. Where that does not work out, as
// for block structures, the documents are written anew, which keeps comments, anchors and styles, but not blank lines.
func replaceYAML(text string, with *replacements) (string, error) {
	docs, err := parseYAML(text)
	if err != nil {
		return "", &notThisFormat{"YAML", err}
	}
	e := &yamlEditor{src: text, lines: lineStarts(text), with: with, inPlace: true}
	for _, d := range docs {
		for _, root := range d.Content {
			e.visit(root, "", false)
		}
	}
	if with.hits == 0 {
		return text, nil
	}
	if e.inPlace {
		edited := e.edited()
		if again, err := parseYAML(edited); err == nil && sameYAML(docs, again) {
			return edited, nil
		}
	}
	written, err := writeYAML(docs, indentation(text))
	return withNewline(written, newline(text)), err
}

func parseYAML(text string) ([]*yaml.Node, error) {
	loader, err := yaml.NewLoader(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	var docs []*yaml.Node
	for {
		var n yaml.Node
		err := loader.Load(&n)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, err
		}
		docs = append(docs, &n)
	}
}

func writeYAML(docs []*yaml.Node, indent int) (string, error) {
	var b bytes.Buffer
	d, err := yaml.NewDumper(&b, yaml.WithIndent(indent), yaml.WithLineWidth(-1))
	if err != nil {
		return "", err
	}
	for _, doc := range docs {
		if err := d.Dump(doc); err != nil {
			return "", err
		}
	}
	return b.String(), d.Close()
}

// indentation is the step by which most deeper lines of a text are indented more.
func indentation(text string) int {
	count := map[int]int{}
	before := 0
	for line := range strings.Lines(text) {
		body := strings.TrimLeft(line, " ")
		if strings.TrimSpace(body) == "" || body[0] == '#' {
			continue
		}
		depth := len(line) - len(body)
		if step := depth - before; step >= 2 && step <= 9 {
			count[step]++
		}
		before = depth
	}
	best := 2
	for step, n := range count {
		if n > count[best] || n == count[best] && step < best {
			best = step
		}
	}
	return best
}

// yamlEditor changes the nodes, and notes the same changes for the source.
type yamlEditor struct {
	src     string
	lines   []int // where each line begins
	with    *replacements
	changes []change
	inPlace bool // so far every change could be noted
}

func lineStarts(text string) []int {
	starts := []int{0}
	for i := range len(text) {
		if text[i] == '\n' {
			starts = append(starts, i+1)
		}
	}
	return starts
}

func (e *yamlEditor) edited() string {
	var b strings.Builder
	at := 0
	for _, c := range e.changes {
		b.WriteString(e.src[at:c.from])
		b.WriteString(c.text)
		at = c.to
	}
	b.WriteString(e.src[at:])
	return b.String()
}

func (e *yamlEditor) visit(n *yaml.Node, address string, inFlow bool) {
	if r, ok := e.with.find(address); ok && address != "" && n.Kind != yaml.AliasNode {
		e.with.hit(r.name)
		e.replace(n, r, inFlow)
		return
	}
	inFlow = inFlow || n.Style&yaml.FlowStyle != 0
	join := func(name string) string {
		if address == "" {
			return name
		}
		return address + ":" + name
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Kind == yaml.ScalarNode {
				e.visit(n.Content[i+1], join(n.Content[i].Value), inFlow)
			}
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			e.visit(c, join(strconv.Itoa(i)), inFlow)
		}
	}
}

func (e *yamlEditor) replace(n *yaml.Node, r replacement, inFlow bool) {
	if n.Kind != yaml.ScalarNode {
		e.inPlace = false
		replaceYAMLStructure(n, r)
		return
	}
	from, to, ok := e.find(n)
	old := *n
	if r.value == nil {
		n.Value, n.Tag, n.Style = "null", "!!null", 0
		e.note(from, to, "null", ok && old.Style&yaml.TaggedStyle == 0)
		return
	}
	n.Value = *r.value
	if n.Style&yaml.TaggedStyle == 0 {
		n.Tag = ""
		if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			n.Tag = "!!str"
		}
	}
	var text string
	plainTag, plain := plainYAML(n.Value, inFlow)
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		text = quoteJSON(n.Value)
	case n.Style&yaml.SingleQuotedStyle != 0:
		text = singleQuoted(n.Value)
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		var fits bool
		if text, fits = e.block(n, from); !fits {
			text = quoteJSON(n.Value)
		}
	case plain:
		text = n.Value
		if n.Tag == "" {
			n.Tag = plainTag
		}
	default:
		if n.Tag == "" {
			n.Tag = "!!str"
		}
		text = singleQuoted(n.Value)
	}
	if ok && from == to && from > 0 && e.src[from-1] != ' ' && e.src[from-1] != '\n' { // "key:" without a value
		text = " " + text
	}
	e.note(from, to, text, ok)
}

func (e *yamlEditor) note(from, to int, text string, ok bool) {
	if !ok || len(e.changes) > 0 && e.changes[len(e.changes)-1].to > from {
		e.inPlace = false
		return
	}
	e.changes = append(e.changes, change{from, to, text})
}

// find gives the place of a scalar's text, behind its anchor and tag.
func (e *yamlEditor) find(n *yaml.Node) (from, to int, ok bool) {
	if n.Line < 1 || n.Line > len(e.lines) {
		return 0, 0, false
	}
	at := e.lines[n.Line-1]
	for range n.Column - 1 {
		if at >= len(e.src) {
			return 0, 0, false
		}
		_, size := utf8.DecodeRuneInString(e.src[at:])
		at += size
	}
	for at < len(e.src) && (e.src[at] == '&' || e.src[at] == '!') {
		end := strings.IndexAny(e.src[at:], " \t\r\n")
		if end < 0 {
			return 0, 0, false
		}
		at += end
		at += len(e.src[at:]) - len(strings.TrimLeft(e.src[at:], " \t"))
	}
	rest := e.src[at:]
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0 && strings.HasPrefix(rest, `"`):
		for i := 1; i < len(rest); i++ {
			switch rest[i] {
			case '\\':
				i++
			case '"':
				return at, at + i + 1, true
			}
		}
	case n.Style&yaml.SingleQuotedStyle != 0 && strings.HasPrefix(rest, "'"):
		for i := 1; i < len(rest); i++ {
			if rest[i] != '\'' {
				continue
			}
			if i+1 < len(rest) && rest[i+1] == '\'' {
				i++
				continue
			}
			return at, at + i + 1, true
		}
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 && (strings.HasPrefix(rest, "|") || strings.HasPrefix(rest, ">")):
		_, end, ok := blockScalar(rest)
		return at, at + end, ok
	case n.Style&^yaml.TaggedStyle == 0 && strings.HasPrefix(rest, n.Value):
		return at, at + len(n.Value), true
	}
	return 0, 0, false
}

// blockScalar measures a | or > scalar without an explicit indentation: the white space before its lines, and where its
// last line that is not blank ends.
func blockScalar(rest string) (indent string, end int, ok bool) {
	at := 0
	for line := range strings.Lines(rest) {
		first := at == 0
		at += len(line)
		body := strings.TrimLeft(line, " ")
		depth := len(line) - len(body)
		switch {
		case first:
			header, _, _ := strings.Cut(line, " #")
			if strings.ContainsAny(header, "123456789") {
				return "", 0, false
			}
			continue
		case strings.TrimSpace(body) == "":
			continue
		case indent == "":
			indent = line[:depth]
		}
		if depth == 0 || depth < len(indent) {
			return indent, end, indent != "" && end > 0
		}
		end = at - len(line) + len(strings.TrimRight(line, "\r\n"))
	}
	return indent, end, indent != "" && end > 0
}

// block writes a value in the style of the block scalar it replaces; false when it cannot be written so.
func (e *yamlEditor) block(n *yaml.Node, from int) (string, bool) {
	indent, _, ok := blockScalar(e.src[from:])
	v := n.Value
	if !ok || strings.TrimSpace(v) == "" || v[0] == ' ' || v[0] == '\n' || strings.ContainsFunc(v, func(r rune) bool {
		return r != '\n' && !unicode.IsPrint(r)
	}) || strings.HasSuffix(v, "\n\n") {
		return "", false
	}
	mark, chomp := "|", "-"
	if strings.HasSuffix(v, "\n") {
		v, chomp = strings.TrimSuffix(v, "\n"), ""
	}
	lines := strings.Split(v, "\n")
	if n.Style&yaml.FoldedStyle != 0 {
		mark = ">"
		for i, l := range lines {
			if strings.HasPrefix(l, " ") || l == "" {
				return "", false
			}
			if i > 0 {
				lines[i] = "\x00" + l
			}
		}
	}
	end := newline(e.src)
	var b strings.Builder
	b.WriteString(mark + chomp)
	for _, l := range lines {
		b.WriteString(end)
		if folded, ok := strings.CutPrefix(l, "\x00"); ok {
			b.WriteString(end)
			l = folded
		}
		if l != "" {
			b.WriteString(indent + l)
		}
	}
	return b.String(), true
}

// replaceYAMLStructure puts a value, read as YAML, in the place of a mapping or sequence; a text that is no YAML becomes a
// quoted scalar.
func replaceYAMLStructure(n *yaml.Node, r replacement) {
	head, line, foot, anchor := n.HeadComment, n.LineComment, n.FootComment, n.Anchor
	switch docs, err := parseYAML(textOf(r)); {
	case r.value == nil:
		*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
	case err != nil || len(docs) != 1 || len(docs[0].Content) != 1 || strings.TrimSpace(*r.value) == "":
		*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: *r.value}
	default:
		*n = *docs[0].Content[0]
	}
	n.HeadComment, n.LineComment, n.FootComment = head, line, foot
	if n.Anchor == "" {
		n.Anchor = anchor
	}
}

func textOf(r replacement) string {
	if r.value == nil {
		return ""
	}
	return *r.value
}

func singleQuoted(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return quoteJSON(s)
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

// plainYAML tells whether a text can stand without quotes and be read as itself, and what type it has then.
func plainYAML(s string, inFlow bool) (tag string, ok bool) {
	if s == "" || strings.ContainsAny(s, "\r\n\t") || strings.HasPrefix(s, "---") || strings.HasPrefix(s, "...") {
		return "", false
	}
	if inFlow && strings.ContainsAny(s, ",[]{}") {
		return "", false
	}
	docs, err := parseYAML("k: " + s + "\n")
	if err != nil || len(docs) != 1 || len(docs[0].Content) != 1 {
		return "", false
	}
	m := docs[0].Content[0]
	ok = m.Kind == yaml.MappingNode && len(m.Content) == 2 && m.Content[1].Kind == yaml.ScalarNode && m.Content[1].Style == 0 &&
		m.Content[1].Anchor == "" && m.Content[1].Value == s && m.Content[1].LineComment == ""
	if !ok {
		return "", false
	}
	return m.Content[1].ShortTag(), true
}

// sameYAML compares what two lists of documents mean.
func sameYAML(x, y []*yaml.Node) bool {
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		a, b := x[i], y[i]
		if a.Kind != b.Kind || a.Value != b.Value || a.Anchor != b.Anchor || a.Kind == yaml.ScalarNode && a.ShortTag() != b.ShortTag() {
			return false
		}
		if !sameYAML(a.Content, b.Content) {
			return false
		}
	}
	return true
}
