//go:build unix

package agent

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/tentacle"
)

// fences keeps the highest claim seen for each task, one small file each (reliability-and-security.md M5, I1b).
type fences struct {
	dir string

	mu   sync.Mutex
	seen map[string]tentacle.Fence
}

// raise refuses a lower claim, and keeps a higher one on disk before it returns.
func (f *fences) raise(asked tentacle.Fence) error {
	if asked.TaskId == "" || len(asked.TaskId) > 100 {
		return fault.InvalidField("Fence.TaskId", "The task id of a fence has 1 to 100 characters; this one has %d.", len(asked.TaskId))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	path := filepath.Join(f.dir, url.PathEscape(asked.TaskId)+".json")
	highest, known := f.seen[asked.TaskId]
	if !known {
		if _, err := readJSON(path, &highest); err != nil {
			return err
		}
	}
	if asked.Below(highest) {
		return &tentacle.FencedError{Asked: asked, Highest: highest}
	}
	if known && highest == asked {
		return nil
	}
	if highest != asked {
		if err := writeJSON(path, asked); err != nil {
			return fmt.Errorf("keep the fence of %s: %w", asked.TaskId, err)
		}
	}
	if f.seen == nil {
		f.seen = map[string]tentacle.Fence{}
	}
	f.seen[asked.TaskId] = asked
	return nil
}

// forget drops what was not raised for longer than a tombstone lives.
func (f *fences) forget(now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	gone, err := removeOld(f.dir, now.Add(-tentacle.TombstoneLife))
	for _, name := range gone {
		if task, e := url.PathUnescape(name[:len(name)-len(".json")]); e == nil {
			delete(f.seen, task)
		}
	}
	return err
}

// removeOld deletes the JSON files of a directory that were last written before a time.
func removeOld(dir string, before time.Time) (gone []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		info, ierr := e.Info()
		if ierr != nil || filepath.Ext(e.Name()) != ".json" || !info.ModTime().Before(before) {
			continue
		}
		if rerr := os.Remove(filepath.Join(dir, e.Name())); rerr != nil {
			err = errors.Join(err, rerr)
			continue
		}
		gone = append(gone, e.Name())
	}
	return gone, err
}
