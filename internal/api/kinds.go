package api

import (
	"net/http"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/resource"
)

// kindRoutes are the six operations every plain kind has.
func (a *API) kindRoutes(k *control.Kind) []route {
	s := map[resource.Scope]scope{resource.InSpace: space, resource.OnServer: server, resource.Mixed: mixed}[k.Scope]
	base, filters := "/"+k.Path, "skip take ids name partialName"
	for f := range k.Lifted {
		filters += " " + f
	}
	p := func(name string) access.Permission { return access.Permission(name) }
	return []route{
		get(s, base, p(k.Permissions.View), filters, func(c *call) (resource.Page[resource.Object], error) { return c.list(k, nil) }).typed(nil, pageOf(k)),
		get(s, base+"/all", p(k.Permissions.View), "ids partialName", func(c *call) ([]resource.Object, error) { return c.all(k, nil) }).typed(nil, listOf(k)),
		get(s, base+"/{id}", p(k.Permissions.View), "", func(c *call) (resource.Object, error) { return c.one(k, c.id()) }).typed(nil, k.Type),
		send(http.MethodPost, http.StatusCreated, s, base, p(k.Permissions.Create), "clone", func(c *call, in resource.Object) (resource.Object, error) {
			o, err := c.control.Create(c.ctx, k, c.space, in, c.arg("clone"))
			if err != nil {
				return nil, err
			}
			return present(k, o), nil
		}).typed(k.Type, k.Type),
		send(http.MethodPut, http.StatusOK, s, base+"/{id}", p(k.Permissions.Edit), "", func(c *call, in resource.Object) (resource.Object, error) {
			return c.save(k, c.id(), in)
		}).typed(k.Type, k.Type),
		act(http.MethodDelete, s, base+"/{id}", p(k.Permissions.Delete), "", func(c *call) (empty, error) {
			return empty{}, c.control.Remove(c.ctx, k, c.space, c.id())
		}),
	}
}

func (c *call) one(k *control.Kind, id string) (resource.Object, error) {
	o, err := c.control.Get(c.ctx, k, c.space, id)
	if err != nil {
		return nil, err
	}
	return present(k, o), nil
}

func (c *call) save(k *control.Kind, id string, in resource.Object) (resource.Object, error) {
	o, err := c.control.Modify(c.ctx, k, c.space, id, in)
	if err != nil {
		return nil, err
	}
	return present(k, o), nil
}

// spaces are those a list looks at: the path's, or for mixed kinds those of ?spaces= and ?includeSystem=, or all.
func (c *call) spaces() []string {
	if c.space != "" {
		if c.route.scope == mixed && c.arg("includeSystem") != "false" {
			return []string{c.space, ""}
		}
		return []string{c.space}
	}
	if c.route.scope != mixed {
		return nil
	}
	list := c.args("spaces")
	if len(list) == 0 || list[0] == "all" {
		return nil
	}
	if c.arg("includeSystem") != "false" {
		list = append(list, "")
	}
	return list
}

// list answers one page; more are filters the route itself adds.
func (c *call) list(k *control.Kind, more map[string][]string) (resource.Page[resource.Object], error) {
	skip, take, err := c.page()
	if err != nil {
		return resource.Page[resource.Object]{}, err
	}
	q := k.Query(c.spaces(), c.asked)
	for f, v := range more {
		q.Filters[f] = v
	}
	q.Skip, q.Take = skip, take
	if take == 0 { // only their number was asked for
		q.Take = 1
	}
	list, total, err := c.control.List(c.ctx, k, q)
	if err != nil {
		return resource.Page[resource.Object]{}, err
	}
	if take == 0 {
		list = nil
	}
	return resource.NewPage(k.Name, c.path(), c.asked, skip, take, total, presentAll(k, list)), nil
}

// all answers a bare list of everything.
func (c *call) all(k *control.Kind, more map[string][]string) ([]resource.Object, error) {
	q := k.Query(c.spaces(), c.asked)
	for f, v := range more {
		q.Filters[f] = v
	}
	list, _, err := c.control.List(c.ctx, k, q)
	if err != nil {
		return nil, err
	}
	return presentAll(k, list), nil
}

// path is the request's own, with the space it named or was given, for links back to it.
func (c *call) path() string {
	path := c.r.URL.Path[len("/api"):]
	return c.base() + path
}
