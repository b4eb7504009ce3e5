package convention

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// xpath is a compiled expression: XPath 1, without variables and the id function, and with the wildcard *:name and a few
// text functions of XPath 2.
type xpath struct{ expr xpathExpr }

// xpathExpr is evaluated at a node; it gives []*xmlNode, string, float64 or bool.
type xpathExpr func(c xpathContext) any

type xpathContext struct {
	node           *xmlNode
	position, size int
}

// compileXPath compiles an expression; prefixes are those that may be used.
func compileXPath(text string, prefixes map[string]string) (x *xpath, err error) {
	tokens, err := xpathTokens(text)
	if err != nil {
		return nil, err
	}
	p := &xpathParser{tokens: tokens, prefixes: prefixes}
	defer func() {
		if r := recover(); r != nil {
			said, ok := r.(xpathError)
			if !ok {
				panic(r)
			}
			x, err = nil, said
		}
	}()
	e := p.or()
	if p.peek() != "" {
		p.fail()
	}
	return &xpath{e}, nil
}

// nodes evaluates to a node set in document order; ok is false when the expression gives something else.
func (x *xpath) nodes(at *xmlNode) (set []*xmlNode, ok bool) {
	set, ok = x.expr(xpathContext{at, 1, 1}).([]*xmlNode)
	return set, ok
}

// xpathError ends the parsing from anywhere in it.
type xpathError string

func (e xpathError) Error() string { return string(e) }

// xpathTokens splits an expression. Literals keep their opening quote, so that they are told from names.
func xpathTokens(s string) ([]string, error) {
	var tokens []string
	for s != "" {
		r, size := utf8.DecodeRuneInString(s)
		n := size
		switch {
		case unicode.IsSpace(r):
			s = s[n:]
			continue
		case r == '"' || r == '\'':
			end := strings.IndexRune(s[1:], r)
			if end < 0 {
				return nil, fmt.Errorf("a text in the path has no end")
			}
			tokens = append(tokens, s[:end+1])
			s = s[end+2:]
			continue
		case hasAnyPrefix(s, "//", "::", "..", "!=", "<=", ">="):
			n = 2
		case unicode.IsDigit(r) || r == '.' && len(s) > 1 && s[1] >= '0' && s[1] <= '9':
			n = len(s) - len(strings.TrimLeft(s, "0123456789."))
		case isNameRune(r, true):
			n = 0
			for n < len(s) {
				r, size := utf8.DecodeRuneInString(s[n:])
				if !isNameRune(r, n == 0) {
					break
				}
				n += size
			}
		case !strings.ContainsRune("/@.*()[]|=<>+-,:", r):
			return nil, fmt.Errorf("the character %q has no place in a path", r)
		}
		tokens = append(tokens, s[:n])
		s = s[n:]
	}
	if len(tokens) > 1000 {
		return nil, fmt.Errorf("the path is too long")
	}
	return tokens, nil
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

func isNameRune(r rune, first bool) bool {
	return unicode.IsLetter(r) || r == '_' || !first && (unicode.IsDigit(r) || r == '-' || r == '.')
}

type xpathParser struct {
	tokens   []string
	at       int
	depth    int
	prefixes map[string]string
}

func (p *xpathParser) peekAt(n int) string {
	if p.at+n < len(p.tokens) {
		return p.tokens[p.at+n]
	}
	return ""
}

func (p *xpathParser) peek() string { return p.peekAt(0) }

func (p *xpathParser) take(token string) bool {
	if p.peek() != token {
		return false
	}
	p.at++
	return true
}

func (p *xpathParser) need(token string) {
	if !p.take(token) {
		p.fail()
	}
}

func (p *xpathParser) fail() {
	if p.peek() == "" {
		panic(xpathError("the path ends too early"))
	}
	panic(xpathError(fmt.Sprintf("%q has no place there in the path", p.peek())))
}

func (p *xpathParser) or() xpathExpr {
	if p.depth++; p.depth > 50 {
		panic(xpathError("the path is nested too deep"))
	}
	defer func() { p.depth-- }()
	left := p.and()
	for p.take("or") {
		l, r := left, p.and()
		left = func(c xpathContext) any { return xpathBool(l(c)) || xpathBool(r(c)) }
	}
	return left
}

func (p *xpathParser) and() xpathExpr {
	left := p.compare()
	for p.take("and") {
		l, r := left, p.compare()
		left = func(c xpathContext) any { return xpathBool(l(c)) && xpathBool(r(c)) }
	}
	return left
}

func (p *xpathParser) compare() xpathExpr {
	left := p.sum()
	for {
		op := p.peek()
		if !slices.Contains([]string{"=", "!=", "<", "<=", ">", ">="}, op) {
			return left
		}
		p.at++
		l, r := left, p.sum()
		left = func(c xpathContext) any { return xpathCompare(op, l(c), r(c)) }
	}
}

func (p *xpathParser) sum() xpathExpr {
	left := p.union()
	for {
		switch {
		case p.take("+"):
			l, r := left, p.union()
			left = func(c xpathContext) any { return xpathNumber(l(c)) + xpathNumber(r(c)) }
		case p.take("-"):
			l, r := left, p.union()
			left = func(c xpathContext) any { return xpathNumber(l(c)) - xpathNumber(r(c)) }
		default:
			return left
		}
	}
}

func (p *xpathParser) union() xpathExpr {
	if p.take("-") {
		e := p.union()
		return func(c xpathContext) any { return -xpathNumber(e(c)) }
	}
	left := p.path()
	for p.take("|") {
		l, r := left, p.path()
		left = func(c xpathContext) any {
			x, _ := l(c).([]*xmlNode)
			y, _ := r(c).([]*xmlNode)
			return inOrder(append(slices.Clone(x), y...))
		}
	}
	return left
}

// path is a location path, or a filtered primary expression with a path behind it.
func (p *xpathParser) path() xpathExpr {
	var start xpathExpr
	switch t := p.peek(); {
	case t == "/":
		p.at++
		start = func(c xpathContext) any { return []*xmlNode{c.node.root()} }
		if !p.startsStep() {
			return start
		}
		return p.steps(start)
	case t == "//":
		start = func(c xpathContext) any { return []*xmlNode{c.node.root()} }
		return p.moreSteps(start)
	case p.startsStep() && !p.startsCall():
		return p.steps(func(c xpathContext) any { return []*xmlNode{c.node} })
	}
	return p.moreSteps(p.predicates(p.primary()))
}

func (p *xpathParser) startsStep() bool {
	t := p.peek()
	r, _ := utf8.DecodeRuneInString(t)
	return t == "." || t == ".." || t == "@" || t == "*" || isNameRune(r, true)
}

func (p *xpathParser) startsCall() bool {
	return p.peekAt(1) == "(" && !slices.Contains([]string{"text", "comment", "node", "processing-instruction"}, p.peek())
}

func (p *xpathParser) steps(start xpathExpr) xpathExpr { return p.moreSteps(p.step(start)) }

func (p *xpathParser) moreSteps(start xpathExpr) xpathExpr {
	for {
		switch {
		case p.take("/"):
			start = p.step(start)
		case p.take("//"):
			start = p.step(along(start, "descendant-or-self", func(*xmlNode) bool { return true }))
		default:
			return start
		}
	}
}

var axes = []string{
	"child", "descendant", "descendant-or-self", "parent", "ancestor", "ancestor-or-self", "self", "attribute",
	"following-sibling", "preceding-sibling",
}

func (p *xpathParser) step(from xpathExpr) xpathExpr {
	axis := "child"
	switch {
	case p.take("."):
		return along(from, "self", func(*xmlNode) bool { return true })
	case p.take(".."):
		return along(from, "parent", func(*xmlNode) bool { return true })
	case p.take("@"):
		axis = "attribute"
	case p.peekAt(1) == "::":
		axis = p.peek()
		if !slices.Contains(axes, axis) {
			p.fail()
		}
		p.at += 2
	}
	test := p.nodeTest(axis)
	var filters []xpathExpr
	for p.take("[") {
		filters = append(filters, p.or())
		p.need("]")
	}
	return along(from, axis, test, filters...)
}

// nodeTest reads a name or a kind.
func (p *xpathParser) nodeTest(axis string) func(*xmlNode) bool {
	name := p.peek()
	if p.peekAt(1) == "(" {
		kinds, ok := map[string][]xmlKind{
			"text": {xmlText, xmlCData}, "comment": {xmlComment}, "processing-instruction": {xmlInstruction}, "node": nil,
		}[name]
		if !ok {
			p.fail()
		}
		p.at += 2
		target := ""
		if strings.HasPrefix(p.peek(), `"`) || strings.HasPrefix(p.peek(), "'") {
			target = p.peek()[1:]
			p.at++
		}
		p.need(")")
		return func(n *xmlNode) bool {
			return (kinds == nil || slices.Contains(kinds, n.kind)) && (target == "" || n.local == target)
		}
	}
	if !p.startsStep() || name == "." || name == ".." || name == "@" {
		p.fail()
	}
	p.at++
	kind := xmlElement
	if axis == "attribute" {
		kind = xmlAttribute
	}
	prefix, local := "", name
	if p.take(":") {
		prefix, local = name, p.peek()
		if r, _ := utf8.DecodeRuneInString(local); local != "*" && !isNameRune(r, true) {
			p.fail()
		}
		p.at++
	}
	uri, known := p.prefixes[prefix]
	if prefix != "" && prefix != "*" && !known {
		panic(xpathError(fmt.Sprintf("the prefix %q is not declared", prefix)))
	}
	anyNamespace := prefix == "*" || prefix == "" && local == "*"
	if axis == "attribute" && prefix == "" {
		uri = "" // a default namespace, if there is one among the prefixes, is for elements
	}
	return func(n *xmlNode) bool {
		return n.kind == kind && (local == "*" || n.local == local) && (anyNamespace || n.namespace() == uri)
	}
}

// along walks an axis from every node of a set.
func along(from xpathExpr, axis string, test func(*xmlNode) bool, filters ...xpathExpr) xpathExpr {
	return func(c xpathContext) any {
		start, _ := from(c).([]*xmlNode)
		var all []*xmlNode
		for _, n := range start {
			var some []*xmlNode
			for _, m := range axisOf(n, axis) {
				if m.kind != xmlOther && test(m) {
					some = append(some, m)
				}
			}
			for _, f := range filters {
				some = filtered(some, f)
			}
			all = append(all, some...)
		}
		return inOrder(all)
	}
}

func axisOf(n *xmlNode, axis string) []*xmlNode {
	var all []*xmlNode
	below := func() {
		var visit func(*xmlNode)
		visit = func(n *xmlNode) {
			for _, c := range n.children {
				all = append(all, c)
				visit(c)
			}
		}
		visit(n)
	}
	above := func() {
		for e := n.parent; e != nil; e = e.parent {
			all = append(all, e)
		}
	}
	switch axis {
	case "self":
		all = append(all, n)
	case "child":
		all = n.children
	case "attribute":
		for _, a := range n.attrs {
			if a.prefix != "xmlns" && a.name() != "xmlns" {
				all = append(all, a)
			}
		}
	case "parent":
		if n.parent != nil {
			all = append(all, n.parent)
		}
	case "descendant":
		below()
	case "descendant-or-self":
		all = append(all, n)
		below()
	case "ancestor":
		above()
	case "ancestor-or-self":
		all = append(all, n)
		above()
	case "following-sibling", "preceding-sibling":
		if n.parent == nil || n.kind == xmlAttribute {
			return nil
		}
		i := slices.Index(n.parent.children, n)
		if axis == "following-sibling" {
			return n.parent.children[i+1:]
		}
		all = slices.Clone(n.parent.children[:i])
		slices.Reverse(all)
	}
	return all
}

func filtered(set []*xmlNode, f xpathExpr) []*xmlNode {
	var kept []*xmlNode
	for i, n := range set {
		v := f(xpathContext{n, i + 1, len(set)})
		if number, ok := v.(float64); ok && number == float64(i+1) || !ok && xpathBool(v) {
			kept = append(kept, n)
		}
	}
	return kept
}

// inOrder sorts a set as the document has it, each node once.
func inOrder(set []*xmlNode) []*xmlNode {
	slices.SortStableFunc(set, func(x, y *xmlNode) int { return cmp.Compare(x.order, y.order) })
	return slices.Compact(set)
}

func (p *xpathParser) predicates(e xpathExpr) xpathExpr {
	for p.take("[") {
		set, f := e, p.or()
		p.need("]")
		e = func(c xpathContext) any {
			nodes, _ := set(c).([]*xmlNode)
			return filtered(nodes, f)
		}
	}
	return e
}

func (p *xpathParser) primary() xpathExpr {
	t := p.peek()
	switch {
	case p.take("("):
		e := p.or()
		p.need(")")
		return e
	case strings.HasPrefix(t, `"`) || strings.HasPrefix(t, "'"):
		p.at++
		return func(xpathContext) any { return t[1:] }
	case t != "" && (t[0] >= '0' && t[0] <= '9' || t[0] == '.'):
		n, err := strconv.ParseFloat(t, 64)
		if err != nil {
			p.fail()
		}
		p.at++
		return func(xpathContext) any { return n }
	case p.peekAt(1) == "(":
		return p.call()
	}
	p.fail()
	return nil
}

func (p *xpathParser) call() xpathExpr {
	name := p.peek()
	f, ok := xpathFunctions[name]
	if !ok {
		p.fail()
	}
	p.at += 2
	var args []xpathExpr
	for p.peek() != ")" {
		args = append(args, p.or())
		if !p.take(",") {
			break
		}
	}
	p.need(")")
	if len(args) < f.least || len(args) > f.most {
		panic(xpathError(fmt.Sprintf("%s() has a wrong number of arguments", name)))
	}
	return func(c xpathContext) any {
		values := make([]any, len(args))
		for i, a := range args {
			values[i] = a(c)
		}
		if f.context && len(values) == 0 {
			values = append(values, []*xmlNode{c.node})
		}
		return f.do(c, values)
	}
}

type xpathFunction struct {
	least, most int
	context     bool // without an argument it takes the context node
	do          func(c xpathContext, v []any) any
}

var xpathFunctions = map[string]xpathFunction{
	"position":         {0, 0, false, func(c xpathContext, _ []any) any { return float64(c.position) }},
	"last":             {0, 0, false, func(c xpathContext, _ []any) any { return float64(c.size) }},
	"true":             {0, 0, false, func(xpathContext, []any) any { return true }},
	"false":            {0, 0, false, func(xpathContext, []any) any { return false }},
	"not":              {1, 1, false, func(_ xpathContext, v []any) any { return !xpathBool(v[0]) }},
	"boolean":          {1, 1, false, func(_ xpathContext, v []any) any { return xpathBool(v[0]) }},
	"number":           {0, 1, true, func(_ xpathContext, v []any) any { return xpathNumber(v[0]) }},
	"string":           {0, 1, true, func(_ xpathContext, v []any) any { return xpathString(v[0]) }},
	"count":            {1, 1, false, func(_ xpathContext, v []any) any { set, _ := v[0].([]*xmlNode); return float64(len(set)) }},
	"name":             {0, 1, true, func(_ xpathContext, v []any) any { return ofFirst(v[0], (*xmlNode).name) }},
	"local-name":       {0, 1, true, func(_ xpathContext, v []any) any { return ofFirst(v[0], func(n *xmlNode) string { return n.local }) }},
	"namespace-uri":    {0, 1, true, func(_ xpathContext, v []any) any { return ofFirst(v[0], (*xmlNode).namespace) }},
	"starts-with":      {2, 2, false, func(_ xpathContext, v []any) any { return strings.HasPrefix(xpathString(v[0]), xpathString(v[1])) }},
	"ends-with":        {2, 2, false, func(_ xpathContext, v []any) any { return strings.HasSuffix(xpathString(v[0]), xpathString(v[1])) }},
	"contains":         {2, 2, false, func(_ xpathContext, v []any) any { return strings.Contains(xpathString(v[0]), xpathString(v[1])) }},
	"lower-case":       {1, 1, false, func(_ xpathContext, v []any) any { return strings.ToLower(xpathString(v[0])) }},
	"upper-case":       {1, 1, false, func(_ xpathContext, v []any) any { return strings.ToUpper(xpathString(v[0])) }},
	"normalize-space":  {0, 1, true, func(_ xpathContext, v []any) any { return strings.Join(strings.Fields(xpathString(v[0])), " ") }},
	"string-length":    {0, 1, true, func(_ xpathContext, v []any) any { return float64(utf8.RuneCountInString(xpathString(v[0]))) }},
	"substring-before": {2, 2, false, func(_ xpathContext, v []any) any { return cutOf(v, true) }},
	"substring-after":  {2, 2, false, func(_ xpathContext, v []any) any { return cutOf(v, false) }},
	"concat": {2, 100, false, func(_ xpathContext, v []any) any {
		var b strings.Builder
		for _, x := range v {
			b.WriteString(xpathString(x))
		}
		return b.String()
	}},
}

func ofFirst(v any, f func(*xmlNode) string) string {
	if set, _ := v.([]*xmlNode); len(set) > 0 {
		return f(set[0])
	}
	return ""
}

func cutOf(v []any, before bool) string {
	x, y, ok := strings.Cut(xpathString(v[0]), xpathString(v[1]))
	switch {
	case !ok:
		return ""
	case before:
		return x
	}
	return y
}

func xpathBool(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case float64:
		return v != 0 && !math.IsNaN(v)
	case string:
		return v != ""
	case []*xmlNode:
		return len(v) > 0
	}
	return false
}

func xpathString(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []*xmlNode:
		return ofFirst(v, (*xmlNode).text)
	}
	return ""
}

func xpathNumber(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case bool:
		if v {
			return 1
		}
		return 0
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(xpathString(v)), 64)
	if err != nil {
		return math.NaN()
	}
	return n
}

// xpathCompare compares as XPath 1 does: a node set is true for an operator if one of its nodes is.
func xpathCompare(op string, l, r any) bool {
	if set, ok := l.([]*xmlNode); ok {
		if _, isBool := r.(bool); !isBool {
			return slices.ContainsFunc(set, func(n *xmlNode) bool { return xpathCompare(op, n.text(), r) })
		}
	}
	if set, ok := r.([]*xmlNode); ok {
		if _, isBool := l.(bool); !isBool {
			return slices.ContainsFunc(set, func(n *xmlNode) bool { return xpathCompare(op, l, n.text()) })
		}
	}
	if op == "=" || op == "!=" {
		_, lb := l.(bool)
		_, rb := r.(bool)
		_, ln := l.(float64)
		_, rn := r.(float64)
		same := false
		switch {
		case lb || rb:
			same = xpathBool(l) == xpathBool(r)
		case ln || rn:
			same = xpathNumber(l) == xpathNumber(r)
		default:
			same = xpathString(l) == xpathString(r)
		}
		return same == (op == "=")
	}
	x, y := xpathNumber(l), xpathNumber(r)
	switch op {
	case "<":
		return x < y
	case "<=":
		return x <= y
	case ">":
		return x > y
	default:
		return x >= y
	}
}
