package variable

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// version is what the Version filters see (variables.md 2, Version parsing). Package versions are
// compared elsewhere; this one only takes a text apart, very forgivingly.
type version struct {
	major, minor, patch, revision         string
	preRelease, prefix, counter, metadata string
}

// The number part fits only at word borders, so that in 2.5rc the 5rc is the pre-release.
var versionForm = regexp.MustCompile(`^\s*(?:\s*[vV]?\s*([0-9]+\b)\s*(?:\.\s*([0-9]+\b)\s*)?(?:\.\s*([0-9]+\b)\s*)?(?:\.\s*([0-9]+\b)\s*)?)?` +
	`[.\-_\\]?(([A-Za-z0-9]*?)(?:[.\-_\\]([A-Za-z0-9.\-_\\]*?))?)(?:\+([A-Za-z0-9_\-.\\+]*?))?\s*$`)

func parseVersion(s string) (version, error) {
	if strings.TrimSpace(s) == "" {
		return version{}, errors.New("a version cannot be empty")
	}
	m := versionForm.FindStringSubmatch(s)
	if m == nil {
		return version{}, fmt.Errorf("%q is not a version", s)
	}
	for i, number := range m[1:5] {
		if number == "" {
			m[i+1] = "0"
			continue
		}
		n, err := strconv.ParseInt(number, 10, 32)
		if err != nil {
			return version{}, fmt.Errorf("in the version %q the number %s is too large", s, number)
		}
		m[i+1] = strconv.FormatInt(n, 10)
	}
	return version{m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8]}, nil
}

func versionPart(part func(version) string) filter {
	return func(_ *evaluator, in string, _ []string) (string, bool, error) {
		v, err := parseVersion(in)
		if err != nil {
			return "", false, err
		}
		return part(v), true, nil
	}
}
