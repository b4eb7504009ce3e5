package feed

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"golang.org/x/time/rate"

	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/db"
)

// Content is what one or more versions consist of.
type Content struct {
	Key      string
	Size     int64
	Sha256   string
	Versions []string // "Acme.Web 1.2.3", with the space where it is needed to tell them apart
	Trouble  string   // as the last check left it
	made     string   // with since: tells whether it was pushed anew after it was listed
	since    int64
}

// Troubles that Inspect finds.
const (
	Missing    = "missing"
	Damaged    = "damaged"
	Unreadable = "unreadable"
)

// Contents lists what all versions of all spaces consist of, in the order of keys, behind a key.
func Contents(ctx context.Context, tx *db.Tx, after string, limit int) ([]Content, error) {
	rows, err := tx.QueryContext(ctx, `SELECT p.blob, p.size, p.sha256, p.space, p.package_id, p.version, b.trouble, b.made, b.since FROM package p JOIN package_blob b ON b.key = p.blob
		WHERE p.blob IN (SELECT DISTINCT n.blob FROM package n WHERE n.blob > $1 ORDER BY n.blob LIMIT $2) ORDER BY p.blob, p.space, p.name_key`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list package contents: %w", err)
	}
	defer rows.Close()
	var out []Content
	for rows.Next() {
		var c Content
		var space, id, version string
		if err := rows.Scan(&c.Key, &c.Size, &c.Sha256, &space, &id, &version, &c.Trouble, &c.made, &c.since); err != nil {
			return nil, fmt.Errorf("list package contents: %w", err)
		}
		if len(out) == 0 || out[len(out)-1].Key != c.Key {
			out = append(out, c)
		}
		last := &out[len(out)-1]
		last.Versions = append(last.Versions, id+" "+version+" ("+space+")")
	}
	return out, rows.Err()
}

// CountContents tells how much Contents lists in all, and how many bytes that is.
func CountContents(ctx context.Context, tx *db.Tx) (n, size int64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(size), 0) FROM (SELECT blob, max(size) AS size FROM package GROUP BY blob) c`).Scan(&n, &size)
	return n, size, err
}

// Inspect reads content back, no faster than pace lets it, and holds it against its recorded size and SHA-256 (I10).
// It gives "" or what is wrong, and why for people.
func (r Repository) Inspect(ctx context.Context, c Content, pace *rate.Limiter) (trouble, why string, err error) {
	err = blob.Verify(ctx, paced{r.Blobs, pace}, c.Key, c.Size, c.Sha256)
	var damaged *blob.Damaged
	switch {
	case err == nil:
		return "", "", nil
	case ctx.Err() != nil:
		return "", "", context.Cause(ctx)
	case errors.Is(err, fs.ErrNotExist):
		return Missing, "the file " + c.Key + " is not in the blob store", nil
	case errors.As(err, &damaged):
		return Damaged, fmt.Sprintf("the file %s has %d bytes with SHA-256 %s; %d bytes with SHA-256 %s were stored", c.Key, damaged.Size, damaged.SHA256, damaged.WantSize, damaged.WantSHA256), nil
	}
	return Unreadable, "the file " + c.Key + " cannot be read: " + err.Error(), nil
}

// Mark notes what a check found wrong with content, "" for nothing. An upload of the same content mends it and takes
// the mark away; so one that came after the look at it has the last word, and current is false.
func Mark(ctx context.Context, tx *db.Tx, c Content, trouble string) (current bool, err error) {
	res, err := tx.ExecContext(ctx, `UPDATE package_blob SET trouble = $2 WHERE key = $1 AND made = $3 AND since = $4 AND trouble <> $2`, c.Key, trouble, c.made, c.since)
	if err != nil {
		return false, fmt.Errorf("mark package content: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return n > 0, err
	}
	var n int
	err = tx.QueryRowContext(ctx, `SELECT count(*) FROM package_blob WHERE key = $1 AND made = $2 AND since = $3`, c.Key, c.made, c.since).Scan(&n)
	return n > 0, err
}

// Used tells whether some version consists of a content.
func Used(ctx context.Context, tx *db.Tx, key string) (bool, error) {
	var n int
	err := tx.QueryRowContext(ctx, `SELECT count(*) FROM package WHERE blob = $1`, key).Scan(&n)
	return n > 0, err
}

// Troubled lists what is marked.
func Troubled(ctx context.Context, tx *db.Tx) (map[string]string, error) {
	rows, err := tx.QueryContext(ctx, `SELECT key, trouble FROM package_blob WHERE trouble <> ''`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]string{}
	for rows.Next() {
		var key, trouble string
		if err := rows.Scan(&key, &trouble); err != nil {
			return nil, err
		}
		out[key] = trouble
	}
	return out, rows.Err()
}

// Strangers gives the files of the repository's folder that no row knows. They are nobody's: a file alone tells neither
// package nor version, and after the database came back from a backup it may be all that is left of a push. So a person
// decides; nothing here removes them.
func (r Repository) Strangers(ctx context.Context, yield func(blob.Info) error) error {
	var batch []blob.Info
	look := func() error {
		if len(batch) == 0 {
			return nil
		}
		known, err := r.known(ctx, batch)
		if err != nil {
			return err
		}
		for _, info := range batch {
			if known[info.Key] {
				continue
			}
			// A row goes after its file: one that was being removed while we looked is gone by now.
			if _, err := r.Blobs.Stat(ctx, info.Key); errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				return err
			}
			if err := yield(info); err != nil {
				return err
			}
		}
		batch = batch[:0]
		return nil
	}
	for info, err := range r.Blobs.List(ctx, "packages/") {
		if err != nil {
			return fmt.Errorf("list the blob store: %w", err)
		}
		if batch = append(batch, info); len(batch) == 200 {
			if err := look(); err != nil {
				return err
			}
		}
	}
	return look()
}

func (r Repository) known(ctx context.Context, batch []blob.Info) (known map[string]bool, err error) {
	args := make([]any, len(batch))
	for i, info := range batch {
		args[i] = info.Key
	}
	err = r.DB.Read(ctx, func(tx *db.Tx) error {
		keys, err := readKeys(tx.QueryContext(ctx, `SELECT key FROM package_blob WHERE key IN (`+db.List(1, len(args))+`)`, args...))
		known = map[string]bool{}
		for _, key := range keys {
			known[key] = true
		}
		return err
	})
	return known, err
}

// Place is where Reindex has come to.
type Place struct{ space, name string }

// Reindex looks at the next versions behind a place, and makes anew what finds and orders them where it is not what id and
// version say, as after a change of the rules. It tells which it mended; done when there are no more. Two versions that the
// rules have made one stay as they are, in clashes, for a person to delete one of them.
func Reindex(ctx context.Context, tx *db.Tx, after Place, limit int) (next Place, mended, clashes []string, done bool, err error) {
	type entry struct {
		at                 Place
		id, version, idKey string
		sort               []byte
		goodName, goodID   string
		goodSort           []byte
	}
	rows, err := tx.QueryContext(ctx, `SELECT space, name_key, package_id, version, id_key, sort_key FROM package
		WHERE (space, name_key) > ($1, $2) ORDER BY space, name_key LIMIT $3`, after.space, after.name, limit)
	if err != nil {
		return after, nil, nil, false, fmt.Errorf("re-index packages: %w", err)
	}
	var all []entry
	for rows.Next() {
		var e entry
		if err := rows.Scan(&e.at.space, &e.at.name, &e.id, &e.version, &e.idKey, &e.sort); err != nil {
			return after, nil, nil, false, errors.Join(err, rows.Close())
		}
		e.goodName, e.goodID, e.goodSort = nameKey(e.id+"."+e.version), nameKey(e.id), sortKey(e.version)
		all = append(all, e)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return after, nil, nil, false, err
	}
	next = after
	for _, e := range all {
		next = e.at
		if e.at.name == e.goodName && e.idKey == e.goodID && bytes.Equal(e.sort, e.goodSort) {
			continue
		}
		name := strings.Join([]string{e.id, e.version, "(" + e.at.space + ")"}, " ")
		if e.at.name != e.goodName {
			var id, version string
			err := tx.QueryRowContext(ctx, `SELECT package_id, version FROM package WHERE space = $1 AND name_key = $2`, e.at.space, e.goodName).Scan(&id, &version)
			if err == nil {
				clashes = append(clashes, name+" and "+id+" "+version)
				continue
			}
			if !errors.Is(err, sql.ErrNoRows) {
				return after, nil, nil, false, fmt.Errorf("re-index %s: %w", name, err)
			}
		}
		if _, err := tx.ExecContext(ctx, `UPDATE package SET name_key = $3, id_key = $4, sort_key = $5 WHERE space = $1 AND name_key = $2`,
			e.at.space, e.at.name, e.goodName, e.goodID, e.goodSort); err != nil {
			return after, nil, nil, false, fmt.Errorf("re-index %s %s: %w", e.id, e.version, err)
		}
		mended = append(mended, name)
	}
	return next, mended, clashes, len(all) < limit, nil
}

// paced is a store that is read no faster than its limiter lets it, so that a check leaves the disk to deployments.
type paced struct {
	blob.Store
	pace *rate.Limiter
}

func (p paced) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	r, err := p.Store.Open(ctx, key, offset)
	if err != nil || p.pace == nil {
		return r, err
	}
	return pacedReader{r, p.pace, ctx}, nil
}

type pacedReader struct {
	io.ReadCloser
	pace *rate.Limiter
	ctx  context.Context //nolint:containedctx // of one Open; io.Reader has no other way
}

func (p pacedReader) Read(b []byte) (int, error) {
	if burst := p.pace.Burst(); len(b) > burst {
		b = b[:burst]
	}
	n, err := p.ReadCloser.Read(b)
	if n > 0 {
		if wait := p.pace.WaitN(p.ctx, n); wait != nil {
			return n, wait
		}
	}
	return n, err
}
