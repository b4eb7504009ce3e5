package control

import (
	"context"
	"net/url"
	"reflect"
	"strings"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/hub"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/store"
)

func checkMachine(ctx context.Context, tx *db.Tx, c *Change) error {
	if err := checkAgent(ctx, tx, c); err != nil {
		return err
	}
	return valid[machine.Machine](c)
}

func checkWorker(ctx context.Context, tx *db.Tx, c *Change) error {
	if err := checkAgent(ctx, tx, c); err != nil {
		return err
	}
	return valid[machine.Worker](c)
}

// checkAgent completes what machines and workers share: endpoint, policy, first health.
func checkAgent(ctx context.Context, tx *db.Tx, c *Change) error {
	if err := named(ctx, tx, c); err != nil {
		return err
	}
	if c.New.Text("MachinePolicyId") == "" {
		policies, err := store.Views[machine.Policy](ctx, tx, &MachinePolicies.Kind, store.Query{Spaces: []string{c.Space}})
		if err != nil {
			return err
		}
		for _, p := range policies {
			if p.IsDefault {
				c.New["MachinePolicyId"] = p.Id
			}
		}
	}
	if c.Old == nil {
		for name, v := range map[string]any{
			"HealthStatus": machine.Unknown, "Status": "Unknown", "StatusSummary": "This machine has not been checked yet.", "IsInProcess": false, "HasLatestCalamari": false,
			"OperatingSystem": "Unknown", "ShellName": "Unknown", "ShellVersion": "Unknown",
		} {
			c.New[name] = v
		}
	}
	endpoint := object(c.New, "Endpoint")
	lift(c.New, endpoint)
	if thumbprint := endpoint.Text("Thumbprint"); thumbprint != "" { // people paste it in many forms
		endpoint["Thumbprint"] = strings.ToUpper(strings.NewReplacer(" ", "", ":", "").Replace(thumbprint))
		c.New["Thumbprint"] = endpoint["Thumbprint"]
	}
	return nil
}

// lift copies address and thumbprint between a machine and its endpoint: old clients send them on the one, new ones on the other.
func lift(o, endpoint resource.Object) {
	for _, name := range []string{"Uri", "Thumbprint"} {
		if endpoint.Text(name) == "" && o.Text(name) != "" {
			endpoint[name] = o[name]
		}
		if v := endpoint.Text(name); v != "" {
			o[name] = v
		}
	}
}

// machineStored writes whom the hub trusts, in the machine's own transaction.
func machineStored(ctx context.Context, tx *db.Tx, c *Change) error {
	if err := tellChange(ctx, tx, c); err != nil {
		return err
	}
	e := object(c.New, "Endpoint")
	switch e.Text("CommunicationStyle") {
	case machine.StyleTentaclePassive, machine.StyleTentacleActive:
		if err := hub.SetTrust(ctx, tx, hub.Trust{Machine: c.New.Text("Id"), Address: e.Text("Uri"), Thumbprint: e.Text("Thumbprint")}); err != nil || c.Old != nil {
			return err
		}
		return checkNew(ctx, tx, c)
	}
	return hub.RemoveTrust(ctx, tx, c.New.Text("Id"))
}

// deploymentMembers decide which deployments a machine takes part in, and how it is reached.
var deploymentMembers = []string{"EnvironmentIds", "Roles", "TenantIds", "TenantTags", "TenantedDeploymentParticipation", "WorkerPoolIds", "MachinePolicyId", "Endpoint"}

// tellChange writes the events of a change that triggers look for (deployments.md H5).
func tellChange(ctx context.Context, tx *db.Tx, c *Change) error {
	if c.Old == nil {
		return nil
	}
	name, id := c.New.Text("Name"), c.New.Text("Id")
	if now := c.New.Flag("IsDisabled"); now != c.Old.Flag("IsDisabled") {
		category, verb := "MachineEnabled", "enabled"
		if now {
			category, verb = "MachineDisabled", "disabled"
		}
		if err := Event(ctx, tx, c.Space, category, "Machine "+name+" was "+verb, id); err != nil {
			return err
		}
	}
	for _, member := range deploymentMembers {
		if !reflect.DeepEqual(c.Old[member], c.New[member]) {
			return Event(ctx, tx, c.Space, "MachineDeploymentRelatedPropertyWasUpdated", member+" of machine "+name+" was changed", id)
		}
	}
	return nil
}

// checkNew has a new machine's health checked, so that people see at once whether it can be reached, and workers can be
// chosen; unless whoever made it asked not to (octavo-agent register-with --skip-health-check).
func checkNew(ctx context.Context, tx *db.Tx, c *Change) error {
	if c.New.Flag("SkipInitialHealthCheck") {
		return nil
	}
	_, err := cluster.Push(ctx, tx, cluster.NewTask{
		SpaceId: c.Space, Kind: "Health", Description: "Check the health of " + c.New.Text("Name") + ", which is new",
		Arguments: map[string]any{"MachineIds": []string{c.New.Text("Id")}},
	})
	return err
}

func machineLeaving(ctx context.Context, tx *db.Tx, c *Change) error {
	return hub.RemoveTrust(ctx, tx, c.Old.Text("Id"))
}

// Discover asks a listening agent who it is, and gives an unsaved machine for it (rest-api.md 5).
func (c *Control) Discover(ctx context.Context, host string, port int, style string) (resource.Object, error) {
	if host == "" {
		return nil, fault.InvalidField("host", "Please say which host to look at, as in ?host=web1.example.com&port=10933.")
	}
	if style == "" {
		style = machine.StyleTentaclePassive
	}
	if style != machine.StyleTentaclePassive {
		return nil, fault.InvalidField("type", "Only listening agents (type=TentaclePassive) can be discovered, not '%s'.", style)
	}
	if port == 0 {
		port = 10933
	}
	peer, err := c.Hub.Discover(ctx, host, port)
	if err != nil {
		return nil, err
	}
	uri := (&url.URL{Scheme: "https", Host: joinHostPort(host, port), Path: "/"}).String()
	return resource.ObjectOf(machine.Machine{
		Name: host, Uri: uri, Thumbprint: peer.Thumbprint, TenantedDeploymentParticipation: machine.Untenanted,
		Endpoint: machine.Endpoint{CommunicationStyle: style, Uri: uri, Thumbprint: peer.Thumbprint},
		Health:   machine.Health{HealthStatus: machine.Unknown, Status: "Unknown"},
	})
}
