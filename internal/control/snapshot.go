package control

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
	"github.com/octavo/octavo/internal/store"
)

// freeze gives the id of a frozen copy of a process or a variable set: the last one, when nothing was changed since, else a
// new document "<id>-s-<version>-XXXXX". Secrets stay references, so the copy opens like the original.
func freeze(ctx context.Context, tx *db.Tx, k *Kind, id string) (string, error) {
	o, err := store.Lock(ctx, tx, &k.Kind, "*", id)
	if err != nil {
		return "", err
	}
	if last := o.Text("LastSnapshotId"); last != "" {
		frozen, err := store.Load(ctx, tx, last)
		if err == nil && frozen.Int("Version") == o.Int("Version") {
			return last, nil
		}
		if err != nil && fault.KindOf(err) != fault.NotFound {
			return "", err
		}
	}
	frozen := o.Clone()
	frozen["Id"] = fmt.Sprintf("%s-s-%d-%s", id, o.Int("Version"), rand.Text()[:5])
	delete(frozen, "LastSnapshotId")
	made, err := insertFrozen(ctx, tx, k, o.Text("SpaceId"), frozen)
	if err != nil {
		return "", err
	}
	return made, store.SetOwned(ctx, tx, id, map[string]any{"LastSnapshotId": made})
}

// insertFrozen stores a copy that keeps nothing it names from being deleted: history must not hold on to the present.
func insertFrozen(ctx context.Context, tx *db.Tx, k *Kind, space string, o resource.Object) (string, error) {
	free := k.Kind
	free.References = nil
	made, err := store.Insert(ctx, tx, &free, space, o)
	if err != nil {
		return "", err
	}
	return made.Text("Id"), nil
}

// dropFrozen deletes frozen copies no release uses any more.
func dropFrozen(ctx context.Context, tx *db.Tx, space string, byFilter map[string]string) error {
	for filter, id := range byFilter {
		if id == "" {
			continue
		}
		_, n, err := store.List(ctx, tx, &Releases.Kind, store.Query{Spaces: []string{space}, Filters: map[string][]string{filter: {id}}, Take: 1})
		if err != nil {
			return err
		}
		if n > 0 {
			continue
		}
		if err := store.Delete(ctx, tx, id); err != nil {
			return err
		}
	}
	return nil
}
