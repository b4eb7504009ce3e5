package deployment

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/release"
)

// Causes of a refusal, for errors.Is.
var (
	ErrUnknownSkip  = errors.New("an unknown action is to be skipped")
	ErrRequiredSkip = errors.New("a required action is to be skipped")
	ErrNoTargets    = errors.New("no target")
	ErrUnknownName  = errors.New("an unknown target")
)

// Defaults of deployments.md 0.3 and 0.6.
const (
	defaultParallel = 10
	defaultBackoff  = 15 * time.Second
	maxRetryAnswers = 10 // I9
)

// Input is what a plan is made of.
type Input struct {
	Process      project.Process // frozen
	Request      Request         // of the deployment or the run
	ChannelId    string          // "" for a runbook: its actions' channels do not count (B1)
	Tenant       *environment.Tenant
	Machines     []machine.Machine // of the space, or of the environment
	Connectivity project.ConnectivityPolicy
	Packages     []release.SelectedPackage
	// Values of variables, "" when they are not set (P10, P11).
	MaxParallelism        string
	AcquireMaxParallelism string
	Bypass                bool
	// Fill fills in a property that may hold an expression; nil takes it as it is.
	Fill func(text string) string
}

// Check does what NewPlan refuses, and refuses unknown targets too: for a request that was just made (X6, X7, X9).
// When the task starts, a target deleted since is no reason to fail.
func Check(in Input) error {
	var unknown fault.List
	for _, ids := range [][]string{in.Request.SpecificMachineIds, in.Request.ExcludedMachineIds} {
		for _, id := range ids {
			if !slices.ContainsFunc(in.Machines, func(m machine.Machine) bool {
				return m.Id == id && slices.Contains(m.EnvironmentIds, in.Request.EnvironmentId)
			}) {
				unknown.Add("There is no deployment target %q in the environment.", id)
			}
		}
	}
	if err := unknown.Err(); err != nil {
		return fault.Because(err, ErrUnknownName)
	}
	_, err := NewPlan(in)
	return err
}

// NewPlan says what a deployment will do (deployments.md 3.9). It refuses what T10 and T11 refuse.
func NewPlan(in Input) (*Plan, error) {
	if in.Fill == nil {
		in.Fill = func(text string) string { return text }
	}
	if err := checkSkips(in.Process, in.Request.SkipActions); err != nil {
		return nil, err
	}
	p := &Plan{
		Format:        1,
		GuidedFailure: in.Request.UseGuidedFailure,
		SkipLost:      in.Connectivity.SkipMachineBehavior == project.SkipUnavailable,
		SkipLostRoles: in.Connectivity.TargetRoles,
		Bypass:        in.Bypass,
	}
	var lanes int // the variable's value, 0 when it is not set
	lanes, p.Cap = p.parallel(project.PropWindow, in.MaxParallelism)
	_, acquirers := p.parallel("Octopus.Acquire.MaxParallelism", in.AcquireMaxParallelism)

	p.steps(in, lanes)
	p.targets(in)
	if err := p.checkTargets(in.Connectivity); err != nil {
		return nil, err
	}
	p.acquire(in, acquirers)
	p.retention(lanes)
	return p, nil
}

// checkSkips holds T10: known ids only, required ones refused, disabled ones accepted and ignored.
func checkSkips(process project.Process, skips []string) error {
	var unknown, required fault.List
	for _, id := range skips {
		a := findAction(process, id)
		switch {
		case a == nil:
			unknown.Add("There is no action with the id %q to skip.", id)
		case !a.IsDisabled && a.Required():
			required.Add("The step %q is required and cannot be skipped.", a.Name)
		}
	}
	if err := unknown.Err(); err != nil {
		return fault.Because(err, ErrUnknownSkip)
	}
	if err := required.Err(); err != nil {
		return fault.Because(err, ErrRequiredSkip)
	}
	return nil
}

func findAction(process project.Process, id string) *project.Action {
	for i := range process.Steps {
		for j := range process.Steps[i].Actions {
			if a := &process.Steps[i].Actions[j]; a.Id == id {
				return a
			}
		}
	}
	return nil
}

// parallel reads a cap; a value that is no number is worth a warning, and the default.
func (p *Plan) parallel(name, value string) (explicit, effective int) {
	n, ok := project.Number(value)
	switch {
	case strings.TrimSpace(value) == "":
		return 0, defaultParallel
	case !ok || n == 0:
		p.warn("%s is %q, which is not a number from 1 on; %d is used.", name, value, defaultParallel)
		return 0, defaultParallel
	}
	return n, n
}

func (p *Plan) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

// steps takes over the process: groups as defined (P2, P3), then what applies (T8).
func (p *Plan) steps(in Input, lanes int) {
	group := 0
	for i := range in.Process.Steps {
		from := &in.Process.Steps[i]
		if i > 0 && from.StartTrigger != project.StartWithPrevious {
			group++
		}
		s := Step{
			Id:         from.Id,
			Name:       from.Name,
			Slug:       from.Slug,
			Number:     i + 1,
			Group:      group,
			Condition:  orSuccess(from.Condition),
			Expression: from.Properties.Get(project.PropStepExpression),
			Roles:      project.SplitList(in.Fill(from.Properties.Get(project.PropRoles))),
		}
		for j := range from.Actions {
			s.Actions = append(s.Actions, p.planAction(in, &from.Actions[j], len(s.Roles) > 0))
		}
		s.RunOnce = len(s.Roles) == 0 || s.onlyHealth()
		s.Window = p.window(in, from, s.RunOnce, lanes)
		s.Skipped = whySkipped(s.Actions)
		p.Steps = append(p.Steps, s)
	}
}

// window is how many lanes of a step may be open at once (P10).
func (p *Plan) window(in Input, s *project.Step, runOnce bool, lanes int) int {
	text := in.Fill(s.Properties.Get(project.PropWindow))
	window, ok := project.Number(text)
	if strings.TrimSpace(text) != "" && (!ok || window == 0) {
		p.warn("The rolling window of step %q is %q, which is not a number from 1 on; there is none.", s.Name, text)
		window = 0
	}
	switch {
	case runOnce:
		return 1
	case window > 0 && lanes > 0:
		if window != lanes {
			p.warn("Step %q has a rolling window of %d and the variable %s is %d; the smaller one counts.", s.Name, window, project.PropWindow, lanes)
		}
		return min(window, lanes)
	case window > 0:
		return window
	case lanes > 0:
		return lanes
	}
	return defaultParallel
}

// onlyHealth: a step that only checks health does so for all its targets in one go (Y1), whatever the caps (P10).
func (s *Step) onlyHealth() bool {
	n := 0
	for _, a := range s.Actions {
		if a.Type != project.TypeHealthCheck {
			return false
		}
		n++
	}
	return n > 0
}

// whySkipped: a step of which no action applies is planned away, for its first action's reason.
func whySkipped(actions []Action) string {
	why := "It has no actions."
	for i, a := range actions {
		if a.Skipped == "" {
			return ""
		}
		if i == 0 {
			why = a.Skipped
		}
	}
	return why
}

func orSuccess(condition string) string {
	if condition == "" {
		return project.ConditionSuccess
	}
	return condition
}

func (p *Plan) planAction(in Input, from *project.Action, tagged bool) Action {
	a := Action{
		Id:         from.Id,
		Name:       from.Name,
		Slug:       from.Slug,
		Type:       from.ActionType,
		Condition:  orSuccess(from.Condition),
		Expression: from.Properties.Get(project.PropActionExpression),
		Required:   from.Required(),
		Backoff:    defaultBackoff,
		Skipped:    notApplicable(in, from),
	}
	switch {
	case project.RunsInServer(a.Type):
		a.Where = OnServer
	case from.RunOnServer(tagged):
		a.Where = OnWorker
	default:
		a.Where = OnTarget
	}
	if !project.RunsInServer(a.Type) { // R2: there these properties mean nothing
		a.Retries = p.number(in, from, project.PropRetries)
		if strings.TrimSpace(from.Properties.Get(project.PropBackoff)) != "" {
			a.Backoff = time.Duration(p.number(in, from, project.PropBackoff)) * time.Second
		}
	}
	a.Timeout = time.Duration(p.number(in, from, project.PropTimeout)) * time.Minute
	a.Repeats = is(in.Fill(from.Properties.Get(project.PropSafeToRepeat)))
	if a.Type == project.TypeManual {
		a.Timeout = 0 // questions do not expire (I14)
		a.Teams = project.SplitList(in.Fill(from.Properties.Get(project.PropTeams)))
		a.Blocks = is(in.Fill(from.Properties.Get(project.PropBlock)))
	}
	if a.Type == project.TypeDeployRelease {
		return a // its one reference is a release, not a package
	}
	for _, ref := range from.References() {
		location := in.Fill(ref.AcquisitionLocation)
		if location == project.NotAcquired || ref.PackageId == "" {
			continue
		}
		a.Packages = append(a.Packages, Package{
			Reference: ref.Name, PackageId: in.Fill(ref.PackageId), FeedId: in.Fill(ref.FeedId),
			Version: chosen(in.Packages, from.Name, ref), Location: location,
		})
	}
	return a
}

// is reads a filled-in boolean as project.Flag does.
func is(text string) bool { return strings.EqualFold(strings.TrimSpace(text), "True") }

func chosen(packages []release.SelectedPackage, action string, ref project.PackageReference) string {
	for _, s := range packages {
		if strings.EqualFold(s.ActionName, action) && strings.EqualFold(s.PackageReferenceName, ref.Name) {
			return s.Version
		}
	}
	return ref.Version
}

func (p *Plan) number(in Input, a *project.Action, name string) int {
	text := in.Fill(a.Properties.Get(name))
	n, ok := project.Number(text)
	if strings.TrimSpace(text) != "" && !ok {
		p.warn("%s of %q is %q, which is not a number from 0 on; it is ignored.", name, a.Name, text)
		return 0
	}
	return n
}

// notApplicable says why an action is not part of this deployment (T8).
func notApplicable(in Input, a *project.Action) string {
	env := in.Request.EnvironmentId
	switch {
	case a.IsDisabled:
		return "It is disabled."
	case slices.Contains(in.Request.SkipActions, a.Id):
		return "It was skipped on request."
	case len(a.Environments) > 0 && !slices.Contains(a.Environments, env):
		return "It does not run in this environment."
	case slices.Contains(a.ExcludedEnvironments, env):
		return "It is excluded from this environment."
	case in.ChannelId != "" && len(a.Channels) > 0 && !slices.Contains(a.Channels, in.ChannelId):
		return "It does not run in this channel."
	case !in.Tenant.HasTags(a.TenantTags):
		return "It does not run for this tenant."
	}
	return ""
}

// targets chooses who takes part (T2-T7) and gives each step its lanes.
func (p *Plan) targets(in Input) {
	choice := machine.Choice{
		EnvironmentId:    in.Request.EnvironmentId,
		Tenanted:         in.Tenant != nil,
		Match:            func(m *machine.Machine) bool { return environment.Admits(m.TenantIds, m.TenantTags, in.Tenant) },
		SpecificIds:      in.Request.SpecificMachineIds,
		ExcludedIds:      in.Request.ExcludedMachineIds,
		SpecificRoles:    in.Request.SpecificTargetTagIds,
		ExcludedRoles:    in.Request.ExcludedTargetTagIds,
		ExcludeUnhealthy: in.Connectivity.ExcludeUnhealthyTargets,
	}
	for _, m := range choice.Candidates(in.Machines) {
		t := Target{Id: m.Id, Name: m.Name, Roles: m.Roles, Agentless: !m.Endpoint.HasAgent()}
		used := slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Skipped == "" && machine.HasRole(t.Roles, s.Roles) })
		if used && m.HealthStatus == machine.Unavailable && p.skips(t) {
			p.LeftOut = append(p.LeftOut, Left{Id: t.Id, Name: t.Name, Reason: "It was unavailable when the deployment started."})
			continue
		}
		p.Targets = append(p.Targets, t)
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.RunOnce || s.Skipped != "" {
			continue
		}
		for _, t := range p.Targets {
			if machine.HasRole(t.Roles, s.Roles) {
				s.Targets = append(s.Targets, t.Id)
			}
		}
	}
}

// skips tells whether a target that cannot be reached leaves the deployment instead of failing it (T7).
func (p *Plan) skips(t Target) bool {
	return p.SkipLost && (len(p.SkipLostRoles) == 0 || machine.HasRole(t.Roles, p.SkipLostRoles))
}

// checkTargets holds T11: one step with targets is enough for the whole deployment.
func (p *Plan) checkTargets(policy project.ConnectivityPolicy) error {
	if policy.AllowDeploymentsToNoTargets {
		return nil
	}
	var missing fault.List
	for _, s := range p.Steps {
		if s.Skipped != "" || len(s.Roles) == 0 {
			continue
		}
		if slices.ContainsFunc(p.Targets, func(t Target) bool { return machine.HasRole(t.Roles, s.Roles) }) {
			return nil
		}
		missing.Add("No deployment target in the environment takes part in step %q (%s).", s.Name, strings.Join(s.Roles, ", "))
	}
	if err := missing.Err(); err != nil {
		return fault.Because(err, ErrNoTargets)
	}
	return nil
}

// acquire places the pseudo-step that brings packages to where they are needed (A1-A4).
func (p *Plan) acquire(in Input, window int) {
	first := -1 // index of the first step that needs a package
	for i := range p.Steps {
		if p.needsPackages(&p.Steps[i]) {
			first = i
			break
		}
	}
	if first < 0 {
		return // A3
	}
	before := p.Steps[first].Group
	for i := range p.Steps {
		switch in.Process.Steps[i].PackageRequirement {
		case project.AfterPackageAcquisition:
			if p.Steps[i].Skipped == "" {
				before = min(before, p.Steps[i].Group)
			}
		case project.BeforePackageAcquisition:
			if p.Steps[i].Skipped == "" && p.Steps[i].Group >= p.Steps[first].Group {
				p.warn("Step %q asks to run before packages are acquired, but %q needs them first; packages are acquired before it.", p.Steps[i].Name, p.Steps[first].Name)
			}
		}
	}
	acquire := Step{
		Name: AcquireName, Kind: KindAcquire, Group: before, Condition: project.ConditionSuccess, Window: window,
		// A package that is there already is brought again without harm.
		Actions: []Action{{Name: AcquireName, Where: OnTarget, Condition: project.ConditionSuccess, Repeats: true}},
	}
	for _, t := range p.Targets {
		if len(p.packagesOn(t)) > 0 {
			acquire.Targets = append(acquire.Targets, t.Id)
		}
	}
	acquire.RunOnce = len(p.PackagesOnWorkers()) > 0
	at := slices.IndexFunc(p.Steps, func(s Step) bool { return s.Group == before })
	p.Steps = slices.Insert(p.Steps, at, acquire)
	for i := at + 1; i < len(p.Steps); i++ {
		p.Steps[i].Group++
	}
}

func (p *Plan) needsPackages(s *Step) bool {
	if s.Skipped != "" || s.Kind != KindStep || !s.RunOnce && len(s.Targets) == 0 {
		return false
	}
	return slices.ContainsFunc(s.Actions, func(a Action) bool { return a.Skipped == "" && len(a.Packages) > 0 })
}

// retention places the pseudo-step that removes old installations, after everything else (A9).
func (p *Plan) retention(lanes int) {
	if len(p.Steps) == 0 {
		return
	}
	s := Step{
		Name: RetentionName, Kind: KindRetention, Group: p.Steps[len(p.Steps)-1].Group + 1,
		Condition: project.ConditionSuccess, Window: defaultParallel,
		Actions: []Action{{Name: RetentionName, Where: OnTarget, Condition: project.ConditionSuccess}},
	}
	if lanes > 0 {
		s.Window = lanes
	}
	for _, t := range p.Targets {
		if p.installsOn(t) {
			s.Targets = append(s.Targets, t.Id)
		}
	}
	if len(s.Targets) > 0 {
		p.Steps = append(p.Steps, s)
	}
}

// installsOn tells whether some action installs a package on a target.
func (p *Plan) installsOn(t Target) bool {
	return p.anyAction(t, func(a *Action) bool { return a.Type == project.TypePackage && where(a, t) == OnTarget })
}

func (p *Plan) anyAction(t Target, is func(*Action) bool) bool {
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.Skipped != "" || s.Kind != KindStep || s.RunOnce || !machine.HasRole(t.Roles, s.Roles) {
			continue
		}
		for j := range s.Actions {
			if a := &s.Actions[j]; a.Skipped == "" && is(a) {
				return true
			}
		}
	}
	return false
}

// where an action runs for a target: without an agent, on a worker on its behalf (T1).
func where(a *Action, t Target) string {
	if a.Where == OnTarget && (t.Id == "" || t.Agentless) {
		return OnWorker
	}
	return a.Where
}

// packagesOn are the packages a target itself needs, each once.
func (p *Plan) packagesOn(t Target) []Package {
	var out []Package
	p.anyAction(t, func(a *Action) bool {
		if where(a, t) == OnTarget {
			out = addPackages(out, a.Packages)
		}
		return false
	})
	return out
}

// PackagesOn are the packages to bring to a target of the plan, each once, or (for "") to workers.
func (p *Plan) PackagesOn(target string, runs []Run) []Package {
	if target == "" {
		return p.PackagesOnWorkers()
	}
	return p.packagesOn(p.read(runs).targets[target])
}

// PackagesOnWorkers are the packages that actions on workers need, each once.
func (p *Plan) PackagesOnWorkers() []Package {
	var out []Package
	for i := range p.Steps {
		s := &p.Steps[i]
		if !p.needsPackages(s) {
			continue
		}
		for j := range s.Actions {
			a := &s.Actions[j]
			onWorker := a.Where != OnTarget || slices.ContainsFunc(p.Targets, func(t Target) bool {
				return t.Agentless && slices.Contains(s.Targets, t.Id)
			})
			if a.Skipped == "" && onWorker {
				out = addPackages(out, a.Packages)
			}
		}
	}
	return out
}

func addPackages(out, more []Package) []Package {
	for _, pkg := range more {
		if !slices.ContainsFunc(out, func(have Package) bool {
			return have.PackageId == pkg.PackageId && have.FeedId == pkg.FeedId && have.Version == pkg.Version && have.Location == pkg.Location
		}) {
			out = append(out, pkg)
		}
	}
	return out
}
