package control

import (
	"context"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/store"
)

// Bootstrap makes what every installation has: the built-in teams and the default space. Any node may run it, any
// number of times; the first one does it.
func (c *Control) Bootstrap(ctx context.Context) error {
	ctx = access.With(ctx, access.System)
	err := c.DB.InTx(ctx, func(tx *db.Tx) error {
		if _, err := store.Load(ctx, tx, FirstSpace); fault.KindOf(err) != fault.NotFound {
			return err
		}
		for id, t := range map[string]access.Team{
			Administrators: {Name: "Octopus Administrators", Description: "Users who may do everything on this server.", CanChangeMembers: true},
			Everyone:       {Name: "Everyone", Description: "All users."},
		} {
			t.Id = id
			o, err := resource.ObjectOf(t)
			if err != nil {
				return err
			}
			if _, err := c.insert(ctx, tx, Teams, "", o, ""); err != nil {
				return err
			}
		}
		o, err := resource.ObjectOf(Space{Name: "Default", IsDefault: true, SpaceManagersTeams: []string{Administrators}})
		if err != nil {
			return err
		}
		o["Id"] = FirstSpace
		if _, err := db.NextNumber(ctx, tx, Spaces.Prefix); err != nil { // so that no later space gets the same number
			return err
		}
		_, err = c.insert(ctx, tx, Spaces, "", o, "")
		return err
	})
	if fault.KindOf(err) == fault.Invalid || db.IsUnique(err) { // another node was first
		return c.DB.Read(ctx, func(tx *db.Tx) error {
			_, err := store.Load(ctx, tx, FirstSpace)
			return err
		})
	}
	return err
}

// Fresh tells that no node of this installation has ever started, so that it has no files yet.
func Fresh(ctx context.Context, d *db.DB) (fresh bool, err error) {
	err = d.Read(ctx, func(tx *db.Tx) error {
		nodes, err := cluster.Nodes(ctx, tx)
		fresh = len(nodes) == 0
		return err
	})
	return fresh, err
}
