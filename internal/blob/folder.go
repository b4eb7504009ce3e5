package blob

import (
	"context"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // the wire's package hash
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"os/user"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/octavo/octavo/internal/fault"
)

// Options of a Folder; the zero value holds the limits of reliability-and-security.md M17.
type Options struct {
	LowBytes   int64   // refuse new content when less is free; 0 = 2 GiB, below 0 = never
	LowPercent float64 // the same in percent of the disk; 0 = 5, below 0 = never
}

var _ Store = (*Folder)(nil)

// Folder is a Store in a folder: on a local disk for one node, on a share (NFS, SMB, a volume) for several.
type Folder struct {
	dir  string
	root *os.Root
	low  Options
}

const (
	incoming = ".incoming"
	// StaleAfter is the age at which a temporary belongs to nobody any more (I10: leftovers gone within 24 h).
	StaleAfter = 24 * time.Hour
	checkEvery = 64 << 20 // bytes between two looks at the free space
)

// OpenFolder opens a store in a folder that exists. It tries all it will need at once (list, write, link,
// sync, delete), so that a wrong mount or missing right is told at the start and not in mid-deployment
// (behaviour.md 77, 83). Stale temporaries are removed.
func OpenFolder(ctx context.Context, dir string, o Options) (*Folder, error) {
	refuse := func(what string, cause error) error {
		return fault.Because(fault.InvalidField("blobs",
			"The blob folder %s %s as user %s: %s. Give the user full control of it, or set another folder with --blobs.",
			dir, what, userName(), plain(cause)), cause)
	}
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.Because(fault.InvalidField("blobs",
			"The blob folder %s does not exist. If it is a share, mount it; otherwise create it, or set another folder with --blobs.", dir), err)
	case err != nil:
		return nil, refuse("cannot be looked at", err)
	case !st.IsDir():
		return nil, fault.InvalidField("blobs", "The blob folder %s is not a folder. Set a folder with --blobs.", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, refuse("cannot be opened", err)
	}
	if o.LowBytes == 0 {
		o.LowBytes = 2 << 30
	}
	if o.LowPercent == 0 {
		o.LowPercent = 5
	}
	f := &Folder{dir: dir, root: root, low: o}
	if _, err := fs.ReadDir(root.FS(), "."); err != nil {
		root.Close()
		return nil, refuse("cannot be listed", err)
	}
	if err := f.try(); err != nil {
		root.Close()
		return nil, refuse("cannot be written", err)
	}
	if _, err := f.Sweep(ctx, StaleAfter); err != nil {
		root.Close()
		return nil, refuse("cannot be swept", err)
	}
	return f, nil
}

// Moved tells that the folder's path leads to another folder now than it did when it was opened, or to none: its share was
// mounted anew, replaced, or is gone. What is open still leads to the old one.
func (f *Folder) Moved() bool {
	a, err := os.Stat(f.dir)
	if err != nil {
		return true
	}
	b, err := f.root.Stat(".")
	return err != nil || !os.SameFile(a, b)
}

// Try writes a file, reads it back and removes it.
func (f *Folder) Try(context.Context) error {
	if err := f.try(); err != nil {
		return fmt.Errorf("the folder cannot be written: %w", f.told(err))
	}
	return nil
}

// try writes a file, reads it back and removes it.
func (f *Folder) try() error {
	if err := f.root.MkdirAll(incoming, 0o750); err != nil {
		return err
	}
	name := path.Join(incoming, "try-"+rand.Text())
	w, err := f.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = w.WriteString(name)
	err = errors.Join(err, w.Sync(), w.Close())
	if err == nil {
		var got []byte
		if got, err = f.root.ReadFile(name); err == nil && string(got) != name {
			err = errors.New("what was written is not what is read")
		}
	}
	return errors.Join(err, f.root.Remove(name))
}

// Close lets go of the folder.
func (f *Folder) Close() error { return f.root.Close() }

// Put stores all of r under a key that must be free.
func (f *Folder) Put(ctx context.Context, key string, r io.Reader) (size int64, digest string, err error) {
	return put(ctx, f, key, r)
}

// Stage receives all of r into a temporary on the same file system.
func (f *Folder) Stage(ctx context.Context, r io.Reader) (_ *Staged, err error) {
	if err := f.Low(); err != nil {
		return nil, err
	}
	name := path.Join(incoming, rand.Text())
	file, err := f.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o640)
	if errors.Is(err, fs.ErrNotExist) { // the folder for temporaries was tidied away by hand
		if err := f.root.MkdirAll(incoming, 0o750); err != nil {
			return nil, f.told(err)
		}
		file, err = f.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o640)
	}
	if err != nil {
		return nil, f.told(err)
	}
	s := &Staged{in: f, file: file, name: name, drop: func() error { return f.root.Remove(name) }}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Discard())
		}
	}()
	h256, h1 := sha256.New(), sha1.New() //nolint:gosec // see Staged.SHA1
	s.Size, err = fan(ctx, r, writer{f, file, new(int64)}, h256, h1)
	if err != nil {
		return nil, err
	}
	if err := file.Sync(); err != nil {
		return nil, f.told(err)
	}
	s.SHA256, s.SHA1 = hex.EncodeToString(h256.Sum(nil)), hex.EncodeToString(h1.Sum(nil))
	return s, nil
}

// writer tells a full disk from a reader that failed, and looks at the free space on the way.
type writer struct {
	f       *Folder
	file    *os.File
	written *int64
}

func (w writer) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	before := *w.written
	*w.written += int64(n)
	if err != nil {
		return n, w.f.told(err)
	}
	if before/checkEvery != *w.written/checkEvery {
		if err := w.f.Low(); err != nil {
			return n, err
		}
	}
	return n, nil
}

// Keep gives staged content its key: link(2) refuses a taken one, on NFS as well.
func (f *Folder) Keep(ctx context.Context, s *Staged, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if s.in != f {
		_, _, err := f.Put(ctx, key, io.NewSectionReader(s.file, 0, s.Size))
		return err
	}
	if err := f.makeFolder(path.Dir(key)); err != nil {
		return f.told(err)
	}
	err := f.root.Link(s.name, key)
	switch {
	case errors.Is(err, fs.ErrExist):
		if !f.same(s, key) {
			return exists(key)
		}
		// It is ours: the answer to our own link got lost and was asked for again (NFS).
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.EMLINK), errors.Is(err, syscall.ENOSYS):
		// No hard links here (some FUSE and SMB shares). Rename is as whole, but two writers of one key may
		// replace each other; keys are digests or unique, so both wrote the same.
		if _, err := f.root.Lstat(key); err == nil {
			return exists(key)
		}
		if err := f.root.Rename(s.name, key); err != nil {
			return f.told(err)
		}
		s.name, s.drop = key, func() error { return nil }
	case err != nil:
		return f.told(err)
	}
	return f.told(f.syncFolder(path.Dir(key)))
}

func (f *Folder) same(s *Staged, key string) bool {
	a, err := f.root.Lstat(s.name)
	if err != nil {
		return false
	}
	b, err := f.root.Lstat(key)
	return err == nil && os.SameFile(a, b)
}

// makeFolder makes the folders of a key and makes sure that each survives a crash.
func (f *Folder) makeFolder(dir string) error {
	if dir == "." {
		return nil
	}
	if st, err := f.root.Stat(dir); err == nil && st.IsDir() {
		return nil
	}
	if err := f.makeFolder(path.Dir(dir)); err != nil {
		return err
	}
	if err := f.root.Mkdir(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return f.syncFolder(path.Dir(dir))
}

func (f *Folder) syncFolder(dir string) error {
	d, err := f.root.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil // a file system that cannot sync folders writes them through
	}
	return errors.Join(err, d.Close())
}

// Open reads from offset to the end.
func (f *Folder) Open(_ context.Context, key string, offset int64) (io.ReadCloser, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	file, err := f.root.Open(key)
	if err != nil {
		return nil, missing(key, err)
	}
	st, err := file.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("blob %s is not a file", key)
	}
	if err == nil && (offset < 0 || offset > st.Size()) {
		err = fault.InvalidField("offset", "The content has %d bytes; it cannot be read from byte %d.", st.Size(), offset)
	}
	if err == nil && offset > 0 {
		_, err = file.Seek(offset, io.SeekStart)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// Stat tells size and age.
func (f *Folder) Stat(_ context.Context, key string) (Info, error) {
	if err := checkKey(key); err != nil {
		return Info{}, err
	}
	st, err := f.root.Lstat(key)
	if err != nil {
		return Info{}, missing(key, err)
	}
	if !st.Mode().IsRegular() {
		return Info{}, notFound(key, nil)
	}
	return Info{Key: key, Size: st.Size(), Modified: st.ModTime()}, nil
}

// List gives the keys that start with prefix; it walks only the folders that can hold one.
func (f *Folder) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		start := "."
		if i := strings.LastIndexByte(prefix, '/'); i > 0 {
			start = prefix[:i]
		}
		if start != "." && checkKey(start) != nil {
			return // no key begins so
		}
		err := fs.WalkDir(f.root.FS(), start, func(name string, e fs.DirEntry, err error) error {
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case errors.Is(err, fs.ErrNotExist):
				return nil // gone since its folder was read
			case err != nil:
				return err
			case name == incoming:
				return fs.SkipDir
			case e.IsDir():
				if name != "." && !strings.HasPrefix(name, prefix) && !strings.HasPrefix(prefix, name) {
					return fs.SkipDir
				}
				return nil
			case !e.Type().IsRegular(), !strings.HasPrefix(name, prefix), checkKey(name) != nil:
				return nil
			}
			st, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if !yield(Info{Key: name, Size: st.Size(), Modified: st.ModTime()}, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(Info{}, err)
		}
	}
}

// Delete removes a key; that it is not there is no error.
func (f *Folder) Delete(_ context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := f.root.Remove(key); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return f.told(err)
	}
	return f.told(f.syncFolder(path.Dir(key)))
}

// Sweep removes temporaries that nobody has written to for a while: their writers are dead.
func (f *Folder) Sweep(ctx context.Context, older time.Duration) (int, error) {
	names, err := fs.ReadDir(f.root.FS(), incoming)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return 0, nil
		}
		return 0, err
	}
	n := 0
	for _, e := range names {
		if err := context.Cause(ctx); err != nil {
			return n, err
		}
		st, err := e.Info()
		if err != nil || !st.Mode().IsRegular() || time.Since(st.ModTime()) < older {
			continue
		}
		if err := f.root.Remove(path.Join(incoming, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return n, err
		}
		n++
	}
	return n, nil
}

// told makes a fault with a way out of a full disk; other errors stay ours to fix.
func (f *Folder) told(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fault.Because(fault.Busyf("The blob store is full; nothing was stored. Free some space on it and try again."), err)
	}
	return err
}

func missing(key string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return notFound(key, fs.ErrNotExist)
	}
	return err
}

func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprint(os.Getuid())
}

// plain is the operating system's reason without the path, which the text names already.
func plain(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}
