package halibut

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// PollConfig says where an agent polls, and what it offers there.
type PollConfig struct {
	Server       Endpoint
	Subscription string // poll://<20 letters or digits>/
	Identity     *Identity
	Services     *Services
	Connections  int    // side by side, so many calls can run at once; 0 is 1
	StreamDir    string // where the data streams of calls are kept while they run; empty is the system's
	Timeouts     Timeouts
	Dial         DialFunc
	Log          *slog.Logger
}

// How long a poller waits before it connects again (tentacle-protocol.md 1.7).
const (
	pollPauseMin = 5 * time.Second
	pollPauseMax = 2 * time.Minute
)

// Poll keeps connections to a server and serves its calls, until ctx ends. An error says that the configuration is wrong.
func Poll(ctx context.Context, config PollConfig) error {
	name, err := NormalSubscription(config.Subscription)
	if err != nil {
		return err
	}
	config.Subscription = name
	config.Timeouts = config.Timeouts.withDefaults()
	if config.Log == nil {
		config.Log = slog.Default()
	}
	config.Log = config.Log.With("server", config.Server.Address)
	var pollers sync.WaitGroup
	for range max(config.Connections, 1) {
		pollers.Go(func() { config.run(ctx) })
	}
	pollers.Wait()
	return nil
}

// run keeps one connection.
func (p PollConfig) run(ctx context.Context) {
	lost := time.Now()
	for ctx.Err() == nil {
		worked, err := p.poll(ctx)
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		if worked {
			lost = now
		}
		pause := pollPause(now.Sub(lost), rand.Float64())
		p.Log.WarnContext(ctx, "no connection to the server; will try again", "in", pause, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// pollPause grows with the outage, and differs between agents, so that a server that comes back is not trampled.
func pollPause(outage time.Duration, random float64) time.Duration {
	return min(max(time.Duration(float64(outage)*(1+random)), pollPauseMin), pollPauseMax)
}

// poll serves one connection until it ends; it worked if the server introduced itself.
func (p PollConfig) poll(ctx context.Context) (worked bool, err error) {
	d := dialer{p.Identity, p.Dial, p.Timeouts}
	link, err := d.dial(ctx, p.Server, subscriberLine+p.Subscription)
	if err != nil {
		return false, err
	}
	defer link.close()
	stop := context.AfterFunc(ctx, link.abort)
	defer stop()
	p.Log.InfoContext(ctx, "connected to the server")
	for {
		if err := p.Services.serveOne(ctx, link, p.Timeouts.Idle, p.StreamDir); err != nil {
			return true, noEOF(err)
		}
		if err := link.writeLine(nextWord); err != nil {
			return true, err
		}
		if err := link.awaitWord(proceedWord); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return true, err
		}
	}
}
