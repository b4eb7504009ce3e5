package feed

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
)

const columns = "package_id, version, extension, title, summary, description, release_notes, published, size, sha1, sha256, blob"

// scan reads one row of columns.
func scan(space string, notes bool, row interface{ Scan(...any) error }) (Package, error) {
	var p Package
	var published int64
	var text string
	err := row.Scan(&p.PackageId, &p.Version, &p.FileExtension, &p.Title, &p.Summary, &p.Description, &text, &published,
		&p.PackageSizeBytes, &p.Hash, &p.Sha256, &p.blob)
	if err != nil {
		return Package{}, err
	}
	p.Published = resource.Time{Time: time.UnixMilli(published).UTC()}
	if notes {
		p.ReleaseNotes = &text
	}
	p.complete(space)
	return p, nil
}

// complete fills in what follows from the rest.
func (p *Package) complete(space string) {
	p.Id, p.SpaceId = "packages-"+p.PackageId+"."+p.Version, space
	p.FeedId, p.NuGetFeedId, p.NuGetPackageId = BuiltIn, BuiltIn, p.PackageId
}

// claim makes a blob's row, or makes it young again, so that it is not dropped under an upload. It tells
// which row it is.
func claim(ctx context.Context, tx *db.Tx, key string) (made string, err error) {
	err = tx.QueryRowContext(ctx, `INSERT INTO package_blob (key, state, made, since) VALUES ($1, 'kept', $2, $3)
		ON CONFLICT (key) DO UPDATE SET since = excluded.since WHERE package_blob.state = 'kept' RETURNING made`,
		key, rand.Text(), tx.Ms()).Scan(&made)
	if errors.Is(err, sql.ErrNoRows) {
		return "", errDropping
	}
	if err != nil {
		return "", fmt.Errorf("claim package blob: %w", err)
	}
	return made, nil
}

// hold claims again, and fails when the row claimed before is gone: its blob is then gone too.
func hold(ctx context.Context, tx *db.Tx, key, made string) error {
	// The content was read or stored anew before this (KeepContent), so what a check found wrong with it is mended.
	res, err := tx.ExecContext(ctx, "UPDATE package_blob SET since = $1, trouble = '' WHERE key = $2 AND made = $3 AND state = 'kept'", tx.Ms(), key, made)
	if err != nil {
		return fmt.Errorf("hold package blob: %w", err)
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		return errDropping
	}
	return err
}

// letGo starts the grace of a blob that a version used.
func letGo(ctx context.Context, tx *db.Tx, key string) error {
	_, err := tx.ExecContext(ctx, "UPDATE package_blob SET since = $1 WHERE key = $2", tx.Ms(), key)
	if err != nil {
		return fmt.Errorf("let go of package blob: %w", err)
	}
	return nil
}

// insert enters a version; created is false when one is there and is to be kept.
func insert(ctx context.Context, tx *db.Tx, space string, who identity, p Package, mode Mode) (created bool, err error) {
	if mode == OverwriteExisting {
		if err := remove(ctx, tx, space, who.key()); err != nil {
			return false, err
		}
	}
	res, err := tx.ExecContext(ctx, `INSERT INTO package (space, name_key, id_key, sort_key, `+columns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) ON CONFLICT (space, name_key) DO NOTHING`,
		space, who.key(), nameKey(who.id), who.sort,
		p.PackageId, p.Version, p.FileExtension, p.Title, p.Summary, p.Description, *p.ReleaseNotes, tx.Ms(),
		p.PackageSizeBytes, p.Hash, p.Sha256, p.blob)
	if err != nil {
		return false, fmt.Errorf("enter package: %w", err)
	}
	n, err := res.RowsAffected()
	if err != nil || n == 1 {
		return n == 1, err
	}
	if mode == IgnoreIfExists {
		return false, nil
	}
	return false, conflict(who)
}

// remove takes a version away, if it is there.
func remove(ctx context.Context, tx *db.Tx, space, nameKey string) error {
	var key string
	err := tx.QueryRowContext(ctx, "DELETE FROM package WHERE space = $1 AND name_key = $2 RETURNING blob", space, nameKey).Scan(&key)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete package: %w", err)
	}
	return letGo(ctx, tx, key)
}

// Get finds a version by its id on the wire, "packages-Acme.Web.1.2.3"; the prefix may be left out.
func Get(ctx context.Context, tx *db.Tx, space, id string) (Package, error) {
	key := nameKey(strings.TrimPrefix(id, "packages-"))
	p, err := scan(space, true, tx.QueryRowContext(ctx, "SELECT "+columns+" FROM package WHERE space = $1 AND name_key = $2", space, key))
	if errors.Is(err, sql.ErrNoRows) {
		return Package{}, fault.NotFoundf("The package %s is not in the built-in repository.", strings.TrimPrefix(id, "packages-"))
	}
	if err != nil {
		return Package{}, fmt.Errorf("read package: %w", err)
	}
	return p, nil
}

// Find finds a version by package id and version.
func Find(ctx context.Context, tx *db.Tx, space, packageID, version string) (Package, error) {
	p, err := Get(ctx, tx, space, packageID+"."+version)
	if err == nil && !strings.EqualFold(p.PackageId, packageID) {
		err = fault.NotFoundf("The package %s %s is not in the built-in repository.", packageID, version)
	}
	return p, err
}

// Delete takes a version out of the repository at once; its content follows after a grace (M12). Whether a
// release still needs it is for the caller to ask, in the same transaction.
func Delete(ctx context.Context, tx *db.Tx, space, id string) error {
	p, err := Get(ctx, tx, space, id)
	if err != nil {
		return err
	}
	return remove(ctx, tx, space, nameKey(p.PackageId+"."+p.Version))
}
