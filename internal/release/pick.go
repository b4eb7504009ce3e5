package release

import (
	"slices"
	"strings"
	"time"

	"github.com/dlclark/regexp2"

	"github.com/octavo/octavo/internal/fault"
)

// MostRecentlyPublished is the strategy of a rule that orders by publish time instead of by version (deployments.md V9).
const MostRecentlyPublished = "MostRecentlyPublished"

// matchTime bounds a user's regular expression; theirs are .NET's, which may backtrack for ever.
const matchTime = time.Second

// Rule bounds the versions of a package (deployments.md V9).
type Rule struct {
	text       string
	versions   Range
	tag        *regexp2.Regexp
	byTime     bool
	byTimeTag  *regexp2.Regexp
	restricted bool
}

// NewRule compiles a channel rule; what cannot be is refused with its member.
func NewRule(versionRange, tag, strategy, versionTag string) (Rule, error) {
	r := Rule{byTime: strategy == MostRecentlyPublished, text: describeRule(versionRange, tag)}
	var err error
	if r.versions, err = ParseRange(versionRange); err != nil {
		return Rule{}, err
	}
	if r.tag, err = compile("Tag", tag); err != nil {
		return Rule{}, err
	}
	if r.byTime {
		if r.byTimeTag, err = compile("VersionTagRegex", versionTag); err != nil {
			return Rule{}, err
		}
	}
	r.restricted = r.tag != nil || len(r.versions.intervals) > 0 || r.byTime
	return r, nil
}

func describeRule(versionRange, tag string) string {
	var parts []string
	if versionRange != "" {
		parts = append(parts, "range "+versionRange)
	}
	if tag != "" {
		parts = append(parts, "tag "+tag)
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, ", ")
}

func compile(field, pattern string) (*regexp2.Regexp, error) {
	if pattern == "" {
		return nil, nil
	}
	re, err := regexp2.Compile(pattern, regexp2.None)
	if err != nil {
		return nil, fault.Because(fault.InvalidField(field, "%s %q is not a regular expression: %v.", field, pattern, err), err)
	}
	re.MatchTimeout = matchTime
	return re, nil
}

// String says what the rule asks for.
func (r Rule) String() string {
	if r.text == "" {
		return "no rule: stable versions only"
	}
	return r.text
}

// Allows tells whether a version satisfies the rule.
func (r Rule) Allows(v Version) bool {
	return r.versions.Has(v) && matches(r.tag, v.Tail()) && matches(r.byTimeTag, v.text)
}

func matches(re *regexp2.Regexp, text string) bool {
	if re == nil {
		return true
	}
	ok, err := re.MatchString(text)
	return ok && err == nil // a pattern that takes too long matches nothing
}

// Candidate is a version a feed offers.
type Candidate struct {
	Version   string
	Published time.Time
}

// Pick chooses from all versions of a feed: first the rule filters, then the highest wins (deployments.md V9). Without a
// rule only stable versions count, or those with the pre-release tag the caller gave (V8). Texts that are no versions do not count.
func Pick(offered []Candidate, rule Rule, preRelease string) (string, bool) {
	type found struct {
		Version
		at time.Time
	}
	var fit []found
	for _, c := range offered {
		v, err := ParseVersion(c.Version)
		if err != nil || !rule.Allows(v) || !rule.restricted && !wanted(v, preRelease) {
			continue
		}
		fit = append(fit, found{v, c.Published})
	}
	if len(fit) == 0 {
		return "", false
	}
	best := slices.MaxFunc(fit, func(a, b found) int {
		if c := a.at.Compare(b.at); rule.byTime && c != 0 {
			return c
		}
		return a.Compare(b.Version)
	})
	return best.text, true
}

// wanted tells whether a version counts where no rule says so.
func wanted(v Version, preRelease string) bool {
	if preRelease == "" || v.Stable() {
		return v.Stable() && preRelease == ""
	}
	return strings.EqualFold(v.Suffix(), preRelease) || strings.HasPrefix(strings.ToLower(v.Suffix()), strings.ToLower(preRelease)+".")
}
