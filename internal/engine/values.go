package engine

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/script"
	"github.com/octavo/octavo/internal/variable"
)

// values are a deployment's variables: candidates with their texts, and what steps have put out so far.
type values struct {
	candidates []variable.Candidate
	mu         sync.Mutex
	outputs    []variable.Variable
}

// read collects the candidates (variables.md 3.5): the sets' values with their secrets opened, prompted values, the
// settings a user may override, and the system's variables, which nobody overrides; and what steps have put out so far.
func (v *values) read(ctx context.Context, tx *db.Tx, w *work, s *subject) error {
	typed := map[string]resource.PropertyValue(s.deployment.FormValues)
	var all []variable.Candidate
	for i, set := range s.sets {
		source := variable.SourceLibrary
		if i == 0 {
			source = variable.SourceProject
		}
		for _, one := range set.Variables {
			if one.SecretId != "" {
				text, err := w.secretText(ctx, tx, s.deployment.SpaceId, one.SecretId)
				if err != nil {
					return err
				}
				one.Value = &text
			}
			all = append(all, variable.Candidate{Variable: one, Source: source})
			if answer, ok := typed[one.Id]; ok && one.Prompt != nil {
				text := answer.Value
				if answer.Sensitive != nil && answer.Sensitive.SecretId != "" {
					var err error
					if text, err = w.secretText(ctx, tx, s.deployment.SpaceId, answer.Sensitive.SecretId); err != nil {
						return err
					}
				}
				all = append(all, variable.Typed(one, text))
			}
		}
	}
	for _, c := range all {
		if c.Sensitive() && c.Value != nil {
			w.mask.add(*c.Value)
		}
	}
	if err := w.maskProperties(ctx, tx, s); err != nil {
		return err
	}
	for _, pair := range s.system(w) {
		all = append(all, variable.System(pair[0], pair[1]))
	}
	v.candidates = all
	return v.readOutputs(ctx, tx, w)
}

// maskProperties hides every secret of the process itself, also those of steps that ran before this owner came.
func (w *work) maskProperties(ctx context.Context, tx *db.Tx, s *subject) error {
	hide := func(properties resource.Properties) error {
		for _, value := range properties {
			if value.Sensitive == nil || value.Sensitive.SecretId == "" {
				continue
			}
			text, err := w.secretText(ctx, tx, s.deployment.SpaceId, value.Sensitive.SecretId)
			if err != nil {
				return err
			}
			w.mask.add(text)
		}
		return nil
	}
	for _, step := range s.process.Steps {
		if err := hide(step.Properties); err != nil {
			return err
		}
		for _, action := range step.Actions {
			if err := hide(action.Properties); err != nil {
				return err
			}
		}
	}
	return nil
}

// refresh reads what steps have put out since. Only this owner stores outputs, so it knows when there is something.
func (v *values) refresh(ctx context.Context, w *work) error {
	if !w.putOut.Swap(false) {
		return nil
	}
	err := w.DB.Read(ctx, func(tx *db.Tx) error { return v.readOutputs(ctx, tx, w) })
	if err != nil {
		w.putOut.Store(true)
	}
	return err
}

func (v *values) readOutputs(ctx context.Context, tx *db.Tx, w *work) error {
	outputs, err := w.readOutputs(ctx, tx)
	if err != nil {
		return err
	}
	var all []variable.Variable
	for _, o := range outputs {
		all = variable.AddOutput(all, variable.Output{Action: o.action, MachineId: o.machineID, MachineName: o.machine, Name: o.name, Value: o.value, Sensitive: o.sensitive})
	}
	v.mu.Lock()
	v.outputs = all
	v.mu.Unlock()
	return nil
}

// system lists the variables of the whole deployment (variables.md 4.1, "plan").
func (s *subject) system(w *work) [][2]string {
	d, r := &s.deployment, &s.release
	link := func(parts ...string) string {
		for i := range parts {
			parts[i] = url.PathEscape(parts[i])
		}
		return "/app#/" + s.space.Id + "/" + strings.Join(parts, "/")
	}
	list := [][2]string{
		{"Octopus.Release.Id", r.Id},
		{"Octopus.Release.Number", r.Version},
		{"Octopus.Release.Notes", r.ReleaseNotes},
		{"Octopus.Release.Created", moment(r.Assembled.Time)},
		{"Octopus.Release.Channel.Id", s.channel.Id},
		{"Octopus.Release.Channel.Name", s.channel.Name},
		{"Octopus.Deployment.Id", d.Id},
		{"Octopus.Deployment.Name", d.Name},
		{"Octopus.Deployment.Comments", d.Comments},
		{"Octopus.Deployment.Created", moment(d.Created.Time)},
		{"Octopus.Deployment.CreatedBy.Id", d.DeployedById},
		{"Octopus.Deployment.CreatedBy.Username", d.DeployedBy},
		{"Octopus.Deployment.CreatedBy.DisplayName", d.DeployedBy},
		{"Octopus.Deployment.ForcePackageDownload", flag(d.ForcePackageDownload)},
		{"Octopus.Deployment.ForcePackageRedeployment", flag(d.ForcePackageRedeployment)},
		{"Octopus.Deployment.SpecificMachines", strings.Join(d.SpecificMachineIds, ",")},
		{"Octopus.Deployment.ExcludedMachines", strings.Join(d.ExcludedMachineIds, ",")},
		{"Octopus.Environment.Id", s.environment.Id},
		{"Octopus.Environment.Name", s.environment.Name},
		{"Octopus.Environment.SortOrder", strconv.Itoa(s.environment.SortOrder)},
		{"Octopus.Project.Id", s.project.Id},
		{"Octopus.Project.Name", s.project.Name},
		{"Octopus.ProjectGroup.Id", s.group.Id},
		{"Octopus.ProjectGroup.Name", s.group.Name},
		{"Octopus.Space.Id", s.space.Id},
		{"Octopus.Space.Name", s.space.Name},
		{"Octopus.Task.Id", w.task.Id},
		{"Octopus.Task.Name", w.task.Description},
		{"Octopus.Task.QueueTime", moment(w.task.QueueTime)},
		{"Octopus.Task.Argument[DeploymentId]", d.Id},
		{"Octopus.Web.BaseUrl", w.PublicURL},
		{"Octopus.Web.ServerUri", w.PublicURL},
		{"Octopus.Web.ProjectLink", link("projects", s.project.Id)},
		{"Octopus.Web.ReleaseLink", link("projects", s.project.Id, "deployments", "releases", r.Id)},
		{"Octopus.Web.DeploymentLink", link("projects", s.project.Id, "deployments", "releases", r.Id, "deployments", d.Id)},
	}
	if w.task.QueueTimeExpiry != nil {
		list = append(list, [2]string{"Octopus.Task.QueueTimeExpiry", moment(*w.task.QueueTimeExpiry)})
	}
	for name, value := range r.CustomFields {
		list = append(list, [2]string{"Octopus.Release.CustomFields[" + name + "]", value})
	}
	if s.tenant != nil {
		list = append(list,
			[2]string{"Octopus.Deployment.Tenant.Id", s.tenant.Id},
			[2]string{"Octopus.Deployment.Tenant.Name", s.tenant.Name},
			[2]string{"Octopus.Deployment.Tenant.Tags", strings.Join(s.tenant.TenantTags, ",")})
	}
	byRole, ids := map[string][]string{}, []string{}
	for _, m := range (machine.Choice{EnvironmentId: s.environment.Id, Tenanted: s.tenant != nil, Match: func(*machine.Machine) bool { return true }}).Candidates(s.machines) {
		ids = append(ids, m.Id)
		list = append(list, [2]string{"Octopus.Deployment.Targets[" + m.Id + "].Id", m.Id}, [2]string{"Octopus.Deployment.Targets[" + m.Id + "].Name", m.Name})
		for _, role := range m.Roles {
			byRole[role] = append(byRole[role], m.Id)
		}
	}
	list = append(list, [2]string{"Octopus.Deployment.Machines", strings.Join(ids, ",")})
	for role, machines := range byRole {
		list = append(list, [2]string{"Octopus.Environment.MachinesInRole[" + role + "]", strings.Join(machines, ",")})
	}
	return list
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func flag(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

// dictionary is what one place of the plan sees: everything in its scope, the step's, the action's and the target's
// own variables, and the state of the steps so far. failure is Octopus.Deployment.Error.
func (d *walk) dictionary(ctx context.Context, at deployment.Place, failure string) (*variable.Dictionary, error) {
	step := &d.plan.Steps[at.Step]
	situation := d.situation()
	situation.Step, situation.StepRoles = step.Id, step.Roles
	var own []variable.Candidate
	add := func(name, value string) { own = append(own, variable.System(name, value)) }
	add("Octopus.Step.Id", step.Id)
	add("Octopus.Step.Name", step.Name)
	add("Octopus.Step.Number", strconv.Itoa(step.Number))
	if failure != "" {
		add("Octopus.Deployment.Error", failure)
		add("Octopus.Deployment.ErrorDetail", failure)
	}
	if m := d.machine(at.Target); m != nil {
		situation.Machine, situation.MachineRoles = m.Id, m.Roles
		add("Octopus.Machine.Id", m.Id)
		add("Octopus.Machine.Name", m.Name)
		add("Octopus.Machine.Roles", strings.Join(m.Roles, ","))
		add("Octopus.Tentacle.CurrentDeployment.TargetedRoles", strings.Join(step.Roles, ","))
		if uri, err := url.Parse(m.Endpoint.Uri); err == nil && m.Endpoint.CommunicationStyle == machine.StyleTentaclePassive {
			add("Octopus.Machine.Hostname", uri.Hostname())
		}
	}
	d.addStatuses(add)
	if err := d.addAction(ctx, at, &situation, &own); err != nil {
		return nil, err
	}
	d.values.mu.Lock()
	all := make([]variable.Candidate, 0, len(d.values.candidates)+len(d.values.outputs)+len(own))
	all = append(all, d.values.candidates...)
	for _, v := range d.values.outputs {
		all = append(all, variable.Candidate{Variable: v})
	}
	d.values.mu.Unlock()
	vars, _ := variable.Resolve(append(all, own...), situation)
	d.hideEvaluated(vars)
	return vars, nil
}

// addStatuses tells steps how the others went (variables.md 4.1).
func (d *walk) addStatuses(add func(name, value string)) {
	words := map[deployment.Status]string{
		deployment.StatusPending: "Pending", deployment.StatusRunning: "Running", deployment.StatusSuccess: "Succeeded", deployment.StatusSuccessWithWarning: "Succeeded",
		deployment.StatusFailed: "Failed", deployment.StatusSkipped: "Skipped", deployment.StatusCanceled: "Canceled",
	}
	for _, s := range d.plan.Summary(d.snapshot()).Steps {
		step := &d.plan.Steps[s.Step]
		if step.Kind != deployment.KindStep {
			continue
		}
		add("Octopus.Step["+step.Name+"].Status.Code", words[s.Status])
		if s.Status == deployment.StatusFailed {
			add("Octopus.Step["+step.Name+"].Status.Error", s.Reason)
		}
		for _, a := range step.Actions {
			add("Octopus.Action["+a.Name+"].Id", a.Id)
			add("Octopus.Action["+a.Name+"].Name", a.Name)
			add("Octopus.Action["+a.Name+"].IsSkipped", flag(a.Skipped != "" || step.Skipped != ""))
			for _, pkg := range a.Packages {
				if pkg.Reference == "" {
					add("Octopus.Action["+a.Name+"].Package.PackageId", pkg.PackageId)
					add("Octopus.Action["+a.Name+"].Package.PackageVersion", pkg.Version)
				}
			}
		}
	}
}

// addAction gives the action's own properties and packages.
func (d *walk) addAction(ctx context.Context, at deployment.Place, situation *variable.Context, own *[]variable.Candidate) error {
	if at.Action == deployment.Whole || d.plan.Steps[at.Step].Kind != deployment.KindStep {
		return nil
	}
	planned := &d.plan.Steps[at.Step].Actions[at.Action]
	step, action := d.actionOf(planned.Id)
	if action == nil {
		return nil
	}
	situation.Action = action.Id
	add := func(name, value string) { *own = append(*own, variable.System(name, value)) }
	add("Octopus.Action.Id", action.Id)
	add("Octopus.Action.Name", action.Name)
	add("Octopus.Action.Number", strconv.Itoa(at.Action+1))
	add("Octopus.Action.IsSkipped", "False")
	for _, properties := range []resource.Properties{step.Properties, action.Properties} {
		for name, value := range properties {
			if value.Sensitive == nil {
				add(name, value.Value)
				continue
			}
			if value.Sensitive.SecretId == "" {
				continue
			}
			err := d.DB.Read(ctx, func(tx *db.Tx) error {
				text, err := d.secretText(ctx, tx, d.deployment.SpaceId, value.Sensitive.SecretId)
				if err != nil {
					return err
				}
				d.mask.add(text)
				secret := variable.System(name, text)
				secret.IsSensitive, secret.Type = true, variable.TypeSensitive
				*own = append(*own, secret)
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	for _, pkg := range planned.Packages {
		prefix := "Octopus.Action.Package"
		if pkg.Reference != "" {
			prefix += "[" + pkg.Reference + "]"
		}
		add(prefix+".PackageId", pkg.PackageId)
		add(prefix+".PackageVersion", pkg.Version)
		add(prefix+".FeedId", pkg.FeedId)
		for _, ref := range action.Packages {
			if ref.Name == pkg.Reference {
				for name, value := range ref.Properties {
					add(prefix+"."+name, value)
				}
			}
		}
		file, err := d.packageFile(ctx, pkg)
		if err != nil {
			return err
		}
		if pkg.Reference == "" {
			add("Octopus.Tentacle.CurrentDeployment.PackageFilePath", file.Path())
		} else {
			add(prefix+".OriginalPath", file.Path())
		}
	}
	if d.project.DefaultToSkipIfAlreadyInstalled && !d.deployment.ForcePackageRedeployment {
		*own = append(*own, variable.Setting("Octopus.Action.Package.SkipIfAlreadyInstalled", "True"))
	}
	return nil
}

// hideEvaluated masks what sensitive variables evaluate to, besides their raw texts (variables.md 6).
func (d *walk) hideEvaluated(vars *variable.Dictionary) {
	for entry := range vars.All() {
		if entry.Sensitive && entry.Value != nil {
			d.mask.add(*entry.Value)
			if strings.Contains(*entry.Value, "#{") {
				d.mask.add(vars.Text(entry.Name))
			}
		}
	}
}

// raw lists variables as they are, for the target's tool, which evaluates them there.
func raw(vars *variable.Dictionary) []script.Variable {
	var list []script.Variable
	for entry := range vars.All() {
		list = append(list, script.Variable{Name: entry.Name, Value: entry.Value, Sensitive: entry.Sensitive})
	}
	return list
}

// evaluated lists variables filled in, for a script that runs without the tool (variables.md 4.5).
func evaluated(vars *variable.Dictionary) []script.Variable {
	var list []script.Variable
	for entry := range vars.All() {
		list = append(list, script.NewVariable(entry.Name, vars.Text(entry.Name), entry.Sensitive))
	}
	return list
}
