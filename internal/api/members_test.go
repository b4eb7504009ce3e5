package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
)

// What members of resources do beyond being kept (docs/compatibility.md).

// change reads a resource, changes members, and saves it.
func (c *client) change(path string, members m) answer {
	c.t.Helper()
	o := c.get(path).object()
	for name, v := range members {
		o[name] = v
	}
	return c.put(path, o)
}

// deploy asks for a deployment of the project Web.
func (c *client) deploy(version, environment string, more m) answer {
	c.t.Helper()
	body := m{"ProjectName": "Web", "ReleaseVersion": version, "EnvironmentNames": []any{environment}}
	for name, v := range more {
		body[name] = v
	}
	return c.try("POST", "/api/Spaces-1/deployments/create/untenanted/v1", body)
}

func (a answer) refused(t *testing.T, parts ...string) {
	t.Helper()
	if a.status != 400 {
		t.Errorf("%d %s", a.status, a.body)
	}
	for _, part := range parts {
		if !strings.Contains(string(a.body), part) {
			t.Errorf("the refusal does not say %q: %s", part, a.body)
		}
	}
}

func TestLifecycleMembers(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		environments := map[string]string{}
		for _, name := range []string{"Test 1", "Test 2", "Optional"} {
			environments[name] = c.post("/api/environments", m{"Name": name}).text("Id")
		}
		c.change("/api/machines/web1", m{"EnvironmentIds": []any{w.dev, w.prod, environments["Test 1"], environments["Test 2"]}})
		c.change("/api/lifecycles/"+w.lifecycle, m{
			"TentacleRetentionPolicy": m{"Strategy": "Count", "Unit": "Days", "QuantityToKeep": 30},
			"Phases": []any{
				m{"Name": "First", "OptionalDeploymentTargets": []any{w.dev}},
				m{"Name": "Second", "OptionalDeploymentTargets": []any{environments["Test 1"], environments["Test 2"]}, "MinimumEnvironmentsBeforePromotion": 1, "IsPriorityPhase": true, "TentacleRetentionPolicy": m{"Strategy": "Count", "Unit": "Items", "QuantityToKeep": 5}},
				m{"Name": "Third", "OptionalDeploymentTargets": []any{environments["Optional"]}, "IsOptionalPhase": true},
				m{"Name": "Last", "OptionalDeploymentTargets": []any{w.prod}},
			},
		})
		c.upload("file", "Acme.Web.1.0.0.zip", zipOf(t), "")
		c.post("/api/releases/create/v1", m{"ProjectName": "Web", "ReleaseVersion": "1.0.0"})

		made := func(a answer) (task string, lane int, keep string) {
			t.Helper()
			if a.status > 299 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			task = a.text("DeploymentServerTasks.0.ServerTaskId")
			must(t, c.db.Read(t.Context(), func(tx *db.Tx) error {
				return tx.QueryRowContext(t.Context(), `SELECT lane FROM queue WHERE task = $1`, task).Scan(&lane)
			}))
			d := c.get("/api/deployments/" + a.text("DeploymentServerTasks.0.DeploymentId"))
			return task, lane, d.text("TentacleRetentionPeriod.QuantityToKeep") + " " + d.text("TentacleRetentionPeriod.Unit")
		}
		c.deploy("1.0.0", "Test 1", nil).refused(t, "Two steps", "First")
		task, regular, keep := made(c.deploy("1.0.0", "Development", nil))
		if keep != "30 Days" {
			t.Errorf("keeps %s by the lifecycle", keep)
		}
		if _, lane, _ := made(c.deploy("1.0.0", "Development", m{"Priority": "On"})); lane >= regular {
			t.Errorf("priority on: lane %d, others %d", lane, regular)
		}
		c.finish(task, cluster.Success)
		c.deploy("1.0.0", "Production", nil).refused(t, "Second")
		task, lane, keep := made(c.deploy("1.0.0", "Test 1", nil))
		if lane >= regular || keep != "5 Items" {
			t.Errorf("a priority phase: lane %d, others %d; keeps %s", lane, regular, keep)
		}
		if _, lane, _ := made(c.deploy("1.0.0", "Test 2", m{"Priority": "Off"})); lane != regular {
			t.Errorf("priority off: lane %d, others %d", lane, regular)
		}
		c.finish(task, cluster.Success)
		made(c.deploy("1.0.0", "Production", nil)) // one of two is enough, and the optional phase is left out
	})
}

func TestProjectMembers(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		c.upload("file", "Acme.Web.1.2.3.zip", zipOf(t), "")
		path := "/api/projects/" + w.project
		c.try("POST", "/api/projects", m{"Name": "Git", "ProjectGroupId": "ProjectGroups-1", "LifecycleId": w.lifecycle, "PersistenceSettings": m{"Type": "VersionControlled", "Url": "https://git.example.com/x"}}).refused(t, "Database")

		c.change(path, m{"VersioningStrategy": m{"DonorPackage": m{"DeploymentAction": "Deploy package", "PackageReference": ""}}})
		if a := c.post("/api/releases/create/v1", m{"ProjectName": "Web"}); a.text("ReleaseVersion") != "1.2.3" {
			t.Errorf("a donated version: %s", a.body)
		}
		if got := c.get("/api/deploymentprocesses/" + w.process + "/template?channel=Channels-1").text("VersioningPackageStepName"); got != "Deploy package" {
			t.Errorf("the template names the donor %s", got)
		}
		if got := c.get(path + "/deploymentsettings").text("VersioningStrategy.DonorPackage.DeploymentAction"); got != "Deploy package" {
			t.Errorf("the settings name the donor %s", got)
		}

		forced := func() string {
			a := c.deploy("1.2.3", "Development", nil)
			return c.get("/api/deployments/" + a.text("DeploymentServerTasks.0.DeploymentId")).text("ForcePackageDownload")
		}
		if got := forced(); got != "false" {
			t.Errorf("forced: %s", got)
		}
		settings := c.get(path + "/deploymentsettings").object()
		settings["ForcePackageDownload"] = true
		c.put(path+"/deploymentsettings", settings)
		if got := forced(); got != "true" {
			t.Errorf("forced by the settings: %s", got)
		}

		c.change(path, m{"TenantedDeploymentMode": "Tenanted"})
		c.deploy("1.2.3", "Development", nil).refused(t, "tenants")
		c.change(path, m{"TenantedDeploymentMode": "Untenanted", "IsDisabled": true})
		c.deploy("1.2.3", "Development", nil).refused(t, "disabled")
		c.try("POST", "/api/releases/create/v1", m{"ProjectName": "Web", "ReleaseVersion": "2.0.0"}).refused(t, "disabled")
	})
}

func TestChannelMembers(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		for _, version := range []string{"1.0.0", "2.5.0", "3.0.0"} {
			c.upload("file", "Acme.Web."+version+".zip", zipOf(t), "")
		}
		short := c.post("/api/lifecycles", m{"Name": "Short", "Phases": []any{m{"Name": "Prod", "OptionalDeploymentTargets": []any{w.prod}}}}).text("Id")
		beta := c.post("/api/channels", m{
			"Name": "Beta", "ProjectId": w.project, "LifecycleId": short,
			"Rules": []any{m{"VersionRange": "[2.0,3.0)", "ActionPackages": []any{m{"DeploymentAction": "Deploy package", "PackageReference": ""}}}},
		})
		create := func(more m) answer {
			body := m{"ProjectName": "Web", "ChannelName": "Beta"}
			for name, v := range more {
				body[name] = v
			}
			return c.try("POST", "/api/releases/create/v1", body)
		}
		r := c.get("/api/releases/" + create(m{"ReleaseVersion": "1.0.0"}).text("ReleaseId"))
		if r.text("SelectedPackages.0.Version") != "2.5.0" || r.text("ChannelId") != beta.text("Id") {
			t.Errorf("%s", r.body)
		}
		create(m{"ReleaseVersion": "1.0.1", "PackageVersion": "3.0.0"}).refused(t, "Deploy package")
		r = c.get("/api/releases/" + create(m{"ReleaseVersion": "1.0.1", "PackageVersion": "3.0.0", "IgnoreChannelRules": true}).text("ReleaseId"))
		if r.text("SelectedPackages.0.Version") != "3.0.0" || r.text("IgnoreChannelRules") != "true" {
			t.Errorf("%s", r.body)
		}
		c.change("/api/projects/"+w.project, m{"AllowIgnoreChannelRules": false})
		create(m{"ReleaseVersion": "1.0.2", "PackageVersion": "3.0.0", "IgnoreChannelRules": true}).refused(t, "AllowIgnoreChannelRules")
		create(m{"ReleaseVersion": "1.0.2", "CustomFields": m{"Team": strings.Repeat("x", 151)}}).refused(t, "Team")
		c.deploy("1.0.0", "Development", nil).refused(t, "Short")
		if a := c.deploy("1.0.0", "Production", nil); a.status > 299 {
			t.Errorf("by the channel's lifecycle: %d %s", a.status, a.body)
		}
	})
}

func TestDeploymentFollowsItsRequest(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		c.upload("file", "Acme.Web.1.0.0.zip", zipOf(t), "")
		release := c.post("/api/releases/create/v1", m{"ProjectName": "Web", "ReleaseVersion": "1.0.0"}).text("ReleaseId")
		process := c.get("/api/deploymentprocesses/" + w.process)

		at := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
		a := c.deploy("1.0.0", "Development", m{"RunAt": at.Format(time.RFC3339), "NoRunAfter": at.Add(time.Hour).Format(time.RFC3339), "SkipStepNames": []any{process.text("Steps.1.Actions.0.Slug")}})
		q := c.get("/api/tasks/" + a.text("DeploymentServerTasks.0.ServerTaskId"))
		for member, want := range map[string]time.Time{"QueueTime": at, "QueueTimeExpiry": at.Add(time.Hour)} {
			if got, err := time.Parse(time.RFC3339, q.text(member)); err != nil || !got.Equal(want) {
				t.Errorf("%s is %s, want %s", member, q.text(member), want)
			}
		}
		if d := c.get("/api/deployments/" + a.text("DeploymentServerTasks.0.DeploymentId")); d.text("SkipActions.0") != process.text("Steps.1.Actions.0.Id") {
			t.Errorf("skipped: %s", d.body)
		}
		c.deploy("1.0.0", "Development", m{"RunAt": at.Format(time.RFC3339), "NoRunAfter": at.Add(-time.Minute).Format(time.RFC3339)}).refused(t)
		c.deploy("1.0.0", "Development", m{"RunAt": at.AddDate(0, 2, 0).Format(time.RFC3339)}).refused(t)
		c.deploy("1.0.0", "Development", m{"SpecificMachineNames": []any{"nobody"}}).refused(t, "nobody")
		c.deploy("1.0.0", "Development", m{"ExcludedMachineNames": []any{"WEB1"}}).refused(t, "Deploy package")
		c.deploy("1.0.0", "Development", m{"ExcludedTargetTagNames": []any{"WEB"}}).refused(t, "Deploy package")
		c.deploy("1.0.0", "Development", m{"SpecificTargetTagNames": []any{"db"}}).refused(t, "Deploy package")
		c.deploy("1.0.0", "Development", m{"Priority": "Sometimes"}).refused(t, "Priority")
		c.try("POST", "/api/deployments", m{"ReleaseId": release, "EnvironmentId": w.dev, "TenantId": "Tenants-1"}).refused(t, "TenantId")
	})
}

func TestMachineMembers(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		a := c.post("/api/machines", m{
			"Name": "old style", "EnvironmentIds": []any{w.dev}, "Roles": []any{"web"}, "Uri": "https://old:10933/", "Thumbprint": "8f 5d fc 4f 0e c9 a0 c0 e7 b2 a8 f0 f0 a2 b5 a0 d2 e2 b0 a2",
			"Endpoint": m{"CommunicationStyle": "TentaclePassive"},
		})
		if a.text("Endpoint.Uri") != "https://old:10933/" || a.text("Endpoint.Thumbprint") != "8F5DFC4F0EC9A0C0E7B2A8F0F0A2B5A0D2E2B0A2" {
			t.Errorf("%s", a.body)
		}
	})
}
