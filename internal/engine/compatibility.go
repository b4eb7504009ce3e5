package engine

import (
	"fmt"
	"slices"
	"strings"
)

// storedOnly lists what this deployment meets that we keep and give back, but do not act on (docs/compatibility.md).
func (d *walk) storedOnly() []string {
	var lines []string
	kept := func(where, member string) {
		lines = append(lines, fmt.Sprintf("%s: %s is stored, but this version does not act on it.", where, member))
	}
	for _, step := range d.process.Steps {
		for _, action := range step.Actions {
			switch {
			case action.IsDisabled:
				continue
			case action.Container.Image != "":
				kept(action.Name, "Container")
			}
			if len(action.GitDependencies) > 0 {
				kept(action.Name, "GitDependencies")
			}
			for _, pkg := range action.Packages {
				if pkg.AcquisitionLocation == "ExecutionTarget" {
					kept(action.Name, "AcquisitionLocation ExecutionTarget")
				}
			}
			for name := range action.Properties {
				if strings.HasPrefix(name, "Octopus.Action.Template.") {
					kept(action.Name, name)
				}
			}
		}
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}
