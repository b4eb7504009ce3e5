package control

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/feed"
	"github.com/octavo/octavo/internal/id"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/release"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/secret"
	"github.com/octavo/octavo/internal/store"
)

// gone is the state of a deployment whose task is not there any more: it has ended, nobody knows how.
const gone = "Unknown"

// OldReleases are a project's releases as retention looks at them, all of one moment.
type OldReleases struct {
	deployment.ReleaseRetention
	Versions    map[string]string   // by release id
	Deployments map[string][]string // ids, by release id
}

// OldReleasesOf reads the releases of a project and where they have been. A policy Default of a lifecycle is the space's,
// which keeps everything. Who uses them is for the caller to say (Referenced).
func OldReleasesOf(ctx context.Context, tx *db.Tx, p project.Project) (OldReleases, error) {
	out := OldReleases{Versions: map[string]string{}, Deployments: map[string][]string{}}
	out.Now, out.Discrete = tx.Now, p.DiscreteChannelRelease
	out.Space = environment.RetentionPolicy{Strategy: environment.RetainForever, ShouldKeepForever: true}
	of := store.Query{Spaces: []string{p.SpaceId}, Filters: map[string][]string{"projectId": {p.Id}}, Newest: true}
	releases, err := store.Views[release.Release](ctx, tx, &Releases.Kind, of)
	if err != nil || len(releases) == 0 {
		return out, err
	}
	lifecycles := map[string]*environment.Lifecycle{}
	for _, r := range releases {
		out.Releases = append(out.Releases, deployment.OldRelease{Id: r.Id, ChannelId: r.ChannelId, Assembled: r.Assembled.Time})
		out.Versions[r.Id] = r.Version
		if lifecycles[r.ChannelId] == nil {
			l, err := lifecycleOf(ctx, tx, p, r.ChannelId)
			if err != nil {
				return out, err
			}
			lifecycles[r.ChannelId] = &l
		}
	}
	slices.SortStableFunc(out.Releases, func(a, b deployment.OldRelease) int { return b.Assembled.Compare(a.Assembled) }) // K1
	// Channels that share a lifecycle share its counters, so they need the same pointer (K4, K9).
	same := map[string]*environment.Lifecycle{}
	for channel, l := range lifecycles {
		if same[l.Id] == nil {
			same[l.Id] = l
		}
		lifecycles[channel] = same[l.Id]
	}
	out.Lifecycle = func(channel string) *environment.Lifecycle { return lifecycles[channel] }
	environments, err := store.Views[environment.Environment](ctx, tx, &Environments.Kind, store.Query{Spaces: []string{p.SpaceId}})
	if err != nil {
		return out, err
	}
	for _, e := range environments {
		out.Environments = append(out.Environments, e.Id)
	}
	deployments, err := store.Views[deployment.Deployment](ctx, tx, &Deployments.Kind, store.Query{Spaces: []string{p.SpaceId}, Filters: map[string][]string{"projects": {p.Id}}, Newest: true})
	if err != nil {
		return out, err
	}
	tasks, err := tasksOf(ctx, tx, deployments)
	if err != nil {
		return out, err
	}
	for _, d := range deployments {
		out.Deployments[d.ReleaseId] = append(out.Deployments[d.ReleaseId], d.Id)
		past := deployment.Past{
			Id: d.Id, ReleaseId: d.ReleaseId, ProjectId: d.ProjectId, EnvironmentId: d.EnvironmentId, TenantId: d.TenantId, ChannelId: d.ChannelId, Created: d.Created.Time, State: gone,
		}
		if t, has := tasks[d.TaskId]; has {
			past.State, past.QueueTime = t.Wire(), t.QueueTime
			if t.StartTime != nil {
				past.StartTime = *t.StartTime
			}
		}
		out.ReleaseRetention.Deployments = append(out.ReleaseRetention.Deployments, past)
	}
	return out, nil
}

// tasksOf reads the tasks of deployments, some at a time.
func tasksOf(ctx context.Context, tx *db.Tx, deployments []deployment.Deployment) (map[string]cluster.Task, error) {
	out := map[string]cluster.Task{}
	for some := range slices.Chunk(deployments, 500) {
		ids := make([]string, len(some))
		for i, d := range some {
			ids[i] = d.TaskId
		}
		tasks, err := cluster.List(ctx, tx, cluster.Filter{Ids: ids})
		if err != nil {
			return nil, err
		}
		for _, t := range tasks {
			out[t.Id] = t
		}
	}
	return out, nil
}

// Uses are what the releases and projects of a space need: packages of the built-in feed (deployments.md K30), and releases
// of other projects (K12). A release that goes in the same round still counts; the next round sees that it is gone.
type Uses struct {
	packages map[string]bool // package id and version, in lower case
	versions map[string]bool // of packages whose id depends on variables: whatever has such a version may be meant
	releases map[string]bool // project id and version, in lower case
	named    map[string]bool // releases named by their id
	seen     map[string]bool // releases that were looked at
}

// Package tells whether some release needs a version.
func (u *Uses) Package(id, version string) bool {
	return u.packages[use(id, version)] || u.versions[strings.ToLower(version)]
}

// Release tells whether another project's release deploys this one, or a project's trigger is told to.
func (u *Uses) Release(projectID, id, version string) bool {
	return u.named[id] || u.releases[use(projectID, version)]
}

func use(name, version string) string { return strings.ToLower(name + " " + version) }

// NewUses begins to gather uses.
func NewUses() *Uses {
	return &Uses{packages: map[string]bool{}, versions: map[string]bool{}, releases: map[string]bool{}, named: map[string]bool{}, seen: map[string]bool{}}
}

// AddProject notes what a project itself names (K12).
func (u *Uses) AddProject(p project.Project) {
	for _, o := range p.AutoDeployReleaseOverrides {
		u.named[o.ReleaseId] = true
	}
}

// AddReleases notes what the next releases of a space need, the newest first, those below a number; 0 begins with the
// newest of all. It gives where to go on, 0 when there are no more.
func (u *Uses) AddReleases(ctx context.Context, tx *db.Tx, space string, below int64, take int) (next int64, err error) {
	releases, err := store.Views[release.Release](ctx, tx, &Releases.Kind, store.Query{Spaces: []string{space}, Newest: true, Below: below, Take: take})
	if err != nil {
		return 0, err
	}
	for _, r := range releases {
		_, number, ok := id.Split(r.Id)
		if !ok {
			return 0, fmt.Errorf("the release id %q has no number", r.Id)
		}
		if next = number; u.seen[r.Id] {
			continue
		}
		process, err := store.View[project.Process](ctx, tx, r.ProjectDeploymentProcessSnapshotId)
		if err != nil && fault.KindOf(err) != fault.NotFound { // without it nothing of the release can be deployed
			return 0, err
		}
		for _, s := range r.SelectedPackages {
			u.add(process, s)
		}
		u.seen[r.Id] = true
	}
	if len(releases) < take {
		next = 0
	}
	return next, nil
}

// AddNewReleases notes what releases need that were made since: in the transaction of a deletion, since time goes by
// between the look and the deed.
func (u *Uses) AddNewReleases(ctx context.Context, tx *db.Tx, space string) error {
	for below, more := int64(0), true; more; {
		known := len(u.seen)
		next, err := u.AddReleases(ctx, tx, space, below, 50)
		if err != nil {
			return err
		}
		below, more = next, next > 0 && len(u.seen) > known
	}
	return nil
}

// add finds what a selected version is a version of. Names are compared as generously as can be: to keep too much is no harm.
func (u *Uses) add(process project.Process, s release.SelectedPackage) {
	for _, step := range process.Steps {
		for _, a := range step.Actions {
			if !strings.EqualFold(a.Name, s.ActionName) && !strings.EqualFold(step.Name, s.StepName) {
				continue
			}
			if a.ActionType == project.TypeDeployRelease {
				u.releases[use(a.Properties.Get(PropDeployReleaseProject), s.Version)] = true
			}
			for _, p := range a.References() {
				u.packages[use(p.PackageId, s.Version)] = true
				if strings.Contains(p.PackageId, "#{") {
					u.versions[strings.ToLower(s.Version)] = true
				}
				if a.ActionType == project.TypeDeployRelease {
					u.releases[use(p.PackageId, s.Version)] = true
				}
			}
		}
	}
}

// PropDeployReleaseProject names the project that a deploy-release step deploys.
const PropDeployReleaseProject = "Octopus.Action.DeployRelease.ProjectId"

// A release goes in several transactions, since it may have thousands of deployments and SQLite has one writer: first all is
// looked at (DeploymentsToForget), then the oldest deployments go, some at a time (ForgetDeployments), then the release with those
// that are left (ForgetRelease). Each of them looks again (K11), and gives the tasks of the deployments that went, for the
// caller to forget in the same transaction. judged are the deployments that were looked at when the release was found to be
// old: with one more since, or one that has not ended, nothing is done and why says so. After a death in between, the newest
// deployments are still there to judge the release by, so that it is found to be old again.

// OldDeployment is one that goes.
type OldDeployment struct {
	Id        string //nolint:revive // as on the wire
	variables string // the frozen copy that no newer one of the release names
}

// DeploymentsToForget lists a release's deployments, the oldest first, and their tasks; why is a reason that the release stays.
func DeploymentsToForget(ctx context.Context, tx *db.Tx, space, releaseID string, judged []string) (old []OldDeployment, tasks []string, why string, err error) {
	deployments, err := store.Views[deployment.Deployment](ctx, tx, &Deployments.Kind, deploymentsOf(space, releaseID))
	if err != nil {
		return nil, nil, "", err
	}
	if tasks, why, err = endedTasks(ctx, tx, deployments, judged); err != nil || why != "" {
		return nil, nil, why, err
	}
	named := map[string]bool{}
	for _, d := range deployments {
		o := OldDeployment{Id: d.Id}
		if !named[d.ManifestVariableSetId] {
			o.variables = d.ManifestVariableSetId
		}
		named[d.ManifestVariableSetId] = true
		old = append(old, o)
	}
	slices.Reverse(old)
	users, err := store.Users(ctx, tx, releaseID)
	users = slices.DeleteFunc(users, func(u store.User) bool { return u.Kind == Deployments.Name })
	if len(users) > 0 {
		return nil, nil, strings.TrimSuffix(store.InUse(releaseID, users).Error(), "."), err
	}
	return old, tasks, "", err
}

// deploymentsOf asks for the deployments of a release, the newest first.
func deploymentsOf(space, releaseID string) store.Query {
	return store.Query{Spaces: []string{space}, Filters: map[string][]string{"release": {releaseID}}, Newest: true}
}

// endedTasks gives the tasks of deployments that were judged and have ended, or why some may not go (K11).
func endedTasks(ctx context.Context, tx *db.Tx, deployments []deployment.Deployment, judged []string) (tasks []string, why string, err error) {
	known := map[string]bool{}
	for _, id := range judged {
		known[id] = true
	}
	of, err := tasksOf(ctx, tx, deployments)
	if err != nil {
		return nil, "", err
	}
	for _, d := range deployments {
		t, has := of[d.TaskId]
		switch {
		case !known[d.Id]:
			return nil, "it was deployed a moment ago", nil
		case has && !t.State.Ended():
			return nil, t.Id + " has not ended", nil
		case has:
			tasks = append(tasks, t.Id)
		}
	}
	return tasks, "", nil
}

// ForgetDeployments deletes some of a release's deployments, the oldest ones.
func ForgetDeployments(ctx context.Context, tx *db.Tx, space, releaseID string, old []OldDeployment, judged []string) (tasks []string, why string, err error) {
	_, err = store.Lock(ctx, tx, &Releases.Kind, space, releaseID)
	if fault.KindOf(err) == fault.NotFound {
		return nil, "", nil // somebody else deleted it, and them with it
	}
	if err != nil {
		return nil, "", err
	}
	newest := deploymentsOf(space, releaseID)
	newest.Take = 1
	latest, err := store.Views[deployment.Deployment](ctx, tx, &Deployments.Kind, newest)
	if err != nil {
		return nil, "", err
	}
	if len(latest) > 0 && !slices.Contains(judged, latest[0].Id) {
		return nil, "it was deployed a moment ago", nil
	}
	var ids, variables []string
	for _, o := range old {
		ids, variables = append(ids, o.Id), append(variables, o.variables)
	}
	some := store.Query{Spaces: []string{space}, Ids: ids}
	deployments, err := store.Views[deployment.Deployment](ctx, tx, &Deployments.Kind, some)
	if err != nil {
		return nil, "", err
	}
	if tasks, why, err = endedTasks(ctx, tx, deployments, judged); err != nil || why != "" {
		return nil, why, err
	}
	objects, _, err := store.List(ctx, tx, &Deployments.Kind, some)
	if err != nil {
		return nil, "", err
	}
	for _, d := range objects {
		if err := dropSecrets(ctx, tx, space, d); err != nil {
			return nil, "", err
		}
		if err := store.Delete(ctx, tx, d.Text("Id")); err != nil {
			return nil, "", err
		}
	}
	return tasks, "", dropManifests(ctx, tx, space, variables)
}

// dropManifests deletes the frozen variables that only deployments named, which are gone: copies that were renewed since.
func dropManifests(ctx context.Context, tx *db.Tx, space string, variables []string) error {
	slices.Sort(variables)
	for _, id := range slices.Compact(variables) {
		if err := dropFrozen(ctx, tx, space, map[string]string{"variables": id}); err != nil {
			return err
		}
	}
	return nil
}

// ForgetRelease deletes a release for retention, with its deployments and the frozen copies that nobody else uses (deployments.md
// K13).
func ForgetRelease(ctx context.Context, tx *db.Tx, space, releaseID string, judged []string) (tasks []string, why string, err error) {
	old, err := store.Lock(ctx, tx, &Releases.Kind, space, releaseID)
	if fault.KindOf(err) == fault.NotFound {
		return nil, "", nil // somebody else deleted it
	}
	if err != nil {
		return nil, "", err
	}
	objects, _, err := store.List(ctx, tx, &Deployments.Kind, deploymentsOf(space, releaseID))
	if err != nil {
		return nil, "", err
	}
	var deployments []deployment.Deployment
	var variables []string
	for _, o := range objects {
		d, err := resource.View[deployment.Deployment](o)
		if err != nil {
			return nil, "", err
		}
		deployments, variables = append(deployments, d), append(variables, d.ManifestVariableSetId)
	}
	if tasks, why, err = endedTasks(ctx, tx, deployments, judged); err != nil || why != "" {
		return nil, why, err
	}
	for _, d := range objects {
		if err := dropSecrets(ctx, tx, space, d); err != nil {
			return nil, "", err
		}
	}
	if err := (&Control{}).remove(ctx, tx, Releases, old); err != nil {
		if fault.KindOf(err) == fault.Invalid { // in use by something that is no deployment
			return nil, "", fault.Because(fault.Invalidf("The release %s cannot be deleted: %v", old.Text("Version"), err), err)
		}
		return nil, "", err
	}
	return tasks, "", dropManifests(ctx, tx, space, variables)
}

// dropSecrets deletes the answers to prompts that a deployment kept.
func dropSecrets(ctx context.Context, tx *db.Tx, space string, d resource.Object) error {
	return resource.EachSensitive(Deployments.Type, d, func(_ string, m map[string]any) error {
		id, _ := m["SecretId"].(string)
		if id == "" {
			return nil
		}
		return secret.Delete(ctx, tx, space, id)
	})
}

// TasksOfDeployments tells which of some tasks belong to deployments that are there: they go with their releases, not before.
func TasksOfDeployments(ctx context.Context, tx *db.Tx, tasks []string) (map[string]bool, error) {
	deployments, err := store.Views[deployment.Deployment](ctx, tx, &Deployments.Kind, store.Query{Filters: map[string][]string{"task": tasks}})
	out := map[string]bool{}
	for _, d := range deployments {
		out[d.TaskId] = true
	}
	return out, err
}

// ForgetTasks deletes what people were asked by tasks that go. The audit trail keeps what they answered.
func ForgetTasks(ctx context.Context, tx *db.Tx, tasks []string) error {
	args := make([]any, len(tasks))
	for i, t := range tasks {
		args[i] = t
	}
	of := " FROM interruption WHERE task IN (" + db.List(1, len(args)) + ")"
	if _, err := tx.ExecContext(ctx, "DELETE FROM interruption_document WHERE number IN (SELECT number"+of+")", args...); err != nil {
		return fmt.Errorf("forget interruptions: %w", err)
	}
	if _, err := tx.ExecContext(ctx, "DELETE"+of, args...); err != nil {
		return fmt.Errorf("forget interruptions: %w", err)
	}
	return nil
}

// PackageDays tells for how many days a space keeps packages that nothing uses; 0 is for ever (deployments.md K30).
func PackageDays(ctx context.Context, tx *db.Tx, space string) (int, error) {
	f, err := store.View[Feed](ctx, tx, builtInFeedID(space))
	return f.DeleteUnreleasedPackagesAfterDays, err
}

// HoldPackages waits for releases that are being made and may have chosen packages of the built-in feed, and lets no more
// choose until the transaction ends. It comes before the look at what new releases need.
func HoldPackages(ctx context.Context, tx *db.Tx, space string) error {
	_, err := store.Lock(ctx, tx, &Feeds.Kind, space, builtInFeedID(space))
	return err
}

// ForgetPackage deletes a package for retention, under HoldPackages; its content follows after a grace.
func ForgetPackage(ctx context.Context, tx *db.Tx, space, id string) error {
	err := feed.Delete(ctx, tx, space, id)
	if fault.KindOf(err) == fault.NotFound {
		return nil // somebody else deleted it
	}
	if err != nil {
		return err
	}
	return Event(ctx, tx, space, "Deleted", "Package "+strings.TrimPrefix(id, "packages-")+" was deleted by retention", id)
}

// ForgetMachine deletes a machine or worker that its policy gives up; whom the hub trusts goes with it (deployments.md M2).
func ForgetMachine(ctx context.Context, tx *db.Tx, id string) error {
	for _, k := range []*Kind{Machines, Workers} {
		old, err := store.Lock(ctx, tx, &k.Kind, "*", id)
		if err == nil {
			return (&Control{}).remove(ctx, tx, k, old)
		}
		if fault.KindOf(err) != fault.NotFound {
			return err
		}
	}
	return nil
}
