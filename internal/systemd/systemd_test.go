package systemd_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/systemd"
)

// TestNotify: what systemd would hear at its socket.
func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := socket.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	next := func() string {
		b := make([]byte, 100)
		n, err := socket.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	log := slog.New(slog.DiscardHandler)
	systemd.Ready(log) // nobody listens: nothing happens
	t.Setenv("NOTIFY_SOCKET", path)
	systemd.Ready(log)
	systemd.Stopping(log)
	if first, second := next(), next(); first != "READY=1" || second != "STOPPING=1" {
		t.Errorf("%s, %s", first, second)
	}

	systemd.Watch(t.Context(), log, nil) // the unit has no watchdog, so this returns
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	t.Setenv("WATCHDOG_USEC", "20000")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	var asked atomic.Int32
	go func() {
		defer close(ended)
		systemd.Watch(ctx, log, func(context.Context) error {
			if asked.Add(1) == 2 {
				return errors.New("hangs")
			}
			return nil
		})
	}()
	for range 3 {
		if said := next(); said != "WATCHDOG=1" {
			t.Error(said)
		}
	}
	stop()
	<-ended
	if n := asked.Load(); n < 4 { // three times alive, and once not
		t.Errorf("asked %d times", n)
	}
}
