package main

import (
	"context"
	"slices"
	"time"

	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/engine"
	"github.com/octavo/octavo/internal/feed"
	"github.com/octavo/octavo/internal/hub"
)

// duties are what the leading node does again and again. What is long work pushes a task, which any node runs. They and the
// jobs of every node are listed in ARCHITECTURE.md, "Background jobs".
func duties(carry *engine.Engine, blobs blob.Store, packages feed.Repository, agents *hub.Hub) []cluster.Duty {
	return slices.Concat(carry.Duties(), []cluster.Duty{
		{Name: "Remove uploads that died", Every: time.Hour, Do: func(ctx context.Context, _ cluster.Term) error {
			_, err := blobs.Sweep(ctx, blob.StaleAfter)
			return err
		}},
		{Name: "Remove content of deleted packages", Every: time.Hour, Do: func(ctx context.Context, _ cluster.Term) error {
			_, err := packages.Sweep(ctx, feed.Grace)
			return err
		}},
		{Name: "Remove calls to agents that dead nodes left", Every: 10 * time.Minute, Do: func(ctx context.Context, _ cluster.Term) error {
			return agents.Sweep(ctx)
		}},
	})
}
