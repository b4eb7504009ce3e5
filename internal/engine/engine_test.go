package engine_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

func TestVariablesReachScripts(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		id, _ := w.target("web1", nil)
		set := w.call("GET", "/api/variables/variableset-"+w.project, nil).object()
		set["Variables"] = []any{
			m{"Name": "Greeting", "Value": "hello #{Octopus.Machine.Name}"},
			m{"Name": "Password", "Value": "hush-hush-77", "Type": "Sensitive", "IsSensitive": true},
			m{"Name": "Who", "Value": "nobody", "Prompt": m{"Label": "Who is it", "Required": true}},
		}
		w.call("PUT", "/api/variables/variableset-"+w.project, set)
		names := []string{
			"Greeting", "Who", "Octopus.Step[First].Status.Code", "Octopus.Action[First].Output.Colour", "Octopus.Release.Notes", "Octopus.Release.CustomFields[Team]", "Octopus.Deployment.Comments",
			"Octopus.ProjectGroup.Name", "Octopus.Project.Name", "Octopus.Release.Number", "Octopus.Release.Channel.Name", "Octopus.Environment.Name", "Octopus.Deployment.Name",
			"Octopus.Deployment.CreatedBy.Username", "Octopus.Machine.Roles", "Octopus.Step.Name",
		}
		var body strings.Builder
		for _, name := range names {
			body.WriteString(`echo "` + name + `=<$(get_octopusvariable "` + name + `")>"` + "\n")
		}
		body.WriteString(`echo "the password is $(get_octopusvariable Password)"` + "\n" + `for name in Release.Created Deployment.Created Deployment.CreatedBy.Id Project.Id; do [ -n "$(get_octopusvariable Octopus.$name)" ] || fail_step "Octopus.$name is missing"; done`)
		w.save(
			step("First", "web", bash(`set_octopusvariable Colour blue`, nil), nil),
			step("Second", "web", bash(body.String(), nil), nil),
			step("On the server", "", bash(`echo "here $(get_octopusvariable "Octopus.Action[First].Output[web1].Colour")"`, nil), nil),
		)
		e := w.deploy(w.release(m{"ReleaseNotes": "better now", "CustomFields": m{"Team": "blue team"}}), m{"Comments": "at last", "Variables": m{"Who is it": "Anna"}})
		e.want(t, "Success", "Greeting=<hello web1>", "Who=<Anna>", "Octopus.Step[First].Status.Code=<Succeeded>", "Octopus.Action[First].Output.Colour=<blue>", "Octopus.Release.Notes=<better now>",
			"Octopus.Release.CustomFields[Team]=<blue team>", "Octopus.Deployment.Comments=<at last>", "Octopus.ProjectGroup.Name=<Default Project Group>", "Octopus.Project.Name=<Web>", "Octopus.Release.Number=<1.0.1>",
			"Octopus.Release.Channel.Name=<Default>", "Octopus.Environment.Name=<Test>", "Octopus.Deployment.Name=<Deploy to Test>", "Octopus.Deployment.CreatedBy.Username=<admin>", "Octopus.Machine.Roles=<web>",
			"Octopus.Step.Name=<Second>", "the password is ********", "here blue")
		if strings.Contains(e.log, "hush-hush") {
			t.Error("a secret is in the log")
		}
		if e.deployment.text("DeployedToMachineIds.0") != id || e.deployment.text("FailureEncountered") != "false" {
			t.Errorf("%v", e.deployment.v)
		}
	})
}

func TestPackages(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		_, home := w.target("web1", nil)
		w.upload("Acme.Web.1.0.0.zip", map[string]string{"index.html": "hi", "Deploy.sh": "echo installed here", "run.sh": `echo "ran with $1 and $(cat "$(get_octopusvariable "Octopus.Action.Package[data].ExtractedPath")/data.txt")"`})
		w.upload("Acme.Data.2.0.0.zip", map[string]string{"data.txt": "the data"})
		w.upload("Acme.Data.3.0.0.zip", map[string]string{"data.txt": "newer data"})
		primary, data := m{"Name": "", "PackageId": "Acme.Web", "FeedId": "feeds-builtin", "AcquisitionLocation": "Server", "Properties": m{}}, m{"Name": "data", "PackageId": "Acme.Data", "FeedId": "feeds-builtin", "AcquisitionLocation": "Server", "Properties": m{"Extract": "True"}}
		fromPackage := m{"Octopus.Action.Script.ScriptSource": "Package", "Octopus.Action.Script.ScriptFileName": "run.sh", "Octopus.Action.Script.ScriptParameters": "me", "Octopus.Action.RunOnServer": "False"}
		onServer := m{}
		for name, v := range fromPackage {
			onServer[name] = v
		}
		onServer["Octopus.Action.RunOnServer"] = "True"
		w.save(
			step("Install", "web", m{}, m{"ActionType": "Octopus.TentaclePackage", "Packages": []any{primary}}),
			step("There", "web", fromPackage, m{"Packages": []any{primary, data}}),
			step("Here", "", onServer, m{"Packages": []any{primary, data}}),
		)
		version := w.release(m{"Packages": []any{"Here:data:2.0.0", "There:data:2.0.0"}})
		e := w.deploy(version, nil)
		e.want(t, "Success", "installed here", "ran with me and the data")
		if n := strings.Count(e.log, "ran with me and the data"); n != 2 {
			t.Errorf("the package's script ran %d times", n)
		}
		installed, err := filepath.Glob(filepath.Join(home, "Applications", "Test", "Acme.Web", "1.0.0*"))
		if err != nil || len(installed) != 1 {
			t.Errorf("installed in %v", installed)
		}

		e = w.deploy(version, nil)
		e.want(t, "Success", "installed here", "Acme.Web 1.0.0 is already on web1")
		e = w.deploy(version, m{"ForcePackageDownload": true})
		e.want(t, "Success", "Uploading Acme.Web 1.0.0")

		p := w.call("GET", "/api/projects/web", nil).object()
		p["DefaultToSkipIfAlreadyInstalled"] = true
		w.call("PUT", "/api/projects/"+w.project, p)
		e = w.deploy(version, nil)
		e.want(t, "Success")
		if strings.Contains(e.log, "installed here") {
			t.Errorf("it was installed again\n%s", e.log)
		}
		w.deploy(version, m{"ForcePackageRedeployment": true}).want(t, "Success", "installed here")
	})
}

func TestWorkers(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.target("web1", nil)
		pools := map[string]string{}
		for _, name := range []string{"blue", "green"} {
			pools[name] = w.call("POST", "/api/workerpools", m{"Name": name, "WorkerPoolType": "StaticWorkerPool"}).text("Id")
			endpoint, _ := w.agent(name)
			w.call("POST", "/api/workers", m{"Name": name, "WorkerPoolIds": []any{pools[name]}, "Endpoint": endpoint})
		}
		w.checked()
		set := w.call("GET", "/api/variables/variableset-"+w.project, nil).object()
		set["Variables"] = []any{m{"Name": "Pool", "Value": pools["green"], "Type": "WorkerPool"}}
		w.call("PUT", "/api/variables/variableset-"+w.project, set)
		w.upload("Acme.Web.1.0.0.zip", map[string]string{"run.sh": `echo "package on $TentacleInstanceName"`})
		says := func(word string) m {
			return bash(`echo "`+word+` on $TentacleInstanceName for <$(get_octopusvariable Octopus.Machine.Name)>"`, m{"Octopus.Action.RunOnServer": "true"})
		}
		w.save(
			step("By id", "", says("first"), m{"WorkerPoolId": pools["blue"]}),
			step("By variable", "", says("second"), m{"WorkerPoolVariable": "Pool"}),
			step("On behalf", "web", says("third"), m{"WorkerPoolId": pools["blue"]}),
			step("Default", "", says("fourth"), nil),
			step("Package", "", m{"Octopus.Action.RunOnServer": "True", "Octopus.Action.Script.ScriptSource": "Package", "Octopus.Action.Script.ScriptFileName": "run.sh"}, m{
				"WorkerPoolId": pools["blue"], "Packages": []any{m{"Name": "", "PackageId": "Acme.Web", "FeedId": "feeds-builtin", "AcquisitionLocation": "Server", "Properties": m{}}},
			}),
		)
		w.deploy(w.release(nil), nil).want(t, "Success", "first on blue for <>", "second on green for <>", "third on blue for <web1>", "fourth on server for <>", "package on blue")
	})
}

func TestRetries(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.target("web1", nil)
		w.target("web2", nil)
		witness := filepath.Join(w.dir, "witness")
		flaky := `
name=$(get_octopusvariable Octopus.Machine.Name)
echo x >> ` + witness + `.$name
[ "$name" = web2 ] || [ "$(wc -l < ` + witness + `.$name)" -ge 3 ]`
		w.save(
			step("Flaky", "web", bash(flaky, m{"Octopus.Action.AutoRetry.MaximumCount": "2", "Octopus.Action.AutoRetry.MinimumBackoff": "1"}), nil),
		)
		e := w.deploy(w.release(nil), nil)
		e.want(t, "Success", "Attempt 2.", "Attempt 3.")
		for name, want := range map[string]string{"web1": "x\nx\nx\n", "web2": "x\n"} {
			if got, err := os.ReadFile(witness + "." + name); string(got) != want || err != nil {
				t.Errorf("%s ran %q, %v", name, got, err)
			}
		}
	})
}

// A limit is given in whole minutes, so this takes one.
func TestTimeLimit(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: takes a minute")
	}
	t.Parallel()
	w := newWorld(t, dbtest.New(t, db.SQLite))
	w.save(
		step("Slow", "", bash("echo begun; sleep 600", m{"Octopus.Action.ExecutionTimeout.Minutes": "1"}), nil),
		step("After", "", bash("echo never", nil), nil),
	)
	e := w.deploy(w.release(nil), nil)
	e.want(t, "Failed", "begun", "took longer than")
	if strings.Contains(e.log, "never") || e.deployment.text("FailureEncountered") != "true" {
		t.Errorf("%s", e.log)
	}
}

func TestHealth(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		policy := func(name string, more m) string {
			o := m{"Name": name}
			for member, v := range more {
				o[member] = v
			}
			return w.call("POST", "/api/machinepolicies", o).text("Id")
		}
		script := m{"HealthCheckType": "RunScript", "BashHealthCheckPolicy": m{"RunType": "Inline", "ScriptBody": "echo looking around; fail_healthcheck 'no good' || exit 3"}}
		sick := policy("Sick", m{"MachineHealthCheckPolicy": script})
		only := policy("Only", m{"MachineHealthCheckPolicy": m{"HealthCheckType": "OnlyConnectivity", "BashHealthCheckPolicy": script["BashHealthCheckPolicy"]}})
		may := policy("May be off", m{"MachineConnectivityPolicy": m{"MachineConnectivityBehavior": "MayBeOfflineAndCanBeSkipped"}})
		here, _ := w.agent("here")
		gone := m{"CommunicationStyle": "TentaclePassive", "Uri": "https://127.0.0.1:1/", "Thumbprint": here["Thumbprint"]}
		for _, c := range []struct {
			name, policy string
			endpoint     m
			disabled     bool
			task, health string
		}{
			{"default", "", here, false, "Success", "Healthy"},
			{"script", sick, here, false, "Failed", "Unhealthy"},
			{"connectivity", only, here, false, "Success", "Healthy"},
			{"gone", "", gone, false, "Failed", "Unavailable"},
			{"may be gone", may, gone, false, "Success", "Unavailable"},
			{"disabled", sick, here, true, "Success", "Unknown"},
		} {
			id := w.call("POST", "/api/machines", m{
				"Name": c.name, "EnvironmentIds": []any{w.environment}, "Roles": []any{"x"}, "Endpoint": c.endpoint, "MachinePolicyId": c.policy, "IsDisabled": c.disabled,
			}).text("Id")
			w.checked()
			task := w.call("GET", "/api/tasks?name=Health&take=1", nil)
			if got := task.text("Items.0.State"); got != c.task {
				t.Errorf("%s: the check is %s, want %s", c.name, got, c.task)
			}
			if got := w.call("GET", "/api/machines/"+id, nil); got.text("HealthStatus") != c.health || c.health == "Healthy" && c.name == "default" && got.text("ShellName") != "Bash" {
				t.Errorf("%s: %v", c.name, got.v)
			}
		}
	})
}

func TestStoredOnlyIsSaid(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.target("web1", nil)
		w.save(
			step("A", "web", bash("echo done", m{"Octopus.Action.Template.Id": "ActionTemplates-1", "Unheard.Of": "x"}), m{"Container": m{"Image": "debian:12", "FeedId": "feeds-builtin"}}),
			step("B", "web", bash("echo done", nil), m{"Container": m{"Image": "debian:12", "FeedId": "feeds-builtin"}}),
		)
		version := w.release(nil)
		e := w.deploy(version, m{"DebugMode": true})
		e.want(t, "Success", `Step "A", Step "B": Container is stored, but this version does not act on it.`, `Step "A": Octopus.Action.Template.Id is stored`, "The deployment: DebugMode is stored")
		if n := strings.Count(e.log, "is stored, but"); n != 3 {
			t.Errorf("%d lines of what is stored only\n%s", n, e.log)
		}
		w.save(step("A", "web", bash("echo done", nil), nil))
		if e := w.deploy(w.release(nil), nil); strings.Contains(e.log, "is stored, but") {
			t.Errorf("an ordinary deployment complains\n%s", e.log)
		}
	})
}

func TestConnectivityPolicy(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		up, _ := w.target("up", nil)
		gone := w.call("POST", "/api/machines", m{
			"Name": "gone", "EnvironmentIds": []any{w.environment}, "Roles": []any{"web"}, "Endpoint": m{"CommunicationStyle": "TentaclePassive", "Uri": "https://127.0.0.1:1/", "Thumbprint": w.hub.Thumbprint()},
		}).text("Id")
		policy := w.call("POST", "/api/machinepolicies", m{"Name": "Sick", "MachineHealthCheckPolicy": m{"HealthCheckType": "RunScript", "BashHealthCheckPolicy": m{"RunType": "Inline", "ScriptBody": "exit 1"}}}).text("Id")
		sick, _ := w.target("sick", m{"MachinePolicyId": policy})
		w.checked()
		w.save(step("A", "web", bash("echo here", nil), nil), step("Nowhere", "db", bash("echo there", nil), nil))
		version := w.release(nil)
		settings := func(policy m) {
			s := w.call("GET", "/api/projects/web/deploymentsettings", nil).object()
			s["ConnectivityPolicy"] = policy
			w.call("PUT", "/api/projects/"+w.project+"/deploymentsettings", s)
		}
		settings(m{"SkipMachineBehavior": "SkipUnavailableMachines", "TargetRoles": []any{"web"}, "ExcludeUnhealthyTargets": true})
		e := w.deploy(version, nil)
		e.want(t, "Success", "gone takes no part.", "Skipped.")
		if got := e.deployment.text("DeployedToMachineIds"); got != "["+up+"]" {
			t.Errorf("deployed to %s, want only %s and neither %s nor %s", got, up, gone, sick)
		}
		settings(m{"SkipMachineBehavior": "SkipUnavailableMachines", "TargetRoles": []any{}})
		if got := w.deploy(version, nil).deployment.text("DeployedToMachineIds"); !strings.Contains(got, sick) {
			t.Errorf("deployed to %s, without %s, which is reachable", got, sick)
		}
		w.save(step("Nowhere", "db", bash("echo there", nil), nil))
		settings(m{"AllowDeploymentsToNoTargets": true})
		w.deploy(w.release(nil), nil).want(t, "Success")
	})
}

func TestOldInstallationsGo(t *testing.T) { // K20-K25
	each(t, func(t *testing.T, w *world) {
		_, home := w.target("web1", nil)
		l := w.call("GET", "/api/lifecycles", nil)
		lifecycle := w.call("GET", "/api/lifecycles/"+l.text("Items.0.Id"), nil).object()
		lifecycle["TentacleRetentionPolicy"] = m{"Strategy": "Count", "Unit": "Items", "QuantityToKeep": 1}
		w.call("PUT", "/api/lifecycles/"+l.text("Items.0.Id"), lifecycle)
		w.save(step("Install", "web", m{}, m{"ActionType": "Octopus.TentaclePackage", "Packages": []any{m{"Name": "", "PackageId": "Acme.Web", "FeedId": "feeds-builtin", "AcquisitionLocation": "Server", "Properties": m{}}}}))
		for _, version := range []string{"1.0.0", "2.0.0", "3.0.0"} {
			w.upload("Acme.Web."+version+".zip", map[string]string{"index.html": version})
			w.deploy(w.release(nil), nil).want(t, "Success", "Apply retention policy")
		}
		entries, err := os.ReadDir(filepath.Join(home, "Applications", "Test", "Acme.Web"))
		var left []string
		for _, entry := range entries {
			left = append(left, entry.Name())
		}
		if got := strings.Join(left, " "); err != nil || got != "2.0.0 3.0.0" && got != "3.0.0" {
			t.Errorf("left %q, %v", got, err)
		}
	})
}

func TestConditions(t *testing.T) { // C1-C6, F5
	each(t, func(t *testing.T, w *world) {
		w.target("web1", nil)
		id, _ := w.target("web2", nil)
		set := w.call("GET", "/api/variables/variableset-"+w.project, nil).object()
		set["Variables"] = []any{m{"Name": "Chosen", "Value": "no"}, m{"Name": "Chosen", "Value": "yes", "Scope": m{"Machine": []any{id}}}}
		w.call("PUT", "/api/variables/variableset-"+w.project, set)
		says := func(word string) m { return bash("echo "+word+" on $TentacleInstanceName", nil) }
		when := func(s m, condition, expression string) m {
			s["Condition"] = condition
			if expression != "" {
				s["Properties"].(m)["Octopus.Step.ConditionVariableExpression"] = expression
			}
			return s
		}
		child := func(name string, properties m, expression string) m {
			a := m{"Name": name, "ActionType": "Octopus.Script", "Properties": properties}
			if expression != "" {
				a["Condition"] = "Variable"
				properties["Octopus.Action.ConditionVariableExpression"] = expression
			}
			return a
		}
		w.save(
			when(step("Per target", "web", says("chosen"), nil), "Variable", "#{Chosen}"),
			when(step("Too early", "web", says("early"), nil), "Failure", ""),
			m{"Name": "Parent", "Properties": m{"Octopus.Action.TargetRoles": "web"}, "Actions": []any{
				child("Fails", bash("fail_step 'out of cheese'", nil), ""), child("After it", says("after"), ""), child("Mends it", says("mended"), "#{Octopus.Deployment.Error}"),
			}},
			step("Normal", "web", says("normal"), nil),
			when(step("Repair", "web", bash(`echo "because $(get_octopusvariable Octopus.Deployment.Error)"; echo "early was $(get_octopusvariable "Octopus.Step[Too early].Status.Code")"`, nil), nil), "Failure", ""),
			when(step("Always", "web", says("always"), nil), "Always", ""),
			when(step("Careful", "web", says("careful"), nil), "Variable", "#{unless Octopus.Deployment.Error}True#{/unless}"),
		)
		e := w.deploy(w.release(nil), nil)
		e.want(t, "Failed", "chosen on web2", "out of cheese", "mended on web1", "mended on web2", "because ", "early was Skipped", "always on web1", "always on web2")
		for _, never := range []string{"chosen on web1", "early on", "after on", "normal on", "careful on"} {
			if strings.Contains(e.log, never) {
				t.Errorf("%q is in the log\n%s", never, e.log)
			}
		}
		if got := e.task.text("ErrorMessage"); !strings.Contains(got, "out of cheese") {
			t.Errorf("the task says %q", got)
		}
	})
}

// One script at a time on a target, over all tasks, in the order of asking; who waits says for whom (P11).
func TestTargetLock(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		other := w.call("POST", "/api/environments", m{"Name": "Other"}).text("Id")
		lifecycle := w.call("GET", "/api/lifecycles", nil).text("Items.0.Id")
		w.call("PUT", "/api/lifecycles/"+lifecycle, m{"Id": lifecycle, "Name": "Default Lifecycle", "Phases": []any{m{"Name": "Any", "OptionalDeploymentTargets": []any{w.environment, other}}}})
		_, home := w.target("web1", m{"EnvironmentIds": []any{w.environment, other}})
		w.save(step("One", "web", bash(`cd "`+home+`"; echo in >> witness; while [ ! -e go ]; do sleep 0.05; done; echo out >> witness`, m{"Octavo.Action.Locks": "db, #{Octopus.Environment.Name}"}), nil))
		version := w.release(nil)
		var tasks []string
		push := func(environment string) {
			made := w.call("POST", "/api/Spaces-1/deployments/create/untenanted/v1", m{"ProjectName": "Web", "ReleaseVersion": version, "EnvironmentNames": []any{environment}})
			tasks = append(tasks, made.text("DeploymentServerTasks.0.ServerTaskId"))
		}
		logs := func(task, part string) {
			w.until(task+" says "+part, func() (bool, string) {
				text := fmt.Sprint(w.call("GET", "/api/tasks/"+task+"/raw", nil).v)
				return strings.Contains(text, part), text
			})
		}
		push("Test")
		w.until("the first script runs", func() (bool, string) {
			_, err := os.Stat(filepath.Join(home, "witness"))
			return err == nil, fmt.Sprint(err)
		})
		push("Other")
		logs(tasks[1], "Waiting for lock db, which "+tasks[0])
		if err := os.WriteFile(filepath.Join(home, "go"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			w.until(task+" ends", func() (bool, string) {
				state := w.call("GET", "/api/tasks/"+task, nil).text("State")
				return state == "Success", state
			})
			runs := w.call("GET", "/api/tasks/"+task+"/details", nil)
			if got := runs.text("Runs.0.ServerNode") + " " + runs.text("Runs.0.Ending") + runs.text("Runs.1"); got != "OctopusServerNodes-n1 Ended<no Runs.1>" {
				t.Errorf("who ran %s: %s", task, got)
			}
		}
		witness, err := os.ReadFile(filepath.Join(home, "witness"))
		if got := string(witness); err != nil || got != "in\nout\nin\nout\n" {
			t.Errorf("the scripts overlapped: %q, %v", got, err)
		}
	})
}

// A log is followed while it grows, from any entry on: each entry once, in order, until the end.
func TestFollow(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		_, home := w.target("web1", nil)
		w.save(step("Count", "web", bash(`for i in $(seq 1 30); do echo "line $i"; sleep 0.02; done; while [ ! -e "`+home+`/go" ]; do sleep 0.05; done; echo over`, nil), nil))
		made := w.call("POST", "/api/Spaces-1/deployments/create/untenanted/v1", m{"ProjectName": "Web", "ReleaseVersion": w.release(nil), "EnvironmentNames": []any{"Test"}})
		task := made.text("DeploymentServerTasks.0.ServerTaskId")
		follow := func(after string, until func(event, data string) bool) (ids []string, texts []string) {
			request, _ := http.NewRequestWithContext(t.Context(), "GET", w.server.URL+"/api/tasks/"+task+"/follow?after=0", nil)
			request.Header.Set("X-Octopus-ApiKey", key)
			if after != "" {
				request.Header.Set("Last-Event-ID", after)
			}
			answer, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			if kind := answer.Header.Get("Content-Type"); answer.StatusCode != 200 || !strings.HasPrefix(kind, "text/event-stream") {
				t.Fatalf("%d %s", answer.StatusCode, kind)
			}
			event := ""
			for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
				name, value, _ := strings.Cut(lines.Text(), ": ")
				switch name {
				case "id":
					ids = append(ids, value)
				case "event":
					event = value
				case "data":
					var line struct{ MessageText string }
					if err := json.Unmarshal([]byte(value), &line); err != nil {
						t.Fatal(err)
					}
					texts = append(texts, line.MessageText)
					if until(event, value) {
						return ids, texts
					}
				}
			}
			t.Error("the stream ended without a word")
			return ids, texts
		}
		var others sync.WaitGroup
		whole := make([][]string, 3)
		for i := range whole {
			others.Go(func() { whole[i], _ = follow("", func(event, _ string) bool { return event == "end" }) })
		}
		first, _ := follow("", func(_, data string) bool { return strings.Contains(data, `"line 10"`) })
		if err := os.WriteFile(filepath.Join(home, "go"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		rest, texts := follow(first[len(first)-1], func(event, data string) bool {
			if event == "end" && !strings.Contains(data, `"State":"Success"`) {
				t.Errorf("the end is %s", data)
			}
			return event == "end"
		})
		others.Wait()
		var want []string
		for i := range len(first) + len(rest) {
			want = append(want, fmt.Sprint(i+1))
		}
		for _, got := range append(whole, append(first, rest...)) {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("entries: %s", diff)
			}
		}
		if !slices.Contains(texts, "over") || !slices.Contains(texts, "line 11") || slices.Contains(texts, "line 10") {
			t.Errorf("after the break: %q", texts)
		}
		again, _ := follow("3", func(event, _ string) bool { return event == "end" }) // of an ended task
		if diff := cmp.Diff(want[3:], again); diff != "" {
			t.Errorf("entries of the ended task: %s", diff)
		}
	})
}

// The task of a node that is gone is taken up even if all slots are taken by tasks that wait for its locks: they leave
// theirs to it, keep their place, and go on afterwards (P11).
func TestWhoWaitsForAnOrphanedLockLeavesItsSlot(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		other := w.call("POST", "/api/environments", m{"Name": "Other"}).text("Id")
		lifecycle := w.call("GET", "/api/lifecycles", nil).text("Items.0.Id")
		w.call("PUT", "/api/lifecycles/"+lifecycle, m{"Id": lifecycle, "Name": "Default Lifecycle", "Phases": []any{m{"Name": "Any", "OptionalDeploymentTargets": []any{w.environment, other}}}})
		_, home := w.target("web1", m{"EnvironmentIds": []any{w.environment, other}})
		w.save(step("One", "web", bash(`cd "`+home+`"; echo in >> witness; while [ ! -e go ]; do sleep 0.05; done; echo out >> witness`, nil), nil))
		version := w.release(nil)
		w.start("n2")
		for _, node := range []string{"n1", "n2"} {
			w.call("PUT", "/api/octopusservernodes/OctopusServerNodes-"+node, m{"MaxConcurrentTasks": 1})
		}
		first, firstDeployment := w.push(version, nil)
		w.until("the first script runs", func() (bool, string) {
			_, err := os.Stat(filepath.Join(home, "witness"))
			return err == nil, fmt.Sprint(err)
		})
		second, secondDeployment := w.push(version, m{"EnvironmentNames": []any{"Other"}})
		w.until("the second waits", func() (bool, string) {
			log := w.log(second)
			return strings.Contains(log, "Waiting for web1, which "+first), log
		})
		owner := strings.TrimPrefix(w.call("GET", "/api/tasks/"+first+"/details", nil).text("Runs.0.ServerNode"), "OctopusServerNodes-")
		node := w.nodes[owner]
		delete(w.nodes, owner)
		must(t, node.Stop(t.Context()))
		w.until("the first goes on", func() (bool, string) {
			log := w.log(first)
			return strings.Contains(log, "goes on with this task"), log + w.log(second)
		})
		w.file(home, "go")
		w.ended(first, firstDeployment).want(t, "Success")
		w.ended(second, secondDeployment).want(t, "Success", "leaves its slot")
		witness, err := os.ReadFile(filepath.Join(home, "witness"))
		if got := string(witness); err != nil || got != "in\nout\nin\nout\n" {
			t.Errorf("the scripts overlapped: %q, %v", got, err)
		}
	})
}
