package deployment_test

import (
	"strings"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/resource"
)

func refused(t *testing.T, name string, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: got %v, want %q", name, err, want)
	}
}

func TestCheckTenant(t *testing.T) { // X2
	acme := &environment.Tenant{Name: "Acme", TenantTags: []string{"Ring/1"}, ProjectEnvironments: map[string][]string{"P": {"E"}}}
	for _, c := range []struct {
		name, mode, env string
		tenant          *environment.Tenant
		tags            []string
		want            string
	}{
		{"untenanted", "", "E", nil, nil, ""},
		{"tenant refused", project.Untenanted, "E", acme, nil, "not deployed for tenants"},
		{"tenant needed", project.Tenanted, "E", nil, nil, "name one"},
		{"either, without", project.TenantedOrUntenanted, "E", nil, []string{"Ring/1"}, ""}, // N9
		{"either, with", project.TenantedOrUntenanted, "E", acme, []string{"Ring/1"}, ""},
		{"not connected", project.Tenanted, "F", acme, nil, "not connected"},
		{"wrong channel", project.Tenanted, "E", acme, []string{"Ring/2"}, "Ring/2"},
	} {
		refused(t, c.name, deployment.CheckTenant(c.mode, c.tenant, "P", c.env, c.tags), c.want)
	}
}

func TestCheckProgression(t *testing.T) { // X3
	l := environment.Lifecycle{Phases: []environment.Phase{
		{Name: "Dev", OptionalDeploymentTargets: []string{"D"}}, {Name: "Prod", OptionalDeploymentTargets: []string{"P"}},
	}}
	p := l.Progress([]string{"D", "P", "X"}, nil, environment.Who{}, false)
	refused(t, "allowed", deployment.CheckProgression(p, "D", "Dev"), "")
	refused(t, "too early", deployment.CheckProgression(p, "P", "Prod"), "first complete Dev")
	refused(t, "nowhere", deployment.CheckProgression(p, "X", "X"), "in no phase")
}

func TestCheckTimes(t *testing.T) { // X8
	now := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	in := func(d time.Duration) *resource.Time { return &resource.Time{Time: now.Add(d)} }
	for _, c := range []struct {
		name          string
		queue, expiry *resource.Time
		want          string
	}{
		{"now", nil, nil, ""},
		{"later", in(time.Hour), in(2 * time.Hour), ""},
		{"a slow clock", in(-time.Minute), nil, ""},
		{"past", in(-time.Hour), nil, "past"},
		{"too far", in(31 * 24 * time.Hour), nil, "30 days"},
		{"expires before", in(time.Hour), in(time.Hour), "must come after the start"},
		{"expired", nil, in(-time.Second), "must come after the start"},
	} {
		r := deployment.Request{QueueTime: c.queue, QueueTimeExpiry: c.expiry}
		refused(t, c.name, r.CheckTimes(now), c.want)
	}
}

func TestGuidedFailureOn(t *testing.T) { // I1
	yes, no := true, false
	for _, c := range []struct {
		variable    string
		requested   *bool
		mode        string
		environment bool
		want        bool
	}{
		{"", nil, "", false, false},
		{"", nil, project.GuidedFailureFromEnvironment, true, true},
		{"", nil, project.GuidedFailureOff, true, false},
		{"", nil, project.GuidedFailureOn, false, true},
		{"", &no, project.GuidedFailureOn, true, false},
		{"true", &no, project.GuidedFailureOff, false, true},
		{"False", &yes, project.GuidedFailureOn, true, false},
	} {
		if got := deployment.GuidedFailureOn(c.variable, c.requested, c.mode, c.environment); got != c.want {
			t.Errorf("%+v", c)
		}
	}
}

func TestFreezeRecurrences(t *testing.T) { // Z5
	parse := func(s string) resource.Time {
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return resource.Time{Time: at}
	}
	end := parse("2026-12-24T00:00:00Z")
	for _, c := range []struct {
		name       string
		start, end string
		again      *deployment.Recurrence
		at         string
		active     bool
	}{
		// Friday 22:00 -08:00 for eight hours is Saturday in UTC; it comes again on Fridays of its author.
		{"weekly, seen from UTC", "2026-11-21T06:00:00Z", "2026-11-21T14:00:00Z", &deployment.Recurrence{Type: deployment.Weekly, DaysOfWeek: []string{"Friday"}, UserUtcOffsetInMinutes: -480}, "2026-11-28T06:30:00Z", true},
		{"weekly, the day before", "2026-11-21T06:00:00Z", "2026-11-21T14:00:00Z", &deployment.Recurrence{Type: deployment.Weekly, DaysOfWeek: []string{"Friday"}, UserUtcOffsetInMinutes: -480}, "2026-11-27T06:30:00Z", false},
		{"no recurrence", "2026-11-21T06:00:00Z", "2026-11-21T14:00:00Z", nil, "2026-11-28T06:30:00Z", false},
		{"its end is excluded", "2026-11-21T06:00:00Z", "2026-11-21T14:00:00Z", nil, "2026-11-21T14:00:00Z", false},
		{"its start is included", "2026-11-21T06:00:00Z", "2026-11-21T14:00:00Z", nil, "2026-11-21T06:00:00Z", true},
		{"every second day", "2026-11-21T06:00:00Z", "2026-11-21T07:00:00Z", &deployment.Recurrence{Type: deployment.Daily, Unit: 2}, "2026-11-22T06:30:00Z", false},
		{"every second day, the next", "2026-11-21T06:00:00Z", "2026-11-21T07:00:00Z", &deployment.Recurrence{Type: deployment.Daily, Unit: 2}, "2026-11-23T06:30:00Z", true},
		{"three times", "2026-11-21T06:00:00Z", "2026-11-21T07:00:00Z", &deployment.Recurrence{Type: deployment.Daily, EndType: deployment.EndAfterOccurrences, EndAfterOccurrences: 3}, "2026-11-23T06:30:00Z", true},
		{"not a fourth time", "2026-11-21T06:00:00Z", "2026-11-21T07:00:00Z", &deployment.Recurrence{Type: deployment.Daily, EndType: deployment.EndAfterOccurrences, EndAfterOccurrences: 3}, "2026-11-24T06:30:00Z", false},
		{"until a date", "2026-11-21T06:00:00Z", "2026-11-21T07:00:00Z", &deployment.Recurrence{Type: deployment.Daily, EndType: deployment.EndOnDate, EndOnDate: &end}, "2026-12-24T06:30:00Z", false},
		{"last day of the month", "2026-11-30T06:00:00Z", "2026-11-30T07:00:00Z", &deployment.Recurrence{Type: deployment.Monthly, DateOfMonth: "L"}, "2027-02-28T06:30:00Z", true},
		{"second Tuesday", "2026-11-10T06:00:00Z", "2026-11-10T07:00:00Z", &deployment.Recurrence{Type: deployment.Monthly, DayNumberOfMonth: "2", DayOfWeek: "Tuesday"}, "2026-12-08T06:30:00Z", true},
		{"the 31st, in a short month", "2026-10-31T06:00:00Z", "2026-10-31T07:00:00Z", &deployment.Recurrence{Type: deployment.Monthly}, "2026-12-01T06:30:00Z", false},
		{"yearly", "2026-12-24T00:00:00Z", "2026-12-27T00:00:00Z", &deployment.Recurrence{Type: deployment.Annually}, "2028-12-26T12:00:00Z", true},
		{"before it begins", "2026-12-24T00:00:00Z", "2026-12-27T00:00:00Z", &deployment.Recurrence{Type: deployment.Annually}, "2025-12-26T12:00:00Z", false},
	} {
		f := deployment.Freeze{Start: parse(c.start), End: parse(c.end), RecurringSchedule: c.again}
		if got := f.ActiveAt(parse(c.at).Time); got != c.active {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestFreezeOverride(t *testing.T) { // Z1, Z4
	now := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	freeze := func(name string) deployment.Freeze {
		f := deployment.Freeze{Name: name, Start: resource.Time{Time: now}, End: resource.Time{Time: now.Add(time.Hour)}}
		f.Id = "DeploymentFreezes-" + name
		return f
	}
	one, two := freeze("One"), freeze("Two")
	one.ProjectEnvironmentScope = map[string][]string{"P": {"E"}}
	two.TenantProjectEnvironmentScope = []deployment.TenantScope{{TenantId: "T", ProjectId: "P", EnvironmentId: "E"}}
	all := []deployment.Freeze{one, two}
	if got := deployment.Active(all, "P", "E", "", now); len(got) != 1 {
		t.Errorf("untenanted: %v", got)
	}
	active := deployment.Active(all, "P", "E", "T", now)
	refused(t, "no override", deployment.CheckFreezes(active, nil, "because"), "One, Two")
	refused(t, "half", deployment.CheckFreezes(active, []string{"one"}, "because"), "Two")
	refused(t, "no reason", deployment.CheckFreezes(active, []string{"One", "Two"}, " "), "One, Two")
	refused(t, "both", deployment.CheckFreezes(active, []string{"one", "DeploymentFreezes-Two"}, "because"), "")
}
