package machine

// Finding is what a health check saw (deployments.md H2).
type Finding struct {
	Reached          bool
	OnlyConnectivity bool // the script was not run
	ExitCode         int
	Warnings, Errors int  // lines written
	Failed           bool // Fail-HealthCheck
}

// Status judges a finding.
func (f Finding) Status() string {
	switch {
	case !f.Reached:
		return Unavailable
	case f.OnlyConnectivity:
		return Healthy
	case f.ExitCode != 0 || f.Failed || f.Errors > 0:
		return Unhealthy
	case f.Warnings > 0:
		return HasWarnings
	}
	return Healthy
}

// FailsCheck tells whether a status fails the health task (deployments.md H3).
func (p *Policy) FailsCheck(status string) bool {
	switch status {
	case Unhealthy:
		return true
	case Unavailable:
		return p.MachineConnectivityPolicy.MachineConnectivityBehavior != MayBeOfflineAndCanBeSkipped
	}
	return false
}

// Reachable tells whether a status means that the machine answers. Going from one such status to another is not
// "becomes available" (deployments.md H5).
func Reachable(status string) bool { return status == Healthy || status == HasWarnings }
