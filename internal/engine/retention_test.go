package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/feed"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/secret"
	"github.com/octavo/octavo/internal/store"
)

// house is a node without agents: its deployments write a log and an artifact, and end.
type house struct {
	t    *testing.T
	ctx  context.Context //nolint:containedctx // of the test, as the server itself
	d    *db.DB
	dir  string
	e    *Engine
	use  *control.Control
	logs tasklog.Reader
}

func newHouse(t *testing.T, d *db.DB) *house {
	t.Helper()
	h := &house{t: t, ctx: access.With(t.Context(), access.System), d: d, dir: t.TempDir()}
	ring, err := secret.Start(t.Context(), d, secret.Source{Text: secret.NewKey()})
	h.must(err)
	blobs, err := blob.OpenFolder(t.Context(), h.dir, blob.Options{LowBytes: -1, LowPercent: -1})
	h.must(err)
	h.must(blob.Belongs(t.Context(), blobs, "test", true))
	packages := feed.Repository{DB: d, Blobs: blobs}
	h.use = &control.Control{DB: d, Ring: ring, Packages: packages, Node: "n1"}
	h.must(h.use.Bootstrap(h.ctx))
	h.e = &Engine{DB: d, Blobs: blobs, Ring: ring, Packages: packages, Log: slog.New(slog.DiscardHandler), Node: "n1", Work: filepath.Join(t.TempDir(), "server")}
	h.logs = tasklog.Reader{DB: d, Blobs: blobs}
	handlers := h.e.Handlers()
	handlers["Deploy"] = h.e.handle(func(ctx context.Context, w *work) (cluster.Outcome, error) {
		w.say(ctx, w.task.Id, tasklog.Info, "deployed")
		if err := w.keepFile(ctx); err != nil {
			return nil, err
		}
		return w.end(ctx, cluster.Success, ""), nil
	})
	node, err := cluster.Start(t.Context(), d, cluster.Config{Name: "n1", DataDir: t.TempDir(), Cap: 5, Version: "1", Handlers: handlers, OnEnd: h.use.TaskEnded, Timing: cluster.FastTiming, Log: h.e.Log})
	h.must(err)
	t.Cleanup(func() {
		if err := errors.Join(node.Stop(context.Background()), blobs.Close()); err != nil {
			t.Error(err)
		}
	})
	return h
}

// keepFile leaves what a deployment leaves.
func (w *work) keepFile(ctx context.Context) error {
	text := "the same in all"
	staged, err := w.Blobs.Stage(ctx, strings.NewReader(text))
	if err != nil {
		return err
	}
	defer staged.Discard() //nolint:errcheck // of a test
	key := blob.ContentKey("artifacts", staged.SHA256) + "-" + strings.ToLower(w.task.Id)
	if err := blob.KeepContent(ctx, w.Blobs, staged, key); err != nil {
		return err
	}
	return w.store(ctx, "test", func(tx *db.Tx) error {
		for _, q := range []string{
			`INSERT INTO artifact (id, space, task, run, activity, filename, source, blob, size, sha256, created) VALUES ('Artifacts-' || $1, 'Spaces-1', $1, 'r', 'a', 'f', 'f', $2, 1, 'x', 1)`,
			`INSERT INTO plan (task, body, created) VALUES ($1, $2, 1)`, `INSERT INTO step_run (task, id, seq, body) VALUES ($1, $2, 1, '')`,
		} {
			if _, err := tx.ExecContext(ctx, q, w.task.Id, key); err != nil {
				return err
			}
		}
		return nil
	})
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) tx(do func(tx *db.Tx) error) {
	h.t.Helper()
	h.must(h.d.InTx(h.ctx, do))
}

func (h *house) exec(query string, args ...any) {
	h.t.Helper()
	h.tx(func(tx *db.Tx) error {
		_, err := tx.ExecContext(h.ctx, query, args...)
		return err
	})
}

// count counts rows.
func (h *house) count(what string, args ...any) (n int) {
	h.t.Helper()
	h.must(h.d.Read(h.ctx, func(tx *db.Tx) error {
		return tx.QueryRowContext(h.ctx, "SELECT count(*) FROM "+what, args...).Scan(&n)
	}))
	return n
}

func (h *house) create(k *control.Kind, o resource.Object) resource.Object {
	h.t.Helper()
	made, err := h.use.Create(h.ctx, k, control.FirstSpace, o, "")
	h.must(err)
	return made
}

// ends waits for the end of a task and gives it with its log.
func (h *house) ends(id string) (task cluster.Task, log string) {
	h.t.Helper()
	deadline := time.After(time.Minute)
	for {
		h.must(h.d.Read(h.ctx, func(tx *db.Tx) (err error) {
			task, err = cluster.Get(h.ctx, tx, id)
			return err
		}))
		if task.State.Ended() {
			break
		}
		select {
		case <-deadline:
			h.t.Fatalf("%s is %s", id, task.State)
		case <-time.After(5 * time.Millisecond):
		}
	}
	_, err := h.logs.Each(h.ctx, id, 0, func(e tasklog.Entry) error {
		log += string(e.Category) + " " + e.Text + "\n"
		return nil
	})
	h.must(err)
	return task, log
}

func (h *house) run(kind string) (cluster.Task, string) {
	h.t.Helper()
	t, err := h.use.PushTask(h.ctx, "", control.NewTask{Name: kind})
	h.must(err)
	return h.ends(t.Id)
}

// project makes one whose lifecycle has two phases, each with an environment, and keeps so many releases.
func (h *house) project(keep int) resource.Object {
	h.t.Helper()
	var phases []any
	for _, name := range []string{"Dev", "Prod"} {
		env := h.create(control.Environments, resource.Object{"Name": name})
		phases = append(phases, map[string]any{"Name": name, "OptionalDeploymentTargets": []any{env.Text("Id")}, "AutomaticDeploymentTargets": []any{}})
	}
	policy := map[string]any{"Strategy": "Count", "Unit": "Items", "QuantityToKeep": keep}
	l := h.create(control.Lifecycles, resource.Object{"Name": "Short", "Phases": phases, "ReleaseRetentionPolicy": policy})
	groups, _, err := h.use.List(h.ctx, control.ProjectGroups, store.Query{Spaces: []string{control.FirstSpace}})
	h.must(err)
	p := h.create(control.Projects, resource.Object{"Name": "Web", "ProjectGroupId": groups[0].Text("Id"), "LifecycleId": l.Text("Id")})
	h.change(control.DeploymentSettings, "deploymentsettings-"+p.Text("Id"), nil)
	h.process(p, "first")
	return p
}

// change saves a document anew.
func (h *house) change(k *control.Kind, id string, with func(o resource.Object)) {
	h.t.Helper()
	if with == nil {
		return
	}
	o, err := h.use.Get(h.ctx, k, control.FirstSpace, id)
	h.must(err)
	with(o)
	_, err = h.use.Modify(h.ctx, k, control.FirstSpace, id, o)
	h.must(err)
}

// process gives a project one step on the server.
func (h *house) process(p resource.Object, script string) {
	h.t.Helper()
	h.change(control.Processes, p.Text("DeploymentProcessId"), func(o resource.Object) {
		o["Steps"] = []any{map[string]any{"Name": "Step", "Actions": []any{map[string]any{"Name": "Step", "ActionType": "Octopus.Script", "Properties": map[string]any{
			"Octopus.Action.RunOnServer": "true", "Octopus.Action.Script.ScriptSource": "Inline", "Octopus.Action.Script.Syntax": "Bash", "Octopus.Action.Script.ScriptBody": script,
		}}}}}
	})
}

func (h *house) release(version string) {
	h.t.Helper()
	_, err := h.use.CreateRelease(h.ctx, control.FirstSpace, control.NewRelease{ProjectName: "Web", ReleaseVersion: version})
	h.must(err)
}

// deploy deploys and gives the task; wait waits for its end.
func (h *house) deploy(version, environment string, more func(*control.NewDeployments)) string {
	h.t.Helper()
	n := control.NewDeployments{ProjectName: "Web", ReleaseVersion: version, EnvironmentNames: []string{environment}}
	if more != nil {
		more(&n)
	}
	made, err := h.use.CreateDeployments(h.ctx, control.FirstSpace, n)
	h.must(err)
	return made.DeploymentServerTasks[0].ServerTaskId
}

func (h *house) deployed(version, environment string, more func(*control.NewDeployments)) string {
	h.t.Helper()
	id := h.deploy(version, environment, more)
	if task, log := h.ends(id); task.State != cluster.Success {
		h.t.Fatalf("%s is %s\n%s", id, task.State, log)
	}
	return id
}

// releases lists versions, the oldest first.
func (h *house) releases() (versions []string) {
	h.t.Helper()
	list, _, err := h.use.List(h.ctx, control.Releases, store.Query{Spaces: []string{control.FirstSpace}, Newest: true})
	h.must(err)
	for _, r := range list {
		versions = append(versions, r.Text("Version"))
	}
	slices.Reverse(versions)
	return versions
}

func versions(from, to int) (list []string) {
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprintf("0.0.%d", i))
	}
	return list
}

// example builds the documented example (deployments.md 11.1): a lifecycle that keeps 3; 0.0.1-0.0.6 in both phases,
// 0.0.7-0.0.9 in the first, 0.0.10-0.0.15 nowhere. It gives the tasks that deployed 0.0.1.
func (h *house) example() (first []string) {
	h.t.Helper()
	p := h.project(3)
	h.change(control.VariableSets, p.Text("VariableSetId"), func(o resource.Object) {
		o["Variables"] = []any{map[string]any{"Name": "Pin", "Type": "Sensitive", "IsSensitive": true, "Value": nil, "Prompt": map[string]any{"Label": "Pin", "Required": false}}}
	})
	for i, version := range versions(1, 15) {
		if i == 1 {
			h.process(p, "second") // so 0.0.1 has frozen copies of its own
		}
		h.release(version)
		var more func(*control.NewDeployments)
		if i == 0 {
			more = func(n *control.NewDeployments) { n.Variables = map[string]string{"Pin": "4711"} }
		}
		if i < 9 {
			task := h.deployed(version, "Dev", more)
			if i == 0 {
				first = append(first, task)
			}
		}
		if i < 6 {
			task := h.deployed(version, "Prod", more)
			if i == 0 {
				first = append(first, task)
			}
		}
	}
	h.must(h.e.sealLogs(h.ctx))
	return first
}

var exampleLeft = slices.Concat(versions(2, 9), versions(13, 15))

func TestRetentionDoesTheDocumentedExample(t *testing.T) { // K1-K6, K13
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		first := h.example()
		frozen := "document WHERE id LIKE 'deploymentprocess-%-s-%'"
		if got := [2]int{h.count(frozen), h.count("secret")}; got != [2]int{2, 2} {
			t.Fatalf("frozen processes and secrets: %v", got)
		}
		var blobs []string
		h.must(d.Read(h.ctx, func(tx *db.Tx) (err error) {
			blobs, err = texts(h.ctx, tx, "SELECT blob FROM artifact WHERE task IN ($1, $2) UNION SELECT blob FROM log_sealed WHERE task IN ($1, $2)", first[0], first[1])
			return err
		}))
		if len(blobs) != 4 {
			t.Fatalf("0.0.1 has the blobs %v", blobs)
		}
		task, log := h.run(KindRetention)
		if diff := cmp.Diff(exampleLeft, h.releases()); diff != "" || task.State != cluster.Success {
			t.Fatalf("%s\n%s\n%s", task.State, diff, log)
		}
		for _, line := range []string{
			"Release 0.0.12 (Releases-12) goes: never deployed, and the lifecycle keeps 3, and has newer ones.", "Release 0.0.11 (Releases-11) goes", "Release 0.0.10 (Releases-10) goes",
			"Release 0.0.1 (Releases-1) goes: deployed, and phase Dev keeps 3, and has newer ones; phase Prod keeps 3, and has newer ones.",
			"Release 0.0.9 (Releases-9) stays: it is what an environment runs now.", "Release 0.0.8 (Releases-8) stays: it is what an environment would go back to.", "Deleted 4 releases, 0 packages and 0 tasks.",
		} {
			if !strings.Contains(log, line) {
				t.Errorf("the log has no %q\n%s", line, log)
			}
		}
		if strings.Count(log, " goes: ") != 4 {
			t.Errorf("the log names others\n%s", log)
		}
		for what, want := range map[string]int{
			"document WHERE kind = 'Deployment'": 13, frozen: 1, "secret": 0, "task WHERE kind = 'Deploy'": 13, "artifact": 13, "plan": 13, "step_run": 13, "log_sealed": 13,
			"task_run WHERE task LIKE 'ServerTasks-%'": 14, "event WHERE category = 'Deleted' AND username = 'system'": 4, "dropped_blob": 4,
		} {
			if got := h.count(what); got != want {
				t.Errorf("%s: %d, want %d", what, got, want)
			}
		}
		// Content follows after a grace, and only that content.
		sweep := func(grace time.Duration, want int) {
			t.Helper()
			if n, err := h.e.sweepDropped(h.ctx, func(context.Context, *db.Tx) error { return nil }, grace); n != want || err != nil {
				t.Errorf("%d blobs were removed, want %d; %v", n, want, err)
			}
		}
		sweep(time.Hour, 0)
		h.must(h.e.Blobs.Delete(h.ctx, blobs[0])) // as if the last sweep had died right after it
		sweep(0, 4)
		sweep(0, 0)
		for _, key := range blobs {
			if _, err := h.e.Blobs.Stat(h.ctx, key); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is still there: %v", key, err)
			}
		}
		var left []string
		h.must(d.Read(h.ctx, func(tx *db.Tx) (err error) {
			left, err = texts(h.ctx, tx, "SELECT blob FROM artifact UNION SELECT blob FROM log_sealed")
			return err
		}))
		for _, key := range left {
			r, err := h.e.Blobs.Open(h.ctx, key, 0)
			h.must(err)
			if _, err := io.Copy(io.Discard, r); err != nil {
				t.Error(err)
			}
			h.must(r.Close())
		}
		if task, log := h.run(KindRetention); task.State != cluster.Success || !strings.Contains(log, "Deleted 0 releases") {
			t.Errorf("a second run: %s\n%s", task.State, log)
		}
	})
}

// stealAfter lets a task's owner lose it, as if its node had died, in the transaction in which something happens to a row.
func (h *house) stealAfter(event, table, when, kind string) {
	h.t.Helper()
	steal := "UPDATE queue SET state = 'released' WHERE kind = '" + kind + "' AND state = 'running'"
	if h.d.Engine() == db.SQLite {
		h.exec("CREATE TRIGGER steal AFTER " + event + " ON " + table + " WHEN " + when + " BEGIN " + steal + "; END")
		return
	}
	h.exec("CREATE FUNCTION steal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN " + steal + "; RETURN NULL; END $$")
	h.exec("CREATE TRIGGER steal AFTER " + event + " ON " + table + " FOR EACH ROW WHEN (" + when + ") EXECUTE FUNCTION steal()")
}

func TestRetentionThatDiesGoesOn(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		p := h.project(2)
		for _, version := range versions(1, 9) {
			h.release(version)
		}
		h.deployed("0.0.1", "Dev", nil)
		h.stealAfter("DELETE", "document", "OLD.id IN ('Releases-7', 'Releases-4')", KindRetention)
		task, log := h.run(KindRetention)
		if diff := cmp.Diff([]string{"0.0.1", "0.0.8", "0.0.9"}, h.releases()); diff != "" || task.State != cluster.Success {
			t.Errorf("%s\n%s\n%s", task.State, diff, log)
		}
		if n := h.count("task_run WHERE task = $1", task.Id); n != 3 {
			t.Errorf("it was run %d times, want 3: it was to die twice", n)
		}
		for i, want := range []int{0, 0, 3, 3, 2, 2, 2, 1, 0, 0} { // how often each was listed before it went
			if i < 2 {
				continue
			}
			if got := strings.Count(log, fmt.Sprintf("Release 0.0.%d (Releases-%d) goes", i, i)); got != want {
				t.Errorf("0.0.%d is listed %d times, want %d\n%s", i, got, want, log)
			}
		}
		if n := h.count("event WHERE category = 'Deleted' AND message LIKE 'Release %'"); n != 6 {
			t.Errorf("%d releases were recorded as deleted, want 6", n)
		}
		_ = p
	})
}

func TestRetentionKeepsWhatIsNeeded(t *testing.T) { // K11, K12, K30
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		p := h.project(1)
		for _, version := range versions(1, 8) {
			h.release(version)
		}
		first := h.deployed("0.0.1", "Dev", nil)
		h.deployed("0.0.2", "Dev", nil)
		h.deployed("0.0.3", "Dev", nil) // runs now; 2 before it; 1 has the one place
		at := resource.Time{Time: time.Now().Add(time.Hour)}
		scheduled := h.deploy("0.0.5", "Dev", func(n *control.NewDeployments) { n.RunAt = &at }) // K11
		h.change(control.Projects, p.Text("Id"), func(o resource.Object) {
			o["AutoDeployReleaseOverrides"] = []any{map[string]any{"EnvironmentId": "Environments-1", "ReleaseId": "Releases-6"}} // K12
		})
		for _, name := range []string{"Used.1.0.0.zip", "Used.2.0.0.zip", "Fresh.1.0.0.zip"} {
			_, _, err := h.use.Upload(h.ctx, control.FirstSpace, name, zipped(t, name), "")
			h.must(err)
		}
		h.exec("UPDATE package SET published = $1 WHERE package_id = 'Used'", time.Now().Add(-10*24*time.Hour).UnixMilli())
		h.change(control.Feeds, "feeds-builtin", func(o resource.Object) { o["DeleteUnreleasedPackagesAfterDays"] = 7 })
		h.change(control.Processes, p.Text("DeploymentProcessId"), func(o resource.Object) {
			o["Steps"] = []any{map[string]any{"Name": "Install", "Properties": map[string]any{"Octopus.Action.TargetRoles": "web"}, "Actions": []any{map[string]any{
				"Name": "Install", "ActionType": "Octopus.TentaclePackage", "Properties": map[string]any{}, "Packages": []any{map[string]any{"Name": "", "PackageId": "Used", "FeedId": "feeds-builtin", "AcquisitionLocation": "Server"}},
			}}}}
		})
		_, err := h.use.CreateRelease(h.ctx, control.FirstSpace, control.NewRelease{ProjectName: "Web", ReleaseVersion: "0.0.9", PackageVersion: "1.0.0"})
		h.must(err)
		// Another project's release deploys 0.0.7 (K12).
		other := h.create(control.Projects, resource.Object{"Name": "Other", "ProjectGroupId": p.Text("ProjectGroupId"), "LifecycleId": p.Text("LifecycleId")})
		h.change(control.Processes, other.Text("DeploymentProcessId"), func(o resource.Object) {
			o["Steps"] = []any{map[string]any{"Name": "Deploy Web", "Actions": []any{map[string]any{"Name": "Deploy Web", "ActionType": "Octopus.DeployRelease", "Properties": map[string]any{
				control.PropDeployReleaseProject: p.Text("Id"),
			}, "Packages": []any{map[string]any{"Name": "", "PackageId": p.Text("Id"), "FeedId": "feeds-builtin", "AcquisitionLocation": "NotAcquired", "Version": "0.0.7"}}}}}}
		})
		_, err = h.use.CreateRelease(h.ctx, control.FirstSpace, control.NewRelease{ProjectName: "Other", ReleaseVersion: "5.0.0", PackageVersion: "0.0.7"})
		h.must(err)

		task, log := h.run(KindRetention)
		if diff := cmp.Diff([]string{"0.0.1", "0.0.2", "0.0.3", "0.0.5", "0.0.6", "0.0.7", "0.0.9", "5.0.0"}, h.releases()); diff != "" || task.State != cluster.Success {
			t.Errorf("%s\n%s\n%s", task.State, diff, log)
		}
		for _, line := range []string{"0.0.5 (Releases-5) stays: a deployment of it has not ended", "0.0.6 (Releases-6) stays: another release or a trigger needs it", "0.0.7 (Releases-7) stays: another release or a trigger", "Package Used.2.0.0 goes"} {
			if !strings.Contains(log, line) {
				t.Errorf("the log has no %q\n%s", line, log)
			}
		}
		packages, _, err := h.use.ListPackages(h.ctx, control.FirstSpace, control.PackageQuery{})
		h.must(err)
		var left []string
		for _, p := range packages {
			left = append(left, p.PackageId+" "+p.Version)
		}
		if diff := cmp.Diff([]string{"Fresh 1.0.0", "Used 1.0.0"}, left); diff != "" {
			t.Error(diff)
		}
		// A release that was judged, and deployed before its turn came, stays.
		h.tx(func(tx *db.Tx) error {
			_, why, err := control.ForgetRelease(h.ctx, tx, control.FirstSpace, "Releases-5", nil)
			if why != "it was deployed a moment ago" {
				t.Errorf("%q %v", why, err)
			}
			_, why, err = control.ForgetRelease(h.ctx, tx, control.FirstSpace, "Releases-5", []string{"Deployments-4"})
			if why != scheduled+" has not ended" {
				t.Errorf("%q %v", why, err)
			}
			return err
		})
		_, err = h.use.CancelTask(h.ctx, "", scheduled)
		h.must(err)
		// The one place is 0.0.5's now. What an agent still has to forget holds its task, and with it the release.
		h.exec(`INSERT INTO script_run (ticket, task, run, part, place, service, state, log_next, progress, exit_code, message, errors, warnings, incarnation, claim, created)
			VALUES ('t', $1, 'r', 'p', 'Machines-1', 's', 'started', 0, $2, 0, '', FALSE, FALSE, 1, 1, 1)`, first, []byte{})
		_, log = h.run(KindRetention)
		if !slices.Contains(h.releases(), "0.0.1") || !strings.Contains(log, "Release 0.0.1 stays for now: an agent still has to forget scripts of its deployments") || !strings.Contains(log, "1 could not be deleted this time") {
			t.Errorf("%v\n%s", h.releases(), log)
		}
		h.exec("UPDATE script_run SET state = 'completed'")
		if _, log = h.run(KindRetention); slices.Contains(h.releases(), "0.0.1") || h.count("script_run") != 0 {
			t.Errorf("%v\n%s", h.releases(), log)
		}
	})
}

func TestRetentionKeepsPackagesThatMayBeMeant(t *testing.T) { // K30
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		p := h.project(1)
		for _, name := range []string{"App.Dev.1.0.0.zip", "App.Dev.2.0.0.zip", "App.Dev.3.0.0.zip"} {
			_, _, err := h.use.Upload(h.ctx, control.FirstSpace, name, zipped(t, name), "")
			h.must(err)
		}
		h.exec("UPDATE package SET published = $1", time.Now().Add(-10*24*time.Hour).UnixMilli())
		h.change(control.Feeds, "feeds-builtin", func(o resource.Object) { o["DeleteUnreleasedPackagesAfterDays"] = 7 })
		h.change(control.Processes, p.Text("DeploymentProcessId"), func(o resource.Object) {
			o["Steps"] = []any{map[string]any{"Name": "Install", "Properties": map[string]any{"Octopus.Action.TargetRoles": "web"}, "Actions": []any{map[string]any{
				"Name": "Install", "ActionType": "Octopus.TentaclePackage", "Properties": map[string]any{}, "Packages": []any{map[string]any{
					"Name": "", "PackageId": "App.#{Octopus.Environment.Name}", "FeedId": "feeds-builtin", "AcquisitionLocation": "Server",
				}},
			}}}}
		})
		release := func(version string) {
			_, err := h.use.CreateRelease(h.ctx, control.FirstSpace, control.NewRelease{ProjectName: "Web", ReleaseVersion: version, PackageVersion: version})
			h.must(err)
		}
		release("1.0.0")
		// 2.0.0 gets a release after retention looked at releases, before it comes to packages.
		uses := control.NewUses()
		h.must(d.Read(h.ctx, func(tx *db.Tx) error {
			_, err := uses.AddReleases(h.ctx, tx, control.FirstSpace, 0, 100)
			return err
		}))
		release("2.0.0")
		h.tx(func(tx *db.Tx) error {
			if uses.Package("App.Dev", "2.0.0") {
				t.Error("it was seen too early")
			}
			if err := uses.AddNewReleases(h.ctx, tx, control.FirstSpace); err != nil {
				return err
			}
			if !uses.Package("App.Dev", "2.0.0") {
				t.Error("a release that was made meanwhile is not seen")
			}
			return nil
		})
		task, log := h.run(KindRetention)
		packages, _, err := h.use.ListPackages(h.ctx, control.FirstSpace, control.PackageQuery{})
		h.must(err)
		var left []string
		for _, p := range packages {
			left = append(left, p.PackageId+" "+p.Version)
		}
		slices.Sort(left)
		if diff := cmp.Diff([]string{"App.Dev 1.0.0", "App.Dev 2.0.0"}, left); diff != "" || task.State != cluster.Success {
			t.Errorf("%s %s\n%s", task.State, diff, log)
		}
	})
}

// TestSharedBlobsStay: what another artifact shares is not removed, however much is to go before it.
func TestSharedBlobsStay(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for i := range 70 {
			key := fmt.Sprintf("artifacts/%02d", i)
			h.exec("INSERT INTO dropped_blob (key, since) VALUES ($1, 1)", key)
			if i%3 == 0 {
				_, _, err := h.e.Blobs.Put(h.ctx, key, strings.NewReader("shared"))
				h.must(err)
				h.exec(`INSERT INTO artifact (id, space, task, run, activity, filename, source, blob, size, sha256, created) VALUES ($1, 'Spaces-1', 't', 'r', 'a', 'f', 'f', $2, 1, 'x', 1)`, "Artifacts-"+key, key)
			}
		}
		if n, err := h.e.sweepDropped(h.ctx, func(context.Context, *db.Tx) error { return nil }, time.Hour); n != 46 || err != nil {
			t.Errorf("%d went; %v", n, err)
		}
		for i := 0; i < 70; i += 3 {
			if _, err := h.e.Blobs.Stat(h.ctx, fmt.Sprintf("artifacts/%02d", i)); err != nil {
				t.Errorf("a blob that an artifact has is gone: %v", err)
			}
		}
		if n := h.count("dropped_blob"); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

func TestRetentionOfTasks(t *testing.T) { // K32
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		h.project(1)
		h.release("0.0.1")
		deployed := h.deployed("0.0.1", "Dev", nil)
		long := time.Now().Add(-31 * 24 * time.Hour).UnixMilli()
		now := time.Now().UnixMilli()
		h.tx(func(tx *db.Tx) error {
			add := func(kind string, n int, ended int64) error {
				for range n {
					id, err := db.NextID(h.ctx, tx, "ServerTasks")
					if err != nil {
						return err
					}
					if _, err := tx.ExecContext(h.ctx, `INSERT INTO task (id, number, space, kind, description, search, arguments, priority, project, environment, tenant, runbook, batch, created, queue_time, state, started, ended, updated)
						VALUES ($1, $2, '', $3, 'd', 's', '{}', FALSE, '', '', '', '', '', $4, $4, 'Success', $4, $4, $4)`, id, idNumber(id), kind, ended); err != nil {
						return err
					}
				}
				return nil
			}
			return errors.Join(add("Deploy", 25, long), add("Health", 70, long), add("Health", 5, now), add("Upgrade", 20, long))
		})
		h.exec("UPDATE task SET ended = $1 WHERE id = $2", long, deployed)
		h.exec("INSERT INTO log_chunk (task, seq, entries, body) SELECT id, 1, 1, '' FROM task WHERE kind = 'Health'")
		_, log := h.run(KindRetention)
		for what, want := range map[string]int{
			"task WHERE kind = 'Deploy'": 21, "task WHERE kind = 'Health'": 20, "task WHERE kind = 'Upgrade'": 20, "log_chunk JOIN task ON id = task WHERE kind = 'Health'": 20,
			"task WHERE kind = 'Health' AND ended > " + fmt.Sprint(long): 5, "document WHERE kind = 'Deployment'": 1,
		} {
			if got := h.count(what); got != want {
				t.Errorf("%s: %d, want %d", what, got, want)
			}
		}
		if _, total, counts, err := h.use.Tasks(h.ctx, control.TaskFilter{Kinds: []string{"Health"}}); total != 20 || counts["Success"] != 20 || err != nil {
			t.Errorf("lists count %d, %v; %v", total, counts, err)
		}
		if h.count("task WHERE id = $1", deployed) != 1 {
			t.Error("the task of a deployment that is there is gone")
		}
		if !strings.Contains(log, "Deleted 0 releases, 0 packages and 60 tasks.") || strings.Count(log, "These go: ") < 2 {
			t.Error(log)
		}
	})
}

// more makes copies of the only deployment that there is, and of its task.
func (h *house) more(task string, n int) {
	h.t.Helper()
	h.tx(func(tx *db.Tx) error {
		for i := 1001; i <= 1000+n; i++ {
			d, copied := fmt.Sprintf("Deployments-%d", i), fmt.Sprintf("ServerTasks-%d", i)
			for _, q := range []struct {
				query string
				args  []any
			}{
				{`INSERT INTO document (id, kind, space, name, name_key, name_unique, slug, parent, sort, number, version, created, changed, doc, owned)
					SELECT $1, kind, space, name, name_key, name_unique, slug, parent, sort, $2, version, created, changed, replace(replace(doc, '"Deployments-1"', '"' || $1 || '"'), '"' || $3 || '"', '"' || $4 || '"'), owned
					FROM document WHERE id = 'Deployments-1'`, []any{d, i, task, copied}},
				{`INSERT INTO lifted (document, name, value) SELECT $1, name, CASE name WHEN 'task' THEN $2 ELSE value END FROM lifted WHERE document = 'Deployments-1'`, []any{d, strings.ToLower(copied)}},
				{`INSERT INTO reference (document, path, target) SELECT $1, path, target FROM reference WHERE document = 'Deployments-1'`, []any{d}},
				{`INSERT INTO task (id, number, space, kind, description, search, arguments, priority, project, environment, tenant, runbook, batch, created, queue_time, state, started, ended, updated)
					SELECT $1, $2, space, kind, description, search, arguments, priority, project, environment, tenant, runbook, batch, created, queue_time, state, started, ended, updated FROM task WHERE id = $3`, []any{copied, i, task}},
			} {
				if _, err := tx.ExecContext(h.ctx, q.query, q.args...); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// breakDelete makes a row of a table refuse to go.
func (h *house) breakDelete(table, when string) (mend func()) {
	h.t.Helper()
	if h.d.Engine() == db.SQLite {
		h.exec("CREATE TRIGGER broken BEFORE DELETE ON " + table + " WHEN " + when + " BEGIN SELECT RAISE(ABORT, 'it is broken'); END")
		return func() { h.exec("DROP TRIGGER broken") }
	}
	h.exec("CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'it is broken'; END $$")
	h.exec("CREATE TRIGGER broken BEFORE DELETE ON " + table + " FOR EACH ROW WHEN (" + when + ") EXECUTE FUNCTION broken()")
	return func() { h.exec("DROP TRIGGER broken ON " + table) }
}

// TestRetentionGoesOnBehindTrouble: a project that cannot be gone through holds up nothing behind it; and a release of many
// deployments goes some at a time, so that what went before the trouble stays gone, and the next run ends it.
func TestRetentionGoesOnBehindTrouble(t *testing.T) { // K11, K13
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		p := h.project(1)
		for _, version := range versions(1, 4) {
			h.release(version)
		}
		first := h.deployed("0.0.1", "Dev", nil)
		h.more(first, 119)
		h.deployed("0.0.2", "Dev", nil)
		h.deployed("0.0.3", "Dev", nil)
		h.deployed("0.0.4", "Dev", nil) // runs now, 0.0.3 before it, 0.0.2 has the one place
		other := h.create(control.Projects, resource.Object{"Name": "Zebra", "ProjectGroupId": p.Text("ProjectGroupId"), "LifecycleId": p.Text("LifecycleId")})
		for _, version := range []string{"9.0.1", "9.0.2"} {
			_, err := h.use.CreateRelease(h.ctx, control.FirstSpace, control.NewRelease{ProjectName: "Zebra", ReleaseVersion: version})
			h.must(err)
		}
		_ = other
		mend := h.breakDelete("document", "OLD.id = 'Releases-1'")
		task, log := h.run(KindRetention)
		if task.State != cluster.Failed || !strings.Contains(task.ErrorMessage, p.Text("Id")) || !strings.Contains(log, "Retention could not go through "+p.Text("Id")+": ") {
			t.Errorf("%s %q\n%s", task.State, task.ErrorMessage, log)
		}
		if diff := cmp.Diff([]string{"0.0.1", "0.0.2", "0.0.3", "0.0.4", "9.0.2"}, h.releases()); diff != "" {
			t.Errorf("%s\n%s", diff, log)
		}
		if n := h.count("lifted WHERE name = 'release' AND value = 'releases-1'"); n != 50 {
			t.Errorf("%d deployments are left, want those that go with the release, 50", n)
		}
		if n := h.count("task WHERE kind = 'Deploy'"); n != 53 {
			t.Errorf("%d tasks of deployments are left, want 53", n)
		}
		mend()
		task, log = h.run(KindRetention)
		if diff := cmp.Diff([]string{"0.0.2", "0.0.3", "0.0.4", "9.0.2"}, h.releases()); diff != "" || task.State != cluster.Success {
			t.Errorf("%s %s\n%s", task.State, diff, log)
		}
		if n := h.count("task WHERE kind = 'Deploy'"); n != 3 {
			t.Errorf("%d tasks of deployments are left, want 3", n)
		}
	})
}

// TestRetentionWaitsForReleasesBeingMade: what a release has chosen stays, although nobody can see the release yet. SQLite has
// one writer, so there is no such moment.
func TestRetentionWaitsForReleasesBeingMade(t *testing.T) { // K30
	t.Parallel()
	where := dbtest.Create(t, db.Postgres)
	h := newHouse(t, dbtest.Open(t, where))
	p := h.project(1)
	_, _, err := h.use.Upload(h.ctx, control.FirstSpace, "Used.1.0.0.zip", zipped(t, "Used"), "")
	h.must(err)
	h.exec("UPDATE package SET published = $1", time.Now().Add(-10*24*time.Hour).UnixMilli())
	h.change(control.Feeds, "feeds-builtin", func(o resource.Object) { o["DeleteUnreleasedPackagesAfterDays"] = 7 })
	h.change(control.Processes, p.Text("DeploymentProcessId"), func(o resource.Object) {
		o["Steps"] = []any{map[string]any{"Name": "Install", "Properties": map[string]any{"Octopus.Action.TargetRoles": "web"}, "Actions": []any{map[string]any{
			"Name": "Install", "ActionType": "Octopus.TentaclePackage", "Properties": map[string]any{}, "Packages": []any{map[string]any{"Name": "", "PackageId": "Used", "FeedId": "feeds-builtin", "AcquisitionLocation": "Server"}},
		}}}}
	})
	maker := &control.Control{DB: dbtest.Open(t, where), Ring: h.use.Ring, Packages: h.use.Packages, Node: "n2"}
	made := make(chan error, 1)
	var pushed string
	h.must(dbtest.Open(t, where).InTx(h.ctx, func(tx *db.Tx) error {
		// The release stops behind its choice, where it freezes the process.
		if _, err := store.Lock(h.ctx, tx, &control.Processes.Kind, control.FirstSpace, p.Text("DeploymentProcessId")); err != nil {
			return err
		}
		go func() {
			_, err := maker.CreateRelease(h.ctx, control.FirstSpace, control.NewRelease{ProjectName: "Web", ReleaseVersion: "1.0.0", PackageVersion: "1.0.0"})
			made <- err
		}()
		stopped := func(want int) error {
			for deadline := time.After(time.Minute); ; {
				var waiting, packages int
				if _, err := tx.ExecContext(h.ctx, "SELECT pg_stat_clear_snapshot()"); err != nil {
					return err
				}
				if err := tx.QueryRowContext(h.ctx, "SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'), (SELECT count(*) FROM package)").Scan(&waiting, &packages); err != nil {
					return err
				}
				if waiting >= want || packages == 0 {
					return nil
				}
				select {
				case <-deadline:
					return fmt.Errorf("%d wait, want %d", waiting, want)
				case <-time.After(5 * time.Millisecond):
				}
			}
		}
		if err := stopped(1); err != nil {
			return err
		}
		t, err := h.use.PushTask(h.ctx, "", control.NewTask{Name: KindRetention})
		if err != nil {
			return err
		}
		pushed = t.Id
		return stopped(2)
	}))
	h.must(<-made)
	task, log := h.ends(pushed)
	if n := h.count("package"); n != 1 || task.State != cluster.Success {
		t.Errorf("%s, %d packages are left\n%s", task.State, n, log)
	}
}
