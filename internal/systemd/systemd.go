// Package systemd tells the service manager how this process is: ready, stopping, alive.
//
// Without systemd (no NOTIFY_SOCKET) it does nothing. The units are in deploy/systemd.
//
//	READY=1      the process does its work: `systemctl start` returns, and what comes after it starts
//	STOPPING=1   it was asked to end, and hands over what it has
//	WATCHDOG=1   it answered itself; without it for WatchdogSec the process is killed and started anew
package systemd

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Ready says that the process does its work.
func Ready(log *slog.Logger) { tell(log, daemon.SdNotifyReady) }

// Stopping says that it was asked to end.
func Stopping(log *slog.Logger) { tell(log, daemon.SdNotifyStopping) }

func tell(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd cannot be told", "state", state, "err", err)
	}
}

// Watch feeds the unit's watchdog until ctx ends, four times as often as it has to. It asks alive before; an error is
// logged and not passed on, so a process that does not answer itself is killed after WatchdogSec.
func Watch(ctx context.Context, log *slog.Logger, alive func(context.Context) error) {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the unit's watchdog cannot be fed", "err", err)
	}
	if err != nil || limit == 0 {
		return
	}
	every := limit / 4
	for {
		asked, cancel := context.WithTimeout(ctx, every)
		err := alive(asked)
		cancel()
		if err == nil {
			tell(log, daemon.SdNotifyWatchdog)
		} else if ctx.Err() == nil {
			log.Warn("this process does not answer itself", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
	}
}
