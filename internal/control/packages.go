package control

import (
	"context"
	"io"
	"strings"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/feed"
	"github.com/octavo/octavo/internal/release"
	"github.com/octavo/octavo/internal/store"
)

// What the faces show of the built-in repository.
type (
	Package             = feed.Package
	PackageQuery        = feed.Query
	PackageVersionQuery = feed.VersionQuery
	PackageDescription  = feed.Description
)

// Content reads and seeks in a package.
type Content interface {
	io.ReadSeekCloser
}

// Upload stores a package; created is false when it was there and is kept (rest-api.md 2: package upload).
func (c *Control) Upload(ctx context.Context, space, fileName string, body io.Reader, mode string) (p Package, created bool, err error) {
	for _, known := range []feed.Mode{feed.FailIfExists, feed.OverwriteExisting, feed.IgnoreIfExists} {
		if strings.EqualFold(mode, string(known)) {
			mode = string(known)
		}
	}
	up, err := c.Packages.Upload(ctx, space, fileName, body, feed.Mode(mode), func(ctx context.Context, tx *db.Tx, p feed.Package) error {
		return Event(ctx, tx, space, "Created", "Package "+p.PackageId+" "+p.Version+" was pushed to the built-in feed", p.Id)
	})
	return inFeed(up.Package, space), up.Created, err
}

// inFeed names the space's own feed.
func inFeed(p Package, space string) Package {
	if p.PackageId != "" {
		p.FeedId, p.NuGetFeedId = builtInFeedID(space), builtInFeedID(space)
	}
	return p
}

func inFeeds(list []Package, space string) []Package {
	for i := range list {
		list[i] = inFeed(list[i], space)
	}
	return list
}

// ListPackages lists what the built-in feed has.
func (c *Control) ListPackages(ctx context.Context, space string, q PackageQuery) (list []Package, total int, err error) {
	err = c.DB.Read(ctx, func(tx *db.Tx) error {
		list, total, err = feed.List(ctx, tx, space, q)
		return err
	})
	return inFeeds(list, space), total, err
}

// GetPackage reads one version by its id on the wire.
func (c *Control) GetPackage(ctx context.Context, space, id string) (p Package, err error) {
	err = c.DB.Read(ctx, func(tx *db.Tx) error {
		p, err = feed.Get(ctx, tx, space, id)
		return notFoundAs(err, id)
	})
	return inFeed(p, space), err
}

func notFoundAs(err error, id string) error {
	if fault.KindOf(err) == fault.NotFound {
		return fault.NotFoundf("The resource '%s' was not found.", id)
	}
	return err
}

// OpenPackage reads the content of a version.
func (c *Control) OpenPackage(ctx context.Context, p Package) Content {
	return c.Packages.Reader(ctx, p)
}

// DeletePackage takes a version out of the built-in feed.
func (c *Control) DeletePackage(ctx context.Context, space, id string) error {
	return c.DB.InTx(ctx, func(tx *db.Tx) error {
		if err := feed.Delete(ctx, tx, space, id); err != nil {
			return notFoundAs(err, id)
		}
		return Event(ctx, tx, space, "Deleted", "Package "+strings.TrimPrefix(id, "packages-")+" was deleted", id)
	})
}

// builtIn refuses every feed but the space's own.
func (c *Control) builtIn(ctx context.Context, tx *db.Tx, space, feedID string) error {
	if strings.EqualFold(feedID, builtInFeedID(FirstSpace)) { // how clients call it, in any space
		return nil
	}
	o, err := store.Get(ctx, tx, &Feeds.Kind, space, feedID)
	if err == nil && o.Text("FeedType") != BuiltIn {
		err = fault.Invalidf("The feed '%s' is of type %s, which cannot be asked for packages yet.", o.Text("Name"), o.Text("FeedType"))
	}
	return err
}

// PackageVersions lists the versions a feed has of a package.
func (c *Control) PackageVersions(ctx context.Context, space, feedID string, q PackageVersionQuery) (list []Package, total int, err error) {
	if q.PackageID == "" {
		return nil, 0, fault.InvalidField("packageId", "Please say which package (packageId).")
	}
	err = c.DB.Read(ctx, func(tx *db.Tx) error {
		if err := c.builtIn(ctx, tx, space, feedID); err != nil {
			return err
		}
		list, total, err = feed.Versions(ctx, tx, space, q)
		return err
	})
	return inFeeds(list, space), total, err
}

// SearchPackages lists the packages of a feed.
func (c *Control) SearchPackages(ctx context.Context, space, feedID, term string, skip, take int) (list []PackageDescription, total int, err error) {
	err = c.DB.Read(ctx, func(tx *db.Tx) error {
		if err := c.builtIn(ctx, tx, space, feedID); err != nil {
			return err
		}
		list, total, err = feed.Search(ctx, tx, space, term, skip, take)
		return err
	})
	return list, total, err
}

// offers asks a feed for all its versions of a package.
func (c *Control) offers(ctx context.Context, tx *db.Tx, space, feedID, packageID string) ([]release.Candidate, error) {
	if err := c.builtIn(ctx, tx, space, feedID); err != nil {
		if fault.KindOf(err) == fault.NotFound {
			return nil, fault.Invalidf("its feed '%s' does not exist in this space", feedID)
		}
		return nil, err
	}
	return feed.Offers(ctx, tx, space, packageID)
}
