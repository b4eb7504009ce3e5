package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

// exec changes the database behind the server's back.
func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	must(w.t, w.d.InTx(w.t.Context(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(w.t.Context(), query, args...)
		return err
	}))
}

// events lists the categories and messages of events about machines, in order.
func (w *world) events(categories ...string) (list []string) {
	w.t.Helper()
	must(w.t, w.d.Read(w.t.Context(), func(tx *db.Tx) error {
		rows, err := tx.QueryContext(w.t.Context(), "SELECT category, username FROM event WHERE category LIKE 'Machine%' ORDER BY number")
		if err != nil {
			return err
		}
		defer rows.Close()
		list = nil
		for rows.Next() {
			var category, username string
			if err := rows.Scan(&category, &username); err != nil {
				return err
			}
			if len(categories) == 0 || slices.Contains(categories, category) {
				list = append(list, category+" by "+username)
			}
		}
		return rows.Err()
	}))
	return list
}

// check runs a health check and gives its end and its log.
func (w *world) check(arguments m) (state, log string) {
	w.t.Helper()
	id := w.call("POST", "/api/tasks", m{"Name": "Health", "Arguments": arguments}).text("Id")
	w.until("the check ends", func() (bool, string) {
		a := w.call("GET", "/api/tasks/"+id, nil)
		state = a.text("State")
		return a.text("IsCompleted") == "true", state
	})
	return state, fmt.Sprint(w.call("GET", "/api/tasks/"+id+"/raw", nil).v)
}

func TestHealthEventsAndGoneMachines(t *testing.T) { // deployments.md H5, M2
	each(t, func(t *testing.T, w *world) {
		policy := w.call("POST", "/api/machinepolicies", m{"Name": "Gone after a day", "MachineCleanupPolicy": m{"DeleteMachinesBehavior": "DeleteUnavailableMachines", "DeleteMachinesElapsedTimeSpan": "1.00:00:00"}}).text("Id")
		id, _ := w.target("web1", m{"MachinePolicyId": policy})
		w.check(nil)
		o := w.call("GET", "/api/machines/"+id, nil).object()
		there := o["Endpoint"].(m)["Uri"]
		const nowhere, soon = "https://127.0.0.1:1/", "00:00:01"
		reach := func(uri any) {
			limit := "00:01:00"
			if uri == nowhere {
				limit = soon
			}
			o := w.call("GET", "/api/machines/"+id, nil).object()
			o["Uri"], o["Endpoint"].(m)["Uri"] = uri, uri
			w.call("PUT", "/api/machines/"+id, o)
			w.check(m{"MachineIds": []any{id}, "MachineTimeout": limit})
		}
		reach(nowhere)
		w.exec("UPDATE machine_outage SET since = since - 90000000") // 25 hours
		reach(there)                                                 // a break: it begins anew
		reach(nowhere)
		want := []string{"MachineHealthy by system", "MachineUnavailable by system", "MachineHealthy by system", "MachineUnavailable by system"}
		status := []string{"MachineHealthy", "MachineUnavailable", "MachineUnhealthy", "MachineHasWarnings"}
		if diff := cmp.Diff(want, w.events(status...)); diff != "" {
			t.Error(diff)
		}
		if got := w.call("GET", "/api/machines/"+id, nil).text("HealthStatus"); got != "Unavailable" {
			t.Errorf("it is %s", got)
		}
		w.exec("UPDATE machine_outage SET since = since - 90000000")
		if state, log := w.check(m{"MachineTimeout": soon}); state != "Failed" || !strings.Contains(log, "It was deleted.") {
			t.Errorf("%s\n%s", state, log)
		}
		if n := w.call("GET", "/api/machines", nil).text("TotalResults"); n != "0" {
			t.Errorf("%s machines are left", n)
		}
		var trusted int
		must(t, w.d.Read(t.Context(), func(tx *db.Tx) error {
			return tx.QueryRowContext(t.Context(), "SELECT count(*) FROM agent_trust WHERE machine = $1", id).Scan(&trusted)
		}))
		if trusted != 0 {
			t.Error("its agent is still trusted")
		}
		if got := w.events("MachineDeploymentRelatedPropertyWasUpdated"); len(got) != 3 {
			t.Errorf("changes of the address: %v", got)
		}
	})
}

func TestHealthOfABusyMachine(t *testing.T) { // deployments.md H4
	each(t, func(t *testing.T, w *world) {
		id, _ := w.target("web1", nil)
		holder := w.call("POST", "/api/tasks", m{"Name": "Health", "Description": "the one that holds it", "QueueTime": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}).text("Id")
		hold := func(shared bool) {
			w.exec("INSERT INTO run_lock (scope, name, seq, shared, task, run) VALUES ($1, '', 1, $2, $3, 'r')", id, shared, holder)
		}
		free := func() { w.exec("DELETE FROM run_lock") }
		hold(true)
		if state, log := w.check(nil); state != "Success" || strings.Contains(log, "left out") {
			t.Errorf("readers let a check in: %s\n%s", state, log)
		}
		free()
		hold(false)
		if state, log := w.check(m{"OnlyTestConnection": true}); state != "Success" || strings.Contains(log, "left out") {
			t.Errorf("a connection-only check waits for nobody: %s\n%s", state, log)
		}
		w.exec("UPDATE document SET owned = replace(owned, '\"Healthy\"', '\"Unhealthy\"') WHERE id = $1", id)
		if state, log := w.check(m{"MachineTimeout": "00:00:01"}); state != "Success" || !strings.Contains(log, holder+" (the one that holds it) holds the machine for itself, so it was left out") {
			t.Errorf("%s\n%s", state, log)
		}
		if got := w.call("GET", "/api/machines/"+id, nil).text("HealthStatus"); got != "Unhealthy" {
			t.Errorf("the status of a machine that was left out changed to %s", got)
		}
		if got := w.call("GET", "/api/tasks?name=Health&take=1&active=false", nil).text("Items.0.HasWarningsOrErrors"); got != "true" {
			t.Error("the task has no warning")
		}
		asked := w.call("POST", "/api/tasks", m{"Name": "Health", "Arguments": m{"MachineIds": []any{id}}}).text("Id")
		w.until("the check waits", func() (bool, string) {
			log := fmt.Sprint(w.call("GET", "/api/tasks/"+asked+"/raw", nil).v)
			return strings.Contains(log, "Checking 1 machines"), log
		})
		free()
		w.until("the check ends", func() (bool, string) {
			a := w.call("GET", "/api/tasks/"+asked, nil)
			return a.text("IsCompleted") == "true", a.text("State")
		})
		if got := w.call("GET", "/api/machines/"+id, nil).text("HealthStatus"); got != "Healthy" {
			t.Errorf("after a short wait it is %s", got)
		}
	})
}

func TestHealthArguments(t *testing.T) { // behaviour.md 2.4
	t.Parallel()
	w := newWorld(t, dbtest.New(t, db.SQLite))
	w.target("web1", nil)
	policy := w.call("POST", "/api/machinepolicies", m{"Name": "Other"}).text("Id")
	w.target("web2", m{"MachinePolicyId": policy})
	endpoint, _ := w.agent("worker1")
	pool := w.call("GET", "/api/workerpools", nil).text("Items.0.Id")
	w.call("POST", "/api/workers", m{"Name": "worker1", "WorkerPoolIds": []any{pool}, "Endpoint": endpoint, "MachinePolicyId": policy})
	w.checked()
	for _, c := range []struct {
		arguments m
		want      []string
	}{
		{m{}, []string{"web1", "web2", "worker1"}},
		{m{"RestrictedTo": "Unlimited"}, []string{"web1", "web2", "worker1"}},
		{m{"RestrictedTo": "DeploymentTargets"}, []string{"web1", "web2"}},
		{m{"RestrictedTo": "Workers"}, []string{"worker1"}},
		{m{"RestrictedTo": "Policies", "MachinePolicyId": policy}, []string{"web2", "worker1"}},
		{m{"EnvironmentId": w.environment, "Timeout": "00:02:00", "MachineTimeout": "00:00:20"}, []string{"web1", "web2"}},
		{m{"WorkerpoolId": pool}, []string{"worker1"}},
	} {
		c.arguments["OnlyTestConnection"] = true
		state, log := w.check(c.arguments)
		var got []string
		for _, name := range []string{"web1", "web2", "worker1"} {
			if strings.Contains(log, name) {
				got = append(got, name)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" || state != "Success" {
			t.Errorf("%v: %s\n%s\n%s", c.arguments, state, diff, log)
		}
	}
}

// TestHealthDuringOurOwnTrouble: what the server's database cannot tell says nothing about a machine; so the task is let go and
// repeated, and no outage begins that a policy could delete the machine for.
func TestHealthDuringOurOwnTrouble(t *testing.T) { // deployments.md H5, M2
	t.Parallel()
	w := newWorld(t, dbtest.New(t, db.SQLite))
	id, _ := w.target("web1", nil)
	w.check(nil)
	for _, table := range []string{"agent_trust", "script_run"} {
		w.exec("ALTER TABLE " + table + " RENAME TO broken")
		task := w.call("POST", "/api/tasks", m{"Name": "Health", "Arguments": m{"MachineIds": []any{id}}}).text("Id")
		w.until("the task is let go", func() (bool, string) {
			var n int
			must(t, w.d.Read(t.Context(), func(tx *db.Tx) error {
				return tx.QueryRowContext(t.Context(), "SELECT count(*) FROM task_run WHERE task = $1 AND ending = 'HandedOver'", task).Scan(&n)
			}))
			state := w.call("GET", "/api/tasks/"+task, nil).text("State")
			return n > 0 || state == "Failed", state
		})
		w.exec("ALTER TABLE broken RENAME TO " + table)
		w.until("the check ends", func() (bool, string) {
			a := w.call("GET", "/api/tasks/"+task, nil)
			return a.text("IsCompleted") == "true", a.text("State")
		})
		if state := w.call("GET", "/api/tasks/"+task, nil).text("State"); state != "Success" {
			t.Errorf("%s: the task is %s", table, state)
		}
	}
	if got := w.events("MachineUnavailable"); len(got) != 0 {
		t.Errorf("the machine was called unavailable: %v", got)
	}
}
