package api_test

import (
	"archive/zip"
	"bytes"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
)

// world is a space with what a deployment needs.
type world struct {
	*client
	dev, prod, lifecycle, project, process, variables string
}

func newWorld(c *client) world {
	c.t.Helper()
	w := world{client: c}
	w.dev = c.post("/api/environments", m{"Name": "Development"}).text("Id")
	w.prod = c.post("/api/environments", m{"Name": "Production"}).text("Id")
	w.lifecycle = c.post("/api/lifecycles", m{"Name": "Two steps", "Phases": []any{
		m{"Name": "Dev", "OptionalDeploymentTargets": []any{w.dev}}, m{"Name": "Prod", "OptionalDeploymentTargets": []any{w.prod}},
	}}).text("Id")
	group := c.get("/api/projectgroups/all").list()[0].(m)["Id"]
	p := c.post("/api/projects", m{"Name": "Web", "ProjectGroupId": group, "LifecycleId": w.lifecycle})
	w.project, w.process, w.variables = p.text("Id"), p.text("DeploymentProcessId"), p.text("VariableSetId")
	c.post("/api/machines", m{
		"Name": "web1", "EnvironmentIds": []any{w.dev, w.prod}, "Roles": []any{"web"},
		"Endpoint": m{"CommunicationStyle": "TentaclePassive", "Uri": "https://web1:10933/", "Thumbprint": "8F5DFC4F0EC9A0C0E7B2A8F0F0A2B5A0D2E2B0A1"},
	})
	process := c.get("/api/deploymentprocesses/" + w.process).object()
	process["Steps"] = []any{
		m{"Name": "Deploy package", "Properties": m{"Octopus.Action.TargetRoles": "web"}, "Actions": []any{m{
			"Name": "Deploy package", "ActionType": "Octopus.TentaclePackage", "Properties": m{"Octopus.Action.Package.PackageId": "Acme.Web"},
			"Packages": []any{m{"PackageId": "Acme.Web", "FeedId": "feeds-builtin", "Properties": m{}}},
		}}},
		m{"Name": "Say it", "Properties": m{"Octopus.Action.TargetRoles": "web"}, "Actions": []any{m{
			"ActionType": "Octopus.Script", "Properties": m{"Octopus.Action.Script.ScriptBody": "echo hi", "Secret": m{"HasValue": true, "NewValue": "hush"}},
		}}},
	}
	c.put("/api/deploymentprocesses/"+w.process, process)
	return w
}

func zipOf(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	f, err := z.Create("index.html")
	must(t, err)
	_, err = f.Write([]byte("<h1>hello</h1>"))
	must(t, err)
	must(t, z.Close())
	return b.Bytes()
}

func (c *client) upload(field, name string, content []byte, query string) answer {
	c.t.Helper()
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	must(c.t, form.WriteField("comment", "not a file"))
	part, err := form.CreateFormFile(field, name)
	must(c.t, err)
	_, err = part.Write(content)
	must(c.t, err)
	must(c.t, form.Close())
	q, err := http.NewRequestWithContext(c.t.Context(), "POST", c.server.URL+"/api/Spaces-1/packages/raw"+query, &b)
	must(c.t, err)
	q.Header.Set("X-Octopus-ApiKey", c.key)
	q.Header.Set("Content-Type", form.FormDataContentType())
	q.ContentLength = -1 // clients stream
	return c.send(q)
}

// finish ends a task, as the engine would.
func (c *client) finish(task string, state cluster.State) {
	c.t.Helper()
	must(c.t, c.db.InTx(c.t.Context(), func(tx *db.Tx) error {
		if _, err := tx.ExecContext(c.t.Context(), `DELETE FROM queue WHERE task = $1`, task); err != nil {
			return err
		}
		_, err := tx.ExecContext(c.t.Context(), `UPDATE task SET state = $2, started = $3, ended = $3, updated = $3 WHERE id = $1`, task, string(state), tx.Ms())
		return err
	}))
}

func TestTheMainJob(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)

		process := c.get("/api/deploymentprocesses/" + w.process)
		for _, path := range []string{"Steps.0.Id", "Steps.0.Slug", "Steps.0.Actions.0.Id", "Steps.0.Actions.0.Slug", "Steps.0.Actions.0.Packages.0.Id", "Steps.1.Actions.0.Name"} {
			if s := process.text(path); s == "<nil>" || s == "" {
				t.Errorf("%s is %s", path, s)
			}
		}
		if process.text("Version") != "1" || process.text("Steps.1.Condition") != "Success" || process.text("Steps.1.Actions.0.Properties.Secret.HasValue") != "true" || process.text("Steps.1.Actions.0.Properties.Secret.NewValue") != "<nil>" {
			t.Errorf("process: %s", process.body)
		}
		if strings.Contains(string(process.body), "SecretId") || strings.Contains(string(process.body), "hush") {
			t.Error("a secret left the server")
		}
		// Saved again as it was read, the secret stays.
		if again := c.put("/api/deploymentprocesses/"+w.process, process.object()); again.text("Steps.1.Actions.0.Properties.Secret.HasValue") != "true" {
			t.Error("a save without a new value lost the secret")
		}

		missing := c.try("POST", "/api/Spaces-1/releases/create/v1", m{"projectName": "web"})
		if missing.status != 400 || !strings.Contains(string(missing.body), "Acme.Web") {
			t.Errorf("without a package: %d %s", missing.status, missing.body)
		}

		up := c.upload("fileToUpload", "Acme.Web.1.0.0.zip", zipOf(t), "?overwriteMode=FailIfExists")
		if up.status != 201 || up.text("Id") != "packages-Acme.Web.1.0.0" || up.text("FeedId") != "feeds-builtin" || up.text("ReleaseNotes") != "<nil>" {
			t.Fatalf("upload: %d %s", up.status, up.body)
		}
		if a := c.upload("file", "Acme.Web.1.0.0.zip", zipOf(t), ""); a.status != 409 || !strings.Contains(a.text("ErrorMessage"), "A package with the same name and version already exists") {
			t.Errorf("again: %d %s", a.status, a.body)
		}
		if a := c.upload("raw", "Acme.Web.1.0.0.zip", zipOf(t), "?overwriteMode=IgnoreIfExists"); a.status != 200 {
			t.Errorf("ignored: %d %s", a.status, a.body)
		}
		if a := c.get("/api/packages/packages-Acme.Web.1.0.0/raw"); !bytes.Equal(a.body, zipOf(t)) {
			t.Error("the download differs")
		}
		if a := c.get("/api/feeds/feeds-builtin/packages/versions?packageId=Acme.Web&take=1"); a.text("Items.0.Version") != "1.0.0" {
			t.Errorf("versions: %s", a.body)
		}
		if a := c.get("/api/feeds?feedType=BuiltIn&take=1"); a.text("Items.0.Id") != "feeds-builtin" || a.text("TotalResults") != "1" {
			t.Errorf("feeds: %s", a.body)
		}

		made := c.post("/api/Spaces-1/releases/create/v1", m{"spaceIdOrName": "Default", "projectName": "web"})
		if made.status != 201 || made.text("ReleaseVersion") != "0.0.1" {
			t.Fatalf("release: %d %s", made.status, made.body)
		}
		r := c.get("/api/releases/" + made.text("ReleaseId"))
		if r.text("SelectedPackages.0.Version") != "1.0.0" || !strings.HasPrefix(r.text("ProjectDeploymentProcessSnapshotId"), w.process+"-s-") || r.text("Links.Progression") != "/api/Spaces-1/releases/Releases-1/progression" {
			t.Errorf("release: %s", r.body)
		}
		if a := c.get("/api/deploymentprocesses/" + r.text("ProjectDeploymentProcessSnapshotId")); a.text("Steps.0.Name") != "Deploy package" {
			t.Errorf("snapshot: %s", a.body)
		}
		second := c.post("/api/releases/create/v1", m{"ProjectName": w.project, "ReleaseVersion": "1.0.0-beta.1", "Packages": []any{"Acme.Web:1.0.0"}})
		if got := c.get("/api/releases/" + second.text("ReleaseId")).text("ProjectDeploymentProcessSnapshotId"); got != r.text("ProjectDeploymentProcessSnapshotId") {
			t.Error("an unchanged process was frozen twice")
		}
		if a := c.try("POST", "/api/releases/create/v1", m{"ProjectName": "Web", "ReleaseVersion": "0.0.1"}); a.status != 400 || !strings.Contains(string(a.body), "already exists") {
			t.Errorf("twice: %d %s", a.status, a.body)
		}
		if a := c.post("/api/releases/create/v1", m{"ProjectName": "Web", "ReleaseVersion": "0.0.1", "IgnoreIfAlreadyExists": true}); a.text("ReleaseId") != "Releases-1" {
			t.Errorf("ignored: %s", a.body)
		}

		deploy := func(environment string, more m) answer {
			body := m{"ProjectName": "Web", "ReleaseVersion": "0.0.1", "EnvironmentNames": []any{environment}}
			for k, v := range more {
				body[k] = v
			}
			return c.try("POST", "/api/Spaces-1/deployments/create/untenanted/v1", body)
		}
		if a := deploy("Production", nil); a.status != 400 || !strings.Contains(string(a.body), "must first succeed in Dev") {
			t.Errorf("a skipped phase: %d %s", a.status, a.body)
		}
		for name, more := range map[string]m{"no such machine": {"SpecificMachineNames": []any{"web9"}}, "no such priority": {"Priority": "High"}, "expired": {"NoRunAfter": "2001-01-01T00:00:00Z"}} {
			if a := deploy("Development", more); a.status != 400 {
				t.Errorf("%s: %d %s", name, a.status, a.body)
			}
		}
		if a := c.post("/api/deployments/create/untenanted/v1", m{"ProjectName": "Web", "ReleaseVersion": "0.0.1", "EnvironmentNames": []any{}}); len(a.object()["DeploymentServerTasks"].([]any)) != 0 {
			t.Errorf("no environments: %s", a.body)
		}
		a := deploy("development", m{"SkipStepNames": []any{"Say it", "unknown"}})
		if a.status != 200 {
			t.Fatalf("deploy: %d %s", a.status, a.body)
		}
		task, id := a.text("DeploymentServerTasks.0.ServerTaskId"), a.text("DeploymentServerTasks.0.DeploymentId")
		d := c.get("/api/deployments/" + id)
		if d.text("TaskId") != task || d.text("EnvironmentId") != w.dev || d.text("DeployedBy") != "admin" || d.text("SkipActions.0") == "<nil>" {
			t.Errorf("deployment: %s", d.body)
		}
		if got := c.get("/api/deployments?ids=" + id + "&take=1").text("Items.0.Id"); got != id {
			t.Errorf("deployments?ids: %s", got)
		}
		q := c.get("/api/tasks?ids=" + task)
		if q.text("Items.0.State") != "Queued" || q.text("Items.0.IsCompleted") != "false" || q.text("Items.0.Arguments.DeploymentId") != id || q.text("TotalCounts.Queued") != "1" || q.text("Items.0.Description") != "Deploy Web release 0.0.1 to Development" {
			t.Errorf("task: %s", q.body)
		}
		details := c.get("/api/tasks/" + task + "/details?verbose=true")
		if details.text("ActivityLogs.0.Status") != "Pending" || details.text("Task.Id") != task {
			t.Errorf("details: %s", details.body)
		}
		c.get("/api/tasks/" + task + "/raw")

		if a := c.try("DELETE", "/api/releases/Releases-1", nil); a.status != 400 {
			t.Errorf("deleting a release in use: %d", a.status)
		}
		c.finish(task, cluster.Success)
		if a := deploy("Production", nil); a.status != 200 {
			t.Errorf("the next phase: %d %s", a.status, a.body)
		} else if cancelled := c.post("/api/spaces/Spaces-1/tasks/"+a.text("DeploymentServerTasks.0.ServerTaskId")+"/cancel", nil); cancelled.text("State") != "Canceled" {
			t.Errorf("cancel: %s", cancelled.body)
		}
		for filter, want := range map[string]string{
			"": "3", "?active=true": "1", "?states=Success,Failed": "1", "?project=" + w.project: "2", "?environment=" + w.prod: "1", "?name=Deploy": "2", "?name=Health": "1",
			"?description=production": "1", "?spaces=Spaces-2&includeSystem=false": "0", "?fromQueueDate=2100-01-01T00:00:00%2B00:00": "0", "?hasPendingInterruptions=true": "0",
		} {
			if got := c.get("/api/tasks" + filter).text("TotalResults"); got != want {
				t.Errorf("tasks%s: %s, want %s", filter, got, want)
			}
		}
		template := c.get("/api/deploymentprocesses/" + w.process + "/template?channel=Channels-1")
		if template.text("NextVersionIncrement") != "1.0.1" || template.text("Packages.0.VersionSelectedLastRelease") != "1.0.0" || template.text("LastReleaseVersion") != "1.0.0-beta.1" {
			t.Errorf("template: %s", template.body)
		}
		c.delete("/api/releases/Releases-1")
		if a := c.try("GET", "/api/releases/Releases-1", nil); a.status != 404 {
			t.Errorf("a deleted release: %d", a.status)
		}
		c.delete("/api/packages/packages-Acme.Web.1.0.0")
		c.delete("/api/projects/web")
		for _, path := range []string{"/api/releases/Releases-2", "/api/deploymentprocesses/" + w.process, "/api/variables/" + w.variables, "/api/channels/Channels-1"} {
			if a := c.try("GET", path, nil); a.status != 404 {
				t.Errorf("%s of a deleted project: %d", path, a.status)
			}
		}
	})
}

func TestVariables(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		set := c.get("/api/variables/" + w.variables).object()
		set["Variables"] = []any{
			m{"Name": "Colour", "Value": "blue", "Scope": m{"environment": []any{w.dev}}},
			m{"Name": "Password", "Value": "hush-hush", "Type": "Sensitive", "IsSensitive": true},
			m{"Name": "Who", "Value": "", "Prompt": m{"Label": "Who is it", "Required": true}},
		}
		saved := c.put("/api/variables/"+w.variables, set)
		if strings.Contains(string(saved.body), "hush") || saved.text("Variables.1.Value") != "<nil>" || saved.text("Variables.0.Scope.Environment.0") != w.dev || saved.text("Version") != "1" {
			t.Errorf("%s", saved.body)
		}
		if saved.text("ScopeValues.Environments.0.Name") != "Development" || saved.text("ScopeValues.Roles.0.Id") != "web" || saved.text("ScopeValues.Machines.0.Name") != "web1" || saved.text("ScopeValues.Channels.0.Name") != "Default" || saved.text("ScopeValues.Actions.1.Name") != "Say it" {
			t.Errorf("scope values: %s", saved.body)
		}
		secretOf := func() string {
			var s string
			must(t, c.db.Read(t.Context(), func(tx *db.Tx) error {
				var doc string
				err := tx.QueryRowContext(t.Context(), `SELECT doc FROM document WHERE id = $1`, w.variables).Scan(&doc)
				if strings.Contains(doc, "hush") {
					t.Error("a secret lies open in the document")
				}
				if i := strings.Index(doc, "Secrets-"); i >= 0 {
					s = doc[i : i+20]
				}
				return err
			}))
			return s
		}
		before := secretOf()
		c.put("/api/variables/"+w.variables, saved.object())
		if after := secretOf(); before == "" || after != before {
			t.Errorf("a save without a new value changed the secret: %q, %q", before, after)
		}
		// A client cannot make somebody else's secret its own.
		stolen := c.get("/api/variables/" + w.variables).object()
		stolen["Variables"] = append(stolen["Variables"].([]any), m{"Name": "Stolen", "Type": "Sensitive", "IsSensitive": true, "SecretId": before})
		c.put("/api/variables/"+w.variables, stolen)
		must(t, c.db.Read(t.Context(), func(tx *db.Tx) error {
			var doc string
			err := tx.QueryRowContext(t.Context(), `SELECT doc FROM document WHERE id = $1`, w.variables).Scan(&doc)
			if strings.Count(doc, "Secrets-") != 1 {
				t.Error("a client's SecretId was kept")
			}
			return err
		}))
		c.upload("file", "Acme.Web.1.0.0.zip", zipOf(t), "")
		c.post("/api/releases/create/v1", m{"ProjectName": "Web"})
		body := m{"ProjectName": "Web", "ReleaseVersion": "0.0.1", "EnvironmentNames": []any{"Development"}}
		if a := c.try("POST", "/api/deployments/create/untenanted/v1", body); a.status != 400 || !strings.Contains(string(a.body), "Who is it") {
			t.Errorf("a missing answer: %d %s", a.status, a.body)
		}
		body["Variables"] = m{"who is it": "me"}
		c.post("/api/deployments/create/untenanted/v1", body)
	})
}

func TestCloneProject(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		clone := c.post("/api/projects?clone="+w.project, m{"Name": "Copy", "ProjectGroupID": "", "LifecycleID": ""})
		if clone.status != 201 || clone.text("LifecycleId") != w.lifecycle || clone.text("ClonedFromProjectId") != w.project || clone.text("Slug") != "copy" {
			t.Fatalf("%d %s", clone.status, clone.body)
		}
		process := c.get("/api/projects/copy/deploymentprocesses")
		if process.text("Steps.1.Name") != "Say it" || process.text("ProjectId") != clone.text("Id") || process.text("Steps.1.Actions.0.Properties.Secret.HasValue") != "true" {
			t.Errorf("%s", process.body)
		}
		if n := c.get("/api/projects/copy/channels").text("TotalResults"); n != "1" {
			t.Errorf("%s channels", n)
		}
	})
}

func TestSettingsShowOnProjectAndSettings(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		p := makeProject(c, "Web")
		settings := c.get("/api/projects/web/deploymentsettings").object()
		settings["DefaultGuidedFailureMode"], settings["ForcePackageDownload"] = "On", true
		c.put("/api/projects/"+p.text("Id")+"/deploymentsettings", settings)
		if got := c.get("/api/projects/web").text("DefaultGuidedFailureMode"); got != "On" {
			t.Errorf("project: %s", got)
		}
		project := c.get("/api/projects/web").object()
		project["DefaultGuidedFailureMode"] = "Off"
		c.put("/api/projects/web", project)
		if a := c.get("/api/projects/web/deploymentsettings"); a.text("DefaultGuidedFailureMode") != "Off" || a.text("ForcePackageDownload") != "true" {
			t.Errorf("settings: %s", a.body)
		}
	})
}

func TestSpaces(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		me := c.get("/api/users/me").text("Id")
		if a := c.try("POST", "/api/spaces", m{"Name": "Lonely"}); a.status != 400 {
			t.Errorf("a space nobody manages: %d", a.status)
		}
		s := c.post("/api/spaces", m{"Name": "Second", "SpaceManagersTeams": []any{}, "SpaceManagersTeamMembers": []any{me}, "IsDefault": false, "TaskQueueStopped": false})
		id := s.text("Id")
		for path, name := range map[string]string{"lifecycles": "Default Lifecycle", "projectgroups": "Default Project Group", "workerpools": "Default Worker Pool", "machinepolicies": "Default Machine Policy"} {
			if got := c.get("/api/" + id + "/" + path + "/all").list(); len(got) != 1 || got[0].(m)["Name"] != name {
				t.Errorf("%s: %v", path, got)
			}
		}
		if got := c.get("/api/" + id + "/feeds").text("Items.0.Id"); got != "feeds-builtin-"+id {
			t.Errorf("feed %s", got)
		}
		c.post("/api/"+id+"/environments", m{"Name": "There"})
		if n := c.get("/api/environments").text("TotalResults"); n != "0" {
			t.Errorf("the default space sees %s environments of another", n)
		}
		if a := c.try("DELETE", "/api/spaces/"+id, nil); a.status != 400 || !strings.Contains(string(a.body), "TaskQueueStopped") {
			t.Errorf("a running space: %d %s", a.status, a.body)
		}
		o := c.get("/api/spaces/second").object()
		o["TaskQueueStopped"] = true
		c.put("/api/spaces/"+id, o)
		c.delete("/api/spaces/" + id)
		if a := c.try("GET", "/api/"+id+"/environments", nil); a.status != 404 {
			t.Errorf("a deleted space: %d", a.status)
		}
	})
}

func TestInUseAndEvents(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		a := c.try("DELETE", "/api/environments/"+w.dev, nil)
		if a.status != 400 || !strings.Contains(string(a.body), "Two steps") || !strings.Contains(string(a.body), "web1") {
			t.Errorf("%d %s", a.status, a.body)
		}
		must(t, c.db.Read(t.Context(), func(tx *db.Tx) error {
			var n int
			err := tx.QueryRowContext(t.Context(), `SELECT count(*) FROM event WHERE username = 'admin' AND category = 'Created' AND documents LIKE '%'||$1||'%' AND established LIKE 'API key%'`, w.project).Scan(&n)
			if n != 1 {
				t.Errorf("%d events", n)
			}
			return err
		}))
	})
}

func TestMachines(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		newWorld(c)
		a := c.get("/api/machines?thumbprint=8F5DFC4F0EC9A0C0E7B2A8F0F0A2B5A0D2E2B0A1")
		if a.text("Items.0.Name") != "web1" || a.text("Items.0.HealthStatus") != "Unknown" || a.text("Items.0.MachinePolicyId") != "MachinePolicies-1" || a.text("Items.0.TenantedDeploymentParticipation") != "Untenanted" {
			t.Errorf("%s", a.body)
		}
		o := c.get("/api/machines/web1").object()
		o["HealthStatus"], o["IsDisabled"] = "Healthy", true
		if saved := c.put("/api/machines/"+o["Id"].(string), o); saved.text("HealthStatus") != "Unknown" || saved.text("IsDisabled") != "true" {
			t.Errorf("%s", saved.body)
		}
		for filter, want := range map[string]string{"?isDisabled=true": "1", "?isDisabled=false": "0", "?roles=WEB": "1", "?healthStatuses=Unknown": "1", "?name=web1": "1", "?commStyles=TentacleActive": "0"} {
			if got := c.get("/api/machines" + filter).text("TotalResults"); got != want {
				t.Errorf("machines%s: %s", filter, got)
			}
		}
		if a := c.try("GET", "/api/machines/discover", nil); a.status != 400 {
			t.Errorf("discover without a host: %d %s", a.status, a.body)
		}
		for _, bad := range []m{
			{"Name": "x"}, {"Name": "x", "EnvironmentIds": []any{"Environments-1"}, "Roles": []any{"r"}, "Endpoint": m{"CommunicationStyle": "TentaclePassive", "Uri": "web1", "Thumbprint": "zz"}},
		} {
			if a := c.try("POST", "/api/machines", bad); a.status != 400 {
				t.Errorf("%v: %d %s", bad, a.status, a.body)
			}
		}
		c.delete("/api/machines/web1")
	})
}
