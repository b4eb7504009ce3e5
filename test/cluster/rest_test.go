package cluster

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// object is a resource as the REST API writes it.
type object map[string]any

func (o object) text(name string) string { s, _ := o[name].(string); return s }

// client calls the REST API.
type client struct {
	url, key string
	patience time.Duration // of one request; zero: a minute
}

// hasty is a client for polling: the server may be stopped in the middle of an answer.
func (c client) hasty() client { c.patience = 2 * time.Second; return c }

// refusal is an answer that is not a success.
type refusal struct {
	Status       int
	ErrorMessage string
	Errors       []string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("%d: %s %s", r.Status, r.ErrorMessage, strings.Join(r.Errors, " "))
}

// try sends a request; in and out may be nil.
func (c client) try(method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	text, err := c.send(method, path, "application/json", body)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(text, out)
}

func (c client) send(method, path, contentType string, body io.Reader) ([]byte, error) {
	patience := c.patience
	if patience == 0 {
		patience = time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-Octopus-ApiKey", c.key)
	request.Header.Set("Content-Type", contentType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 {
		r := &refusal{Status: response.StatusCode}
		if json.Unmarshal(text, r) != nil || r.ErrorMessage == "" {
			r.ErrorMessage = fmt.Sprintf("%s %s: %s", method, path, text)
		}
		return nil, r
	}
	return text, nil
}

const space = "/api/Spaces-1"

// call is try, below the space, for requests that must succeed.
func (i *installation) call(method, path string, in, out any) {
	i.t.Helper()
	if err := i.try(method, space+path, in, out); err != nil {
		i.t.Fatalf("%s %s: %v", method, path, err)
	}
}

func (i *installation) post(path string, in object) (made object) {
	i.t.Helper()
	i.call("POST", path, in, &made)
	return made
}

func (i *installation) get(path string) (got object) {
	i.t.Helper()
	i.call("GET", path, nil, &got)
	return got
}

// find gives the resource of a name.
func (i *installation) find(path, name string) object {
	i.t.Helper()
	var page struct{ Items []object }
	i.call("GET", path+"?take=1000&partialName="+url.QueryEscape(name), nil, &page)
	for _, item := range page.Items {
		if item.text("Name") == name {
			return item
		}
	}
	i.t.Fatalf("%s has no %q", path, name)
	return nil
}

// environment makes an environment.
func (i *installation) environment(name string) object {
	i.t.Helper()
	return i.post("/environments", object{"Name": name})
}

// project makes a project with its steps and variables.
func (i *installation) project(name string, steps, variables []object) object {
	i.t.Helper()
	group := i.post("/projectgroups", object{"Name": "Group of " + name})
	project := i.post("/projects", object{"Name": name, "ProjectGroupId": group["Id"], "LifecycleId": i.find("/lifecycles", "Default Lifecycle")["Id"]})
	i.setVariables(project, variables)
	i.setSteps(project, steps)
	// Tests queue several deployments of one project, and mean each of them.
	settings := i.get("/projects/" + project.text("Id") + "/deploymentsettings")
	settings["CancelQueuedTasks"] = false
	i.call("PUT", "/projects/"+project.text("Id")+"/deploymentsettings", settings, nil)
	return project
}

func (i *installation) setVariables(project object, variables []object) {
	i.t.Helper()
	set := i.get("/variables/" + project.text("VariableSetId"))
	set["Variables"] = variables
	i.call("PUT", "/variables/"+project.text("VariableSetId"), set, nil)
}

func (i *installation) setSteps(project object, steps []object) {
	i.t.Helper()
	process := i.get("/deploymentprocesses/" + project.text("DeploymentProcessId"))
	process["Steps"] = steps
	i.call("PUT", "/deploymentprocesses/"+project.text("DeploymentProcessId"), process, nil)
}

// scriptStep is a Bash step on the targets of a role; without a role it runs on the server.
func scriptStep(name, role, body string) object {
	onServer := "False"
	properties := object{}
	if role == "" {
		onServer = "True"
	} else {
		properties["Octopus.Action.TargetRoles"] = role
	}
	return object{
		"Name": name, "Properties": properties,
		"Actions": []object{{
			"Name": name, "ActionType": "Octopus.Script", "Properties": object{
				"Octopus.Action.RunOnServer": onServer, "Octopus.Action.Script.ScriptSource": "Inline",
				"Octopus.Action.Script.Syntax": "Bash", "Octopus.Action.Script.ScriptBody": body,
			},
		}},
	}
}

// packageStep deploys a package to the targets of a role.
func packageStep(name, role, packageID string, properties object) object {
	all := object{
		"Octopus.Action.Package.PackageId": packageID, "Octopus.Action.Package.FeedId": "feeds-builtin",
		"Octopus.Action.Package.DownloadOnTentacle": "False",
	}
	for key, value := range properties {
		all[key] = value
	}
	return object{
		"Name": name, "Properties": object{"Octopus.Action.TargetRoles": role},
		"Actions": []object{{
			"Name": name, "ActionType": "Octopus.TentaclePackage", "Properties": all,
			"Packages": []object{{"Name": "", "PackageId": packageID, "FeedId": "feeds-builtin", "AcquisitionLocation": "Server"}},
		}},
	}
}

// upload stores a package made of these files.
func (i *installation) upload(name string, files map[string]string) {
	i.t.Helper()
	var archive bytes.Buffer
	pack := zip.NewWriter(&archive)
	for path, text := range files {
		file, err := pack.Create(path)
		if err == nil {
			_, err = io.WriteString(file, text)
		}
		if err != nil {
			i.t.Fatal(err)
		}
	}
	if err := pack.Close(); err != nil {
		i.t.Fatal(err)
	}
	i.uploadFrom(name, &archive)
}

// zipOf writes an archive of one file, not compressed.
func zipOf(to io.Writer, name string, content io.Reader) error {
	pack := zip.NewWriter(to)
	file, err := pack.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
	if err == nil {
		_, err = io.Copy(file, content)
	}
	if err == nil {
		err = pack.Close()
	}
	return err
}

// uploadFrom streams a package.
func (i *installation) uploadFrom(name string, from io.Reader) {
	i.t.Helper()
	reader, writer := io.Pipe()
	form := multipart.NewWriter(writer)
	go func() {
		part, err := form.CreateFormFile("file", name)
		if err == nil {
			_, err = io.Copy(part, from)
		}
		if err == nil {
			err = form.Close()
		}
		writer.CloseWithError(err)
	}()
	defer reader.Close()
	if _, err := i.send("POST", space+"/packages/raw", form.FormDataContentType(), reader); err != nil {
		i.t.Fatalf("upload %s: %v", name, err)
	}
}

// release makes a release, with the packages of a version.
func (i *installation) release(project object, version, packages string) {
	i.t.Helper()
	body := object{"SpaceIdOrName": "Spaces-1", "ProjectName": project["Name"], "ReleaseVersion": version}
	if packages != "" {
		body["PackageVersion"] = packages
	}
	i.call("POST", "/releases/create/v1", body, nil)
}

// deploy asks for a deployment and gives its task. More members of the request may be given.
func (i *installation) deploy(project object, version, environment string, more object) string {
	i.t.Helper()
	task, err := i.tryDeploy(project, version, environment, more)
	if err != nil {
		i.t.Fatalf("deploy %s %s: %v", project["Name"], version, err)
	}
	return task
}

func (i *installation) tryDeploy(project object, version, environment string, more object) (string, error) {
	body := object{"SpaceIdOrName": "Spaces-1", "ProjectName": project["Name"], "ReleaseVersion": version, "EnvironmentNames": []string{environment}}
	for key, value := range more {
		body[key] = value
	}
	var made struct {
		DeploymentServerTasks []struct{ ServerTaskID string }
	}
	if err := i.try("POST", space+"/deployments/create/untenanted/v1", body, &made); err != nil {
		return "", err
	}
	if len(made.DeploymentServerTasks) != 1 {
		return "", fmt.Errorf("%d tasks", len(made.DeploymentServerTasks))
	}
	return made.DeploymentServerTasks[0].ServerTaskID, nil
}

// task is what GET tasks/{id} says.
type task struct {
	Id, State, ErrorMessage string //nolint:revive // the wire's names
	IsCompleted             bool
	HasWarningsOrErrors     bool
	HasPendingInterruptions bool
}

// activity is a node of GET tasks/{id}/details.
type activity struct {
	Id, Name, Status string //nolint:revive // the wire's names
	Children         []activity
	LogElements      []struct {
		Category, MessageText string
		Number                int64
	}
}

// details is what GET tasks/{id}/details says.
type details struct {
	Task         task
	ActivityLogs []activity
}

func (i *installation) task(id string) (t task) {
	i.t.Helper()
	i.call("GET", "/tasks/"+id, nil, &t)
	return t
}

func (i *installation) details(id string) (d details) {
	i.t.Helper()
	i.call("GET", "/tasks/"+id+"/details?verbose=true&tail=100000", nil, &d)
	return d
}

func (i *installation) raw(id string) string {
	i.t.Helper()
	text, err := i.send("GET", space+"/tasks/"+id+"/raw", "", nil)
	if err != nil {
		i.t.Fatalf("raw log of %s: %v", id, err)
	}
	return string(text)
}

// wait waits for a task's end. A server that is on its way up is given time.
func (i *installation) wait(id string, within time.Duration) (t task) {
	i.t.Helper()
	i.eventually(within, id+" ends", func() (bool, string) {
		err := i.hasty().try("GET", space+"/tasks/"+id, nil, &t)
		var r *refusal
		if errors.As(err, &r) {
			i.t.Fatalf("%s: %v", id, err)
		}
		if err == nil && t.HasPendingInterruptions {
			i.answer(id)
		}
		return err == nil && t.IsCompleted, fmt.Sprintf("%s %v", t.State, err)
	})
	return t
}

// answer says Proceed to what a task asks, and Fail to what is asked about a failure. A server that dies meanwhile is asked
// again by the caller.
func (i *installation) answer(id string) {
	var page struct{ Items []object }
	if i.hasty().try("GET", space+"/interruptions?pendingOnly=true&regarding="+id, nil, &page) != nil {
		return
	}
	for _, q := range page.Items {
		path := fmt.Sprintf("%s/interruptions/%v", space, q["Id"])
		_ = i.hasty().try("PUT", path+"/responsible", nil, nil)
		_ = i.hasty().try("POST", path+"/submit", object{"Result": "Proceed", "Guidance": "Fail", "Notes": "said by the test"}, nil)
	}
}

// success waits for a task's success and shows its log if it has another end.
func (i *installation) success(id string) task {
	i.t.Helper()
	t := i.wait(id, 90*time.Second)
	if t.State != "Success" {
		i.t.Fatalf("%s is %s: %s\n%s", id, t.State, t.ErrorMessage, i.raw(id))
	}
	return t
}

// logs waits until a task's log has a text.
func (i *installation) logs(id, text string) {
	i.t.Helper()
	i.eventually(60*time.Second, fmt.Sprintf("the log of %s has %q", id, text), func() (bool, string) {
		raw := i.raw(id)
		return strings.Contains(raw, text), raw
	})
}

// each walks an activity tree.
func (a activity) each(do func(path []string, a activity)) { a.walk(nil, do) }

func (a activity) walk(above []string, do func(path []string, a activity)) {
	path := append(above[:len(above):len(above)], a.Name)
	do(path, a)
	for _, child := range a.Children {
		child.walk(path, do)
	}
}

// at finds an activity by the names below the task.
func (d details) at(t *testing.T, names ...string) (found activity) {
	t.Helper()
	want := strings.Join(names, " / ")
	ok := false
	for _, root := range d.ActivityLogs {
		root.each(func(path []string, a activity) {
			if strings.Join(path[1:], " / ") == want {
				found, ok = a, true
			}
		})
	}
	if !ok {
		t.Fatalf("the log tree has no %q", want)
	}
	return found
}

// lines are the messages of one activity.
func (a activity) lines() (lines []string) {
	for _, e := range a.LogElements {
		lines = append(lines, e.MessageText)
	}
	return lines
}
