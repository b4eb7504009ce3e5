package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Supervise runs a script on the server as the hidden command `octavo supervise PROGRAM ARGUMENTS...`, and gives its exit code.
//
// A stopped or killed node cannot end its own children, so this process does: it is the parent of everything the
// script starts (a subreaper, so that also what forked twice comes back to it), and it holds the reading end of a
// pipe through which the node sends a byte each second. When that closes, because the node closed it or died, or
// stays silent for hold, because the node is stopped or frozen, everything is ended (reliability-and-security.md M4):
// SIGTERM to the script's group and, after a grace, SIGKILL to all that is left. A silent node gets a short grace,
// so that all is over before another node may take the task.
func Supervise(lifeline io.Reader, arguments []string) int {
	if len(arguments) == 0 {
		fmt.Fprintln(os.Stderr, "octavo supervise: which program?")
		return 64
	}
	// Only the lifeline ends us. The signals are caught, not ignored: what is ignored stays so in the script.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) // old kernels lack it; the group is killed all the same
	script := exec.Command(arguments[0], arguments[1:]...)
	script.Stdout, script.Stderr = os.Stdout, os.Stderr
	script.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := script.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "The shell could not be started:", err)
		return 127
	}
	ended := make(chan error, 1)
	go func() { ended <- script.Wait() }()
	lost := make(chan time.Duration, 1)
	go func() { lost <- listen(lifeline) }()

	var err error
	select {
	case err = <-ended:
	case grace := <-lost:
		_ = syscall.Kill(-script.Process.Pid, syscall.SIGTERM) // it may be gone already
		select {
		case err = <-ended:
		case <-time.After(grace):
			_ = syscall.Kill(-script.Process.Pid, syscall.SIGKILL)
			err = <-ended
		}
	}
	killChildren()
	var failed *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &failed) && failed.ExitCode() >= 0:
		return failed.ExitCode()
	}
	return 128 + int(syscall.SIGKILL)
}

// How long a cancelled script may tidy up (deployments.md E13), how long a node may be silent (H of
// reliability-and-security.md 2.2), and how long a script may tidy up after that (K).
const (
	cancelGrace = 10 * time.Second
	hold        = 9 * time.Second
	silentGrace = time.Second
)

// listen waits for the end of the lifeline, or its silence, and gives the grace that the script has from then on.
func listen(lifeline io.Reader) time.Duration {
	beats := make(chan bool)
	go func() {
		b := make([]byte, 16)
		for {
			_, err := lifeline.Read(b)
			beats <- err == nil
			if err != nil {
				return
			}
		}
	}()
	for {
		select {
		case alive := <-beats:
			if !alive {
				return cancelGrace
			}
		case <-time.After(hold):
			return silentGrace
		}
	}
}

// killChildren ends whatever the script left running. Each death hands us the dead one's children, so we go on until none is left.
func killChildren() {
	for range 100 {
		children := childrenOf(os.Getpid())
		if len(children) == 0 {
			return
		}
		for _, pid := range children {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
		time.Sleep(time.Millisecond)
	}
}

func childrenOf(parent int) (children []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue // it ended meanwhile
		}
		// The name stands in parentheses and may hold anything; state and parent follow the last one.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) > 1 && fields[0] != "Z" && fields[1] == strconv.Itoa(parent) {
			children = append(children, pid)
		}
	}
	return children
}
