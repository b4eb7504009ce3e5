package clients_test

import (
	"bytes"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/client"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/core"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/deployments"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/environments"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/lifecycles"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/machines"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/packages"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/projectgroups"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/projects"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/releases"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/spaces"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/tasks"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/variables"
)

const (
	tag   = "greeter-host"
	token = "tok-5f0e1c-not-for-logs"
)

// sdk is one user of the Go SDK in one space.
type sdk struct {
	*client.Client
	seen  *statuses
	space *spaces.Space
}

func connect(t *testing.T, key, space string) (*client.Client, *statuses, error) {
	t.Helper()
	address, err := url.Parse(serverURL)
	if err != nil {
		t.Fatal(err)
	}
	seen := &statuses{}
	c, err := client.NewClient(&http.Client{Transport: seen}, address, key, space)
	return c, seen, err
}

// check ends a test at a call that should have worked.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newSpace makes a space and a client inside it.
func newSpace(t *testing.T, name string) sdk {
	t.Helper()
	c, _, err := connect(t, apiKey, "")
	check(t, err)
	me, err := c.Users.GetMe()
	check(t, err)
	space := spaces.NewSpace(name)
	space.SpaceManagersTeamMembers = []string{me.GetID()}
	made, err := c.Spaces.Add(space)
	check(t, err)
	in, seen, err := connect(t, apiKey, made.GetID())
	check(t, err)
	return sdk{in, seen, made}
}

// refused checks that the last call failed with this status and that its text holds all these words.
func (s sdk) refused(t *testing.T, err error, status int64, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("not refused; want %d", status)
	}
	if got := s.seen.last.Load(); got != status {
		t.Errorf("status %d, want %d: %v", got, status, err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the refusal does not hold %q: %v", word, err)
		}
	}
}

func text(value string) core.PropertyValue { return core.NewPropertyValue(value, false) }

func scriptStep(name, body string) *deployments.DeploymentStep {
	action := deployments.NewDeploymentAction(name, "Octopus.Script")
	action.Properties["Octopus.Action.RunOnServer"] = text("false")
	action.Properties["Octopus.Action.Script.ScriptSource"] = text("Inline")
	action.Properties["Octopus.Action.Script.Syntax"] = text("Bash")
	action.Properties["Octopus.Action.Script.ScriptBody"] = text(body)
	step := deployments.NewDeploymentStep(name)
	step.Properties["Octopus.Action.TargetRoles"] = text(tag)
	step.Actions = append(step.Actions, action)
	return step
}

func packageStep(name, id string) *deployments.DeploymentStep {
	action := deployments.NewDeploymentAction(name, "Octopus.TentaclePackage")
	action.Packages = []*packages.PackageReference{{
		PackageID: id, FeedID: "feeds-builtin", AcquisitionLocation: deployments.PackageAcquisitionLocationServer, Properties: map[string]string{},
	}}
	action.Properties["Octopus.Action.Package.PackageId"] = text(id)
	action.Properties["Octopus.Action.Package.FeedId"] = text("feeds-builtin")
	action.Properties["Octopus.Action.Package.DownloadOnTentacle"] = text("False")
	action.Properties["Octopus.Action.EnabledFeatures"] = text("Octopus.Features.SubstituteInFiles")
	action.Properties["Octopus.Action.SubstituteInFiles.TargetFiles"] = text("greeter.conf")
	step := deployments.NewDeploymentStep(name)
	step.Properties["Octopus.Action.TargetRoles"] = text(tag)
	step.Actions = append(step.Actions, action)
	return step
}

// setSteps writes a project's process as Terraform and the SDK's users do: read, change, write whole.
func (s sdk) setSteps(t *testing.T, project *projects.Project, steps ...*deployments.DeploymentStep) *deployments.DeploymentProcess {
	t.Helper()
	process, err := deployments.GetDeploymentProcessByID(s.Client, s.space.GetID(), project.DeploymentProcessID)
	check(t, err)
	before := process.Version
	process.Steps = steps
	saved, err := deployments.UpdateDeploymentProcess(s.Client, process)
	check(t, err)
	if saved.Version <= before || len(saved.Steps) != len(steps) {
		t.Fatalf("process saved as version %d with %d steps; was version %d, sent %d steps", saved.Version, len(saved.Steps), before, len(steps))
	}
	for _, step := range saved.Steps {
		if step.GetID() == "" || step.Actions[0].GetID() == "" || step.Actions[0].Slug == "" {
			t.Fatalf("step %q was saved without an id or slug: %+v", step.Name, step)
		}
	}
	return saved
}

func (s sdk) release(t *testing.T, project *projects.Project, version, packageVersion string) *releases.Release {
	t.Helper()
	command := releases.NewCreateReleaseCommandV1(s.space.GetID(), project.Name)
	command.ReleaseVersion, command.PackageVersion = version, packageVersion
	made, err := releases.CreateReleaseV1(s.Client, command)
	check(t, err)
	release, err := releases.GetReleaseInProject(s.Client, s.space.GetID(), project.GetID(), made.ReleaseVersion)
	check(t, err)
	if release.GetID() != made.ReleaseID || release.Assembled.IsZero() {
		t.Fatalf("release %+v, made as %+v", release, made)
	}
	return release
}

func (s sdk) deploy(project *projects.Project, version, environment string) (*deployments.CreateDeploymentResponseV1, error) {
	command := deployments.NewCreateDeploymentUntenantedCommandV1(s.space.GetID(), project.Name)
	command.ReleaseVersion, command.EnvironmentNames = version, []string{environment}
	return deployments.CreateDeploymentUntenantedV1(s.Client, command)
}

// start deploys and gives the task's id.
func (s sdk) start(t *testing.T, project *projects.Project, version, environment string) string {
	t.Helper()
	made, err := s.deploy(project, version, environment)
	check(t, err)
	if len(made.DeploymentServerTasks) != 1 {
		t.Fatalf("%d deployments made, want 1", len(made.DeploymentServerTasks))
	}
	return made.DeploymentServerTasks[0].ServerTaskID
}

// await polls a task as `octopus task wait` does, until this holds.
func (s sdk) await(t *testing.T, id string, until func(*tasks.Task) bool) *tasks.Task {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		page, err := s.Tasks.Get(tasks.TasksQuery{IDs: []string{id}})
		check(t, err)
		if len(page.Items) != 1 {
			t.Fatalf("%d tasks with the id %s", len(page.Items), id)
		}
		task := page.Items[0]
		if until(task) {
			return task
		}
		if time.Now().After(deadline) {
			t.Fatalf("task %s is still %s", id, task.State)
		}
	}
}

func ended(task *tasks.Task) bool { return task.IsCompleted != nil && *task.IsCompleted }

// lines are all messages of a task's log, with their category in front, in the order of the tree.
func (s sdk) lines(t *testing.T, id string) []string {
	t.Helper()
	details, err := tasks.GetDetails(s.Client, s.space.GetID(), id)
	check(t, err)
	if details.Task == nil || details.Progress == nil || len(details.ActivityLogs) == 0 {
		t.Fatalf("details of %s without task, progress or log: %+v", id, details)
	}
	var lines []string
	var walk func([]*tasks.ActivityElement)
	walk = func(elements []*tasks.ActivityElement) {
		for _, element := range elements {
			for _, line := range element.LogElements {
				lines = append(lines, line.Category+": "+line.MessageText)
			}
			walk(element.Children)
		}
	}
	walk(details.ActivityLogs)
	return lines
}

func count(lines []string, part string) (n int) {
	for _, line := range lines {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

// greeting runs the deployed program of an agent.
func greeting(t *testing.T, program string) string {
	t.Helper()
	out, err := exec.Command(program).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestGoSDK is the whole job, done by the Go SDK alone.
func TestGoSDK(t *testing.T) {
	s := newSpace(t, "Go SDK")
	id := s.space.GetID()

	development, err := environments.Add(s.Client, environments.NewEnvironment("Development"))
	check(t, err)
	production, err := environments.Add(s.Client, environments.NewEnvironment("Production"))
	check(t, err)
	all, err := environments.GetAll(s.Client, id)
	check(t, err)
	if len(all) != 2 || all[0].Name != "Development" || all[1].Name != "Production" {
		t.Fatalf("environments %+v", all)
	}

	lifecycle := lifecycles.NewLifecycle("Development, then Production")
	first, second := lifecycles.NewPhase("First"), lifecycles.NewPhase("Second")
	first.OptionalDeploymentTargets = []string{development.GetID()}
	second.OptionalDeploymentTargets = []string{production.GetID()}
	lifecycle.Phases = []*lifecycles.Phase{first, second}
	lifecycle, err = lifecycles.Add(s.Client, lifecycle)
	check(t, err)

	group, err := projectgroups.Add(s.Client, projectgroups.NewProjectGroup("Greeters"))
	check(t, err)
	project, err := projects.Add(s.Client, projects.NewProject("Greeter", lifecycle.GetID(), group.GetID()))
	check(t, err)
	broken, err := projects.Add(s.Client, projects.NewProject("Broken", lifecycle.GetID(), group.GetID()))
	check(t, err)
	byName, err := projects.GetByName(s.Client, id, "Greeter")
	check(t, err)
	if byName.GetID() != project.GetID() || project.Slug != "greeter" {
		t.Fatalf("project %s (%s), found by name as %s", project.GetID(), project.Slug, byName.GetID())
	}

	s.setVariables(t, project, development, production)

	const run = `dir=$(get_octopusvariable "Octopus.Action[Install].Output.Package.InstallationDirectoryPath")
said=$("$dir/greeter") || exit 3
write_highlight "greeter says: $said"
echo "token is $(get_octopusvariable Token), mood is $(get_octopusvariable Mood)"
`
	stale := s.setSteps(t, project, packageStep("Install", "Greeter.App"), scriptStep("Run", run))
	s.setSteps(t, broken, scriptStep("Break", "echo about to break\necho 'cannot open the vault' >&2\nexit 17\n"))

	archive := greeterPackage(t)
	uploaded, fresh, err := packages.Upload(s.Client, id, "Greeter.App.1.0.0.zip", bytes.NewReader(archive), packages.OverwriteModeFailIfExists)
	check(t, err)
	if !fresh || uploaded.PackageId != "Greeter.App" || uploaded.Version != "1.0.0" {
		t.Errorf("uploaded %+v, new %v", uploaded, fresh)
	}
	_, err = packages.UploadV2(s.Client, id, "Greeter.App.1.1.0.zip", bytes.NewReader(archive), packages.OverwriteModeFailIfExists, true)
	check(t, err) // by delta where the server has a base, else whole
	list, err := packages.List(s.Client, id, "Greeter", 10)
	check(t, err)
	if len(list.Items) != 2 {
		t.Errorf("%d packages listed, want 2", len(list.Items))
	}

	apps := startAgents(t, id, tag, "Development", "Production")
	s.awaitHealth(t, 2)

	t.Run("an existing package is refused with 409", func(t *testing.T) {
		_, _, err := packages.Upload(s.Client, id, "Greeter.App.1.0.0.zip", bytes.NewReader(append(archive, 0)), packages.OverwriteModeFailIfExists)
		s.refused(t, err, http.StatusConflict, "already exists")
		_, fresh, err := packages.Upload(s.Client, id, "Greeter.App.1.0.0.zip", bytes.NewReader(archive), packages.OverwriteModeIgnoreIfExists)
		if err != nil || fresh {
			t.Errorf("IgnoreIfExists: new %v, %v", fresh, err)
		}
	})
	t.Run("a wrong key is refused with 401", func(t *testing.T) {
		_, seen, err := connect(t, "API-WRONGWRONGWRONGWRONGWRONG", id)
		if err == nil || seen.last.Load() != http.StatusUnauthorized {
			t.Errorf("status %d, %v", seen.last.Load(), err)
		}
	})
	t.Run("a stale process is refused with 400", func(t *testing.T) {
		s.setSteps(t, project, stale.Steps...)
		stale.Steps = stale.Steps[:1]
		_, err := deployments.UpdateDeploymentProcess(s.Client, stale)
		s.refused(t, err, http.StatusBadRequest, "another user")
	})
	t.Run("an unknown project is told apart from an error", func(t *testing.T) {
		_, err := projects.GetByID(s.Client, id, "Projects-99999")
		s.refused(t, err, http.StatusNotFound)
		if answer, ok := err.(*core.APIError); !ok || answer.StatusCode != http.StatusNotFound {
			t.Errorf("the SDK made %T of a 404: %v", err, err)
		}
	})

	release := s.release(t, project, "1.0.0", "1.0.0")
	if len(release.SelectedPackages) != 1 || release.SelectedPackages[0].Version != "1.0.0" {
		t.Fatalf("release selected %+v", release.SelectedPackages)
	}
	t.Run("a release cannot skip a phase", func(t *testing.T) {
		_, err := s.deploy(project, "1.0.0", "Production")
		s.refused(t, err, http.StatusBadRequest, "Production", "First")
	})

	for _, environment := range []struct{ name, mood string }{{"Development", "curious"}, {"Production", "calm"}} {
		task := s.await(t, s.start(t, project, "1.0.0", environment.name), ended)
		lines := s.lines(t, task.GetID())
		if task.State != "Success" || task.FinishedSuccessfully == nil || !*task.FinishedSuccessfully {
			t.Fatalf("deployment to %s: %s %s\n%s", environment.name, task.State, task.ErrorMessage, strings.Join(lines, "\n"))
		}
		want := "Hello from " + environment.name + ", release 1.0.0"
		for _, app := range apps {
			program := installed(t, app, environment.name, "1.0.0", "greeter")
			if got := greeting(t, program); got != want {
				t.Errorf("%s says %q, want %q", program, got, want)
			}
			conf, err := os.ReadFile(program + ".conf")
			check(t, err)
			if !strings.Contains(string(conf), "token='"+token+"'") {
				t.Errorf("the sensitive variable did not reach the configuration:\n%s", conf)
			}
		}
		if n := count(lines, "Highlight: greeter says: "+want); n != 2 {
			t.Errorf("%d lines highlight %q, want 2:\n%s", n, want, strings.Join(lines, "\n"))
		}
		if n := count(lines, "token is ********, mood is "+environment.mood); n != 2 {
			t.Errorf("%d lines with a hidden token and the mood %s, want 2:\n%s", n, environment.mood, strings.Join(lines, "\n"))
		}
		if count(lines, token) != 0 {
			t.Errorf("the log shows the token")
		}
	}

	t.Run("links lead on", func(t *testing.T) {
		channels, err := s.Projects.GetChannels(project)
		check(t, err)
		ofProject, err := s.Projects.GetReleases(project)
		check(t, err)
		ofChannel, err := s.Releases.GetReleases(channels[0])
		check(t, err)
		ofRelease, err := s.Deployments.GetDeployments(release)
		check(t, err)
		ofGroup, err := s.ProjectGroups.GetProjects(group)
		check(t, err)
		ofLifecycle, err := s.Lifecycles.GetProjects(lifecycle)
		check(t, err)
		template, err := deployments.GetDeploymentProcessTemplate(s.Client, stale, channels[0].GetID(), "")
		check(t, err)
		settings, err := s.Deployments.GetDeploymentSettings(project, "")
		check(t, err)
		got := []int{len(channels), len(ofProject), len(ofChannel.Items), len(ofRelease.Items), len(ofGroup), len(ofLifecycle), len(template.Packages)}
		if want := []int{1, 1, 1, 2, 2, 2, 1}; !slices.Equal(got, want) {
			t.Errorf("channels, releases of project and channel, deployments, projects of group and lifecycle, packages: %v, want %v", got, want)
		}
		if template.NextVersionIncrement != "1.0.1" || settings.ProjectID != project.GetID() {
			t.Errorf("next version %q, settings of %q", template.NextVersionIncrement, settings.ProjectID)
		}
	})
	t.Run("a failing script fails the task and says why", func(t *testing.T) {
		s.release(t, broken, "1.0.0", "")
		task := s.await(t, s.start(t, broken, "1.0.0", "Development"), ended)
		lines := s.lines(t, task.GetID())
		if task.State != "Failed" || *task.FinishedSuccessfully || task.ErrorMessage == "" {
			t.Errorf("task %s, finished successfully %v, error %q", task.State, *task.FinishedSuccessfully, task.ErrorMessage)
		}
		for _, part := range []string{"about to break", "Error: cannot open the vault", "17"} {
			if count(lines, part) == 0 {
				t.Errorf("no line with %q:\n%s", part, strings.Join(lines, "\n"))
			}
		}
	})

	t.Run("a running deployment can be cancelled", func(t *testing.T) {
		s.setSteps(t, broken, scriptStep("Sleep", "echo sleeping\nsleep 300\n"))
		s.release(t, broken, "1.0.1", "")
		task := s.start(t, broken, "1.0.1", "Development")
		s.await(t, task, func(task *tasks.Task) bool { return ended(task) || count(s.lines(t, task.GetID()), "sleeping") > 0 })
		_, err := tasks.Cancel(s.Client, id, task)
		check(t, err)
		if got := s.await(t, task, ended); got.State != "Canceled" {
			t.Errorf("a cancelled task is %s", got.State)
		}
	})

	t.Run("the space goes with all that is in it", func(t *testing.T) {
		server, seen, err := connect(t, apiKey, "")
		check(t, err)
		s.space.TaskQueueStopped = true
		_, err = spaces.Update(server, s.space)
		check(t, err)
		check(t, server.Spaces.DeleteByID(id))
		_, err = spaces.GetByID(server, id)
		sdk{server, seen, nil}.refused(t, err, http.StatusNotFound)
	})
}

// setVariables writes the project's variables, one of them scoped, one sensitive, and reads them back.
func (s sdk) setVariables(t *testing.T, project *projects.Project, development, production *environments.Environment) {
	t.Helper()
	set, err := variables.GetAll(s.Client, s.space.GetID(), project.GetID())
	check(t, err)
	add := func(name, value string, scope ...string) *variables.Variable {
		variable := variables.NewVariable(name)
		variable.Value, variable.Scope.Environments = value, scope
		set.Variables = append(set.Variables, variable)
		return variable
	}
	add("Greeting", "#{Word}")
	add("Word", "Hello")
	add("Mood", "curious", development.GetID())
	add("Mood", "calm", production.GetID())
	sensitive := add("Token", token)
	sensitive.Type, sensitive.IsSensitive = "Sensitive", true
	saved, err := variables.Update(s.Client, s.space.GetID(), project.GetID(), set)
	check(t, err)
	if len(saved.Variables) != 5 || saved.Version <= set.Version || saved.ScopeValues == nil || len(saved.ScopeValues.Environments) != 2 {
		t.Fatalf("variables saved: %+v", saved)
	}
	for _, variable := range saved.Variables {
		if variable.Name == "Token" && (variable.Value != "" || !variable.IsSensitive) {
			t.Errorf("the sensitive variable came back as %+v", variable)
		}
		if variable.Name == "Mood" && !slices.Contains([]string{development.GetID(), production.GetID()}, variable.Scope.Environments[0]) {
			t.Errorf("the scope came back as %+v", variable.Scope)
		}
	}
}

// awaitHealth waits until the registered agents have answered the server's health check.
func (s sdk) awaitHealth(t *testing.T, want int) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		all, err := machines.GetAll(s.Client, s.space.GetID())
		check(t, err)
		healthy := 0
		for _, machine := range all {
			if machine.HealthStatus == "Healthy" {
				healthy++
			}
		}
		if healthy == want {
			return
		}
		if time.Now().After(deadline) {
			for _, machine := range all {
				t.Logf("%s: %s, %s", machine.Name, machine.HealthStatus, machine.StatusSummary)
			}
			t.Fatalf("%d of %d agents are healthy", healthy, want)
		}
	}
}

// TestEveryServiceHasItsPath holds the root documents to all the links the SDK reads when it starts: a service
// whose link is missing fails later, with "invalid path".
func TestEveryServiceHasItsPath(t *testing.T) {
	for _, space := range []string{"", "Spaces-1"} {
		c, _, err := connect(t, apiKey, space)
		check(t, err)
		found := 0
		for _, service := range reflect.ValueOf(c).Elem().Fields() {
			if service.Kind() == reflect.Pointer && !service.IsNil() && service.Elem().Kind() == reflect.Struct {
				found += paths(t, service.Elem())
			}
		}
		if found < 139 {
			t.Errorf("%d paths in the services of the SDK; it reads 139 links", found)
		}
	}
}

// paths counts a service's paths, and tells which are missing.
func paths(t *testing.T, service reflect.Value) (found int) {
	for field, value := range service.Fields() {
		switch {
		case value.Kind() == reflect.Struct && field.Anonymous:
			found += paths(t, value)
		case value.Kind() == reflect.String && strings.HasSuffix(strings.ToLower(field.Name), "path"):
			found++
			if value.String() == "" {
				t.Errorf("%s has no %s", service.Type(), field.Name)
			}
		}
	}
	return found
}
