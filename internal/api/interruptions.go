package api

import (
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
)

// interruptionRoutes are open to anybody we know: who may see or answer a question depends on its teams, and control knows
// them (deployments.md I10).
func (a *API) interruptionRoutes() []route {
	user := func(do func(c *call) (resource.Object, error)) func(c *call) (resource.Object, error) {
		return func(c *call) (resource.Object, error) {
			o, err := do(c)
			if err != nil {
				return nil, err
			}
			return present(control.Users, o), nil
		}
	}
	return []route{
		get(space, "/interruptions", access.SignedIn, "skip take ids regarding pendingOnly", (*call).interruptions),
		get(space, "/interruptions/all", access.SignedIn, "", func(c *call) ([]control.Interruption, error) {
			list, _, err := c.control.Interruptions(c.ctx, c.space, control.InterruptionFilter{Take: math.MaxInt32})
			return list, err
		}),
		get(space, "/interruptions/{id}", access.SignedIn, "", func(c *call) (control.Interruption, error) {
			return c.control.Interruption(c.ctx, c.space, c.id())
		}),
		get(space, "/interruptions/{id}/responsible", access.SignedIn, "", user(func(c *call) (resource.Object, error) {
			return c.control.Responsible(c.ctx, c.space, c.id())
		})).typed(nil, control.Users.Type),
		act(http.MethodPut, space, "/interruptions/{id}/responsible", access.SignedIn, "", user(func(c *call) (resource.Object, error) {
			return c.control.TakeResponsibility(c.ctx, c.space, c.id())
		})).typed(nil, control.Users.Type),
		send(http.MethodPost, http.StatusOK, space, "/interruptions/{id}/submit", access.SignedIn, "", func(c *call, in control.Submission) (control.Interruption, error) {
			return c.control.Submit(c.ctx, c.space, c.id(), in)
		}),
	}
}

func (c *call) interruptions() (resource.Page[control.Interruption], error) {
	skip, take, err := c.page()
	if err != nil {
		return resource.Page[control.Interruption]{}, err
	}
	f := control.InterruptionFilter{Ids: c.args("ids"), Regarding: c.arg("regarding"), Skip: skip, Take: take}
	if s := c.arg("pendingOnly"); s != "" {
		if f.PendingOnly, err = strconv.ParseBool(strings.ToLower(s)); err != nil {
			return resource.Page[control.Interruption]{}, fault.InvalidField("pendingOnly", "pendingOnly must be true or false, not '%s'.", s)
		}
	}
	list, total, err := c.control.Interruptions(c.ctx, c.space, f)
	return resource.NewPage("Interruption", c.path(), c.asked, skip, take, total, list), err
}
