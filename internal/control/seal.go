package control

import (
	"context"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/secret"
)

// seal moves what is secret out of a document into rows of their own. A new value takes the old one's place;
// HasValue without a new value keeps the old one; anything else clears it (rest-api.md 1: null discipline).
func (c *Control) seal(ctx context.Context, tx *db.Tx, ch *Change) error {
	old := map[string]string{}
	if ch.Old != nil {
		err := resource.EachSensitive(ch.Kind.Type, ch.Old, func(path string, m map[string]any) error {
			old[path], _ = m["SecretId"].(string)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return resource.EachSensitive(ch.Kind.Type, ch.New, func(path string, m map[string]any) error {
		delete(m, "SecretId") // only we say where a secret lies
		text, given := m["NewValue"].(string)
		keep, _ := m["HasValue"].(bool)
		m["NewValue"] = nil
		switch {
		case given && text != "":
			id, err := secret.Put(ctx, tx, c.Ring, ch.Space, text)
			if err != nil {
				return err
			}
			m["SecretId"], m["HasValue"] = id, true
		case keep && !given && old[path] != "":
			m["SecretId"], m["HasValue"] = old[path], true
		default:
			m["HasValue"] = false
		}
		return nil
	})
}
