package feed

import (
	"archive/zip"
	"encoding/xml"
	"io"
	"strings"

	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/fault"
)

const maxNuspec = 4 << 20

// nuspec is what a NuGet package says of itself.
type nuspec struct {
	ID           string `xml:"metadata>id"`
	Version      string `xml:"metadata>version"`
	Title        string `xml:"metadata>title"`
	Summary      string `xml:"metadata>summary"`
	Description  string `xml:"metadata>description"`
	ReleaseNotes string `xml:"metadata>releaseNotes"`
}

// fromNuspec takes id and version from the package itself. A package without .nuspec goes by its file's name.
// The archive was verified before.
func fromNuspec(staged *blob.Staged, named identity) (identity, error) {
	z, err := zip.NewReader(staged, staged.Size)
	if err != nil {
		return identity{}, fault.Because(fault.InvalidField("file", "The package is refused: it is not a sound zip."), err)
	}
	for _, f := range z.File {
		if strings.Contains(f.Name, "/") || !strings.HasSuffix(strings.ToLower(f.Name), ".nuspec") {
			continue
		}
		n, err := readNuspec(f)
		if err != nil {
			return identity{}, err
		}
		who, err := newIdentity(n.ID, n.Version, named.extension)
		who.nuspec = n
		return who, err
	}
	return named, nil
}

func readNuspec(f *zip.File) (nuspec, error) {
	if f.UncompressedSize64 > maxNuspec {
		return nuspec{}, fault.InvalidField("file", "The package is refused: its %s is larger than %d bytes.", f.Name, maxNuspec)
	}
	r, err := f.Open()
	if err != nil {
		return nuspec{}, fault.Because(fault.InvalidField("file", "The package is refused: its %s cannot be read.", f.Name), err)
	}
	defer r.Close()
	n, err := parseNuspec(io.LimitReader(r, maxNuspec))
	if err != nil {
		return nuspec{}, fault.Because(fault.InvalidField("file", "The package is refused: its %s is not a sound nuspec (%v).", f.Name, err), err)
	}
	return n, nil
}

// parseNuspec reads the XML. Entities of its own making are not expanded, so none can grow or reach out.
func parseNuspec(r io.Reader) (nuspec, error) {
	var n nuspec
	if err := xml.NewDecoder(r).Decode(&n); err != nil {
		return nuspec{}, err
	}
	for _, s := range []*string{&n.ID, &n.Version, &n.Title, &n.Summary, &n.Description, &n.ReleaseNotes} {
		*s = strings.ReplaceAll(strings.TrimSpace(*s), "\x00", "")
	}
	return n, nil
}
