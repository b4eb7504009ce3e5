// Package id holds the form of resource ids: a plural prefix and a number, as in "Projects-12".
//
// The numbers come from one table (db.NextID); nothing else makes an id.
package id

import (
	"strconv"
	"strings"
)

// New writes an id: New("Projects", 12) is "Projects-12".
func New(prefix string, n int64) string { return prefix + "-" + strconv.FormatInt(n, 10) }

// Split takes an id apart; ok is false when it does not have the form of one.
func Split(id string) (prefix string, n int64, ok bool) {
	i := strings.LastIndexByte(id, '-')
	if i <= 0 {
		return "", 0, false
	}
	n, err := strconv.ParseInt(id[i+1:], 10, 64)
	if err != nil || n < 0 {
		return "", 0, false
	}
	return id[:i], n, true
}

// LabelForm says what IsLabel wants.
const LabelForm = "A label is one word of letters, digits and . _ - = / : such as gpu or zone=eu."

// IsLabel tells that a word can be a label, which nodes have and tasks may ask for: up to 100 letters, digits and . _ - = / :
func IsLabel(word string) bool {
	for _, r := range word {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("._-=/:", r):
		default:
			return false
		}
	}
	return word != "" && len(word) <= 100
}
