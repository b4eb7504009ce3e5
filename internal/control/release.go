package control

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/release"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/store"
	"github.com/octavo/octavo/internal/variable"
)

// maxVersion is the longest version of a release (rest-api.md 4).
const maxVersion = 349

// NewRelease is the body of POST releases/create/v1 (rest-api.md 3).
type NewRelease struct {
	SpaceId               string
	SpaceIdOrName         string
	ProjectName           string
	ProjectId             string
	ChannelName           string
	ChannelIdOrName       string
	ReleaseVersion        string
	PackageVersion        string
	Packages              []string
	PackagePrerelease     string
	GitRef                string
	GitCommit             string
	GitResources          []string
	ReleaseNotes          string
	IgnoreIfAlreadyExists bool
	IgnoreChannelRules    bool
	CustomFields          map[string]string

	SelectedPackages []release.SelectedPackage `json:"-"` // of the older POST releases
}

// ReleaseCreated is its answer.
type ReleaseCreated struct {
	ReleaseId      string
	ReleaseVersion string
}

// findNamed finds one by id, slug or name, whatever the name's case.
func findNamed(ctx context.Context, tx *db.Tx, k *Kind, space, what string, filters map[string][]string) (resource.Object, bool, error) {
	what = strings.TrimSpace(what)
	if what == "" {
		return nil, false, nil
	}
	q := store.Query{Spaces: []string{space}, Filters: filters}
	for _, by := range []func(*store.Query){
		func(q *store.Query) { q.Ids = []string{what} },
		func(q *store.Query) { q.Name = what },
		func(q *store.Query) { q.Slug = what },
	} {
		one := q
		by(&one)
		list, _, err := store.List(ctx, tx, &k.Kind, one)
		if err != nil {
			return nil, false, err
		}
		if len(list) > 0 {
			return list[0], true, nil
		}
	}
	return nil, false, nil
}

// projectNamed finds a project for a command, or refuses it by the member's name.
func projectNamed(ctx context.Context, tx *db.Tx, space, what string) (project.Project, error) {
	if strings.TrimSpace(what) == "" {
		return project.Project{}, fault.InvalidField("ProjectName", "Please name the project (ProjectName): its name, slug or id.")
	}
	o, ok, err := findNamed(ctx, tx, Projects, space, what, nil)
	if err != nil {
		return project.Project{}, err
	}
	if !ok {
		return project.Project{}, fault.InvalidField("ProjectName", "There is no project '%s' in this space.", what)
	}
	return resource.View[project.Project](o)
}

// CreateRelease makes a release: it chooses channel, packages and version, and freezes process and variables
// (deployments.md V1-V13).
func (c *Control) CreateRelease(ctx context.Context, space string, n NewRelease) (ReleaseCreated, error) {
	var made ReleaseCreated
	err := c.DB.InTx(ctx, func(tx *db.Tx) error {
		what := n.ProjectName
		if what == "" {
			what = n.ProjectId
		}
		p, err := projectNamed(ctx, tx, space, what)
		if err != nil {
			return err
		}
		made, err = c.createRelease(ctx, tx, p, n)
		return err
	})
	return made, err
}

// CreateReleaseFrom makes a release of the older POST releases, whose body is a release.
func (c *Control) CreateReleaseFrom(ctx context.Context, space string, r release.Release, ignoreRules bool) (resource.Object, error) {
	made, err := c.CreateRelease(ctx, space, NewRelease{
		ProjectName: r.ProjectId, ChannelName: r.ChannelId, ReleaseVersion: r.Version, ReleaseNotes: r.ReleaseNotes, IgnoreChannelRules: ignoreRules || r.IgnoreChannelRules,
		CustomFields: r.CustomFields, SelectedPackages: r.SelectedPackages,
	})
	if err != nil {
		return nil, err
	}
	return c.Get(ctx, Releases, space, made.ReleaseId)
}

func (c *Control) createRelease(ctx context.Context, tx *db.Tx, p project.Project, n NewRelease) (ReleaseCreated, error) {
	// One release of a project at a time: the next version is counted from those that are there.
	if _, err := store.Lock(ctx, tx, &Projects.Kind, p.SpaceId, p.Id); err != nil {
		return ReleaseCreated{}, err
	}
	switch {
	case p.IsDisabled:
		return ReleaseCreated{}, fault.Invalidf("The project '%s' is disabled; no release of it can be created.", p.Name)
	case n.GitRef != "" || n.GitCommit != "" || len(n.GitResources) > 0:
		return ReleaseCreated{}, fault.InvalidField("GitRef", "The project '%s' is not kept in Git, so GitRef, GitCommit and GitResources must be left out.", p.Name)
	}
	if n.IgnoreChannelRules && !p.AllowIgnoreChannelRules { // V12
		return ReleaseCreated{}, fault.InvalidField("IgnoreChannelRules", "The project '%s' does not let its channels' rules be ignored. Leave IgnoreChannelRules out, or set the project's AllowIgnoreChannelRules.", p.Name)
	}
	if err := release.CheckFields(n.CustomFields); err != nil {
		return ReleaseCreated{}, err
	}
	process, err := store.View[project.Process](ctx, tx, processID(p.Id))
	if err != nil {
		return ReleaseCreated{}, err
	}
	given, err := release.ParseGiven(n.PackageVersion, n.PackagePrerelease, n.Packages)
	if err != nil {
		return ReleaseCreated{}, err
	}
	for _, s := range n.SelectedPackages {
		given.Add(s)
	}
	channels, err := channelsOf(ctx, tx, p)
	if err != nil {
		return ReleaseCreated{}, err
	}
	channel, err := chooseChannel(channels, process, given, n)
	if err != nil {
		return ReleaseCreated{}, err
	}
	// What is chosen must not be deleted before others can see that this release needs it (HoldPackages).
	if _, err := store.Share(ctx, tx, &Feeds.Kind, p.SpaceId, builtInFeedID(p.SpaceId)); err != nil {
		return ReleaseCreated{}, err
	}
	selected, err := c.selectPackages(ctx, tx, p.SpaceId, process, channel, given, n.IgnoreChannelRules)
	if err != nil {
		return ReleaseCreated{}, err
	}
	existing, err := store.Views[release.Release](ctx, tx, &Releases.Kind, store.Query{Spaces: []string{p.SpaceId}, Filters: map[string][]string{"projectId": {p.Id}}, Newest: true})
	if err != nil {
		return ReleaseCreated{}, err
	}
	version, err := c.nextVersion(ctx, tx, p, n.ReleaseVersion, channel, channels, existing, selected)
	if err != nil {
		return ReleaseCreated{}, err
	}
	for _, r := range existing {
		if twin, is := release.Duplicate([]string{r.Version}, version); is {
			if n.IgnoreIfAlreadyExists {
				return ReleaseCreated{r.Id, r.Version}, nil
			}
			return ReleaseCreated{}, fault.InvalidField("ReleaseVersion", "Release version '%s' already exists for this project (as %s). Please use a different version number, or look at using a mask to auto-increment the number.", version, twin)
		}
	}
	frozenProcess, err := freeze(ctx, tx, Processes, processID(p.Id))
	if err != nil {
		return ReleaseCreated{}, err
	}
	frozenVariables, err := freeze(ctx, tx, VariableSets, variableSetID(p.Id))
	if err != nil {
		return ReleaseCreated{}, err
	}
	o, err := resource.ObjectOf(release.Release{
		Version: version, ProjectId: p.Id, ChannelId: channel.Id, ReleaseNotes: n.ReleaseNotes, Assembled: resource.Time{Time: tx.Now}, IgnoreChannelRules: n.IgnoreChannelRules,
		SelectedPackages: selected, ProjectVariableSetSnapshotId: frozenVariables, ProjectDeploymentProcessSnapshotId: frozenProcess, CustomFields: n.CustomFields,
	})
	if err != nil {
		return ReleaseCreated{}, err
	}
	if o, err = c.insert(ctx, tx, Releases, p.SpaceId, o, ""); err != nil {
		return ReleaseCreated{}, err
	}
	r, err := resource.View[release.Release](o)
	if err != nil {
		return ReleaseCreated{}, err
	}
	return ReleaseCreated{r.Id, version}, c.startAutomatic(ctx, tx, p, r, environment.Event{})
}

func channelsOf(ctx context.Context, tx *db.Tx, p project.Project) ([]project.Channel, error) {
	return store.Views[project.Channel](ctx, tx, &Channels.Kind, store.Query{Spaces: []string{p.SpaceId}, Filters: map[string][]string{"projectId": {p.Id}}})
}

// chooseChannel takes the channel named, or the best for the packages given (deployments.md V13).
func chooseChannel(channels []project.Channel, process project.Process, given release.Given, n NewRelease) (project.Channel, error) {
	what := n.ChannelName
	if what == "" {
		what = n.ChannelIdOrName
	}
	by := func(fits func(project.Channel) bool) (project.Channel, bool) {
		i := slices.IndexFunc(channels, fits)
		if i < 0 {
			return project.Channel{}, false
		}
		return channels[i], true
	}
	if what != "" {
		ch, ok := by(func(ch project.Channel) bool {
			return strings.EqualFold(ch.Id, what) || strings.EqualFold(ch.Name, what)
		})
		if !ok {
			return ch, fault.InvalidField("ChannelName", "The project has no channel '%s'.", what)
		}
		return ch, nil
	}
	var choice []release.Channel
	for _, ch := range channels {
		rules, err := rulesOf(ch)
		if err != nil {
			return ch, err
		}
		choice = append(choice, release.Channel{Id: ch.Id, IsDefault: ch.IsDefault, Rule: rules.find})
	}
	best, ok := release.ChooseChannel(choice, packageReferences(process, "", nil), given)
	ch, found := by(func(ch project.Channel) bool { return ch.Id == best })
	if !ok || !found {
		return ch, fault.InvalidField("ChannelName", "The project has no default channel; please name a channel (ChannelName).")
	}
	return ch, nil
}

// channelRules are a channel's rules by what they bind.
type channelRules map[[2]string]release.Rule

func rulesOf(ch project.Channel) (channelRules, error) {
	rules := channelRules{}
	for _, r := range ch.Rules {
		rule, err := release.NewRule(r.VersionRange, r.Tag, r.VersioningStrategy, r.VersionTagRegex)
		if err != nil {
			return nil, fault.Because(fault.Invalidf("The channel '%s' has a rule that cannot be used: %v", ch.Name, err), err)
		}
		for _, a := range r.ActionPackages {
			rules[ruleKey(a.DeploymentAction, a.PackageReference)] = rule
		}
	}
	return rules, nil
}

func ruleKey(action, reference string) [2]string {
	return [2]string{strings.ToLower(action), strings.ToLower(reference)}
}

func (r channelRules) find(action, reference string) (release.Rule, bool) {
	rule, ok := r[ruleKey(action, reference)]
	return rule, ok
}

// packageReferences lists what needs a version: every package of an action that takes part in the channel.
func packageReferences(process project.Process, channelID string, rules channelRules) []release.Reference {
	var refs []release.Reference
	for _, step := range process.Steps {
		for _, a := range step.Actions {
			if a.IsDisabled || (channelID != "" && len(a.Channels) > 0 && !slices.Contains(a.Channels, channelID)) {
				continue
			}
			packages := a.Packages
			if len(packages) == 0 && a.Properties.Get(project.PropPackageId) != "" { // how old clients write a primary package
				packages = []project.PackageReference{{PackageId: a.Properties.Get(project.PropPackageId), FeedId: a.Properties.Get(project.PropPackageFeedId)}}
			}
			for _, p := range packages {
				rule, _ := rules.find(a.Name, p.Name)
				refs = append(refs, release.Reference{
					ActionName: a.Name, StepName: step.Name, Name: p.Name, PackageId: p.PackageId, FeedId: p.FeedId, Fixed: p.Version,
					Resolvable: !strings.Contains(p.PackageId+p.FeedId, "#{"), Rule: rule,
				})
			}
		}
	}
	return refs
}

func (c *Control) selectPackages(ctx context.Context, tx *db.Tx, space string, process project.Process, channel project.Channel, given release.Given, ignoreRules bool) ([]release.SelectedPackage, error) {
	rules, err := rulesOf(channel)
	if err != nil {
		return nil, err
	}
	return release.Select(packageReferences(process, channel.Id, rules), given, ignoreRules, func(ref release.Reference) ([]release.Candidate, error) {
		return c.offers(ctx, tx, space, ref.FeedId, ref.PackageId)
	})
}

// nextVersion is the version asked for, the donor package's, or what the project's template gives (deployments.md V2-V4).
func (c *Control) nextVersion(ctx context.Context, tx *db.Tx, p project.Project, asked string, channel project.Channel, channels []project.Channel, existing []release.Release, selected []release.SelectedPackage) (string, error) {
	versions := make([]string, len(existing))
	for i, r := range existing {
		versions[i] = r.Version
	}
	version, err := asked, error(nil)
	switch donor := p.VersioningStrategy.DonorPackage; {
	case asked != "":
		version, err = release.ResolveMask(asked, versions)
	case donor != nil && donor.DeploymentAction != "":
		version, err = release.FromDonor(donor.DeploymentAction, donor.PackageReference, selected)
	default:
		fill := func(template string, vars map[string]string) (string, error) {
			d, err := c.projectDictionary(ctx, tx, p)
			if err != nil {
				return "", err
			}
			maps.Copy(d, vars)
			return variable.Evaluate(template, variable.FromMap(d))
		}
		version, err = release.FromTemplate(p.VersioningStrategy.Template, lastOf(channel, channels, existing), versions, tx.Now, fill)
	}
	if err != nil {
		return "", err
	}
	if len(version) > maxVersion {
		return "", fault.InvalidField("ReleaseVersion", "The version is too long: %d characters at most.", maxVersion)
	}
	if _, err := release.ParseVersion(version); err != nil {
		return "", fault.Because(fault.InvalidField("ReleaseVersion", "'%s' is not a version: %v", version, err), err)
	}
	return version, nil
}

// lastOf gathers what a version template may look back at; the releases are newest first.
func lastOf(channel project.Channel, channels []project.Channel, existing []release.Release) release.Last {
	last := release.Last{Name: channel.Name, Channels: map[string]string{}}
	for _, r := range existing {
		if last.Project == "" {
			last.Project = r.Version
		}
		i := slices.IndexFunc(channels, func(ch project.Channel) bool { return ch.Id == r.ChannelId })
		if i >= 0 && last.Channels[channels[i].Name] == "" {
			last.Channels[channels[i].Name] = r.Version
		}
	}
	last.Channel = last.Channels[channel.Name]
	return last
}

// projectDictionary is the project's own unscoped, plain values, which a version template may name.
func (c *Control) projectDictionary(ctx context.Context, tx *db.Tx, p project.Project) (map[string]string, error) {
	set, err := store.View[variable.VariableSet](ctx, tx, variableSetID(p.Id))
	if err != nil {
		return nil, err
	}
	d := map[string]string{"Octopus.Project.Name": p.Name, "Octopus.Project.Id": p.Id}
	for _, v := range set.Variables {
		if v.Scope.IsEmpty() && !v.Sensitive() {
			d[v.Name] = v.Text()
		}
	}
	return d, nil
}

// releaseLeaving takes a release's deployments and frozen copies away; one that is being deployed stays.
func releaseLeaving(ctx context.Context, tx *db.Tx, c *Change) error {
	deployments, _, err := store.List(ctx, tx, &Deployments.Kind, store.Query{Spaces: []string{c.Space}, Filters: map[string][]string{"release": {c.Old.Text("Id")}}})
	if err != nil {
		return err
	}
	for _, d := range deployments {
		t, err := taskOf(ctx, tx, "", d.Text("TaskId"))
		if err != nil && fault.KindOf(err) != fault.NotFound {
			return err
		}
		if err == nil && !t.State.Ended() {
			return fault.Invalidf("The release %s cannot be deleted while it is being deployed (%s). Wait for the deployment, or cancel it.", c.Old.Text("Version"), t.Id)
		}
		if err := store.Delete(ctx, tx, d.Text("Id")); err != nil {
			return err
		}
	}
	return nil
}

// releaseGone drops the frozen copies that only the deleted release used.
func releaseGone(ctx context.Context, tx *db.Tx, c *Change) error {
	return dropFrozen(ctx, tx, c.Space, map[string]string{
		"process": c.Old.Text("ProjectDeploymentProcessSnapshotId"), "variables": c.Old.Text("ProjectVariableSetSnapshotId"),
	})
}

// ReleaseOf finds a release of a project by its version.
func (c *Control) ReleaseOf(ctx context.Context, space, projectID, version string) (resource.Object, error) {
	var found resource.Object
	err := c.DB.Read(ctx, func(tx *db.Tx) error {
		p, err := store.Get(ctx, tx, &Projects.Kind, space, projectID)
		if err != nil {
			return err
		}
		found, err = releaseOf(ctx, tx, space, p.Text("Id"), version)
		return err
	})
	return found, err
}

func releaseOf(ctx context.Context, tx *db.Tx, space, projectID, version string) (resource.Object, error) {
	list, _, err := store.List(ctx, tx, &Releases.Kind, store.Query{Spaces: []string{space}, Filters: map[string][]string{"projectId": {projectID}, "version": {version}}})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fault.NotFoundf("The resource '%s' was not found.", version)
	}
	return list[0], nil
}

// Template is what a client needs to ask a person about a new release (rest-api.md 4: deploymentprocesses/template).
type Template struct {
	DeploymentProcessId            string
	LastReleaseVersion             *string
	NextVersionIncrement           string
	VersioningPackageStepName      *string
	VersioningPackageReferenceName *string
	Packages                       []TemplatePackage
	GitResources                   []resource.Object
	Links                          map[string]string
}

// TemplatePackage is one package a release needs a version of.
type TemplatePackage struct {
	StepName                   string
	ActionName                 string
	PackageReferenceName       string
	PackageId                  string
	FeedId                     string
	FeedName                   string
	ProjectName                string
	VersionSelectedLastRelease *string
	IsResolvable               bool
	FixedVersion               *string
}

// ReleaseTemplate says what a release of a process would need, in a channel.
func (c *Control) ReleaseTemplate(ctx context.Context, space, processDocument, channelID string) (Template, error) {
	t := Template{DeploymentProcessId: processDocument}
	err := c.DB.Read(ctx, func(tx *db.Tx) error {
		o, err := store.Get(ctx, tx, &Processes.Kind, space, processDocument)
		if err != nil {
			return err
		}
		process, err := resource.View[project.Process](o)
		if err != nil {
			return err
		}
		p, err := store.View[project.Project](ctx, tx, process.ProjectId)
		if err != nil {
			return err
		}
		channels, err := channelsOf(ctx, tx, p)
		if err != nil {
			return err
		}
		channel, err := chooseChannel(channels, process, release.Given{}, NewRelease{ChannelName: channelID})
		if err != nil {
			return err
		}
		existing, err := store.Views[release.Release](ctx, tx, &Releases.Kind, store.Query{Spaces: []string{p.SpaceId}, Filters: map[string][]string{"projectId": {p.Id}}, Newest: true})
		if err != nil {
			return err
		}
		var last *release.Release
		if len(existing) > 0 {
			last = &existing[0]
			t.LastReleaseVersion = &last.Version
		}
		if donor := p.VersioningStrategy.DonorPackage; donor != nil && donor.DeploymentAction != "" {
			t.VersioningPackageStepName, t.VersioningPackageReferenceName = &donor.DeploymentAction, &donor.PackageReference
		} else if t.NextVersionIncrement, err = c.nextVersion(ctx, tx, p, "", channel, channels, existing, nil); err != nil {
			t.NextVersionIncrement = "" // a template that cannot be filled in now is said when the release is made
		}
		for _, ref := range packageReferences(process, channel.Id, nil) {
			pkg := TemplatePackage{
				StepName: ref.StepName, ActionName: ref.ActionName, PackageReferenceName: ref.Name, PackageId: ref.PackageId, FeedId: ref.FeedId, ProjectName: p.Name, IsResolvable: ref.Resolvable,
			}
			if ref.Fixed != "" {
				pkg.FixedVersion = &ref.Fixed
			}
			if feed, err := store.Get(ctx, tx, &Feeds.Kind, space, ref.FeedId); err == nil {
				pkg.FeedName = feed.Text("Name")
			}
			if last != nil {
				for _, s := range last.SelectedPackages {
					if s.ActionName == ref.ActionName && s.PackageReferenceName == ref.Name {
						pkg.VersionSelectedLastRelease = &s.Version
					}
				}
			}
			t.Packages = append(t.Packages, pkg)
		}
		return nil
	})
	return t, err
}
