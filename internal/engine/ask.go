package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/script"
)

// waits tells whether a person is asked about a row and has not answered.
func waits(run deployment.Run) bool {
	return run.State == deployment.Asked || run.Asked && run.Answer == ""
}

// question makes of a move what a person reads (deployments.md I2, I3). run is the row that the question is about.
func (d *walk) question(ctx context.Context, move deployment.Move, run deployment.Run) (control.Question, error) {
	planned := &d.plan.Steps[move.Step].Actions[move.Place.Action]
	q := control.Question{
		Task: d.task, About: runID(run), Kind: move.Question.Kind, Title: planned.Name, Options: move.Question.Options, Teams: move.Question.Teams, Activity: d.activity(move.Place),
		Documents: []string{d.deployment.Id, d.task.Id, d.deployment.ProjectId, d.deployment.EnvironmentId},
	}
	if d.deployment.TenantId != "" {
		q.Documents = append(q.Documents, d.deployment.TenantId)
	}
	on := ""
	if target, ok := d.plan.Target(move.Target, d.snapshot()); ok {
		on = " on " + target.Name
	}
	if move.Question.Kind == deployment.ManualIntervention {
		q.Title += on
		vars, err := d.dictionary(ctx, move.Place, d.failure(run))
		if err != nil {
			return q, err
		}
		q.Instructions = d.mask.text(vars.Text(project.PropInstructions))
		return q, nil
	}
	q.Title += on + " failed"
	if run.State == deployment.Interrupted {
		q.Title = planned.Name + on + " was interrupted: repeat it?"
	}
	means := map[string]string{
		deployment.AnswerFail: "the step has failed", deployment.AnswerRetry: "it runs again", deployment.AnswerIgnore: "it counts as done, with a warning",
		deployment.AnswerExclude: strings.TrimPrefix(on, " on ") + " takes no further part in this deployment",
	}
	text := []string{d.mask.text(run.Text), ""}
	for _, option := range q.Options {
		text = append(text, option+": "+means[option]+".")
	}
	q.Instructions = strings.Join(text, "\n")
	return q, nil
}

// ask stores questions, and gives the lines that tell the log's readers who may answer them. It runs in the transaction
// that stores their rows.
func (d *walk) ask(ctx context.Context, tx *db.Tx, questions []control.Question) (lines []tasklog.Entry, err error) {
	if len(questions) == 0 {
		return nil, nil
	}
	for _, q := range questions {
		who, err := control.Ask(ctx, tx, q)
		if err != nil {
			return nil, err
		}
		lines = append(lines, tasklog.Line(q.Activity, tasklog.Wait, d.mask.text(fmt.Sprintf("Waiting for a person: %s. %s may answer: %s.", q.Title, capital(who), strings.Join(q.Options, ", ")))))
	}
	kinds, err := control.Asked(ctx, tx, d.task.Id)
	if err != nil {
		return nil, err
	}
	return lines, d.fence.SetPendingInterruptions(ctx, tx, kinds...)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// hear takes what people have said: in one transaction the rows get their answers, so that whoever owns the task next
// finds each answer taken once, or not at all.
func (d *walk) hear(ctx context.Context) error {
	if !slices.ContainsFunc(d.snapshot(), waits) {
		return nil
	}
	var answers []control.Answer
	err := d.DB.Read(ctx, func(tx *db.Tx) (err error) {
		answers, err = control.Answers(ctx, tx, d.task.Id)
		return err
	})
	if err != nil {
		return err
	}
	if err := d.ending.enter(ctx); err != nil {
		return err
	}
	defer d.ending.leave()
	after := d.snapshot()
	var changed []deployment.Run
	var lines []tasklog.Entry
	approvals := map[string]control.Answer{} // by row; of manual steps
	for _, a := range answers {
		i := slices.IndexFunc(after, func(r deployment.Run) bool { return runID(r) == a.About && waits(r) })
		if i < 0 {
			continue // taken before
		}
		run := &after[i]
		run.Answer = a.Said
		if run.State == deployment.Asked {
			approvals[a.About] = a
			run.State, run.Ended = deployment.Succeeded, time.Now()
			if a.Said == deployment.AnswerAbort {
				run.State, run.Text = deployment.Aborted, d.mask.text(reply(a))
			}
		}
		category := tasklog.Info
		switch a.Said {
		case deployment.AnswerAbort, deployment.AnswerFail:
			category = tasklog.Error
		case deployment.AnswerIgnore, deployment.AnswerExclude:
			category = tasklog.Warning
		}
		changed, lines = append(changed, *run), append(lines, tasklog.Line(d.activity(run.Place), category, d.mask.text(reply(a))))
	}
	if len(changed) == 0 {
		return nil
	}
	changes := d.changes(after)
	err = d.store(ctx, "hear", func(tx *db.Tx) error {
		for _, run := range changed {
			if err := updateRun(ctx, tx, d.task.Id, run); err != nil {
				return err
			}
			if a, manual := approvals[runID(run)]; manual {
				if err := d.storeApproval(ctx, tx, run, a); err != nil {
					return err
				}
			}
		}
		return tasklog.Append(ctx, tx, d.fence, append(slices.Clone(lines), changes...)...)
	})
	if err != nil {
		return err
	}
	d.stored(after, changes)
	return nil
}

// reply is an answer as the log has it, on one line.
func reply(a control.Answer) string {
	text := fmt.Sprintf("%s answered: %s.", a.User.DisplayName, a.Said)
	if notes := strings.Join(strings.Fields(a.Notes), " "); notes != "" {
		text += " " + notes
	}
	return text
}

// storeApproval keeps who approved or refused a manual step as output variables of it (deployments.md I2).
func (d *walk) storeApproval(ctx context.Context, tx *db.Tx, run deployment.Run, a control.Answer) error {
	at := place{target: run.Target}
	if m := d.machine(run.Target); m != nil {
		at.targetName = m.Name
	}
	for _, set := range []script.SetVariable{
		{Name: "Manual.Notes", Value: a.Notes},
		{Name: "Manual.Approved", Value: flag(a.Said == deployment.AnswerProceed)},
		{Name: "Manual.ResponsibleUser.Id", Value: a.User.Id},
		{Name: "Manual.ResponsibleUser.Username", Value: a.User.Username},
		{Name: "Manual.ResponsibleUser.DisplayName", Value: a.User.DisplayName},
		{Name: "Manual.ResponsibleUser.EmailAddress", Value: a.User.EmailAddress},
	} {
		if err := d.storeOutput(ctx, tx, d.plan.Steps[run.Step].Actions[run.Place.Action].Name, at, set); err != nil {
			return err
		}
	}
	return nil
}

// withdraw takes back what is asked, because the task is being cancelled (deployments.md I14).
func (d *walk) withdraw(ctx context.Context) error {
	if err := d.ending.enter(ctx); err != nil {
		return err
	}
	defer d.ending.leave()
	after := d.snapshot()
	var changed []deployment.Run
	for i := range after {
		if run := &after[i]; run.State == deployment.Asked {
			run.State, run.Text, run.Ended = deployment.Cancelled, "The question was withdrawn.", time.Now()
			changed = append(changed, *run)
		}
	}
	changes := d.changes(after)
	err := d.store(ctx, "withdraw", func(tx *db.Tx) error {
		for _, run := range changed {
			if err := updateRun(ctx, tx, d.task.Id, run); err != nil {
				return err
			}
		}
		if err := control.Withdraw(ctx, tx, d.task.Id, "its task was cancelled"); err != nil {
			return err
		}
		return tasklog.Append(ctx, tx, d.fence, append([]tasklog.Entry{tasklog.Line(d.task.Id, tasklog.Info, "The task is being cancelled.")}, changes...)...)
	})
	if err != nil {
		return err
	}
	d.stored(after, changes)
	return nil
}
