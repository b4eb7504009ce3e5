package project

import (
	"strconv"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/fault"
)

// Cron is a schedule of six fields, seconds first, and a seventh for years if wanted (deployments.md S11):
// * , - / everywhere; ? L and W for days of the month; ? L and # for days of the week, which are 0-6 or names.
type Cron struct {
	seconds, minutes, hours, months set
	years                           map[int]bool // nil: all
	days                            monthDays
	weekdays                        weekDays
}

// set holds small numbers, one bit each.
type set uint64

func (s set) has(n int) bool { return s&(1<<n) != 0 }

type monthDays struct {
	any         bool
	in          set
	last        bool // L
	lastWorkday bool // LW
	near        []int
}

type weekDays struct {
	any  bool
	in   set
	last set      // 5L: the last Friday
	nth  [][2]int // 1#2: the second Monday
}

var (
	monthNames   = []string{"", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
	weekdayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
)

// ParseCron reads a schedule; the field at fault is named.
func ParseCron(text string) (*Cron, error) {
	fields := strings.Fields(text)
	if len(fields) < 6 || len(fields) > 7 {
		return nil, fault.InvalidField("CronExpression", "%q is not a schedule: it needs six fields (second minute hour day month weekday), and a seventh for the year if wanted.", text)
	}
	c := &Cron{}
	var wrong fault.List
	read := func(i int, name string, least, most int, names []string) set {
		s, err := parseSet(fields[i], least, most, names)
		if err != "" {
			wrong.Add("The %s of the schedule %q: %s", name, text, err)
		}
		return s
	}
	c.seconds = read(0, "seconds", 0, 59, nil)
	c.minutes = read(1, "minutes", 0, 59, nil)
	c.hours = read(2, "hours", 0, 23, nil)
	c.months = read(4, "months", 1, 12, monthNames)
	if err := c.parseDays(fields[3]); err != "" {
		wrong.Add("The days of the schedule %q: %s", text, err)
	}
	if err := c.parseWeekdays(fields[5]); err != "" {
		wrong.Add("The weekdays of the schedule %q: %s", text, err)
	}
	if len(fields) == 7 && fields[6] != "*" {
		if err := c.parseYears(fields[6]); err != "" {
			wrong.Add("The years of the schedule %q: %s", text, err)
		}
	}
	return c, wrong.Err()
}

// parseSet reads a list of numbers, ranges and steps; the second answer says what is wrong.
func parseSet(text string, least, most int, names []string) (set, string) {
	var s set
	for part := range strings.SplitSeq(text, ",") {
		from, to, step, err := parseRange(part, least, most, names)
		if err != "" {
			return 0, err
		}
		for n := from; n <= to; n += step {
			s |= 1 << n
		}
	}
	return s, ""
}

func parseRange(part string, least, most int, names []string) (from, to, step int, wrong string) {
	body, every, stepped := strings.Cut(part, "/")
	step = 1
	if stepped {
		n, err := strconv.Atoi(every)
		if err != nil || n < 1 {
			return 0, 0, 0, strconv.Quote(part) + " has no step from 1 on."
		}
		step = n
	}
	first, last, ranged := strings.Cut(body, "-")
	switch {
	case body == "*":
		return least, most, step, ""
	case !ranged && stepped:
		last = strconv.Itoa(most)
	case !ranged:
		last = first
	}
	from, ok := parseNumber(first, least, most, names)
	to, ok2 := parseNumber(last, least, most, names)
	if !ok || !ok2 || from > to {
		return 0, 0, 0, strconv.Quote(part) + " must be a number or a range from " + strconv.Itoa(least) + " to " + strconv.Itoa(most) + "."
	}
	return from, to, step, ""
}

func parseNumber(text string, least, most int, names []string) (int, bool) {
	for i, name := range names {
		if name != "" && strings.EqualFold(text, name) {
			return i, true
		}
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= least && n <= most
}

func (c *Cron) parseDays(text string) string {
	if text == "*" || text == "?" {
		c.days.any = true
		return ""
	}
	for part := range strings.SplitSeq(strings.ToUpper(text), ",") {
		day, near := strings.CutSuffix(part, "W")
		switch {
		case part == "L":
			c.days.last = true
		case part == "LW":
			c.days.lastWorkday = true
		case near:
			n, ok := parseNumber(day, 1, 31, nil)
			if !ok {
				return strconv.Quote(part) + " names no day from 1 to 31."
			}
			c.days.near = append(c.days.near, n)
		default:
			s, wrong := parseSet(part, 1, 31, nil)
			if wrong != "" {
				return wrong
			}
			c.days.in |= s
		}
	}
	return ""
}

func (c *Cron) parseWeekdays(text string) string {
	if text == "*" || text == "?" {
		c.weekdays.any = true
		return ""
	}
	for part := range strings.SplitSeq(text, ",") {
		day, nth, counted := strings.Cut(part, "#")
		last, isLast := strings.CutSuffix(strings.ToUpper(part), "L")
		switch {
		case counted:
			d, ok := parseNumber(day, 0, 6, weekdayNames)
			n, ok2 := parseNumber(nth, 1, 5, nil)
			if !ok || !ok2 {
				return strconv.Quote(part) + " must be a weekday, # and 1 to 5."
			}
			c.weekdays.nth = append(c.weekdays.nth, [2]int{d, n})
		case isLast && last != "":
			d, ok := parseNumber(last, 0, 6, weekdayNames)
			if !ok {
				return strconv.Quote(part) + " must be a weekday and L."
			}
			c.weekdays.last |= 1 << d
		case isLast:
			c.weekdays.in |= 1 << 6 // L alone is Saturday
		default:
			s, wrong := parseSet(part, 0, 6, weekdayNames)
			if wrong != "" {
				return wrong
			}
			c.weekdays.in |= s
		}
	}
	return ""
}

func (c *Cron) parseYears(text string) string {
	c.years = map[int]bool{}
	for part := range strings.SplitSeq(text, ",") {
		from, to, step, wrong := parseRange(part, 1970, 2199, nil)
		if wrong != "" {
			return wrong
		}
		for y := from; y <= to; y += step {
			c.years[y] = true
		}
	}
	return ""
}

// lookAhead bounds the search of Next: a 29th of February on a given weekday comes at most every 40 years.
const lookAhead = 41 * 366

// Next finds the first instant after one, in a zone (deployments.md S12): a local time that does not exist fires at the
// first instant after the gap; one that comes twice fires the first time. ok is false when there is none.
func (c *Cron) Next(after time.Time, zone *time.Location) (at time.Time, ok bool) {
	y, m, d := after.In(zone).Date()
	for i := range lookAhead {
		day := time.Date(y, m, d+i, 0, 0, 0, 0, time.UTC) // a day on the calendar, in no zone
		if !c.on(day) {
			continue
		}
		for h := range 24 {
			for minute := 0; minute < 60 && c.hours.has(h); minute++ {
				for s := 0; s < 60 && c.minutes.has(minute); s++ {
					if !c.seconds.has(s) {
						continue
					}
					if at := instant(day, h, minute, s, zone); at.After(after) {
						return at, true
					}
				}
			}
		}
	}
	return time.Time{}, false
}

// instant is when a wall clock in a zone first shows a time, or what it shows instead.
func instant(day time.Time, h, m, s int, zone *time.Location) time.Time {
	y, month, d := day.Date()
	naive := time.Date(y, month, d, h, m, s, 0, time.UTC)
	guess := time.Date(y, month, d, h, m, s, 0, zone)
	// The offsets around the day: the earlier one gives the earlier instant of a time that comes twice.
	var best time.Time
	for _, off := range []time.Duration{-26 * time.Hour, 26 * time.Hour} {
		_, seconds := guess.Add(off).Zone()
		at := naive.Add(-time.Duration(seconds) * time.Second).In(zone)
		if shows(at, naive) && (best.IsZero() || at.Before(best)) {
			best = at
		}
	}
	if !best.IsZero() {
		return best
	}
	// In a gap: its end is where the offset changes.
	from, to := guess.Add(-26*time.Hour), guess.Add(26*time.Hour)
	_, before := from.Zone()
	for to.Sub(from) > time.Second {
		middle := from.Add(to.Sub(from) / 2)
		if _, offset := middle.Zone(); offset == before {
			from = middle
		} else {
			to = middle
		}
	}
	return to.Truncate(time.Second)
}

func shows(at, naive time.Time) bool {
	y, m, d := at.Date()
	return time.Date(y, m, d, at.Hour(), at.Minute(), at.Second(), 0, time.UTC).Equal(naive)
}

// on tells whether the schedule fires on a day. With both kinds of days restricted either is enough.
func (c *Cron) on(day time.Time) bool {
	if !c.months.has(int(day.Month())) || c.years != nil && !c.years[day.Year()] {
		return false
	}
	switch {
	case c.days.any && c.weekdays.any:
		return true
	case c.days.any:
		return c.weekdays.on(day)
	case c.weekdays.any:
		return c.days.on(day)
	}
	return c.days.on(day) || c.weekdays.on(day)
}

func lastOf(day time.Time) time.Time {
	return time.Date(day.Year(), day.Month()+1, 0, 0, 0, 0, 0, time.UTC)
}

func (m *monthDays) on(day time.Time) bool {
	last := lastOf(day)
	switch {
	case m.in.has(day.Day()):
		return true
	case m.last && day.Equal(last):
		return true
	case m.lastWorkday && day.Equal(workday(last)):
		return true
	}
	for _, n := range m.near {
		if n <= last.Day() && day.Equal(workday(time.Date(day.Year(), day.Month(), n, 0, 0, 0, 0, time.UTC))) {
			return true
		}
	}
	return false
}

// workday is the working day nearest to a day, in the same month.
func workday(day time.Time) time.Time {
	move := 0
	switch day.Weekday() {
	case time.Saturday:
		if move = -1; day.Day() == 1 {
			move = 2
		}
	case time.Sunday:
		if move = 1; day.Equal(lastOf(day)) {
			move = -2
		}
	}
	return day.AddDate(0, 0, move)
}

func (w *weekDays) on(day time.Time) bool {
	weekday := int(day.Weekday())
	if w.in.has(weekday) || w.last.has(weekday) && day.Day() > lastOf(day).Day()-7 {
		return true
	}
	for _, n := range w.nth {
		if weekday == n[0] && (day.Day()-1)/7+1 == n[1] {
			return true
		}
	}
	return false
}
