package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/id"
	"github.com/octavo/octavo/internal/resource"
)

// ErrStale tells that a document was changed after the client read it.
var ErrStale = errors.New("stale version")

// Get finds one by id or slug. space is "" for kinds of the server.
func Get(ctx context.Context, tx *db.Tx, k *resource.Kind, space, idOrSlug string) (resource.Object, error) {
	return get(ctx, tx, k, space, idOrSlug, "")
}

// Lock is Get, and nobody else changes the document until the transaction ends.
func Lock(ctx context.Context, tx *db.Tx, k *resource.Kind, space, idOrSlug string) (resource.Object, error) {
	return get(ctx, tx, k, space, idOrSlug, tx.ForUpdate())
}

// Share is Get, and nobody changes or locks the document until the transaction ends; others may share it.
func Share(ctx context.Context, tx *db.Tx, k *resource.Kind, space, idOrSlug string) (resource.Object, error) {
	return get(ctx, tx, k, space, idOrSlug, tx.ForShare())
}

func get(ctx context.Context, tx *db.Tx, k *resource.Kind, space, idOrSlug, lock string) (resource.Object, error) {
	notFound := fault.NotFoundf("The resource '%s' was not found.", idOrSlug)
	if idOrSlug == "" {
		return nil, notFound
	}
	var doc, owned string
	// An id is tried first, so that nobody can shadow it with a slug. Kinds named within a parent are not found by slug alone.
	row := tx.QueryRowContext(ctx, `SELECT doc, owned FROM document
		WHERE kind = $1 AND (space = $2 OR $2 = '*') AND (id = $3 OR (slug = $4 AND parent = '' AND slug <> ''))
		ORDER BY CASE WHEN id = $3 THEN 0 ELSE 1 END, id LIMIT 1`+lock, k.Name, space, canonical(k, idOrSlug), strings.ToLower(idOrSlug))
	if err := row.Scan(&doc, &owned); errors.Is(err, sql.ErrNoRows) {
		return nil, notFound
	} else if err != nil {
		return nil, fmt.Errorf("read %s: %w", idOrSlug, err)
	}
	return join(doc, owned)
}

// canonical gives an id the case it was made with.
func canonical(k *resource.Kind, s string) string {
	if prefix, n, ok := id.Split(s); ok && strings.EqualFold(prefix, k.Prefix) {
		return id.New(k.Prefix, n)
	}
	return s
}

func join(doc, owned string) (resource.Object, error) {
	o, err := resource.Parse([]byte(doc))
	if err != nil || owned == "{}" {
		return o, err
	}
	more, err := resource.Parse([]byte(owned))
	if err != nil {
		return nil, err
	}
	maps.Copy(o, more)
	return o, nil
}

// Load reads a document of any kind, by its id.
func Load(ctx context.Context, tx *db.Tx, docID string) (resource.Object, error) {
	var doc, owned string
	err := tx.QueryRowContext(ctx, `SELECT doc, owned FROM document WHERE id = $1`, docID).Scan(&doc, &owned)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fault.NotFoundf("The resource '%s' was not found.", docID)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", docID, err)
	}
	return join(doc, owned)
}

// View reads a document of any kind, by its id, as a struct.
func View[T any](ctx context.Context, tx *db.Tx, docID string) (T, error) {
	var t T
	var doc, owned string
	err := tx.QueryRowContext(ctx, `SELECT doc, owned FROM document WHERE id = $1`, docID).Scan(&doc, &owned)
	if errors.Is(err, sql.ErrNoRows) {
		return t, fault.NotFoundf("The resource '%s' was not found.", docID)
	}
	if err == nil {
		err = json.Unmarshal([]byte(doc), &t)
	}
	if err == nil {
		err = json.Unmarshal([]byte(owned), &t)
	}
	if err != nil {
		return t, fmt.Errorf("read %s: %w", docID, err)
	}
	return t, nil
}

// Insert stores a new one and gives back what is stored: with its Id (unless the caller set one), slug and space.
func Insert(ctx context.Context, tx *db.Tx, k *resource.Kind, space string, o resource.Object) (resource.Object, error) {
	o = maps.Clone(o)
	prefix, number, ok := id.Split(o.Text("Id"))
	if !ok || prefix != k.Prefix { // an id the caller did not draw from this kind's source
		var err error
		if number, err = db.NextNumber(ctx, tx, k.Prefix); err != nil {
			return nil, err
		}
	}
	if o.Text("Id") == "" {
		o["Id"] = id.New(k.Prefix, number)
	}
	if k.Scope == resource.OnServer {
		space = ""
	}
	if space != "" {
		o["SpaceId"] = space
	}
	row, err := prepare(ctx, tx, k, space, o)
	if err != nil {
		return nil, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO document (id, kind, space, name, name_key, name_unique, slug, parent, sort, number, version, created, changed, doc, owned)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13, $14)`,
		row.id, k.Name, space, row.name, strings.ToLower(row.name), !k.AnyName, row.slug, row.parent, row.sort, number, o.Int("Version"), tx.Ms(), row.doc, row.owned)
	if db.IsUnique(err) {
		return nil, fault.Because(nameTaken(k, row.name), err)
	}
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", row.id, err)
	}
	if err := index(ctx, tx, k, space, row.id, o); err != nil {
		return nil, err
	}
	owned := map[string]any{}
	for _, name := range k.Owned {
		owned[name] = o[name]
	}
	if err := liftOwned(ctx, tx, row.id, owned); err != nil {
		return nil, err
	}
	return join(row.doc, row.owned)
}

// Update stores a changed one over the old, which the caller has locked. It does not touch what the server owns.
// Kinds with a version refuse an object whose Version is not the stored one, with [ErrStale] as the cause.
func Update(ctx context.Context, tx *db.Tx, k *resource.Kind, old, o resource.Object) (resource.Object, error) {
	o = maps.Clone(o)
	for _, name := range append([]string{"Id", "SpaceId"}, k.Owned...) {
		if v, had := old[name]; had {
			o[name] = v
		} else {
			delete(o, name)
		}
	}
	if k.HasSlug && o.Text("Slug") == "" {
		o["Slug"] = old["Slug"]
	}
	version := old.Int("Version")
	if k.Versioned {
		if o.Int("Version") != version {
			return nil, fault.Because(fault.Invalidf("The %s could not be saved, because another user has made changes to it between when you started editing and when you saved. Please reload it and make your changes again.", strings.ToLower(k.Name)), ErrStale)
		}
		o["Version"] = json.Number(fmt.Sprint(version + 1))
	}
	space := old.Text("SpaceId")
	if k.Scope == resource.OnServer {
		space = ""
	}
	row, err := prepare(ctx, tx, k, space, o)
	if err != nil {
		return nil, err
	}
	res, err := tx.ExecContext(ctx, `UPDATE document SET name = $2, name_key = $3, slug = $4, parent = $5, sort = $6, version = $7, changed = $8, doc = $9
		WHERE id = $1`, row.id, row.name, strings.ToLower(row.name), row.slug, row.parent, row.sort, o.Int("Version"), tx.Ms(), row.doc)
	if db.IsUnique(err) {
		return nil, fault.Because(nameTaken(k, row.name), err)
	}
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", row.id, err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return nil, errors.Join(fault.NotFoundf("The resource '%s' was not found.", row.id), err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM lifted WHERE document = $1 AND name NOT LIKE 'owned:%'`, row.id); err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM reference WHERE document = $1`, row.id); err != nil {
		return nil, err
	}
	if err := index(ctx, tx, k, space, row.id, o); err != nil {
		return nil, err
	}
	return o, nil
}

// SetOwned changes members that the server owns; those not named stay.
func SetOwned(ctx context.Context, tx *db.Tx, docID string, members map[string]any) error {
	var owned string
	err := tx.QueryRowContext(ctx, `SELECT owned FROM document WHERE id = $1`+tx.ForUpdate(), docID).Scan(&owned)
	if errors.Is(err, sql.ErrNoRows) {
		return fault.NotFoundf("The resource '%s' was not found.", docID)
	}
	if err != nil {
		return err
	}
	o, err := resource.Parse([]byte(owned))
	if err != nil {
		return err
	}
	maps.Copy(o, members)
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if _, err = tx.ExecContext(ctx, `UPDATE document SET owned = $2 WHERE id = $1`, docID, string(b)); err != nil {
		return err
	}
	return liftOwned(ctx, tx, docID, members)
}

// liftOwned keeps the filters over owned members true; they are lifted under the member's own name.
func liftOwned(ctx context.Context, tx *db.Tx, docID string, members map[string]any) error {
	for name, value := range members {
		text, ok := value.(string)
		if !ok {
			continue
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM lifted WHERE document = $1 AND name = $2`, docID, ownedPrefix+name); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO lifted (document, name, value) VALUES ($1, $2, $3)`, docID, ownedPrefix+name, strings.ToLower(text)); err != nil {
			return err
		}
	}
	return nil
}

const ownedPrefix = "owned:"

// Delete removes one that nobody refers to.
func Delete(ctx context.Context, tx *db.Tx, docID string) error {
	users, err := Users(ctx, tx, docID)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return InUse(docID, users)
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM document WHERE id = $1`, docID)
	if db.IsForeignKey(err) { // somebody began to refer to it after we looked
		return fault.Because(fault.Invalidf("%s cannot be deleted, because it has just come into use. Please try again.", docID), err)
	}
	return err
}

// User is a document that refers to another one.
type User struct{ Id, Kind, Name string } //nolint:revive // as on the wire

// Users lists the documents that refer to one, but for itself.
func Users(ctx context.Context, tx *db.Tx, docID string) ([]User, error) {
	rows, err := tx.QueryContext(ctx, `SELECT DISTINCT d.id, d.kind, d.name FROM reference r JOIN document d ON d.id = r.document
		WHERE r.target = $1 AND r.document <> $1 ORDER BY d.kind, d.name, d.id`, docID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var users []User
	for rows.Next() {
		var u User
		if err := rows.Scan(&u.Id, &u.Kind, &u.Name); err != nil {
			return nil, err
		}
		users = append(users, u)
	}
	return users, rows.Err()
}

// InUse refuses to delete what others refer to, naming them.
func InUse(docID string, users []User) error {
	var l fault.List
	l.Add("%s cannot be deleted, because it is in use.", docID)
	for i, u := range users {
		if i == 10 {
			l.Add("%d more refer to it.", len(users)-i)
			break
		}
		name := u.Name
		if name == "" {
			name = u.Id
		}
		l.Add("It is used by the %s '%s' (%s).", strings.ToLower(u.Kind), name, u.Id)
	}
	return l.Err()
}

// row is a document made ready.
type row struct {
	id, name, slug, parent string
	sort                   int64
	doc, owned             string
}

// prepare checks the name, makes the slug and takes the owned members out.
func prepare(ctx context.Context, tx *db.Tx, k *resource.Kind, space string, o resource.Object) (row, error) {
	r := row{id: o.Text("Id"), name: o.Text("Name"), sort: o.Int(k.SortBy)}
	if k.NamedIn != "" {
		r.parent = o.Text(k.NamedIn)
	}
	if !k.AnyName {
		taken, err := exists(ctx, tx, `SELECT 1 FROM document WHERE kind = $1 AND space = $2 AND parent = $3 AND name_key = $4 AND id <> $5 AND name_unique`,
			k.Name, space, r.parent, strings.ToLower(r.name), r.id)
		if err != nil {
			return r, err
		}
		if taken {
			return r, nameTaken(k, r.name)
		}
	}
	if k.HasSlug {
		slug, err := freeSlug(ctx, tx, k, space, r.parent, r.id, o.Text("Slug"), r.name)
		if err != nil {
			return r, err
		}
		r.slug, o["Slug"] = slug, slug
	}
	kept, owned := maps.Clone(o), resource.Object{}
	delete(kept, "Links")
	for _, name := range k.Owned {
		if v, has := kept[name]; has {
			owned[name] = v
			delete(kept, name)
		}
	}
	doc, err := json.Marshal(kept)
	if err != nil {
		return r, err
	}
	apart, err := json.Marshal(owned)
	if err != nil {
		return r, err
	}
	r.doc, r.owned = string(doc), string(apart)
	return r, nil
}

func nameTaken(k *resource.Kind, name string) error {
	return fault.InvalidField("Name", "The name '%s' is taken by another %s. Please choose a different one.", name, strings.ToLower(k.Name))
}

func exists(ctx context.Context, tx *db.Tx, query string, args ...any) (bool, error) {
	var one int
	err := tx.QueryRowContext(ctx, query, args...).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// index writes the rows lists are filtered by and the rows that say who names whom.
func index(ctx context.Context, tx *db.Tx, k *resource.Kind, space, docID string, o resource.Object) error {
	for filter, path := range k.Lifted {
		if slices.Contains(k.Owned, path) {
			continue // SetOwned keeps these
		}
		for _, v := range distinct(o.Texts(path), strings.ToLower) {
			if _, err := tx.ExecContext(ctx, `INSERT INTO lifted (document, name, value) VALUES ($1, $2, $3)`, docID, filter, v); err != nil {
				return fmt.Errorf("lift %s of %s: %w", filter, docID, err)
			}
		}
	}
	for _, r := range k.References {
		for _, target := range distinct(o.Texts(r.Path), nil) {
			if err := refer(ctx, tx, r, space, docID, target); err != nil {
				return err
			}
		}
	}
	return nil
}

func refer(ctx context.Context, tx *db.Tx, r resource.Reference, space, docID, target string) error {
	var kind, theirSpace string
	err := tx.QueryRowContext(ctx, `SELECT kind, space FROM document WHERE id = $1`, target).Scan(&kind, &theirSpace)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	missing := err != nil || (r.Kind != "" && kind != r.Kind) || (theirSpace != "" && space != "" && theirSpace != space)
	switch {
	case missing && r.Kind != "" && !r.Weak:
		return fault.InvalidField(r.Path, "%s names the %s '%s', which does not exist in this space.", r.Path, strings.ToLower(r.Kind), target)
	case missing || r.Weak:
		return nil
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO reference (document, path, target) VALUES ($1, $2, $3)`, docID, r.Path, target)
	if db.IsForeignKey(err) {
		return fault.Because(fault.InvalidField(r.Path, "%s names '%s', which was deleted just now.", r.Path, target), err)
	}
	return err
}

// distinct gives each text once, in order.
func distinct(in []string, as func(string) string) []string {
	var out []string
	for _, s := range in {
		if as != nil {
			s = as(s)
		}
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// DeleteSpace removes every document of a space. Nothing outside it refers to them, since a space sees only itself.
func DeleteSpace(ctx context.Context, tx *db.Tx, space string) error {
	if space == "" {
		return errors.New("no space named")
	}
	for _, q := range []string{
		`DELETE FROM reference WHERE document IN (SELECT id FROM document WHERE space = $1)`,
		`DELETE FROM document WHERE space = $1`,
	} {
		if _, err := tx.ExecContext(ctx, q, space); err != nil {
			return fmt.Errorf("delete the space %s: %w", space, err)
		}
	}
	return nil
}
