package machine

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/fault"
)

// Validate refuses a target nothing could be done with; everything that is wrong is said at once.
func (m *Machine) Validate() error {
	var wrong fault.List
	if strings.TrimSpace(m.Name) == "" {
		wrong.Add("A deployment target needs a Name.")
	}
	if len(m.EnvironmentIds) == 0 {
		wrong.Add("A deployment target needs at least one environment in EnvironmentIds.")
	}
	if len(m.Roles) == 0 {
		wrong.Add("A deployment target needs at least one target tag in Roles.")
	}
	switch m.TenantedDeploymentParticipation {
	case "", Untenanted:
		if len(m.TenantIds)+len(m.TenantTags) > 0 {
			wrong.Add("A deployment target with tenants or tenant tags must take part in tenanted deployments: set TenantedDeploymentParticipation to Tenanted or TenantedOrUntenanted.")
		}
	case Tenanted, TenantedOrUntenanted:
	default:
		wrong.Add("TenantedDeploymentParticipation is %q; it must be Untenanted, Tenanted or TenantedOrUntenanted.", m.TenantedDeploymentParticipation)
	}
	m.Endpoint.validate(&wrong)
	return wrong.Err()
}

// Validate refuses a worker nothing could be run on.
func (w *Worker) Validate() error {
	var wrong fault.List
	if strings.TrimSpace(w.Name) == "" {
		wrong.Add("A worker needs a Name.")
	}
	if len(w.WorkerPoolIds) == 0 {
		wrong.Add("A worker needs at least one pool in WorkerPoolIds.")
	}
	w.Endpoint.validate(&wrong)
	return wrong.Err()
}

func (e *Endpoint) validate(wrong *fault.List) {
	switch e.CommunicationStyle {
	case "":
		wrong.Add("Endpoint.CommunicationStyle is missing; it says how the machine is reached.")
	case StyleTentaclePassive:
		if !strings.HasPrefix(e.Uri, "https://") {
			wrong.Add("Endpoint.Uri of a listening agent must be like https://host:10933/, not %q.", e.Uri)
		}
		wantThumbprint(wrong, e.Thumbprint)
	case StyleTentacleActive:
		if !strings.HasPrefix(e.Uri, "poll://") {
			wrong.Add("Endpoint.Uri of a polling agent must be its subscription, like poll://abc123/, not %q.", e.Uri)
		}
		wantThumbprint(wrong, e.Thumbprint)
	}
}

func wantThumbprint(wrong *fault.List, thumbprint string) {
	hex := func(r rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEF", r) }
	if len(thumbprint) != 40 && len(thumbprint) != 64 || strings.ContainsFunc(thumbprint, hex) {
		wrong.Add("Endpoint.Thumbprint must be the agent's thumbprint, 40 hexadecimal digits; octavo-agent show-thumbprint tells it.")
	}
}

// Validate refuses a policy whose spans or words cannot be read.
func (p *Policy) Validate() error {
	var wrong fault.List
	if strings.TrimSpace(p.Name) == "" {
		wrong.Add("A machine policy needs a Name.")
	}
	for field, text := range map[string]string{
		"ConnectionConnectTimeout": p.ConnectionConnectTimeout, "ConnectionRetrySleepInterval": p.ConnectionRetrySleepInterval,
		"ConnectionRetryTimeLimit": p.ConnectionRetryTimeLimit, "PollingRequestQueueTimeout": p.PollingRequestQueueTimeout,
		"PollingRequestMaximumMessageProcessingTimeout":      p.PollingRequestMaximumMessageProcessingTimeout,
		"MachineHealthCheckPolicy.HealthCheckInterval":       p.MachineHealthCheckPolicy.HealthCheckInterval,
		"MachineCleanupPolicy.DeleteMachinesElapsedTimeSpan": p.MachineCleanupPolicy.DeleteMachinesElapsedTimeSpan,
	} {
		if _, err := ParseSpan(text); text != "" && err != nil {
			wrong.Add("%s: %v", field, err)
		}
	}
	known := func(field, value string, words ...string) {
		if value != "" && !slices.Contains(words, value) {
			wrong.Add("%s is %q; it must be one of %s.", field, value, strings.Join(words, ", "))
		}
	}
	known("HealthCheckType", p.MachineHealthCheckPolicy.HealthCheckType, CheckRunScript, CheckOnlyConnectivity)
	known("MachineConnectivityBehavior", p.MachineConnectivityPolicy.MachineConnectivityBehavior, ExpectedToBeOnline, MayBeOfflineAndCanBeSkipped)
	known("DeleteMachinesBehavior", p.MachineCleanupPolicy.DeleteMachinesBehavior, DoNotDeleteMachines, DeleteUnavailableMachines)
	return wrong.Err()
}

// ParseSpan reads a span of time in the wire's form: "hh:mm:ss", "d.hh:mm:ss", and either with a fraction of a second.
func ParseSpan(text string) (time.Duration, error) {
	bad := fault.Invalidf("%q is not a span of time such as 01:30:00 or 1.00:00:00.", text)
	rest, negative := strings.CutPrefix(strings.TrimSpace(text), "-")
	parts := strings.Split(rest, ":")
	if len(parts) != 3 {
		return 0, bad
	}
	days := "0"
	if d, h, has := strings.Cut(parts[0], "."); has {
		days, parts[0] = d, h
	}
	seconds, fraction, has := strings.Cut(parts[2], ".")
	if has && (fraction == "" || len(fraction) > 7) {
		return 0, bad
	}
	total := time.Duration(0)
	for _, p := range []struct {
		text string
		most int
		unit time.Duration
	}{{days, 106_000, 24 * time.Hour}, {parts[0], 23, time.Hour}, {parts[1], 59, time.Minute}, {seconds, 59, time.Second}, {(fraction + "0000000")[:7], 9_999_999, 100}} {
		n, err := strconv.Atoi(p.text)
		if err != nil || n < 0 || n > p.most || strings.ContainsAny(p.text, "+-") {
			return 0, bad
		}
		total += time.Duration(n) * p.unit
	}
	if negative {
		total = -total
	}
	return total, nil
}

// FormatSpan writes what ParseSpan reads.
func FormatSpan(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	day := 24 * time.Hour
	out := pad(int(d%day/time.Hour)) + ":" + pad(int(d%time.Hour/time.Minute)) + ":" + pad(int(d%time.Minute/time.Second))
	if days := int(d / day); days > 0 {
		out = strconv.Itoa(days) + "." + out
	}
	if f := int(d % time.Second / 100); f > 0 {
		out += "." + strconv.Itoa(10_000_000 + f)[1:]
	}
	return sign + out
}

func pad(n int) string {
	if n < 10 {
		return "0" + strconv.Itoa(n)
	}
	return strconv.Itoa(n)
}
