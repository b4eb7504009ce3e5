package engine

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/release"
	"github.com/octavo/octavo/internal/store"
	"github.com/octavo/octavo/internal/variable"
)

// subject is what a deployment is about. Process, variables and packages are the release's frozen copies; the
// rest is read as it is now (deployments.md V1).
type subject struct {
	deployment  deployment.Deployment
	release     release.Release
	channel     project.Channel
	project     project.Project
	group       project.ProjectGroup
	environment environment.Environment
	lifecycle   environment.Lifecycle
	tenant      *environment.Tenant
	space       control.Space
	process     project.Process
	sets        []variable.VariableSet // the project's first, then library sets
	machines    []machine.Machine      // of the space
	policies    []machine.Policy
}

// read loads it all in one transaction, so that it is all of one moment.
func (s *subject) read(ctx context.Context, tx *db.Tx, task cluster.Task) (err error) {
	var arguments struct{ DeploymentId string } //nolint:revive // the wire's name
	if err := json.Unmarshal(task.Arguments, &arguments); err != nil {
		return fmt.Errorf("arguments of %s: %w", task.Id, err)
	}
	if s.deployment, err = store.View[deployment.Deployment](ctx, tx, arguments.DeploymentId); err != nil {
		return err
	}
	if s.release, err = store.View[release.Release](ctx, tx, s.deployment.ReleaseId); err != nil {
		return err
	}
	if s.channel, err = store.View[project.Channel](ctx, tx, s.release.ChannelId); err != nil {
		return err
	}
	if s.project, err = store.View[project.Project](ctx, tx, s.deployment.ProjectId); err != nil {
		return err
	}
	if s.group, err = store.View[project.ProjectGroup](ctx, tx, s.project.ProjectGroupId); err != nil {
		return err
	}
	if s.environment, err = store.View[environment.Environment](ctx, tx, s.deployment.EnvironmentId); err != nil {
		return err
	}
	lifecycle := s.channel.LifecycleId
	if lifecycle == "" {
		lifecycle = s.project.LifecycleId
	}
	if s.lifecycle, err = store.View[environment.Lifecycle](ctx, tx, lifecycle); err != nil {
		return err
	}
	if s.deployment.TenantId != "" {
		tenant, err := store.View[environment.Tenant](ctx, tx, s.deployment.TenantId)
		if err != nil {
			return err
		}
		s.tenant = &tenant
	}
	if s.space, err = store.View[control.Space](ctx, tx, s.deployment.SpaceId); err != nil {
		return err
	}
	if s.process, err = store.View[project.Process](ctx, tx, s.deployment.DeploymentProcessId); err != nil {
		return err
	}
	s.sets = nil
	for _, id := range append([]string{s.deployment.ManifestVariableSetId}, s.release.LibraryVariableSetSnapshotIds...) {
		set, err := store.View[variable.VariableSet](ctx, tx, id)
		if err != nil {
			return err
		}
		s.sets = append(s.sets, set)
	}
	in := store.Query{Spaces: []string{s.deployment.SpaceId}}
	if s.policies, err = store.Views[machine.Policy](ctx, tx, &control.MachinePolicies.Kind, in); err != nil {
		return err
	}
	s.machines, err = store.Views[machine.Machine](ctx, tx, &control.Machines.Kind, in)
	return err
}

// planInput is what the plan is made of, with the variables that steer it.
func (d *walk) planInput() deployment.Input {
	vars, _ := variable.Resolve(d.values.candidates, d.situation())
	return deployment.Input{
		Process: d.process, Request: d.deployment.Request, ChannelId: d.release.ChannelId, Tenant: d.tenant, Machines: d.machines,
		Connectivity: d.project.ProjectConnectivityPolicy, Packages: d.release.SelectedPackages,
		MaxParallelism: vars.Text("Octopus.Action.MaxParallelism"), AcquireMaxParallelism: vars.Text("Octopus.Acquire.MaxParallelism"),
		Bypass: vars.Flag("OctopusBypassDeploymentMutex", false),
		Fill:   func(text string) string { return vars.Evaluate(text).Text },
	}
}

// situation is the deployment's, before any step.
func (s *subject) situation() variable.Context {
	c := variable.Context{
		Environment: s.environment.Id, Channel: s.channel.Id, Project: s.project.Id, ProcessOwner: s.project.Id,
	}
	if s.tenant != nil {
		c.Tenant, c.TenantTags = s.tenant.Id, s.tenant.TenantTags
	}
	return c
}

// machine finds one of the space's machines.
func (s *subject) machine(id string) *machine.Machine {
	for i := range s.machines {
		if s.machines[i].Id == id {
			return &s.machines[i]
		}
	}
	return nil
}

// action finds an action of the frozen process.
func (s *subject) actionOf(id string) (*project.Step, *project.Action) {
	for i := range s.process.Steps {
		for j := range s.process.Steps[i].Actions {
			if a := &s.process.Steps[i].Actions[j]; a.Id == id {
				return &s.process.Steps[i], a
			}
		}
	}
	return nil, nil
}
