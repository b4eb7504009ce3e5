package variable

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// parser tries, at every position and in this order, conditional, calculation, repetition,
// substitution and text (variables.md 1.3). A construct that fails is not an error: the next one is
// tried. So that this stays linear, what was found at a position is remembered.
//
// Each method takes the position to start from and gives the one behind what it read; when it fails,
// the furthest one it reached, since continue mode goes on from there (variables.md 1.2).
type parser struct {
	src        string
	constructs map[int]outcome[token]
	exprs      map[int]outcome[*expression]
	paths      map[int]outcome[*path]
	bodies     [3]map[int]bodyOutcome
	brackets   map[int]int // '[' to its ']', filled when first needed
	depth      int
	tooDeep    bool
}

type outcome[T any] struct {
	node T
	end  int
	ok   bool
}

type bodyOutcome struct {
	head *list
	end  int
}

// maxNesting bounds constructs inside constructs, for the sake of the stack.
const maxNesting = 500

// maxChain bounds the terms of one sum and the branches of one conditional, for the same reason.
const maxChain = 10_000

func newParser(src string) *parser {
	p := &parser{
		src:        src,
		constructs: map[int]outcome[token]{},
		exprs:      map[int]outcome[*expression]{},
		paths:      map[int]outcome[*path]{},
	}
	for i := range p.bodies {
		p.bodies[i] = map[int]bodyOutcome{}
	}
	return p
}

// parse reads a whole text (halt mode). Text without #{ is one literal.
func parse(src string) (*list, error) {
	if !strings.Contains(src, "#{") {
		return &list{tok: text(src)}, nil
	}
	p := newParser(src)
	head, end := p.body(plainBody, 0)
	switch {
	case p.tooDeep:
		return nil, &LimitError{What: "constructs are nested too deeply"}
	case end < len(src):
		return nil, parseError(src, end)
	}
	return head, nil
}

// parseFile reads what it can and leaves the rest as it is (continue mode).
func parseFile(src string) (*list, error) {
	if !strings.Contains(src, "#{") {
		return &list{tok: text(src)}, nil
	}
	p := newParser(src)
	var head *list
	tail := &head
	for pos := 0; pos < len(src); {
		tok, end, ok := p.token(pos)
		if !ok {
			end = max(end, pos+1)
			tok = text(src[pos:end])
		}
		*tail = &list{tok: tok}
		tail = &(*tail).next
		pos = end
	}
	if p.tooDeep {
		return nil, &LimitError{What: "constructs are nested too deeply"}
	}
	return head, nil
}

// parseName reads a variable's name for the tree of names. It is not anchored: what follows the
// first illegal character is ignored (variables.md 1.6).
func parseName(name string) (*path, bool) {
	p := &parser{src: name}
	if strings.Contains(name, "#{") {
		p = newParser(name)
	}
	sym, _, ok := p.path(0)
	return sym, ok && !p.tooDeep
}

func parseError(src string, pos int) error {
	before := src[:pos]
	line := 1 + strings.Count(before, "\n")
	column := 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	near := src[pos:]
	if i := strings.IndexAny(near, "\r\n"); i >= 0 {
		near = near[:i]
	}
	if len(near) > 40 {
		near = strings.ToValidUTF8(near[:40], "")
	}
	return &ParseError{Line: line, Column: column, Near: near}
}

func (p *parser) token(pos int) (token, int, bool) {
	if strings.HasPrefix(p.src[pos:], "#{") {
		tok, end, ok := p.construct(pos)
		if !ok {
			end = max(end, pos+1)
		}
		return tok, end, ok
	}
	t, end := p.text(pos)
	return text(t), end, end > pos
}

// text reads up to the next #{ that is not escaped (variables.md 1.4).
func (p *parser) text(pos int) (string, int) {
	var b strings.Builder
	for pos < len(p.src) {
		rest := p.src[pos:]
		if rest[0] != '#' {
			n := strings.IndexByte(rest, '#')
			if n < 0 {
				n = len(rest)
			}
			b.WriteString(rest[:n])
			pos += n
			continue
		}
		switch {
		case len(rest) == 1:
			b.WriteByte('#')
			pos++
		case strings.HasPrefix(rest, "###{") && len(rest) > 4: // a hash, then a real token
			b.WriteByte('#')
			pos += 2
		case strings.HasPrefix(rest, "##{"):
			b.WriteString("#{")
			pos += 3
		case rest[1] != '{':
			_, n := utf8.DecodeRuneInString(rest[1:])
			b.WriteString(rest[:1+n])
			pos += 1 + n
		default:
			return b.String(), pos
		}
	}
	return b.String(), pos
}

// construct reads one #{...}, whatever it is.
func (p *parser) construct(pos int) (token, int, bool) {
	if !p.open(pos) {
		return nil, pos, false
	}
	if o, seen := p.constructs[pos]; seen {
		return o.node, o.end, o.ok
	}
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > maxNesting {
		p.tooDeep = true
	}
	far := pos
	for _, try := range []func(int) (token, int, bool){p.conditional, p.calc, p.each, p.substitution} {
		if p.tooDeep {
			return nil, pos, false
		}
		tok, end, ok := try(pos)
		if ok {
			p.constructs[pos] = outcome[token]{tok, end, true}
			return tok, end, true
		}
		far = max(far, end)
	}
	p.constructs[pos] = outcome[token]{nil, far, false}
	return nil, far, false
}

func (p *parser) open(pos int) bool {
	return strings.HasPrefix(p.src[pos:], "#{") && !strings.HasPrefix(p.src[pos:], "#{/")
}

func (p *parser) substitution(pos int) (token, int, bool) {
	e, end, ok := p.expression(p.space(pos + 2))
	if !ok {
		return nil, end, false
	}
	if end = p.space(end); !p.has(end, "}") {
		return nil, end, false
	}
	return &substitution{e}, end + 1, true
}

// The bodies differ in what ends them besides the closing token.
const (
	plainBody  = iota
	ifBody     // #{else} and #{elseif ...}
	unlessBody // #{else}
)

func (p *parser) body(kind, pos int) (*list, int) {
	type found struct {
		at  int
		tok token
	}
	var (
		toks []found
		head *list
	)
	for pos < len(p.src) && !p.tooDeep {
		if o, seen := p.bodies[kind][pos]; seen {
			head, pos = o.head, o.end
			break
		}
		if kind != plainBody && p.has(pos, "#{else}") {
			break
		}
		if kind == ifBody {
			if _, _, ok := p.elseif(pos); ok {
				break
			}
		}
		tok, end, ok := p.token(pos)
		if !ok {
			break
		}
		toks = append(toks, found{pos, tok})
		pos = end
	}
	for i := len(toks) - 1; i >= 0; i-- {
		head = &list{toks[i].tok, head}
		p.bodies[kind][toks[i].at] = bodyOutcome{head, pos}
	}
	return head, pos
}

func (p *parser) conditional(pos int) (token, int, bool) {
	at := p.space(pos + 2)
	kind, closer := ifBody, "#{/if}"
	switch {
	case p.word(at, "if"):
		at += len("if")
	case p.word(at, "unless"):
		at += len("unless")
		kind, closer = unlessBody, "#{/unless}"
	default:
		return nil, at, false
	}
	first, at, ok := p.header(at)
	if !ok {
		return nil, at, false
	}
	c := &conditional{test: first}
	c.yes, at = p.body(kind, at)
	last := c
	for n := 0; kind == ifBody; n++ {
		if n > maxChain {
			p.tooDeep = true
			return nil, at, false
		}
		next, end, ok := p.elseif(at)
		if !ok {
			break
		}
		inner := &conditional{test: next}
		inner.yes, at = p.body(kind, end)
		last.no = &list{tok: inner}
		last = inner
	}
	if p.has(at, "#{else}") {
		last.no, at = p.body(plainBody, at+len("#{else}"))
	}
	if !p.has(at, closer) {
		return nil, at, false
	}
	if kind == unlessBody {
		c.yes, c.no = c.no, c.yes
	}
	return c, at + len(closer), true
}

func (p *parser) elseif(pos int) (test, int, bool) {
	if !p.has(pos, "#{elseif") {
		return test{}, pos, false
	}
	return p.header(pos + len("#{elseif"))
}

// header reads white space, a condition and the closing brace.
func (p *parser) header(pos int) (test, int, bool) {
	at := p.space(pos)
	if at == pos {
		return test{}, pos, false
	}
	t, at, far, ok := p.condition(at)
	if !ok {
		return test{}, far, false
	}
	if at = p.space(at); !p.has(at, "}") {
		return test{}, max(at, far), false
	}
	return t, at + 1, true
}

// condition also gives the furthest position reached by what it gave up.
func (p *parser) condition(pos int) (t test, end, far int, ok bool) {
	left, end, ok := p.expression(pos)
	if !ok {
		literal, after, quoted := p.quoted(pos)
		if !quoted {
			return t, pos, max(end, after), false
		}
		op, after, isOp := p.comparison(after)
		if !isOp {
			return t, pos, after, false
		}
		right, after, ok := p.expression(after)
		return test{left: right, op: op, literal: literal}, after, after, ok
	}
	far = end
	if op, after, isOp := p.comparison(end); isOp {
		right, rightEnd, ok := p.expression(after)
		if ok {
			return test{left: left, op: op, right: right}, rightEnd, rightEnd, true
		}
		literal, literalEnd, ok := p.quoted(after)
		if ok {
			return test{left: left, op: op, literal: literal}, literalEnd, literalEnd, true
		}
		far = max(rightEnd, literalEnd)
	}
	return test{left: left}, end, far, true
}

func (p *parser) comparison(pos int) (string, int, bool) {
	pos = p.space(pos)
	for _, op := range []string{"==", "!="} {
		if p.has(pos, op) {
			return op, p.space(pos + 2), true
		}
	}
	return "", pos, false
}

func (p *parser) each(pos int) (token, int, bool) {
	at := p.space(pos + 2)
	if !p.word(at, "each") {
		return nil, at, false
	}
	at += len("each")
	start := p.space(at)
	if start == at {
		return nil, at, false
	}
	item, at, ok := p.identifier(start)
	if !ok {
		return nil, at, false
	}
	if at = p.space(at); !p.word(at, "in") {
		return nil, at, false
	}
	collection, at, ok := p.path(p.space(at + len("in")))
	if !ok {
		return nil, at, false
	}
	if at = p.space(at); !p.has(at, "}") {
		return nil, at, false
	}
	body, at := p.body(plainBody, at+1)
	if !p.has(at, "#{/each}") {
		return nil, at, false
	}
	return &each{item, collection, body}, at + len("#{/each}"), true
}

// expression reads a chain of filters, or else a bare path.
func (p *parser) expression(pos int) (*expression, int, bool) {
	if o, seen := p.exprs[pos]; seen {
		return o.node, o.end, o.ok
	}
	sym, symEnd, hasSym := p.path(pos)
	at := pos
	if hasSym {
		at = p.space(symEnd)
	}
	e := &expression{path: sym}
	far := max(at, symEnd)
	for p.has(at, "|") {
		name, end, ok := p.bareWord(at + 1)
		if !ok {
			far = max(far, end)
			break
		}
		call := filterCall{name: name}
		for {
			o, after, ok := p.option(end)
			if !ok {
				far = max(far, after)
				break
			}
			call.options = append(call.options, o)
			end = after
		}
		e.filters = append(e.filters, call)
		at = end
	}
	var out outcome[*expression]
	switch {
	case len(e.filters) > 0:
		out = outcome[*expression]{e, at, true}
	case hasSym:
		out = outcome[*expression]{e, symEnd, true}
	default:
		out = outcome[*expression]{nil, far, false}
	}
	if !p.tooDeep {
		p.exprs[pos] = out
	}
	return out.node, out.end, out.ok
}

func (p *parser) option(pos int) (token, int, bool) {
	if p.open(pos) {
		return p.construct(pos)
	}
	if w, end, ok := p.bareWord(pos); ok {
		return text(w), end, true
	}
	q, end, ok := p.quoted(pos)
	return text(q), end, ok
}

// bareWord reads name characters without white space, and the space around them.
func (p *parser) bareWord(pos int) (string, int, bool) {
	start := p.space(pos)
	at := start
	for at < len(p.src) {
		r, n := utf8.DecodeRuneInString(p.src[at:])
		if !isNameChar(r) {
			break
		}
		at += n
	}
	return p.src[start:at], p.space(at), at > start
}

// quoted reads "..." or \"...\", and the space around it.
func (p *parser) quoted(pos int) (string, int, bool) {
	start := p.space(pos)
	switch {
	case p.has(start, `"`):
		n := strings.IndexAny(p.src[start+1:], `"#`)
		if n < 0 {
			return "", len(p.src), false
		}
		end := start + 1 + n
		if p.src[end] == '#' {
			return "", end, false
		}
		return p.src[start+1 : end], p.space(end + 1), true
	case p.has(start, `\"`):
		n := strings.Index(p.src[start+2:], `\"`)
		if n < 0 {
			return "", start + 2, false
		}
		end := start + 2 + n
		return p.src[start+2 : end], p.space(end + 2), true
	}
	return "", start, false
}

// path reads A.B[c].D (symbol in the grammar).
func (p *parser) path(pos int) (*path, int, bool) {
	if o, seen := p.paths[pos]; seen {
		return o.node, o.end, o.ok
	}
	name, at, ok := p.identifier(pos)
	var sym *path
	if ok {
		steps := append(make([]step, 0, 4), step{kind: identifierStep, text: name, key: fold(name)})
		for at < len(p.src) {
			s, end, ok := p.step(at)
			if !ok {
				break
			}
			steps = append(steps, s)
			at = end
		}
		sym = newPath(pos, steps)
	}
	if p.paths != nil && !p.tooDeep {
		p.paths[pos] = outcome[*path]{sym, at, ok}
	}
	return sym, at, ok
}

func (p *parser) step(pos int) (step, int, bool) {
	switch p.src[pos] {
	case '.':
		name, end, ok := p.identifier(pos + 1)
		return step{kind: identifierStep, text: name, key: fold(name)}, end, ok
	case '[':
		return p.index(pos)
	}
	return step{}, pos, false
}

func (p *parser) index(pos int) (step, int, bool) {
	if at := p.space(pos + 1); p.open(at) {
		tok, end, ok := p.construct(at)
		if sub, bare := tok.(*substitution); ok && bare && len(sub.expr.filters) == 0 {
			if end = p.space(end); p.has(end, "]") {
				return step{kind: symbolStep, symbol: sub.expr.path}, end + 1, true
			}
		}
	}
	end, ok := p.closing(pos)
	if !ok {
		return step{}, pos, false
	}
	name := literalIndex(p.src[pos+1 : end])
	return step{kind: indexStep, text: name, key: fold(name)}, end + 1, true
}

// literalIndex drops the white space behind each opening bracket; the rest stands as written.
func literalIndex(s string) string {
	s = strings.TrimLeftFunc(s, unicode.IsSpace)
	if !strings.Contains(s, "[") {
		return s
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '[')
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i+1])
		s = strings.TrimLeftFunc(s[i+1:], unicode.IsSpace)
	}
}

// closing finds the bracket that closes the one at pos. In a long text all pairs are found in one
// pass, lest many brackets that are never closed each be followed to the end.
func (p *parser) closing(pos int) (int, bool) {
	if len(p.src) <= 512 {
		depth := 0
		for i := pos; i < len(p.src); i++ {
			switch p.src[i] {
			case '[':
				depth++
			case ']':
				if depth--; depth == 0 {
					return i, true
				}
			}
		}
		return pos, false
	}
	if p.brackets == nil {
		p.brackets = map[int]int{}
		var opened []int
		for i := 0; i < len(p.src); i++ {
			switch p.src[i] {
			case '[':
				opened = append(opened, i)
			case ']':
				if n := len(opened); n > 0 {
					p.brackets[opened[n-1]] = i
					opened = opened[:n-1]
				}
			}
		}
	}
	end, ok := p.brackets[pos]
	return end, ok
}

// identifier reads name characters; white space belongs to them except before |, } and a keyword
// (variables.md 1.5). The name is trimmed.
func (p *parser) identifier(pos int) (string, int, bool) {
	at := pos
	for at < len(p.src) {
		c := p.src[at]
		if c < utf8.RuneSelf && !asciiSpace(c) {
			if !isNameChar(rune(c)) {
				break
			}
			at++
			continue
		}
		r, n := utf8.DecodeRuneInString(p.src[at:])
		if unicode.IsSpace(r) {
			if p.endsName(at + n) {
				break
			}
		} else if !isNameChar(r) {
			break
		}
		at += n
	}
	return strings.TrimFunc(p.src[pos:at], unicode.IsSpace), at, at > pos
}

// endsName looks at what follows a white-space character.
func (p *parser) endsName(pos int) bool {
	rest := p.src[pos:]
	if rest == "" {
		return false
	}
	if rest[0] == '|' || rest[0] == '}' {
		return true
	}
	for _, kw := range []string{"in", "==", "!="} {
		if strings.HasPrefix(rest, kw) {
			r, n := utf8.DecodeRuneInString(rest[len(kw):])
			return n > 0 && unicode.IsSpace(r)
		}
	}
	return false
}

func asciiSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// isNameChar leaves out white space. Letters beyond the basic plane are two UTF-16 units, neither of
// them a letter, to the original.
func isNameChar(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return true
	case r < utf8.RuneSelf:
		return strings.ContainsRune("_-:/~()@", r)
	}
	return r <= 0xFFFF && r != utf8.RuneError && (unicode.IsLetter(r) || unicode.Is(unicode.Nd, r))
}

func (p *parser) space(pos int) int {
	for pos < len(p.src) {
		r, n := utf8.DecodeRuneInString(p.src[pos:])
		if !unicode.IsSpace(r) {
			break
		}
		pos += n
	}
	return pos
}

func (p *parser) has(pos int, s string) bool { return strings.HasPrefix(p.src[pos:], s) }

// word matches a keyword without regard to case.
func (p *parser) word(pos int, kw string) bool {
	return pos+len(kw) <= len(p.src) && strings.EqualFold(p.src[pos:pos+len(kw)], kw)
}
