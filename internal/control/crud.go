package control

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/store"
)

// Get finds one by id or slug.
func (c *Control) Get(ctx context.Context, k *Kind, space, idOrSlug string) (resource.Object, error) {
	var o resource.Object
	err := c.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if o, err = get(ctx, tx, k, space, idOrSlug); err != nil {
			return err
		}
		return c.show(ctx, tx, k, o)
	})
	return o, err
}

func get(ctx context.Context, tx *db.Tx, k *Kind, space, idOrSlug string) (resource.Object, error) {
	if k.Scope == resource.OnServer {
		space = ""
	}
	o, err := store.Get(ctx, tx, &k.Kind, space, idOrSlug)
	if k.Scope == resource.Mixed && fault.KindOf(err) == fault.NotFound {
		o, err = store.Get(ctx, tx, &k.Kind, "*", idOrSlug)
	}
	return o, err
}

func (c *Control) show(ctx context.Context, tx *db.Tx, k *Kind, list ...resource.Object) error {
	if k.Show == nil {
		return nil
	}
	for _, o := range list {
		if err := k.Show(ctx, tx, c, o); err != nil {
			return err
		}
	}
	return nil
}

// List gives a page, and how many there are in all.
func (c *Control) List(ctx context.Context, k *Kind, q store.Query) ([]resource.Object, int, error) {
	var list []resource.Object
	var total int
	q.Newest = q.Newest || k.Newest
	err := c.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if list, total, err = store.List(ctx, tx, &k.Kind, q); err != nil {
			return err
		}
		return c.show(ctx, tx, k, list...)
	})
	return list, total, err
}

// Create stores a new one. clone is the id of what it copies, or "".
func (c *Control) Create(ctx context.Context, k *Kind, space string, sent resource.Object, clone string) (resource.Object, error) {
	var o resource.Object
	err := c.DB.InTx(ctx, func(tx *db.Tx) (err error) {
		o, err = c.create(ctx, tx, k, space, sent, clone)
		if err == nil {
			err = c.show(ctx, tx, k, o)
		}
		return err
	})
	return o, err
}

func (c *Control) create(ctx context.Context, tx *db.Tx, k *Kind, space string, sent resource.Object, clone string) (resource.Object, error) {
	o := prepare(k, sent)
	for _, name := range k.Owned {
		if v, has := k.Defaults[name]; has {
			o[name] = v // a client's own value does not count
		} else {
			delete(o, name)
		}
	}
	delete(o, "Id")
	if k.Versioned {
		delete(o, "Version")
	}
	return c.insert(ctx, tx, k, space, o, clone)
}

// insert is create for what the server itself makes: it may have an Id and owned members.
func (c *Control) insert(ctx context.Context, tx *db.Tx, k *Kind, space string, o resource.Object, clone string) (resource.Object, error) {
	o = resource.Fold(k.Type, o)
	if err := fits(k, o); err != nil {
		return nil, err
	}
	ch := &Change{Control: c, Kind: k, Space: space, New: o, Clone: clone}
	if err := c.seal(ctx, tx, ch); err != nil {
		return nil, err
	}
	if k.Check != nil {
		if err := k.Check(ctx, tx, ch); err != nil {
			return nil, err
		}
	}
	stamp(ctx, tx, ch.New)
	stored, err := store.Insert(ctx, tx, &k.Kind, space, ch.New)
	if err != nil {
		return nil, err
	}
	ch.New = stored
	if k.Stored != nil {
		if err := k.Stored(ctx, tx, ch); err != nil {
			return nil, err
		}
	}
	return ch.New, record(ctx, tx, "Created", ch)
}

// Modify stores a changed one whole, as PUT does.
func (c *Control) Modify(ctx context.Context, k *Kind, space, idOrSlug string, sent resource.Object) (resource.Object, error) {
	var o resource.Object
	err := c.DB.InTx(ctx, func(tx *db.Tx) error {
		old, err := get(ctx, tx, k, space, idOrSlug)
		if err != nil {
			return err
		}
		if o, err = c.modify(ctx, tx, k, old.Text("Id"), sent); err != nil {
			return err
		}
		return c.show(ctx, tx, k, o)
	})
	return o, err
}

func (c *Control) modify(ctx context.Context, tx *db.Tx, k *Kind, id string, sent resource.Object) (resource.Object, error) {
	old, err := store.Lock(ctx, tx, &k.Kind, "*", id)
	if err != nil {
		return nil, err
	}
	o := prepare(k, sent)
	if err := fits(k, o); err != nil {
		return nil, err
	}
	space := old.Text("SpaceId")
	o["Id"] = id
	for _, name := range k.Owned {
		if v, has := old[name]; has {
			o[name] = v
		}
	}
	ch := &Change{Control: c, Kind: k, Space: space, Old: old, New: o}
	if err := c.seal(ctx, tx, ch); err != nil {
		return nil, err
	}
	if k.Check != nil {
		if err := k.Check(ctx, tx, ch); err != nil {
			return nil, err
		}
	}
	stamp(ctx, tx, ch.New)
	stored, err := store.Update(ctx, tx, &k.Kind, old, ch.New)
	if err != nil {
		return nil, err
	}
	ch.New = stored
	if k.Stored != nil {
		if err := k.Stored(ctx, tx, ch); err != nil {
			return nil, err
		}
	}
	return ch.New, record(ctx, tx, "Modified", ch)
}

// Remove deletes one that nothing refers to.
func (c *Control) Remove(ctx context.Context, k *Kind, space, idOrSlug string) error {
	return c.DB.InTx(ctx, func(tx *db.Tx) error {
		old, err := get(ctx, tx, k, space, idOrSlug)
		if err != nil {
			return err
		}
		return c.remove(ctx, tx, k, old)
	})
}

func (c *Control) remove(ctx context.Context, tx *db.Tx, k *Kind, old resource.Object) error {
	ch := &Change{Control: c, Kind: k, Space: old.Text("SpaceId"), Old: old}
	if k.Leaving != nil {
		if err := k.Leaving(ctx, tx, ch); err != nil {
			return err
		}
	}
	if err := store.Delete(ctx, tx, old.Text("Id")); err != nil {
		return err
	}
	if k.Gone != nil {
		if err := k.Gone(ctx, tx, ch); err != nil {
			return err
		}
	}
	return record(ctx, tx, "Deleted", ch)
}

// prepare folds what a client sent and gives it its defaults.
func prepare(k *Kind, sent resource.Object) resource.Object {
	o := resource.Fold(k.Type, sent.Clone())
	for _, name := range []string{"Links", "SpaceId", "LastModifiedOn", "LastModifiedBy"} {
		delete(o, name)
	}
	for name, v := range k.Defaults {
		if now := o[name]; !wasSent(sent, name) || now == "" && v != "" {
			o[name] = v
		}
	}
	return o
}

// wasSent tells whether a client gave a member a value, in whatever case it spelled the name.
func wasSent(sent resource.Object, name string) bool {
	for member, v := range sent {
		if v != nil && strings.EqualFold(member, name) {
			return true
		}
	}
	return false
}

// fits refuses members that have the wrong type.
func fits(k *Kind, o resource.Object) error {
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return resource.Decode(b, k.new())
}

func stamp(ctx context.Context, tx *db.Tx, o resource.Object) {
	o["LastModifiedOn"] = tx.Now.UTC().Format(resource.TimeFormat)
	o["LastModifiedBy"] = access.From(ctx).Username
}

// Query reads the filters of a list from what a client asked: those every kind has, and those it lifts.
// Values come comma-joined, repeated, or both (rest-api.md 1: paging).
func (k *Kind) Query(spaces []string, ask map[string][]string) store.Query {
	q := store.Query{Spaces: spaces, Filters: map[string][]string{}}
	for name, values := range ask {
		list := split(values)
		switch lower := strings.ToLower(name); lower {
		case "ids":
			if len(list) > 0 {
				q.Ids = list
			}
		case "name":
			if len(values) > 0 {
				q.Name = values[0]
			}
		case "partialname":
			if len(values) > 0 {
				q.PartialName = values[0]
			}
		default:
			for f := range k.Lifted {
				if strings.EqualFold(f, lower) && len(list) > 0 {
					q.Filters[f] = list
				}
			}
		}
	}
	return q
}

func split(values []string) []string {
	var out []string
	for _, v := range values {
		for _, s := range strings.Split(v, ",") {
			if s = strings.TrimSpace(s); s != "" {
				out = append(out, s)
			}
		}
	}
	return out
}
