package release

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"deps.dev/util/semver"

	"github.com/octavo/octavo/internal/fault"
)

// maxVersion is what clients send at most (deployments.md V5).
const maxVersion = 349

// system orders versions: one to four numeric parts, then strict SemVer; what follows "+" does not count.
const system = semver.NuGet

const oneVersion = `\d+(\.\d+){0,3}(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?`

var versionForm = regexp.MustCompile("^" + oneVersion + "$")

// intervalForm is what may reach the library, whose parser does not survive everything: a version, one with a star at
// its end, or an interval.
var intervalForm = regexp.MustCompile(`^(\*|` + oneVersion + `|\d+(\.\d+){0,2}\.\*|[\[(]\s*(` + oneVersion + `)?\s*(,\s*(` + oneVersion + `)?\s*)?[\])])$`)

// Version is a version of a release or a package (deployments.md V5).
type Version struct {
	text    string
	parsed  *semver.Version
	numbers []string
}

// ParseVersion reads a version; blanks around it are cut.
func ParseVersion(text string) (Version, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return Version{}, fault.InvalidField("Version", "A version is needed, such as 1.0.0.")
	case len(text) > maxVersion:
		return Version{}, fault.InvalidField("Version", "A version has at most %d characters; this one has %d.", maxVersion, len(text))
	case !versionForm.MatchString(text):
		return Version{}, fault.InvalidField("Version", "%q is not a version: one to four numbers, then -prerelease and +metadata if wanted, such as 1.2.3-beta.1.", text)
	}
	parsed, err := system.Parse(text)
	if err != nil {
		return Version{}, fault.Because(fault.InvalidField("Version", "%q is not a version: %v.", text, err), err)
	}
	return Version{text: text, parsed: parsed, numbers: strings.Split(text[:numericEnd(text)], ".")}, nil
}

// numericEnd is where the numeric parts of a version or a mask end.
func numericEnd(text string) int {
	if i := strings.IndexAny(text, "-+"); i >= 0 {
		return i
	}
	return len(text)
}

// String is the version as it was written.
func (v Version) String() string { return v.text }

// Compare orders versions as versions, never as text (deployments.md Q6).
func (v Version) Compare(o Version) int { return v.parsed.Compare(o.parsed) }

// Tail is the text behind the numeric parts, without the hyphen: what a Tag is matched against (deployments.md V10).
func (v Version) Tail() string { return strings.TrimPrefix(v.text[numericEnd(v.text):], "-") }

// Stable tells whether the version has no pre-release part.
func (v Version) Stable() bool { return !strings.HasPrefix(v.text[numericEnd(v.text):], "-") }

// Part is a numeric part by position: major, minor, patch, revision; 0 where there is none.
func (v Version) Part(i int) int64 {
	if i >= len(v.numbers) {
		return 0
	}
	n, _ := strconv.ParseInt(v.numbers[i], 10, 64)
	return n
}

// Suffix is the pre-release part without its hyphen.
func (v Version) Suffix() string {
	pre, _, _ := strings.Cut(v.Tail(), "+")
	return pre
}

// CompareVersions orders two texts; what is no version comes before every version, by text.
func CompareVersions(a, b string) int {
	va, errA := ParseVersion(a)
	vb, errB := ParseVersion(b)
	switch {
	case errA != nil && errB != nil:
		return strings.Compare(a, b)
	case errA != nil:
		return -1
	case errB != nil:
		return 1
	}
	return va.Compare(vb)
}

// Duplicate finds an existing version equal to a new one, ignoring case (deployments.md V6). 1.0 and 1.0.0 differ.
func Duplicate(existing []string, version string) (string, bool) {
	i := slices.IndexFunc(existing, func(e string) bool { return strings.EqualFold(e, strings.TrimSpace(version)) })
	if i < 0 {
		return "", false
	}
	return existing[i], true
}

// Range is a version range in NuGet's or Maven's interval syntax; several intervals are a choice (deployments.md V9).
type Range struct{ intervals []*semver.Constraint }

var betweenIntervals = regexp.MustCompile(`([\])])\s*,\s*([\[(])`)

// ParseRange reads a range; an empty one holds every version.
func ParseRange(text string) (Range, error) {
	var r Range
	for part := range strings.SplitSeq(betweenIntervals.ReplaceAllString(strings.TrimSpace(text), "$1\n$2"), "\n") {
		if part == "" {
			continue
		}
		if !intervalForm.MatchString(part) {
			return Range{}, fault.InvalidField("VersionRange", "%q is not a version range such as [1.0,2.0) or 1.*.", text)
		}
		c, err := system.ParseConstraint(part)
		if err != nil {
			return Range{}, fault.Because(fault.InvalidField("VersionRange", "%q is not a version range such as [1.0,2.0): %v.", text, err), err)
		}
		r.intervals = append(r.intervals, c)
	}
	return r, nil
}

// Has tells whether a version lies in the range, in strict SemVer order: 7.1.0-dev is below 7.1.
func (r Range) Has(v Version) bool {
	return len(r.intervals) == 0 || slices.ContainsFunc(r.intervals, func(c *semver.Constraint) bool { return c.MatchVersionPrerelease(v.parsed) })
}

// ResolveMask fills in the i and c parts of a version (deployments.md V3): i is one more than in the highest existing
// version that equals the mask in every other numeric part, c is the same as there. A version without them comes back as it is.
// It belongs into the transaction that inserts the release, so that two at once get two numbers.
func ResolveMask(mask string, existing []string) (string, error) {
	mask = strings.TrimSpace(mask)
	end := numericEnd(mask)
	parts := strings.Split(mask[:end], ".")
	if !slices.ContainsFunc(parts, isPlaceholder) {
		v, err := ParseVersion(mask)
		return v.text, err
	}
	var highest *Version
	for _, text := range existing {
		v, err := ParseVersion(text)
		if err == nil && v.fits(parts) && (highest == nil || v.Compare(*highest) > 0) {
			highest = &v
		}
	}
	for i, part := range parts {
		switch {
		case !isPlaceholder(part):
		case highest == nil:
			parts[i] = "0"
		case strings.EqualFold(part, "i"):
			parts[i] = fmt.Sprint(highest.Part(i) + 1)
		default:
			parts[i] = fmt.Sprint(highest.Part(i))
		}
	}
	v, err := ParseVersion(strings.Join(parts, ".") + mask[end:])
	if err != nil {
		return "", fault.Because(fault.InvalidField("Version", "%q is not a version or a mask such as 1.2.i.", mask), err)
	}
	return v.text, nil
}

func isPlaceholder(part string) bool {
	return strings.EqualFold(part, "i") || strings.EqualFold(part, "c")
}

// fits tells whether a version has as many parts as a mask, and the same fixed ones.
func (v Version) fits(mask []string) bool {
	if len(v.numbers) != len(mask) {
		return false
	}
	for i, part := range mask {
		if n, err := strconv.ParseInt(part, 10, 64); !isPlaceholder(part) && (err != nil || n != v.Part(i)) {
			return false
		}
	}
	return true
}
