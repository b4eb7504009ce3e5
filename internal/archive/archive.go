package archive

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/fault"
)

// Limits bound what comes out of an archive.
type Limits struct {
	Total      int64 // bytes of all files together
	File       int64 // bytes of one file
	Entries    int   // files, folders and links
	Names      int64 // bytes of all names together, which bounds our memory
	Ratio      int64 // bytes out for one byte in,
	RatioAfter int64 // looked at once this much came out
}

// DefaultLimits are those of reliability-and-security.md 4.11.
var DefaultLimits = Limits{
	Total:      20 << 30,
	File:       10 << 30,
	Entries:    100_000,
	Names:      32 << 20,
	Ratio:      200,
	RatioAfter: 10 << 20,
}

// Options say how an archive is read; the zero value is the strict one.
type Options struct {
	Limits Limits // the zero value means DefaultLimits
	Links  bool   // take links that stay inside the tree
}

// Summary says what an archive holds.
type Summary struct {
	Files   int
	Folders int
	Links   int
	Bytes   int64 // of all files, as they come out
}

// The formats, by what they need.
type format int

const (
	formatZip format = iota + 1
	formatNupkg
	formatTar
	formatTarGz
	formatTarBz2
)

var extensions = []struct {
	suffix string
	format format
}{
	{".tar.gz", formatTarGz},
	{".tgz", formatTarGz},
	{".tar.bz2", formatTarBz2},
	{".tar.bz", formatTarBz2},
	{".tbz", formatTarBz2},
	{".tar", formatTar},
	{".nupkg", formatNupkg},
	{".zip", formatZip},
	{".jar", formatZip},
	{".war", formatZip},
	{".ear", formatZip},
}

// Extension gives the extension of a package's file name that we can read, as written, such as ".tar.gz";
// "" when there is none.
func Extension(name string) string {
	lower := strings.ToLower(name)
	for _, e := range extensions {
		if strings.HasSuffix(lower, e.suffix) && len(name) > len(e.suffix) {
			return name[len(name)-len(e.suffix):]
		}
	}
	return ""
}

// Extensions lists what we can read.
func Extensions() []string {
	var all []string
	for _, e := range extensions {
		all = append(all, e.suffix)
	}
	return all
}

func formatOf(name string) (format, error) {
	ext := strings.ToLower(Extension(name))
	for _, e := range extensions {
		if ext == e.suffix {
			return e.format, nil
		}
	}
	return 0, fault.InvalidField("file", "%q is not a package we can read; its name must end in one of %s.",
		filepath.Base(name), strings.Join(Extensions(), " "))
}

// entry is one member of an archive, checked and with a clean slash path.
type entry struct {
	name   string
	kind   kind
	size   int64
	mode   os.FileMode // permission bits, masked
	mtime  time.Time   // zero when the archive does not say
	target string      // of a link: as written; of a hard link: a clean path in the tree
	skip   bool        // verified, but not content (nupkg metadata)
}

type kind int

const (
	kindFile kind = iota
	kindFolder
	kindSymlink
	kindHardLink
)

// visitor takes every entry in the archive's order. It must read a file's body to its end.
type visitor func(e entry, body io.Reader) error

// Verify reads the whole archive and writes nothing; name decides the format. The error says what is wrong
// with it (deployments.md section 4, "Archive safety"). Links that stay inside the tree pass, since whether
// they are taken is decided where the package is extracted.
func Verify(ctx context.Context, r io.ReaderAt, size int64, name string, limits Limits) (Summary, error) {
	return walk(ctx, r, size, name, Options{Limits: limits, Links: true}, func(_ entry, body io.Reader) error {
		_, err := io.Copy(io.Discard, body)
		return err
	})
}

// VerifyFile is Verify for a file on disk.
func VerifyFile(ctx context.Context, path string, limits Limits) (Summary, error) {
	f, size, err := open(path)
	if err != nil {
		return Summary{}, err
	}
	defer f.Close()
	return Verify(ctx, f, size, path, limits)
}

func open(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		f.Close()
		return nil, 0, fault.InvalidField("file", "%s is not a file.", path)
	}
	return f, info.Size(), nil
}

func walk(ctx context.Context, r io.ReaderAt, size int64, name string, o Options, visit visitor) (Summary, error) {
	format, err := formatOf(name)
	if err != nil {
		return Summary{}, err
	}
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits
	}
	m := &meter{ctx: ctx, limits: o.Limits}
	t := newTree(o, format == formatNupkg, m)
	checked := func(e entry, body io.Reader) error {
		e, err := t.add(e)
		if err != nil {
			return err
		}
		return visit(e, body)
	}
	switch format {
	case formatZip, formatNupkg:
		err = walkZip(r, size, strings.EqualFold(filepath.Ext(name), ".jar"), m, checked)
	default:
		err = walkTar(io.NewSectionReader(r, 0, size), format, m, checked)
	}
	if err == nil {
		err = t.finish()
	}
	if err != nil {
		return Summary{}, err
	}
	return t.summary(), nil
}

// refuse is the one form in which an archive is turned down.
func refuse(format string, args ...any) error {
	return fault.InvalidField("file", "The package is refused: "+format, args...)
}
