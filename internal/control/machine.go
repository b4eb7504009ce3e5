package control

import (
	"context"
	"net/url"
	"regexp"
	"strings"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/hub"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/store"
)

var sha1Hex = regexp.MustCompile(`^[0-9A-F]{40}$`)

// checkMachine holds what a deployment target must have.
func checkMachine(ctx context.Context, tx *db.Tx, c *Change) error {
	if err := checkAgent(ctx, tx, c); err != nil {
		return err
	}
	var wrong fault.List
	if len(c.New.Texts("EnvironmentIds")) == 0 {
		wrong.Add("Please select at least one environment for the machine.")
	}
	if len(c.New.Texts("Roles")) == 0 {
		wrong.Add("Please provide at least one target tag (role) for the machine.")
	}
	if err := wrong.Err(); err != nil {
		return err
	}
	return oneOf(c.New, "TenantedDeploymentParticipation", machine.Untenanted, machine.Tenanted, machine.TenantedOrUntenanted)
}

func checkWorker(ctx context.Context, tx *db.Tx, c *Change) error {
	if err := checkAgent(ctx, tx, c); err != nil {
		return err
	}
	if len(c.New.Texts("WorkerPoolIds")) == 0 {
		return fault.InvalidField("WorkerPoolIds", "Please select at least one worker pool for the worker.")
	}
	return nil
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
	return checkEndpoint(endpoint)
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

// checkEndpoint refuses an address or a thumbprint no agent could have.
func checkEndpoint(e resource.Object) error {
	style := e.Text("CommunicationStyle")
	if style == "" {
		return fault.InvalidField("Endpoint.CommunicationStyle", "Please say how the machine is reached: CommunicationStyle TentaclePassive (it listens), TentacleActive (it polls) or None.")
	}
	if style != machine.StyleTentaclePassive && style != machine.StyleTentacleActive {
		return nil
	}
	var wrong fault.List
	thumbprint := strings.ToUpper(strings.NewReplacer(" ", "", ":", "").Replace(e.Text("Thumbprint")))
	if !sha1Hex.MatchString(thumbprint) {
		wrong.Add("Endpoint.Thumbprint must be the 40 hexadecimal digits of the agent's certificate, as 'octavo-agent show-thumbprint' prints them.")
	}
	e["Thumbprint"] = thumbprint
	u, err := url.Parse(e.Text("Uri"))
	switch {
	case style == machine.StyleTentaclePassive && (err != nil || u.Scheme != "https" || u.Host == ""):
		wrong.Add("Endpoint.Uri of a listening agent must be like https://host:10933/, not '%s'.", e.Text("Uri"))
	case style == machine.StyleTentacleActive && (err != nil || u.Scheme != "poll" || u.Host == ""):
		wrong.Add("Endpoint.Uri of a polling agent must be like poll://subscription/, not '%s'.", e.Text("Uri"))
	}
	return wrong.Err()
}

// machineStored writes whom the hub trusts, in the machine's own transaction.
func machineStored(ctx context.Context, tx *db.Tx, c *Change) error {
	e := object(c.New, "Endpoint")
	switch e.Text("CommunicationStyle") {
	case machine.StyleTentaclePassive, machine.StyleTentacleActive:
		return hub.SetTrust(ctx, tx, hub.Trust{Machine: c.New.Text("Id"), Address: e.Text("Uri"), Thumbprint: e.Text("Thumbprint")})
	}
	return hub.RemoveTrust(ctx, tx, c.New.Text("Id"))
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
