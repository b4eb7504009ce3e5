package mask

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf16"
)

const (
	disguised = 6        // shorter values, lines and disguises are everyday text
	large     = 32 << 10 // values from here on are looked for as they are and by line, to bound the automaton
)

// patterns lists everything that a value is looked for as (reliability-and-security.md 4.8 rule 4).
func patterns(value string) []string {
	var out []string
	add := func(least int, ps ...string) {
		for _, p := range ps {
			if len(p) >= least {
				out = append(out, p)
			}
		}
	}
	if Weak(value) || Weak(strings.TrimSpace(value)) {
		return nil // blanks alone would mask every indentation
	}
	unix := strings.ReplaceAll(value, "\r\n", "\n")
	forms := []string{value, strings.TrimSpace(value)}
	if strings.Contains(unix, "\n") {
		windows := strings.ReplaceAll(unix, "\n", "\r\n")
		forms = append(forms, unix, windows, strings.TrimSpace(unix), strings.TrimSpace(windows))
		for line := range strings.SplitSeq(unix, "\n") {
			add(disguised, line, strings.TrimSpace(line))
		}
	}
	add(gram, forms...)
	if len(value) < disguised || len(value) >= large {
		return out
	}
	seen := map[string]bool{}
	for _, f := range forms {
		if len(f) >= disguised && !seen[f] {
			seen[f] = true
			add(disguised, disguises(f)...)
		}
	}
	return out
}

var percent = regexp.MustCompile(`%[0-9A-F]{2}`)

func disguises(v string) []string {
	query, path := url.QueryEscape(v), url.PathEscape(v)
	strict := strings.ReplaceAll(query, "+", "%20") // encodeURIComponent and most libraries
	wide := utf16le(v)
	out := []string{
		jsonText(v, false), jsonText(v, true), asciiJSON(v),
		query, path, strict, percent.ReplaceAllStringFunc(query, strings.ToLower), percent.ReplaceAllStringFunc(strict, strings.ToLower),
		html.EscapeString(v), xmlText.Replace(v), xmlContent.Replace(v),
		strings.ReplaceAll(v, `'`, `'\''`), strings.ReplaceAll(v, `'`, `'"'"'`), strings.ReplaceAll(v, `'`, `''`),
		backslashed(v, "\"\\$`"), backslashed(v, " \t!\"#$&'()*;<=>?[\\]^`{|}~,"), strings.ReplaceAll(v, `\`, `\\`),
		hex.EncodeToString([]byte(v)), strings.ToUpper(hex.EncodeToString([]byte(v))),
		wide,
	}
	out = append(out, base64s(v)...)
	return append(out, base64s(wide)...) // powershell -EncodedCommand
}

// base64s gives what is common to every base64 text that contains v, at each of three alignments.
func base64s(v string) []string {
	out := []string{base64.StdEncoding.EncodeToString([]byte(v)), base64.URLEncoding.EncodeToString([]byte(v))}
	for before := range 3 {
		padded := append(make([]byte, before), v...)
		first := (before*8 + 5) / 6       // the first letter that v alone decides
		last := (before + len(v)) * 8 / 6 // behind the last one
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			out = append(out, e.EncodeToString(padded)[first:last])
		}
	}
	return out
}

func jsonText(v string, escapeHTML bool) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(escapeHTML)
	if err := e.Encode(v); err != nil {
		return ""
	}
	s := strings.TrimSuffix(b.String(), "\n")
	return s[1 : len(s)-1]
}

// asciiJSON writes every letter outside of ASCII as \uXXXX, as Python and .NET do.
func asciiJSON(v string) string {
	var b strings.Builder
	for _, r := range jsonText(v, false) {
		if r < 0x80 {
			b.WriteRune(r)
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			b.WriteString(`\u`)
			b.WriteString(hex.EncodeToString(binary.BigEndian.AppendUint16(nil, u)))
		}
	}
	return b.String()
}

var (
	xmlText    = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;")
	xmlContent = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
)

func backslashed(v, which string) string {
	var b strings.Builder
	for i := range len(v) {
		if strings.IndexByte(which, v[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(v[i])
	}
	return b.String()
}

func utf16le(v string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(v)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return string(b)
}
