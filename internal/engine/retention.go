package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/feed"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/store"
)

// Retention deletes what nobody needs any more (deployments.md 11): releases with all that belongs to them, packages that no
// release uses, and old tasks. It lists what goes, and why, in its log before it deletes it, one thing in one transaction;
// so it may die anywhere, and the next owner begins anew with what is left.

// How many ended tasks stay (deployments.md K32). Tasks of deployments are not among them: they go with their release.
const (
	latestTasks = 20
	recentTasks = 20_000
	recentSpan  = 30 * 24 * time.Hour
)

// whyKept says for people what a verdict's word means.
var whyKept = map[string]string{
	deployment.KeptByDashboard:  "it is what an environment runs now",
	deployment.KeptAsPrevious:   "it is what an environment would go back to",
	deployment.KeptByPolicy:     "its phase has room for it",
	deployment.KeptUndeployed:   "the lifecycle has room for it",
	deployment.KeptActive:       "a deployment of it has not ended",
	deployment.KeptByReferences: "another release or a trigger needs it",
}

// cleaning is one run of retention.
type cleaning struct {
	*work
	releases, packages, tasks int
	left                      int      // could not be deleted this time
	failed                    []string // what could not be gone through
}

// errLeft undoes a deletion that has to wait.
type errLeft string

func (e errLeft) Error() string { return string(e) }

func (e *Engine) retention(ctx context.Context, w *work) (cluster.Outcome, error) {
	c := &cleaning{work: w}
	ctx = access.With(ctx, access.System)
	root := tasklog.Entry{Activity: w.task.Id, Change: &tasklog.Change{Name: w.task.Description, Status: tasklog.Running, Summary: true}}
	if err := c.write(ctx, []tasklog.Entry{root}); err != nil {
		return nil, err
	}
	err := c.all(ctx)
	switch {
	case errors.Is(err, errCancelled):
		return w.end(ctx, cluster.Canceled, "The task was cancelled. What was deleted until then stays deleted."), nil
	case err != nil:
		return nil, err
	}
	summary := fmt.Sprintf("Deleted %d releases, %d packages and %d tasks.", c.releases, c.packages, c.tasks)
	if c.left > 0 {
		summary += fmt.Sprintf(" %d could not be deleted this time; the next run tries again.", c.left)
	}
	if err := c.write(ctx, []tasklog.Entry{tasklog.Line(w.task.Id, tasklog.Info, summary)}); err != nil {
		return nil, err
	}
	if len(c.failed) > 0 {
		return w.end(ctx, cluster.Failed, fmt.Sprintf("Retention could not go through %d of its parts, the next run tries again: %s. The log says why.", len(c.failed), strings.Join(c.failed, ", "))), nil
	}
	return w.end(ctx, cluster.Success, ""), nil
}

// part does one part of the whole. What goes wrong there is told, and the parts behind it have their turn all the same;
// only a cancel, a lost fence and a database that does not even take the telling end the run.
func (c *cleaning) part(ctx context.Context, name string, do func() error) error {
	err := do()
	if err == nil || ctx.Err() != nil || errors.Is(err, errCancelled) || errors.Is(err, cluster.ErrFenced) {
		return err
	}
	c.Log.Error("retention goes on without a part", "task", c.task.Id, "part", name, "err", err)
	c.failed = append(c.failed, name)
	return c.write(ctx, []tasklog.Entry{tasklog.Line(c.task.Id, tasklog.Error, "Retention could not go through "+name+": "+cause(err))})
}

// all goes through the spaces, or the one that the task is for; old tasks are of no space.
func (c *cleaning) all(ctx context.Context) error {
	var spaces []control.Space
	err := c.DB.Read(ctx, func(tx *db.Tx) (err error) {
		q := store.Query{}
		if c.task.SpaceId != "" {
			q.Ids = []string{c.task.SpaceId}
		}
		spaces, err = store.Views[control.Space](ctx, tx, &control.Spaces.Kind, q)
		return err
	})
	if err != nil {
		return err
	}
	for _, s := range spaces {
		if err := c.part(ctx, s.Id, func() error { return c.space(ctx, s) }); err != nil {
			return err
		}
	}
	if c.task.SpaceId != "" {
		return nil
	}
	if err := c.part(ctx, "old tasks", func() error { return c.history(ctx) }); err != nil {
		return err
	}
	return c.part(ctx, "memories of machines", func() error { return c.memories(ctx) })
}

// memories deletes what is remembered of policies and machines that are gone.
func (c *cleaning) memories(ctx context.Context) error {
	return c.store(ctx, "retention memories", func(tx *db.Tx) error {
		for _, q := range []string{
			"DELETE FROM health_schedule WHERE NOT EXISTS (SELECT 1 FROM document d WHERE d.id = health_schedule.policy)",
			"DELETE FROM machine_outage WHERE NOT EXISTS (SELECT 1 FROM document d WHERE d.id = machine_outage.machine)",
		} {
			if _, err := tx.ExecContext(ctx, q); err != nil {
				return err
			}
		}
		return nil
	})
}

// write stores lines, some at a time.
func (c *cleaning) write(ctx context.Context, entries []tasklog.Entry) error {
	for some := range slices.Chunk(entries, 500) {
		for i := range some {
			some[i].Text = c.mask.text(some[i].Text)
		}
		if err := c.note(ctx, "retention says", some...); err != nil {
			return err
		}
	}
	return nil
}

// goOn tells whether the task is to stop here.
func (c *cleaning) goOn(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if isClosed(c.run.Cancelled()) {
		return errCancelled
	}
	return nil
}

func (c *cleaning) space(ctx context.Context, s control.Space) error {
	var projects []project.Project
	uses := control.NewUses()
	err := c.DB.Read(ctx, func(tx *db.Tx) (err error) {
		projects, err = store.Views[project.Project](ctx, tx, &control.Projects.Kind, store.Query{Spaces: []string{s.Id}})
		return err
	})
	for _, p := range projects {
		uses.AddProject(p)
	}
	for below, more := int64(0), true; err == nil && more; {
		var next int64
		err = c.DB.Read(ctx, func(tx *db.Tx) (err error) {
			next, err = uses.AddReleases(ctx, tx, s.Id, below, 100)
			return err
		})
		below, more = next, next > 0
	}
	if err != nil {
		return err
	}
	for _, p := range projects {
		if err := c.part(ctx, p.Id, func() error { return c.project(ctx, s, p, uses) }); err != nil {
			return err
		}
	}
	return c.part(ctx, "packages of "+s.Id, func() error { return c.feed(ctx, s, uses) })
}

// project judges the releases of a project, says so, and deletes those that go.
func (c *cleaning) project(ctx context.Context, s control.Space, p project.Project, uses *control.Uses) error {
	if err := c.goOn(ctx); err != nil {
		return err
	}
	var old control.OldReleases
	err := c.DB.Read(ctx, func(tx *db.Tx) (err error) {
		old, err = control.OldReleasesOf(ctx, tx, p)
		return err
	})
	if err != nil || len(old.Releases) == 0 {
		return err
	}
	old.Referenced = func(id string) bool { return uses.Release(p.Id, id, old.Versions[id]) }
	activity := c.task.Id + "/" + p.Id
	entries := []tasklog.Entry{tasklog.Open(activity, c.task.Id, "Releases of "+p.Name+" ("+s.Name+")", tasklog.Running)}
	var going []deployment.Verdict
	for _, v := range old.Judge() {
		if !v.Delete {
			entries = append(entries, tasklog.Line(activity, tasklog.Verbose, fmt.Sprintf("Release %s (%s) stays: %s.", old.Versions[v.Id], v.Id, whyKept[v.Why])))
			continue
		}
		going = append(going, v)
		entries = append(entries, tasklog.Line(activity, tasklog.Info, fmt.Sprintf("Release %s (%s) goes: %s.", old.Versions[v.Id], v.Id, v.Why)))
	}
	if err := c.write(ctx, entries); err != nil {
		return err
	}
	status := tasklog.Success
	for _, v := range going {
		why, err := c.release(ctx, p.SpaceId, v.Id, old.Deployments[v.Id], func(tx *db.Tx) (bool, error) {
			err := uses.AddNewReleases(ctx, tx, p.SpaceId)
			return old.Referenced(v.Id), err
		})
		if err != nil {
			return err
		}
		if why != "" {
			c.left++
			status = tasklog.SuccessWithWarning
			if err := c.write(ctx, []tasklog.Entry{tasklog.Line(activity, tasklog.Warning, "Release "+old.Versions[v.Id]+" stays for now: "+why+".")}); err != nil {
				return err
			}
		}
	}
	done := tasklog.Line(activity, tasklog.Info, fmt.Sprintf("%d of %d releases were to go.", len(going), len(old.Releases)))
	return c.write(ctx, []tasklog.Entry{done, tasklog.Set(activity, status)})
}

// release deletes one, unless there is a reason not to. needed asks whether another release came to need it.
func (c *cleaning) release(ctx context.Context, space, id string, judged []string, needed func(*db.Tx) (bool, error)) (why string, err error) {
	if err := c.goOn(ctx); err != nil {
		return "", err
	}
	err = c.forgetRelease(ctx, space, id, judged, needed)
	var left errLeft
	var refused *fault.Fault
	switch {
	case errors.As(err, &left):
		return string(left), nil
	case errors.As(err, &refused) && refused.Kind == fault.Invalid:
		return strings.TrimSuffix(refused.Error(), "."), nil
	case err != nil:
		return "", err
	}
	c.releases++
	return "", nil
}

// feed deletes packages of the built-in feed that are old and used by nothing (K30).
func (c *cleaning) feed(ctx context.Context, s control.Space, uses *control.Uses) error {
	if err := c.goOn(ctx); err != nil {
		return err
	}
	const page = 500
	var days int
	var all []deployment.OldPackage
	var published map[string]time.Time
	err := c.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if days, err = control.PackageDays(ctx, tx, s.Id); err != nil || days <= 0 {
			return err
		}
		all, published = nil, map[string]time.Time{}
		for skip := 0; ; skip += page {
			list, _, err := feed.List(ctx, tx, s.Id, feed.Query{Skip: skip, Take: page})
			if err != nil {
				return err
			}
			for _, p := range list {
				all = append(all, deployment.OldPackage{Id: p.Id, Published: p.Published.Time, Used: uses.Package(p.PackageId, p.Version)})
				published[p.Id] = p.Published.Time
			}
			if len(list) < page {
				return nil
			}
		}
	})
	if err != nil || len(all) == 0 {
		return err
	}
	activity := c.task.Id + "/packages-" + s.Id
	entries := []tasklog.Entry{tasklog.Open(activity, c.task.Id, "Packages of "+s.Name, tasklog.Running)}
	var going []string
	for _, v := range deployment.JudgePackages(all, days, time.Now()) {
		if v.Delete {
			going = append(going, v.Id)
			entries = append(entries, tasklog.Line(activity, tasklog.Info, fmt.Sprintf("Package %s goes: it is older than %d days, and no release uses it.", strings.TrimPrefix(v.Id, "packages-"), days)))
		}
	}
	if err := c.write(ctx, entries); err != nil {
		return err
	}
	for _, id := range going {
		if err := c.goOn(ctx); err != nil {
			return err
		}
		why, err := c.packageGoes(ctx, s.Id, id, published[id], uses)
		if err != nil {
			return err
		}
		if why == "" {
			c.packages++
			continue
		}
		if err := c.write(ctx, []tasklog.Entry{tasklog.Line(activity, tasklog.Info, "Package "+strings.TrimPrefix(id, "packages-")+" stays: "+why+".")}); err != nil {
			return err
		}
	}
	return c.write(ctx, []tasklog.Entry{tasklog.Set(activity, tasklog.Success)})
}

// packageGoes deletes one, unless it is not what was judged any more.
func (c *cleaning) packageGoes(ctx context.Context, space, id string, judged time.Time, uses *control.Uses) (why string, err error) {
	err = c.store(ctx, "retention package", func(tx *db.Tx) error {
		if err := control.HoldPackages(ctx, tx, space); err != nil {
			return err
		}
		p, err := feed.Get(ctx, tx, space, id)
		if fault.KindOf(err) == fault.NotFound {
			return nil // somebody else deleted it
		}
		if err != nil {
			return err
		}
		if !p.Published.Time.Equal(judged) {
			return errLeft("it was pushed anew a moment ago")
		}
		if err := uses.AddNewReleases(ctx, tx, space); err != nil {
			return err
		}
		if uses.Package(p.PackageId, p.Version) {
			return errLeft("a new release uses it")
		}
		return control.ForgetPackage(ctx, tx, space, id)
	})
	var left errLeft
	if errors.As(err, &left) {
		return string(left), nil
	}
	return "", err
}

// history deletes old tasks that belong to no deployment (K32). It reads all that ended, the newest first, and keeps the place.
func (c *cleaning) history(ctx context.Context) error {
	const page = 500
	activity := c.task.Id + "/tasks"
	if err := c.write(ctx, []tasklog.Entry{tasklog.Open(activity, c.task.Id, "Old tasks", tasklog.Running)}); err != nil {
		return err
	}
	count := map[string]int{}
	for below, more := int64(0), true; more; {
		if err := c.goOn(ctx); err != nil {
			return err
		}
		var list []cluster.Old
		err := c.DB.Read(ctx, func(tx *db.Tx) (err error) {
			list, err = cluster.Olds(ctx, tx, below, page)
			return err
		})
		if err != nil {
			return err
		}
		var going []string
		for _, t := range list {
			below = t.Number
			if count[t.Kind]++; count[t.Kind] > latestTasks && (count[t.Kind] > recentTasks || time.Since(t.Ended) > recentSpan) {
				going = append(going, t.Id)
			}
		}
		more = len(list) == page
		if going, err = c.ofNobody(ctx, going); err != nil {
			return err
		}
		for some := range slices.Chunk(going, forgetAtOnce) {
			if err := c.forget(ctx, activity, some); err != nil {
				return err
			}
		}
	}
	return c.write(ctx, []tasklog.Entry{tasklog.Set(activity, tasklog.Success)})
}

// ofNobody leaves out tasks of deployments that are there, and those that an agent still has scripts of.
func (c *cleaning) ofNobody(ctx context.Context, tasks []string) (free []string, err error) {
	if len(tasks) == 0 {
		return nil, nil
	}
	err = c.DB.Read(ctx, func(tx *db.Tx) error {
		kept, err := control.TasksOfDeployments(ctx, tx, tasks)
		if err != nil {
			return err
		}
		left, err := lingering(ctx, tx, tasks)
		free = nil
		for _, id := range tasks {
			if !kept[id] && !left[id] {
				free = append(free, id)
			}
		}
		return err
	})
	return free, err
}

func (c *cleaning) forget(ctx context.Context, activity string, tasks []string) error {
	if err := c.goOn(ctx); err != nil {
		return err
	}
	text := fmt.Sprintf("These go: they are older than %d days, or there are %d newer ones of their kind: %s.", int(recentSpan.Hours()/24), recentTasks, strings.Join(tasks, ", "))
	if err := c.write(ctx, []tasklog.Entry{tasklog.Line(activity, tasklog.Info, text)}); err != nil {
		return err
	}
	if err := c.store(ctx, "retention tasks", func(tx *db.Tx) error { return forgetTasks(ctx, tx, tasks) }); err != nil {
		return err
	}
	c.tasks += len(tasks)
	return nil
}
