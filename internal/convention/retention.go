package convention

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/archive"
)

// clean is the pseudo-step of deployments.md A9: old installations of the sets a server names go (K20-K25), then the
// packages of this task are no longer held.
func (a *action) clean() error {
	var sets []RetentionSet
	if err := a.readJSON(retentionName, &sets); err != nil {
		return err
	}
	if a.journal != "" {
		for _, s := range sets {
			if err := a.cleanSet(s); err != nil {
				return err
			}
		}
	}
	a.removeLeftovers()
	return a.releasePackages()
}

func (a *action) cleanSet(s RetentionSet) error {
	all, err := readJournal(a.journal)
	if err != nil {
		return err
	}
	old := outdated(inSet(all, func(set string) bool { return set == s.Set }), s, time.Now())
	if len(old) == 0 {
		a.log.verbose("Nothing to remove for %s", s.Set)
		return nil
	}
	entries, dirs := a.removable(all, old)
	failed := map[string]bool{}
	for _, dir := range dirs {
		a.log.info("Removing directory '%s'", dir)
		if err := removeTree(dir); err != nil {
			failed[dir] = true
			a.log.warning("The directory %s could not be removed; the next time tries again: %v", dir, err)
			continue
		}
		a.removeEmptyAbove(dir)
	}
	var gone []string
	for _, e := range entries {
		if !failed[filepath.Clean(e.ExtractedTo)] {
			gone = append(gone, e.Id)
		}
	}
	return removeFromJournal(a.journal, gone)
}

// outdated picks what goes of one set, oldest first (deployments.md K20-K22). The newest successful one stays whatever
// its age: it is what runs, also when its step was skipped as already installed.
func outdated(set []installation, s RetentionSet, now time.Time) []installation {
	good := 0
	newest := -1
	for n, i := range set {
		if i.Successful {
			good++
			newest = n
		}
	}
	var old []installation
	switch {
	case s.Days > 0:
		limit := now.Add(-time.Duration(s.Days) * 24 * time.Hour)
		for n, i := range set {
			if n != newest && i.InstalledOn.Before(limit) {
				old = append(old, i)
			}
		}
	case s.Items > 0 && good > s.Items:
		spare := good - (s.Items + 1) // so many successful ones go
		for _, i := range set {
			switch {
			case !i.Successful:
				old = append(old, i)
			case spare > 0:
				spare--
				old = append(old, i)
			}
		}
	}
	return old
}

// removable gives the entries that go, and of their directories those that no entry that stays needs (K23, K28).
func (a *action) removable(all, old []installation) (entries []installation, dirs []string) {
	going := map[string]bool{}
	for _, i := range old {
		going[i.Id] = true
	}
	var needed []string
	for _, i := range all {
		if !going[i.Id] {
			needed = append(needed, clean(i.ExtractedTo))
		}
		needed = append(needed, clean(i.CustomDir)) // a custom directory is never deleted
	}
	userHome, _ := os.UserHomeDir() // none: nothing to protect
	needed = append(needed, clean(a.apps), clean(a.home), clean(userHome))
	seen := map[string]bool{}
	for _, i := range old {
		entries = append(entries, i)
		dir := clean(i.ExtractedTo)
		if dir == "" || !filepath.IsAbs(dir) || seen[dir] || filepath.Dir(dir) == dir {
			continue
		}
		seen[dir] = true
		if !holdsAny(dir, needed) {
			dirs = append(dirs, dir)
		}
	}
	return entries, dirs
}

func clean(path string) string {
	if path == "" {
		return ""
	}
	return filepath.Clean(path)
}

// holdsAny tells whether one of the paths is dir or below it.
func holdsAny(dir string, paths []string) bool {
	for _, p := range paths {
		if p != "" && within(p, dir) {
			return true
		}
	}
	return false
}

// removeTree removes a directory with all below it, also where a script took the write bit from a folder.
func removeTree(dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// removeEmptyAbove removes the folders of package, environment and tenant when nothing is left in them.
func (a *action) removeEmptyAbove(dir string) {
	apps := clean(a.apps)
	for up := filepath.Dir(dir); up != apps && within(up, apps); up = filepath.Dir(up) {
		if os.Remove(up) != nil { // not empty
			return
		}
	}
}

// removeLeftovers removes what killed extractions and downloads left, once it is a day old (K25).
func (a *action) removeLeftovers() {
	limit := time.Now().Add(-24 * time.Hour)
	stale := func(dir string, prefixes ...string) {
		entries, _ := os.ReadDir(dir) // nothing there is nothing to remove
		for _, e := range entries {
			for _, p := range prefixes {
				info, err := e.Info()
				if err == nil && strings.HasPrefix(e.Name(), p) && info.ModTime().Before(limit) {
					a.log.verbose("Removing %s, which an interrupted run left", filepath.Join(dir, e.Name()))
					_ = removeTree(filepath.Join(dir, e.Name())) // the next time tries again
				}
			}
		}
	}
	if a.home != "" {
		stale(filepath.Join(a.home, "Files"), partialDownload)
	}
	// Extractions lie at most tenant/environment/package deep.
	dirs := []string{a.apps}
	for range 4 {
		var deeper []string
		for _, dir := range dirs {
			stale(dir, archive.Partial)
			entries, _ := os.ReadDir(dir) // as above
			for _, e := range entries {
				if e.IsDir() {
					deeper = append(deeper, filepath.Join(dir, e.Name()))
				}
			}
		}
		dirs = deeper
	}
}
