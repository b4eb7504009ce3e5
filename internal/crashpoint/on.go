//go:build crashpoints

// Package crashpoint, in its test build: see off.go.
package crashpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// On tells that this is the test build.
const On = true

var (
	mu     sync.Mutex
	passed = map[string]int{}
	last   string // the order that passings are counted for
)

// Reach does what OCTAVO_TEST_CRASH says: "name#2=kill" kills this process with SIGKILL at the second passing
// of name, "name#1=stop" stops it with SIGSTOP (somebody else has to continue it). "@file" takes the order from
// a file, which a test may write while we run; passings are counted from the moment it changes. Every passing is
// written to the file OCTAVO_TEST_CRASH_SEEN as "name#n", before the deed.
func Reach(name string) {
	mu.Lock()
	what := order()
	if what != last {
		last = what
		clear(passed)
	}
	passed[name]++
	here := fmt.Sprintf("%s#%d", name, passed[name])
	mu.Unlock()
	if file := os.Getenv("OCTAVO_TEST_CRASH_SEEN"); file != "" {
		if f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
			fmt.Fprintln(f, here, strconv.Itoa(os.Getpid()))
			f.Close()
		}
	}
	at, deed, ok := strings.Cut(what, "=")
	if !ok || at != here {
		return
	}
	signal := syscall.SIGKILL
	if deed == "stop" {
		signal = syscall.SIGSTOP
	}
	_ = syscall.Kill(os.Getpid(), signal)
	if signal == syscall.SIGKILL {
		select {} // the signal is on its way; nothing more may happen
	}
}

func order() string {
	what := os.Getenv("OCTAVO_TEST_CRASH")
	file, ok := strings.CutPrefix(what, "@")
	if !ok {
		return what
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "" // no file, no order
	}
	return strings.TrimSpace(string(text))
}
