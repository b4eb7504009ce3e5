package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
)

// row reads a column of a queued task.
func (c *client) row(column, task string) (value string) {
	c.t.Helper()
	must(c.t, c.db.Read(c.t.Context(), func(tx *db.Tx) error {
		return tx.QueryRowContext(c.t.Context(), "SELECT coalesce(CAST("+column+" AS TEXT), '') FROM queue WHERE task = $1", task).Scan(&value)
	}))
	return value
}

// release makes the project's first release.
func (w world) release() {
	w.t.Helper()
	w.upload("file", "Acme.Web.1.0.0.zip", zipOf(w.t), "")
	w.post("/api/releases/create/v1", m{"ProjectName": "Web", "ReleaseVersion": "1.0.0"})
}

// queued makes a deployment and gives its task.
func (w world) queued(environment string, more m) string {
	w.t.Helper()
	a := w.deploy("1.0.0", environment, more)
	if a.status > 299 {
		w.t.Fatalf("%d %s", a.status, a.body)
	}
	return a.text("DeploymentServerTasks.0.ServerTaskId")
}

// settings changes the project's deployment settings.
func (w world) settings(members m) {
	w.t.Helper()
	w.change("/api/projects/"+w.project+"/deploymentsettings", members)
}

// A deployment asks for the labels of its project and of its environment (behaviour.md row 35, P29).
func TestNodeLabelsRow35(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		w.release()
		if got := c.row("needs", w.queued("Development", nil)); got != "" {
			t.Errorf("without labels a task asks for %q", got)
		}
		c.change("/api/projects/web", m{"NodeLabels": []any{"zone=eu", "gpu"}})
		c.change("/api/environments/"+w.dev, m{"NodeLabels": []any{"gpu", "dmz"}})
		if got := c.get("/api/projects/web").text("NodeLabels.0"); got != "zone=eu" {
			t.Errorf("the project keeps %s", got)
		}
		if got := c.row("needs", w.queued("Development", nil)); got != "dmz gpu zone=eu" {
			t.Errorf("a task asks for %q", got)
		}
		for _, path := range []string{"/api/projects/web", "/api/environments/" + w.dev} {
			o := c.get(path).object()
			o["NodeLabels"] = []any{"two words"}
			c.try("PUT", path, o).refused(t, "NodeLabels", "two words")
		}
	})
}

// While TaskQueueStopped is set on a space its queued tasks do not start.
func TestStoppedSpace(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		w.release()
		stopped := func() (n int) {
			must(t, c.db.Read(t.Context(), func(tx *db.Tx) error {
				return tx.QueryRowContext(t.Context(), "SELECT count(*) FROM queue_stop WHERE space = 'Spaces-1' AND stopped").Scan(&n)
			}))
			return n
		}
		w.queued("Development", nil)
		c.change("/api/spaces/Spaces-1", m{"TaskQueueStopped": true})
		if stopped() != 1 {
			t.Error("the cluster does not know that the space is stopped")
		}
		c.change("/api/spaces/Spaces-1", m{"Description": "still stopped"})
		if stopped() != 1 {
			t.Error("another change of the space let it go on")
		}
		c.change("/api/spaces/Spaces-1", m{"TaskQueueStopped": false})
		if stopped() != 0 {
			t.Error("the space does not go on")
		}
	})
}

// The variable Octopus.Task.ConcurrencyTag says which deployments exclude one another (behaviour.md 2.6).
func TestConcurrencyTag(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		w.settings(m{"CancelQueuedTasks": false})
		tag := func(values ...m) {
			set := c.get("/api/variables/" + w.variables).object()
			list := []any{}
			for _, v := range values {
				v["Name"] = "octopus.task.concurrencytag"
				list = append(list, v)
			}
			set["Variables"] = list
			c.put("/api/variables/"+w.variables, set)
			c.post("/api/Spaces-1/releases/create/v1", m{"ProjectName": "Web", "ReleaseVersion": "2.0." + c.get("/api/variables/"+w.variables).text("Version")})
		}
		w.upload("file", "Acme.Web.1.0.0.zip", zipOf(t), "")
		turn := func() string {
			a := c.deploy("2.0."+c.get("/api/variables/"+w.variables).text("Version"), "Development", nil)
			if a.status > 299 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			return c.row("turn", a.text("DeploymentServerTasks.0.ServerTaskId"))
		}
		tag()
		standard := turn()
		if !strings.Contains(standard, w.project) || !strings.Contains(standard, w.dev) {
			t.Errorf("the default turn is %q", standard)
		}
		for name, v := range map[string]struct {
			values []m
			want   string
		}{
			"the documented example":  {[]m{{"Value": "#{Octopus.Deployment.Tenant.Id}/#{Octopus.Project.Id}/#{Octopus.Environment.Id}"}}, standard},
			"nothing":                 {[]m{{"Value": ""}}, standard},
			"the environment":         {[]m{{"Value": "#{Octopus.Environment.Id}"}}, "tag Spaces-1/" + w.dev},
			"scoped to another place": {[]m{{"Value": "x", "Scope": m{"Environment": []any{w.prod}}}}, standard},
			"the nearest scope":       {[]m{{"Value": "far"}, {"Value": "near #{Octopus.Environment.Name}", "Scope": m{"Environment": []any{w.dev}}}}, "tag Spaces-1/near Development"},
		} {
			tag(v.values...)
			if got := turn(); got != v.want {
				t.Errorf("%s: the turn is %q, want %q", name, got, v.want)
			}
		}
	})
}

// A new full deployment cancels queued ones from the back up to the first partial one, and takes their place.
func TestSuperseding(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		w.release()
		if got := c.get("/api/projects/web/deploymentsettings"); got.text("CancelQueuedTasks") != "true" || got.text("CancelRunningTasks") != "true" {
			t.Errorf("a new project's settings: %s", got.body)
		}
		state := func(task string) string { return c.get("/api/tasks/" + task).text("State") }
		expect := func(when string, want map[string]string) {
			t.Helper()
			for task, s := range want {
				if got := state(task); got != s {
					t.Errorf("%s: %s is %s, want %s", when, task, got, s)
				}
			}
		}
		partial := w.queued("Development", m{"SkipStepNames": []any{"Say it"}})
		one := w.queued("Development", nil)
		place := c.row("place", one)
		expect("a full one behind a partial one", map[string]string{partial: "Queued", one: "Queued"})
		small := w.queued("Development", m{"SpecificMachineNames": []any{"web1"}})
		expect("a partial one", map[string]string{one: "Queued", small: "Queued"})
		c.post("/api/tasks/"+small+"/cancel", nil)
		later := w.queued("Development", m{"RunAt": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)})
		two := w.queued("Development", nil)
		expect("a second full one", map[string]string{partial: "Queued", one: "Canceled", two: "Queued", later: "Queued"})
		if got := c.row("place", two); got != place {
			t.Errorf("it has the place %s, want %s: that of the one it supersedes", got, place)
		}
		if got := c.get("/api/tasks/" + one).text("ErrorMessage"); !strings.Contains(got, "Superseded by "+two) {
			t.Errorf("the superseded task says %q", got)
		}
		other := w.queued("Development", nil)
		if got := c.get("/api/tasks/" + two).text("ErrorMessage"); !strings.Contains(got, other) {
			t.Errorf("then %q", got)
		}
		w.settings(m{"CancelQueuedTasks": false})
		three := w.queued("Development", nil)
		expect("switched off", map[string]string{other: "Queued", three: "Queued"})
	})
}

// Once a full deployment has succeeded, older ones that wait for a person are cancelled.
func TestSupersedingOnSuccess(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		w.release()
		w.settings(m{"CancelQueuedTasks": false})
		asks := func(task string) string {
			must(t, c.db.InTx(t.Context(), func(tx *db.Tx) error {
				_, err := tx.ExecContext(t.Context(), "UPDATE queue SET state = 'waiting', lane = 0, head = FALSE, node = 'n', claim = 1, interruptions = 'ManualIntervention' WHERE task = $1", task)
				return err
			}))
			return task
		}
		ends := func(task string) {
			must(t, c.db.InTx(t.Context(), func(tx *db.Tx) error {
				done, err := cluster.Get(t.Context(), tx, task)
				if err != nil {
					return err
				}
				done.State = cluster.Success
				return c.control.TaskEnded(t.Context(), tx, done)
			}))
		}
		state := func(task string) string { return c.get("/api/tasks/" + task).text("State") }
		older, elsewhere := asks(w.queued("Development", nil)), asks(w.queued("Development", m{"SkipStepNames": []any{"Say it"}}))
		part, full := w.queued("Development", m{"SkipStepNames": []any{"Say it"}}), w.queued("Development", nil)
		newer := asks(w.queued("Development", nil))
		ends(part)
		if got := state(older); got != "Executing" {
			t.Errorf("after the success of a part the older one is %s", got)
		}
		ends(full)
		for task, want := range map[string]string{older: "Cancelling", elsewhere: "Cancelling", newer: "Executing"} {
			if got := state(task); got != want {
				t.Errorf("after the success %s is %s, want %s", task, got, want)
			}
		}
		if got := c.row("reason", older); !strings.Contains(got, "Superseded by "+full) {
			t.Errorf("it will say %q", got)
		}
	})
}

// Tasks can be asked for by their tenants' tags; a queued one tells when it will probably start.
func TestTasksByTenantTagAndEstimate(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		set := c.post("/api/tagsets", m{"Name": "Region", "Tags": []any{m{"Name": "North"}, m{"Name": "South"}}})
		if set.status > 299 {
			t.Fatalf("%d %s", set.status, set.body)
		}
		north := c.post("/api/tenants", m{"Name": "North Ltd", "TenantTags": []any{"Region/North"}}).text("Id")
		south := c.post("/api/tenants", m{"Name": "South Ltd", "TenantTags": []any{"Region/South"}}).text("Id")
		must(t, c.db.InTx(t.Context(), func(tx *db.Tx) error {
			if _, err := tx.ExecContext(t.Context(), `INSERT INTO node (name, machine, epoch, state, cap, draining, version, address, labels, registered)
					VALUES ('busy', 'm', 1, 'up', 1, FALSE, '', '', '[]', 0)`); err != nil {
				return err
			}
			for _, tenant := range []string{north, south, ""} {
				if _, err := cluster.Push(t.Context(), tx, cluster.NewTask{Kind: "Deploy", SpaceId: "Spaces-1", TenantId: tenant}); err != nil {
					return err
				}
			}
			return nil
		}))
		for query, want := range map[string]string{
			"tenantTag=Region/North": "1", "tenantTag=region/south": "1", "tenantTag=Region/North,Region/South": "2", "tenantTag=Region/East": "0",
			"tenantTag=Region/North&tenant=" + south: "0", "tenantTag=Region/North&tenant=" + north: "1",
		} {
			if got := c.get("/api/Spaces-1/tasks?name=Deploy&" + query).text("TotalResults"); got != want {
				t.Errorf("%s: %s tasks, want %s", query, got, want)
			}
		}
		list := c.get("/api/Spaces-1/tasks?name=Deploy")
		for i, want := range []string{"120", "60", "0"} { // the newest first; without history a task is taken to last a minute
			path := "Items." + string(rune('0'+i)) + "."
			if got := list.text(path + "EstimatedRemainingQueueDurationSeconds"); got != want {
				t.Errorf("%s starts in %s s, want %s", list.text(path+"Id"), got, want)
			}
			if got := c.get("/api/tasks/" + list.text(path+"Id")).text("EstimatedRemainingQueueDurationSeconds"); got != want {
				t.Errorf("alone %s starts in %s s, want %s", list.text(path+"Id"), got, want)
			}
		}
	})
}
