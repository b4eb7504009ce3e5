package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/convention"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/hub"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/script"
	"github.com/octavo/octavo/internal/tentacle"
	"github.com/octavo/octavo/internal/variable"
)

// action runs one attempt of an action where the plan says.
func (d *walk) action(ctx context.Context, run deployment.Run, activity string, limit time.Duration) (outcome, error) {
	planned := &d.plan.Steps[run.Step].Actions[run.Place.Action]
	tool, known := map[string]string{
		project.TypeScript: "run-script", project.TypePackage: "deploy-package", project.TypeTransfer: "transfer-package",
	}[planned.Type]
	if !known {
		return outcome{}, fault.Invalidf("Steps of type %s cannot be carried out by this version.", planned.Type)
	}
	at, err := d.placeOf(ctx, run)
	if err != nil {
		return outcome{}, err
	}
	vars, err := d.dictionary(ctx, run.Place, d.failure(run))
	if err != nil {
		return outcome{}, err
	}
	_, begun, err := d.begun(ctx, run, tool)
	if err != nil {
		return outcome{}, err
	}
	switch {
	case begun: // its packages were brought before
	case len(planned.Packages) == 0 || at.machine != "" && at.machine == at.target: // targets have theirs since they were acquired
	case at.machine == "":
		if err := d.bringHere(ctx, activity, planned.Packages); err != nil {
			return outcome{}, err
		}
	default:
		brought, err := d.bring(ctx, runID(run), activity, at, planned.Packages, limit)
		if err != nil || brought.exit != 0 {
			return brought, err
		}
	}
	locks := namedLocks(d.space.Id, vars.Text(PropLocks))
	if at.machine != "" && at.machine == at.target {
		locks = append(locks, targetLock(at, d.plan.Bypass))
	}
	if err := d.lock(ctx, runID(run), activity, locks); err != nil {
		return outcome{}, err
	}
	return d.tool(ctx, job{
		run: runID(run), part: tool, activity: activity, action: planned.Name, place: at, limit: limit, first: d.startedHere(run),
		command: func(_ context.Context, service hub.Service) (command, error) {
			if tool == "run-script" && service == hub.Version2 && isPlainBash(vars, planned) {
				return plainBash(vars, d.isolation(at))
			}
			return toolCommand(tool, vars, d.isolation(at))
		},
	})
}

// failure is Octavo.Deployment.Error as an attempt sees it: what failed in the groups before.
func (d *walk) failure(run deployment.Run) string {
	if f := d.plan.Summary(d.snapshot()).Failure; f != nil && d.plan.Steps[f.Place.Step].Group <= d.plan.Steps[run.Step].Group {
		return f.String()
	}
	return ""
}

// placeOf finds where an action of the plan runs.
func (d *walk) placeOf(ctx context.Context, run deployment.Run) (place, error) {
	at := run.Place
	target := d.machine(at.Target)
	p := place{name: "the server"}
	if target != nil {
		p.target, p.targetName = target.Id, target.Name
	}
	switch d.plan.Where(at, d.snapshot()) {
	case deployment.OnTarget:
		if target == nil {
			return p, fault.NotFoundf("The deployment target is not there any more.")
		}
		trust, err := d.Hub.Agent(ctx, target.Id)
		p.machine, p.name, p.trust = target.Id, target.Name, trust
		return p, err
	case deployment.OnWorker:
		return d.worker(ctx, p, run)
	}
	return p, nil
}

// begun finds where a script of an attempt has begun already; part "" is any of its scripts.
func (d *walk) begun(ctx context.Context, run deployment.Run, part string) (machine string, begun bool, err error) {
	if d.startedHere(run) { // it is asked before anything is begun
		return "", false, nil
	}
	err = d.DB.Read(ctx, func(tx *db.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT place FROM script_run WHERE task = $1 AND run = $2 AND ($3 = '' OR part LIKE $3 || '%') LIMIT 1`,
			d.task.Id, runID(run), part).Scan(&machine)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		begun = err == nil
		return err
	})
	return machine, begun, err
}

// startedHere tells that this owner started the attempt, so that no earlier one can have begun anything of it.
func (d *walk) startedHere(run deployment.Run) bool {
	_, ours := d.ours.Load(runID(run))
	return ours
}

// isolation keeps a target to one script at a time (deployments.md P11); work on workers takes no lock.
func (d *walk) isolation(at place) tentacle.ScriptIsolationLevel {
	if d.plan.Bypass || at.machine != at.target || at.machine == "" {
		return tentacle.NoIsolation
	}
	return tentacle.FullIsolation
}

// toolCommand runs one command of the target-side tool (convention's doc.go).
func toolCommand(name string, vars *variable.Dictionary, isolation tentacle.ScriptIsolationLevel, more ...script.File) (command, error) {
	files, err := convention.VariableFiles(raw(vars))
	if err != nil {
		return command{}, err
	}
	return command{Body: convention.Body(name, toolVersion()), Files: append(files, more...), Isolation: isolation}, nil
}

// isPlainBash tells whether an unmodified Tentacle can run a script step with nothing but its bash.
func isPlainBash(vars *variable.Dictionary, action *deployment.Action) bool {
	source := vars.Text(project.PropScriptSource)
	return len(action.Packages) == 0 && (source == "" || strings.EqualFold(source, "Inline")) &&
		strings.EqualFold(vars.Text(project.PropSyntax), string(script.Bash)) && vars.Text(project.PropFeatures) == "" &&
		!vars.Flag("Octopus.Action.FailScriptOnErrorOutput", false)
}

// plainBash is a Bash script with its variables sealed beside it.
func plainBash(vars *variable.Dictionary, isolation tentacle.ScriptIsolationLevel) (command, error) {
	body, _ := vars.Raw(project.PropScriptBody)
	bundle, err := script.Job{
		Language: script.Bash, Text: vars.EvaluateFile(body).Text, Parameters: vars.Text(project.PropScriptParams), Variables: evaluated(vars),
	}.Sealed()
	if err != nil {
		return command{}, err
	}
	return command{Body: string(bundle.Bootstrap.Content), Files: bundle.Files, Isolation: isolation}, nil
}

// tool runs a command of the target-side tool. A machine that lacks the tool says so; then it is sent there once.
func (w *work) tool(ctx context.Context, j job) (outcome, error) {
	result, err := w.do(ctx, j)
	missing := result.first(convention.ToolMissing)
	if err != nil || result.exit != convention.ExitToolMissing || missing == nil || j.place.machine == "" {
		return result, err
	}
	if err := w.sendTool(ctx, j, missing["platform"], missing["path"]); err != nil {
		return outcome{}, err
	}
	j.part += " with tool"
	return w.do(ctx, j)
}

// worker chooses where an action without a target's agent runs (deployments.md W1, W2).
// What has begun stays where it is, whatever became of the worker since.
func (d *walk) worker(ctx context.Context, p place, run deployment.Run) (place, error) {
	at := run.Place
	if machine, begun, err := d.begun(ctx, run, ""); err != nil || begun {
		if err == nil && machine != "" {
			p.machine, p.name = machine, "worker "+machine
			p.trust, err = d.Hub.Agent(ctx, machine)
		}
		return p, err
	}
	planned := &d.plan.Steps[at.Step].Actions[at.Action]
	_, action := d.actionOf(planned.Id)
	pool := ""
	if action != nil {
		pool = action.WorkerPoolId
		if action.WorkerPoolVariable != "" {
			vars, err := d.dictionary(ctx, at, "")
			if err != nil {
				return p, err
			}
			pool = vars.Text(action.WorkerPoolVariable)
		}
	}
	chosen, err := d.chooseWorker(ctx, pool)
	if err != nil || chosen == nil {
		return p, err // nil: the built-in worker, on this node
	}
	p.machine, p.name = chosen.Id, chosen.Name
	p.trust, err = d.Hub.Agent(ctx, chosen.Id)
	return p, err
}

// acquire brings packages to one target, or, in the lane without a target, notes what workers will need (deployments.md A5).
func (d *walk) acquire(ctx context.Context, run deployment.Run, activity string, limit time.Duration) (outcome, error) {
	packages := d.plan.PackagesOn(run.Target, d.snapshot())
	if run.Target == "" {
		d.say(ctx, activity, tasklog.Verbose, "%d packages are fetched by workers when they are needed.", len(packages))
		return outcome{}, nil
	}
	at, err := d.placeOf(ctx, run)
	if err != nil {
		return outcome{}, err
	}
	return d.bring(ctx, runID(run), activity, at, packages, limit)
}

// retain removes old installations from one target (deployments.md K20-K25).
func (d *walk) retain(ctx context.Context, run deployment.Run, activity string) (outcome, error) {
	at, err := d.placeOf(ctx, run)
	if err != nil {
		return outcome{}, err
	}
	var sets []convention.RetentionSet
	for _, step := range d.plan.Steps {
		if !slices.Contains(step.Targets, run.Target) {
			continue
		}
		for _, action := range step.Actions {
			if action.Type == project.TypePackage && action.Skipped == "" {
				sets = append(sets, d.retentionSet(action.Name, run.Target))
			}
		}
	}
	vars, err := d.dictionary(ctx, deployment.Place{Step: run.Step, Action: deployment.Whole, Target: run.Target}, "")
	if err != nil {
		return outcome{}, err
	}
	file, err := convention.RetentionFile(sets)
	if err != nil {
		return outcome{}, err
	}
	if err := d.lock(ctx, runID(run), activity, []lock{targetLock(at, d.plan.Bypass)}); err != nil {
		return outcome{}, err
	}
	return d.tool(ctx, job{
		run: runID(run), part: "clean", activity: activity, action: deployment.RetentionName, place: at, first: d.startedHere(run),
		command: func(context.Context, hub.Service) (command, error) {
			return toolCommand("clean", vars, d.isolation(at), file)
		},
	})
}

// retentionSet names the installations of one action on one target (deployments.md G11), and what stays of them (K8).
func (d *walk) retentionSet(action, target string) convention.RetentionSet {
	tenant := "<default>"
	if d.tenant != nil {
		tenant = d.tenant.Id
	}
	set := convention.RetentionSet{Set: fmt.Sprintf("%s/%s/Step-%s/%s/%s", d.environment.Id, d.project.Id, action, target, tenant)}
	if policy := d.deployment.TentacleRetentionPeriod; policy != nil && !policy.ShouldKeepForever && policy.QuantityToKeep > 0 {
		if strings.EqualFold(policy.Unit, "Days") {
			set.Days = policy.QuantityToKeep
		} else {
			set.Items = policy.QuantityToKeep
		}
	}
	return set
}
