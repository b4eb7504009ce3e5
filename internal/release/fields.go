package release

import (
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/octavo/octavo/internal/fault"
)

// Limits of a release's custom fields (deployments.md V1).
const (
	maxFields    = 10
	maxFieldText = 150
)

// CheckFields refuses custom fields that are too many or too long; everything that is wrong is said at once.
func CheckFields(fields map[string]string) error {
	var wrong fault.List
	if len(fields) > maxFields {
		wrong.Add("CustomFields has %d entries; a release may have %d at most.", len(fields), maxFields)
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if utf8.RuneCountInString(name) > maxFieldText || utf8.RuneCountInString(fields[name]) > maxFieldText {
			wrong.Add("The custom field %q is too long: name and value may have %d characters each.", name, maxFieldText)
		}
	}
	return wrong.Err()
}
