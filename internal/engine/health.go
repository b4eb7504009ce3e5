package engine

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/hub"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/store"
	"github.com/octavo/octavo/internal/tentacle"
)

// healthScript tells what the machine is; a policy's own script is put behind it (tentacle-protocol.md 2.9).
//
//go:embed health.sh
var healthScript string

// checksAtOnce is how many machines one health task asks at a time (behaviour.md 2.18).
const checksAtOnce = 10

// checked is one machine or worker of a health task.
type checked struct {
	id, name, policy string
	disabled         bool
}

// health checks machines (deployments.md H). The same task is run for one new machine and for a whole environment.
func (e *Engine) health(ctx context.Context, w *work) (cluster.Outcome, error) {
	arguments, limit, connect, err := control.ReadHealthArguments(w.task.Arguments)
	if err != nil {
		return nil, err
	}
	all, policies, err := w.chosen(ctx, arguments)
	if err != nil {
		return nil, err
	}
	if err := w.opens(ctx, "health begin", fmt.Sprintf("Checking %d machines.", len(all))); err != nil {
		return nil, err
	}
	bad, err := w.checkAll(ctx, all, policies, how{onlyConnection: arguments.OnlyTestConnection, script: limit, connect: connect})
	switch {
	case err != nil && ctx.Err() == nil && !isClosed(w.run.Cancelled()):
		return nil, err
	case ctx.Err() != nil:
		return cluster.Released{}, nil
	case isClosed(w.run.Cancelled()):
		return w.end(ctx, cluster.Canceled, "The task was cancelled."), nil
	case len(bad) > 0:
		slices.Sort(bad)
		return w.end(ctx, cluster.Failed, "Not well: "+strings.Join(bad, ", ")+"."), nil
	}
	return w.end(ctx, cluster.Success, ""), nil
}

// chosen lists the machines that arguments mean, without the disabled ones, and all policies.
func (w *work) chosen(ctx context.Context, arguments control.HealthArguments) (all []checked, policies map[string]machine.Policy, err error) {
	err = w.DB.Read(ctx, func(tx *db.Tx) error {
		all, policies = nil, map[string]machine.Policy{}
		query := store.Query{Ids: arguments.MachineIds}
		if w.task.SpaceId != "" {
			query.Spaces = []string{w.task.SpaceId}
		}
		targets, err := store.Views[machine.Machine](ctx, tx, &control.Machines.Kind, query)
		if err != nil {
			return err
		}
		ofPolicy := func(id string) bool { return arguments.MachinePolicyId == "" || arguments.MachinePolicyId == id }
		for _, m := range targets {
			if arguments.RestrictedTo != control.RestrictedToWorkers && ofPolicy(m.MachinePolicyId) && arguments.WorkerPoolId == "" && (arguments.EnvironmentId == "" || slices.Contains(m.EnvironmentIds, arguments.EnvironmentId)) {
				all = append(all, checked{m.Id, m.Name, m.MachinePolicyId, m.IsDisabled})
			}
		}
		workers, err := store.Views[machine.Worker](ctx, tx, &control.Workers.Kind, query)
		if err != nil {
			return err
		}
		for _, m := range workers {
			if arguments.RestrictedTo != control.RestrictedToTargets && ofPolicy(m.MachinePolicyId) && arguments.EnvironmentId == "" && (arguments.WorkerPoolId == "" || slices.Contains(m.WorkerPoolIds, arguments.WorkerPoolId)) {
				all = append(all, checked{m.Id, m.Name, m.MachinePolicyId, m.IsDisabled})
			}
		}
		list, err := store.Views[machine.Policy](ctx, tx, &control.MachinePolicies.Kind, store.Query{})
		for _, p := range list {
			policies[p.Id] = p
		}
		return err
	})
	return slices.DeleteFunc(all, func(c checked) bool { return c.disabled }), policies, err
}

// how says what is asked of a machine, and for how long.
type how struct {
	onlyConnection  bool
	script, connect time.Duration
}

// checkAll asks every machine, and gives the names of those that make the task fail (H3).
func (w *work) checkAll(ctx context.Context, all []checked, policies map[string]machine.Policy, h how) (bad []string, err error) {
	var mu sync.Mutex
	var checks sync.WaitGroup
	slots := make(chan struct{}, checksAtOnce)
	for _, c := range all {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil || isClosed(w.run.Cancelled()) {
			break
		}
		checks.Go(func() {
			defer func() { <-slots }()
			policy := policies[c.policy]
			defer func() {
				if p := recover(); p != nil {
					w.Log.Error("panic while a machine was checked", "task", w.task.Id, "machine", c.id, "panic", p, "stack", string(debug.Stack()))
					mu.Lock()
					err = errPanicked
					mu.Unlock()
				}
			}()
			h := h
			h.onlyConnection = h.onlyConnection || policy.MachineHealthCheckPolicy.HealthCheckType == machine.CheckOnlyConnectivity
			status, failed := w.check(ctx, c, policy, h)
			mu.Lock()
			defer mu.Unlock()
			if failed != nil {
				err = failed
			} else if policy.FailsCheck(status) {
				bad = append(bad, c.name)
			}
		})
	}
	checks.Wait()
	return bad, err
}

// busy is what ask gives in place of a status when another task holds the machine (H4).
const busy = ""

// check asks one machine and writes down what it found (H2, H5).
func (w *work) check(ctx context.Context, c checked, policy machine.Policy, h how) (status string, err error) {
	activity := w.task.Id + "/" + c.id
	if err := w.note(ctx, "check begin", tasklog.Open(activity, w.task.Id, c.name, tasklog.Running)); err != nil {
		return "", err
	}
	status, summary, facts, err := w.ask(ctx, c, policy, h, activity)
	if ctx.Err() != nil || isClosed(w.run.Cancelled()) {
		return "", errCancelled // what was found then says nothing about the machine
	}
	if err != nil {
		return "", err
	}
	if status == busy {
		return busy, w.store(ctx, "check left out", func(tx *db.Tx) error {
			if err := w.fence.SetWarnings(ctx, tx); err != nil {
				return err
			}
			return tasklog.Append(ctx, tx, w.fence, tasklog.Line(activity, tasklog.Warning, summary), tasklog.Set(activity, tasklog.SuccessWithWarning))
		})
	}
	found := map[string]any{"HealthStatus": status, "Status": status, "StatusSummary": summary}
	for name, value := range facts {
		found[name] = value
	}
	shown := map[string]tasklog.Status{machine.Healthy: tasklog.Success, machine.HasWarnings: tasklog.SuccessWithWarning}[status]
	if shown == "" {
		shown = tasklog.Failed
	}
	var since time.Time
	err = w.store(ctx, "check end", func(tx *db.Tx) error {
		before, err := store.Load(ctx, tx, c.id)
		if fault.KindOf(err) == fault.NotFound {
			status = busy
			return tasklog.Append(ctx, tx, w.fence, tasklog.Line(activity, tasklog.Info, "The machine was deleted meanwhile."), tasklog.Set(activity, tasklog.Skipped))
		}
		if err != nil {
			return err
		}
		if err := store.SetOwned(ctx, tx, c.id, found); err != nil {
			return err
		}
		if err := tellStatus(ctx, tx, before, status, summary); err != nil {
			return err
		}
		if since, err = outage(ctx, tx, c.id, status); err != nil {
			return err
		}
		return tasklog.Append(ctx, tx, w.fence, tasklog.Line(activity, tasklog.Info, summary), tasklog.Set(activity, shown))
	})
	if err != nil || status != machine.Unavailable {
		return status, err
	}
	return w.giveUpMachine(ctx, c, policy, since, activity)
}

// statusEvents are the events of a change of status (deployments.md H5): triggers and subscriptions will read them.
var statusEvents = map[string][2]string{
	machine.Healthy:     {"MachineHealthy", "healthy"},
	machine.HasWarnings: {"MachineHasWarnings", "to have warnings"},
	machine.Unhealthy:   {"MachineUnhealthy", "unhealthy"},
	machine.Unavailable: {"MachineUnavailable", "unavailable"},
}

// tellStatus writes the event of a change of status.
func tellStatus(ctx context.Context, tx *db.Tx, before resource.Object, status, summary string) error {
	event := statusEvents[status]
	if before.Text("HealthStatus") == status || event[0] == "" {
		return nil
	}
	return control.Event(access.With(ctx, access.System), tx, before.Text("SpaceId"), event[0], "Machine "+before.Text("Name")+" was found "+event[1]+": "+summary, before.Text("Id"))
}

// outage keeps since when a machine has been unavailable without a break; the zero time when it is not (M2).
func outage(ctx context.Context, tx *db.Tx, id, status string) (since time.Time, err error) {
	if status != machine.Unavailable {
		_, err := tx.ExecContext(ctx, "DELETE FROM machine_outage WHERE machine = $1", id)
		return time.Time{}, err
	}
	var ms int64
	err = tx.QueryRowContext(ctx, "INSERT INTO machine_outage (machine, since) VALUES ($1, $2) ON CONFLICT (machine) DO UPDATE SET machine = excluded.machine RETURNING since", id, tx.Ms()).Scan(&ms)
	return time.UnixMilli(ms), err
}

// giveUpMachine deletes a machine that was unavailable for as long as its policy lets it be (M2). What cannot be deleted stays,
// with an event that says why.
func (w *work) giveUpMachine(ctx context.Context, c checked, policy machine.Policy, since time.Time, activity string) (status string, err error) {
	if policy.MachineCleanupPolicy.DeleteMachinesBehavior != machine.DeleteUnavailableMachines {
		return machine.Unavailable, nil
	}
	after, err := machine.ParseSpan(policy.MachineCleanupPolicy.DeleteMachinesElapsedTimeSpan)
	if err != nil || after <= 0 {
		w.say(ctx, activity, tasklog.Warning, "The policy %s deletes unavailable machines, but does not say after how long (DeleteMachinesElapsedTimeSpan); so this one stays.", policy.Name)
		return machine.Unavailable, nil
	}
	if time.Since(since) < after {
		return machine.Unavailable, nil
	}
	text := fmt.Sprintf("The machine has been unavailable since %s, longer than the policy %s lets it be (%s).", since.UTC().Format("2006-01-02 15:04 MST"), policy.Name, policy.MachineCleanupPolicy.DeleteMachinesElapsedTimeSpan)
	ctx = access.With(ctx, access.System)
	err = w.store(ctx, "give up machine", func(tx *db.Tx) error {
		if err := control.ForgetMachine(ctx, tx, c.id); err != nil {
			return err
		}
		return tasklog.Append(ctx, tx, w.fence, tasklog.Line(activity, tasklog.Highlight, text+" It was deleted."))
	})
	var refused *fault.Fault
	if !errors.As(err, &refused) || refused.Kind != fault.Invalid {
		return machine.Unavailable, err
	}
	return machine.Unavailable, w.store(ctx, "machine stays", func(tx *db.Tx) error {
		text += " It could not be deleted: " + refused.Error()
		if err := control.Event(ctx, tx, w.task.SpaceId, "MachineCleanupFailed", "Machine "+c.name+": "+text, c.id); err != nil {
			return err
		}
		return tasklog.Append(ctx, tx, w.fence, tasklog.Line(activity, tasklog.Warning, text))
	})
}

// busyPatience is how long a check waits at most for another task's exclusive script (H4).
const busyPatience = 15 * time.Second

// patience is how long one does that; to get hold of a machine is a part of reaching it.
func (h how) patience() time.Duration { return min(busyPatience, h.connect) }

// free waits until no other task holds a machine for itself alone; if that takes long it tells who does.
func (w *work) free(ctx context.Context, machineID string, patience time.Duration) (holder string, err error) {
	l := lock{scope: machineID}
	freed, stop := w.DB.Listen(l.topic())
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err = w.DB.Read(context.WithoutCancel(ctx), func(tx *db.Tx) (err error) {
			holder, err = l.writer(ctx, tx)
			return err
		})
		if err != nil || holder == "" {
			return "", err
		}
		select {
		case <-ctx.Done():
			return holder, nil
		case <-w.run.Cancelled():
			return holder, nil
		case <-freed:
		case <-time.After(lockPoll):
		}
	}
}

// ask connects and, if the policy says so, runs the script. err is trouble of our own, which says nothing about the machine:
// the task is let go and repeated. A machine called unavailable for it could be deleted in the end (M2).
func (w *work) ask(ctx context.Context, c checked, policy machine.Policy, h how, activity string) (status, summary string, facts map[string]string, err error) {
	trust, err := w.Hub.Agent(ctx, c.id)
	if ours(err) {
		return "", "", nil, err
	}
	if err != nil {
		return machine.Unavailable, "The machine has no agent: " + cause(err), nil, nil
	}
	connect, cancel := context.WithTimeout(ctx, h.connect)
	defer cancel()
	if err := w.Hub.Ping(connect, trust); err != nil {
		return machine.Unavailable, "The agent cannot be reached: " + cause(err), nil, nil
	}
	if h.onlyConnection {
		return machine.Healthy, "The agent answered.", nil, nil
	}
	if holder, err := w.free(ctx, c.id, h.patience()); err != nil {
		return "", "", nil, err
	} else if holder != "" {
		return busy, fmt.Sprintf("%s holds the machine for itself, so it was left out; its status stays what it was.", w.describe(ctx, holder)), nil, nil
	}
	body := healthScript
	if own := policy.MachineHealthCheckPolicy.BashHealthCheckPolicy; own.RunType == machine.ScriptInline {
		body += "\n" + own.ScriptBody + "\n"
	}
	at := place{machine: c.id, name: c.name, trust: trust, target: c.id, targetName: c.name}
	result, err := w.do(ctx, job{
		run: c.id, part: "check", activity: activity, action: "Health", place: at, limit: h.script,
		command: func(context.Context, hub.Service) (command, error) {
			return command{Body: body, Isolation: tentacle.NoIsolation, Wait: h.patience()}, nil
		},
	})
	if ours(err) {
		return "", "", nil, err
	}
	if err != nil {
		return machine.Unavailable, "The check could not be run: " + cause(err), nil, nil
	}
	facts = map[string]string{}
	var outputs []output
	err = w.DB.Read(ctx, func(tx *db.Tx) (err error) {
		outputs, err = w.readOutputs(ctx, tx)
		return err
	})
	if err != nil {
		return "", "", nil, err
	}
	warned := result.warnings
	for _, o := range outputs {
		switch {
		case o.machineID != c.id:
		case strings.EqualFold(o.name, "HasWarnings"):
			warned = warned || strings.EqualFold(o.value, "true")
		case slices.Contains([]string{"OperatingSystem", "ShellName", "ShellVersion", "Architecture"}, o.name):
			facts[o.name] = o.value
		}
	}
	switch {
	case int32(result.exit) == tentacle.ExitMutexTimeout:
		return busy, "Another script holds the machine for itself, so it was left out; its status stays what it was.", nil, nil
	case result.exit != 0 && result.message != "":
		return machine.Unhealthy, result.message, facts, nil
	case result.exit != 0:
		return machine.Unhealthy, fmt.Sprintf("The health check script ended with exit code %d.", result.exit), facts, nil
	case result.errors:
		return machine.Unhealthy, "The health check script wrote errors.", facts, nil
	case warned:
		return machine.HasWarnings, "The health check script warned.", facts, nil
	}
	return machine.Healthy, "The agent answered and the health check found nothing wrong.", facts, nil
}
