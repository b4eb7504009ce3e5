package archive

import (
	"net/url"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

const (
	maxName  = 4096
	maxDepth = 64
)

// tree is the picture of what an archive unpacks to, kept to refuse what does not fit together.
type tree struct {
	options Options
	nupkg   bool
	meter   *meter
	fold    cases.Caser
	nodes   map[string]node // by folded path
	hard    []entry         // hard links, whose target must be a file by the end
	bytes   int64
	files   int
	folders int
	links   int
}

type node struct {
	name    string // as written first
	kind    kind
	implied bool // a folder that only its content spoke of
}

func newTree(o Options, nupkg bool, m *meter) *tree {
	return &tree{options: o, nupkg: nupkg, meter: m, fold: cases.Fold(), nodes: map[string]node{}}
}

// add checks one entry against all before it and gives it back clean.
func (t *tree) add(e entry) (entry, error) {
	if err := t.meter.addEntry(e.name); err != nil {
		return e, err
	}
	if t.nupkg {
		if plain, err := url.PathUnescape(e.name); err == nil { // "100%.txt" was not encoded: it stays
			e.name = plain
		}
		e.skip = isMetadata(e.name)
	}
	if e.kind == kindFolder {
		e.name = strings.TrimSuffix(e.name, "/")
	}
	if why := badName(e.name); why != "" {
		return e, refuse("the name of entry %q %s.", shorten(e.name), why)
	}
	if err := t.place(e); err != nil {
		return e, err
	}
	if e.skip {
		return e, nil
	}
	switch e.kind {
	case kindFile:
		t.files++
		t.bytes += e.size
	case kindFolder:
		t.folders++
	default:
		if !t.options.Links {
			return e, refuse("entry %q is a link, and links are not taken here.", shorten(e.name))
		}
		t.links++
		return e, t.checkLink(e)
	}
	return e, nil
}

// place puts the entry and the folders above it into the picture.
func (t *tree) place(e entry) error {
	folded := t.fold.String(e.name)
	for i := 0; i < len(e.name); i++ {
		if e.name[i] != '/' {
			continue
		}
		above := e.name[:i]
		key := t.fold.String(above)
		switch was, there := t.nodes[key]; {
		case !there:
			t.nodes[key] = node{name: above, kind: kindFolder, implied: true}
		case was.kind != kindFolder:
			return refuse("entry %q lies below %q, which is not a folder.", shorten(e.name), shorten(was.name))
		case was.name != above:
			return refuse("the folders %q and %q differ by case only.", shorten(was.name), shorten(above))
		}
	}
	was, there := t.nodes[folded]
	switch {
	case !there:
	case was.name != e.name:
		return refuse("the entries %q and %q differ by case only.", shorten(was.name), shorten(e.name))
	case was.kind == kindFolder && e.kind == kindFolder:
		return nil // many tools write a folder behind its content, or twice
	default:
		return refuse("entry %q is there twice.", shorten(e.name))
	}
	t.nodes[folded] = node{name: e.name, kind: e.kind}
	return nil
}

// checkLink refuses a link that could lead out. The steps up must come first: they start at a real folder,
// so they mean what they say. After that the way only goes down, and any link on it was checked as well.
func (t *tree) checkLink(e entry) error {
	if e.kind == kindHardLink {
		if why := badName(e.target); why != "" {
			return refuse("entry %q is a link to %q, whose name %s.", shorten(e.name), shorten(e.target), why)
		}
		t.hard = append(t.hard, e)
		return nil
	}
	depth := strings.Count(e.name, "/")
	down := false
	if e.target == "" || len(e.target) > maxName || strings.HasPrefix(e.target, "/") || strings.ContainsAny(e.target, "\\:\x00") {
		return refuse("entry %q is a link to %q, which is not inside the package.", shorten(e.name), shorten(e.target))
	}
	for part := range strings.SplitSeq(e.target, "/") {
		switch part {
		case "", ".":
		case "..":
			depth--
			if down || depth < 0 {
				return refuse("entry %q is a link to %q, which leads out of the package.", shorten(e.name), shorten(e.target))
			}
		default:
			down = true
		}
	}
	return nil
}

// finish looks at what only the whole archive can tell.
func (t *tree) finish() error {
	for _, e := range t.hard {
		if n, ok := t.nodes[t.fold.String(e.target)]; !ok || n.kind != kindFile || n.name != e.target {
			return refuse("entry %q is a hard link to %q, which is not a file of the package.", shorten(e.name), shorten(e.target))
		}
	}
	return nil
}

func (t *tree) summary() Summary {
	return Summary{Files: t.files, Folders: t.folders, Links: t.links, Bytes: t.bytes}
}

// badName says what is wrong with a slash path, "" when nothing is.
func badName(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > maxName:
		return "is longer than 4,096 bytes"
	case !utf8.ValidString(name):
		return "is not UTF-8"
	case strings.HasPrefix(name, "/"):
		return "is an absolute path"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "has control characters"
	case strings.ContainsRune(name, '\\'):
		return "has a backslash; make the archive with forward slashes"
	case strings.ContainsRune(name, ':'):
		return "has a colon, which means a drive or a stream on Windows"
	case !norm.NFC.IsNormalString(name):
		return "is not in composed form (Unicode NFC)"
	case strings.Count(name, "/") >= maxDepth:
		return "is deeper than 64 folders"
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "":
			return "has an empty part"
		case part == "." || part == "..":
			return "leads out of the package or back to itself"
		case strings.HasSuffix(part, ".") || strings.HasSuffix(part, " "):
			return "has a part that ends in a dot or a space"
		case isDevice(part):
			return "has a part that is a device on Windows"
		}
	}
	return ""
}

var devices = map[string]bool{"CON": true, "PRN": true, "AUX": true, "NUL": true, "CONIN$": true, "CONOUT$": true}

// isDevice knows the names that Windows never makes a file of, with or without an extension.
func isDevice(part string) bool {
	base, _, _ := strings.Cut(part, ".")
	base = strings.ToUpper(strings.TrimRight(base, " "))
	if devices[base] {
		return true
	}
	for _, prefix := range []string{"COM", "LPT"} {
		digit, ok := strings.CutPrefix(base, prefix)
		if ok && utf8.RuneCountInString(digit) == 1 && strings.Contains("123456789¹²³", digit) {
			return true
		}
	}
	return false
}

// isMetadata knows the parts of a .nupkg that are packaging, not content.
func isMetadata(name string) bool {
	lower := strings.ToLower(name)
	return strings.HasPrefix(lower, "_rels/") || strings.HasPrefix(lower, "package/services/metadata/") ||
		lower == "[content_types].xml" || path.Ext(lower) == ".sha512" && strings.HasSuffix(lower, ".nupkg.sha512")
}

// shorten keeps a hostile name from filling the log.
func shorten(name string) string {
	if len(name) <= 200 {
		return name
	}
	return strings.ToValidUTF8(name[:200], "") + "..."
}
