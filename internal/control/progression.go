package control

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/release"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/store"
)

// journey is what progression looks at: the lifecycle, the space's environments in their order, and where the release has been.
type journey struct {
	lifecycle    environment.Lifecycle
	environments []environment.Environment
	history      []environment.Deployed
}

func (j journey) ids() []string {
	ids := make([]string, len(j.environments))
	for i, e := range j.environments {
		ids[i] = e.Id
	}
	return ids
}

func journeyOf(ctx context.Context, tx *db.Tx, p project.Project, r release.Release) (journey, error) {
	var j journey
	var err error
	if j.lifecycle, err = lifecycleOf(ctx, tx, p, r.ChannelId); err != nil {
		return j, err
	}
	in := store.Query{Spaces: []string{p.SpaceId}}
	if j.environments, err = store.Views[environment.Environment](ctx, tx, &Environments.Kind, in); err != nil {
		return j, err
	}
	in.Filters, in.Newest = map[string][]string{"release": {r.Id}}, true
	deployments, err := store.Views[deployment.Deployment](ctx, tx, &Deployments.Kind, in)
	if err != nil || len(deployments) == 0 {
		return j, err
	}
	ids := make([]string, len(deployments))
	for i, d := range deployments {
		ids[i] = d.TaskId
	}
	tasks, err := cluster.List(ctx, tx, cluster.Filter{Ids: ids})
	if err != nil {
		return j, err
	}
	for _, d := range deployments {
		if i := slices.IndexFunc(tasks, func(t cluster.Task) bool { return t.Id == d.TaskId }); i >= 0 {
			j.history = append(j.history, environment.Deployed{EnvironmentId: d.EnvironmentId, TenantId: d.TenantId, State: tasks[i].Wire()})
		}
	}
	return j, nil
}

// mayGoTo holds the lifecycle: a release cannot skip a phase (deployments.md L2-L6).
func (c *Control) mayGoTo(ctx context.Context, tx *db.Tx, p project.Project, r release.Release, e environment.Environment) error {
	j, err := journeyOf(ctx, tx, p, r)
	if err != nil {
		return err
	}
	progress := j.lifecycle.Progress(j.ids(), j.history, environment.Who{}, false)
	if slices.Contains(progress.Allowed, e.Id) {
		return nil
	}
	if _, in := j.lifecycle.PhaseOf(e.Id, j.ids()); !in {
		return fault.InvalidField("EnvironmentNames", "The environment '%s' is in no phase of the lifecycle '%s', so release %s cannot be deployed to it.", e.Name, j.lifecycle.Name, r.Version)
	}
	return fault.InvalidField("EnvironmentNames", "Release %s cannot be deployed to the environment '%s' yet: by the lifecycle '%s' it must first succeed in %s.",
		r.Version, e.Name, j.lifecycle.Name, strings.Join(progress.Missing(e.Id), ", "))
}

// startAutomatic makes the deployments a lifecycle starts by itself, after an event (deployments.md L7-L11). What is refused is
// no reason to undo the event: it is recorded, and a person can see why.
func (c *Control) startAutomatic(ctx context.Context, tx *db.Tx, p project.Project, r release.Release, event environment.Event) error {
	j, err := journeyOf(ctx, tx, p, r)
	if err != nil || p.IsDisabled {
		return err
	}
	pairs := j.lifecycle.Automatic(environment.Automatic{
		Environments: j.ids(), History: j.history, Event: event, Untenanted: p.TenantedDeploymentMode != project.Tenanted, ProjectId: p.Id,
	})
	for _, pair := range pairs {
		i := slices.IndexFunc(j.environments, func(e environment.Environment) bool { return e.Id == pair.EnvironmentId })
		if i < 0 || pair.TenantId != "" {
			continue
		}
		_, err := c.deploy(ctx, tx, p, r, j.environments[i], NewDeployments{Comments: "Started by the lifecycle"})
		if fault.KindOf(err) == fault.Invalid {
			err = Event(ctx, tx, p.SpaceId, "AutomaticDeploymentRefused", "Release "+r.Version+" was not deployed to "+j.environments[i].Name+" automatically: "+err.Error(), r.Id, pair.EnvironmentId)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TaskEnded does what follows the end of a task, in the transaction that ends it (deployments.md L7, I14).
func (c *Control) TaskEnded(ctx context.Context, tx *db.Tx, t cluster.Task) error {
	if t.Kind != Deploy {
		return nil
	}
	if err := Withdraw(ctx, tx, t.Id, "its task has ended"); err != nil || t.State != cluster.Success {
		return err
	}
	var arguments struct{ DeploymentId string }
	if err := json.Unmarshal(t.Arguments, &arguments); err != nil {
		return fmt.Errorf("arguments of %s: %w", t.Id, err)
	}
	ctx = access.With(ctx, access.System)
	q, err := requestOf(ctx, tx, t)
	if err != nil {
		return err
	}
	if err := supersedeWaiting(ctx, tx, t, q); err != nil {
		return err
	}
	return c.deploymentSucceeded(ctx, tx, arguments.DeploymentId)
}

// deploymentSucceeded starts what follows a successful deployment by itself; running it twice starts nothing twice.
func (c *Control) deploymentSucceeded(ctx context.Context, tx *db.Tx, deploymentID string) error {
	d, err := store.View[deployment.Deployment](ctx, tx, deploymentID)
	if err != nil {
		return err
	}
	o, err := store.Lock(ctx, tx, &Releases.Kind, d.SpaceId, d.ReleaseId) // two successes at once start a phase once
	if err != nil {
		return err
	}
	r, err := resource.View[release.Release](o)
	if err != nil {
		return err
	}
	p, err := store.View[project.Project](ctx, tx, d.ProjectId)
	if err != nil {
		return err
	}
	return c.startAutomatic(ctx, tx, p, r, environment.Event{EnvironmentId: d.EnvironmentId, TenantId: d.TenantId})
}
