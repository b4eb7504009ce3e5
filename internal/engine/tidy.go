package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/octavo/octavo/internal/db"
)

// A node's own folder has what its built-in worker needs: workspaces of scripts, and a cache of packages. Every node cleans its
// own; targets trim theirs when they are brought packages (deployments.md K26).
//
//	Work/<ticket>       of a script that runs nowhere any more: a day old
//	Files/.fetching-*   of a fetch that died: a day old
//	Files/<package>     not used for 90 days (K27); or not used for a day, when the disk is low (K26), the longest unused first
const (
	leftoverAge = 24 * time.Hour
	cacheAge    = 90 * 24 * time.Hour
	lowPercent  = 20 // free, of the disk
)

// tidy cleans this node's folder.
func (e *Engine) tidy(ctx context.Context) error {
	return errors.Join(e.tidyWork(ctx), e.tidyFiles(diskSpace))
}

func (e *Engine) tidyWork(ctx context.Context) error {
	old, err := olderThan(filepath.Join(e.Work, "Work"), leftoverAge)
	if err != nil || len(old) == 0 {
		return err
	}
	var failed error
	for some := range slices.Chunk(old, 500) { // a statement takes only so many parameters
		var tickets []any
		for _, o := range some {
			tickets = append(tickets, o.name)
		}
		var live []string
		err = e.DB.Read(ctx, func(tx *db.Tx) (err error) {
			live, err = texts(ctx, tx, "SELECT ticket FROM script_run WHERE state IN ('planned', 'started') AND ticket IN ("+db.List(1, len(tickets))+")", tickets...)
			return err
		})
		if err != nil {
			return errors.Join(failed, err)
		}
		for _, o := range some {
			if path := filepath.Join(e.Work, "Work", o.name); !slices.Contains(live, o.name) && o.untouched(path) {
				failed = errors.Join(failed, os.RemoveAll(path))
			}
		}
	}
	return failed
}

// tidyFiles cleans the cache of packages. space tells how much of a folder's disk is free, and how large it is.
func (e *Engine) tidyFiles(space func(string) (free, total int64, err error)) error {
	dir := filepath.Join(e.Work, "Files")
	old, err := olderThan(dir, leftoverAge)
	if err != nil || len(old) == 0 {
		return err
	}
	free, total, err := space(dir)
	if err != nil {
		return err
	}
	var need int64
	if want := total / 100 * lowPercent; free <= want {
		need = (want - free) / 10 * 13
	}
	slices.SortFunc(old, func(a, b entry) int { return a.used.Compare(b.used) })
	var failed error
	removed, freed := 0, int64(0)
	for _, o := range old {
		if strings.HasPrefix(o.name, ".octavo") { // what the package tool remembers
			continue
		}
		if time.Since(o.used) < cacheAge && freed >= need && !strings.HasPrefix(o.name, ".fetching-") {
			continue
		}
		path := filepath.Join(dir, o.name)
		if !o.untouched(path) { // a script has come to need it
			continue
		}
		if err := os.Remove(path); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		removed, freed = removed+1, freed+o.size
	}
	if removed > 0 {
		e.Log.Info("packages were removed from this node's cache", "packages", removed, "freed", size(freed))
	}
	return failed
}

type entry struct {
	name string
	size int64
	used time.Time
}

// untouched tells whether nobody has touched it since it was listed.
func (e entry) untouched(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.ModTime().Equal(e.used)
}

// olderThan lists what a folder has that nobody touched for some time; a folder that is not there has nothing.
func olderThan(dir string, age time.Duration) (old []entry, err error) {
	all, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, one := range all {
		info, err := one.Info()
		if err != nil || time.Since(info.ModTime()) < age {
			continue // what is gone meanwhile is no matter
		}
		old = append(old, entry{one.Name(), info.Size(), info.ModTime()})
	}
	return old, nil
}

func diskSpace(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}
