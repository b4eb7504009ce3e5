package deployment

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/project"
)

// Why a release, a run or a package is kept.
const (
	KeptByDashboard  = "dashboard"  // what somebody runs now (K2, K10)
	KeptAsPrevious   = "previous"   // what they would go back to (K3)
	KeptByPolicy     = "policy"     // there was room in a phase (K4)
	KeptUndeployed   = "undeployed" // never deployed, and there was room (K6)
	KeptActive       = "active"     // something of it is queued, running or waiting (K11)
	KeptByReferences = "referenced" // another project's kept release deploys it (K12)
)

// OldRelease is a release as retention looks at it.
type OldRelease struct {
	Id        string
	ChannelId string
	Assembled time.Time
}

// ReleaseRetention is what the rules for releases of one project look at (deployments.md 11.1).
type ReleaseRetention struct {
	Lifecycle    func(channelId string) *environment.Lifecycle
	Environments []string // of the space, in their order
	Space        environment.RetentionPolicy
	Discrete     bool         // judge each channel for itself (K9)
	Releases     []OldRelease // newest first
	Deployments  []Past       // all of the project
	Referenced   func(releaseId string) bool
	Now          time.Time
}

// Verdict says what becomes of one release, run or package, and why.
type Verdict struct {
	Id     string
	Delete bool
	Why    string // of keeping it, one of the words above; of deleting it, a text for people
}

// counter is one phase of one lifecycle; phase -1 counts the never deployed.
type counter struct {
	lifecycle *environment.Lifecycle
	phase     int
	channel   string
}

// Judge gives a verdict on every release, in the order of Releases (deployments.md K1-K12).
func (r ReleaseRetention) Judge() []Verdict {
	dashboard, previous := map[string]bool{}, map[string]bool{}
	for _, shown := range Show(r.Deployments, r.Discrete, r.Now) {
		dashboard[shown.Current.ReleaseId] = true
		if shown.Previous != nil {
			previous[shown.Previous.ReleaseId] = true
		}
	}
	of := map[string][]Past{}
	for _, p := range r.Deployments {
		of[p.ReleaseId] = append(of[p.ReleaseId], p)
	}
	active := func(p Past) bool { return !TaskEnded(p.State) }
	counts := map[counter]int{}
	var out []Verdict
	for _, release := range r.Releases {
		v := Verdict{Id: release.Id}
		switch {
		case dashboard[release.Id]:
			v.Why = KeptByDashboard
		case previous[release.Id]:
			v.Why = KeptAsPrevious
		case slices.ContainsFunc(of[release.Id], active):
			v.Why = KeptActive
		case r.Referenced != nil && r.Referenced(release.Id):
			v.Why = KeptByReferences
		default:
			v.Why, v.Delete = r.count(release, of[release.Id], counts)
		}
		out = append(out, v)
	}
	return out
}

// count gives a release its places, or says why there is none for it (K4-K8).
func (r ReleaseRetention) count(release OldRelease, deployments []Past, counts map[counter]int) (why string, gone bool) {
	lifecycle := r.Lifecycle(release.ChannelId)
	days := r.Now.Sub(release.Assembled).Hours() / 24
	channel := ""
	if r.Discrete {
		channel = release.ChannelId
	}
	kept := false
	full := map[int]string{} // by phase
	seen := map[int]bool{}
	for _, p := range deployments {
		policy, phase, ok := lifecycle.ReleaseRetention(p.EnvironmentId, r.Environments, r.Space)
		if !ok || seen[phase] {
			continue // gone from the lifecycle: as if never deployed there (K6)
		}
		seen[phase] = true
		key := counter{lifecycle, phase, channel}
		if policy.Room(counts[key], days) {
			counts[key]++
			kept = true
		} else {
			full[phase] = "phase " + lifecycle.Resolve(r.Environments)[phase].Name + " keeps " + keeps(policy, days)
		}
	}
	switch {
	case kept:
		return KeptByPolicy, false
	case len(full) > 0:
		var why []string
		for _, phase := range slices.Sorted(maps.Keys(full)) {
			why = append(why, full[phase])
		}
		return "deployed, and " + strings.Join(why, "; "), true
	}
	key, policy := counter{lifecycle, -1, channel}, lifecycle.Own(r.Space)
	if policy.Room(counts[key], days) {
		counts[key]++
		return KeptUndeployed, false
	}
	return "never deployed, and the lifecycle keeps " + keeps(policy, days), true
}

// keeps says what a policy without room for a release keeps.
func keeps(policy environment.RetentionPolicy, days float64) string {
	if policy.Unit == environment.Days {
		return fmt.Sprintf("those of %d days, but this one is %d days old", policy.QuantityToKeep, int(days))
	}
	return fmt.Sprintf("%d, and has newer ones", policy.QuantityToKeep)
}

// OldRun is a runbook run as retention looks at it.
type OldRun struct {
	Id, EnvironmentId, TenantId string
	Created                     time.Time
	Ended                       bool
}

// defaultRuns stay where a runbook has no policy (deployments.md B8).
const defaultRuns = 100

// JudgeRuns says which runs of a runbook go: per environment and tenant, newest by creation; runs that have not ended are
// kept and not counted (deployments.md B8).
func JudgeRuns(runs []OldRun, keep project.RunRetention, now time.Time) []Verdict {
	policy := environment.RetentionPolicy{Strategy: keep.Strategy, Unit: keep.Unit, QuantityToKeep: keep.QuantityToKeep, ShouldKeepForever: keep.ShouldKeepForever}
	if keep.Strategy == environment.RetainDefault || keep == (project.RunRetention{}) {
		policy = environment.RetentionPolicy{Strategy: environment.RetainCount, Unit: environment.Items, QuantityToKeep: defaultRuns}
	}
	newest := slices.Clone(runs)
	slices.SortStableFunc(newest, func(a, b OldRun) int { return b.Created.Compare(a.Created) })
	counts := map[[2]string]int{}
	var out []Verdict
	for _, r := range newest {
		slot := [2]string{r.EnvironmentId, r.TenantId}
		switch {
		case !r.Ended:
			out = append(out, Verdict{Id: r.Id, Why: KeptActive})
		case policy.Room(counts[slot], now.Sub(r.Created).Hours()/24):
			counts[slot]++
			out = append(out, Verdict{Id: r.Id, Why: KeptByPolicy})
		default:
			out = append(out, Verdict{Id: r.Id, Delete: true})
		}
	}
	return out
}

// OldPackage is a package of the built-in feed as retention looks at it.
type OldPackage struct {
	Id        string
	Published time.Time // first
	Used      bool      // by a release or a runbook snapshot
}

// JudgePackages says which built-in packages go: older than so many days and used by nothing; 0 days keeps all (deployments.md K30).
func JudgePackages(packages []OldPackage, days int, now time.Time) []Verdict {
	var out []Verdict
	for _, p := range packages {
		v := Verdict{Id: p.Id, Why: KeptByPolicy}
		switch {
		case p.Used:
			v.Why = KeptByReferences
		case days > 0 && now.Sub(p.Published).Hours()/24 > float64(days):
			v = Verdict{Id: p.Id, Delete: true}
		}
		out = append(out, v)
	}
	return out
}
