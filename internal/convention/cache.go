package convention

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/fault"
)

const (
	partialDownload = ".octavo-download-"
	cacheIndex      = ".octavo.json"
	lockLife        = 14 * 24 * time.Hour // a task that never came to its end holds its packages no longer than this
	halfLife        = 30 * 24 * time.Hour // of the worth of one use (K26: use count with ageing)
)

// cached is what we know of a package in the cache.
type cached struct {
	Name    string // of its file in Files
	Id      string //nolint:revive // the wire's name
	Version string
	Size    int64
	Uses    float64          // as of LastUse
	LastUse int64            // Unix ms
	Locks   map[string]int64 // task id to when, Unix ms
}

// worth is the use count, which ages: a use of a month ago counts half.
func (c cached) worth(now time.Time) float64 {
	age := now.Sub(time.UnixMilli(c.LastUse))
	return c.Uses * math.Exp2(-age.Hours()/halfLife.Hours())
}

func (c cached) locked(now time.Time) bool {
	for _, at := range c.Locks {
		if now.Sub(time.UnixMilli(at)) < lockLife {
			return true
		}
	}
	return false
}

// changeCache reads, changes and replaces the index of the cache, under its lock. An index that cannot be read is begun anew:
// it only holds what packages are worth.
func (a *action) changeCache(change func(dir string, index map[string]cached) error) error {
	if a.home == "" {
		return fault.Invalidf("There is no package cache: TentacleHome is not set.")
	}
	dir := filepath.Join(a.home, "Files")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, cacheIndex)
	unlock, err := lockFile(path + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	index := map[string]cached{}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &index); err != nil {
			a.log.verbose("%s cannot be read and is begun anew: %v", path, err)
			index = map[string]cached{}
		}
	}
	for name := range index {
		if _, err := os.Stat(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) {
			delete(index, name)
		}
	}
	if err := change(dir, index); err != nil {
		return err
	}
	if data, err = json.Marshal(index); err != nil {
		return err
	}
	return replaceFile(path, data, 0o644)
}

// enter notes one use of a package by this task, which holds it until the task's end.
func (a *action) enter(p Package, size int64) error {
	return a.changeCache(func(_ string, index map[string]cached) error {
		name := filepath.Base(p.Path())
		now := time.Now()
		c := index[name]
		if c.Locks == nil {
			c.Locks = map[string]int64{}
		}
		c.Uses = c.worth(now) + 1
		c.Name, c.Id, c.Version, c.Size, c.LastUse = name, p.Id, p.Version, size, now.UnixMilli()
		if task := a.vars.Text("Octopus.Task.Id"); task != "" {
			c.Locks[task] = now.UnixMilli()
		}
		index[name] = c
		return nil
	})
}

// releasePackages ends this task's hold on its packages.
func (a *action) releasePackages() error {
	task := a.vars.Text("Octopus.Task.Id")
	if a.home == "" || task == "" {
		return nil
	}
	return a.changeCache(func(_ string, index map[string]cached) error {
		for _, c := range index {
			delete(c.Locks, task)
		}
		return nil
	})
}

func (a *action) packages() ([]Package, error) {
	var all []Package
	if err := a.readJSON(packagesName, &all); err != nil {
		return nil, err
	}
	for _, p := range all {
		if p.Id == "" || p.Version == "" || len(p.Hash) != 64 && (p.Hash != "" || p.Url == "") {
			return nil, fault.InvalidField(packagesName, "The package %q %q in %s needs an id, a version and its SHA-256 as 64 hex digits.", p.Id, p.Version, packagesName)
		}
	}
	return all, nil
}

// findPackages is the first half of acquisition (deployments.md A5): what is here, checked, and what has to come.
func (a *action) findPackages() error {
	all, err := a.packages()
	if err != nil {
		return err
	}
	fresh := a.vars.Flag("Octopus.Deployment.ForcePackageDownload", false)
	var missing []Package
	for _, p := range all {
		size, err := a.check(p)
		if err != nil || fresh {
			missing = append(missing, p)
			continue
		}
		if err := a.found(p, size); err != nil {
			return err
		}
	}
	// What was found is held by now, so making room spares it.
	if err := a.trimCache(); err != nil {
		a.log.warning("The package cache could not be trimmed: %v", err)
	}
	for _, p := range missing {
		a.log.message(PackageMissing, "id", p.Id, "version", p.Version, "path", p.Path())
	}
	return nil
}

// check sees that the file is in the cache with the right content (A5: the hash is checked on the target).
func (a *action) check(p Package) (size int64, err error) {
	path, err := a.atHome(p.Path())
	if err != nil {
		return 0, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fault.Because(fault.NotFoundf("The package %s %s is not on this machine: %s is missing.", p.Id, p.Version, path), err)
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	sum := sha256.New()
	if size, err = io.Copy(sum, f); err != nil {
		return 0, err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); p.Hash != "" && !strings.EqualFold(got, p.Hash) {
		return 0, fault.Invalidf("The package %s %s arrived with other content than it was sent with: its SHA-256 is %s, but should be %s.", p.Id, p.Version, got, p.Hash)
	}
	return size, nil
}

func (a *action) found(p Package, size int64) error {
	if err := a.enter(p, size); err != nil {
		return err
	}
	path, err := a.atHome(p.Path())
	if err != nil {
		return err
	}
	a.log.message(FoundPackage, "id", p.Id, "version", p.Version, "versionFormat", "Semver", "hash", p.Hash, "remotePath", path, "fileExtension", p.Extension)
	return nil
}

// verifyPackages is the second half, after the upload. What is not right is removed, so that it is sent again.
func (a *action) verifyPackages() error {
	all, err := a.packages()
	if err != nil {
		return err
	}
	var wrong []error
	for _, p := range all {
		size, err := a.check(p)
		if err == nil {
			err = a.found(p, size)
		}
		if fault.KindOf(err) == fault.Invalid {
			if path, e := a.atHome(p.Path()); e == nil {
				err = errors.Join(err, os.Remove(path))
			}
		}
		wrong = append(wrong, err)
	}
	return errors.Join(wrong...)
}

// downloadPackages is for AcquisitionLocation ExecutionTarget (A5): the target fetches from the feed itself.
func (a *action) downloadPackages() error {
	all, err := a.packages()
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.Url == "" {
			return fault.InvalidField("Url", "The package %s %s has no Url to download it from.", p.Id, p.Version)
		}
		size, err := a.check(p)
		// Without a sum there is no telling whether what is here is the same; a version of a feed is taken to be.
		if err != nil || a.vars.Flag("Octopus.Deployment.ForcePackageDownload", false) {
			if size, err = a.download(p); err != nil {
				return err
			}
		}
		if err := a.found(p, size); err != nil {
			return err
		}
	}
	return nil
}

// download tries three times; what was fetched is under its name only when it is whole.
func (a *action) download(p Package) (size int64, err error) {
	from, err := url.Parse(p.Url)
	if err != nil || from.Scheme != "https" && from.Scheme != "http" || from.Host == "" {
		return 0, fault.InvalidField("Url", "The package %s %s cannot be downloaded: its Url is not an http or https address.", p.Id, p.Version)
	}
	for try := 1; ; try++ {
		size, err = a.fetch(p, from)
		if err == nil || try == 3 || a.ctx.Err() != nil || fault.KindOf(err) == fault.Invalid {
			return size, err
		}
		a.log.warning("Downloading %s %s failed and is tried again: %v", p.Id, p.Version, err)
		select {
		case <-a.ctx.Done():
		case <-time.After(time.Duration(try*try) * time.Second):
		}
	}
}

func (a *action) fetch(p Package, from *url.URL) (int64, error) {
	ctx, cancel := context.WithCancel(a.ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from.String(), nil)
	if err != nil {
		return 0, err
	}
	if p.UserName != "" {
		req.SetBasicAuth(p.UserName, a.vars.Text(p.PasswordVariable))
	}
	// A transfer may take long, but not stand still: no bytes for two minutes end it.
	idle := time.AfterFunc(2*time.Minute, cancel)
	defer idle.Stop()
	a.log.info("Downloading %s %s from %s", p.Id, p.Version, from.Redacted())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		err := fault.Busyf("%s answered %s.", from.Redacted(), resp.Status)
		if resp.StatusCode >= 400 && resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests {
			err = fault.Invalidf("The package %s %s cannot be downloaded: %s answered %s.", p.Id, p.Version, from.Redacted(), resp.Status)
		}
		return 0, err
	}
	path, err := a.atHome(p.Path())
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return 0, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), partialDownload)
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name()) // gone already when it was renamed
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(f, sum), readerFunc(func(b []byte) (int, error) {
		n, err := resp.Body.Read(b)
		idle.Reset(2 * time.Minute)
		return n, err
	}))
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return 0, err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); p.Hash != "" && !strings.EqualFold(got, p.Hash) {
		return 0, fault.Invalidf("The package %s %s from %s has other content than expected: its SHA-256 is %s, but should be %s.", p.Id, p.Version, from.Redacted(), got, p.Hash)
	}
	return size, os.Rename(f.Name(), path)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// trimCache is K26.
func (a *action) trimCache() error {
	return a.changeCache(func(dir string, index map[string]cached) error {
		now := time.Now()
		var free []cached
		for _, c := range index {
			if !c.locked(now) {
				free = append(free, c)
			}
		}
		slices.SortFunc(free, func(x, y cached) int {
			return cmp.Or(cmp.Compare(x.worth(now), y.worth(now)), cmp.Compare(x.LastUse, y.LastUse), strings.Compare(x.Name, y.Name))
		})
		var going []cached
		if strings.EqualFold(a.vars.Text("MachinePackageCacheRetentionStrategy"), "Quantities") {
			going = a.overQuantity(index, free)
		} else {
			percent, ok := a.vars.Int("OctopusPackageRetentionPercentFreeDiskSpace")
			if !ok || percent < 0 || percent > 100 {
				percent = 20
			}
			total, unused, err := diskSpace(dir)
			if err != nil {
				return err
			}
			var need int64
			need, going = makeRoom(total, unused, int64(percent), free)
			if need > 0 {
				a.log.info("Only %d of %d MB are free; removing %d packages from the cache to free %d MB", unused>>20, total>>20, len(going), need>>20)
			}
		}
		for _, c := range going {
			a.log.verbose("Removing %s %s from the package cache", c.Id, c.Version)
			if err := os.Remove(filepath.Join(dir, c.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				a.log.warning("%s could not be removed: %v", c.Name, err)
				continue
			}
			delete(index, c.Name)
		}
		return nil
	})
}

// makeRoom picks what goes, least valuable first, until the shortage and 30 % more are freed.
func makeRoom(total, unused, percent int64, leastFirst []cached) (need int64, remove []cached) {
	want := total / 100 * percent
	if total < 1<<40 {
		want = total * percent / 100
	}
	if unused > want {
		return 0, nil
	}
	need = (want - unused) * 13 / 10
	var freed int64
	for _, c := range leastFirst {
		if freed >= need {
			break
		}
		freed += c.Size
		remove = append(remove, c)
	}
	return need, remove
}

// overQuantity keeps so many packages, and of each so many versions, the most recently used ones.
func (a *action) overQuantity(index map[string]cached, free []cached) []cached {
	packages, ok := a.vars.Int("MachinePackageCacheRetentionQuantityOfPackagesToKeep")
	if !ok {
		packages = -1
	}
	versions, ok := a.vars.Int("MachinePackageCacheRetentionQuantityOfVersionsToKeep")
	if !ok {
		versions = 5
	}
	var all []cached
	for _, c := range index {
		all = append(all, c)
	}
	slices.SortFunc(all, func(x, y cached) int {
		return cmp.Or(cmp.Compare(y.LastUse, x.LastUse), strings.Compare(x.Name, y.Name))
	})
	keep := map[string]bool{}
	seen := map[string]int{} // versions kept, by package
	for _, c := range all {
		id := strings.ToLower(c.Id)
		if n, known := seen[id]; !known && packages >= 0 && len(seen) >= packages || versions >= 0 && n >= versions {
			continue
		}
		seen[id]++
		keep[c.Name] = true
	}
	return slices.DeleteFunc(slices.Clone(free), func(c cached) bool { return keep[c.Name] })
}
