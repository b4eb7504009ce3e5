package convention

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
)

// replaceProperties changes values of a Java properties file; keys, separators, comments and blank lines stay as they
// are (variables.md 5.2, Java properties).
func replaceProperties(text string, with *replacements) (string, error) {
	var out strings.Builder
	for at := 0; at < len(text); {
		whole := logicalLine(text[at:])
		at += len(whole)
		line, err := parseProperty(whole)
		if err != nil {
			return "", &notThisFormat{"Java properties", fmt.Errorf("%w (line %d)", err, strings.Count(text[:at-len(whole)], "\n")+1)}
		}
		r, ok := with.byName[strings.ToLower(line.key)]
		if _, system := cutPrefixFold(r.name, "Octopus"); !ok || line.key == "" || system {
			out.WriteString(whole)
			continue
		}
		with.hit(r.name)
		value := ""
		if r.value != nil {
			value = *r.value
		}
		separator := whole[line.keyEnd:line.valueAt]
		if separator == "" {
			separator = ":"
		}
		out.WriteString(whole[:line.keyEnd] + separator + escapeProperty(value) + whole[line.valueEnd:])
	}
	return out.String(), nil
}

// property is where the parts of a logical line are.
type property struct {
	key                       string // decoded; "" for comments and blank lines
	keyEnd, valueAt, valueEnd int
}

// logicalLine gives the first line with its end and, unless it is a comment or blank, the lines that continue it.
func logicalLine(text string) string {
	end := physicalLine(text, 0)
	first := strings.TrimLeft(text[:end], " \t\f")
	if strings.TrimRight(first, "\r\n") == "" || first[0] == '#' || first[0] == '!' {
		return text[:end]
	}
	for from := 0; end < len(text) && continues(text[from:end]); {
		from = end
		end = physicalLine(text, from)
	}
	return text[:end]
}

// physicalLine gives the place behind the line end that follows from.
func physicalLine(text string, from int) int {
	i := strings.IndexAny(text[from:], "\r\n")
	if i < 0 {
		return len(text)
	}
	if strings.HasPrefix(text[from+i:], "\r\n") {
		i++
	}
	return from + i + 1
}

// continues tells whether a line ends in an odd number of backslashes.
func continues(line string) bool {
	line = strings.TrimRight(line, "\r\n")
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}

func parseProperty(whole string) (property, error) {
	var p property
	p.valueEnd = len(strings.TrimRight(whole, "\r\n"))
	body := whole[:p.valueEnd]
	at := skipBlank(body, 0)
	if at == len(body) || body[at] == '#' || body[at] == '!' {
		return p, nil
	}
	from := at
	for at < len(body) && !strings.ContainsRune("=: \t\f", rune(body[at])) {
		if body[at] == '\\' {
			at++
		}
		at++
	}
	p.keyEnd = min(at, len(body))
	var err error
	if p.key, err = decodeProperty(body[from:p.keyEnd]); err != nil {
		return p, err
	}
	at = skipBlank(body, p.keyEnd)
	if at < len(body) && (body[at] == '=' || body[at] == ':') {
		at = skipBlank(body, at+1)
	}
	p.valueAt = at
	_, err = decodeProperty(body[at:])
	return p, err
}

// skipBlank goes over white space, and over line ends that a backslash continues.
func skipBlank(s string, at int) int {
	for at < len(s) {
		switch {
		case strings.ContainsRune(" \t\f", rune(s[at])):
			at++
		case s[at] == '\\' && at+1 < len(s) && (s[at+1] == '\n' || s[at+1] == '\r'):
			at = physicalLine(s, at+1)
		default:
			return at
		}
	}
	return at
}

func decodeProperty(s string) (string, error) {
	var b strings.Builder
	for at := 0; at < len(s); at++ {
		if s[at] != '\\' {
			b.WriteByte(s[at])
			continue
		}
		at++
		if at == len(s) {
			break
		}
		switch s[at] {
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case '\r', '\n':
			at = skipBlank(s, physicalLine(s, at)) - 1
		case 'u':
			if at+5 > len(s) {
				return "", fmt.Errorf("an escape \\u needs four digits")
			}
			n, err := strconv.ParseUint(s[at+1:at+5], 16, 16)
			if err != nil {
				return "", fmt.Errorf("an escape \\u needs four digits")
			}
			b.WriteRune(rune(n))
			at += 4
		default:
			b.WriteByte(s[at])
		}
	}
	return b.String(), nil
}

func escapeProperty(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == ' ' && i == 0:
			b.WriteString(`\ `)
		case r > 0xff:
			for _, u := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, `\u%04X`, u)
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
