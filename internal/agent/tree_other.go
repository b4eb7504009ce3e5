//go:build unix && !linux

package agent

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// tree is what a supervisor started, as far as this system can tell: the script's process group.
type tree struct {
	group  int
	cgroup string // always empty here
}

func newTree(string) (*tree, error) { return &tree{}, nil }
func joinTree(string) *tree         { return &tree{} }

func (t *tree) attributes(bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
func (t *tree) forget()                              {}
func (t *tree) close()                               {}

func (t *tree) members() []int {
	if t.group == 0 || syscall.Kill(-t.group, 0) != nil {
		return nil
	}
	return []int{-t.group}
}

func (t *tree) signal(s syscall.Signal) {
	for _, pid := range t.members() {
		_ = syscall.Kill(pid, s) // it may be gone
	}
}

func (t *tree) kill() []int {
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		t.signal(syscall.SIGKILL)
		if left := t.members(); len(left) == 0 || time.Since(begun) > 5*time.Second {
			return left
		}
	}
}

func nameOf(int) string { return "process group" }

func punch(*os.File, int64) error { return errors.ErrUnsupported }

func freeBytes(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
