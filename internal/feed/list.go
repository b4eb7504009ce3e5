package feed

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/release"
	"github.com/octavo/octavo/internal/resource"
)

// Query chooses from a space's versions (rest-api.md, GET packages).
type Query struct {
	PackageID    string // nuGetPackageId: this package only
	Filter       string // part of the id, in any case
	Latest       bool   // the highest version of each package only
	IncludeNotes bool
	Skip, Take   int // Take 0 is the default page
}

// List gives a page of versions, by package, the highest first, and how many there are in all.
func List(ctx context.Context, tx *db.Tx, space string, q Query) ([]Package, int, error) {
	where, args := "space = $1", []any{space}
	if q.PackageID != "" {
		args = append(args, nameKey(q.PackageID))
		where += fmt.Sprintf(" AND id_key = $%d", len(args))
	}
	if q.Filter != "" {
		args = append(args, contains(q.Filter))
		where += fmt.Sprintf(` AND id_key LIKE $%d ESCAPE '\'`, len(args))
	}
	if q.Latest { // no higher one; of equals (1.0 and 1.0.0) the last by name, so that it is one
		where += ` AND NOT EXISTS (SELECT 1 FROM package h WHERE h.space = package.space AND h.id_key = package.id_key
			AND (h.sort_key, h.name_key) > (package.sort_key, package.name_key))`
	}
	var total int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM package WHERE "+where, args...).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count packages: %w", err)
	}
	args = append(args, take(q.Take), max(q.Skip, 0))
	rows, err := tx.QueryContext(ctx, fmt.Sprintf("SELECT %s FROM package WHERE %s ORDER BY id_key, sort_key DESC, name_key DESC LIMIT $%d OFFSET $%d",
		columns, where, len(args)-1, len(args)), args...)
	items, err := scanAll(space, q.IncludeNotes, rows, err)
	return items, total, err
}

func take(n int) int {
	if n <= 0 {
		return resource.DefaultTake
	}
	return n
}

// contains is a LIKE pattern for "has this in it".
func contains(filter string) string {
	return "%" + strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(strings.ToLower(filter)) + "%"
}

func scanAll(space string, notes bool, rows *sql.Rows, err error) ([]Package, error) {
	if err != nil {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	defer rows.Close()
	items := []Package{}
	for rows.Next() {
		p, err := scan(space, notes, rows)
		if err != nil {
			return nil, fmt.Errorf("list packages: %w", err)
		}
		items = append(items, p)
	}
	return items, rows.Err()
}

// VersionQuery chooses from one package's versions (rest-api.md, GET feeds/{f}/packages/versions).
type VersionQuery struct {
	PackageID         string
	Filter            string // part of the version
	VersionRange      string
	PreReleaseTag     string
	Strategy          string // versioningStrategy
	VersionTagRegex   string
	ExcludePreRelease bool
	IncludeNotes      bool
	Skip, Take        int
}

// Versions gives a page of a package's versions, the highest first (with the strategy MostRecentlyPublished:
// the newest first), and how many there are. A package nobody uploaded has none.
func Versions(ctx context.Context, tx *db.Tx, space string, q VersionQuery) ([]Package, int, error) {
	rule, err := release.NewRule(q.VersionRange, q.PreReleaseTag, q.Strategy, q.VersionTagRegex)
	if err != nil {
		return nil, 0, err
	}
	order := "sort_key DESC, name_key DESC"
	if q.Strategy == release.MostRecentlyPublished {
		order = "published DESC, " + order
	}
	rows, err := tx.QueryContext(ctx, "SELECT "+columns+" FROM package WHERE space = $1 AND id_key = $2 ORDER BY "+order, space, nameKey(q.PackageID))
	all, err := scanAll(space, q.IncludeNotes, rows, err)
	if err != nil {
		return nil, 0, err
	}
	all = slices.DeleteFunc(all, func(p Package) bool {
		v, err := release.ParseVersion(p.Version)
		return err != nil || !rule.Allows(v) || q.ExcludePreRelease && !v.Stable() ||
			!strings.Contains(strings.ToLower(p.Version), strings.ToLower(q.Filter))
	})
	total := len(all)
	from := min(max(q.Skip, 0), total)
	return all[from : min(total-from, take(q.Take))+from], total, nil
}

// Offers gives all versions of a package in the form release.Pick chooses from.
func Offers(ctx context.Context, tx *db.Tx, space, packageID string) ([]release.Candidate, error) {
	all, _, err := Versions(ctx, tx, space, VersionQuery{PackageID: packageID, Take: 1<<31 - 1})
	if err != nil {
		return nil, err
	}
	out := make([]release.Candidate, len(all))
	for i, p := range all {
		out[i] = release.Candidate{Version: p.Version, Published: p.Published.Time}
	}
	return out, nil
}

// Search gives a page of packages whose id has term in it, each with its highest version.
func Search(ctx context.Context, tx *db.Tx, space, term string, skip, n int) ([]Description, int, error) {
	found, total, err := List(ctx, tx, space, Query{Filter: term, Latest: true, Skip: skip, Take: n})
	if err != nil {
		return nil, 0, err
	}
	out := make([]Description, len(found))
	for i, p := range found {
		out[i] = Description{
			Meta: resource.Meta{Id: p.PackageId, SpaceId: space}, Name: p.PackageId,
			Description: p.Description, LatestVersion: p.Version,
		}
	}
	return out, total, nil
}
