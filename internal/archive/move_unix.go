//go:build unix

package archive

import (
	"os"
	"syscall"
)

// moveOver renames a folder to a name that is free, or that of an empty folder, in one step. (os.Rename refuses any
// folder, and to remove it first would let somebody else take the name in between.)
func moveOver(from, to string) error {
	if err := syscall.Rename(from, to); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}
