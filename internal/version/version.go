// Package version says which release this program is.
//
// scripts/package sets the release when it links. A module installed by its version has that one. Everything else is built
// from a source tree and named after its commit, as 0.0.0-<commit>.
package version

import "runtime/debug"

// release is set by the linker: -X github.com/octavo/octavo/internal/version.release=1.2.3
var release string

// String is the version, always of the form 1.2.3 or 1.2.3-something.
func String() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "0.0.0-unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return "0.0.0-" + setting.Value[:min(12, len(setting.Value))]
		}
	}
	return "0.0.0-development"
}
