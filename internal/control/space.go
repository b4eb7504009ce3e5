package control

import (
	"context"
	"fmt"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/store"
)

// FirstSpace is the default space's id.
const FirstSpace = "Spaces-1"

// checkSpace holds the reference's rule that somebody must manage a space.
func checkSpace(ctx context.Context, tx *db.Tx, c *Change) error {
	if err := named(ctx, tx, c); err != nil {
		return err
	}
	if len(c.New.Text("Name")) > 20 {
		return fault.InvalidField("Name", "The name of a space may have 20 characters at most.")
	}
	if c.Old == nil && !c.New.Flag("IsDefault") {
		c.New["IsDefault"] = false
		if len(c.New.Texts("SpaceManagersTeams")) == 0 && len(c.New.Texts("SpaceManagersTeamMembers")) == 0 {
			return fault.InvalidField("SpaceManagersTeams", "Please name at least one team or user that is to manage the space (SpaceManagersTeams, SpaceManagersTeamMembers).")
		}
	}
	for member, k := range map[string]*Kind{"SpaceManagersTeams": Teams, "SpaceManagersTeamMembers": Users} {
		for _, id := range c.New.Texts(member) {
			if _, err := store.Get(ctx, tx, &k.Kind, "*", id); err != nil {
				return fault.InvalidField(member, "%s names '%s', which does not exist.", member, id)
			}
		}
	}
	return nil
}

// spaceStored fills a new space with what each has from the start (rest-api.md 4).
func spaceStored(ctx context.Context, tx *db.Tx, c *Change) error {
	space := c.New.Text("Id")
	if stop := c.New.Flag("TaskQueueStopped"); stop != (c.Old != nil && c.Old.Flag("TaskQueueStopped")) {
		if err := cluster.SetSpaceStopped(ctx, tx, space, stop); err != nil {
			return err
		}
	}
	members := c.New["SpaceManagersTeamMembers"]
	team := managersTeamID(space)
	if c.Old != nil {
		old, err := store.Lock(ctx, tx, &Teams.Kind, space, team)
		if err != nil {
			return err
		}
		changed := old.Clone()
		changed["MemberUserIds"] = members
		_, err = store.Update(ctx, tx, &Teams.Kind, old, changed)
		return err
	}
	forever := &environment.RetentionPolicy{Strategy: environment.RetainForever, Unit: environment.Days, ShouldKeepForever: true}
	builtIn := Feed{
		Name: "Octopus Server (built-in)", FeedType: BuiltIn, DownloadAttempts: 5, DownloadRetryBackoffSeconds: 10,
		PackageAcquisitionLocationOptions: []string{"Server", "ExecutionTarget", "NotAcquired"},
	}
	builtIn.Id = builtInFeedID(space)
	managers := access.Team{Name: "Space Managers", Description: "Users who manage this space.", CanChangeMembers: true}
	managers.Id = team
	for _, first := range []struct {
		kind *Kind
		make any
	}{
		{Lifecycles, environment.Lifecycle{Name: "Default Lifecycle", Description: "", ReleaseRetentionPolicy: forever, TentacleRetentionPolicy: forever}},
		{MachinePolicies, machine.Policy{Name: "Default Machine Policy", Description: "Default Machine Policy", IsDefault: true}},
		{WorkerPools, machine.WorkerPool{Name: "Default Worker Pool", WorkerPoolType: machine.StaticWorkerPool, IsDefault: true, CanAddWorkers: true}},
		{Feeds, builtIn},
		{Teams, managers},
	} {
		o, err := resource.ObjectOf(first.make)
		if err != nil {
			return err
		}
		if first.kind == Teams {
			o["MemberUserIds"] = members
		}
		if _, err := c.insert(ctx, tx, first.kind, space, o, ""); err != nil {
			return fmt.Errorf("fill the space %s: %w", space, err)
		}
	}
	group := resource.Object{"Name": "Default Project Group", "Description": ""}
	if _, err := c.insert(ctx, tx, ProjectGroups, space, group, ""); err != nil {
		return err
	}
	c.New["SpaceManagersTeams"] = appendText(c.New["SpaceManagersTeams"], team)
	changed, err := store.Update(ctx, tx, &Spaces.Kind, c.New, c.New)
	if err != nil {
		return err
	}
	c.New = changed
	return nil
}

func appendText(v any, s string) any {
	list, _ := v.([]any)
	for _, e := range list {
		if e == s {
			return list
		}
	}
	return append(list, s)
}

// spaceLeaving takes away a space that was stopped first, with everything in it.
func spaceLeaving(ctx context.Context, tx *db.Tx, c *Change) error {
	space := c.Old.Text("Id")
	switch {
	case c.Old.Flag("IsDefault"):
		return fault.Invalidf("The default space cannot be deleted.")
	case !c.Old.Flag("TaskQueueStopped"):
		return fault.Invalidf("The space cannot be deleted while its task queue runs. Stop it first (TaskQueueStopped: true).")
	}
	if err := c.noLiveTask(ctx, tx, "space", space, c.Old.Text("Name")); err != nil {
		return err
	}
	if err := cluster.SetSpaceStopped(ctx, tx, space, false); err != nil { // nothing is left to hold back
		return err
	}
	c.Space = "" // the event is the server's: the space is gone
	if err := deleteInterruptions(ctx, tx, space); err != nil {
		return err
	}
	return store.DeleteSpace(ctx, tx, space)
}

// teamLeaving keeps the teams that cannot be deleted.
func teamLeaving(_ context.Context, _ *db.Tx, c *Change) error {
	if !c.Old.Flag("CanBeDeleted") {
		return fault.Invalidf("The team '%s' is built in and cannot be deleted.", c.Old.Text("Name"))
	}
	return nil
}
