package deployment_test

import (
	"slices"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/project"
)

func init() { runners["trigger"] = runTrigger }

type triggerGiven struct {
	Filter, Action, Machine, Override                   string
	RunningDeployment, MachineHasCurrent                bool
	ShouldRedeployWhenMachineHasBeenDeployedTo          bool
	ShouldRedeployWhenReleaseIsCurrent                  *bool
	MachineRoles, ProcessRoles                          []string
	Source, Destination, CronExpression, Timezone, Date string
	From                                                time.Time
	Tenant                                              *struct {
		Id                  string
		ProjectEnvironments []string
	}
	Deployments []struct {
		Release, State, EnvironmentId, TenantId string
		SkipActions                             []string
		Seq                                     float64
	}
}

type triggerDeploy struct {
	Release, EnvironmentId, TenantId string
	SpecificMachines, SkipActions    []string
}

type triggerAnswer struct {
	Deploy     *triggerDeploy
	DeferUntil string
	FiresUtc   []time.Time
	NextUtc    time.Time
}

func runTrigger(t *testing.T, v vector) {
	given := read[triggerGiven](t, v.Given)
	var got triggerAnswer
	switch given.Filter {
	case "MachineFilter":
		got = given.machine()
	case "CronExpressionSchedule":
		got = given.cron(t)
	default:
		got = given.latest()
	}
	same(t, read[triggerAnswer](t, v.Expect), got)
}

func (g triggerGiven) machine() triggerAnswer {
	m := deployment.Newcomer{Id: g.Machine, Roles: []string{"any"}, Has: g.MachineHasCurrent}
	round := deployment.TargetRound{Override: g.Override, Busy: g.RunningDeployment, Redeploy: g.ShouldRedeployWhenMachineHasBeenDeployedTo, UsedRoles: []string{"any"}}
	if g.MachineRoles != nil {
		m.Roles, round.UsedRoles = g.MachineRoles, g.ProcessRoles
	}
	round.Machines = []deployment.Newcomer{m}
	for _, d := range g.Deployments {
		if d.State == deployment.TaskSuccess {
			round.Last = &deployment.Repeat{ReleaseId: d.Release, SkipActions: d.SkipActions}
		}
	}
	deploy, later := round.Decide()
	var out triggerAnswer
	if later {
		out.DeferUntil = "running deployment ends"
	}
	if deploy != nil {
		out.Deploy = &triggerDeploy{Release: deploy.ReleaseId, SpecificMachines: deploy.MachineIds, SkipActions: deploy.SkipActions}
	}
	return out
}

func (g triggerGiven) latest() triggerAnswer {
	l := deployment.LatestRelease{Sources: []string{g.Source}, Destination: g.Destination, ConnectedToSource: true, RedeployCurrent: true}
	if g.ShouldRedeployWhenReleaseIsCurrent != nil {
		l.RedeployCurrent = *g.ShouldRedeployWhenReleaseIsCurrent
	}
	if g.Tenant != nil {
		l.TenantId, l.ConnectedToSource = g.Tenant.Id, slices.Contains(g.Tenant.ProjectEnvironments, g.Source)
	}
	for _, d := range g.Deployments {
		if d.State == deployment.TaskSuccess {
			l.Successes = append(l.Successes, deployment.Success{ReleaseId: d.Release, EnvironmentId: d.EnvironmentId, TenantId: d.TenantId, Ended: at(d.Seq)})
		}
	}
	var out triggerAnswer
	if release := l.Choose(); release != "" {
		out.Deploy = &triggerDeploy{Release: release, EnvironmentId: g.Destination, TenantId: l.TenantId}
	}
	return out
}

func (g triggerGiven) cron(t *testing.T) triggerAnswer {
	t.Helper()
	c, err := project.ParseCron(g.CronExpression)
	if err != nil {
		t.Fatal(err)
	}
	zone, err := time.LoadLocation(g.Timezone)
	if err != nil {
		t.Fatal(err)
	}
	var out triggerAnswer
	if g.Date == "" {
		out.NextUtc, _ = c.Next(g.From, zone)
		out.NextUtc = out.NextUtc.UTC()
		return out
	}
	day, err := time.ParseInLocation(time.DateOnly, g.Date, zone)
	if err != nil {
		t.Fatal(err)
	}
	for at, ok := c.Next(day.Add(-time.Nanosecond), zone); ok && at.Before(day.AddDate(0, 0, 1)); at, ok = c.Next(at, zone) {
		out.FiresUtc = append(out.FiresUtc, at.UTC())
	}
	return out
}
