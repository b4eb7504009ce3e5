package quickstart

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"syscall"
)

// initdb finds the programs of the newest installed PostgreSQL that Octavo runs on (15 and up); "" when there is none.
func initdb() (folder string) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return ""
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // 0 when it is no number
		return n
	}
	sort.Slice(found, func(i, j int) bool { return version(found[i]) > version(found[j]) })
	if len(found) > 0 && version(found[0]) >= 15 {
		return filepath.Dir(found[0])
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path)
	}
	return ""
}

// longestFolder leaves room for the socket's name: its path must fit 107 bytes.
const longestFolder = 107 - len("/.s.PGSQL.5432")

// startPostgres starts a PostgreSQL of our own: its data is below our folder, and it listens on a socket there only.
// It gives the URL of its database.
func (s *show) startPostgres(ctx context.Context, bin string) (string, error) {
	folder := filepath.Join(s.Data, "postgres")
	if len(folder) > longestFolder {
		return "", fmt.Errorf("%s is too long for PostgreSQL's socket; choose a shorter --data", folder)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	var as *syscall.Credential
	if os.Getuid() == 0 { // PostgreSQL refuses to run as root
		uid, gid := 65534, 65534
		if u, err := user.Lookup("postgres"); err == nil {
			uid, _ = strconv.Atoi(u.Uid)
			gid, _ = strconv.Atoi(u.Gid)
		}
		as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(folder, uid, gid); err != nil {
			return "", err
		}
	}
	socket := filepath.Join(folder, ".s.PGSQL.5432")
	if conn, err := net.Dial("unix", socket); err == nil {
		conn.Close()
		return "", fmt.Errorf("the PostgreSQL of an earlier quickstart still runs; end it with: kill -INT $(head -1 %s)", filepath.Join(folder, "data", "postmaster.pid"))
	}
	// That user may not be let through the folders above ours, so the programs get ours as an open file.
	open, err := os.Open(folder)
	if err != nil {
		return "", err
	}
	defer open.Close()
	const inside = "/proc/self/fd/3"
	prepare := func(c *exec.Cmd) {
		c.ExtraFiles, c.Dir = []*os.File{open}, "/"
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: as}
	}
	if _, err := os.Stat(filepath.Join(folder, "data", "PG_VERSION")); errors.Is(err, os.ErrNotExist) {
		make := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", inside+"/data", "-U", "octavo", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
		prepare(make)
		if out, err := make.CombinedOutput(); err != nil {
			return "", fmt.Errorf("initdb: %w\n%s", err, out)
		}
	}
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", inside+"/data", "-k", inside, "-c", "listen_addresses=", "-c", "max_connections=200")
	prepare(server)
	p, err := s.start("postgres", server)
	if err != nil {
		return "", err
	}
	p.end = syscall.SIGINT // SIGTERM would wait for its clients
	check := filepath.Join(bin, "pg_isready")
	err = s.wait(ctx, p, "PostgreSQL", func() bool { return exec.CommandContext(ctx, check, "-q", "-h", folder).Run() == nil })
	return "postgres://octavo@/postgres?host=" + escape(folder), err
}
