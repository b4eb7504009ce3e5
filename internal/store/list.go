package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/resource"
)

// Query chooses documents of a kind. What is empty does not restrict.
type Query struct {
	Spaces      []string // nil is every space and the server
	Ids         []string // nil is all; empty but not nil is none
	Name        string   // the whole name, whatever its case
	Slug        string
	PartialName string
	Filters     map[string][]string // lifted values: any of them, for each filter
	Skip, Take  int                 // Take 0 is all
	Newest      bool                // newest first, not by name
	Below       int64               // only older ones than the one with this number: with Newest, a page that no change before it moves
}

// List gives a page of what the query chooses, and how many there are in all.
func List(ctx context.Context, tx *db.Tx, k *resource.Kind, q Query) ([]resource.Object, int, error) {
	where, args := q.where(k)
	var total int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM document d WHERE `+where, args...).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count %s: %w", k.Path, err)
	}
	out := []resource.Object{}
	err := q.each(ctx, tx, where, args, func(doc, owned string) error {
		o, err := join(doc, owned)
		out = append(out, o)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list %s: %w", k.Path, err)
	}
	return out, total, nil
}

// Views lists as structs.
func Views[T any](ctx context.Context, tx *db.Tx, k *resource.Kind, q Query) ([]T, error) {
	where, args := q.where(k)
	out := []T{}
	err := q.each(ctx, tx, where, args, func(doc, owned string) error {
		var t T
		if err := json.Unmarshal([]byte(doc), &t); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(owned), &t); err != nil {
			return err
		}
		out = append(out, t)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", k.Path, err)
	}
	return out, nil
}

func (q Query) each(ctx context.Context, tx *db.Tx, where string, args []any, do func(doc, owned string) error) error {
	order := "d.sort, d.name_key, d.number, d.id"
	if q.Newest {
		order = "d.number DESC, d.id DESC"
	}
	page := ""
	if q.Take > 0 {
		page = fmt.Sprintf(" LIMIT %d", q.Take)
	}
	if q.Skip > 0 {
		if page == "" {
			page = fmt.Sprintf(" LIMIT %d", 1<<31-1)
		}
		page += fmt.Sprintf(" OFFSET %d", q.Skip)
	}
	rows, err := tx.QueryContext(ctx, `SELECT d.doc, d.owned FROM document d WHERE `+where+` ORDER BY `+order+page, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var doc, owned string
		if err := rows.Scan(&doc, &owned); err != nil {
			return err
		}
		if err := do(doc, owned); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (q Query) where(k *resource.Kind) (string, []any) {
	args := []any{k.Name}
	parts := []string{"d.kind = $1"}
	in := func(column string, values []string) {
		parts = append(parts, fmt.Sprintf("%s IN (%s)", column, db.List(len(args)+1, len(values))))
		for _, v := range values {
			args = append(args, v)
		}
	}
	is := func(column, value string) {
		args = append(args, value)
		parts = append(parts, fmt.Sprintf("%s = $%d", column, len(args)))
	}
	if q.Spaces != nil && k.Scope != resource.OnServer {
		in("d.space", q.Spaces)
	}
	if q.Ids != nil {
		ids := make([]string, len(q.Ids))
		for i, s := range q.Ids {
			ids[i] = canonical(k, s)
		}
		in("d.id", ids)
	}
	if q.Below > 0 {
		args = append(args, q.Below)
		parts = append(parts, fmt.Sprintf("d.number < $%d", len(args)))
	}
	if q.Name != "" {
		is("d.name_key", strings.ToLower(q.Name))
	}
	if q.Slug != "" {
		is("d.slug", strings.ToLower(q.Slug))
	}
	if q.PartialName != "" {
		args = append(args, "%"+likeEscape.Replace(strings.ToLower(q.PartialName))+"%")
		parts = append(parts, fmt.Sprintf(`d.name_key LIKE $%d ESCAPE '!'`, len(args)))
	}
	for _, name := range sortedKeys(q.Filters) {
		values := q.Filters[name]
		args = append(args, liftedName(k, name))
		nameAt := len(args)
		list := db.List(len(args)+1, len(values))
		for _, v := range values {
			args = append(args, strings.ToLower(v))
		}
		parts = append(parts, fmt.Sprintf("EXISTS (SELECT 1 FROM lifted l WHERE l.document = d.id AND l.name = $%d AND l.value IN (%s))", nameAt, list))
	}
	return strings.Join(parts, " AND "), args
}

// liftedName is the name a filter's rows have: those over owned members are kept apart.
func liftedName(k *resource.Kind, filter string) string {
	if path := k.Lifted[filter]; slices.Contains(k.Owned, path) {
		return ownedPrefix + path
	}
	return filter
}

var likeEscape = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")

func sortedKeys(m map[string][]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
