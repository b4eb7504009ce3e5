package control

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/feed"
	"github.com/octavo/octavo/internal/hub"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/secret"
	"github.com/octavo/octavo/internal/store"
)

// Control is the use cases over one database. Its fields are set once, by whoever wires the process.
type Control struct {
	DB       *db.DB
	Ring     *secret.Ring
	Hub      *hub.Hub
	Packages feed.Repository
	Node     string // this node's name
	Served   Served
	Tools    string // folder of the octavo-agent programs, by platform

	stopping atomic.Bool          // StopSoon
	self     atomic.Pointer[Node] // as Self last read it
}

// Served is what this server says of itself.
type Served struct {
	InstallationID string
	Thumbprint     string // of the certificate agents are to trust, SHA-1 in hexadecimal capitals
	Certificate    string // the same certificate, base64 of its DER form
}

// Authorize is the one place where a caller's right is asked for.
func (c *Control) Authorize(ctx context.Context, p access.Permission, space string) error {
	a := access.From(ctx)
	switch {
	case a.May(p, space):
		return nil
	case a.UserId == "":
		return &fault.Fault{Kind: fault.Unauthenticated, Text: "You must be logged in to request this resource. Please provide a valid API key or log in."}
	default:
		return fault.Deniedf("You do not have permission to perform this action. Please contact your Octopus administrator. Missing permission: %s", p)
	}
}

// SpaceOf finds a space by id or slug; "" is the default space.
func (c *Control) SpaceOf(ctx context.Context, idOrSlug string) (string, error) {
	var found string
	err := c.DB.Read(ctx, func(tx *db.Tx) error {
		if idOrSlug != "" {
			o, err := store.Get(ctx, tx, &Spaces.Kind, "", idOrSlug)
			found = o.Text("Id")
			return err
		}
		list, _, err := store.List(ctx, tx, &Spaces.Kind, store.Query{})
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list, func(o resource.Object) bool { return o.Flag("IsDefault") })
		if i < 0 {
			return fault.NotFoundf("The default space is switched off: name a space in the path, as in /api/Spaces-2/environments.")
		}
		found = list[i].Text("Id")
		return nil
	})
	return found, err
}

// SpaceNamed finds a space by id, slug or name.
func (c *Control) SpaceNamed(ctx context.Context, what string) (string, error) {
	var found string
	err := c.DB.Read(ctx, func(tx *db.Tx) error {
		o, ok, err := findNamed(ctx, tx, Spaces, "", what, nil)
		if err == nil && !ok {
			err = fault.NotFoundf("The resource '%s' was not found.", what)
		}
		found = o.Text("Id")
		return err
	})
	return found, err
}

// MayLookAt lets a user look at himself, and an administrator at everybody.
func (c *Control) MayLookAt(ctx context.Context, userID string) error {
	if a := access.From(ctx); a.UserId != userID && !a.Administrator {
		return fault.Deniedf("You may look at yourself only. Missing permission: %s", access.UserView)
	}
	return nil
}

// Feature toggles this server answers for (rest-api.md 1); what is not listed is off.
var FeatureToggles = map[string]bool{
	"CommonVariableScopingFeatureToggle":    false,
	"indicate-missing-packages-for-release": false,
}

// Toggles lists the feature toggles, or those of the names.
func Toggles(names []string) []Toggle {
	out := []Toggle{}
	for name, on := range FeatureToggles {
		if len(names) == 0 || slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
			out = append(out, Toggle{name, on})
		}
	}
	slices.SortFunc(out, func(a, b Toggle) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Toggle is one feature toggle.
type Toggle struct {
	Name      string
	IsEnabled bool
}
