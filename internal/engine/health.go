package engine

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/hub"
	"github.com/octavo/octavo/internal/machine"
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
	var arguments struct {
		EnvironmentId, WorkerPoolId string //nolint:revive // the wire's names
		MachineIds                  []string
		OnlyTestConnection          bool
	}
	if err := json.Unmarshal(w.task.Arguments, &arguments); err != nil {
		return nil, fmt.Errorf("arguments of %s: %w", w.task.Id, err)
	}
	var all []checked
	policies := map[string]machine.Policy{}
	err := w.DB.Read(ctx, func(tx *db.Tx) error {
		all = nil
		query := store.Query{Ids: arguments.MachineIds}
		if w.task.SpaceId != "" {
			query.Spaces = []string{w.task.SpaceId}
		}
		targets, err := store.Views[machine.Machine](ctx, tx, &control.Machines.Kind, query)
		if err != nil {
			return err
		}
		for _, m := range targets {
			if arguments.WorkerPoolId == "" && (arguments.EnvironmentId == "" || slices.Contains(m.EnvironmentIds, arguments.EnvironmentId)) {
				all = append(all, checked{m.Id, m.Name, m.MachinePolicyId, m.IsDisabled})
			}
		}
		workers, err := store.Views[machine.Worker](ctx, tx, &control.Workers.Kind, query)
		if err != nil {
			return err
		}
		for _, m := range workers {
			if arguments.EnvironmentId == "" && (arguments.WorkerPoolId == "" || slices.Contains(m.WorkerPoolIds, arguments.WorkerPoolId)) {
				all = append(all, checked{m.Id, m.Name, m.MachinePolicyId, m.IsDisabled})
			}
		}
		list, err := store.Views[machine.Policy](ctx, tx, &control.MachinePolicies.Kind, store.Query{})
		for _, p := range list {
			policies[p.Id] = p
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(c checked) bool { return c.disabled })
	err = w.store(ctx, "health begin", func(tx *db.Tx) error {
		return tasklog.Append(ctx, tx, w.fence,
			tasklog.Entry{Activity: w.task.Id, Change: &tasklog.Change{Name: w.task.Description, Status: tasklog.Running, Summary: true}},
			tasklog.Line(w.task.Id, tasklog.Info, fmt.Sprintf("Checking %d machines.", len(all))))
	})
	if err != nil {
		return nil, err
	}
	bad, err := w.checkAll(ctx, all, policies, arguments.OnlyTestConnection)
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

// checkAll asks every machine, and gives the names of those that make the task fail (H3).
func (w *work) checkAll(ctx context.Context, all []checked, policies map[string]machine.Policy, onlyConnection bool) (bad []string, err error) {
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
			status, failed := w.check(ctx, c, policy, onlyConnection || policy.MachineHealthCheckPolicy.HealthCheckType == machine.CheckOnlyConnectivity)
			expected := policy.MachineConnectivityPolicy.MachineConnectivityBehavior != machine.MayBeOfflineAndCanBeSkipped
			mu.Lock()
			defer mu.Unlock()
			if failed != nil {
				err = failed
			} else if status == machine.Unhealthy || status == machine.Unavailable && expected {
				bad = append(bad, c.name)
			}
		})
	}
	checks.Wait()
	return bad, err
}

// checkLimit is how long a policy's script may take.
const checkLimit = 5 * time.Minute

// check asks one machine and writes down what it found (H2).
func (w *work) check(ctx context.Context, c checked, policy machine.Policy, onlyConnection bool) (status string, err error) {
	activity := w.task.Id + "/" + c.id
	if err := w.store(ctx, "check begin", func(tx *db.Tx) error {
		return tasklog.Append(ctx, tx, w.fence, tasklog.Open(activity, w.task.Id, c.name, tasklog.Running))
	}); err != nil {
		return "", err
	}
	status, summary, facts := w.ask(ctx, c, policy, onlyConnection, activity)
	if ctx.Err() != nil || isClosed(w.run.Cancelled()) {
		return "", errCancelled // what was found then says nothing about the machine
	}
	found := map[string]any{"HealthStatus": status, "Status": status, "StatusSummary": summary}
	for name, value := range facts {
		found[name] = value
	}
	shown := map[string]tasklog.Status{machine.Healthy: tasklog.Success, machine.HasWarnings: tasklog.SuccessWithWarning}[status]
	if shown == "" {
		shown = tasklog.Failed
	}
	err = w.store(ctx, "check end", func(tx *db.Tx) error {
		if err := store.SetOwned(ctx, tx, c.id, found); err != nil {
			return err
		}
		return tasklog.Append(ctx, tx, w.fence, tasklog.Line(activity, tasklog.Info, summary), tasklog.Set(activity, shown))
	})
	return status, err
}

// ask connects and, if the policy says so, runs the script.
func (w *work) ask(ctx context.Context, c checked, policy machine.Policy, onlyConnection bool, activity string) (status, summary string, facts map[string]string) {
	trust, err := w.Hub.Agent(ctx, c.id)
	if err != nil {
		return machine.Unavailable, "The machine has no agent: " + cause(err), nil
	}
	connect, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := w.Hub.Ping(connect, trust); err != nil {
		return machine.Unavailable, "The agent cannot be reached: " + cause(err), nil
	}
	if onlyConnection {
		return machine.Healthy, "The agent answered.", nil
	}
	body := healthScript
	if own := policy.MachineHealthCheckPolicy.BashHealthCheckPolicy; own.RunType == machine.ScriptInline {
		body += "\n" + own.ScriptBody + "\n"
	}
	at := place{machine: c.id, name: c.name, trust: trust, target: c.id, targetName: c.name}
	result, err := w.do(ctx, job{
		run: c.id, part: "check", activity: activity, action: "Health", place: at, limit: checkLimit,
		command: func(context.Context, hub.Service) (command, error) {
			return command{Body: body, Isolation: tentacle.NoIsolation}, nil
		},
	})
	if err != nil {
		return machine.Unavailable, "The check could not be run: " + cause(err), nil
	}
	facts = map[string]string{}
	outputs, err := w.readOutputs(ctx)
	if err != nil {
		return machine.Unavailable, cause(err), nil
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
	case result.exit != 0 && result.message != "":
		return machine.Unhealthy, result.message, facts
	case result.exit != 0:
		return machine.Unhealthy, fmt.Sprintf("The health check script ended with exit code %d.", result.exit), facts
	case result.errors:
		return machine.Unhealthy, "The health check script wrote errors.", facts
	case warned:
		return machine.HasWarnings, "The health check script warned.", facts
	}
	return machine.Healthy, "The agent answered and the health check found nothing wrong.", facts
}
