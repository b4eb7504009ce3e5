package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/halibut"
	"github.com/octavo/octavo/internal/secret"
	"github.com/octavo/octavo/internal/tentacle"
)

// Config is what a node's hub needs.
type Config struct {
	DB       *db.DB
	Identity *halibut.Identity // the cluster's certificate
	Ring     *secret.Ring      // seals what travels through the database
	Blobs    blob.Store        // what is too big for it
	Streams  string            // folder of files that agents send, while they are read; what a dead process left there goes after a day
	Node     string            // this node's name
	Epoch    func() int64      // and the number of its present registration, 0 while there is none; nil: calls go over links of this node only
	Timeouts halibut.Timeouts
	Dial     halibut.DialFunc // to listening agents; nil is the operating system's
	Log      *slog.Logger
}

// Hub reaches agents.
type Hub struct {
	db       *db.DB
	log      *slog.Logger
	identity *halibut.Identity
	ring     *secret.Ring
	blobs    blob.Store
	streams  string
	node     string
	epoch    func() int64
	timeouts halibut.Timeouts
	client   *halibut.Client
	polls    *halibut.Polls
	links    links
	wake     chan struct{}   // has a value when there is something to record or to carry
	serving  context.Context //nolint:containedctx // Serve's; calls that are carried out end with it

	mu           sync.Mutex
	capabilities map[string]known // by address and thumbprint
	trust        map[string]map[string]bool
	calling      map[string]bool                    // ids of calls that this node waits for
	carrying     map[string]context.CancelCauseFunc // those it carries out for others

	reading sync.Mutex // held while trust is read
	read    time.Time  // when the last reading began; guarded by reading
}

// New makes the hub of a node.
func New(c Config) *Hub {
	sweepStreams(c.Streams, c.Log)
	if c.Epoch == nil {
		c.Epoch = func() int64 { return 0 }
	}
	if c.Timeouts.Collect == 0 {
		c.Timeouts.Collect = halibut.CollectWithin
	}
	h := &Hub{
		db: c.DB, log: c.Log, identity: c.Identity, ring: c.Ring, blobs: c.Blobs, streams: c.Streams, node: c.Node, epoch: c.Epoch, timeouts: c.Timeouts,
		client:       halibut.NewClient(halibut.ClientConfig{Identity: c.Identity, StreamDir: c.Streams, Timeouts: c.Timeouts, Dial: c.Dial, Log: c.Log}),
		wake:         make(chan struct{}, 1),
		capabilities: map[string]known{}, calling: map[string]bool{}, carrying: map[string]context.CancelCauseFunc{},
	}
	h.links.of = map[string]*held{}
	h.polls = halibut.NewPolls(halibut.PollsConfig{StreamDir: c.Streams, Timeouts: c.Timeouts, Linked: h.linked})
	return h
}

func sweepStreams(folder string, log *slog.Logger) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		log.Warn("cannot make the folder of agents' files", "folder", folder, "err", err)
		return
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		log.Warn("cannot look into the folder of agents' files", "folder", folder, "err", err)
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
			_ = os.Remove(filepath.Join(folder, entry.Name())) // it is tried again at the next start
		}
	}
}

// Thumbprint is what agents have to trust, SHA-1 in upper-case hex.
func (h *Hub) Thumbprint() string { return h.identity.Thumbprint }

// Identity is the cluster's certificate and key.
func (h *Hub) Identity() *halibut.Identity { return h.identity }

// Serve accepts polling agents until ctx ends, follows changes of trust, and carries out other nodes' calls to the
// agents that are connected here.
func (h *Hub) Serve(ctx context.Context, listener net.Listener) error {
	if err := h.readTrust(ctx, nil); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	accept := halibut.NewListener(halibut.ListenerConfig{Identity: h.identity, Authorize: h.authorize, Polls: h.polls, Timeouts: h.timeouts, Log: h.log})
	ctx, cancel := context.WithCancel(ctx)
	h.serving = ctx
	var loops sync.WaitGroup
	loops.Go(func() { h.followTrust(ctx, accept) })
	loops.Go(func() { h.carryOut(ctx) })
	err := accept.Serve(ctx, listener)
	cancel()
	loops.Wait()
	h.unlinkAll(context.WithoutCancel(ctx))
	return err
}

// Close ends all connections to listening agents, once nothing calls them any more.
func (h *Hub) Close() { h.client.Close() }

// Discover asks a listening agent for its thumbprint (machines/discover).
func (h *Hub) Discover(ctx context.Context, host string, port int) (halibut.Peer, error) {
	address := net.JoinHostPort(host, fmt.Sprint(port))
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	peer, err := halibut.Discover(ctx, address, nil, nil)
	if err != nil {
		return peer, fault.Because(fault.Invalidf("No agent answers at %s: %s. Check that it runs, that it listens, and that no firewall is between.", address, short(err)), err)
	}
	return peer, nil
}

// Agent is the trust of one machine, or a fault that says that there is none.
func (h *Hub) Agent(ctx context.Context, machine string) (t Trust, err error) {
	err = h.db.Read(ctx, func(tx *db.Tx) error {
		found := false
		if t, found, err = find(ctx, tx, machine); err == nil && !found {
			err = fault.NotFoundf("There is no agent for machine %s.", machine)
		}
		return err
	})
	return t, err
}

// call makes one call, to whichever side dials.
func (h *Hub) call(ctx context.Context, to Trust, service, method string, result any, params ...any) error {
	if to.Polling() {
		c, err := halibut.NewCall(service, method, params...)
		if err != nil {
			return err
		}
		answer, err := h.reach(ctx, to.Address, c)
		if err != nil {
			return err
		}
		return c.Result(answer, result)
	}
	address, err := halibut.ParseAddress(to.Address, tentacle.ListeningPort)
	if err != nil {
		return fault.InvalidField("Uri", "The agent's address %q is not of the form https://host:port/.", to.Address)
	}
	return h.client.Call(ctx, halibut.Endpoint{Address: address, Thumbprint: to.Thumbprint}, service, method, result, params...)
}

// reach makes a call over a link of this node, else through the node that holds one (behaviour.md row 59). A node that
// is not registered knows no others, and waits for the agent itself.
func (h *Hub) reach(ctx context.Context, subscription string, c *halibut.Call) (*halibut.Answer, error) {
	answer, err := h.polls.Carry(ctx, subscription, c)
	if !errors.Is(err, halibut.ErrNoLink) {
		return answer, err
	}
	if epoch := h.epoch(); epoch > 0 {
		return h.send(ctx, epoch, subscription, c)
	}
	return h.polls.Await(ctx, subscription, c)
}
