package resource

import (
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/id"
)

// CheckLabels refuses labels that no node can have.
func CheckLabels(wrong *fault.List, member string, labels []string) {
	for _, l := range labels {
		if !id.IsLabel(l) {
			wrong.Add("%s: %q is no label. %s", member, l, id.LabelForm)
		}
	}
}
