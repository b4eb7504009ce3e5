package variable

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxDepth is how many values may be evaluated inside each other (variables.md 1.6, Recursion).
const MaxDepth = 500

// What one evaluation may cost. A legal template stays far below.
const (
	maxWork  = 2_000_000        // tokens and look-ups
	maxBytes = 64 << 20         // text written, also in between, beyond twice the template itself
	maxRegex = 30 * time.Second // all regular expressions together
)

// Result is what an evaluation gives.
type Result struct {
	Text string
	Null bool  // there is no text: the null filter fired, or Err ended the evaluation
	Err  error // nil, *Unresolved, *ParseError, *LoopError, *FilterError or *LimitError
}

// Missing lists the tokens that stayed in the text.
func (r Result) Missing() []string {
	if u, ok := r.Err.(*Unresolved); ok { //nolint:errorlint // Err is never wrapped
		return u.Tokens
	}
	return nil
}

// Evaluate replaces #{...} in a value or a step's setting (halt mode, variables.md 1.2).
// With an *Unresolved or *ParseError the text is good: tokens, or all of it, stayed as they were.
func Evaluate(text string, vars *Dictionary) (string, error) {
	r := vars.Evaluate(text)
	return r.Text, r.Err
}

// EvaluateFile replaces #{...} in the text of a file (continue mode, variables.md 1.2): what does not
// parse stays as it is and is no error; unresolved tokens stay too, and are reported.
func EvaluateFile(text string, vars *Dictionary) (string, error) {
	r := vars.EvaluateFile(text)
	return r.Text, r.Err
}

// Evaluate is the function of that name, telling null from empty.
func (d *Dictionary) Evaluate(text string) Result { return d.run(text, parse) }

// EvaluateFile is the function of that name, telling null from empty.
func (d *Dictionary) EvaluateFile(text string) Result { return d.run(text, parseFile) }

func (d *Dictionary) run(src string, parse func(string) (*list, error)) Result {
	if !strings.Contains(src, "#{") {
		return Result{Text: src}
	}
	l, err := parse(src)
	if err != nil {
		return Result{Text: src, Err: err}
	}
	e := &evaluator{work: maxWork, bytes: maxBytes + 2*len(src), regex: maxRegex}
	out := &output{miss: new(missing), outermost: true}
	if err := e.list(l, &scope{root: d.tree()}, out); err != nil {
		return Result{Null: true, Err: err}
	}
	r := Result{Text: out.b.String(), Null: out.null}
	if len(out.miss.tokens) > 0 {
		r.Err = &Unresolved{Tokens: out.miss.tokens}
	}
	if r.Null {
		r.Text = ""
	}
	return r
}

// evaluator is one evaluation: what it may still spend, and what it need not compute twice.
type evaluator struct {
	work    int
	bytes   int
	regex   time.Duration
	json    map[string]*jsonValue
	regexes map[string]*pattern
}

func (e *evaluator) spend(work, bytes int) error {
	e.work -= work
	e.bytes -= bytes
	switch {
	case e.work < 0:
		return &LimitError{What: "the template takes too many steps"}
	case e.bytes < 0:
		return &LimitError{What: "the values expand to too much text"}
	}
	return nil
}

// scope is an evaluation context. The names of its tree hide those of its parent's; paths that are
// being resolved stand on its stack, so that a circle is seen (variables.md 1.6).
type scope struct {
	root   *node
	parent *scope
	depth  int
	stack  []*path
}

var noNames = new(node)

func (c *scope) child(root *node) *scope { return &scope{root: root, parent: c, depth: c.depth + 1} }

// output is where tokens write and report.
type output struct {
	b         strings.Builder
	miss      *missing
	null      bool
	outermost bool // the null filter works here only
}

// missing collects distinct tokens in order. A nil one forgets them.
type missing struct {
	tokens []string
	seen   map[string]bool
}

func (m *missing) add(token string) {
	if m == nil || m.seen[token] {
		return
	}
	if m.seen == nil {
		m.seen = map[string]bool{}
	}
	m.seen[token] = true
	m.tokens = append(m.tokens, token)
}

func (e *evaluator) write(out *output, s string) error {
	out.b.WriteString(s)
	return e.spend(0, len(s))
}

func (e *evaluator) list(l *list, c *scope, out *output) error {
	for ; l != nil; l = l.next {
		if err := e.token(l.tok, c, out); err != nil {
			return err
		}
	}
	return nil
}

func (e *evaluator) token(tok token, c *scope, out *output) error {
	if err := e.spend(1, 0); err != nil {
		return err
	}
	switch t := tok.(type) {
	case text:
		return e.write(out, string(t))
	case *substitution:
		return e.substitution(t, c, out)
	case *conditional:
		return e.conditional(t, c, out)
	case *each:
		return e.each(t, c, out)
	case *calc:
		return e.calc(t, c, out)
	}
	panic("variable: a token of no known kind")
}

func (e *evaluator) substitution(t *substitution, c *scope, out *output) error {
	value, err := e.expression(t.expr, c, out)
	if err != nil {
		return err
	}
	if value != nil {
		return e.write(out, *value)
	}
	self := printed(t)
	if n := len(t.expr.filters); n > 0 && t.expr.filters[n-1].name == "null" {
		if out.outermost {
			out.null = true
			return nil
		}
	} else {
		out.miss.add(self)
	}
	return e.write(out, self)
}

func (e *evaluator) conditional(t *conditional, c *scope, out *output) error {
	operand := func(x *expression) (string, bool, error) {
		value, err := e.expression(x, c, out)
		switch {
		case err != nil:
			return "", false, err
		case value != nil:
			return *value, true, nil
		case len(x.filters) == 0:
			return "", true, nil
		}
		out.miss.add(printed(x))
		return "", false, e.write(out, printed(t))
	}
	left, ok, err := operand(t.test.left)
	if err != nil || !ok {
		return err
	}
	right := t.test.literal
	if t.test.right != nil {
		if right, ok, err = operand(t.test.right); err != nil || !ok {
			return err
		}
	}
	var yes bool
	switch t.test.op {
	case "==":
		yes = left == right
	case "!=":
		yes = left != right
	default:
		yes = Truthy(left)
	}
	if yes {
		return e.list(t.yes, c, out)
	}
	return e.list(t.no, c, out)
}

func (e *evaluator) each(t *each, c *scope, out *output) error {
	items, err := e.items(t.collection, c, out.miss)
	if err != nil {
		return err
	}
	for i, item := range items {
		if err := e.spend(4, 0); err != nil { // a turn builds names of its own
			return err
		}
		specials := new(node)
		specials.member("Index", leaf(strconv.Itoa(i)))
		specials.member("First", leaf(boolText(i == 0)))
		specials.member("Last", leaf(boolText(i == len(items)-1)))
		eachNode, template, names := new(node), new(node), new(node)
		eachNode.member("Each", specials)
		template.member("Template", eachNode)
		names.member("Octopus", template)
		names.member(t.item, item)
		if err := e.list(t.body, c.child(names), out); err != nil {
			return err
		}
	}
	return nil
}

func boolText(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

func (e *evaluator) calc(t *calc, c *scope, out *output) error {
	f, ok, err := t.sum.value(func(p *path) (string, bool, error) {
		v, err := e.resolve(p, c, out.miss)
		if err != nil || v == nil || !v.hasText {
			return "", false, err
		}
		return v.text, true, nil
	})
	if err != nil {
		return err
	}
	if !ok {
		return e.write(out, printed(t))
	}
	return e.write(out, formatDouble(f))
}

// expression gives nil when the path is unresolved or a filter has no answer.
func (e *evaluator) expression(x *expression, c *scope, out *output) (*string, error) {
	var value *string
	if x.path != nil {
		v, err := e.resolve(x.path, c, out.miss)
		if err != nil {
			return nil, err
		}
		if v != nil && v.hasText {
			value = &v.text
		}
	}
	for _, call := range x.filters {
		options := make([]string, len(call.options))
		for i, o := range call.options {
			s, err := e.option(o, c, out)
			if err != nil {
				return nil, err
			}
			options[i] = s
		}
		var err error
		if value, err = e.filter(call.name, value, options); err != nil {
			if _, stop := err.(*LimitError); stop { //nolint:errorlint // never wrapped here
				return nil, err
			}
			return nil, &FilterError{Filter: call.name, Token: printed(&substitution{x}), Cause: err}
		}
		if value != nil {
			if err := e.spend(1, len(*value)); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}

func (e *evaluator) option(o token, c *scope, out *output) (string, error) {
	if t, ok := o.(text); ok {
		return string(t), nil
	}
	sub := &output{miss: out.miss, outermost: out.outermost}
	err := e.token(o, c.child(noNames), sub)
	out.null = out.null || sub.null
	return sub.b.String(), err
}

// value is what a path leads to: a text, or a place that only holds others.
type value struct {
	text    string
	hasText bool
	node    *node
}

// resolve walks a path outwards from c; nil means that it leads nowhere (variables.md 1.6).
func (e *evaluator) resolve(p *path, c *scope, miss *missing) (*value, error) {
	check := true
	for ; c != nil; c = c.parent {
		if err := e.spend(1, 0); err != nil {
			return nil, err
		}
		if check {
			if err := c.refuseCircle(p); err != nil {
				return nil, err
			}
			check = false
		}
		v, next, err := e.resolveIn(p, c, miss)
		if err != nil || v != nil || next == nil {
			return v, err
		}
		check = next != p
		p = next
	}
	return nil, nil
}

// resolveIn tries one scope. If the path is not found there, next is the path to try further out,
// nil if that is no use.
func (e *evaluator) resolveIn(p *path, c *scope, miss *missing) (v *value, next *path, err error) {
	c.stack = append(c.stack, p)
	defer func() { c.stack = c.stack[:len(c.stack)-1] }()
	if p.symbolic {
		if p, err = e.withIndexes(p, c); err != nil || p == nil {
			return nil, nil, err
		}
	}
	n := c.root
	for _, s := range p.steps {
		found := n.child(s)
		if found == nil {
			if found, err = e.jsonChild(n, s.text, c); err != nil {
				return nil, nil, err
			}
			if found == nil {
				return nil, p, nil
			}
		}
		n = found
	}
	if !n.hasValue {
		return &value{node: n}, nil, nil
	}
	s, err := e.nodeText(n, c, miss)
	if err != nil {
		return nil, nil, err
	}
	return &value{text: s, hasText: true, node: n}, nil, e.look(s)
}

// look charges for going through a text without writing it.
func (e *evaluator) look(s string) error { return e.spend(len(s)/1024, 0) }

// refuseCircle looks for p on the stacks of all scopes from c outwards.
func (c *scope) refuseCircle(p *path) error {
	for a := c; a != nil; a = a.parent {
		if slices.ContainsFunc(a.stack, p.same) {
			return &LoopError{Chain: chain(a.stack, p)}
		}
	}
	return nil
}

func chain(stack []*path, last *path) []string {
	var names []string
	for _, p := range stack {
		names = append(names, p.text)
	}
	return append(names, last.text)
}

// withIndexes puts values in the place of [#{...}]; nil if one has none.
func (e *evaluator) withIndexes(p *path, c *scope) (*path, error) {
	steps := slices.Clone(p.steps)
	for i, s := range steps {
		if s.kind != symbolStep {
			continue
		}
		v, err := e.resolve(s.symbol, c, nil)
		if err != nil || v == nil || !v.hasText {
			return nil, err
		}
		steps[i] = step{kind: indexStep, text: v.text, key: fold(v.text)}
	}
	return newPath(p.at, steps), nil
}

// nodeText evaluates a node's value in a scope inside c.
func (e *evaluator) nodeText(n *node, c *scope, miss *missing) (string, error) {
	l := n.template()
	if l == nil {
		return n.value, nil
	}
	inner := c.child(noNames)
	if inner.depth > MaxDepth {
		return "", &LoopError{Chain: chain(c.stack[:len(c.stack)-1], c.stack[len(c.stack)-1]), Depth: true}
	}
	// Each scope outside is looked at for every path inside, so deep nesting costs more.
	if err := e.spend(inner.depth, 0); err != nil {
		return "", err
	}
	out := &output{miss: miss}
	err := e.list(l, inner, out)
	return out.b.String(), err
}

// jsonChild steps into a value that is JSON; nil if it is not, or has no such place (variables.md 1.6, 1.9).
func (e *evaluator) jsonChild(n *node, name string, c *scope) (*node, error) {
	if !n.hasValue || n.value == "" || name == "" {
		return nil, nil
	}
	s := n.value
	if strings.Contains(s, "#{") {
		expanded, err := e.nodeText(n, c, nil)
		switch loop, isLoop := err.(*LoopError); { //nolint:errorlint // never wrapped
		case err == nil:
			s = expanded
		case isLoop && !loop.Depth:
			// Members that mention each other: the JSON as it stands may still have the answer.
		default:
			return nil, err
		}
	}
	j, err := e.parseJSON(s)
	if err != nil || j == nil {
		return nil, err
	}
	if err := e.look(s); err != nil { // the part is written out anew each time
		return nil, err
	}
	text, ok := j.step(name)
	if !ok {
		return nil, nil
	}
	return leaf(text), nil
}

// items resolves a collection (variables.md 1.9).
func (e *evaluator) items(p *path, c *scope, miss *missing) ([]*node, error) {
	v, err := e.resolve(p, c, miss)
	if err != nil || v == nil {
		return nil, err
	}
	if !v.hasText {
		var items []*node
		for _, c := range v.node.indexes.list {
			items = append(items, c.node)
		}
		return items, e.spend(len(items), 0)
	}
	j, err := e.parseJSON(v.text)
	if err != nil {
		return nil, err
	}
	if j != nil && (j.kind == jsonArray || j.kind == jsonObject) {
		return j.nodes(), nil
	}
	var items []*node
	for s := range strings.SplitSeq(v.text, ",") {
		items = append(items, leaf(s))
	}
	return items, e.spend(len(items), 0)
}

// parseJSON remembers what it parsed: a loop steps into the same text again and again.
func (e *evaluator) parseJSON(s string) (*jsonValue, error) {
	if j, seen := e.json[s]; seen {
		return j, nil
	}
	if err := e.spend(1, len(s)); err != nil {
		return nil, err
	}
	j := parseJSON(s)
	if e.json == nil || len(e.json) >= 64 {
		e.json = map[string]*jsonValue{}
	}
	e.json[s] = j
	return j, nil
}
