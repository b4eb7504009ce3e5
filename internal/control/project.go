package control

import (
	"context"
	"strings"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/store"
)

// Ids of what each project has one of.
func processID(projectID string) string   { return "deploymentprocess-" + projectID }
func variableSetID(ownerID string) string { return "variableset-" + ownerID }
func settingsID(projectID string) string  { return "deploymentsettings-" + projectID }
func builtInFeedID(space string) string   { return "feeds-builtin" + suffix(space) }
func managersTeamID(space string) string  { return "teams-spacemanagers-" + space }
func suffix(space string) string {
	if space == FirstSpace {
		return ""
	}
	return "-" + space
}

// checkProject gives a project what it needs to live: group, lifecycle, versioning.
func checkProject(ctx context.Context, tx *db.Tx, c *Change) error {
	if err := named(ctx, tx, c); err != nil {
		return err
	}
	if c.Old == nil {
		c.New["VariableSetId"], c.New["DeploymentProcessId"], c.New["IsVersionControlled"] = "", "", false
		if c.Clone != "" {
			original, err := store.Get(ctx, tx, &Projects.Kind, c.Space, c.Clone)
			if err != nil {
				return fault.InvalidField("clone", "The project '%s' that is to be cloned does not exist in this space.", c.Clone)
			}
			copyOver(c.New, original)
			c.New["ClonedFromProjectId"] = original["Id"]
		}
	}
	var wrong fault.List
	if c.New.Text("ProjectGroupId") == "" {
		wrong.Add("Please select a project group for the project (ProjectGroupId).")
	}
	if c.New.Text("LifecycleId") == "" {
		wrong.Add("Please select a lifecycle for the project (LifecycleId).")
	}
	if err := wrong.Err(); err != nil {
		return err
	}
	persistence := object(c.New, "PersistenceSettings")
	if persistence.Text("Type") == "" {
		persistence["Type"] = "Database"
	}
	if !strings.EqualFold(persistence.Text("Type"), "Database") {
		return fault.InvalidField("PersistenceSettings", "Projects kept in a Git repository are not supported by this version; use PersistenceSettings.Type Database.")
	}
	versioning := object(c.New, "VersioningStrategy")
	if versioning.Text("Template") == "" && versioning["DonorPackage"] == nil && c.Old == nil {
		versioning["Template"] = DefaultVersionTemplate
	}
	complete(c.New, "ProjectConnectivityPolicy")
	return valid[project.Project](c)
}

// DefaultVersionTemplate is how a new project numbers its releases (deployments.md V2).
const DefaultVersionTemplate = "#{Octopus.Version.LastMajor}.#{Octopus.Version.LastMinor}.#{Octopus.Version.NextPatch}"

// copyOver gives a clone what its client did not say otherwise.
func copyOver(o, original resource.Object) {
	own := map[string]bool{"Id": true, "Name": true, "Slug": true, "Description": true, "ProjectGroupId": true, "LifecycleId": true, "VariableSetId": true, "DeploymentProcessId": true, "SpaceId": true, "IsDisabled": true}
	for name, v := range original.Clone() {
		if !own[name] {
			o[name] = v
		}
	}
	for _, name := range []string{"ProjectGroupId", "LifecycleId"} {
		if o.Text(name) == "" {
			o[name] = original[name]
		}
	}
}

// projectStored makes what belongs to a new project, and keeps the settings that show on both in step.
func projectStored(ctx context.Context, tx *db.Tx, c *Change) error {
	id := c.New.Text("Id")
	if c.Old != nil {
		return c.mirror(ctx, tx, &DeploymentSettings.Kind, settingsID(id), settingsOf(c.New))
	}
	process := resource.Object{"Id": processID(id), "ProjectId": id, "Version": number(0)}
	variables := resource.Object{"Id": variableSetID(id), "OwnerId": id, "Version": number(0)}
	settings := resource.Object{"Id": settingsID(id), "ProjectId": id}
	for name, v := range settingsOf(c.New) {
		settings[name] = v
	}
	if c.Clone == "" {
		settings["CancelQueuedTasks"], settings["CancelRunningTasks"] = true, true // for new projects (behaviour.md 2.6)
	}
	channels := []resource.Object{{"Name": "Default", "Description": "", "ProjectId": id, "IsDefault": true, "Type": "Lifecycle"}}
	if c.Clone != "" {
		original := c.New.Text("ClonedFromProjectId")
		for target, from := range map[*resource.Object]string{&process: processID(original), &variables: variableSetID(original), &settings: settingsID(original)} {
			if err := cloneInto(ctx, tx, *target, from); err != nil {
				return err
			}
		}
		all, _, err := store.List(ctx, tx, &Channels.Kind, store.Query{Spaces: []string{c.Space}, Filters: map[string][]string{"projectId": {original}}})
		if err != nil {
			return err
		}
		channels = nil
		for _, o := range all {
			o = o.Clone()
			for _, name := range []string{"Id", "Slug", "SpaceId"} {
				delete(o, name)
			}
			o["ProjectId"] = id
			channels = append(channels, o)
		}
	}
	// A clone's process may name channels of the original; they get the names' new ids.
	channelIDs := map[string]string{}
	for _, o := range channels {
		made, err := c.insert(ctx, tx, Channels, c.Space, o, "")
		if err != nil {
			return err
		}
		channelIDs[made.Text("Name")] = made.Text("Id")
	}
	if c.Clone != "" {
		if err := renameChannels(ctx, tx, process, variables, channelIDs); err != nil {
			return err
		}
	}
	for k, o := range map[*Kind]resource.Object{Processes: process, VariableSets: variables, DeploymentSettings: settings} {
		if _, err := store.Insert(ctx, tx, &k.Kind, c.Space, resource.Fold(k.Type, o)); err != nil {
			return err
		}
	}
	ids := map[string]any{"VariableSetId": variables.Text("Id"), "DeploymentProcessId": process.Text("Id")}
	for name, v := range ids {
		c.New[name] = v
	}
	return store.SetOwned(ctx, tx, id, ids)
}

// cloneInto fills an object with a copy of a stored one, except for what makes it itself. Secrets are shared by reference.
func cloneInto(ctx context.Context, tx *db.Tx, target resource.Object, from string) error {
	original, err := store.Load(ctx, tx, from)
	if err != nil {
		return err
	}
	for name, v := range original.Clone() {
		if _, own := target[name]; !own && name != "LastSnapshotId" {
			target[name] = v
		}
	}
	return nil
}

// renameChannels replaces the channels a copied process or variable set names by those of the same name in the new project.
func renameChannels(ctx context.Context, tx *db.Tx, process, variables resource.Object, byName map[string]string) error {
	renamed := func(v any) (any, error) {
		list, _ := v.([]any)
		out := []any{}
		for _, e := range list {
			s, _ := e.(string)
			o, err := store.Load(ctx, tx, s)
			if fault.KindOf(err) == fault.NotFound {
				continue
			}
			if err != nil {
				return nil, err
			}
			if id, ok := byName[o.Text("Name")]; ok {
				out = append(out, id)
			}
		}
		return out, nil
	}
	for _, step := range objects(process["Steps"]) {
		for _, action := range objects(step["Actions"]) {
			list, err := renamed(action["Channels"])
			if err != nil {
				return err
			}
			action["Channels"] = list
		}
	}
	for _, v := range objects(variables["Variables"]) {
		scope := object(v, "Scope")
		if _, has := scope["Channel"]; !has {
			continue
		}
		list, err := renamed(scope["Channel"])
		if err != nil {
			return err
		}
		scope["Channel"] = list
	}
	return nil
}

// Members a project and its deployment settings share, by their name on each.
var shared = map[string]string{ // settings -> project
	"ConnectivityPolicy": "ProjectConnectivityPolicy", "DefaultGuidedFailureMode": "DefaultGuidedFailureMode", "VersioningStrategy": "VersioningStrategy",
	"ReleaseNotesTemplate": "ReleaseNotesTemplate", "DeploymentChangesTemplate": "DeploymentChangesTemplate", "DefaultToSkipIfAlreadyInstalled": "DefaultToSkipIfAlreadyInstalled",
}

func settingsOf(p resource.Object) resource.Object {
	out := resource.Object{}
	for theirs, ours := range shared {
		if v, has := p[ours]; has {
			out[theirs] = v
		}
	}
	return out.Clone()
}

// mirror writes shared members over another document's.
func (c *Control) mirror(ctx context.Context, tx *db.Tx, k *resource.Kind, id string, members resource.Object) error {
	old, err := store.Lock(ctx, tx, k, "*", id)
	if err != nil {
		return err
	}
	changed := old.Clone()
	for name, v := range members {
		changed[name] = v
	}
	_, err = store.Update(ctx, tx, k, old, changed)
	return err
}

func deploymentSettingsStored(ctx context.Context, tx *db.Tx, c *Change) error {
	if c.Old == nil {
		return nil
	}
	members := resource.Object{}
	for ours, theirs := range shared {
		if v, has := c.New[ours]; has {
			members[theirs] = v
		}
	}
	return c.mirror(ctx, tx, &Projects.Kind, c.New.Text("ProjectId"), members.Clone())
}

// projectLeaving takes away all that belongs to a project; a running deployment of it is refused.
func projectLeaving(ctx context.Context, tx *db.Tx, c *Change) error {
	id := c.Old.Text("Id")
	if err := c.noLiveTask(ctx, tx, "project", id, c.Old.Text("Name")); err != nil {
		return err
	}
	mine := map[string][]string{"projectId": {id}}
	releases, _, err := store.List(ctx, tx, &Releases.Kind, store.Query{Spaces: []string{c.Space}, Filters: mine})
	if err != nil {
		return err
	}
	for _, r := range releases {
		if err := c.remove(ctx, tx, Releases, r); err != nil {
			return err
		}
	}
	for _, part := range []string{processID(id), variableSetID(id), settingsID(id)} {
		if err := store.Delete(ctx, tx, part); err != nil {
			return err
		}
	}
	channels, _, err := store.List(ctx, tx, &Channels.Kind, store.Query{Spaces: []string{c.Space}, Filters: mine})
	if err != nil {
		return err
	}
	for _, o := range channels {
		if err := store.Delete(ctx, tx, o.Text("Id")); err != nil {
			return err
		}
	}
	return nil
}
