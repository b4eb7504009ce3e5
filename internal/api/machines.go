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

// WorkerTypes are the images dynamic workers may have.
type WorkerTypes struct {
	WorkerTypes []WorkerType
}

// WorkerType is one of them.
type WorkerType struct {
	Id          string
	Type        string
	Description string
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
		get(space, "/accounts/{id}/usages", access.AccountView, "", func(c *call) (control.AccountUsages, error) { return c.control.AccountUsages(c.ctx, c.space, c.id()) }),
		get(space, "/workerpools/dynamicworkertypes", access.WorkerView, "", func(c *call) (WorkerTypes, error) { return WorkerTypes{}, nil }), // none: we rent no machines
		get(space, "/machines/operatingsystem/names/all", access.MachineView, "", distinct(control.Machines, "OperatingSystem")),
		get(space, "/machines/operatingsystem/shells/all", access.MachineView, "", distinct(control.Machines, "ShellName")),
		get(space, "/workers/operatingsystem/names/all", access.WorkerView, "", distinct(control.Workers, "OperatingSystem")),
		get(space, "/workers/operatingsystem/shells/all", access.WorkerView, "", distinct(control.Workers, "ShellName")),
		get(space, "/machineroles/all", access.MachineView, "", distinct(control.Machines, "Roles")),
	}
}

// distinct lists the texts machines have at a member, each once.
func distinct(k *control.Kind, member string) func(*call) ([]string, error) {
	return func(c *call) ([]string, error) {
		all, _, err := c.control.List(c.ctx, k, k.Query(c.spaces(), nil))
		var texts []string
		for _, o := range all {
			texts = append(texts, o.Texts(member)...)
		}
		slices.Sort(texts)
		return slices.Compact(texts), err
	}
}
