package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ReapInherited waits for the children this process had before it became this program: supervisors, of which each ends when its
// script does. Nobody else would, and they would stay as zombies.
func ReapInherited() {
	lists, _ := filepath.Glob("/proc/self/task/*/children") // not on every kernel; then zombies stay until we end
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for field := range strings.FieldsSeq(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				continue
			}
			if child, err := os.FindProcess(pid); err == nil {
				go func() { _, _ = child.Wait() }() // its result is in a file
			}
		}
	}
}
