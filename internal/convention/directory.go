package convention

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/octavo/octavo/internal/archive"
	"github.com/octavo/octavo/internal/fault"
)

const refusedChars = `%<>:"/\|?*@`

// encodeName percent-encodes what a file system may refuse in a package's id or version (deployments.md G3).
func encodeName(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune(refusedChars, r) && r < 0x80 {
			b.WriteString("%" + strings.ToUpper(strconv.FormatInt(int64(r), 16)))
			continue
		}
		b.WriteRune(r)
	}
	return notDots(b.String())
}

// plainName removes those characters, as is done for tenants and environments.
func plainName(s string) string {
	s = strings.Map(func(r rune) rune {
		if strings.ContainsRune(refusedChars, r) || r < ' ' {
			return -1
		}
		return r
	}, s)
	return notDots(strings.TrimSpace(s))
}

// notDots keeps a name from being a step up or no step at all.
func notDots(s string) string {
	if strings.Trim(s, ".") == "" {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return s
}

// extractionDirectory is where a version goes, without the suffix that makes it new (deployments.md G3).
func extractionDirectory(root, tenant, environment, id, version string) string {
	parts := []string{root}
	for _, p := range []string{plainName(tenant), plainName(environment), encodeName(id), encodeName(version)} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return filepath.Join(parts...)
}

// claimDirectory makes dir, or the first of dir_1, dir_2 ... that does not exist. Making a directory is atomic, so
// two deployments at once never get the same one.
func claimDirectory(dir string) (string, error) {
	try := dir
	for n := 1; ; {
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return "", err
		}
		switch err := os.Mkdir(try, 0o755); {
		case errors.Is(err, fs.ErrExist):
			try = dir + "_" + strconv.Itoa(n)
			n++
		case errors.Is(err, fs.ErrNotExist): // retention removed the empty folder above it just now
		default:
			return try, err
		}
	}
}

// checkSpace refuses to begin what would fill the disk (deployments.md G3).
func (a *action) checkSpace(dir string) error {
	if a.vars.Flag("OctopusSkipFreeDiskSpaceCheck", false) {
		return nil
	}
	need := int64(500)
	if mb, ok := a.vars.Int("OctopusFreeDiskSpaceOverrideInMegaBytes"); ok {
		need = int64(mb)
	}
	_, free, err := diskSpace(dir)
	if err != nil {
		return err
	}
	if free < need<<20 {
		return fault.Invalidf("The drive of %s has only %d MB of free space left, less than the %d MB required. Make room, or set OctopusFreeDiskSpaceOverrideInMegaBytes or OctopusSkipFreeDiskSpaceCheck.",
			dir, free>>20, need)
	}
	return nil
}

// extractOptions says how packages are unpacked here.
func (a *action) extractOptions() archive.Options {
	return archive.Options{Links: a.vars.Flag(varAllowLinks, false)}
}

func (a *action) extractTo(file, dir string) (archive.Summary, error) {
	sum, err := archive.Extract(a.ctx, file, dir, a.extractOptions())
	if err != nil && strings.Contains(err.Error(), "links are not taken") {
		return sum, fault.Because(fault.Invalidf("%s Set the variable %s to True to take links that stay inside the package.", err, varAllowLinks), err)
	}
	return sum, err
}

// customDirectory gives the custom installation directory, checked (deployments.md G4).
func (a *action) customDirectory(extracted string) (string, error) {
	dir, ok, err := a.vars.Get(varCustomDir)
	switch {
	case err != nil:
		return "", fault.Because(fault.InvalidField(varCustomDir, "The custom installation directory %q holds an expression that could not be evaluated: %v", dir, err), err)
	case !ok || strings.TrimSpace(dir) == "":
		return "", fault.InvalidField(varCustomDir, "The custom installation directory feature is on, but no directory is given.")
	case !filepath.IsAbs(dir):
		return "", fault.InvalidField(varCustomDir, "The custom installation directory %q is a relative path; give an absolute one.", dir)
	}
	dir = filepath.Clean(strings.TrimSpace(dir))
	if within(realPath(dir), realPath(extracted)) {
		return "", fault.InvalidField(varCustomDir, "The custom installation directory %q lies inside the extraction directory %q; give another one.", dir, extracted)
	}
	return dir, nil
}

// within tells whether path is dir or below it.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// realPath follows the links of the part of a path that exists.
func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	parent := filepath.Dir(path)
	if parent == path {
		return path
	}
	return filepath.Join(realPath(parent), filepath.Base(path))
}

// copyToCustom is the convention of G4: purge if asked for, copy, and be there.
func (a *action) copyToCustom() error {
	if !a.feature("Octopus.Features.CustomDirectory") {
		a.vars.Set(varCustomDir, a.dir) // later parts rely on it
		return nil
	}
	to, err := a.customDirectory(a.dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	if a.vars.Flag("Octopus.Action.Package.CustomInstallationDirectoryShouldBePurgedBeforeDeployment", false) {
		if err := a.purge(to); err != nil {
			return err
		}
	}
	a.log.info("Copying package contents to '%s'", to)
	n, err := copyTree(a.dir, to)
	if err != nil {
		return err
	}
	a.log.verbose("Copied %d files to %s", n, to)
	a.dir = to
	a.vars.Set(varCustomDir, to)
	a.vars.Set(varInstallDir, to)
	a.output("Package.InstallationDirectoryPath", to)
	a.output("Package.CopiedFileCount", strconv.Itoa(n))
	return nil
}

// purge empties a directory but for the exclusions.
func (a *action) purge(dir string) error {
	home, _ := os.UserHomeDir() // none: nothing to protect
	for _, never := range []string{home, a.apps} {
		if never != "" && within(realPath(never), realPath(dir)) {
			return fault.InvalidField(varCustomDir, "The directory %q is, or holds, %q and is never purged.", dir, never)
		}
	}
	if filepath.Dir(realPath(dir)) == realPath(dir) {
		return fault.InvalidField(varCustomDir, "The directory %q is the root of a drive and is never purged.", dir)
	}
	var globs []string
	for _, g := range a.vars.Paths("Octopus.Action.Package.CustomInstallationDirectoryPurgeExclusions") {
		g = strings.Trim(filepath.ToSlash(g), "/")
		if !doublestar.ValidatePattern(g) {
			return fault.InvalidField("Octopus.Action.Package.CustomInstallationDirectoryPurgeExclusions", "The exclusion %q is not a pattern that can be read.", g)
		}
		globs = append(globs, g)
	}
	a.log.info("Purging the directory '%s'", dir)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	_, err = purgeBelow(root, ".", globs)
	return err
}

// purgeBelow deletes what no glob names, links as links; empty tells that nothing stayed.
func purgeBelow(root *os.Root, rel string, globs []string) (empty bool, err error) {
	f, err := root.Open(rel)
	if err != nil {
		return false, err
	}
	entries, err := f.ReadDir(-1)
	f.Close()
	if err != nil {
		return false, err
	}
	empty = true
	for _, e := range entries {
		name := filepath.Join(rel, e.Name())
		if excluded(filepath.ToSlash(name), globs) {
			empty = false
			continue
		}
		if e.IsDir() {
			gone, err := purgeBelow(root, name, globs)
			if err != nil {
				return false, err
			}
			if !gone {
				empty = false
				continue
			}
		}
		if err := root.Remove(name); err != nil {
			return false, err
		}
	}
	return empty, nil
}

func excluded(name string, globs []string) bool {
	for _, g := range globs {
		n := name
		if runtime.GOOS == "windows" {
			g, n = strings.ToLower(g), strings.ToLower(n)
		}
		if ok, _ := doublestar.Match(g, n); ok { // patterns were validated
			return true
		}
	}
	return false
}

// copyTree copies regular files, folders and links with their modes and times, over what is there.
func copyTree(from, to string) (files int, err error) {
	err = filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return os.MkdirAll(target, info.Mode().Perm()|0o700)
		case d.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			files++
			return os.Symlink(link, target)
		case !d.Type().IsRegular():
			return nil // a socket or pipe that a script made
		}
		files++
		return copyFile(path, target, info)
	})
	return files, err
}

// copyFile writes to a file of its own and renames it, so that a program that runs from the old one keeps it.
func copyFile(from, to string, info fs.FileInfo) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.CreateTemp(filepath.Dir(to), ".octavo-copy-")
	if err != nil {
		return err
	}
	defer os.Remove(dst.Name()) // gone already when it was renamed
	_, err = io.Copy(dst, src)
	if err = errors.Join(err, dst.Chmod(info.Mode().Perm()), dst.Close()); err != nil {
		return err
	}
	if err := os.Chtimes(dst.Name(), info.ModTime(), info.ModTime()); err != nil {
		return err
	}
	return os.Rename(dst.Name(), to)
}
