package feed

import (
	"github.com/octavo/octavo/internal/resource"
)

// BuiltIn is the id of the built-in feed.
const BuiltIn = "feeds-builtin"

// Conflict is the text that clients look for when a version is there already (rest-api.md 3).
const Conflict = "A package with the same name and version already exists"

// Package is one version in the built-in repository (rest-api.md, Package).
type Package struct {
	resource.Meta
	PackageId        string
	Version          string
	FeedId           string
	NuGetPackageId   string
	NuGetFeedId      string
	FileExtension    string
	Title            string
	Summary          string
	Description      string
	ReleaseNotes     *string // null unless asked for: a client types it as a time
	Published        resource.Time
	PackageSizeBytes int64
	Hash             string // SHA-1, for the wire
	Sha256           string

	blob string
}

// FileName is the name under which a package is downloaded.
func (p Package) FileName() string { return p.PackageId + "." + p.Version + p.FileExtension }

// Description is one package, whatever its versions (rest-api.md, feeds/{f}/packages/search).
type Description struct {
	resource.Meta
	Name          string
	Description   string
	LatestVersion string
}

// Mode says what happens when the version is there already (behaviour.md 2.16).
type Mode string

// The modes of the overwriteMode parameter.
const (
	FailIfExists      Mode = "FailIfExists"
	OverwriteExisting Mode = "OverwriteExisting"
	IgnoreIfExists    Mode = "IgnoreIfExists"
)
