package agent

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tree is everything a supervisor started: its descendants, and where possible the members of a cgroup made for them.
type tree struct {
	root   int    // the supervisor, which is the subreaper and no member
	cgroup string // "" when the machine lets us make none
	dir    *os.File
}

const prSetChildSubreaper = 36

// findCgroup is replaced by tests of machines that let us make no cgroups.
var findCgroup = ownCgroup

// newTree makes this process the one that orphans come back to, and makes the cgroup. name must be new on this machine.
func newTree(name string) (*tree, error) {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		return nil, fmt.Errorf("become subreaper: %w", errno)
	}
	t := &tree{root: os.Getpid()}
	own := findCgroup()
	if own == "" {
		return t, nil
	}
	path := filepath.Join(own, name)
	if err := os.Mkdir(path, 0o755); err != nil {
		return t, nil // not ours to change; the subreaper finds the processes too
	}
	d, err := os.Open(path)
	if err != nil {
		return t, nil
	}
	t.cgroup, t.dir = path, d
	return t, nil
}

// joinTree is the tree of a supervisor that is gone, as far as its cgroup tells.
func joinTree(cgroup string) *tree { return &tree{cgroup: cgroup} }

// attributes make the script a session and group of its own, a member of the cgroup, and dead if the supervisor dies.
func (t *tree) attributes(withCgroup bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if withCgroup && t.dir != nil {
		a.UseCgroupFD, a.CgroupFD = true, int(t.dir.Fd())
	}
	return a
}

// forget lets a cgroup go that turned out not to work.
func (t *tree) forget() {
	if t.dir != nil {
		_ = t.dir.Close() // opened for reading only
		_ = os.Remove(t.cgroup)
		t.dir, t.cgroup = nil, ""
	}
}

// members lists the living processes.
func (t *tree) members() []int {
	var found []int
	seen := map[int]bool{}
	if t.cgroup != "" {
		for _, pid := range cgroupProcs(t.cgroup) {
			if !seen[pid] {
				seen[pid] = true
				found = append(found, pid)
			}
		}
	}
	if t.root == 0 {
		return found
	}
	children := map[int][]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if parent, dead, ok := parentOf(pid); ok && !dead {
			children[parent] = append(children[parent], pid)
		}
	}
	for queue := []int{t.root}; len(queue) > 0; queue = queue[1:] {
		for _, pid := range children[queue[0]] {
			if !seen[pid] {
				seen[pid] = true
				found = append(found, pid)
			}
			queue = append(queue, pid)
		}
	}
	return found
}

// signal sends to every member once.
func (t *tree) signal(s syscall.Signal) {
	for _, pid := range t.members() {
		_ = syscall.Kill(pid, s) // it may be gone
	}
}

// kill ends every member, also those forked meanwhile, and lists who withstood it for five seconds.
func (t *tree) kill() []int {
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if t.cgroup != "" {
			_ = os.WriteFile(filepath.Join(t.cgroup, "cgroup.kill"), []byte("1"), 0) // kernels before 5.14 have none
		}
		t.signal(syscall.SIGKILL)
		if left := t.members(); len(left) == 0 || time.Since(begun) > 5*time.Second {
			return left
		}
	}
}

// close removes the cgroup if nobody is left in it.
func (t *tree) close() {
	if t.dir != nil {
		_ = t.dir.Close() // opened for reading only
	}
	if t.cgroup != "" {
		_ = os.Remove(t.cgroup)
	}
}

func cgroupProcs(dir string) []int {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil
	}
	var pids []int
	for _, f := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(f); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// parentOf reads /proc/<pid>/stat; the name in it is in parentheses and may hold anything.
func parentOf(pid int) (parent int, dead, ok bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false, false
	}
	i := strings.LastIndexByte(string(b), ')')
	fields := strings.Fields(string(b[i+1:]))
	if i < 0 || len(fields) < 2 {
		return 0, false, false
	}
	parent, err = strconv.Atoi(fields[1])
	return parent, fields[0] == "Z" || fields[0] == "X", err == nil
}

// nameOf is a process's command name, for the log.
func nameOf(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(b))
}

// ownCgroup is the directory of this process's cgroup in version 2; "" when there is none. The mount is looked up, not assumed.
func ownCgroup() string {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	defer mounts.Close()
	mount, top := "", ""
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if ok && strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			top, mount = fields[3], fields[4]
		}
	}
	if mount == "" {
		return ""
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(own)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			if rel, err := filepath.Rel(top, path); err == nil && filepath.IsLocal(rel) {
				return filepath.Join(mount, rel)
			}
		}
	}
	return ""
}

// punch frees the blocks of a file before end; its length stays.
func punch(f *os.File, end int64) error {
	const keepSize, punchHole = 1, 2
	return syscall.Fallocate(int(f.Fd()), keepSize|punchHole, 0, end)
}

// freeBytes tells how much room an ordinary user has on the disk of dir.
func freeBytes(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Bsize, nil
}
