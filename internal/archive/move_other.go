//go:build !unix

package archive

import (
	"errors"
	"io/fs"
	"os"
)

// moveOver renames a folder to a name that is free, or that of an empty folder. Here that takes two steps.
func moveOver(from, to string) error {
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(from, to)
}
