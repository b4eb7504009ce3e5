package convention

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"

	"github.com/octavo/octavo/internal/fault"
)

// textFile is a file's text with what is needed to write it as it was (variables.md 5).
type textFile struct {
	path     string
	text     string
	bom      []byte
	encoding encoding.Encoding // nil is UTF-8
}

var marks = []struct {
	bom      []byte
	encoding encoding.Encoding
}{
	{[]byte("\xef\xbb\xbf"), nil},
	{[]byte("\xff\xfe"), unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)},
	{[]byte("\xfe\xff"), unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)},
}

// readText reads a file: a byte order mark decides, else the declaration of an XML, else UTF-8 if it is, else Windows-1252.
func readText(path string, isXML bool) (textFile, error) {
	f := textFile{path: path}
	data, err := os.ReadFile(path)
	if err != nil {
		return f, err
	}
	for _, m := range marks {
		if rest, ok := bytes.CutPrefix(data, m.bom); ok {
			f.bom, f.encoding = m.bom, m.encoding
			return f, f.decode(rest)
		}
	}
	if name := declaredEncoding(data); isXML && name != "" && !strings.EqualFold(name, "utf-8") {
		if e, err := htmlindex.Get(name); err == nil {
			f.encoding = e
			return f, f.decode(data)
		}
	}
	if !utf8.Valid(data) {
		f.encoding = charmap.Windows1252
	}
	return f, f.decode(data)
}

func (f *textFile) decode(data []byte) error {
	if f.encoding == nil {
		f.text = string(data)
		return nil
	}
	plain, err := f.encoding.NewDecoder().Bytes(data)
	f.text = string(plain)
	return err
}

var declaration = regexp.MustCompile(`^\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._-]+)["']`)

func declaredEncoding(data []byte) string {
	if m := declaration.FindSubmatch(data[:min(len(data), 1024)]); m != nil {
		return string(m[1])
	}
	return ""
}

// write puts a new text in the file's place. A text that the old encoding cannot hold makes it UTF-8.
func (f textFile) write(text string, isXML bool) error {
	data := []byte(text)
	if f.encoding != nil {
		packed, err := f.encoding.NewEncoder().Bytes(data)
		if err == nil {
			data = packed
		} else {
			f.bom = nil
			if m := declaration.FindStringSubmatchIndex(text); isXML && m != nil {
				data = []byte(text[:m[2]] + "utf-8" + text[m[3]:])
			}
		}
	}
	return rewrite(f.path, append(slices.Clone(f.bom), data...))
}

// newline gives the line ending that most lines of a text have.
func newline(text string) string {
	crlf := strings.Count(text, "\r\n")
	if crlf > strings.Count(text, "\n")-crlf {
		return "\r\n"
	}
	return "\n"
}

// withNewline writes all lines of a text with one ending.
func withNewline(text, end string) string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if end == "\n" {
		return text
	}
	return strings.ReplaceAll(text, "\n", end)
}

// targets finds the files of a setting that lists globs, one a line, in the current directory and the additional paths.
// none is told of every pattern without a match.
func (a *action) targets(setting string, none func(dir, pattern string)) ([]string, error) {
	if _, err := a.text(setting); err != nil {
		return nil, err
	}
	dirs := []string{a.dir}
	for _, more := range a.vars.List("Octopus.Action.AdditionalPaths") {
		if !filepath.IsAbs(more) {
			more = filepath.Join(a.dir, more)
		}
		dirs = append(dirs, more)
	}
	var files []string
	for _, pattern := range a.vars.Paths(setting) {
		found := false
		for _, dir := range dirs {
			some, err := glob(dir, pattern)
			if err != nil {
				return nil, fault.Because(fault.InvalidField(setting, "The pattern %q cannot be read.", pattern), err)
			}
			for _, f := range some {
				found = true
				if !slices.Contains(files, f) {
					files = append(files, f)
				}
			}
		}
		if !found {
			none(strings.Join(dirs, ", "), pattern)
		}
	}
	return files, nil
}

// glob gives what matches a pattern with either kind of slash, files and folders, without leaving dir unless the pattern
// itself is absolute.
func glob(dir, pattern string) ([]string, error) {
	pattern = strings.ReplaceAll(pattern, `\`, "/")
	if filepath.IsAbs(filepath.FromSlash(pattern)) {
		base, rest := doublestar.SplitPattern(pattern)
		dir, pattern = filepath.FromSlash(base), rest
	}
	pattern = strings.TrimPrefix(pattern, "./")
	options := []doublestar.GlobOption{doublestar.WithFailOnIOErrors()}
	if runtime.GOOS == "windows" {
		options = append(options, doublestar.WithCaseInsensitive())
	}
	if !doublestar.ValidatePattern(pattern) {
		return nil, doublestar.ErrBadPattern
	}
	matches, err := doublestar.Glob(os.DirFS(dir), pattern, options...)
	if err != nil {
		return nil, err
	}
	slices.Sort(matches)
	for i, m := range matches {
		matches[i] = filepath.Join(dir, filepath.FromSlash(m))
	}
	return matches, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
