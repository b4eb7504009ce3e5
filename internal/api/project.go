package api

import (
	"net/http"
	"strings"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/release"
	"github.com/octavo/octavo/internal/resource"
)

type (
	page = resource.Page[resource.Object]
	list = []resource.Object
)

// projectRoutes are what a project has of its own, and what leads to a deployment.
func (a *API) projectRoutes() []route {
	settings := func(c *call) string { return "deploymentsettings-" + c.project }
	process := func(c *call) string { return "deploymentprocess-" + c.project }
	variables := func(c *call) string { return "variableset-" + c.project }
	own := func(k *control.Kind, path string, view, edit access.Permission, id func(*call) string) []route {
		return []route{
			get(space, "/projects/{id}/"+path, view, "", inProject(func(c *call) (resource.Object, error) { return c.one(k, id(c)) })).typed(nil, k.Type),
			send(http.MethodPut, http.StatusOK, space, "/projects/{id}/"+path, edit, "", func(c *call, in resource.Object) (resource.Object, error) {
				return inProject(func(c *call) (resource.Object, error) { return c.save(k, id(c), in) })(c)
			}).typed(k.Type, k.Type),
		}
	}
	plain := func(k *control.Kind, view, edit access.Permission) []route {
		return []route{
			get(space, "/"+k.Path, view, "skip take ids", func(c *call) (page, error) { return c.list(k, nil) }).typed(nil, pageOf(k)),
			get(space, "/"+k.Path+"/{id}", view, "", func(c *call) (resource.Object, error) { return c.one(k, c.id()) }).typed(nil, k.Type),
			send(http.MethodPut, http.StatusOK, space, "/"+k.Path+"/{id}", edit, "", func(c *call, in resource.Object) (resource.Object, error) { return c.save(k, c.id(), in) }).typed(k.Type, k.Type),
		}
	}
	ofProject := func(k *control.Kind) func(*call) (page, error) {
		return inProject(func(c *call) (page, error) { return c.list(k, map[string][]string{"projectId": {c.project}}) })
	}
	var t []route
	t = append(t, own(control.DeploymentSettings, "deploymentsettings", access.ProjectView, access.ProjectEdit, settings)...)
	t = append(t, own(control.Processes, "deploymentprocesses", access.ProcessView, access.ProcessEdit, process)...)
	t = append(t, own(control.VariableSets, "variables", access.VariableView, access.VariableEdit, variables)...)
	t = append(t, plain(control.Processes, access.ProcessView, access.ProcessEdit)...)
	t = append(t, plain(control.VariableSets, access.VariableView, access.VariableEdit)...)
	return append(t,
		get(space, "/deploymentprocesses/{id}/template", access.ProcessView, "channel releaseId", func(c *call) (control.Template, error) { return c.template(c.id()) }),
		get(space, "/projects/{id}/deploymentprocesses/template", access.ProcessView, "channel releaseId", inProject(func(c *call) (control.Template, error) { return c.template(process(c)) })),
		get(space, "/projects/{id}/channels", access.ProcessView, "skip take partialName", ofProject(control.Channels)).typed(nil, pageOf(control.Channels)),
		send(http.MethodPost, http.StatusCreated, space, "/projects/{id}/channels", access.ProcessEdit, "", func(c *call, in resource.Object) (resource.Object, error) {
			return inProject(func(c *call) (resource.Object, error) {
				delete(in, "projectId")
				in["ProjectId"] = c.project
				o, err := c.control.Create(c.ctx, control.Channels, c.space, in, "")
				if err != nil {
					return nil, err
				}
				return present(control.Channels, o), nil
			})(c)
		}).typed(control.Channels.Type, control.Channels.Type),
		get(space, "/projects/{id}/releases", access.ReleaseView, "skip take searchByVersion", inProject(func(c *call) (page, error) {
			more := map[string][]string{"projectId": {c.project}}
			if v := c.arg("searchByVersion"); v != "" {
				more["version"] = []string{v}
			}
			return c.list(control.Releases, more)
		})).typed(nil, pageOf(control.Releases)),
		get(space, "/projects/{id}/releases/{version}", access.ReleaseView, "", func(c *call) (resource.Object, error) {
			o, err := c.control.ReleaseOf(c.ctx, c.space, c.id(), c.r.PathValue("version"))
			if err != nil {
				return nil, err
			}
			return present(control.Releases, o), nil
		}).typed(nil, control.Releases.Type),
		get(space, "/projectgroups/{id}/projects", access.ProjectView, "skip take partialName", func(c *call) (page, error) {
			return c.listOf(control.ProjectGroups, control.Projects, "projectGroupId")
		}).typed(nil, pageOf(control.Projects)),
		get(space, "/lifecycles/{id}/projects", access.ProjectView, "", func(c *call) (list, error) { return c.allOf(control.Lifecycles, control.Projects, "lifecycleId") }).typed(nil, listOf(control.Projects)),
		get(space, "/channels/{id}/releases", access.ReleaseView, "skip take searchByVersion", func(c *call) (page, error) { return c.listOf(control.Channels, control.Releases, "channelId") }).typed(nil, pageOf(control.Releases)),
		get(space, "/channels/{id}/projects", access.ProjectView, "skip take", func(c *call) (page, error) {
			ch, err := c.control.Get(c.ctx, control.Channels, c.space, c.id())
			if err != nil {
				return page{}, err
			}
			p, err := c.one(control.Projects, ch.Text("ProjectId"))
			if err != nil {
				return page{}, err
			}
			return resource.NewPage(control.Projects.Name, c.path(), c.asked, 0, resource.DefaultTake, 1, list{p}), nil
		}).typed(nil, pageOf(control.Projects)),
		get(space, "/environments/{id}/machines", access.MachineView, "skip take partialName roles isDisabled healthStatuses commStyles", func(c *call) (page, error) {
			return c.listOf(control.Environments, control.Machines, "environmentIds")
		}).typed(nil, pageOf(control.Machines)),
		get(space, "/workerpools/{id}/workers", access.WorkerView, "skip take partialName isDisabled healthStatuses commStyles", func(c *call) (page, error) {
			return c.listOf(control.WorkerPools, control.Workers, "workerPoolIds")
		}).typed(nil, pageOf(control.Workers)),
		get(space, "/environments/v2", access.EnvironmentView, "skip take ids partialName type", func(c *call) (page, error) {
			if k := c.arg("type"); k != "" && !strings.EqualFold(k, "Static") {
				return resource.NewPage(control.Environments.Name, c.path(), c.asked, 0, resource.DefaultTake, 0, list{}), nil
			}
			p, err := c.list(control.Environments, nil)
			for _, o := range p.Items {
				o["Type"] = "Static"
			}
			return p, err
		}).typed(nil, pageOf(control.Environments)),

		get(space, "/releases", access.ReleaseView, "skip take ids", func(c *call) (page, error) { return c.list(control.Releases, nil) }).typed(nil, pageOf(control.Releases)),
		get(space, "/releases/{id}", access.ReleaseView, "", func(c *call) (resource.Object, error) { return c.one(control.Releases, c.id()) }).typed(nil, control.Releases.Type),
		act(http.MethodDelete, space, "/releases/{id}", access.ReleaseDelete, "", func(c *call) (empty, error) {
			return empty{}, c.control.Remove(c.ctx, control.Releases, c.space, c.id())
		}),
		get(space, "/releases/{id}/deployments", access.DeploymentView, "skip take", func(c *call) (page, error) { return c.listOf(control.Releases, control.Deployments, "release") }).typed(nil, pageOf(control.Deployments)),
		send(http.MethodPost, http.StatusCreated, space, "/releases/create/v1", access.ReleaseCreate, "", func(c *call, in control.NewRelease) (control.ReleaseCreated, error) {
			where, err := c.commandSpace(access.ReleaseCreate, in.SpaceIdOrName, in.SpaceId)
			if err != nil {
				return control.ReleaseCreated{}, err
			}
			return c.control.CreateRelease(c.ctx, where, in)
		}),
		send(http.MethodPost, http.StatusCreated, space, "/releases", access.ReleaseCreate, "ignoreChannelRules", func(c *call, in release.Release) (resource.Object, error) {
			o, err := c.control.CreateReleaseFrom(c.ctx, c.space, in, c.flag("ignoreChannelRules"))
			if err != nil {
				return nil, err
			}
			return present(control.Releases, o), nil
		}).typed(control.Releases.Type, control.Releases.Type),
		send(http.MethodPost, http.StatusCreated, space, "/deployments", access.DeploymentCreate, "", func(c *call, in resource.Object) (resource.Object, error) {
			in = resource.Fold(control.Deployments.Type, in)
			d, err := resource.View[deployment.Deployment](in)
			if err != nil {
				return nil, err
			}
			guided := d.UseGuidedFailure // here it is said always, so it decides
			o, err := c.control.CreateDeploymentFrom(c.ctx, c.space, d, &guided)
			if err != nil {
				return nil, err
			}
			return present(control.Deployments, o), nil
		}).typed(control.Deployments.Type, control.Deployments.Type),
		get(space, "/deployments", access.DeploymentView, "skip take ids projects environments tenants channels partialName", func(c *call) (page, error) {
			return c.list(control.Deployments, nil)
		}).typed(nil, pageOf(control.Deployments)),
		get(space, "/deployments/{id}", access.DeploymentView, "", func(c *call) (resource.Object, error) { return c.one(control.Deployments, c.id()) }).typed(nil, control.Deployments.Type),
		send(http.MethodPost, http.StatusOK, space, "/deployments/create/untenanted/v1", access.DeploymentCreate, "", func(c *call, in control.NewDeployments) (control.DeploymentsCreated, error) {
			where, err := c.commandSpace(access.DeploymentCreate, in.SpaceIdOrName, in.SpaceId)
			if err != nil {
				return control.DeploymentsCreated{}, err
			}
			return c.control.CreateDeployments(c.ctx, where, in)
		}),
	)
}

// inProject finds the project of the path first, by id or slug.
func inProject[Out any](do func(*call) (Out, error)) func(*call) (Out, error) {
	return func(c *call) (Out, error) {
		p, err := c.control.Get(c.ctx, control.Projects, c.space, c.id())
		if err != nil {
			var none Out
			return none, err
		}
		c.project = p.Text("Id")
		return do(c)
	}
}

func (c *call) template(process string) (control.Template, error) {
	t, err := c.control.ReleaseTemplate(c.ctx, c.space, process, c.arg("channel"))
	t.Links = map[string]string{"Self": c.path()}
	return t, err
}

// listOf lists what belongs to the one of the path.
func (c *call) listOf(owner, k *control.Kind, filter string) (page, error) {
	o, err := c.control.Get(c.ctx, owner, c.space, c.id())
	if err != nil {
		return page{}, err
	}
	return c.list(k, map[string][]string{filter: {o.Text("Id")}})
}

func (c *call) allOf(owner, k *control.Kind, filter string) (list, error) {
	o, err := c.control.Get(c.ctx, owner, c.space, c.id())
	if err != nil {
		return nil, err
	}
	return c.all(k, map[string][]string{filter: {o.Text("Id")}})
}

// commandSpace is where a command acts: the path's space, which a body without one in the path may name instead.
func (c *call) commandSpace(p access.Permission, named ...string) (string, error) {
	if placeOf(c.r).space != "" {
		return c.space, nil
	}
	for _, what := range named {
		if what == "" {
			continue
		}
		id, err := c.control.SpaceNamed(c.ctx, what)
		if fault.KindOf(err) == fault.NotFound {
			return "", fault.InvalidField("SpaceIdOrName", "There is no space '%s'.", what)
		}
		if err != nil {
			return "", err
		}
		return id, c.control.Authorize(c.ctx, p, id)
	}
	return c.space, nil
}
