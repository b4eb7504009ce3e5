package control

import (
	"context"
	"reflect"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/resource"
)

// Kind is a row of the table of kinds: what it declares, and its own rules.
type Kind struct {
	resource.Kind

	// Check completes or refuses what is about to be stored. Old is nil when it is new.
	Check func(ctx context.Context, tx *db.Tx, c *Change) error
	// Stored does what belongs to it, in the same transaction.
	Stored func(ctx context.Context, tx *db.Tx, c *Change) error
	// Leaving runs before one is deleted; it takes away what belongs to it, or refuses.
	Leaving func(ctx context.Context, tx *db.Tx, c *Change) error
	// Gone runs behind the deletion, in the same transaction.
	Gone func(ctx context.Context, tx *db.Tx, c *Change) error
	// Show completes what a client gets to see: it may add members the server computes.
	Show func(ctx context.Context, tx *db.Tx, c *Control, o resource.Object) error

	Newest bool // lists are newest first
	Hidden bool // has no plain routes of its own
}

// Change is one document on its way into the store, or out of it.
type Change struct {
	*Control
	Kind  *Kind
	Space string          // "" is the server
	Old   resource.Object // nil when it is new
	New   resource.Object // nil when it leaves
	Clone string          // the id of what a new one copies, if it does

	password string // of a user, on its way to where no document holds it
}

// valid asks the noun itself whether it can be.
func valid[T any, P interface {
	*T
	Validate() error
}](c *Change) error {
	noun, err := resource.View[T](c.New)
	if err != nil {
		return err
	}
	return P(&noun).Validate()
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

func may(view, create, edit, del access.Permission) resource.Permissions {
	return resource.Permissions{View: string(view), Create: string(create), Edit: string(edit), Delete: string(del)}
}

func (k *Kind) new() any { return reflect.New(k.Type).Interface() }
