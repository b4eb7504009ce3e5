package archive

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/octavo/octavo/internal/fault"
)

// Partial is how the name of a folder begins in which an extraction is under way. One that is left behind, by
// a process that was killed, belongs to nobody and may be deleted.
const Partial = ".octavo-extract-"

// Extract unpacks the package file into dir, which must not exist, or be empty. Nothing appears at dir unless
// the whole package was right (deployments.md G3: never over an existing directory).
func Extract(ctx context.Context, file, dir string, o Options) (Summary, error) {
	f, size, err := open(file)
	if err != nil {
		return Summary{}, err
	}
	defer f.Close()
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return Summary{}, err
	}
	if err := refuseUsed(dir); err != nil {
		return Summary{}, err
	}
	fresh, err := os.MkdirTemp(parent, Partial)
	if err != nil {
		return Summary{}, err
	}
	defer os.RemoveAll(fresh) // there is nothing left of it once it was renamed
	sum, err := extractInto(ctx, f, size, file, fresh, o)
	if err != nil {
		return Summary{}, err
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return Summary{}, err
	}
	return sum, moveOver(fresh, dir)
}

func refuseUsed(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(entries) > 0 {
		return fault.Conflictf("The folder %s is not empty; a package is never extracted over what is there.", dir)
	}
	return nil
}

func extractInto(ctx context.Context, r io.ReaderAt, size int64, name, dir string, o Options) (Summary, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Summary{}, err
	}
	defer root.Close()
	x := extraction{root: root, buf: make([]byte, 64<<10)}
	sum, err := walk(ctx, r, size, name, o, x.visit)
	if err != nil {
		return Summary{}, err
	}
	return sum, x.finish()
}

// extraction writes below one root. Links come last, so that nothing is ever written through one; the modes and
// times of folders after that, since writing into a folder changes its time and may need its write bit.
type extraction struct {
	root    *os.Root
	buf     []byte
	links   []entry
	folders []entry
}

func (x *extraction) visit(e entry, body io.Reader) error {
	if e.skip {
		_, err := io.Copy(io.Discard, body)
		return err
	}
	switch e.kind {
	case kindFolder:
		x.folders = append(x.folders, e)
		return x.root.MkdirAll(filepath.FromSlash(e.name), 0o755)
	case kindFile:
		return x.write(e, body)
	default:
		x.links = append(x.links, e)
		return nil
	}
}

func (x *extraction) write(e entry, body io.Reader) error {
	name := filepath.FromSlash(e.name)
	if above := path.Dir(e.name); above != "." {
		if err := x.root.MkdirAll(filepath.FromSlash(above), 0o755); err != nil {
			return err
		}
	}
	f, err := x.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, e.mode)
	if err != nil {
		return err
	}
	// The struct hides (*os.File).ReadFrom, which would take a buffer of its own for every file.
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{body}, x.buf)
	if err = errors.Join(err, f.Chmod(e.mode), f.Close()); err != nil { // the umask took bits from OpenFile
		return firstFault(err)
	}
	if e.mtime.IsZero() {
		return nil
	}
	return x.root.Chtimes(name, e.mtime, e.mtime)
}

func (x *extraction) finish() error {
	for _, e := range x.links {
		if above := path.Dir(e.name); above != "." {
			if err := x.root.MkdirAll(filepath.FromSlash(above), 0o755); err != nil {
				return err
			}
		}
	}
	for _, hardFirst := range []kind{kindHardLink, kindSymlink} {
		for _, e := range x.links {
			if e.kind != hardFirst {
				continue
			}
			name, target := filepath.FromSlash(e.name), filepath.FromSlash(e.target)
			make := x.root.Link
			if e.kind == kindSymlink {
				make = x.root.Symlink
			}
			if err := make(target, name); err != nil {
				return err
			}
		}
	}
	for i := len(x.folders) - 1; i >= 0; i-- {
		e := x.folders[i]
		name := filepath.FromSlash(e.name)
		if err := x.root.Chmod(name, e.mode); err != nil {
			return err
		}
		if !e.mtime.IsZero() {
			if err := x.root.Chtimes(name, e.mtime, e.mtime); err != nil {
				return err
			}
		}
	}
	return nil
}

// firstFault takes the refusal out of joined errors, so that its text stays clean.
func firstFault(err error) error {
	var f *fault.Fault
	if errors.As(err, &f) {
		return f
	}
	return err
}
