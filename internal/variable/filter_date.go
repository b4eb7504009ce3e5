package variable

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// moment is a date with what was known of its zone.
type moment struct {
	time.Time
	zone zone
}

type zone int

const (
	noZone zone = iota
	localZone
	utcZone
	offsetZone
)

var dateLayouts = []string{
	"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02",
	"2006/01/02 15:04:05", "2006/01/02 15:04", "2006/01/02",
	"1/2/2006 15:04:05", "1/2/2006 15:04", "1/2/2006 3:04:05 PM", "1/2/2006 3:04 PM", "1/2/2006",
}

// parseDate reads the invariant forms (variables.md 2, Culture).
func parseDate(s string) (moment, bool) {
	s = strings.TrimSpace(s)
	if s == "" || len(s) > 64 {
		return moment{}, false
	}
	if t, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", s); err == nil {
		return moment{t, utcZone}, true
	}
	for _, layout := range dateLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return checked(moment{ticks(t), noZone})
		}
		for _, suffix := range []string{"Z07:00", " Z07:00"} {
			t, err := time.Parse(layout+suffix, s)
			if err != nil {
				continue
			}
			if strings.HasSuffix(s, "Z") {
				return checked(moment{ticks(t.UTC()), utcZone})
			}
			_, offset := t.Zone()
			return checked(moment{ticks(t.In(time.FixedZone("", offset))), offsetZone})
		}
	}
	return moment{}, false
}

// ticks are of 100 ns.
func ticks(t time.Time) time.Time { return t.Truncate(100) }

func checked(m moment) (moment, bool) { return m, m.Year() >= 1 && m.Year() <= 9999 }

// roundTrip is the form "o".
func (m moment) roundTrip() string {
	return m.Format("2006-01-02T15:04:05.0000000") + m.suffix()
}

func (m moment) suffix() string {
	switch m.zone {
	case noZone:
		return ""
	case utcZone:
		return "Z"
	}
	return m.Format("-07:00")
}

func nowDate(utc bool, in *string, options []string) (string, bool) {
	if in != nil || len(options) > 1 {
		return "", false
	}
	m := moment{ticks(time.Now()), localZone}
	layout := "yyyy-MM-ddTHH:mm:ss.fffffff"
	if utc {
		m = moment{m.UTC(), utcZone}
		layout += "Z"
	}
	if len(options) == 1 {
		layout = options[0]
	}
	return formatDate(m, layout, false)
}

// addTime shifts by a number of units of so many milliseconds.
func addTime(unit float64) func(string, []string) (string, bool) {
	return func(in string, options []string) (string, bool) {
		if len(options) != 1 {
			return "", false
		}
		m, ok := parseDate(in)
		n, isNumber := parseDouble(options[0])
		if !ok || !isNumber {
			return "", false
		}
		ms := math.Round(n * unit)
		if math.IsNaN(ms) || math.Abs(ms) > 3.2e14 { // ten thousand years
			return "", false
		}
		seconds := int64(ms) / 1000
		m.Time = time.Unix(m.Unix()+seconds, int64(m.Nanosecond())+int64(ms)%1000*1_000_000).In(m.Location())
		if m, ok = checked(m); !ok {
			return "", false
		}
		return m.roundTrip(), true
	}
}

// standardDates are the one-letter formats of .NET under en-US.
var standardDates = map[byte]string{
	'd': "M/d/yyyy", 'D': "dddd, MMMM d, yyyy", 't': "h:mm tt", 'T': "h:mm:ss tt",
	'f': "dddd, MMMM d, yyyy h:mm tt", 'F': "dddd, MMMM d, yyyy h:mm:ss tt",
	'g': "M/d/yyyy h:mm tt", 'G': "M/d/yyyy h:mm:ss tt",
	'm': "MMMM d", 'M': "MMMM d", 'y': "MMMM yyyy", 'Y': "MMMM yyyy",
	'r': "ddd, dd MMM yyyy HH':'mm':'ss 'GMT'", 'R': "ddd, dd MMM yyyy HH':'mm':'ss 'GMT'",
	's': "yyyy-MM-dd'T'HH:mm:ss", 'u': "yyyy-MM-dd HH:mm:ss'Z'",
	'U': "dddd, MMMM d, yyyy h:mm:ss tt",
	'o': "yyyy-MM-dd'T'HH:mm:ss.fffffffK", 'O': "yyyy-MM-dd'T'HH:mm:ss.fffffffK",
}

// formatDate writes a .NET date format; withOffset says that the moment stands for a DateTimeOffset.
func formatDate(m moment, layout string, withOffset bool) (string, bool) {
	if len(layout) == 1 {
		standard, ok := standardDates[layout[0]]
		if !ok {
			return "", false
		}
		switch {
		case withOffset && layout == "U":
			return "", false
		case withOffset && strings.Contains("rRu", layout), layout == "U":
			m = moment{m.UTC(), utcZone}
		}
		layout = standard
	}
	if layout == "" {
		layout = "M/d/yyyy h:mm:ss tt"
		if withOffset {
			layout += " zzz"
		}
	}
	return customDate(m, layout, withOffset)
}

func customDate(m moment, layout string, withOffset bool) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(layout); {
		c := layout[i]
		n := 1
		for i+n < len(layout) && layout[i+n] == c {
			n++
		}
		switch c {
		case '\'', '"':
			end := strings.IndexByte(layout[i+1:], c)
			if end < 0 {
				return "", false
			}
			b.WriteString(layout[i+1 : i+1+end])
			i += end + 2
			continue
		case '\\':
			if i+1 == len(layout) {
				return "", false
			}
			b.WriteByte(layout[i+1])
			i += 2
			continue
		case '%':
			if n > 1 || i+1 == len(layout) {
				return "", false
			}
			i++
			continue
		}
		s, ok := dateField(m, c, n, withOffset)
		switch {
		case !ok:
			return "", false
		case s == noField:
			b.WriteString(layout[i : i+n])
		case s == "" && c == 'F':
			// No digits: the point before them goes too.
			t := strings.TrimSuffix(b.String(), ".")
			b.Reset()
			b.WriteString(t)
		default:
			b.WriteString(s)
		}
		i += n
	}
	return b.String(), true
}

const noField = "\x00"

// dateField writes n times the letter c; noField if the letter means itself.
func dateField(m moment, c byte, n int, withOffset bool) (string, bool) {
	two := func(v int) string {
		if n == 1 {
			return strconv.Itoa(v)
		}
		return pad(v, 2)
	}
	switch c {
	case 'd':
		switch {
		case n <= 2:
			return two(m.Day()), true
		case n == 3:
			return m.Format("Mon"), true
		}
		return m.Format("Monday"), true
	case 'M':
		switch {
		case n <= 2:
			return two(int(m.Month())), true
		case n == 3:
			return m.Format("Jan"), true
		}
		return m.Format("January"), true
	case 'y':
		if n <= 2 {
			return two(m.Year() % 100), true
		}
		return pad(m.Year(), min(n, 64)), true
	case 'h':
		return two((m.Hour()+11)%12 + 1), true
	case 'H':
		return two(m.Hour()), true
	case 'm':
		return two(m.Minute()), true
	case 's':
		return two(m.Second()), true
	case 't':
		s := m.Format("PM")
		if n == 1 {
			s = s[:1]
		}
		return s, true
	case 'f', 'F':
		if n > 7 {
			return "", false
		}
		s := pad(m.Nanosecond()/100, 7)[:n]
		if c == 'F' {
			s = strings.TrimRight(s, "0")
		}
		return s, true
	case 'g':
		return "A.D.", true
	case 'K':
		s := m.suffix()
		if withOffset {
			s = m.Format("-07:00")
		}
		return strings.Repeat(s, n), true
	case 'z':
		t := m.Time
		if m.zone == noZone {
			t = time.Date(m.Year(), m.Month(), m.Day(), m.Hour(), m.Minute(), m.Second(), 0, time.Local)
		}
		switch n {
		case 1:
			s := t.Format("-07")
			if s[1] == '0' {
				s = s[:1] + s[2:]
			}
			return s, true
		case 2:
			return t.Format("-07"), true
		}
		return t.Format("-07:00"), true
	}
	return noField, true
}

func pad(v, width int) string {
	s := strconv.Itoa(v)
	return strings.Repeat("0", max(0, width-len(s))) + s
}
