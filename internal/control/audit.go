package control

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/db"
)

// record writes the audit event of a change, in its transaction: there is no change without it.
func record(ctx context.Context, tx *db.Tx, category string, c *Change) error {
	o := c.New
	if o == nil {
		o = c.Old
	}
	name := o.Text("Name")
	if name == "" {
		name = o.Text("Id")
	}
	verb := map[string]string{"Created": "was created", "Modified": "was changed", "Deleted": "was deleted"}[category]
	return Event(ctx, tx, c.Space, category, fmt.Sprintf("%s %s %s", c.Kind.Name, name, verb), o.Text("Id"))
}

// Event writes an audit event about the documents named.
func Event(ctx context.Context, tx *db.Tx, space, category, message string, documents ...string) error {
	a := access.From(ctx)
	ids, err := json.Marshal(documents)
	if err != nil {
		return err
	}
	established := a.Established
	if a.KeyPurpose != "" {
		established += " (" + a.KeyPurpose + ")"
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO event (space, category, actor, username, established, address, user_agent, message, documents, occurred)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		space, category, a.UserId, a.Username, established, a.Address, clip(a.UserAgent, 500), message, string(ids), tx.Ms())
	if err != nil {
		return fmt.Errorf("write event %s: %w", category, err)
	}
	return nil
}

// clip bounds a text a caller chose, and makes it storable.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "?")
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "")
	}
	return s
}
