package store

import (
	"context"
	"fmt"
	"strings"
	"unicode"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
)

// Slug makes of a name what stands for it in an address: "My Project (2)" is "my-project-2".
func Slug(name string) string {
	var b strings.Builder
	gap := false
	for _, c := range strings.ToLower(name) {
		if c < unicode.MaxASCII && (unicode.IsLetter(c) || unicode.IsDigit(c)) {
			if gap && b.Len() > 0 {
				b.WriteByte('-')
			}
			gap = false
			b.WriteRune(c)
		} else if c != '\'' {
			gap = true
		}
	}
	return b.String()
}

// freeSlug gives the slug a document gets: the one that was asked for, or one made of the name that nobody has.
func freeSlug(ctx context.Context, tx *db.Tx, k *resource.Kind, space, parent, docID, asked, name string) (string, error) {
	taken := func(slug string) (bool, error) {
		return exists(ctx, tx, `SELECT 1 FROM document WHERE kind = $1 AND space = $2 AND parent = $3 AND slug = $4 AND id <> $5`, k.Name, space, parent, slug, docID)
	}
	if asked != "" {
		slug := Slug(asked)
		if slug != strings.ToLower(asked) {
			return "", fault.InvalidField("Slug", "The slug '%s' may have letters, digits and single hyphens only; '%s' would do.", asked, slug)
		}
		used, err := taken(slug)
		if err == nil && used {
			err = fault.InvalidField("Slug", "The slug '%s' is taken by another %s. Please choose a different one, or leave it out.", slug, strings.ToLower(k.Name))
		}
		return slug, err
	}
	base := Slug(name)
	if base == "" {
		base = strings.ToLower(k.Name)
	}
	for n := 1; ; n++ {
		slug := base
		if n > 1 {
			slug = fmt.Sprintf("%s-%d", base, n)
		}
		if used, err := taken(slug); err != nil || !used {
			return slug, err
		}
	}
}
