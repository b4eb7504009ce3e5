package variable

import (
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	gmparser "github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	gmtext "github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// emphasisExtras adds ~~deleted~~, ~sub~, ^sup^, ++inserted++ and ==marked== (variables.md 2, Markdown).
type emphasisExtras struct{}

func (emphasisExtras) Extend(m goldmark.Markdown) {
	for _, mark := range []byte("~^+=") {
		m.Parser().AddOptions(gmparser.WithInlineParsers(util.Prioritized(emphasisMark(mark), 500)))
	}
	m.Renderer().AddOptions(renderer.WithNodeRenderers(util.Prioritized(emphasisRenderer{}, 500)))
}

var kindEmphasis = ast.NewNodeKind("EmphasisExtra")

type emphasis struct {
	ast.BaseInline
	open, close string
}

func (*emphasis) Kind() ast.NodeKind { return kindEmphasis }

func (n *emphasis) Dump(source []byte, level int) { ast.DumpHelper(n, source, level, nil, nil) }

// emphasisMark is the inline parser of one of the characters.
type emphasisMark byte

func (m emphasisMark) Trigger() []byte { return []byte{byte(m)} }

func (m emphasisMark) Parse(_ ast.Node, block gmtext.Reader, pc gmparser.Context) ast.Node {
	before := block.PrecendingCharacter()
	line, segment := block.PeekLine()
	shortest := 1
	if m == '+' || m == '=' {
		shortest = 2
	}
	d := gmparser.ScanDelimiter(line, before, shortest, m)
	if d == nil || d.OriginalLength > 2 || m == '^' && d.OriginalLength > 1 {
		return nil
	}
	d.Segment = segment.WithStop(segment.Start + d.OriginalLength)
	block.Advance(d.OriginalLength)
	pc.PushDelimiter(d)
	return d
}

func (m emphasisMark) IsDelimiter(b byte) bool { return b == byte(m) }

func (m emphasisMark) CanOpenCloser(opener, closer *gmparser.Delimiter) bool {
	return opener.Char == closer.Char && opener.OriginalLength == closer.OriginalLength
}

func (m emphasisMark) OnMatch(consumes int) ast.Node {
	tag := map[emphasisMark]string{'~': "sub", '^': "sup", '+': "ins", '=': "mark"}[m]
	if m == '~' && consumes == 2 {
		tag = "del"
	}
	return &emphasis{open: "<" + tag + ">", close: "</" + tag + ">"}
}

type emphasisRenderer struct{}

func (emphasisRenderer) RegisterFuncs(r renderer.NodeRendererFuncRegisterer) {
	r.Register(kindEmphasis, func(w util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
		e := n.(*emphasis) //nolint:errcheck,forcetypeassert // the kind says so
		tag := e.open
		if !entering {
			tag = e.close
		}
		_, err := w.WriteString(tag)
		return ast.WalkContinue, err
	})
}
