package deployment

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/fault"
)

// Kinds and ends of a recurrence (deployments.md Z5).
const (
	Daily    = "Daily"
	Weekly   = "Weekly"
	Monthly  = "Monthly"
	Annually = "Annually"

	EndNever            = "Never"
	EndOnDate           = "OnDate"
	EndAfterOccurrences = "AfterOccurrences"
)

// Covers tells whether a freeze concerns a project, environment and tenant: scopes add up (deployments.md Z1).
func (f *Freeze) Covers(project, environment, tenant string) bool {
	if slices.Contains(f.ProjectEnvironmentScope[project], environment) {
		return true
	}
	return tenant != "" && slices.Contains(f.TenantProjectEnvironmentScope, TenantScope{TenantId: tenant, ProjectId: project, EnvironmentId: environment})
}

// ActiveAt tells whether a freeze holds at a moment: from its start (included) to its end (excluded), and in each
// recurrence (deployments.md Z1, Z5).
func (f *Freeze) ActiveAt(at time.Time) bool {
	if at.Before(f.Start.Time) {
		return false
	}
	if at.Before(f.End.Time) {
		return true
	}
	if f.RecurringSchedule == nil {
		return false
	}
	length := f.End.Sub(f.Start.Time)
	for start := range f.RecurringSchedule.from(f.Start.Time) {
		if start.After(at) {
			return false
		}
		if at.Before(start.Add(length)) {
			return true
		}
	}
	return false
}

// Active lists the freezes that hold a deployment up at a moment (deployments.md Z1, Z2).
func Active(freezes []Freeze, project, environment, tenant string, at time.Time) []Freeze {
	var out []Freeze
	for _, f := range freezes {
		if f.Covers(project, environment, tenant) && f.ActiveAt(at) {
			out = append(out, f)
		}
	}
	return out
}

// CheckFreezes refuses a deployment that active freezes hold up, unless all of them are overridden by name or id and a reason
// is given (deployments.md X4, Z4). That the caller may edit them is checked elsewhere.
func CheckFreezes(active []Freeze, names []string, reason string) error {
	var open []string
	for _, f := range active {
		named := slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, f.Name) || n == f.Id })
		if !named || strings.TrimSpace(reason) == "" {
			open = append(open, f.Name)
		}
	}
	if len(open) == 0 {
		return nil
	}
	return fault.InvalidField("DeploymentFreezeNames",
		"Deployments there are frozen by %s. Name every freeze in DeploymentFreezeNames and give a DeploymentFreezeOverrideReason, or wait.", strings.Join(open, ", "))
}

// maxRecurrences bounds the walk through a recurrence that never ends: daily, for over a century.
const maxRecurrences = 40_000

// from yields the starts of the occurrences after the first, in order. Days are judged in the author's offset.
func (r *Recurrence) from(first time.Time) func(yield func(time.Time) bool) {
	return func(yield func(time.Time) bool) {
		local := first.In(time.FixedZone("", r.UserUtcOffsetInMinutes*60))
		unit := max(r.Unit, 1)
		occurrences := 1
		for step := range maxRecurrences {
			for _, start := range r.period(local, step*unit) {
				if !start.After(local) {
					continue
				}
				occurrences++
				switch {
				case r.EndType == EndOnDate && r.EndOnDate != nil && start.After(r.EndOnDate.Time):
					return
				case r.EndType == EndAfterOccurrences && occurrences > r.EndAfterOccurrences:
					return
				}
				if !yield(start) {
					return
				}
			}
		}
	}
}

// period gives the starts in one day, week, month or year, counted from that of the first occurrence.
func (r *Recurrence) period(first time.Time, n int) []time.Time {
	switch r.Type {
	case Daily:
		return []time.Time{first.AddDate(0, 0, n)}
	case Weekly:
		monday := first.AddDate(0, 0, 7*n-(int(first.Weekday())+6)%7)
		var out []time.Time
		for i := range 7 {
			day := monday.AddDate(0, 0, i)
			if r.onWeekday(day.Weekday(), first.Weekday()) {
				out = append(out, day)
			}
		}
		return out
	case Monthly:
		month := time.Date(first.Year(), first.Month()+time.Month(n), 1, first.Hour(), first.Minute(), first.Second(), first.Nanosecond(), first.Location())
		if day, ok := r.dayOf(month, first.Day()); ok {
			return []time.Time{day}
		}
	case Annually:
		day := first.AddDate(n, 0, 0)
		if day.Day() == first.Day() { // the 29th of February, in other years
			return []time.Time{day}
		}
	}
	return nil
}

func (r *Recurrence) onWeekday(day, first time.Weekday) bool {
	if len(r.DaysOfWeek) == 0 {
		return day == first
	}
	return slices.ContainsFunc(r.DaysOfWeek, func(name string) bool { return strings.EqualFold(name, day.String()) })
}

// dayOf finds the day of a month: by date ("L" is the last), by weekday ("1" to "4" and "L"), or the first occurrence's date.
func (r *Recurrence) dayOf(month time.Time, date int) (time.Time, bool) {
	last := month.AddDate(0, 1, -1)
	if r.DayOfWeek != "" {
		var days []time.Time
		for d := month; !d.After(last); d = d.AddDate(0, 0, 1) {
			if strings.EqualFold(d.Weekday().String(), r.DayOfWeek) {
				days = append(days, d)
			}
		}
		if strings.EqualFold(r.DayNumberOfMonth, "L") {
			return days[len(days)-1], true
		}
		n, err := strconv.Atoi(cmp.Or(r.DayNumberOfMonth, "1"))
		if err != nil || n < 1 || n > len(days) {
			return time.Time{}, false
		}
		return days[n-1], true
	}
	if strings.EqualFold(r.DateOfMonth, "L") {
		return last, true
	}
	if n, err := strconv.Atoi(r.DateOfMonth); err == nil {
		date = n
	}
	if date < 1 || date > last.Day() {
		return time.Time{}, false
	}
	return month.AddDate(0, 0, date-1), true
}

// FreezesLetThrough tells what freezes never hold up: runbook runs, and what a deployment target trigger starts (deployments.md Z3).
func FreezesLetThrough(runbook bool, triggerFilter string) bool {
	return runbook || triggerFilter == "MachineFilter"
}
