package control

import (
	"context"
	"strconv"
	"strings"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/store"
)

// checkProcess gives steps, actions and package references their ids and slugs, and what else their client left out;
// it refuses a process that could not run (deployments.md 0, 1).
func checkProcess(_ context.Context, _ *db.Tx, c *Change) error {
	if c.Old != nil && isSnapshot(c.Old.Text("Id")) {
		return fault.Invalidf("%s is a release's frozen copy of a process and cannot be changed.", c.Old.Text("Id"))
	}
	var wrong fault.List
	names, slugs, actionNames, actionSlugs := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	steps := objects(c.New["Steps"])
	for _, s := range steps {
		for _, a := range objects(s["Actions"]) {
			keepSlug(a, actionSlugs)
		}
		keepSlug(s, slugs)
	}
	for i, s := range steps {
		name := strings.TrimSpace(s.Text("Name"))
		switch {
		case name == "":
			wrong.Add("Please provide a name for step %d.", i+1)
		case names[strings.ToLower(name)]:
			wrong.Add("The step name '%s' is used twice; the names of steps must be different.", name)
		}
		names[strings.ToLower(name)] = true
		identify(s, slugs)
		defaulted(s, "Condition", project.ConditionSuccess)
		defaulted(s, "StartTrigger", project.StartAfterPrevious)
		defaulted(s, "PackageRequirement", project.LetOctopusDecide)
		actions := objects(s["Actions"])
		if len(actions) == 0 {
			wrong.Add("The step '%s' has no action.", name)
		}
		for _, a := range actions {
			label := a.Text("Name")
			if label == "" {
				a["Name"], label = name, name
			}
			if actionNames[strings.ToLower(label)] {
				wrong.Add("The action name '%s' is used twice; the names of actions must be different.", label)
			}
			actionNames[strings.ToLower(label)] = true
			if a.Text("ActionType") == "" {
				wrong.Add("Please provide an ActionType for the action '%s', such as Octopus.Script.", label)
			}
			identify(a, actionSlugs)
			defaulted(a, "Condition", project.ConditionSuccess)
			for _, p := range objects(a["Packages"]) {
				if p.Text("Id") == "" {
					p["Id"] = newGUID()
				}
				if _, has := p["Name"]; !has || p["Name"] == nil {
					p["Name"] = ""
				}
				defaulted(p, "AcquisitionLocation", project.AcquireOnServer)
				defaulted(p, "FeedId", builtInFeedID(c.Space))
			}
		}
	}
	if err := wrong.Err(); err != nil {
		return err
	}
	return valid[project.Process](c)
}

func defaulted(o resource.Object, member, value string) {
	if o.Text(member) == "" {
		o[member] = value
	}
}

// keepSlug notes a slug that is set already, so that no new one takes it.
func keepSlug(o resource.Object, slugs map[string]bool) {
	if s := o.Text("Slug"); s != "" {
		slugs[s] = true
	}
}

// identify gives an id, and a slug nobody else in the process has.
func identify(o resource.Object, slugs map[string]bool) {
	if o.Text("Id") == "" {
		o["Id"] = newGUID()
	}
	if o.Text("Slug") != "" {
		return
	}
	base := store.Slug(o.Text("Name"))
	slug := base
	for n := 2; slugs[slug]; n++ {
		slug = base + "-" + strconv.Itoa(n)
	}
	slugs[slug] = true
	o["Slug"] = slug
}

// isSnapshot tells a frozen copy from the living one, by the id.
func isSnapshot(id string) bool { return strings.Contains(id, "-s-") }
