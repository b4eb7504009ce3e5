package api_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/deployment"
)

// ask asks a question of a task that runs, as the engine does.
func (c *client) ask(task, kind string, teams ...string) (id string) {
	c.t.Helper()
	options := []string{"Proceed", "Abort"}
	if kind == deployment.GuidedFailure {
		options = []string{"Fail", "Retry", "Ignore", "Exclude"}
	}
	c.asked++
	c.inTx(func(ctx context.Context, tx *db.Tx) error {
		t, err := cluster.Get(ctx, tx, task)
		if err != nil {
			return err
		}
		q := control.Question{
			Task: t, About: fmt.Sprintf("0.0#%d", c.asked), Kind: kind, Title: "Approve", Instructions: "Look at it", Options: options, Teams: teams, Documents: []string{task, t.ProjectId, t.EnvironmentId}, Activity: task + "/0/once",
		}
		for range 2 { // asked twice, it is one question
			if _, err := control.Ask(ctx, tx, q); err != nil {
				return err
			}
		}
		kinds, err := control.Asked(ctx, tx, task)
		if err != nil {
			return err
		}
		return cluster.StillAsked(ctx, tx, task, kinds...)
	})
	return c.get("/api/interruptions?take=1").text("Items.0.Id")
}

func (c *client) inTx(do func(ctx context.Context, tx *db.Tx) error) {
	c.t.Helper()
	must(c.t, c.db.InTx(c.t.Context(), func(tx *db.Tx) error { return do(c.t.Context(), tx) }))
}

// deployed is a task that waits for a person, without a node.
func (w world) deployed() (task string) {
	w.t.Helper()
	w.upload("file", "Acme.Web.1.0.0.zip", zipOf(w.t), "?overwriteMode=IgnoreIfExists")
	w.post("/api/releases/create/v1", m{"ProjectName": "Web", "ReleaseVersion": "0.0.1", "IgnoreIfAlreadyExists": true})
	made := w.post("/api/deployments/create/untenanted/v1", m{"ProjectName": "Web", "ReleaseVersion": "0.0.1", "EnvironmentNames": []any{"Development"}})
	task = made.text("DeploymentServerTasks.0.ServerTaskId")
	w.inTx(func(ctx context.Context, tx *db.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE queue SET state = 'waiting', lane = 0, claim = 1, head = FALSE WHERE task = $1`, task)
		return err
	})
	return task
}

func (c *client) state(task string) (state string) {
	c.t.Helper()
	c.inTx(func(ctx context.Context, tx *db.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT state FROM queue WHERE task = $1`, task).Scan(&state)
	})
	return state
}

func TestInterruption(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		task := w.deployed()
		manual, guided := c.ask(task, deployment.ManualIntervention), c.ask(task, deployment.GuidedFailure)
		if q := c.get("/api/tasks/" + task); q.text("HasPendingInterruptions") != "true" || q.text("PendingInterruptionTypes") != "[GuidedFailure ManualIntervention]" || q.text("State") != "Executing" {
			t.Errorf("task: %s", q.body)
		}
		q := c.get("/api/Spaces-1/interruptions/" + manual)
		for path, want := range map[string]string{
			"Title": "Approve", "Type": "ManualIntervention", "IsPending": "true", "Form.Values.Result": "<nil>", "Form.Elements.0.Control.Type": "Paragraph", "Form.Elements.0.Control.Text": "Look at it",
			"Form.Elements.1.Control.Type": "TextArea", "Form.Elements.2.Name": "Result", "Form.Elements.2.Control.Type": "SubmitButtonGroup", "Form.Elements.2.Control.Buttons.1.Value": "Abort",
			"ResponsibleUserId": "<nil>", "CanTakeResponsibility": "true", "HasResponsibility": "false", "TaskId": task, "IsLinkedToOtherInterruption": "false", "Links.Submit": "/api/Spaces-1/interruptions/" + manual + "/submit",
		} {
			if got := q.text(path); got != want {
				t.Errorf("%s is %s, want %s", path, got, want)
			}
		}
		for query, want := range map[string]string{
			"": "2", "?pendingOnly=true": "2", "?regarding=" + task: "2", "?regarding=" + w.project + "&pendingOnly=false": "2", "?regarding=Projects-99": "0", "?ids=" + manual: "1", "?ids=nonsense": "0", "?take=1": "2",
		} {
			if got := c.get("/api/interruptions" + query).text("TotalResults"); got != want {
				t.Errorf("interruptions%s: %s, want %s", query, got, want)
			}
		}
		if all := c.get("/api/interruptions/all").list(); len(all) != 2 || all[0].(m)["Id"] != guided {
			t.Errorf("all: %v", all)
		}
		if a := c.try("GET", "/api/interruptions?pendingOnly=perhaps", nil); a.status != 400 {
			t.Errorf("pendingOnly=perhaps: %d", a.status)
		}
		path := "/api/interruptions/" + manual
		refused := func(what string, a answer, status int, parts ...string) {
			t.Helper()
			for _, part := range parts {
				if a.status != status || !strings.Contains(string(a.body), part) {
					t.Errorf("%s: %d %s; want %d and %q", what, a.status, a.body, status, part)
				}
			}
		}
		refused("unknown", c.try("GET", "/api/interruptions/Interruptions-99", nil), 404, "not found")
		refused("responsible", c.try("GET", path+"/responsible", nil), 404, "Nobody has taken")
		refused("not mine", c.try("POST", path+"/submit", m{"Result": "Proceed"}), 400, "must take responsibility")
		if a := c.put(path+"/responsible", "null"); a.text("Username") != "admin" {
			t.Errorf("responsible: %s", a.body)
		}
		if a := c.get(path + "/responsible"); a.text("Username") != "admin" {
			t.Errorf("responsible: %s", a.body)
		}
		refused("no answer", c.try("POST", path+"/submit", m{"Result": nil, "Guidance": "Retry"}), 400, "Result must be one of Proceed, Abort")
		refused("another answer", c.try("POST", path+"/submit", m{"Result": "Maybe"}), 400, "Proceed, Abort, not 'Maybe'")
		refused("long notes", c.try("POST", path+"/submit", m{"Result": "Abort", "Notes": strings.Repeat("x", 70<<10)}), 400, "Notes")
		if c.state(task) != "waiting" {
			t.Errorf("a refused answer resumed the task")
		}
		said := m{"Instructions": "Look at it", "Result": "proceed", "Notes": "fine\x00 by me"}
		for range 2 { // a client that did not hear us says it again
			a := c.post(path+"/submit", said)
			if a.text("IsPending") != "false" || a.text("Form.Values.Result") != "Proceed" || a.text("Form.Values.Notes") != "fine by me" || a.text("HasResponsibility") != "false" || a.text("ResponsibleUserId") == "<nil>" {
				t.Errorf("answered: %s", a.body)
			}
		}
		if c.state(task) != "released" {
			t.Errorf("the answer did not resume the task: %s", c.state(task))
		}
		refused("answered", c.try("POST", path+"/submit", m{"Result": "Abort"}), 409, "admin said Proceed at")
		refused("taken too late", c.try("PUT", path+"/responsible", nil), 409, "admin said Proceed at")
		if q := c.get("/api/tasks/" + task); q.text("PendingInterruptionTypes") != "[GuidedFailure]" {
			t.Errorf("task: %s", q.body)
		}
		if got := c.get("/api/interruptions?pendingOnly=true").text("Items.0.Id"); got != guided {
			t.Errorf("pending is %s", got)
		}
		c.post("/api/tasks/"+task+"/cancel", nil)
		if q := c.get("/api/tasks/" + task); q.text("HasPendingInterruptions") != "false" || q.text("State") != "Cancelling" {
			t.Errorf("task: %s", q.body)
		}
		refused("withdrawn", c.try("PUT", "/api/interruptions/"+guided+"/responsible", nil), 409, "withdrawn")
		var categories []string
		c.inTx(func(ctx context.Context, tx *db.Tx) error {
			categories = nil
			rows, err := tx.QueryContext(ctx, `SELECT category FROM event WHERE documents LIKE '%Interruptions-%' ORDER BY number`)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var category string
				if err := rows.Scan(&category); err != nil {
					return err
				}
				categories = append(categories, category)
			}
			return rows.Err()
		})
		want := []string{"ManualInterventionInterruptionRaised", "GuidedFailureInterruptionRaised", "InterruptionResponsibilityTaken", "InterruptionSubmitted", "InterruptionWithdrawn"}
		if !slices.Equal(categories, want) {
			t.Errorf("events %v, want %v", categories, want)
		}
		// However a task ends, nothing of it stays asked.
		another := w.deployed()
		left := c.ask(another, deployment.ManualIntervention)
		c.finish(another, cluster.Failed)
		c.inTx(func(ctx context.Context, tx *db.Tx) error {
			return c.control.TaskEnded(ctx, tx, cluster.Task{Id: another, Kind: control.Deploy, State: cluster.Failed})
		})
		if got := c.get("/api/interruptions/" + left).text("IsPending"); got != "false" {
			t.Errorf("after the task's end IsPending is %s", got)
		}
	})
}

// Members of the responsible teams may answer, others may not even see it; an administrator may all (deployments.md I10).
func TestWhoMayAnswer(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		task := w.deployed()
		as := func(name string) *client {
			user := *c
			user.key = makeUser(t, c, name)
			return &user
		}
		anna, bert := as("anna"), as("bert")
		team := c.post("/api/teams", m{"Name": "Ops", "MemberUserIds": []any{anna.get("/api/users/me").text("Id")}}).text("Id")
		theirs, open := c.ask(task, deployment.ManualIntervention, strings.ToUpper(team)), c.ask(task, deployment.GuidedFailure)
		path := "/api/interruptions/" + theirs
		for _, request := range [][2]string{{"GET", path}, {"GET", path + "/responsible"}, {"PUT", path + "/responsible"}, {"POST", path + "/submit"}, {"PUT", "/api/interruptions/" + open + "/responsible"}, {"GET", "/api/interruptions/Interruptions-99"}} {
			if a := bert.try(request[0], request[1], m{"Result": "Proceed"}); a.status != 403 || !strings.Contains(string(a.body), "Missing permission") {
				t.Errorf("%v by bert: %d %s", request, a.status, a.body)
			}
		}
		for user, want := range map[*client]string{anna: "1", bert: "0", c: "2"} {
			if a := user.get("/api/interruptions"); a.text("TotalResults") != want {
				t.Errorf("%s sees %s, want %s", user.key, a.text("TotalResults"), want)
			}
		}
		if a := anna.get(path); a.text("CanTakeResponsibility") != "true" || a.text("ResponsibleTeamIds") != "["+team+"]" {
			t.Errorf("anna: %s", a.body)
		}
		if a := anna.try("GET", "/api/interruptions/"+open, nil); a.status != 403 {
			t.Errorf("anna and the other's: %d %s", a.status, a.body)
		}
		c.put(path+"/responsible", nil)
		if a := anna.try("POST", path+"/submit", m{"Result": "Proceed"}); a.status != 400 || !strings.Contains(string(a.body), "admin has taken responsibility") {
			t.Errorf("anna answers the admin's: %d %s", a.status, a.body)
		}
		anna.put(path+"/responsible", nil)
		if a := c.get(path); a.text("HasResponsibility") != "false" {
			t.Errorf("the admin: %s", a.body)
		}
		if a := c.try("POST", path+"/submit", m{"Result": "Abort"}); a.status != 400 {
			t.Errorf("the admin answers anna's: %d %s", a.status, a.body)
		}
		anna.post(path+"/submit", m{"Result": "Proceed"})
		if a := c.try("POST", path+"/submit", m{"Result": "Proceed"}); a.status != 409 || !strings.Contains(string(a.body), "anna said Proceed") {
			t.Errorf("the admin answers too late: %d %s", a.status, a.body)
		}
	})
}

// Two users answer at once, each taking it over before: one wins, the task goes on once.
func TestTwoAnswerAtOnce(t *testing.T) {
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		task := w.deployed()
		first, second := c.ask(task, deployment.ManualIntervention), c.ask(task, deployment.GuidedFailure)
		other := *c
		other.key = "API-OTHERADMIN123"
		_, err := c.control.Admin(t.Context(), "other", "", other.key)
		must(t, err)
		var all sync.WaitGroup
		var mu sync.Mutex
		won := map[string]int{}
		for _, user := range []*client{c, &other} {
			for _, id := range []string{first, second} {
				all.Go(func() {
					for { // until it is over
						user.try("PUT", "/api/interruptions/"+id+"/responsible", nil)
						a := user.try("POST", "/api/interruptions/"+id+"/submit", m{"Result": "Proceed", "Guidance": "Retry", "Notes": user.key})
						switch a.status {
						case 200:
							mu.Lock()
							won[id]++
							mu.Unlock()
							return
						case 409:
							return
						case 400: // the other has taken it over
						default:
							t.Errorf("%d %s", a.status, a.body)
							return
						}
					}
				})
			}
		}
		all.Wait()
		if won[first] != 1 || won[second] != 1 {
			t.Errorf("won: %v", won)
		}
		if q := c.get("/api/tasks/" + task); q.text("HasPendingInterruptions") != "false" || c.state(task) != "released" {
			t.Errorf("%s %s", c.state(task), q.body)
		}
	})
}

func TestGuidedFailureIsDecided(t *testing.T) { // I1
	each(t, func(t *testing.T, c *client) {
		w := newWorld(c)
		c.upload("file", "Acme.Web.1.0.0.zip", zipOf(t), "")
		n := 0
		decided := func(variable, environment string, mode string, asked any) string {
			set := c.get("/api/variables/" + w.variables).object()
			set["Variables"] = []any{m{"Name": "Other", "Value": "x"}}
			if variable != "" {
				set["Variables"] = []any{m{"Name": "octopus.useguidedfailure", "Value": "#{On}", "Scope": m{"Environment": []any{environment}}}, m{"Name": "On", "Value": variable}}
			}
			c.put("/api/variables/"+w.variables, set)
			p := c.get("/api/projects/" + w.project).object()
			p["DefaultGuidedFailureMode"] = mode
			c.put("/api/projects/"+w.project, p)
			n++
			version := fmt.Sprintf("1.0.%d", n)
			c.post("/api/releases/create/v1", m{"ProjectName": "Web", "ReleaseVersion": version})
			made := c.post("/api/deployments/create/untenanted/v1", m{"ProjectName": "Web", "ReleaseVersion": version, "EnvironmentNames": []any{"Development"}, "UseGuidedFailure": asked})
			return c.get("/api/deployments/" + made.text("DeploymentServerTasks.0.DeploymentId")).text("UseGuidedFailure")
		}
		e := c.get("/api/environments/" + w.dev).object()
		e["UseGuidedFailure"] = true
		c.put("/api/environments/"+w.dev, e)
		for _, row := range []struct {
			variable, environment, mode string
			asked                       any
			want                        string
		}{
			{"", "", "EnvironmentDefault", nil, "true"},
			{"", "", "Off", nil, "false"},
			{"", "", "Off", true, "true"},
			{"", "", "On", false, "false"},
			{"False", w.dev, "On", true, "false"},
			{"True", w.dev, "Off", false, "true"},
			{"True", w.prod, "Off", nil, "false"}, // not in its scope
		} {
			if got := decided(row.variable, row.environment, row.mode, row.asked); got != row.want {
				t.Errorf("%+v gives %s", row, got)
			}
		}
	})
}
