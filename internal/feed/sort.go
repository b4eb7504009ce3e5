package feed

import (
	"strings"
)

// sortKey gives bytes that compare as the versions do: four numbers, then a version without pre-release
// behind all with one, then the pre-release part word by word, numbers before texts, without regard to case.
// What follows "+" does not count. The version must be a sound one.
func sortKey(version string) []byte {
	version, _, _ = strings.Cut(strings.ToLower(version), "+")
	numbers, pre, isPre := strings.Cut(version, "-")
	parts := strings.Split(numbers, ".")
	var key []byte
	for i := range 4 {
		n := ""
		if i < len(parts) {
			n = parts[i]
		}
		key = number(key, n)
	}
	if !isPre {
		return append(key, 'z')
	}
	key = append(key, 'p')
	for word := range strings.SplitSeq(pre, ".") {
		if strings.Trim(word, "0123456789") == "" {
			key = number(append(key, 1), word)
		} else {
			key = append(append(append(key, 2), word...), 0)
		}
	}
	return key // fewer words come first
}

// number puts the count of digits in front of them.
func number(key []byte, digits string) []byte {
	digits = strings.TrimLeft(digits, "0")
	n := len(digits) // a version has at most 349 characters
	return append(append(key, byte(n>>8), byte(n)), digits...)
}
