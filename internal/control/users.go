package control

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/store"
)

// Ids of the teams every server has.
const (
	Administrators = "teams-administrators"
	Everyone       = "teams-everyone"
)

var keyForm = regexp.MustCompile(`^API-[A-Z0-9]{5,}$`)

func checkUser(ctx context.Context, tx *db.Tx, c *Change) error {
	name := strings.TrimSpace(c.New.Text("Username"))
	if name == "" {
		return fault.InvalidField("Username", "Please provide a username.")
	}
	c.New["Username"] = name
	defaulted(c.New, "DisplayName", name)
	for member := range c.New { // the struct has no such member, so nothing has folded its case
		if strings.EqualFold(member, "Password") {
			c.password = c.New.Text(member)
			delete(c.New, member)
		}
	}
	c.New["Name"] = c.New["DisplayName"] // partialName and filter look at it; Show takes it away
	same, _, err := store.List(ctx, tx, &Users.Kind, store.Query{Filters: map[string][]string{"username": {name}}})
	if err != nil {
		return err
	}
	for _, o := range same {
		if o.Text("Id") != c.New.Text("Id") {
			return fault.InvalidField("Username", "The username '%s' is taken.", name)
		}
	}
	return nil
}

// userStored keeps the password where no document can show it.
func userStored(ctx context.Context, tx *db.Tx, c *Change) error {
	if c.password == "" {
		return nil
	}
	return setPassword(ctx, tx, c.New.Text("Id"), hashPassword(c.password))
}

func setPassword(ctx context.Context, tx *db.Tx, userID, hash string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO password (user_id, hash, changed) VALUES ($1, $2, $3)
		ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, changed = excluded.changed`, userID, hash, tx.Ms())
	return err
}

// userLeaving takes a user out of his teams and revokes his keys; nobody deletes himself.
func userLeaving(ctx context.Context, tx *db.Tx, c *Change) error {
	id := c.Old.Text("Id")
	if access.From(ctx).UserId == id {
		return fault.Invalidf("You cannot delete yourself. Ask another administrator to do it.")
	}
	teams, _, err := store.List(ctx, tx, &Teams.Kind, store.Query{Filters: map[string][]string{"member": {id}}})
	if err != nil {
		return err
	}
	for _, team := range teams {
		changed := team.Clone()
		var stay []any
		for _, m := range team.Texts("MemberUserIds") {
			if m != id {
				stay = append(stay, m)
			}
		}
		changed["MemberUserIds"] = append([]any{}, stay...)
		if _, err := store.Update(ctx, tx, &Teams.Kind, team, changed); err != nil {
			return err
		}
	}
	for _, table := range []string{"api_key", "password"} {
		if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE user_id = $1`, id); err != nil {
			return err
		}
	}
	return nil
}

// showUser takes away what only our lists need.
func showUser(_ context.Context, _ *db.Tx, _ *Control, o resource.Object) error {
	delete(o, "Name")
	return nil
}

// Identify finds whose API key it is. Without a key there is nobody; a key we do not know is refused.
func (c *Control) Identify(ctx context.Context, key, address, userAgent string) (access.Actor, error) {
	a := access.Actor{Address: address, UserAgent: userAgent}
	if key == "" {
		return a, nil
	}
	unknown := &fault.Fault{Kind: fault.Unauthenticated, Text: "The API key you provided was not valid. Please double-check your API key and try again."}
	err := c.DB.Read(ctx, func(tx *db.Tx) error {
		var userID, purpose string
		var expires sql.NullInt64
		err := tx.QueryRowContext(ctx, `SELECT user_id, purpose, expires FROM api_key WHERE hash = $1`, hashKey(key)).Scan(&userID, &purpose, &expires)
		if errors.Is(err, sql.ErrNoRows) || (err == nil && expires.Valid && expires.Int64 <= tx.Ms()) {
			return unknown
		}
		if err != nil {
			return err
		}
		u, err := store.View[access.User](ctx, tx, userID)
		if err != nil {
			return err
		}
		if !u.IsActive {
			return unknown
		}
		_, n, err := store.List(ctx, tx, &Teams.Kind, store.Query{Ids: []string{Administrators}, Filters: map[string][]string{"member": {userID}}})
		a.UserId, a.Username, a.IsService, a.Established, a.KeyPurpose, a.Administrator = userID, u.Username, u.IsService, "API key", purpose, n > 0
		return err
	})
	return a, err
}

func hashKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// NewKey makes an API key; it is shown once, in the answer.
func (c *Control) NewKey(ctx context.Context, userID, purpose string, expires *time.Time) (resource.Object, error) {
	var o resource.Object
	err := c.DB.InTx(ctx, func(tx *db.Tx) error {
		if err := mayManage(ctx, userID); err != nil {
			return err
		}
		if _, err := store.Get(ctx, tx, &Users.Kind, "", userID); err != nil {
			return err
		}
		if expires != nil && !expires.After(tx.Now) {
			return fault.InvalidField("Expires", "The key would have expired already.")
		}
		key := "API-" + rand.Text()
		id, err := addKey(ctx, tx, userID, purpose, key, expires)
		if err != nil {
			return err
		}
		o = resource.Object{"Id": id, "UserId": userID, "Purpose": purpose, "ApiKey": key, "Created": tx.Now.UTC().Format(resource.TimeFormat), "Expires": nil}
		if expires != nil {
			o["Expires"] = expires.UTC().Format(resource.TimeFormat)
		}
		return Event(ctx, tx, "", "Created", fmt.Sprintf("API key %s of %s was created", purpose, userID), id, userID)
	})
	return o, err
}

// mayManage: a user's keys are his own, or an administrator's, business.
func mayManage(ctx context.Context, userID string) error {
	if a := access.From(ctx); a.UserId != userID && !a.Administrator {
		return fault.Deniedf("You may manage your own API keys only. Missing permission: %s", access.UserEdit)
	}
	return nil
}

func addKey(ctx context.Context, tx *db.Tx, userID, purpose, key string, expires *time.Time) (string, error) {
	var until any
	if expires != nil {
		until = expires.UnixMilli()
	}
	id := "apikeys-" + rand.Text()
	_, err := tx.ExecContext(ctx, `INSERT INTO api_key (id, user_id, purpose, hash, hint, created, expires) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		id, userID, purpose, hashKey(key), key[:min(len(key), 7)], tx.Ms(), until)
	if db.IsUnique(err) {
		return "", fault.InvalidField("ApiKey", "That API key is in use already. Please choose another one.")
	}
	return id, err
}

// Keys lists a user's API keys, without the keys.
func (c *Control) Keys(ctx context.Context, userID string) ([]resource.Object, error) {
	if err := mayManage(ctx, userID); err != nil {
		return nil, err
	}
	var out []resource.Object
	err := c.DB.Read(ctx, func(tx *db.Tx) error {
		out = nil
		if _, err := store.Get(ctx, tx, &Users.Kind, "", userID); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, `SELECT id, purpose, hint, created, expires FROM api_key WHERE user_id = $1 ORDER BY created, id`, userID)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id, purpose, hint string
			var created int64
			var expires sql.NullInt64
			if err := rows.Scan(&id, &purpose, &hint, &created, &expires); err != nil {
				return err
			}
			o := resource.Object{
				"Id": id, "UserId": userID, "Purpose": purpose, "Created": wireTime(created), "Expires": nil,
				"ApiKey": map[string]any{"HasValue": true, "Hint": hint, "NewValue": nil},
			}
			if expires.Valid {
				o["Expires"] = wireTime(expires.Int64)
			}
			out = append(out, o)
		}
		return rows.Err()
	})
	return out, err
}

// RemoveKey revokes a key at once, on every node.
func (c *Control) RemoveKey(ctx context.Context, userID, id string) error {
	if err := mayManage(ctx, userID); err != nil {
		return err
	}
	return c.DB.InTx(ctx, func(tx *db.Tx) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM api_key WHERE id = $1 AND user_id = $2`, id, userID)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, fault.NotFoundf("The resource '%s' was not found.", id))
		}
		return Event(ctx, tx, "", "Deleted", fmt.Sprintf("API key %s of %s was deleted", id, userID), id, userID)
	})
}

func wireTime(ms int64) string { return time.UnixMilli(ms).UTC().Format(resource.TimeFormat) }

// Admin makes an administrator of a user, who need not exist, and gives him a password and a key where they are not "".
// It may run beside servers, any number of times.
func (c *Control) Admin(ctx context.Context, username, password, key string) (userID string, err error) {
	if key != "" && !keyForm.MatchString(key) {
		return "", fault.InvalidField("api-key", "An API key begins with API- and goes on with at least five capital letters or digits, as in API-%s.", rand.Text())
	}
	if strings.TrimSpace(username) == "" {
		return "", fault.InvalidField("username", "Please give the administrator a username (--username).")
	}
	hash := "" // made before the transaction: on a busy machine it takes longer than one may stand still
	if password != "" {
		hash = hashPassword(password)
	}
	err = c.DB.InTx(ctx, func(tx *db.Tx) error {
		same, _, err := store.List(ctx, tx, &Users.Kind, store.Query{Filters: map[string][]string{"username": {username}}})
		if err != nil {
			return err
		}
		if len(same) > 0 {
			userID = same[0].Text("Id")
		} else {
			o, err := resource.ObjectOf(access.User{Username: username, DisplayName: username, IsActive: true, IsRequestor: true, CanPasswordBeEdited: true})
			if err != nil {
				return err
			}
			if o, err = c.insert(ctx, tx, Users, "", o, ""); err != nil {
				return err
			}
			userID = o.Text("Id")
		}
		team, err := store.Lock(ctx, tx, &Teams.Kind, "", Administrators)
		if err != nil {
			return err
		}
		changed := team.Clone()
		changed["MemberUserIds"] = appendText(changed["MemberUserIds"], userID)
		if _, err := store.Update(ctx, tx, &Teams.Kind, team, changed); err != nil {
			return err
		}
		if hash != "" {
			if err := setPassword(ctx, tx, userID, hash); err != nil {
				return err
			}
		}
		if key == "" {
			return nil
		}
		var owner string
		err = tx.QueryRowContext(ctx, `SELECT user_id FROM api_key WHERE hash = $1`, hashKey(key)).Scan(&owner)
		switch {
		case err == nil && owner == userID:
			return nil // given before
		case err == nil:
			return fault.InvalidField("api-key", "That API key belongs to another user. Please choose another one.")
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		_, err = addKey(ctx, tx, userID, "Made by octavo admin", key, nil)
		return err
	})
	return userID, err
}
