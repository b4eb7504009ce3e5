package variable

import (
	"strings"
)

// A template is a list of tokens. Lists share their tails, because the parser finds the rest of
// a text only once however many constructs are tried before it.
type list struct {
	tok  token
	next *list
}

func (l *list) print(b *strings.Builder) {
	for ; l != nil; l = l.next {
		l.tok.print(b)
	}
}

// A token is one of text, substitution, conditional, each and calc. Printing is the normalised form
// that unresolved tokens leave in the text (variables.md 1.6, 1.8).
type token interface {
	print(b *strings.Builder)
}

type text string

func (t text) print(b *strings.Builder) {
	b.WriteString(strings.ReplaceAll(string(t), "#{", "##{"))
}

type substitution struct{ expr *expression }

func (s *substitution) print(b *strings.Builder) {
	b.WriteString("#{")
	s.expr.print(b)
	b.WriteByte('}')
}

type conditional struct {
	test    test
	yes, no *list
}

func (c *conditional) print(b *strings.Builder) {
	b.WriteString("#{if ")
	c.test.left.print(b)
	if c.test.op != "" {
		b.WriteString(" " + c.test.op + " ")
		if c.test.right != nil {
			c.test.right.print(b)
		} else {
			b.WriteString(`"` + c.test.literal + `"`)
		}
		b.WriteByte(' ')
	}
	b.WriteByte('}')
	c.yes.print(b)
	if c.no != nil {
		b.WriteString("#{else}")
		c.no.print(b)
	}
	b.WriteString("#{/if}")
}

// test is a condition; a literal always stands on the right.
type test struct {
	left    *expression
	op      string // "", == or !=
	right   *expression
	literal string
}

type each struct {
	item       string
	collection *path
	body       *list
}

func (e *each) print(b *strings.Builder) {
	b.WriteString("#{each " + e.item + " in " + e.collection.text + "}")
	e.body.print(b)
	b.WriteString("#{/each}")
}

type calc struct{ sum *operation }

func (c *calc) print(b *strings.Builder) {
	b.WriteString("#{")
	c.sum.print(b)
	b.WriteByte('}')
}

// operation is a number, a variable or two operations with an operator between.
type operation struct {
	op          byte // + - * /, 'n' for a number, 'v' for a variable
	number      float64
	variable    *path
	left, right *operation
}

func (o *operation) print(b *strings.Builder) {
	switch o.op {
	case 'n':
		b.WriteString(formatDouble(o.number))
	case 'v':
		b.WriteString(o.variable.text)
	default:
		o.left.print(b)
		b.WriteByte(o.op)
		o.right.print(b)
	}
}

// expression is a path, or a chain of filters on a path that may be absent.
type expression struct {
	path    *path // nil only if there are filters
	filters []filterCall
}

type filterCall struct {
	name    string
	options []token
}

func (e *expression) print(b *strings.Builder) {
	if e.path != nil {
		b.WriteString(e.path.text)
	}
	for _, f := range e.filters {
		b.WriteString(" | " + f.name)
		for _, o := range f.options {
			b.WriteByte(' ')
			if t, ok := o.(text); ok {
				b.WriteByte('"')
				t.print(b)
				b.WriteByte('"')
			} else {
				o.print(b)
			}
		}
	}
}

func printed(p interface{ print(b *strings.Builder) }) string {
	var b strings.Builder
	p.print(&b)
	return b.String()
}

// path is a symbol such as A.B[c].D with the place where it stands in its own template.
type path struct {
	steps    []step
	at       int
	text     string // normalised
	symbolic bool   // some step is [#{...}]
}

type stepKind int

const (
	identifierStep stepKind = iota
	indexStep
	symbolStep
)

type step struct {
	kind   stepKind
	text   string
	key    string // text folded for look-up
	symbol *path  // symbolStep only
}

func newPath(at int, steps []step) *path {
	p := &path{steps: steps, at: at}
	if len(steps) == 1 && steps[0].kind == identifierStep {
		p.text = steps[0].text
		return p
	}
	size := 0
	for _, s := range steps {
		size += len(s.text) + 2
	}
	var b strings.Builder
	b.Grow(size)
	for i, s := range steps {
		switch s.kind {
		case identifierStep:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.text)
		case indexStep:
			b.WriteString("[" + s.text + "]")
		case symbolStep:
			b.WriteString("[#{" + s.symbol.text + "}]")
			p.symbolic = true
		}
	}
	p.text = b.String()
	return p
}

// same is the identity that circles are found by: text and place (variables.md 1.6, Recursion).
func (p *path) same(q *path) bool { return p == q || p.at == q.at && p.text == q.text }
