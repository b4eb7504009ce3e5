package engine_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
)

// push starts a deployment.
func (w *world) push(version string, more m) (task, deployment string) {
	w.t.Helper()
	body := m{"ProjectName": "Web", "ReleaseVersion": version, "EnvironmentNames": []any{"Test"}}
	for member, v := range more {
		body[member] = v
	}
	made := w.call("POST", "/api/Spaces-1/deployments/create/untenanted/v1", body)
	return made.text("DeploymentServerTasks.0.ServerTaskId"), made.text("DeploymentServerTasks.0.DeploymentId")
}

// ended waits for a task's end.
func (w *world) ended(task, deployment string) ended {
	w.t.Helper()
	e := ended{deployment: w.call("GET", "/api/deployments/"+deployment, nil)}
	w.until(task+" ends", func() (bool, string) {
		e.task = w.call("GET", "/api/tasks/"+task, nil)
		return e.task.text("IsCompleted") == "true", e.task.text("State")
	})
	e.log = w.log(task)
	e.deployment = w.call("GET", "/api/deployments/"+deployment, nil)
	return e
}

func (w *world) log(task string) string {
	w.t.Helper()
	return fmt.Sprint(w.call("GET", "/api/tasks/"+task+"/raw", nil).v)
}

// asked waits until a task asks a question whose title begins so.
func (w *world) asked(task, title string) (id string, q answer) {
	w.t.Helper()
	w.until(task+" asks "+title, func() (bool, string) {
		list := w.call("GET", "/api/interruptions?pendingOnly=true&regarding="+task, nil)
		for i := range list.object()["Items"].([]any) {
			if strings.HasPrefix(list.text(fmt.Sprintf("Items.%d.Title", i)), title) {
				id = list.text(fmt.Sprintf("Items.%d.Id", i))
			}
		}
		return id != "", w.log(task)
	})
	if list := w.call("GET", "/api/tasks/"+task, nil); list.text("HasPendingInterruptions") != "true" || list.text("State") != "Executing" {
		w.t.Errorf("a task with a question: %v", list.v)
	}
	return id, w.call("GET", "/api/interruptions/"+id, nil)
}

// answers takes a question over and answers it.
func (w *world) answers(id string, form m) {
	w.t.Helper()
	w.call("PUT", "/api/interruptions/"+id+"/responsible", nil)
	w.call("POST", "/api/interruptions/"+id+"/submit", form)
}

// status is that of an answer that need not be good.
func (w *world) status(method, path string, body any) int {
	w.t.Helper()
	content, err := json.Marshal(body)
	must(w.t, err)
	q, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path, bytes.NewReader(content))
	must(w.t, err)
	q.Header.Set("X-Octopus-ApiKey", key)
	resp, err := w.server.Client().Do(q)
	must(w.t, err)
	resp.Body.Close()
	return resp.StatusCode
}

// paused waits until a task has given up its slot.
func (w *world) paused(task string) {
	w.t.Helper()
	w.until("no slot is held", func() (bool, string) {
		n := w.call("GET", "/api/octopusservernodes/OctopusServerNodes-n1", nil)
		return n.text("RunningTaskCount") == "0", w.log(task)
	})
}

func (w *world) file(parts ...string) {
	w.t.Helper()
	must(w.t, os.WriteFile(filepath.Join(parts...), nil, 0o600))
}

// options are the answers that a question offers.
func options(q answer) (all []string) {
	for i := range 9 {
		if o := q.text(fmt.Sprintf("Form.Elements.2.Control.Buttons.%d.Value", i)); !strings.HasPrefix(o, "<") {
			all = append(all, o)
		}
	}
	return all
}

func TestManualStep(t *testing.T) { // I2, I11, I12, I14, C7
	each(t, func(t *testing.T, w *world) {
		team := w.call("POST", "/api/teams", m{"Name": "Ops", "MemberUserIds": []any{}}).text("Id")
		approve := func(blocks string) any {
			return step("Approve", "", m{
				"Octopus.Action.Manual.Instructions": "Is #{Octopus.Release.Number} good?\nLook at it.", "Octopus.Action.Manual.ResponsibleTeamIds": team, "Octopus.Action.Manual.BlockConcurrentDeployments": blocks,
			}, m{"ActionType": "Octopus.Manual"})
		}
		tell := step("Tell", "", bash(`o="Octopus.Action[Approve].Output.Manual"; echo "<$(get_octopusvariable "$o.Approved")> <$(get_octopusvariable "$o.Notes")> <$(get_octopusvariable "$o.ResponsibleUser.Username")>"`, nil), nil)
		tell["Condition"] = "Always"
		w.save(approve("False"), step("Never after a refusal", "", bash("echo went on", nil), nil), tell)
		version := w.release(nil)

		task, deployment := w.push(version, nil)
		id, q := w.asked(task, "Approve")
		if got := q.text("Form.Elements.0.Control.Text"); got != "Is 1.0.1 good?\nLook at it." || !slices.Equal(options(q), []string{"Proceed", "Abort"}) || q.text("ResponsibleTeamIds.0") != team {
			t.Errorf("question: %v", q.v)
		}
		w.paused(task)
		// Others of its turn start meanwhile, unless the step blocks them.
		second, secondDeployment := w.push(version, nil)
		refused, _ := w.asked(second, "Approve")
		w.answers(id, m{"Result": "Proceed", "Notes": "two\nlines"})
		w.ended(task, deployment).want(t, "Success", "Waiting for a person: Approve. Members of Ops may answer: Proceed, Abort.", "admin answered: Proceed. two lines", "went on", "<True> <two", "<admin>")
		w.answers(refused, m{"Result": "Abort", "Notes": "no"})
		e := w.ended(second, secondDeployment)
		e.want(t, "Failed", "admin answered: Abort. no", "<False> <no> <admin>")
		if strings.Contains(e.log, "went on") || !strings.Contains(e.task.text("ErrorMessage"), "Approve") {
			t.Errorf("after a refusal: %v\n%s", e.task.v, e.log)
		}

		w.save(approve("True"))
		version = w.release(nil)
		task, deployment = w.push(version, nil)
		id, _ = w.asked(task, "Approve")
		w.paused(task)
		second, secondDeployment = w.push(version, nil)
		w.until("the second waits behind the first", func() (bool, string) {
			behind := w.call("GET", "/api/tasks/"+second+"/queued-behind", nil)
			return behind.text("Items.0.Id") == task, fmt.Sprint(behind.v)
		})
		w.call("POST", "/api/tasks/"+task+"/cancel", nil)
		if got := w.status("PUT", "/api/interruptions/"+id+"/responsible", nil); got != 409 {
			t.Errorf("a withdrawn question: %d", got)
		}
		e = w.ended(task, deployment)
		e.want(t, "Canceled")
		if e.task.text("HasPendingInterruptions") != "false" {
			t.Errorf("task: %v", e.task.v)
		}
		if got := w.call("GET", "/api/tasks/"+task+"/details", nil).text("ActivityLogs.0.Children.0.Status"); got != "Canceled" {
			t.Errorf("the step is %s", got)
		}
		id, _ = w.asked(second, "Approve")
		w.answers(id, m{"Result": "Proceed"})
		w.ended(second, secondDeployment).want(t, "Success")
	})
}

func TestGuidedFailure(t *testing.T) { // I3-I8, I11
	each(t, func(t *testing.T, w *world) {
		one, home1 := w.target("web1", nil)
		_, home2 := w.target("web2", nil)
		script := `cd "$TentacleHome"; echo try >> tries; [ $TentacleInstanceName = web1 ] || while [ ! -e go ]; do sleep 0.02; done; [ -e good ] || fail_step "no good on $TentacleInstanceName"`
		w.save(step("First", "web", bash(script, nil), nil), step("Second", "web", bash("echo second on $TentacleInstanceName; exit 3", nil), nil))
		version := w.release(nil)
		task, deployment := w.push(version, m{"UseGuidedFailure": true})
		id, q := w.asked(task, "First on web1 failed")
		if !strings.Contains(q.text("Form.Elements.0.Control.Text"), "no good on web1") || !slices.Equal(options(q), []string{"Fail", "Retry", "Ignore", "Exclude"}) || q.text("Type") != "GuidedFailure" {
			t.Errorf("question: %v", q.v)
		}
		// The other lane runs on, and the answer does not wait for it.
		w.file(home1, "good")
		w.answers(id, m{"Guidance": "Retry", "Notes": "mended"})
		w.until("web1 tries again", func() (bool, string) {
			tries, err := os.ReadFile(filepath.Join(home1, "tries"))
			return string(tries) == "try\ntry\n", fmt.Sprint(string(tries), err, w.log(task))
		})
		w.file(home2, "go")
		id, _ = w.asked(task, "First on web2 failed")
		w.paused(task)
		w.answers(id, m{"Guidance": "Exclude"})
		id, _ = w.asked(task, "Second on web1 failed")
		w.answers(id, m{"Guidance": "Ignore"})
		e := w.ended(task, deployment)
		e.want(t, "Success", "admin answered: Retry. mended", "admin answered: Exclude.", "second on web1", "admin answered: Ignore.", "Attempt 2.")
		if n := strings.Count(e.log, "admin answered: "); n != 3 {
			t.Errorf("three answers are told %d times\n%s", n, e.log)
		}
		if strings.Contains(e.log, "second on web2") || e.deployment.text("DeployedToMachineIds") != "["+one+"]" || e.task.text("HasWarningsOrErrors") != "true" {
			t.Errorf("%v %v\n%s", e.deployment.v, e.task.v, e.log)
		}

		w.file(home2, "good")
		task, deployment = w.push(version, m{"UseGuidedFailure": true})
		id, _ = w.asked(task, "Second on web1 failed")
		other, _ := w.asked(task, "Second on web2 failed")
		w.answers(other, m{"Guidance": "Fail"}) // in any order
		w.answers(id, m{"Guidance": "Fail"})
		w.ended(task, deployment).want(t, "Failed", "admin answered: Fail.")
		w.ended(w.push(version, m{"UseGuidedFailure": false})).want(t, "Failed")

		task, deployment = w.push(version, m{"UseGuidedFailure": true})
		w.asked(task, "Second on web1 failed")
		w.asked(task, "Second on web2 failed")
		must(t, w.d.InTx(t.Context(), func(tx *db.Tx) error { // as the server itself cancels
			_, err := cluster.Cancel(t.Context(), tx, task, "Not needed any more.")
			return err
		}))
		w.ended(task, deployment).want(t, "Canceled")
		var withdrawn int
		must(t, w.d.Read(t.Context(), func(tx *db.Tx) error {
			return tx.QueryRowContext(t.Context(), `SELECT count(*) FROM event WHERE category = 'InterruptionWithdrawn' AND message LIKE '%its task was cancelled'`).Scan(&withdrawn)
		}))
		if withdrawn != 2 {
			t.Errorf("%d questions were withdrawn when the task was cancelled, want 2", withdrawn)
		}
		if got := w.call("GET", "/api/interruptions?pendingOnly=true", nil).text("TotalResults"); got != "0" {
			t.Errorf("%s questions are pending after the end", got)
		}
	})
}

// A server that stops ends the scripts that run on it. Whether they are repeated a person says, or the process
// (deployments.md W7); any node goes on from a stored answer, once.
func TestInterruptedOnTheServer(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		script := func(name string) string {
			return fmt.Sprintf(`cd %q; echo %[2]s >> ran; while [ ! -e go-%[2]s ]; do sleep 0.02; done`, w.dir, name)
		}
		ran := func(want string) {
			t.Helper()
			w.until("the scripts ran "+want, func() (bool, string) {
				b, _ := os.ReadFile(filepath.Join(w.dir, "ran"))
				return strings.Join(strings.Fields(string(b)), " ") == want, string(b)
			})
		}
		stop := func(name string) {
			t.Helper()
			must(t, w.nodes[name].Stop(t.Context()))
			delete(w.nodes, name)
		}
		w.save(step("Risky", "", bash(script("risky"), nil), nil), step("Safe", "", bash(script("safe"), m{"Octavo.Action.SafeToRepeat": "True"}), nil))
		task, deployment := w.push(w.release(nil), nil)
		ran("risky")
		stop("n1")
		w.start("n2")
		id, q := w.asked(task, "Risky was interrupted")
		if !slices.Equal(options(q), []string{"Fail", "Retry"}) {
			t.Errorf("question: %v", q.v)
		}
		stop("n2")
		w.answers(id, m{"Guidance": "Retry"}) // nobody runs: the answer waits for whoever comes
		w.file(w.dir, "go-risky")
		w.start("n3")
		ran("risky risky safe")
		stop("n3")
		w.start("n4")
		ran("risky risky safe safe")
		w.file(w.dir, "go-safe")
		e := w.ended(task, deployment)
		e.want(t, "Success", "The script ran on a server that stopped", "admin answered: Retry.", "declared safe to repeat (Octavo.Action.SafeToRepeat)", "Node n4 goes on")
		if n := strings.Count(e.log, "Attempt 2."); n != 2 {
			t.Errorf("%d second attempts, want one of each\n%s", n, e.log)
		}
		ran("risky risky safe safe")
	})
}
