package control

import (
	"context"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/secret"
	"github.com/octavo/octavo/internal/store"
	"github.com/octavo/octavo/internal/variable"
)

// checkVariableSet gives variables their ids, puts sensitive values apart, and refuses what could not be resolved.
func checkVariableSet(ctx context.Context, tx *db.Tx, c *Change) error {
	if c.Old != nil && isSnapshot(c.Old.Text("Id")) {
		return fault.Invalidf("%s is a release's frozen copy of variables and cannot be changed.", c.Old.Text("Id"))
	}
	delete(c.New, "ScopeValues")
	kept := map[string]string{}
	for _, v := range objects(c.Old["Variables"]) {
		kept[v.Text("Id")] = v.Text("SecretId")
	}
	set, err := resource.View[variable.VariableSet](c.New)
	if err != nil {
		return err
	}
	set.Normalise()
	for i, v := range objects(c.New["Variables"]) {
		normal := set.Variables[i]
		v["Id"], v["Name"], v["Type"], v["IsSensitive"], v["IsEditable"] = normal.Id, normal.Name, normal.Type, normal.IsSensitive, true
		foldScope(v)
		if err := c.sealVariable(ctx, tx, v, c.Space, kept[v.Text("Id")]); err != nil {
			return err
		}
	}
	if set, err = resource.View[variable.VariableSet](c.New); err != nil {
		return err
	}
	return set.Validate(!strings.HasPrefix(c.New.Text("OwnerId"), "Projects-"))
}

// foldScope spells the fields of a scope as they are known, since clients need not.
func foldScope(v resource.Object) {
	scope := resource.Object{}
	for name, ids := range object(v, "Scope") {
		list, _ := ids.([]any)
		if len(list) == 0 {
			continue
		}
		for _, f := range []variable.Field{
			variable.FieldEnvironment, variable.FieldMachine, variable.FieldRole, variable.FieldAction, variable.FieldChannel,
			variable.FieldTenantTag, variable.FieldTenant, variable.FieldProcessOwner, variable.FieldProject,
		} {
			if strings.EqualFold(name, string(f)) {
				name = string(f)
			}
		}
		scope[name] = list
	}
	v["Scope"] = map[string]any(scope)
}

// sealVariable moves the text of a sensitive variable into a secret row; without a new text the old one stays.
func (c *Control) sealVariable(ctx context.Context, tx *db.Tx, v resource.Object, space, old string) error {
	delete(v, "SecretId") // only we say where a secret lies
	if v.Text("Type") != variable.TypeSensitive {
		return nil
	}
	text, given := v["Value"].(string)
	v["Value"] = nil
	if !given {
		if old != "" {
			v["SecretId"] = old
		}
		return nil
	}
	id, err := secret.Put(ctx, tx, c.Ring, space, text)
	v["SecretId"] = id
	return err
}

// showVariableSet hides what is secret, and lists what values may be scoped to (rest-api.md 4).
func showVariableSet(ctx context.Context, tx *db.Tx, c *Control, o resource.Object) error {
	for _, v := range objects(o["Variables"]) {
		delete(v, "SecretId")
		if _, has := v["Description"]; !has || v["Description"] == nil {
			v["Description"] = ""
		}
	}
	delete(o, "LastSnapshotId")
	values, err := c.scopeValues(ctx, tx, o)
	if err != nil {
		return err
	}
	shown, err := resource.ObjectOf(values)
	o["ScopeValues"] = map[string]any(shown)
	return err
}

func (c *Control) scopeValues(ctx context.Context, tx *db.Tx, set resource.Object) (variable.ScopeValues, error) {
	var v variable.ScopeValues
	in := store.Query{Spaces: []string{set.Text("SpaceId")}}
	environments, err := store.Views[environment.Environment](ctx, tx, &Environments.Kind, in)
	if err != nil {
		return v, err
	}
	for _, e := range environments {
		v.Environments = append(v.Environments, variable.ScopeValue{Id: e.Id, Name: e.Name})
	}
	machines, err := store.Views[machine.Machine](ctx, tx, &Machines.Kind, in)
	if err != nil {
		return v, err
	}
	var roles []string
	for _, m := range machines {
		v.Machines = append(v.Machines, variable.ScopeValue{Id: m.Id, Name: m.Name})
		roles = append(roles, m.Roles...)
	}
	slices.Sort(roles)
	for _, r := range slices.Compact(roles) {
		v.Roles = append(v.Roles, variable.ScopeValue{Id: r, Name: r})
	}
	sets, err := store.Views[environment.TagSet](ctx, tx, &TagSets.Kind, in)
	if err != nil {
		return v, err
	}
	for _, s := range sets {
		for _, t := range s.Tags {
			v.TenantTags = append(v.TenantTags, variable.ScopeValue{Id: t.CanonicalTagName, Name: t.CanonicalTagName})
		}
	}
	owner := set.Text("OwnerId")
	if !strings.HasPrefix(owner, "Projects-") {
		return v, nil
	}
	p, err := store.View[project.Project](ctx, tx, owner)
	if err != nil {
		return v, err
	}
	v.Processes = append(v.Processes, variable.ScopeValue{Id: p.Id, Name: p.Name, ProcessType: "Deployment"})
	process, err := store.View[project.Process](ctx, tx, processID(owner))
	if err != nil {
		return v, err
	}
	for _, s := range process.Steps {
		for _, a := range s.Actions {
			v.Actions = append(v.Actions, variable.ScopeValue{Id: a.Id, Name: a.Name})
		}
	}
	in.Filters = map[string][]string{"projectId": {owner}}
	channels, err := store.Views[project.Channel](ctx, tx, &Channels.Kind, in)
	for _, ch := range channels {
		v.Channels = append(v.Channels, variable.ScopeValue{Id: ch.Id, Name: ch.Name})
	}
	return v, err
}
