package halibut

import (
	"fmt"
	"regexp"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// TimeSpan is a .NET TimeSpan; its text is [-][d.]hh:mm:ss[.fffffff] (tentacle-protocol.md 1.9).
type TimeSpan time.Duration

// Span makes an optional TimeSpan.
func Span(d time.Duration) *TimeSpan {
	t := TimeSpan(d)
	return &t
}

// Duration is the Go form.
func (t TimeSpan) Duration() time.Duration { return time.Duration(t) }

const tick = 100 * time.Nanosecond // .NET's resolution

// String is the text .NET writes.
func (t TimeSpan) String() string {
	sign, ticks := "", int64(time.Duration(t)/tick)
	if ticks < 0 {
		sign, ticks = "-", -ticks
	}
	seconds, fraction := ticks/10_000_000, ticks%10_000_000
	days, seconds := seconds/86_400, seconds%86_400
	text := fmt.Sprintf("%02d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
	if days > 0 {
		text = fmt.Sprintf("%d.%s", days, text)
	}
	if fraction > 0 {
		text += fmt.Sprintf(".%07d", fraction)
	}
	return sign + text
}

var timeSpanForm = regexp.MustCompile(`^(-?)(?:(\d{1,6})\.)?(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d{1,7}))?$`)

// ParseTimeSpan reads what .NET writes; the days are limited by what a Go duration holds (about 290 years).
func ParseTimeSpan(text string) (TimeSpan, error) {
	m := timeSpanForm.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%q is not a time span like 1.02:03:04.5", text)
	}
	var n [5]int64 // days, hours, minutes, seconds, fraction
	for i := range n {
		part := m[i+2]
		if i == 4 {
			part = (part + "0000000")[:7]
		}
		if part != "" {
			n[i], _ = strconv.ParseInt(part, 10, 64) // digits only, by the pattern
		}
	}
	if n[0] > 106_000 || n[1] > 23 || n[2] > 59 || n[3] > 59 {
		return 0, fmt.Errorf("time span %q is out of range", text)
	}
	seconds := ((n[0]*24+n[1])*60+n[2])*60 + n[3]
	d := time.Duration(seconds)*time.Second + time.Duration(n[4])*tick
	if m[1] == "-" {
		d = -d
	}
	return TimeSpan(d), nil
}

// MarshalBSONValue writes the text form.
func (t TimeSpan) MarshalBSONValue() (byte, []byte, error) {
	typ, data, err := bson.MarshalValue(t.String())
	return byte(typ), data, err
}

// UnmarshalBSONValue reads the text form.
func (t *TimeSpan) UnmarshalBSONValue(typ byte, data []byte) error {
	text, ok := bson.RawValue{Type: bson.Type(typ), Value: data}.StringValueOK()
	if !ok {
		return fmt.Errorf("a time span must be a string, not BSON type %#x", typ)
	}
	parsed, err := ParseTimeSpan(text)
	*t = parsed
	return err
}
