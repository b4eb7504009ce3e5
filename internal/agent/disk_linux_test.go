package agent

import (
	"errors"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/tentacle"
)

// smallDisk is a file system of a few MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=3m"); err != nil {
		if errors.Is(err, syscall.EPERM) {
			t.Skip("needs the right to mount")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func onSmallDisk(t *testing.T) *Agent {
	t.Helper()
	a := open(t, smallDisk(t))
	a.config.DiskWait = 500 * time.Millisecond
	t.Cleanup(func() { endAll(t, a) })
	return a
}

// The script prints ten times what the disk holds. A server that keeps reading gets every line once, and is told what was dropped.
func TestFullDiskDropsWhatWasReceived(t *testing.T) {
	t.Parallel()
	a := onSmallDisk(t)
	a.config.DiskWait = time.Minute
	const n = 300_000
	mustStart(t, a, command("much", "for i in 0 1 2; do for j in $(seq 10); do seq -f \"%.0f some text that fills the disk faster, and more of it, and more\" $((i*100000+(j-1)*10000+1)) $((i*100000+j*10000)); done; done; exit 3"))
	logs, exit := follow(t, a, "much")
	if exit != 3 {
		t.Errorf("exit %d", exit)
	}
	want := 1
	for _, l := range logs {
		if l.Source != tentacle.StdOut {
			continue
		}
		if number, _, _ := strings.Cut(l.Text, " "); number != strconv.Itoa(want) {
			t.Fatalf("after %d came %q", want-1, l.Text)
		}
		want++
	}
	if want != n+1 {
		t.Errorf("%d lines", want-1)
	}
	if got := texts(logs, tentacle.Debug); !strings.Contains(got, "The disk of this machine is full.") {
		t.Errorf("it was not said: %q", got)
	}
}

// Nobody reads: what was not received is not dropped; the script is ended, and what there is can be read.
func TestFullDiskEndsTheScript(t *testing.T) {
	t.Parallel()
	a := onSmallDisk(t)
	mustStart(t, a, command("flood", "yes 'a line of text that nobody reads'"))
	until(t, func() bool { return a.find("flood").isEnded() })
	logs, exit := follow(t, a, "flood")
	if exit != tentacle.ExitFatal || len(logs) < 10_000 {
		t.Errorf("exit %d, %d lines", exit, len(logs))
	}
	if got := texts(logs, tentacle.StdErr); !strings.Contains(got, "no space left on device") {
		t.Errorf("it was not said: %q", got)
	}
}
