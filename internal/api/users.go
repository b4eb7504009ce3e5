package api

import (
	"net/http"
	"time"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
)

// NewKey is the body of POST users/{id}/apikeys.
type NewKey struct {
	Purpose string
	Expires *resource.Time
}

func (a *API) userRoutes() []route {
	self := func(c *call) string { // whom the path means
		if id := c.id(); id != "me" {
			return id
		}
		return access.From(c.ctx).UserId
	}
	k := control.Users
	return []route{
		get(server, "/users/me", access.SignedIn, "", func(c *call) (resource.Object, error) { return c.one(k, access.From(c.ctx).UserId) }).typed(nil, k.Type),
		get(server, "/users", access.UserView, "skip take ids filter", func(c *call) (page, error) {
			skip, take, err := c.page()
			if err != nil {
				return page{}, err
			}
			q := k.Query(nil, c.asked)
			q.PartialName, q.Skip, q.Take = c.arg("filter"), skip, max(take, 1)
			all, total, err := c.control.List(c.ctx, k, q)
			return resource.NewPage(k.Name, c.path(), c.asked, skip, take, total, presentAll(k, all)), err
		}).typed(nil, pageOf(k)),
		get(server, "/users/all", access.UserView, "", func(c *call) (list, error) { return c.all(k, nil) }).typed(nil, listOf(k)),
		get(server, "/users/{id}", access.UserView, "", func(c *call) (resource.Object, error) { return c.one(k, c.id()) }).typed(nil, k.Type),
		send(http.MethodPost, http.StatusCreated, server, "/users", access.UserEdit, "", func(c *call, in resource.Object) (resource.Object, error) {
			o, err := c.control.Create(c.ctx, k, "", in, "")
			if err != nil {
				return nil, err
			}
			return present(k, o), nil
		}).typed(k.Type, k.Type),
		send(http.MethodPut, http.StatusOK, server, "/users/{id}", access.UserEdit, "", func(c *call, in resource.Object) (resource.Object, error) { return c.save(k, c.id(), in) }).typed(k.Type, k.Type),
		act(http.MethodDelete, server, "/users/{id}", access.UserEdit, "", func(c *call) (empty, error) { return empty{}, c.control.Remove(c.ctx, k, "", c.id()) }),
		get(server, "/users/{id}/apikeys", access.SignedIn, "skip take", func(c *call) (page, error) {
			keys, err := c.control.Keys(c.ctx, self(c))
			if err != nil {
				return page{}, err
			}
			for _, o := range keys {
				o["Links"] = keyLinks(o)
			}
			skip, take, err := c.page()
			return resource.NewPage("ApiKey", c.path(), c.asked, skip, take, len(keys), keys[min(skip, len(keys)):min(skip+take, len(keys))]), err
		}),
		send(http.MethodPost, http.StatusCreated, server, "/users/{id}/apikeys", access.SignedIn, "", func(c *call, in NewKey) (resource.Object, error) {
			user, expires := self(c), (*time.Time)(nil)
			if in.Expires != nil && !in.Expires.IsZero() {
				expires = &in.Expires.Time
			}
			o, err := c.control.NewKey(c.ctx, user, in.Purpose, expires)
			if err == nil {
				o["Links"] = keyLinks(o)
			}
			return o, err
		}),
		get(server, "/users/{id}/apikeys/{key}", access.SignedIn, "", func(c *call) (resource.Object, error) {
			keys, err := c.control.Keys(c.ctx, self(c))
			if err != nil {
				return nil, err
			}
			for _, o := range keys {
				if o.Text("Id") == c.r.PathValue("key") {
					o["Links"] = keyLinks(o)
					return o, nil
				}
			}
			return nil, fault.NotFoundf("The resource '%s' was not found.", c.r.PathValue("key"))
		}),
		act(http.MethodDelete, server, "/users/{id}/apikeys/{key}", access.SignedIn, "", func(c *call) (empty, error) {
			return empty{}, c.control.RemoveKey(c.ctx, self(c), c.r.PathValue("key"))
		}),
		get(server, "/users/{id}/spaces", access.SignedIn, "", func(c *call) (list, error) {
			if err := c.control.MayLookAt(c.ctx, self(c)); err != nil {
				return nil, err
			}
			if !access.From(c.ctx).Administrator {
				return list{}, nil
			}
			return c.all(control.Spaces, nil)
		}).typed(nil, listOf(control.Spaces)),
		get(server, "/users/{id}/teams", access.SignedIn, "spaces includeSystem", func(c *call) (list, error) {
			if err := c.control.MayLookAt(c.ctx, self(c)); err != nil {
				return nil, err
			}
			teams, _, err := c.control.List(c.ctx, control.Teams, control.Teams.Query(nil, map[string][]string{"member": {self(c)}}))
			return presentAll(control.Teams, teams), err
		}).typed(nil, listOf(control.Teams)),
	}
}

func keyLinks(o resource.Object) map[string]any {
	return map[string]any{"Self": "/api/users/" + o.Text("UserId") + "/apikeys/" + o.Text("Id")}
}
