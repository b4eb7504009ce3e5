package feed

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/archive"
	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/release"
	"github.com/octavo/octavo/internal/resource"
)

// DefaultMaxBytes is the largest package that is taken (reliability-and-security.md 4.11).
const DefaultMaxBytes = 10 << 30

// Repository is the built-in repository: rows in the database, content in the blob store.
type Repository struct {
	DB       *db.DB
	Blobs    blob.Store
	MaxBytes int64 // of one package; 0 is DefaultMaxBytes
}

// Uploaded is what became of an upload.
type Uploaded struct {
	Package Package
	Created bool // false: it was there and is kept as it was
}

// identity is what a package is called, and what it says of itself.
type identity struct {
	id, version, extension string
	sort                   []byte
	nuspec                 nuspec
}

var goodID = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$`)

func newIdentity(id, version, extension string) (identity, error) {
	if !goodID.MatchString(id) {
		return identity{}, fault.InvalidField("PackageId", "%q cannot be a package id: it has up to 100 letters, digits, dots, hyphens and underscores, and does not begin with a dot or hyphen.", id)
	}
	v, err := release.ParseVersion(version)
	if err != nil {
		return identity{}, err
	}
	return identity{id: id, version: v.String(), extension: extension, sort: sortKey(v.String())}, nil
}

func (i identity) key() string { return nameKey(i.id + "." + i.version) }

func nameKey(name string) string { return strings.ToLower(name) }

// Upload stores a package. It can be seen only when all of it is stored and proved to be a sound archive; a
// stream that breaks off leaves nothing. Memory does not depend on the size.
//
// then, if there is one, runs in the transaction that makes the version visible; it is not run when an
// existing version is kept.
func (r Repository) Upload(ctx context.Context, space, fileName string, body io.Reader, mode Mode,
	then func(ctx context.Context, tx *db.Tx, p Package) error,
) (_ Uploaded, err error) {
	switch mode {
	case FailIfExists, OverwriteExisting, IgnoreIfExists:
	case "":
		mode = FailIfExists
	default:
		return Uploaded{}, fault.InvalidField("overwriteMode", "overwriteMode %q is not one of FailIfExists, OverwriteExisting and IgnoreIfExists.", mode)
	}
	fileName = path.Base(strings.ReplaceAll(fileName, `\`, "/")) // some browsers send the whole path
	file, err := release.ParseFile(fileName)
	if err != nil {
		return Uploaded{}, err
	}
	if archive.Extension(fileName) == "" {
		return Uploaded{}, fault.InvalidField("file", "%s packages cannot be unpacked by Octavo; use one of %s.", file.Extension, strings.Join(archive.Extensions(), " "))
	}
	who, err := newIdentity(file.Id, file.Version, file.Extension)
	if err != nil {
		return Uploaded{}, err
	}
	nupkg := strings.EqualFold(file.Extension, ".nupkg")
	if !nupkg && mode != OverwriteExisting { // the answer is known before a byte is read
		if old, done, err := r.existing(ctx, space, who, mode); done {
			return old, err
		}
	}
	staged, err := r.stage(ctx, body)
	if err != nil {
		return Uploaded{}, err
	}
	defer func() { err = errors.Join(err, staged.Discard()) }()
	if _, err := archive.Verify(ctx, staged, staged.Size, fileName, archive.Limits{}); err != nil {
		return Uploaded{}, err
	}
	if nupkg {
		if who, err = fromNuspec(staged, who); err != nil {
			return Uploaded{}, err
		}
	}
	return r.enter(ctx, space, who, staged, mode, then)
}

func (r Repository) existing(ctx context.Context, space string, who identity, mode Mode) (_ Uploaded, done bool, err error) {
	var old Package
	err = r.DB.Read(ctx, func(tx *db.Tx) error {
		old, err = Find(ctx, tx, space, who.id, who.version)
		return err
	})
	switch {
	case fault.KindOf(err) == fault.NotFound:
		return Uploaded{}, false, nil
	case err != nil:
		return Uploaded{}, true, err
	case mode == IgnoreIfExists:
		return Uploaded{Package: old}, true, nil
	}
	return Uploaded{}, true, conflict(who)
}

func conflict(who identity) error {
	return fault.Conflictf("%s in the built-in repository: %s %s. Use another version, or overwriteMode OverwriteExisting or IgnoreIfExists.", Conflict, who.id, who.version)
}

// tooLarge ends a stream behind the largest size.
type tooLarge struct {
	r    io.Reader
	left int64
}

func (t *tooLarge) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if t.left -= int64(n); t.left < 0 {
		return n, &fault.Fault{Kind: fault.TooLarge, Text: "The package is larger than the largest size this server takes. Make it smaller, or ask an administrator to raise the limit."}
	}
	return n, err
}

func (r Repository) stage(ctx context.Context, body io.Reader) (*blob.Staged, error) {
	most := r.MaxBytes
	if most == 0 {
		most = DefaultMaxBytes
	}
	return r.Blobs.Stage(ctx, &tooLarge{r: body, left: most})
}

// enter keeps the content and makes the version visible.
func (r Repository) enter(ctx context.Context, space string, who identity, staged *blob.Staged, mode Mode,
	then func(ctx context.Context, tx *db.Tx, p Package) error,
) (Uploaded, error) {
	for {
		key, made, err := r.keep(ctx, staged)
		if err != nil {
			return Uploaded{}, err
		}
		out, err := r.show(ctx, space, who, staged, key, made, mode, then)
		if !errors.Is(err, errDropping) { // it was, if we stood still for a whole grace in between
			return out, err
		}
	}
}

// show makes the version visible.
func (r Repository) show(ctx context.Context, space string, who identity, staged *blob.Staged, key, made string, mode Mode,
	then func(ctx context.Context, tx *db.Tx, p Package) error,
) (Uploaded, error) {
	p := Package{
		PackageId: who.id, Version: who.version, FileExtension: who.extension,
		Title: who.nuspec.Title, Summary: who.nuspec.Summary, Description: who.nuspec.Description, ReleaseNotes: &who.nuspec.ReleaseNotes,
		PackageSizeBytes: staged.Size, Hash: staged.SHA1, Sha256: staged.SHA256, blob: key,
	}
	p.complete(space)
	var out Uploaded
	err := r.DB.InTx(ctx, func(tx *db.Tx) error {
		p.Published = resource.Time{Time: time.UnixMilli(tx.Ms()).UTC()}
		out = Uploaded{Package: p, Created: true}
		if err := hold(ctx, tx, key, made); err != nil {
			return err
		}
		created, err := insert(ctx, tx, space, who, p, mode)
		if err != nil {
			return err
		}
		if !created {
			old, err := Find(ctx, tx, space, who.id, who.version)
			out = Uploaded{Package: old}
			return err
		}
		if then != nil {
			return then(ctx, tx, p)
		}
		return nil
	})
	if err != nil {
		return Uploaded{}, err
	}
	return out, nil
}

// errDropping says that the content of a key is being removed just now, or was.
var errDropping = errors.New("the blob is being removed")

// keep stores staged content and gives its key, and which claim protects it.
func (r Repository) keep(ctx context.Context, staged *blob.Staged) (key, made string, err error) {
	key = blob.ContentKey("packages", staged.SHA256)
	for {
		err = r.DB.InTx(ctx, func(tx *db.Tx) error {
			made, err = claim(ctx, tx, key)
			return err
		})
		if errors.Is(err, errDropping) {
			key = blob.ContentKey("packages", staged.SHA256) + "-" + strings.ToLower(rand.Text()[:8])
			continue
		}
		if err != nil {
			return "", "", err
		}
		return key, made, blob.KeepContent(ctx, r.Blobs, staged, key)
	}
}
