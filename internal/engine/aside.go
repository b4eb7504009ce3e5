package engine

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/feed"
	"github.com/octavo/octavo/internal/script"
)

// While the blob store cannot be used, runs go on: what they read from it is waited for, and what they would lose is set aside on
// this node's disk until it is back (reliability-and-security.md M17, I18).

// storePatience is how long a step waits for content that it needs.
var storePatience = 10 * time.Minute

// whenStored does something that reads a package, and does it again while the store cannot be read, up to the patience.
func (w *work) whenStored(ctx context.Context, activity string, p feed.Package, do func() error) error {
	readable := func() error {
		from, err := w.Packages.Open(ctx, p, 0)
		if err != nil {
			return err
		}
		return from.Close()
	}
	since := time.Now()
	for told := false; ; told = true {
		why := readable()
		if fault.KindOf(why) != fault.Busy {
			err := do()
			if err == nil {
				return nil
			}
			if why = readable(); fault.KindOf(why) != fault.Busy {
				return err
			}
		}
		if !told {
			w.say(ctx, activity, tasklog.Warning, "%s %s cannot be read: %s This waits for it for %s at most.", p.PackageId, p.Version, cause(why), storePatience)
		}
		if time.Since(since) >= storePatience {
			return why
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(2 * time.Second):
		}
	}
}

// asideDir has for each artifact NAME.content, and NAME.json when that is whole.
func (e *Engine) asideDir() string { return filepath.Join(e.Work, "Aside") }

// setAside keeps a file here that the blob store did not take.
func (w *work) setAside(ctx context.Context, j job, a script.CreateArtifact, from io.Reader, why error) (err error) {
	dir := w.asideDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	made := w.artifact(j, a)
	name := filepath.Join(dir, rand.Text())
	content, err := os.OpenFile(name+".content", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(name + ".content")
		}
	}()
	n, err := io.Copy(content, from)
	if err = errors.Join(err, content.Sync(), content.Close()); err != nil {
		return err
	}
	about, err := json.Marshal(made)
	if err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(name+".part", about, 0o600), os.Rename(name+".part", name+".json")); err != nil {
		return err
	}
	w.say(ctx, j.activity, tasklog.Warning, "The artifact %s (%s) waits on node %s, since the blob store cannot be used: %s It is stored as soon as it can be.", made.Name, size(n), w.Node, cause(why))
	return nil
}

// storeWaiting stores what was set aside.
func (e *Engine) storeWaiting(ctx context.Context) error {
	names, err := filepath.Glob(filepath.Join(e.asideDir(), "*.json"))
	if err != nil {
		return err
	}
	halves, err := olderThan(e.asideDir(), leftoverAge)
	if err != nil {
		return err
	}
	for _, h := range halves { // of a process that died over them
		whole := strings.TrimSuffix(h.name, filepath.Ext(h.name)) + ".json"
		if _, err := os.Stat(filepath.Join(e.asideDir(), whole)); errors.Is(err, fs.ErrNotExist) {
			if err := os.Remove(filepath.Join(e.asideDir(), h.name)); err != nil {
				return err
			}
		}
	}
	for _, file := range names {
		if err := e.storeAside(ctx, strings.TrimSuffix(file, ".json")); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) storeAside(ctx context.Context, name string) error {
	var made artifact
	about, err := os.ReadFile(name + ".json")
	if err == nil {
		err = json.Unmarshal(about, &made)
	}
	if err != nil {
		return err
	}
	content, err := os.Open(name + ".content")
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) { // it was stored, and then the process died
			return os.Remove(name + ".json")
		}
		return err
	}
	defer content.Close()
	var wanted bool
	err = e.DB.Read(ctx, func(tx *db.Tx) error {
		return tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM task WHERE id = $1)", made.Task).Scan(&wanted)
	})
	if err != nil {
		return err
	}
	if wanted { // else retention was faster
		staged, err := e.Blobs.Stage(ctx, content)
		if err != nil {
			return err
		}
		defer staged.Discard() //nolint:errcheck // what was kept is kept
		key, err := made.keep(ctx, e.Blobs, staged)
		if err != nil {
			return err
		}
		err = e.DB.InTx(ctx, func(tx *db.Tx) error {
			_, err := made.insert(ctx, tx, key, staged)
			return err
		})
		if err != nil {
			return err
		}
		e.Log.Info("an artifact that waited for the blob store is stored", "task", made.Task, "name", made.Name)
	}
	return errors.Join(os.Remove(name+".content"), os.Remove(name+".json"))
}
