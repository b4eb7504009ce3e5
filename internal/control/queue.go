package control

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/release"
	"github.com/octavo/octavo/internal/store"
	"github.com/octavo/octavo/internal/variable"
)

// What a deployment's place in the queue depends on: its turn, the labels it asks for, and what it makes needless.

// turn is what deployments of a project to an environment, for a tenant, exclude each other by (deployments.md P12).
func turn(projectID, environmentID, tenantID string) string {
	return projectID + "/" + environmentID + "/" + tenantID
}

// turnOf is the default turn, or what the project's variable Octopus.Task.ConcurrencyTag says when the deployment is made
// (behaviour.md 2.6). A tag holds within its space, and it replaces the default: one that leaves the tenant out lets tenants
// wait for each other; one that adds, say, the release lets two releases go to one environment at once, since that is what it
// says. The example of the reference's documentation is the default.
func turnOf(ctx context.Context, tx *db.Tx, p project.Project, r release.Release, e environment.Environment, q deployment.Request) (string, error) {
	standard := turn(p.Id, e.Id, q.TenantId)
	set, err := store.View[variable.VariableSet](ctx, tx, r.ProjectVariableSetSnapshotId)
	if err != nil {
		return "", err
	}
	var candidates []variable.Candidate
	for _, v := range set.Variables {
		candidates = append(candidates, variable.Candidate{Variable: v, Source: variable.SourceProject})
		if answer, ok := q.FormValues[v.Id]; ok && v.Prompt != nil {
			candidates = append(candidates, variable.Typed(v, answer.Value))
		}
	}
	here := variable.Context{Environment: e.Id, Tenant: q.TenantId, Channel: r.ChannelId, ProcessOwner: p.Id, Project: p.Id}
	tenantName := ""
	if q.TenantId != "" {
		tenant, err := store.View[environment.Tenant](ctx, tx, q.TenantId)
		if err != nil {
			return "", err
		}
		here.TenantTags, tenantName = tenant.TenantTags, tenant.Name
	}
	for name, value := range map[string]string{
		variable.NameTenantID: q.TenantId, variable.NameTenantName: tenantName, "Octopus.Project.Id": p.Id, "Octopus.Project.Name": p.Name, "Octopus.ProjectGroup.Id": p.ProjectGroupId,
		"Octopus.Environment.Id": e.Id, "Octopus.Environment.Name": e.Name, variable.NameSpaceID: p.SpaceId, variable.NameReleaseID: r.Id, variable.NameReleaseNumber: r.Version,
		"Octopus.Release.Channel.Id": r.ChannelId,
	} {
		candidates = append(candidates, variable.System(name, value))
	}
	vars, _ := variable.Resolve(candidates, here)
	switch tag := vars.Text(variable.NameConcurrencyTag); tag {
	case "", q.TenantId + "/" + p.Id + "/" + e.Id:
		return standard, nil
	default:
		return "tag " + p.SpaceId + "/" + tag, nil
	}
}

// labelsOf is what a node must have to run tasks of a project in an environment: the labels of both (behaviour.md P29).
func labelsOf(p project.Project, e environment.Environment) []string {
	return slices.Concat(p.NodeLabels, e.NodeLabels)
}

// partial tells that a deployment leaves something out, so that it replaces no other.
func partial(q deployment.Request) bool {
	return len(q.SpecificMachineIds)+len(q.ExcludedMachineIds)+len(q.SpecificTargetTagIds)+len(q.ExcludedTargetTagIds)+len(q.SkipActions) > 0
}

// requestOf reads what the deployment of a task asks for.
func requestOf(ctx context.Context, tx *db.Tx, t cluster.Task) (deployment.Request, error) {
	var arguments struct{ DeploymentId string }
	if err := json.Unmarshal(t.Arguments, &arguments); err != nil {
		return deployment.Request{}, fmt.Errorf("arguments of %s: %w", t.Id, err)
	}
	d, err := store.View[deployment.Deployment](ctx, tx, arguments.DeploymentId)
	return d.Request, err
}

// sameGoal tells that two tasks deploy the same project to the same environment for the same tenant.
func sameGoal(a, b cluster.Task) bool {
	return a.Kind == Deploy && b.Kind == Deploy && a.ProjectId == b.ProjectId && a.EnvironmentId == b.EnvironmentId && a.TenantId == b.TenantId
}

// supersede cancels the queued deployments that a new one makes needless: from the back of the queue up to the first partial
// one (behaviour.md 2.6). One that is to start at a time of its own takes no part, on either side.
func supersede(ctx context.Context, tx *db.Tx, settings project.DeploymentSettings, by cluster.Task, q deployment.Request) error {
	if !settings.CancelQueuedTasks || partial(q) || by.QueueTime.After(tx.Now) {
		return nil
	}
	waiting, err := cluster.Queued(ctx, tx, by.Turn)
	if err != nil {
		return err
	}
	var older []string
	for _, t := range slices.Backward(waiting) {
		if t.Number >= by.Number || !sameGoal(t, by) {
			continue
		}
		request, err := requestOf(ctx, tx, t)
		if err != nil {
			return err
		}
		if partial(request) {
			break
		}
		older = append(older, t.Id)
	}
	cancelled, err := cluster.Supersede(ctx, tx, by, older)
	if err != nil {
		return err
	}
	for _, id := range cancelled {
		if err := Event(ctx, tx, by.SpaceId, "TaskCanceled", "Task "+id+" was superseded by "+by.Description, id, by.Id); err != nil {
			return err
		}
	}
	return nil
}

// supersedeWaiting cancels older deployments that wait for a person once a newer full one has succeeded (behaviour.md 2.6).
func supersedeWaiting(ctx context.Context, tx *db.Tx, by cluster.Task, q deployment.Request) error {
	if partial(q) {
		return nil
	}
	settings, err := store.View[project.DeploymentSettings](ctx, tx, settingsID(q.ProjectId))
	if err != nil || !settings.CancelRunningTasks {
		return err
	}
	yes := true
	asking, err := cluster.List(ctx, tx, cluster.Filter{
		Kinds: []string{Deploy}, Projects: []string{q.ProjectId}, Environments: []string{q.EnvironmentId}, Tenants: []string{q.TenantId}, HasPendingInterruptions: &yes,
	})
	if err != nil {
		return err
	}
	for _, t := range slices.Backward(asking) {
		if t.State != cluster.StateWaiting || t.Number >= by.Number {
			continue
		}
		if _, err := cluster.Cancel(ctx, tx, t.Id, "Superseded by "+by.Id+": "+by.Description+"."); err != nil {
			return err
		}
		if err := Event(ctx, tx, t.SpaceId, "TaskCanceled", "Task "+t.Description+" was superseded by "+by.Description+", which has succeeded", t.Id, by.Id); err != nil {
			return err
		}
	}
	return nil
}
