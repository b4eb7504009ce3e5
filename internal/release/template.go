package release

import (
	"fmt"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/fault"
)

// Last is what a version template may look back at (deployments.md V2).
type Last struct {
	Project  string            // version of the project's most recently created release; "" for none
	Channel  string            // of the channel's
	Channels map[string]string // of every channel, by name
	Name     string            // of the channel
}

// TemplateVariables are the variables of a version template, beside the project's own (deployments.md V2). Times are UTC.
func TemplateVariables(last Last, now time.Time) map[string]string {
	now = now.UTC()
	vars := map[string]string{
		"Octopus.Release.Channel.Name": last.Name,
		"Octopus.Date.Day":             fmt.Sprint(now.Day()),
		"Octopus.Date.Month":           fmt.Sprint(int(now.Month())),
		"Octopus.Date.Year":            fmt.Sprint(now.Year()),
		"Octopus.Date.DayOfYear":       fmt.Sprint(now.YearDay()),
		"Octopus.Time.Hour":            fmt.Sprint(now.Hour()),
		"Octopus.Time.Minute":          fmt.Sprint(now.Minute()),
		"Octopus.Time.Second":          fmt.Sprint(now.Second()),
	}
	addParts(vars, "Octopus.Version.", last.Project)
	addParts(vars, "Octopus.Version.Channel.", last.Channel)
	for name, version := range last.Channels {
		addParts(vars, "Octopus.Version.Channel["+name+"].", version)
	}
	return vars
}

// addParts adds the parts of one version. Next is Last + 1, alone: it resets nothing. Build is another name for Patch.
func addParts(vars map[string]string, prefix, version string) {
	v, _ := ParseVersion(version) // none, or a version older than the rules: every part is 0
	for part, i := range map[string]int{"Major": 0, "Minor": 1, "Patch": 2, "Build": 2, "Revision": 3} {
		vars[prefix+"Last"+part] = fmt.Sprint(v.Part(i))
		vars[prefix+"Next"+part] = fmt.Sprint(v.Part(i) + 1)
	}
	vars[prefix+"LastSuffix"] = v.Suffix()
	vars[prefix+"NextSuffix"] = v.Suffix()
}

// FromTemplate renders a version template and resolves a mask in the result. fill is the #{...} language; it gets the
// variables above and adds the project's own.
func FromTemplate(template string, last Last, existing []string, now time.Time, fill func(template string, vars map[string]string) (string, error)) (string, error) {
	if strings.TrimSpace(template) == "" {
		return "", fault.InvalidField("Version", "A version must be given: the project has no version template.")
	}
	text, err := fill(template, TemplateVariables(last, now))
	if err != nil {
		return "", fault.Because(fault.InvalidField("VersioningStrategy.Template", "The version template %q cannot be filled in: %v", template, err), err)
	}
	return ResolveMask(text, existing)
}

// FromDonor takes the version of the donor package, letter for letter (deployments.md V4).
func FromDonor(action, reference string, selected []SelectedPackage) (string, error) {
	for _, s := range selected {
		if strings.EqualFold(s.ActionName, action) && strings.EqualFold(s.PackageReferenceName, reference) {
			return s.Version, nil
		}
	}
	return "", fault.InvalidField("VersioningStrategy.DonorPackage",
		"The release takes its version from a package of step %q, but that step is missing, disabled or not part of the channel.", action)
}
