package release

import (
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/fault"
)

// Reference is a package reference for which a release needs a version (deployments.md V7).
type Reference struct {
	ActionName  string
	StepName    string
	Name        string // of the reference; "" is the primary one
	PackageId   string
	FeedId      string
	Fixed       string // version written in the process: skips selection
	Resolvable  bool   // false when feed or id depend on environment or tenant: a version must be given
	Rule        Rule
	Unavailable string // why the feed cannot be asked, for the message
}

// Given are the versions a caller named, in the forms of the API (rest-api.md 3).
type Given struct {
	Common     string // for every package
	PreRelease string // tag of versions to look for where none is named
	named      []named
}

type named struct{ owner, reference, version string }

// anyName stands for every step, package or reference.
const anyName = "*"

// ParseGiven reads "Step:Version", "PackageId:Version" and "Step:Reference:Version"; "*" stands for any name.
func ParseGiven(common, preRelease string, specs []string) (Given, error) {
	g := Given{Common: strings.TrimSpace(common), PreRelease: strings.TrimSpace(preRelease)}
	var wrong fault.List
	for _, spec := range specs {
		parts := strings.Split(spec, ":")
		for i := range parts {
			parts[i] = strings.TrimSpace(parts[i])
		}
		switch {
		case len(parts) == 2 && parts[0] != "" && parts[1] != "":
			g.named = append(g.named, named{parts[0], anyName, parts[1]})
		case len(parts) == 3 && parts[2] != "":
			g.named = append(g.named, named{parts[0], parts[1], parts[2]})
		default:
			wrong.Add("%q does not name a package version: write Step:Version, PackageId:Version or Step:Reference:Version.", spec)
		}
	}
	return g, wrong.Err()
}

// Add names a version for one reference of one action, as SelectedPackages of a request does.
func (g *Given) Add(s SelectedPackage) {
	owner := s.ActionName
	if owner == "" {
		owner = s.StepName
	}
	g.named = append(g.named, named{owner, s.PackageReferenceName, s.Version})
}

// Version finds what was given for a reference: for step and reference, for the step, for the package id, for all.
func (g Given) Version(ref Reference) (string, bool) {
	isStep := func(n named) bool {
		return strings.EqualFold(n.owner, ref.ActionName) || strings.EqualFold(n.owner, ref.StepName)
	}
	isPackage := func(n named) bool { return strings.EqualFold(n.owner, ref.PackageId) }
	isReference := func(n named) bool { return strings.EqualFold(n.reference, ref.Name) }
	anyReference := func(n named) bool { return n.reference == anyName }
	anyOwner := func(n named) bool { return n.owner == anyName }
	for _, fits := range []func(named) bool{
		func(n named) bool { return isStep(n) && isReference(n) },
		func(n named) bool { return isStep(n) && anyReference(n) },
		func(n named) bool { return isPackage(n) && (isReference(n) || anyReference(n)) },
		func(n named) bool { return anyOwner(n) && isReference(n) },
		func(n named) bool { return anyOwner(n) && anyReference(n) },
	} {
		if i := slices.IndexFunc(g.named, fits); i >= 0 {
			return g.named[i].version, true
		}
	}
	return g.Common, g.Common != ""
}

// Select chooses a version for every reference (deployments.md V7-V12). offers asks a feed for all its versions of a package;
// it is asked only where no version is fixed or given. Everything that is missing is said at once.
func Select(refs []Reference, given Given, ignoreRules bool, offers func(Reference) ([]Candidate, error)) ([]SelectedPackage, error) {
	var out []SelectedPackage
	var missing fault.List
	for _, ref := range refs {
		version, err := choose(ref, given, ignoreRules, offers)
		if err != nil {
			missing.Add("%s", err.Error())
			continue
		}
		out = append(out, SelectedPackage{ActionName: ref.ActionName, StepName: ref.StepName, PackageReferenceName: ref.Name, Version: version})
	}
	return out, missing.Err()
}

func choose(ref Reference, given Given, ignoreRules bool, offers func(Reference) ([]Candidate, error)) (string, error) {
	if ref.Fixed != "" {
		return ref.Fixed, nil
	}
	if text, ok := given.Version(ref); ok {
		v, err := ParseVersion(text)
		switch {
		case err != nil:
			return "", fault.Invalidf("%s: %v", ref.describe(), err)
		case !ignoreRules && !ref.Rule.Allows(v): // V12
			return "", fault.Invalidf("%s: version %s breaks the channel's rule (%s). Choose another version or channel, or ignore the channel's rules.", ref.describe(), v, ref.Rule)
		}
		return v.text, nil
	}
	if !ref.Resolvable {
		return "", fault.Invalidf("%s: its feed or package id depends on environment or tenant, so a version must be given.", ref.describe())
	}
	offered, err := offers(ref)
	if err != nil {
		return "", fault.Invalidf("%s: %v", ref.describe(), err)
	}
	version, ok := Pick(offered, ref.Rule, given.PreRelease)
	if !ok { // V11
		return "", fault.Invalidf("%s: none of the %d versions in the feed fits (%s).", ref.describe(), len(offered), ref.Rule)
	}
	return version, nil
}

func (r Reference) describe() string {
	s := "Package " + r.PackageId + " of step \"" + r.ActionName + "\""
	if r.Name != "" {
		s += " (" + r.Name + ")"
	}
	return s
}

// Channel is what the choice of a channel looks at.
type Channel struct {
	Id        string
	IsDefault bool
	Rule      func(action, reference string) (Rule, bool) // the rule bound to a package
}

// ChooseChannel finds the channel whose rules all given versions satisfy and that has most matching rules; for ties, and
// when there is none, the default channel (deployments.md V13).
func ChooseChannel(channels []Channel, refs []Reference, given Given) (string, bool) {
	best, count, tied := "", 0, false
	fallback := ""
	for _, c := range channels {
		if c.IsDefault {
			fallback = c.Id
		}
		n, ok := c.matching(refs, given)
		switch {
		case !ok || n == 0:
		case n > count:
			best, count, tied = c.Id, n, false
		case n == count:
			tied = true
		}
	}
	if best == "" || tied {
		return fallback, fallback != ""
	}
	return best, true
}

// matching counts the channel's rules that given versions satisfy; ok is false when one is broken.
func (c Channel) matching(refs []Reference, given Given) (n int, ok bool) {
	for _, ref := range refs {
		text, has := given.Version(ref)
		rule, bound := c.Rule(ref.ActionName, ref.Name)
		if !has || !bound {
			continue
		}
		v, err := ParseVersion(text)
		if err != nil || !rule.Allows(v) {
			return 0, false
		}
		n++
	}
	return n, true
}
