//go:build unix

package agent

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/halibut"
)

// followEvery is how soon a changed agent.json counts.
const followEvery = 2 * time.Second

// Serve offers the agent to the servers its settings name, listening and polling, until ctx ends. Trust and polled servers
// may change meanwhile; the listening address counts from the next start. listening, if not nil, is told the address.
func (a *Agent) Serve(ctx context.Context, id *halibut.Identity, listening func(net.Addr)) error {
	settings, err := LoadSettings(a.config.Data)
	if err != nil {
		return err
	}
	streams := filepath.Join(a.config.Data, "Streams")
	if err := os.RemoveAll(streams); err != nil { // of calls that nobody waits for any more
		return err
	}
	if err := os.Mkdir(streams, 0o700); err != nil {
		return err
	}
	services := a.Services()
	l := halibut.NewListener(halibut.ListenerConfig{
		Identity: id, Authorize: a.authorize, Services: services, StreamDir: streams, Log: a.log,
	})
	var parts sync.WaitGroup
	defer parts.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	if a.config.Listen != "" {
		settings.Listen = a.config.Listen
	}
	if settings.Listens() || a.config.Listen != "" {
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", settings.Listen)
		if err != nil {
			return fault.Because(fault.InvalidField("listen", "Cannot listen on %s: %v. `configure --listen` chooses another address.", settings.Listen, err), err)
		}
		if listening != nil {
			listening(ln.Addr())
		}
		parts.Go(func() { failed <- l.Serve(ctx, ln) })
	} else if len(settings.Servers) == 0 {
		a.log.Warn("no server is trusted and nothing listens; see `register-with` and `configure --trust`")
	}
	parts.Go(func() { a.follow(ctx, l, id, services, streams) })
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
}

// authorize lets servers in whose certificate is trusted now.
func (a *Agent) authorize(_ context.Context, peer halibut.Peer) error {
	s, err := LoadSettings(a.config.Data)
	if err != nil {
		return err
	}
	if !s.trusts(peer) {
		return fault.Deniedf("The certificate %s is not trusted; `configure --trust %s` trusts it.", peer.Thumbprint, peer.Thumbprint)
	}
	return nil
}

func (s *Settings) trusts(peer halibut.Peer) bool {
	return peer.Thumbprint != "" && slices.ContainsFunc(s.Servers, func(t Server) bool {
		return t.CommunicationStyle == Passive && strings.EqualFold(t.Thumbprint, peer.Thumbprint)
	})
}

// follow keeps a poller for each polled server in the settings, and closes connections whose trust was withdrawn.
func (a *Agent) follow(ctx context.Context, l *halibut.Listener, id *halibut.Identity, services *halibut.Services, streams string) {
	type poller struct {
		Server
		connections int
	}
	var pollers sync.WaitGroup
	defer pollers.Wait()
	running := map[poller]context.CancelFunc{}
	defer func() {
		for _, stop := range running {
			stop()
		}
	}()
	for {
		s, err := LoadSettings(a.config.Data)
		if err != nil {
			a.log.Error("the settings in use stay", "err", err)
		} else {
			wanted := map[poller]bool{}
			for _, server := range s.Servers {
				if server.CommunicationStyle == Active {
					wanted[poller{server, s.PollingConnections}] = true
				}
			}
			for p, stop := range running {
				if !wanted[p] {
					stop()
					delete(running, p)
				}
			}
			for p := range wanted {
				if running[p] != nil {
					continue
				}
				pctx, stop := context.WithCancel(ctx)
				running[p] = stop
				pollers.Go(func() {
					err := halibut.Poll(pctx, halibut.PollConfig{
						Server:       halibut.Endpoint{Address: p.Address, Thumbprint: p.Thumbprint},
						Subscription: p.SubscriptionId, Identity: id, Services: services,
						Connections: p.connections, StreamDir: streams, Log: a.log,
					})
					if err != nil {
						a.log.Error("cannot poll", "err", fmt.Errorf("server %s: %w", p.Address, err))
					}
				})
			}
			l.Disconnect(func(peer halibut.Peer) bool { return !s.trusts(peer) })
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(followEvery):
		}
	}
}
