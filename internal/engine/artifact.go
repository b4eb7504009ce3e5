package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"

	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/script"
)

// keepArtifact stores a file that a script registered. Its id follows from the run and the path, so that
// collecting it again after a crash gives one artifact.
func (w *work) keepArtifact(ctx context.Context, j job, a script.CreateArtifact, from io.Reader) error {
	staged, err := w.Blobs.Stage(ctx, from)
	if err != nil {
		return err
	}
	defer staged.Discard() //nolint:errcheck // what was kept is kept
	source := w.mask.text(a.Path)
	// No two artifacts share a blob, so that one can go without asking who else has it (retention.go).
	whose := sha256.Sum256([]byte(w.task.Id + "\n" + j.run + "\n" + source))
	key := blob.ContentKey("artifacts", staged.SHA256) + "-" + hex.EncodeToString(whose[:6])
	if err := blob.KeepContent(ctx, w.Blobs, staged, key); err != nil {
		return err
	}
	return w.store(ctx, "artifact", func(tx *db.Tx) error {
		var known int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM artifact WHERE task = $1 AND run = $2 AND source = $3`, w.task.Id, j.run, source).Scan(&known); err != nil || known > 0 {
			return err
		}
		id, err := db.NextID(ctx, tx, "Artifacts")
		if err != nil {
			return err
		}
		if _, err = tx.ExecContext(ctx, `INSERT INTO artifact (id, space, task, run, activity, filename, source, blob, size, sha256, created) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			id, w.task.SpaceId, w.task.Id, j.run, j.activity, w.mask.text(a.Name), source, key, staged.Size, staged.SHA256, tx.Ms()); err != nil {
			return err
		}
		return tasklog.Append(ctx, tx, w.fence, tasklog.Line(j.activity, tasklog.Info, w.mask.text("Collected the artifact "+a.Name+" ("+size(staged.Size)+").")))
	})
}
