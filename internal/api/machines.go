package api

import (
	"slices"
	"strconv"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/resource"
)

// Connection is what is known of the way to an agent.
type Connection struct {
	Id                     string
	MachineId              string
	Status                 string
	LastChecked            *resource.Time
	CurrentTentacleVersion string
	Logs                   []string
	Links                  map[string]string
}

func (a *API) machineRoutes() []route {
	discover := func(*control.Kind) func(*call) (resource.Object, error) {
		return func(c *call) (resource.Object, error) {
			port := 0
			if s := c.arg("port"); s != "" {
				n, err := strconv.Atoi(s)
				if err != nil || n < 1 || n > 65535 {
					return nil, fault.InvalidField("port", "port must be a number from 1 to 65535, not '%s'.", s)
				}
				port = n
			}
			o, err := c.control.Discover(c.ctx, c.arg("host"), port, c.arg("type"))
			if err == nil {
				o["SpaceId"], o["Links"] = c.space, map[string]any{}
			}
			return o, err
		}
	}
	connection := func(k *control.Kind) func(*call) (Connection, error) {
		return func(c *call) (Connection, error) {
			o, err := c.control.Get(c.ctx, k, c.space, c.id())
			if err != nil {
				return Connection{}, err
			}
			path := c.base() + "/" + k.Path + "/" + o.Text("Id")
			out := Connection{Id: o.Text("Id"), MachineId: o.Text("Id"), Status: o.Text("StatusSummary"), Links: map[string]string{"Self": path + "/connection", "Machine": path}}
			m, err := resource.View[machine.Machine](o)
			if err == nil && m.Endpoint.TentacleVersionDetails != nil {
				out.CurrentTentacleVersion = m.Endpoint.TentacleVersionDetails.Version
			}
			return out, err
		}
	}
	return []route{
		get(space, "/machines/discover", access.MachineCreate, "host port type proxyId", discover(control.Machines)).typed(nil, control.Machines.Type),
		get(space, "/workers/discover", access.WorkerEdit, "host port type proxyId", discover(control.Workers)).typed(nil, control.Workers.Type),
		get(space, "/machines/{id}/connection", access.MachineView, "", connection(control.Machines)),
		get(space, "/workers/{id}/connection", access.WorkerView, "", connection(control.Workers)),
		get(space, "/machineroles/all", access.MachineView, "", func(c *call) ([]string, error) {
			all, _, err := c.control.List(c.ctx, control.Machines, control.Machines.Query(c.spaces(), nil))
			var roles []string
			for _, o := range all {
				roles = append(roles, o.Texts("Roles")...)
			}
			slices.Sort(roles)
			return slices.Compact(roles), err
		}),
	}
}
