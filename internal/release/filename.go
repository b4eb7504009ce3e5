package release

import (
	"regexp"
	"strings"

	"github.com/octavo/octavo/internal/fault"
)

// extensions of packages (behaviour.md 2.16), the longer ones first.
var extensions = []string{
	".tar.gz", ".tar.bz2", ".tar.bz", ".tar.z", ".tgz", ".tbz", ".tar",
	".nupkg", ".zip", ".jar", ".war", ".ear", ".rar",
}

var fileForm = regexp.MustCompile(`^(\w+([_.-]\w+)*?)\.(\d+(\.\d+){0,3}(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?)$`)

// PackageFile is what the name of a package file says: "Acme.Web.1.2.3.zip".
type PackageFile struct {
	Id        string
	Version   string
	Extension string // with its dot, as written
}

// ParseFile takes the name of a package file apart (behaviour.md 2.16). The id ends at the first dot behind which a
// version can begin, so "pterm-0.12.42.zip" is version 12.42 of "pterm-0".
func ParseFile(name string) (PackageFile, error) {
	lower := strings.ToLower(name)
	for _, ext := range extensions {
		if !strings.HasSuffix(lower, ext) {
			continue
		}
		stem, ext := name[:len(name)-len(ext)], name[len(name)-len(ext):]
		m := fileForm.FindStringSubmatch(stem)
		if m == nil {
			return PackageFile{}, fault.InvalidField("File", "The file name %q does not say id and version: name it like Acme.Web.1.2.3%s.", name, ext)
		}
		return PackageFile{Id: m[1], Version: m[3], Extension: ext}, nil
	}
	return PackageFile{}, fault.InvalidField("File", "%q is not a package: its name must end in one of %s.", name, strings.Join(extensions, " "))
}

// Name is the file's name.
func (f PackageFile) Name() string { return f.Id + "." + f.Version + f.Extension }
