package project

import (
	"testing"
	"time"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	l, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestCronNext(t *testing.T) {
	for _, c := range []struct{ cron, zone, after, want string }{
		{"0 0 06 * * Mon-Fri", "UTC", "2026-11-20T12:00:00Z", "2026-11-23T06:00:00Z"},
		{"0 30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"},
		{"0 30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"},
		{"0 30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		{"0 0/30 * * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z"}, // the second 02:00 and 02:30 do not fire
		{"0 0 0 L * ?", "UTC", "2027-02-01T00:00:00Z", "2027-02-28T00:00:00Z"},
		{"0 0 0 LW * ?", "UTC", "2027-02-01T00:00:00Z", "2027-02-26T00:00:00Z"},
		{"0 0 0 15W * ?", "UTC", "2026-11-01T00:00:00Z", "2026-11-16T00:00:00Z"},
		{"0 0 0 1W * ?", "UTC", "2026-07-31T23:00:00Z", "2026-08-03T00:00:00Z"},
		{"0 0 9 ? * 1#2", "UTC", "2026-11-01T00:00:00Z", "2026-11-09T09:00:00Z"},
		{"0 0 9 ? * FRIL", "UTC", "2026-11-01T00:00:00Z", "2026-11-27T09:00:00Z"},
		{"0 0 0 29 2 ? 2026-2030", "UTC", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"},
		{"5,10 * * * * *", "UTC", "2026-01-01T00:00:05Z", "2026-01-01T00:00:10Z"},
		{"0 0 0 31 2 ?", "UTC", "2026-01-01T00:00:00Z", ""},
		{"0 0 0 1 1 ? 2020", "UTC", "2026-01-01T00:00:00Z", ""},
		{"0 0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", "2018-11-04T03:00:00Z"}, // midnight does not exist
	} {
		cron, err := ParseCron(c.cron)
		if err != nil {
			t.Errorf("%s: %v", c.cron, err)
			continue
		}
		after, err := time.Parse(time.RFC3339, c.after)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if at, ok := cron.Next(after, zone(t, c.zone)); ok {
			got = at.UTC().Format(time.RFC3339)
		}
		if got != c.want {
			t.Errorf("%s in %s after %s: %s, want %s", c.cron, c.zone, c.after, got, c.want)
		}
	}
}

func TestCronRefuses(t *testing.T) {
	for _, text := range []string{"", "* * * * *", "60 * * * * *", "* * 24 * * *", "* * * 0 * *", "* * * * 13 *", "* * * * * 7", "* * * * * Mo", "*/0 * * * * *", "5-1 * * * * *", "* * * * * 1#6", "* * * 32W * ?", "* * * * * * 1900"} {
		if _, err := ParseCron(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

// FuzzParseCron: whatever is accepted has a next instant after now, or none, and it is later.
func FuzzParseCron(f *testing.F) {
	for _, s := range []string{"0 0 06 * * Mon-Fri", "0 0 0 LW * ?", "0 0 9 ? * 1#2", "1-5/2 * * 1,15W JAN-MAR/2 FRIL 2026-2030/2", "* * * * * L"} {
		f.Add(s)
	}
	after := time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCron(s)
		if err != nil {
			return
		}
		if at, ok := c.Next(after, time.UTC); ok && !at.After(after) {
			t.Errorf("%q: %s is not after %s", s, at, after)
		}
	})
}
