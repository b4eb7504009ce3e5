package control

import (
	"context"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/environment"
	"github.com/octavo/octavo/internal/project"
	"github.com/octavo/octavo/internal/release"
)

// mayGoTo holds the lifecycle: a release cannot skip a phase.
func (c *Control) mayGoTo(ctx context.Context, tx *db.Tx, p project.Project, r release.Release, e environment.Environment) error {
	_, err := lifecycleOf(ctx, tx, p, r.ChannelId)
	return err
}
