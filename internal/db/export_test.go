package db

import (
	"context"
	"io/fs"
)

// MigrateFrom is Migrate with the steps of a test.
func (d *DB) MigrateFrom(ctx context.Context, from fs.FS) error { return d.migrate(ctx, from) }

// Render shows what a migration's text becomes.
func Render(e Engine, text string) string { return dialects[e].render(text) }
