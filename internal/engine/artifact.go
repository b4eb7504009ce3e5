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
	made := w.artifact(j, a)
	key, err := made.keep(ctx, w.Blobs, staged)
	if err != nil {
		return err
	}
	return w.store(ctx, "artifact", func(tx *db.Tx) error {
		isNew, err := made.insert(ctx, tx, key, staged)
		if err != nil || !isNew {
			return err
		}
		return tasklog.Append(ctx, tx, w.fence, tasklog.Line(j.activity, tasklog.Info, "Collected the artifact "+made.Name+" ("+size(staged.Size)+")."))
	})
}

// artifact is what is known of one before its content is looked at; people's texts are masked.
type artifact struct{ Task, Space, Run, Activity, Name, Source string }

func (w *work) artifact(j job, a script.CreateArtifact) artifact {
	return artifact{Task: w.task.Id, Space: w.task.SpaceId, Run: j.run, Activity: j.activity, Name: w.mask.text(a.Name), Source: w.mask.text(a.Path)}
}

// keep stores the content. No two artifacts share a blob, so that one can go without asking who else has it (retention.go).
func (a artifact) keep(ctx context.Context, to blob.Store, staged *blob.Staged) (key string, err error) {
	whose := sha256.Sum256([]byte(a.Task + "\n" + a.Run + "\n" + a.Source))
	key = blob.ContentKey("artifacts", staged.SHA256) + "-" + hex.EncodeToString(whose[:6])
	return key, blob.KeepContent(ctx, to, staged, key)
}

// insert makes the artifact visible, once.
func (a artifact) insert(ctx context.Context, tx *db.Tx, key string, staged *blob.Staged) (isNew bool, err error) {
	var known int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM artifact WHERE task = $1 AND run = $2 AND source = $3`, a.Task, a.Run, a.Source).Scan(&known); err != nil || known > 0 {
		return false, err
	}
	id, err := db.NextID(ctx, tx, "Artifacts")
	if err != nil {
		return false, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO artifact (id, space, task, run, activity, filename, source, blob, size, sha256, created) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		id, a.Space, a.Task, a.Run, a.Activity, a.Name, a.Source, key, staged.Size, staged.SHA256, tx.Ms())
	return err == nil, err
}
