package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
)

func TestLifecycleStartsDeploymentsByItself(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		l := c.get("/api/lifecycles/" + w.lifecycle).object()
		for i, e := range []string{w.dev, w.prod} {
			phase := l["Phases"].([]any)[i].(m)
			phase["AutomaticDeploymentTargets"], phase["OptionalDeploymentTargets"] = []any{e}, []any{}
		}
		c.put("/api/lifecycles/"+w.lifecycle, l)
		c.upload("file", "Acme.Web.1.0.0.zip", zipOf(t), "")
		c.post("/api/releases/create/v1", m{"ProjectName": "Web"})
		d := c.get("/api/deployments")
		if d.text("TotalResults") != "1" || d.text("Items.0.EnvironmentId") != w.dev {
			t.Fatalf("after the release: %s", d.body)
		}
		c.finish(d.text("Items.0.TaskId"), cluster.Success)
		for range 2 { // asked twice, it starts once
			must(t, c.db.InTx(t.Context(), func(tx *db.Tx) error {
				return c.control.TaskEnded(t.Context(), tx, cluster.Task{
					Kind: control.Deploy, State: cluster.Success, Arguments: json.RawMessage(`{"DeploymentId":"` + d.text("Items.0.Id") + `"}`),
				})
			}))
		}
		if d := c.get("/api/deployments"); d.text("TotalResults") != "2" || d.text("Items.0.EnvironmentId") != w.prod {
			t.Errorf("after the success: %s", d.body)
		}
	})
}

func TestOlderReleaseAndDeployment(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		r := c.post("/api/Spaces-1/releases", m{
			"ProjectId": w.project, "ChannelId": "Channels-1", "Version": "2.0.0", "SelectedPackages": []any{m{"ActionName": "Deploy package", "Version": "7.7.7"}},
		})
		if r.status != 201 || r.text("Version") != "2.0.0" || r.text("SelectedPackages.0.Version") != "7.7.7" {
			t.Fatalf("%d %s", r.status, r.body)
		}
		d := c.post("/api/Spaces-1/deployments", m{"ReleaseId": r.text("Id"), "EnvironmentId": w.dev, "UseGuidedFailure": true, "SkipActions": []any{}})
		if d.status != 201 || d.text("UseGuidedFailure") != "true" || !strings.HasPrefix(d.text("TaskId"), "ServerTasks-") {
			t.Errorf("%d %s", d.status, d.body)
		}
		if a := c.try("POST", "/api/deployments", m{"ReleaseId": r.text("Id"), "EnvironmentId": w.prod}); a.status != 400 {
			t.Errorf("a skipped phase: %d", a.status)
		}
	})
}

func TestUsers(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		u := c.post("/api/users", m{"Username": "anna", "DisplayName": "Anna", "password": "very secret indeed"})
		if u.status != 201 || strings.Contains(string(u.body), "secret") || u.text("IsActive") != "true" || u.text("Name") != "<nil>" {
			t.Fatalf("%d %s", u.status, u.body)
		}
		must(t, c.db.Read(t.Context(), func(tx *db.Tx) error {
			var hash, doc string
			err := tx.QueryRowContext(t.Context(), `SELECT p.hash, d.doc FROM password p JOIN document d ON d.id = p.user_id WHERE d.id = $1`, u.text("Id")).Scan(&hash, &doc)
			if !strings.HasPrefix(hash, "$argon2id$") || strings.Contains(doc, "secret") {
				t.Errorf("hash %s, document %s", hash, doc)
			}
			return err
		}))
		if a := c.try("POST", "/api/users", m{"Username": "ANNA"}); a.status != 400 {
			t.Errorf("the same name again: %d", a.status)
		}
		if n := c.get("/api/users?filter=ann&take=10").text("TotalResults"); n != "1" {
			t.Errorf("filter finds %s", n)
		}
		key := c.post("/api/users/"+u.text("Id")+"/apikeys", m{"Purpose": "x"}).text("ApiKey")
		c.delete("/api/users/" + u.text("Id"))
		anna := *c
		anna.key = key
		if a := anna.try("GET", "/api/users/me", nil); a.status != 401 {
			t.Errorf("a deleted user's key: %d", a.status)
		}
		if a := c.try("DELETE", "/api/users/"+c.get("/api/users/me").text("Id"), nil); a.status != 400 {
			t.Errorf("deleting oneself: %d", a.status)
		}
	})
}

// Two clients that save at once: one of them is told, and none is lost.
func TestConcurrentSaves(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		process := c.get("/api/deploymentprocesses/" + w.process).object()
		const savers = 6
		answers := make(chan int, savers)
		for range savers {
			go func() { answers <- c.try("PUT", "/api/deploymentprocesses/"+w.process, process).status }()
		}
		count := map[int]int{}
		for range savers {
			count[<-answers]++
		}
		if count[200] != 1 || count[400] != savers-1 {
			t.Errorf("%v", count)
		}
		// The next version of a release is counted once for each.
		c.upload("file", "Acme.Web.1.0.0.zip", zipOf(t), "")
		for range savers {
			go func() { answers <- c.try("POST", "/api/releases/create/v1", m{"ProjectName": "Web"}).status }()
		}
		for range savers {
			if s := <-answers; s != 201 {
				t.Errorf("status %d", s)
			}
		}
		seen := map[string]bool{}
		for _, r := range c.get("/api/releases").object()["Items"].([]any) {
			seen[r.(m)["Version"].(string)] = true
		}
		if len(seen) != savers || !seen["0.0.6"] {
			t.Errorf("%v", seen)
		}
	})
}
