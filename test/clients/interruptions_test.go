package clients_test

import (
	"net/http"
	"testing"

	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/core"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/deployments"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/environments"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/interruptions"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/lifecycles"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/projectgroups"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/projects"
	"github.com/OctopusDeploy/go-octopusdeploy/v2/pkg/tasks"
)

// TestGoSDKAnswers approves a manual step with the Go SDK alone (deployments.md I2, I10).
func TestGoSDKAnswers(t *testing.T) {
	s := newSpace(t, "Go SDK answers")
	_, err := environments.Add(s.Client, environments.NewEnvironment("Test"))
	check(t, err)
	lifecycle, err := lifecycles.Add(s.Client, lifecycles.NewLifecycle("Any"))
	check(t, err)
	group, err := projectgroups.Add(s.Client, projectgroups.NewProjectGroup("Approved"))
	check(t, err)
	project, err := projects.Add(s.Client, projects.NewProject("Approved", lifecycle.GetID(), group.GetID()))
	check(t, err)
	action := deployments.NewDeploymentAction("Approve", "Octopus.Manual")
	action.Properties = map[string]core.PropertyValue{"Octopus.Action.Manual.Instructions": text("Is #{Octopus.Release.Number} good?")}
	step := deployments.NewDeploymentStep("Approve")
	step.Actions = append(step.Actions, action)
	s.setSteps(t, project, step)
	s.release(t, project, "1.0.0", "")
	id := s.start(t, project, "1.0.0", "Test")

	s.await(t, id, func(task *tasks.Task) bool {
		return task.HasPendingInterruptions && task.State == "Executing"
	})
	all, err := s.Interruptions.GetAll()
	check(t, err)
	if len(all) != 1 || all[0].TaskID != id || !all[0].IsPending || !all[0].CanTakeResponsibility || len(all[0].Form.Elements) != 3 {
		t.Fatalf("questions %+v", all)
	}
	form := interruptions.NewInterruptionSubmitRequest()
	form.Result, form.Notes = interruptions.ManualInterverventionApprove, "looks good"
	_, err = s.Interruptions.Submit(all[0], form)
	s.refused(t, err, http.StatusBadRequest, "take responsibility")
	me, err := s.Interruptions.TakeResponsibility(all[0])
	check(t, err)
	if holder, err := s.Interruptions.GetResponsibility(all[0]); err != nil || holder.GetID() != me.GetID() {
		t.Errorf("%v is responsible, not %v: %v", holder, me, err)
	}
	one, err := s.Interruptions.GetByID(all[0].GetID())
	check(t, err)
	if !one.HasResponsibility || one.ResponsibleUserID != me.GetID() {
		t.Errorf("question %+v", one)
	}
	answered, err := s.Interruptions.Submit(one, form)
	check(t, err)
	if answered.IsPending || answered.Form.Values["Result"] != "Proceed" || answered.Form.Values["Notes"] != "looks good" {
		t.Errorf("answered %+v", answered)
	}
	if task := s.await(t, id, ended); task.State != "Success" {
		t.Errorf("the task is %s: %s", task.State, task.ErrorMessage)
	}
	form.Result = interruptions.ManualInterventionDecline
	_, err = s.Interruptions.Submit(one, form)
	s.refused(t, err, http.StatusConflict, "said Proceed")
}
