package control

import (
	"context"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/release"
)

// builtInVersions lists what the built-in feed has of a package.
func (c *Control) builtInVersions(context.Context, *db.Tx, string, string) ([]release.Candidate, error) {
	return nil, nil
}
