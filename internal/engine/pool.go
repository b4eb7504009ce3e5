package engine

import (
	"context"
	"slices"

	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/machine"
	"github.com/octavo/octavo/internal/store"
)

// chooseWorker takes a worker from a pool (deployments.md W1-W3): "" is the default pool. Nil is the built-in worker.
func (d *walk) chooseWorker(ctx context.Context, pool string) (chosen *machine.Worker, err error) {
	err = d.DB.Read(ctx, func(tx *db.Tx) error {
		in := store.Query{Spaces: []string{d.deployment.SpaceId}}
		pools, err := store.Views[machine.WorkerPool](ctx, tx, &control.WorkerPools.Kind, in)
		if err != nil {
			return err
		}
		workers, err := store.Views[machine.Worker](ctx, tx, &control.Workers.Kind, in)
		if err != nil {
			return err
		}
		chosen, err = fromPool(pool, pools, workers)
		return err
	})
	return chosen, err
}

// fromPool applies the rules of choice. No worker is ever held exclusively: nothing here upgrades agents yet.
func fromPool(pool string, pools []machine.WorkerPool, workers []machine.Worker) (*machine.Worker, error) {
	i := slices.IndexFunc(pools, func(p machine.WorkerPool) bool { return p.Id == pool || pool == "" && p.IsDefault })
	if i < 0 {
		return nil, fault.NotFoundf("There is no worker pool %q.", pool)
	}
	choice := machine.WorkerChoice{Pool: pools[i].Name, DefaultPool: pools[i].IsDefault, BuiltIn: true}
	for _, w := range workers {
		if slices.Contains(w.WorkerPoolIds, pools[i].Id) {
			choice.Workers = append(choice.Workers, machine.WorkerState{Worker: w})
		}
	}
	chosen, err := choice.Choose()
	if err != nil || chosen.BuiltIn {
		return nil, err
	}
	i = slices.IndexFunc(workers, func(w machine.Worker) bool { return w.Id == chosen.Id })
	return &workers[i], nil
}
