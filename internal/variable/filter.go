package variable

import (
	"crypto/md5"  //nolint:gosec // the filter Md5 is part of the language
	"crypto/sha1" //nolint:gosec // as is Sha1
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
)

// A filter gets the input and its evaluated options. No text means that the token stays unresolved
// (variables.md 2); an error ends the evaluation.
type filter func(e *evaluator, in string, options []string) (string, bool, error)

// pure is a filter that cannot fail and costs nothing worth counting.
func pure(f func(in string, options []string) (string, bool)) filter {
	return func(_ *evaluator, in string, options []string) (string, bool, error) {
		s, ok := f(in, options)
		return s, ok, nil
	}
}

// plain is a filter without options.
func plain(f func(string) string) filter {
	return pure(func(in string, options []string) (string, bool) { return f(in), len(options) == 0 })
}

// filters are all of variables.md 2 that need an input, by lower-case name.
var filters map[string]filter

func init() { // not a literal: some of them refer back to the evaluator
	filters = map[string]filter{
		"toupper":               plain(upper),
		"tolower":               plain(lower),
		"tobase64":              pure(toBase64),
		"frombase64":            fromBase64,
		"htmlescape":            plain(htmlEscape.Replace),
		"xmlescape":             plain(xmlEscape.Replace),
		"jsonescape":            plain(jsonEscape.Replace),
		"yamlsinglequoteescape": plain(yamlSingleQuoteEscape),
		"yamldoublequoteescape": plain(yamlDoubleQuoteEscape),
		"propertieskeyescape":   plain(func(s string) string { return propertiesEscape(s, true) }),
		"propertiesvalueescape": plain(func(s string) string { return propertiesEscape(s, false) }),
		"uriescape":             plain(func(s string) string { return percentEncode(s, uriReserved) }),
		"uridataescape":         plain(func(s string) string { return percentEncode(s, "") }),
		"markdown":              markdown,
		"markdowntohtml":        markdown,
		"addhours":              pure(addTime(3_600_000)),
		"adddays":               pure(addTime(86_400_000)),
		"format":                pure(format),
		"replace":               replace,
		"match":                 match,
		"startswith":            pure(compare(strings.HasPrefix)),
		"endswith":              pure(compare(strings.HasSuffix)),
		"contains":              pure(compare(strings.Contains)),
		"substring":             pure(substring),
		"truncate":              pure(truncate),
		"trim":                  pure(trim),
		"indent":                indent,
		"uripart":               pure(uriPart),
		"append": pure(func(in string, o []string) (string, bool) {
			return in + strings.Join(o, ""), len(o) > 0
		}),
		"prepend": pure(func(in string, o []string) (string, bool) {
			return strings.Join(o, "") + in, len(o) > 0
		}),
		"md5":    pure(digest(func(b []byte) []byte { s := md5.Sum(b); return s[:] })),  //nolint:gosec // see above
		"sha1":   pure(digest(func(b []byte) []byte { s := sha1.Sum(b); return s[:] })), //nolint:gosec // see above
		"sha256": pure(digest(func(b []byte) []byte { s := sha256.Sum256(b); return s[:] })),
		"sha384": pure(digest(func(b []byte) []byte { s := sha512.Sum384(b); return s[:] })),
		"sha512": pure(digest(func(b []byte) []byte { s := sha512.Sum512(b); return s[:] })),

		"versionmajor":             versionPart(func(v version) string { return v.major }),
		"versionminor":             versionPart(func(v version) string { return v.minor }),
		"versionpatch":             versionPart(func(v version) string { return v.patch }),
		"versionrevision":          versionPart(func(v version) string { return v.revision }),
		"versionprerelease":        versionPart(func(v version) string { return v.preRelease }),
		"versionprereleaseprefix":  versionPart(func(v version) string { return v.prefix }),
		"versionprereleasecounter": versionPart(func(v version) string { return v.counter }),
		"versionmetadata":          versionPart(func(v version) string { return v.metadata }),
	}
}

// filter applies one by name; nil in, or nil out, is an unresolved token.
func (e *evaluator) filter(name string, in *string, options []string) (*string, error) {
	key := strings.ToLower(name)
	if key == "nowdate" || key == "nowdateutc" {
		s, ok := nowDate(key == "nowdateutc", in, options)
		return pointer(s, ok), nil
	}
	f, known := filters[key]
	if !known {
		return nil, nil
	}
	if in == nil {
		if key != "append" && key != "prepend" {
			return nil, nil
		}
		in = new(string)
	}
	s, ok, err := f(e, *in, options)
	return pointer(s, ok), err
}

func pointer(s string, ok bool) *string {
	if !ok {
		return nil
	}
	return &s
}

// bytesOf encodes a text as the options utf8 and unicode say; more names may be allowed by the caller.
func bytesOf(s, encoding string) ([]byte, bool) {
	switch strings.ToLower(encoding) {
	case "utf8", "utf-8":
		return []byte(s), true
	case "unicode":
		units := utf16.Encode([]rune(s))
		b := make([]byte, 0, 2*len(units))
		for _, u := range units {
			b = binary.LittleEndian.AppendUint16(b, u)
		}
		return b, true
	}
	return nil, false
}

func encodingOption(options []string) (string, bool) {
	if len(options) == 0 {
		return "utf8", true
	}
	return options[0], len(options) == 1
}

func toBase64(in string, options []string) (string, bool) {
	encoding, ok := encodingOption(options)
	b, known := bytesOf(in, encoding)
	return base64.StdEncoding.EncodeToString(b), ok && known
}

func decodeBase64(s string) ([]byte, error) {
	s = strings.Map(func(r rune) rune {
		if r == ' ' || r == '\t' || r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, s)
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, errors.New("the input is not Base64")
	}
	return b, nil
}

func fromBase64(_ *evaluator, in string, options []string) (string, bool, error) {
	encoding, ok := encodingOption(options)
	if _, known := bytesOf("", encoding); !ok || !known {
		return "", false, nil
	}
	b, err := decodeBase64(in)
	if err != nil {
		return "", false, err
	}
	if !strings.EqualFold(encoding, "unicode") {
		return strings.ToValidUTF8(string(b), "\uFFFD"), true, nil
	}
	units := make([]uint16, 0, len(b)/2)
	for ; len(b) > 1; b = b[2:] {
		units = append(units, binary.LittleEndian.Uint16(b))
	}
	s := string(utf16.Decode(units))
	if len(b) == 1 {
		s += "\uFFFD"
	}
	return s, true, nil
}

// digest takes a length and an encoding in any order.
func digest(sum func([]byte) []byte) func(string, []string) (string, bool) {
	return func(in string, options []string) (string, bool) {
		size, encoding := 0, ""
		for _, o := range options {
			n, err := strconv.Atoi(strings.TrimSpace(o))
			switch {
			case err == nil && size == 0 && n > 0:
				size = n
			case err != nil && encoding == "":
				encoding = strings.ToLower(o)
			default:
				return "", false
			}
		}
		var b []byte
		ok := true
		switch encoding {
		case "":
			b = []byte(in)
		case "base64":
			var err error
			b, err = decodeBase64(in)
			ok = err == nil
		default:
			b, ok = bytesOf(in, encoding)
		}
		if !ok {
			return "", false
		}
		d := sum(b)
		if size > 0 && size < len(d) {
			d = d[:size]
		}
		return hex.EncodeToString(d), true
	}
}
