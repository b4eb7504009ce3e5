package control

import (
	"encoding/json"
	"time"

	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/project"
)

// What a health check may be restricted to (behaviour.md 2.4).
const (
	RestrictedToTargets  = "DeploymentTargets"
	RestrictedToWorkers  = "Workers"
	RestrictedToPolicies = "Policies"
	Unlimited            = "Unlimited"
)

// HealthArguments say which machines a health check asks, and for how long. What is empty does not restrict.
type HealthArguments struct {
	EnvironmentId      string
	WorkerPoolId       string
	MachineIds         []string
	RestrictedTo       string
	MachinePolicyId    string // ours: what the schedule of a policy asks for
	OnlyTestConnection bool
	Timeout            string // of a machine's script, as "00:05:00"
	MachineTimeout     string // of reaching a machine
}

// How long a check waits where nobody says (behaviour.md 2.4).
const (
	healthTimeout  = 5 * time.Minute
	machineTimeout = time.Minute
)

// ReadHealthArguments reads the arguments of a health check, or says what is wrong with them.
func ReadHealthArguments(arguments []byte) (a HealthArguments, script, connect time.Duration, err error) {
	if err := json.Unmarshal(arguments, &a); err != nil {
		return a, 0, 0, fault.Because(fault.InvalidField("Arguments", "The arguments of a health check cannot be read: %v", err), err)
	}
	switch a.RestrictedTo {
	case "", RestrictedToTargets, RestrictedToWorkers, RestrictedToPolicies, Unlimited:
	default:
		return a, 0, 0, fault.InvalidField("RestrictedTo", "RestrictedTo is '%s'; it must be one of DeploymentTargets, Workers, Policies and Unlimited, or be left out.", a.RestrictedTo)
	}
	if script, err = span("Timeout", a.Timeout, healthTimeout); err != nil {
		return a, 0, 0, err
	}
	connect, err = span("MachineTimeout", a.MachineTimeout, machineTimeout)
	return a, script, connect, err
}

func span(member, text string, otherwise time.Duration) (time.Duration, error) {
	if text == "" {
		return otherwise, nil
	}
	d, err := machine.ParseSpan(text)
	if err == nil && d <= 0 {
		err = fault.Invalidf("it must be more than nothing")
	}
	if err != nil {
		return 0, fault.Because(fault.InvalidField(member, "%s: %v", member, err), err)
	}
	return d, nil
}

// Zone finds a time zone by its name; none is UTC.
func Zone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fault.Because(fault.InvalidField("HealthCheckCronTimezone", "%q is not a zone this server knows; write it like Europe/Berlin or UTC.", name), err)
	}
	return zone, nil
}

// checkSchedule refuses a schedule of health checks that could never be kept (deployments.md M1).
func checkSchedule(p machine.HealthCheckPolicy) error {
	if p.HealthCheckCron != "" {
		if _, err := project.ParseCron(p.HealthCheckCron); err != nil {
			return fault.Because(fault.InvalidField("HealthCheckCron", "HealthCheckCron: %v", err), err)
		}
	}
	_, err := Zone(p.HealthCheckCronTimezone)
	return err
}
