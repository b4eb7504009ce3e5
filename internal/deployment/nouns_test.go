package deployment_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/release"
	"github.com/octavo/octavo/internal/variable"
)

func init() {
	runners["progression"] = runProgression
	runners["automatic-deployment"] = runAutomatic
	runners["version-mask"] = runMask
	runners["version-template"] = runTemplate
	runners["version-donor"] = runDonor
	runners["release-create"] = runCreate
	runners["package-select"] = runSelect
	runners["worker-select"] = runWorker
	runners["health"] = runHealth
	runners["dashboard"] = runDashboard
	runners["release-retention"] = runReleaseRetention
	runners["runbook-retention"] = runRunRetention
	runners["package-retention"] = runPackageRetention
	runners["freeze"] = runFreeze
}

func same(t *testing.T, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func runProgression(t *testing.T, v vector) {
	given := read[struct {
		Environments []string
		Lifecycle    environment.Lifecycle
		History      []environment.Deployed
		Tenant       *struct {
			Id                  string
			ProjectEnvironments []string
		}
		UnresolvedDefect bool
	}](t, v.Given)
	type phase struct {
		Name, Progress string
		Blocked        bool
	}
	type answer struct {
		Allowed                        []string
		Phases                         []phase
		NextDeployments                []string
		NextDeploymentsMinimumRequired int
	}
	who := environment.Who{}
	if given.Tenant != nil {
		who = environment.Who{TenantId: given.Tenant.Id, Environments: given.Tenant.ProjectEnvironments}
	}
	p := given.Lifecycle.Progress(given.Environments, given.History, who, given.UnresolvedDefect)
	got := answer{Allowed: p.Allowed, NextDeployments: p.NextDeployments, NextDeploymentsMinimumRequired: p.NextDeploymentsMinimumRequired}
	for _, ph := range p.Phases {
		got.Phases = append(got.Phases, phase{ph.Name, ph.Progress, ph.Blocked})
	}
	same(t, read[answer](t, v.Expect), got)
}

func runAutomatic(t *testing.T, v vector) {
	given := read[struct {
		Environments           []string
		Lifecycle              environment.Lifecycle
		History                []environment.Deployed
		Event                  environment.Event
		TenantedDeploymentMode string
		ChannelTenantTags      []string
		Tenants                []struct {
			Id                              string
			TenantTags, ProjectEnvironments []string
		}
		UnresolvedDefect bool
	}](t, v.Given)
	in := environment.Automatic{
		Environments: given.Environments, History: given.History, Event: given.Event, ProjectId: "Projects-1",
		Untenanted: given.TenantedDeploymentMode != project.Tenanted, ChannelTags: given.ChannelTenantTags, Defect: given.UnresolvedDefect,
	}
	for _, tenant := range given.Tenants {
		t := environment.Tenant{TenantTags: tenant.TenantTags, ProjectEnvironments: map[string][]string{"Projects-1": tenant.ProjectEnvironments}}
		t.Id = tenant.Id
		in.Tenants = append(in.Tenants, t)
	}
	want := read[struct{ Created []environment.Pair }](t, v.Expect)
	same(t, want.Created, given.Lifecycle.Automatic(in))
}

func runMask(t *testing.T, v vector) {
	given := read[struct {
		Mask     string
		Existing []string
	}](t, v.Given)
	got, err := release.ResolveMask(given.Mask, given.Existing)
	if err != nil {
		t.Fatal(err)
	}
	same(t, read[struct{ Version string }](t, v.Expect).Version, got)
}

func runTemplate(t *testing.T, v vector) {
	given := read[struct{ Template, LastRelease, LastReleaseOfChannel string }](t, v.Given)
	last := release.Last{Project: given.LastRelease, Channel: given.LastReleaseOfChannel}
	fill := func(template string, vars map[string]string) (string, error) {
		return variable.Evaluate(template, variable.FromMap(vars))
	}
	got, err := release.FromTemplate(given.Template, last, nil, time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC), fill)
	if err != nil {
		t.Fatal(err)
	}
	same(t, read[struct{ Version string }](t, v.Expect).Version, got)
}

func runDonor(t *testing.T, v vector) {
	given := read[struct {
		DonorPackage     project.ActionPackage
		SelectedPackages []release.SelectedPackage
	}](t, v.Given)
	got, err := release.FromDonor(given.DonorPackage.DeploymentAction, given.DonorPackage.PackageReference, given.SelectedPackages)
	if err != nil {
		t.Fatal(err)
	}
	same(t, read[struct{ Version string }](t, v.Expect).Version, got)
}

func runCreate(t *testing.T, v vector) {
	given := read[struct {
		Existing              []string
		Version               string
		IgnoreIfAlreadyExists bool
	}](t, v.Given)
	type answer struct{ Reject, ReturnsExisting, Version string }
	var got answer
	existing, duplicate := release.Duplicate(given.Existing, given.Version)
	switch {
	case duplicate && given.IgnoreIfAlreadyExists:
		got.ReturnsExisting = existing
	case duplicate:
		got.Reject = "duplicate-version"
	default:
		got.Version = given.Version
	}
	same(t, read[answer](t, v.Expect), got)
}

func runSelect(t *testing.T, v vector) {
	given := read[struct {
		AvailableVersions []string
		Rule              *struct{ VersionRange, Tag string }
	}](t, v.Given)
	ref := release.Reference{ActionName: "Deploy", PackageId: "Web", Resolvable: true}
	if given.Rule != nil {
		rule, err := release.NewRule(given.Rule.VersionRange, given.Rule.Tag, "", "")
		if err != nil {
			t.Fatal(err)
		}
		ref.Rule = rule
	}
	selected, err := release.Select([]release.Reference{ref}, release.Given{}, false, func(release.Reference) ([]release.Candidate, error) {
		var out []release.Candidate
		for _, version := range given.AvailableVersions {
			out = append(out, release.Candidate{Version: version})
		}
		return out, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	same(t, read[struct{ Version string }](t, v.Expect).Version, selected[0].Version)
}

func runWorker(t *testing.T, v vector) {
	type worker struct {
		Name, HealthStatus, ExclusiveLease string
		IsDisabled                         bool
		Leases                             int
	}
	given := read[struct {
		Pool           *string
		DefaultPool    []worker
		Pools          map[string][]worker
		BuiltInEnabled bool
	}](t, v.Given)
	c := machine.WorkerChoice{Pool: "Default", DefaultPool: given.Pool == nil, BuiltIn: given.BuiltInEnabled}
	list := given.DefaultPool
	if given.Pool != nil {
		c.Pool, list = *given.Pool, given.Pools[*given.Pool]
	}
	for _, w := range list {
		s := machine.WorkerState{Leases: w.Leases, Exclusive: w.ExclusiveLease != ""}
		s.Id, s.Name, s.HealthStatus, s.IsDisabled = w.Name, w.Name, w.HealthStatus, w.IsDisabled
		c.Workers = append(c.Workers, s)
	}
	type answer struct{ Worker, Wait, Fail string }
	var got answer
	chosen, err := c.Choose()
	switch {
	case err != nil:
		got.Fail = "no-healthy-worker"
	case chosen.BuiltIn:
		got.Worker = "built-in"
	case chosen.Wait != "":
		got.Wait = "worker-lease"
	default:
		got.Worker = chosen.Id
	}
	same(t, read[answer](t, v.Expect), got)
}

func runHealth(t *testing.T, v vector) {
	given := read[struct {
		Connect                     bool
		ExitCode, Warnings, Errors  int
		MachineConnectivityBehavior string
	}](t, v.Given)
	want := read[struct{ HealthStatus, Task string }](t, v.Expect)
	status := machine.Finding{Reached: given.Connect, ExitCode: given.ExitCode, Warnings: given.Warnings, Errors: given.Errors}.Status()
	same(t, want.HealthStatus, status)
	policy := machine.Policy{MachineConnectivityPolicy: machine.ConnectivityPolicy{MachineConnectivityBehavior: given.MachineConnectivityBehavior}}
	if want.Task != "" {
		same(t, want.Task == "Failed", policy.FailsCheck(status))
	}
}

// at is a vector's unit of time.
func at(n float64) time.Time { return time.Unix(int64(n)*60, 0) }

func runDashboard(t *testing.T, v vector) {
	given := read[struct {
		Deployments []struct {
			Id, Release, State            string
			Created, StartTime, QueueTime float64
		}
		Now float64
	}](t, v.Given)
	var history []deployment.Past
	for _, d := range given.Deployments {
		p := deployment.Past{Id: d.Id, ReleaseId: d.Release, State: d.State, Created: at(d.Created)}
		if d.StartTime > 0 {
			p.StartTime = at(d.StartTime)
		}
		if d.QueueTime > 0 {
			p.QueueTime = at(d.QueueTime)
		}
		history = append(history, p)
	}
	shown := deployment.Show(history, false, at(given.Now))[deployment.Slot{}]
	type answer struct{ Current, Previous string }
	var got answer
	if shown.Current != nil {
		got.Current = shown.Current.Id
	}
	if shown.Previous != nil {
		got.Previous = shown.Previous.Id
	}
	same(t, read[answer](t, v.Expect), got)
}

func runReleaseRetention(t *testing.T, v vector) {
	given := read[struct {
		Lifecycle   environment.Lifecycle
		Releases    []struct{ Version string }
		Deployments []struct {
			Version, EnvironmentId, TenantId, State string
			Seq                                     float64
		}
		ReferencedByDeployRelease []string
	}](t, v.Given)
	r := deployment.ReleaseRetention{
		Lifecycle:  func(string) *environment.Lifecycle { return &given.Lifecycle },
		Referenced: func(id string) bool { return slices.Contains(given.ReferencedByDeployRelease, id) },
		Now:        at(1000),
	}
	for _, p := range given.Lifecycle.Phases {
		r.Environments = append(r.Environments, slices.Concat(p.AutomaticDeploymentTargets, p.OptionalDeploymentTargets)...)
	}
	for _, rel := range given.Releases {
		r.Releases = append(r.Releases, deployment.OldRelease{Id: rel.Version})
	}
	for _, d := range given.Deployments {
		r.Deployments = append(r.Deployments, deployment.Past{
			ReleaseId: d.Version, EnvironmentId: d.EnvironmentId, TenantId: d.TenantId, State: d.State, StartTime: at(d.Seq),
		})
	}
	type answer struct {
		Deleted []string
		Kept    map[string]string
	}
	got := answer{Kept: map[string]string{}}
	for _, verdict := range r.Judge() {
		if verdict.Delete {
			got.Deleted = append(got.Deleted, verdict.Id)
		} else {
			got.Kept[verdict.Id] = verdict.Why
		}
	}
	same(t, read[answer](t, v.Expect), got)
}

func deleted(verdicts []deployment.Verdict) []string {
	var out []string
	for _, v := range verdicts {
		if v.Delete {
			out = append(out, v.Id)
		}
	}
	return out
}

func runRunRetention(t *testing.T, v vector) {
	given := read[struct {
		RunRetentionPolicy project.RunRetention
		Runs               []struct {
			Id, EnvironmentId, TenantId, State string
			Seq                                float64
		}
	}](t, v.Given)
	var runs []deployment.OldRun
	for _, r := range given.Runs {
		runs = append(runs, deployment.OldRun{
			Id: r.Id, EnvironmentId: r.EnvironmentId, TenantId: r.TenantId, Created: at(r.Seq), Ended: r.State == "" || deployment.TaskEnded(r.State),
		})
	}
	same(t, read[struct{ Deleted []string }](t, v.Expect).Deleted, deleted(deployment.JudgeRuns(runs, given.RunRetentionPolicy, at(1000))))
}

func runPackageRetention(t *testing.T, v vector) {
	given := read[struct {
		Days     int
		Packages []struct {
			Id                                   string
			AgeDays                              int
			UsedByRelease, UsedByRunbookSnapshot bool
		}
	}](t, v.Given)
	now := at(1_000_000)
	var packages []deployment.OldPackage
	for _, p := range given.Packages {
		packages = append(packages, deployment.OldPackage{Id: p.Id, Published: now.AddDate(0, 0, -p.AgeDays), Used: p.UsedByRelease || p.UsedByRunbookSnapshot})
	}
	same(t, read[struct{ Deleted []string }](t, v.Expect).Deleted, deleted(deployment.JudgePackages(packages, given.Days, now)))
}

func runFreeze(t *testing.T, v vector) {
	given := read[struct {
		Freezes                                  []deployment.Freeze
		Project, Environment, Tenant, Action, By string
		Now                                      time.Time
	}](t, v.Given)
	active := deployment.Active(given.Freezes, given.Project, given.Environment, given.Tenant, given.Now)
	got := "allowed"
	if err := deployment.CheckFreezes(active, nil, ""); err != nil && !deployment.FreezesLetThrough(given.Action == "run-runbook", given.By) {
		got = "refused"
		if given.Action == "start" {
			got = "task-failed"
		}
	}
	same(t, read[struct{ Result string }](t, v.Expect).Result, got)
}
