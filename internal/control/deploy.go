package control

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/release"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/store"
	"github.com/octavo/octavo/internal/variable"
)

// Deploy is the kind of the task that carries a deployment out.
const Deploy = "Deploy"

// NewDeployments is the body of POST deployments/create/untenanted/v1 (rest-api.md 3).
type NewDeployments struct {
	SpaceId                        string
	SpaceIdOrName                  string
	ProjectName                    string
	ProjectId                      string
	ReleaseVersion                 string
	EnvironmentNames               []string
	RunAt                          *resource.Time
	NoRunAfter                     *resource.Time
	ForcePackageDownload           bool
	ForcePackageRedeployment       bool
	UpdateVariableSnapshot         bool
	UseGuidedFailure               *bool
	Variables                      map[string]string
	SpecificMachineNames           []string
	ExcludedMachineNames           []string
	SpecificTargetTagNames         []string
	ExcludedTargetTagNames         []string
	SkipStepNames                  []string
	DeploymentFreezeNames          []string
	DeploymentFreezeOverrideReason string
	Priority                       string
	DebugMode                      bool
	Comments                       string
}

// DeploymentTask is one deployment that was made, and the task that carries it out.
type DeploymentTask struct {
	DeploymentId string
	ServerTaskId string
}

// DeploymentsCreated is the answer.
type DeploymentsCreated struct{ DeploymentServerTasks []DeploymentTask }

// CreateDeployments deploys a release to environments, one deployment each, all or none (rest-api.md 3).
func (c *Control) CreateDeployments(ctx context.Context, space string, n NewDeployments) (DeploymentsCreated, error) {
	var made DeploymentsCreated
	err := c.DB.InTx(ctx, func(tx *db.Tx) error {
		made = DeploymentsCreated{}
		what := n.ProjectName
		if what == "" {
			what = n.ProjectId
		}
		p, err := projectNamed(ctx, tx, space, what)
		if err != nil {
			return err
		}
		if n.ReleaseVersion == "" {
			return fault.InvalidField("ReleaseVersion", "Please say which release to deploy (ReleaseVersion).")
		}
		o, err := releaseOf(ctx, tx, space, p.Id, n.ReleaseVersion)
		if fault.KindOf(err) == fault.NotFound {
			return fault.InvalidField("ReleaseVersion", "The project '%s' has no release '%s'.", p.Name, n.ReleaseVersion)
		}
		if err != nil {
			return err
		}
		r, err := resource.View[release.Release](o)
		if err != nil {
			return err
		}
		if n.UpdateVariableSnapshot {
			if r, err = c.renewVariables(ctx, tx, p, o); err != nil {
				return err
			}
		}
		for _, name := range n.EnvironmentNames {
			o, ok, err := findNamed(ctx, tx, Environments, space, name, nil)
			if err != nil {
				return err
			}
			if !ok {
				return fault.InvalidField("EnvironmentNames", "There is no environment '%s' in this space.", name)
			}
			e, err := resource.View[environment.Environment](o)
			if err != nil {
				return err
			}
			one, err := c.deploy(ctx, tx, p, r, e, n)
			if err != nil {
				return err
			}
			made.DeploymentServerTasks = append(made.DeploymentServerTasks, one)
		}
		return nil
	})
	return made, err
}

// CreateDeploymentFrom makes a deployment of the older POST deployments, whose body is a deployment.
func (c *Control) CreateDeploymentFrom(ctx context.Context, space string, d deployment.Deployment, guidedFailure *bool) (resource.Object, error) {
	if d.TenantId != "" {
		return nil, fault.InvalidField("TenantId", "Deployments for tenants are not supported by this version; leave TenantId out.")
	}
	n := NewDeployments{
		RunAt: d.QueueTime, NoRunAfter: d.QueueTimeExpiry, ForcePackageDownload: d.ForcePackageDownload, ForcePackageRedeployment: d.ForcePackageRedeployment, UseGuidedFailure: guidedFailure,
		Variables: map[string]string{}, SpecificMachineNames: d.SpecificMachineIds, ExcludedMachineNames: d.ExcludedMachineIds, SpecificTargetTagNames: d.SpecificTargetTagIds,
		ExcludedTargetTagNames: d.ExcludedTargetTagIds, SkipStepNames: d.SkipActions, Priority: d.Priority, DebugMode: d.DebugMode, Comments: d.Comments,
	}
	for name, v := range d.FormValues {
		n.Variables[name] = v.Value
		if v.Sensitive != nil && v.Sensitive.NewValue != nil {
			n.Variables[name] = *v.Sensitive.NewValue
		}
	}
	var made DeploymentTask
	err := c.DB.InTx(ctx, func(tx *db.Tx) error {
		o, err := store.Get(ctx, tx, &Releases.Kind, space, d.ReleaseId)
		if fault.KindOf(err) == fault.NotFound {
			return fault.InvalidField("ReleaseId", "There is no release '%s' in this space.", d.ReleaseId)
		}
		if err != nil {
			return err
		}
		r, err := resource.View[release.Release](o)
		if err != nil {
			return err
		}
		p, err := store.View[project.Project](ctx, tx, r.ProjectId)
		if err != nil {
			return err
		}
		o, err = store.Get(ctx, tx, &Environments.Kind, space, d.EnvironmentId)
		if fault.KindOf(err) == fault.NotFound {
			return fault.InvalidField("EnvironmentId", "There is no environment '%s' in this space.", d.EnvironmentId)
		}
		if err != nil {
			return err
		}
		e, err := resource.View[environment.Environment](o)
		if err != nil {
			return err
		}
		made, err = c.deploy(ctx, tx, p, r, e, n)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c.Get(ctx, Deployments, space, made.DeploymentId)
}

// renewVariables gives a release a new frozen copy of the project's variables.
func (c *Control) renewVariables(ctx context.Context, tx *db.Tx, p project.Project, o resource.Object) (release.Release, error) {
	frozen, err := freeze(ctx, tx, VariableSets, variableSetID(p.Id))
	if err != nil {
		return release.Release{}, err
	}
	old, err := store.Lock(ctx, tx, &Releases.Kind, p.SpaceId, o.Text("Id"))
	if err != nil {
		return release.Release{}, err
	}
	before := old.Text("ProjectVariableSetSnapshotId")
	changed := old.Clone()
	changed["ProjectVariableSetSnapshotId"] = frozen
	stored, err := store.Update(ctx, tx, &Releases.Kind, old, changed)
	if err != nil {
		return release.Release{}, err
	}
	if before != frozen {
		// Deployments made before still name the old copy, so it stays as long as the release does.
		if err := Event(ctx, tx, p.SpaceId, "Modified", "The variables of release "+old.Text("Version")+" were updated", old.Text("Id"), p.Id); err != nil {
			return release.Release{}, err
		}
	}
	return resource.View[release.Release](stored)
}

// deploy makes one deployment: the document, its task and its event in one transaction.
func (c *Control) deploy(ctx context.Context, tx *db.Tx, p project.Project, r release.Release, e environment.Environment, n NewDeployments) (DeploymentTask, error) {
	if p.IsDisabled {
		return DeploymentTask{}, fault.Invalidf("The project '%s' is disabled; nothing of it can be deployed.", p.Name)
	}
	if p.TenantedDeploymentMode == project.Tenanted {
		return DeploymentTask{}, fault.Invalidf("The project '%s' can be deployed for tenants only.", p.Name)
	}
	if err := c.mayGoTo(ctx, tx, p, r, e); err != nil {
		return DeploymentTask{}, err
	}
	process, err := store.View[project.Process](ctx, tx, r.ProjectDeploymentProcessSnapshotId)
	if err != nil {
		return DeploymentTask{}, err
	}
	machines, err := store.Views[machine.Machine](ctx, tx, &Machines.Kind, store.Query{Spaces: []string{p.SpaceId}, Filters: map[string][]string{"environmentIds": {e.Id}}})
	if err != nil {
		return DeploymentTask{}, err
	}
	settings, err := store.View[project.DeploymentSettings](ctx, tx, settingsID(p.Id))
	if err != nil {
		return DeploymentTask{}, err
	}
	request, err := c.request(ctx, tx, p, settings, r, e, process, machines, n)
	if err != nil {
		return DeploymentTask{}, err
	}
	err = deployment.Check(deployment.Input{
		Process: process, Request: request, ChannelId: r.ChannelId, Machines: machines, Connectivity: p.ProjectConnectivityPolicy, Packages: r.SelectedPackages,
	})
	if err != nil {
		return DeploymentTask{}, err
	}
	id, err := db.NextID(ctx, tx, Deployments.Prefix)
	if err != nil {
		return DeploymentTask{}, err
	}
	priority, err := c.priority(ctx, tx, p, r, e, n.Priority)
	if err != nil {
		return DeploymentTask{}, err
	}
	turn, err := turnOf(ctx, tx, p, r, e, request)
	if err != nil {
		return DeploymentTask{}, err
	}
	push := cluster.NewTask{
		SpaceId: p.SpaceId, Kind: Deploy, Description: fmt.Sprintf("Deploy %s release %s to %s", p.Name, r.Version, e.Name), Arguments: map[string]any{"DeploymentId": id},
		Turn: turn, Priority: priority, Labels: labelsOf(p, e), ProjectId: p.Id, EnvironmentId: e.Id,
	}
	if request.QueueTime != nil {
		push.QueueTime = request.QueueTime.Time
	}
	if request.QueueTimeExpiry != nil {
		push.QueueTimeExpiry = request.QueueTimeExpiry.Time
	}
	t, err := cluster.Push(ctx, tx, push)
	if err != nil {
		return DeploymentTask{}, err
	}
	request.TaskId = t.Id
	d := deployment.Deployment{
		ReleaseId: r.Id, ChannelId: r.ChannelId, Request: request, DeploymentProcessId: r.ProjectDeploymentProcessSnapshotId, ForcePackageRedeployment: n.ForcePackageRedeployment, Priority: n.Priority,
	}
	d.Id = id
	if d.TentacleRetentionPeriod, err = retentionOnTargets(ctx, tx, p, r, e.Id); err != nil {
		return DeploymentTask{}, err
	}
	o, err := resource.ObjectOf(d)
	if err != nil {
		return DeploymentTask{}, err
	}
	if _, err := c.insert(ctx, tx, Deployments, p.SpaceId, o, ""); err != nil {
		return DeploymentTask{}, err
	}
	if err := supersede(ctx, tx, settings, t, request); err != nil {
		return DeploymentTask{}, err
	}
	return DeploymentTask{id, t.Id}, Event(ctx, tx, p.SpaceId, "DeploymentQueued", t.Description+" was queued", id, p.Id, r.Id, e.Id, t.Id, r.ChannelId)
}

// retentionOnTargets is the phase's policy for old installations; it stays with the deployment (deployments.md K8, K20).
func retentionOnTargets(ctx context.Context, tx *db.Tx, p project.Project, r release.Release, environmentID string) (*environment.RetentionPolicy, error) {
	j, err := journeyOf(ctx, tx, p, r)
	if err != nil {
		return nil, err
	}
	forever := environment.RetentionPolicy{Strategy: environment.RetainForever, ShouldKeepForever: true}
	policy, ok := j.lifecycle.TentacleRetention(environmentID, j.ids(), forever)
	if !ok {
		policy = forever
	}
	return &policy, nil
}

// request turns names into ids and settings into decisions.
func (c *Control) request(ctx context.Context, tx *db.Tx, p project.Project, settings project.DeploymentSettings, r release.Release, e environment.Environment, process project.Process, machines []machine.Machine, n NewDeployments) (deployment.Request, error) {
	a := access.From(ctx)
	q := deployment.Request{
		ProjectId: p.Id, EnvironmentId: e.Id, Name: "Deploy to " + e.Name, Created: resource.Time{Time: tx.Now}, DeployedBy: a.Username, DeployedById: a.UserId, ManifestVariableSetId: r.ProjectVariableSetSnapshotId,
		Comments: n.Comments, QueueTime: n.RunAt, QueueTimeExpiry: n.NoRunAfter, SpecificTargetTagIds: n.SpecificTargetTagNames, ExcludedTargetTagIds: n.ExcludedTargetTagNames,
		ForcePackageDownload: n.ForcePackageDownload, DebugMode: n.DebugMode, DeploymentFreezeNames: n.DeploymentFreezeNames, DeploymentFreezeOverrideReason: n.DeploymentFreezeOverrideReason,
		FormValues: resource.Properties{},
	}
	err := q.CheckTimes(tx.Now)
	if err != nil {
		return q, err
	}
	q.ForcePackageDownload = q.ForcePackageDownload || settings.ForcePackageDownload
	if q.SpecificMachineIds, err = machineIDs(machines, n.SpecificMachineNames, "SpecificMachineNames", e); err != nil {
		return q, err
	}
	if q.ExcludedMachineIds, err = machineIDs(machines, n.ExcludedMachineNames, "ExcludedMachineNames", e); err != nil {
		return q, err
	}
	q.SkipActions = skips(process, n.SkipStepNames)
	if err := c.answerPrompts(ctx, tx, p, r, e, process, n.Variables, &q); err != nil {
		return q, err
	}
	q.UseGuidedFailure, err = guided(ctx, tx, p, r, e, &q, n.UseGuidedFailure)
	return q, err
}

func machineIDs(machines []machine.Machine, names []string, member string, e environment.Environment) ([]string, error) {
	var ids []string
	for _, name := range names {
		i := slices.IndexFunc(machines, func(m machine.Machine) bool { return strings.EqualFold(m.Name, name) || strings.EqualFold(m.Id, name) })
		if i < 0 {
			return nil, fault.InvalidField(member, "There is no deployment target '%s' in the environment '%s'.", name, e.Name)
		}
		ids = append(ids, machines[i].Id)
	}
	return ids, nil
}

// skips finds the actions of the steps named; a name nobody has is no error (rest-api.md 3).
func skips(process project.Process, names []string) []string {
	var ids []string
	for _, step := range process.Steps {
		for _, a := range step.Actions {
			if slices.ContainsFunc(names, func(n string) bool {
				return strings.EqualFold(n, step.Name) || strings.EqualFold(n, a.Name) || strings.EqualFold(n, a.Id) || strings.EqualFold(n, a.Slug)
			}) {
				ids = append(ids, a.Id)
			}
		}
	}
	return ids
}

// answerPrompts matches the values given with the prompts of the release's variables (variables.md 7).
func (c *Control) answerPrompts(ctx context.Context, tx *db.Tx, p project.Project, r release.Release, e environment.Environment, process project.Process, given map[string]string, q *deployment.Request) error {
	set, err := store.View[variable.VariableSet](ctx, tx, r.ProjectVariableSetSnapshotId)
	if err != nil {
		return err
	}
	var candidates []variable.Candidate
	for _, v := range set.Variables {
		candidates = append(candidates, variable.Candidate{Variable: v, Source: variable.SourceProject})
	}
	questions := variable.Questions(candidates, variable.Context{Environment: e.Id, Channel: r.ChannelId, ProcessOwner: p.Id, Project: p.Id})
	values, _, err := variable.Answer(questions, given)
	if err != nil {
		return err
	}
	for _, asked := range questions {
		value, has := values[asked.Variable.Id]
		switch {
		case !has:
		case asked.Variable.Sensitive():
			q.FormValues[asked.Variable.Id] = resource.PropertyValue{Sensitive: &resource.SensitiveValue{HasValue: true, NewValue: &value}}
		default:
			q.FormValues[asked.Variable.Id] = resource.PropertyValue{Value: value}
		}
	}
	return nil
}

// priority decides whether a deployment goes before others (deployments.md L12).
func (c *Control) priority(ctx context.Context, tx *db.Tx, p project.Project, r release.Release, e environment.Environment, asked string) (bool, error) {
	switch {
	case strings.EqualFold(asked, deployment.PriorityOn):
		return true, nil
	case strings.EqualFold(asked, deployment.PriorityOff):
		return false, nil
	case asked != "" && !strings.EqualFold(asked, deployment.PriorityLifecycleDefault):
		return false, fault.InvalidField("Priority", "Priority must be LifecycleDefault, On or Off, not '%s'.", asked)
	}
	j, err := journeyOf(ctx, tx, p, r)
	if err != nil {
		return false, err
	}
	phase, _ := j.lifecycle.PhaseOf(e.Id, j.ids())
	return phase.IsPriorityPhase, nil
}

// lifecycleOf is the channel's lifecycle, or the project's where the channel has none.
func lifecycleOf(ctx context.Context, tx *db.Tx, p project.Project, channelID string) (environment.Lifecycle, error) {
	ch, err := store.View[project.Channel](ctx, tx, channelID)
	if err != nil {
		return environment.Lifecycle{}, err
	}
	id := ch.LifecycleId
	if id == "" {
		id = p.LifecycleId
	}
	return store.View[environment.Lifecycle](ctx, tx, id)
}
