package control

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/store"
)

// maxName is the longest name the reference takes.
const maxName = 200

// named wants a name.
func named(_ context.Context, _ *db.Tx, c *Change) error {
	name := strings.TrimSpace(c.New.Text("Name"))
	switch {
	case name == "":
		return fault.InvalidField("Name", "Please provide a name for the %s.", strings.ToLower(c.Kind.Name))
	case len(name) > maxName:
		return fault.InvalidField("Name", "The name of the %s is too long: %d characters at most.", strings.ToLower(c.Kind.Name), maxName)
	}
	c.New["Name"] = name
	return nil
}

// oneOf refuses a member whose text is none of those known; it gives the known spelling back.
func oneOf(o resource.Object, member string, known ...string) error {
	text := o.Text(member)
	i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, text) })
	if i < 0 {
		return fault.InvalidField(member, "%s must be one of %s, not '%s'.", member, strings.Join(known, ", "), text)
	}
	o[member] = known[i]
	return nil
}

// checkEnvironment puts a new one behind all others, as the reference does.
func checkEnvironment(ctx context.Context, tx *db.Tx, c *Change) error {
	if err := named(ctx, tx, c); err != nil {
		return err
	}
	if c.Old == nil && c.New.Int("SortOrder") == 0 {
		all, err := store.Views[environment.Environment](ctx, tx, &Environments.Kind, store.Query{Spaces: []string{c.Space}})
		if err != nil {
			return err
		}
		last := -1
		for _, e := range all {
			last = max(last, e.SortOrder)
		}
		c.New["SortOrder"] = number(last + 1)
	}
	return valid[environment.Environment](c)
}

// checkLifecycle gives phases their ids.
func checkLifecycle(ctx context.Context, tx *db.Tx, c *Change) error {
	if err := named(ctx, tx, c); err != nil {
		return err
	}
	for _, p := range objects(c.New["Phases"]) {
		if p.Text("Id") == "" {
			p["Id"] = newGUID()
		}
	}
	return valid[environment.Lifecycle](c)
}

func checkChannel(ctx context.Context, tx *db.Tx, c *Change) error {
	if err := named(ctx, tx, c); err != nil {
		return err
	}
	if c.Old != nil {
		c.New["ProjectId"] = c.Old["ProjectId"]
	}
	if _, err := store.Get(ctx, tx, &Projects.Kind, c.Space, c.New.Text("ProjectId")); err != nil {
		return fault.InvalidField("ProjectId", "The project '%s' does not exist in this space.", c.New.Text("ProjectId"))
	}
	for _, r := range objects(c.New["Rules"]) {
		if r.Text("Id") == "" {
			r["Id"] = newGUID()
		}
	}
	if c.Old != nil && c.Old.Flag("IsDefault") && !c.New.Flag("IsDefault") {
		return fault.InvalidField("IsDefault", "A project needs a default channel. Make another one the default instead.")
	}
	if err := valid[project.Channel](c); err != nil {
		return err
	}
	ch, err := resource.View[project.Channel](c.New)
	if err != nil {
		return err
	}
	_, err = rulesOf(ch) // its ranges and patterns can be read
	return err
}

// channelStored keeps one default channel in a project.
func channelStored(ctx context.Context, tx *db.Tx, c *Change) error {
	if !c.New.Flag("IsDefault") {
		return nil
	}
	return c.takeDefault(ctx, tx, store.Query{Spaces: []string{c.Space}, Filters: map[string][]string{"projectId": {c.New.Text("ProjectId")}}})
}

// takeDefault clears IsDefault of all others the query finds.
func (c *Change) takeDefault(ctx context.Context, tx *db.Tx, q store.Query) error {
	all, _, err := store.List(ctx, tx, &c.Kind.Kind, q)
	if err != nil {
		return err
	}
	for _, o := range all {
		if o.Text("Id") != c.New.Text("Id") && o.Flag("IsDefault") {
			changed := o.Clone()
			changed["IsDefault"] = false
			if _, err := store.Update(ctx, tx, &c.Kind.Kind, o, changed); err != nil {
				return err
			}
		}
	}
	return nil
}

func channelLeaving(_ context.Context, _ *db.Tx, c *Change) error {
	if c.Old.Flag("IsDefault") {
		return fault.Invalidf("The default channel of a project cannot be deleted. Make another one the default first.")
	}
	return nil
}

// onlyDefault keeps one default among the worker pools, or the machine policies, of a space.
func onlyDefault(ctx context.Context, tx *db.Tx, c *Change) error {
	if !c.New.Flag("IsDefault") {
		return nil
	}
	return c.takeDefault(ctx, tx, store.Query{Spaces: []string{c.Space}})
}

func defaultStays(_ context.Context, _ *db.Tx, c *Change) error {
	if c.Old.Flag("IsDefault") {
		return fault.Invalidf("The default %s cannot be deleted.", strings.ToLower(c.Kind.Name))
	}
	return nil
}

func checkAccount(ctx context.Context, tx *db.Tx, c *Change) error {
	if err := named(ctx, tx, c); err != nil {
		return err
	}
	if c.Old != nil && c.New.Text("AccountType") != c.Old.Text("AccountType") {
		return fault.InvalidField("AccountType", "The type of an account cannot be changed. Please make a new account.")
	}
	if err := oneOf(c.New, "AccountType", AccountTypes...); err != nil {
		return err
	}
	return oneOf(c.New, "TenantedDeploymentParticipation", machine.Untenanted, machine.Tenanted, machine.TenantedOrUntenanted)
}

// checkFeed takes the built-in feed only: external ones are not fetched from yet, and one that does nothing would lie.
func checkFeed(ctx context.Context, tx *db.Tx, c *Change) error {
	if err := named(ctx, tx, c); err != nil {
		return err
	}
	if c.Old != nil {
		c.New["FeedType"] = c.Old["FeedType"]
	}
	if c.New.Text("FeedType") == BuiltIn && c.Old == nil && c.New.Text("Id") == "" {
		return fault.InvalidField("FeedType", "Each space has one built-in feed from the start; another one cannot be made.")
	}
	if c.New.Text("FeedType") != BuiltIn {
		return fault.InvalidField("FeedType", "Feeds of type '%s' are not supported by this version. Push the packages to the built-in feed instead.", c.New.Text("FeedType"))
	}
	return nil
}

func feedLeaving(_ context.Context, _ *db.Tx, c *Change) error {
	if c.Old.Text("FeedType") == BuiltIn {
		return fault.Invalidf("The built-in feed cannot be deleted.")
	}
	return nil
}

func checkWorkerPool(ctx context.Context, tx *db.Tx, c *Change) error {
	if err := named(ctx, tx, c); err != nil {
		return err
	}
	if err := oneOf(c.New, "WorkerPoolType", machine.StaticWorkerPool, machine.DynamicWorkerPool); err != nil {
		return err
	}
	c.New["CanAddWorkers"] = c.New.Text("WorkerPoolType") == machine.StaticWorkerPool
	return keepDefault(c)
}

// keepDefault refuses to leave a space without a default.
func keepDefault(c *Change) error {
	if c.Old != nil && c.Old.Flag("IsDefault") && !c.New.Flag("IsDefault") {
		return fault.InvalidField("IsDefault", "A space needs a default %s. Make another one the default instead.", strings.ToLower(c.Kind.Name))
	}
	return nil
}

// machinePolicyDefaults are what a policy has where its client said nothing (deployments.md M1-M4, H2).
var machinePolicyDefaults = map[string]map[string]any{
	"MachineHealthCheckPolicy":  {"HealthCheckType": machine.CheckRunScript, "HealthCheckInterval": "01:00:00"},
	"MachineConnectivityPolicy": {"MachineConnectivityBehavior": machine.ExpectedToBeOnline},
	"MachineCleanupPolicy":      {"DeleteMachinesBehavior": machine.DoNotDeleteMachines, "DeleteMachinesElapsedTimeSpan": "00:00:00"},
	"MachineUpdatePolicy":       {"CalamariUpdateBehavior": machine.CalamariUpdateOnDeployment, "TentacleUpdateBehavior": machine.TentacleNeverUpdate},
	"MachineRpcCallRetryPolicy": {"Enabled": true, "DeploymentRetryDuration": "00:02:30", "HealthCheckRetryDuration": "00:02:30"},
	"":                          {"ConnectionConnectTimeout": "00:01:00", "ConnectionRetrySleepInterval": "00:00:01", "ConnectionRetryTimeLimit": "00:05:00", "PollingRequestQueueTimeout": "00:02:00"},
}

func checkMachinePolicy(ctx context.Context, tx *db.Tx, c *Change) error {
	if err := named(ctx, tx, c); err != nil {
		return err
	}
	scheduled := false // clients say "never", or a cron schedule, by leaving the interval out of what they send
	health, _ := c.New["MachineHealthCheckPolicy"].(map[string]any)
	for _, member := range []string{"HealthCheckType", "HealthCheckInterval", "HealthCheckCron"} {
		_, sent := health[member]
		scheduled = scheduled || sent
	}
	for member, defaults := range machinePolicyDefaults {
		o := c.New
		if member != "" {
			part, ok := c.New[member].(map[string]any)
			if !ok {
				part = map[string]any{}
				c.New[member] = part
			}
			o = part
		}
		for name, v := range defaults {
			if name == "HealthCheckInterval" && scheduled {
				continue
			}
			if now, has := o[name]; !has || now == nil || now == "" {
				o[name] = v
			}
		}
	}
	if health, ok := c.New["MachineHealthCheckPolicy"].(map[string]any); ok {
		for _, shell := range []string{"PowerShellHealthCheckPolicy", "BashHealthCheckPolicy"} {
			if script, ok := health[shell].(map[string]any); ok && script["RunType"] == nil {
				script["RunType"] = machine.ScriptInheritFromDefault
			}
		}
	}
	if err := valid[machine.Policy](c); err != nil {
		return err
	}
	policy, err := resource.View[machine.Policy](c.New)
	if err != nil {
		return err
	}
	if err := checkSchedule(policy.MachineHealthCheckPolicy); err != nil {
		return err
	}
	return keepDefault(c)
}

func checkProxy(ctx context.Context, tx *db.Tx, c *Change) error {
	if err := named(ctx, tx, c); err != nil {
		return err
	}
	if c.New.Text("Host") == "" {
		return fault.InvalidField("Host", "Please provide the host of the proxy.")
	}
	return nil
}

// checkTagSet gives tags their ids and canonical names.
func checkTagSet(ctx context.Context, tx *db.Tx, c *Change) error {
	if err := named(ctx, tx, c); err != nil {
		return err
	}
	if err := oneOf(c.New, "Type", "SingleSelect", "MultiSelect", "FreeText"); err != nil {
		return err
	}
	if len(c.New.Texts("Scopes")) == 0 {
		c.New["Scopes"] = []any{"Tenant"}
	}
	set := c.New.Text("Id")
	if set == "" { // the ids of tags are made of their set's
		id, err := db.NextID(ctx, tx, c.Kind.Prefix)
		if err != nil {
			return err
		}
		set = id
		c.New["Id"] = set
	}
	for i, tag := range objects(c.New["Tags"]) {
		if tag.Text("Name") == "" {
			return fault.InvalidField("Tags", "Please provide a name for each tag.")
		}
		if tag.Text("Id") == "" {
			n, err := db.NextNumber(ctx, tx, "Tags")
			if err != nil {
				return err
			}
			tag["Id"] = fmt.Sprintf("%s/Tags-%d", set, n)
		}
		tag["CanonicalTagName"] = c.New.Text("Name") + "/" + tag.Text("Name")
		if tag.Int("SortOrder") == 0 {
			tag["SortOrder"] = number(i)
		}
	}
	return nil
}

func checkDeploymentSettings(_ context.Context, _ *db.Tx, c *Change) error {
	complete(c.New, "ConnectivityPolicy")
	return valid[project.DeploymentSettings](c)
}

// complete gives the members that projects and their settings share the values they have where nothing was said.
func complete(o resource.Object, connectivity string) {
	defaulted(o, "DefaultGuidedFailureMode", project.GuidedFailureFromEnvironment)
	defaulted(object(o, connectivity), "SkipMachineBehavior", project.SkipNone)
}
