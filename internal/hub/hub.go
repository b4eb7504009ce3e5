package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/halibut"
	"github.com/octavo/octavo/internal/tentacle"
)

// Service is the agent's service that carries a script, from its start to its completion.
type Service string

// The services we drive.
const (
	Fenced   Service = tentacle.FenceServiceV1 // our own agent; the later calls are IScriptServiceV2's
	Version2 Service = tentacle.ScriptServiceV2
)

// Hub reaches agents.
type Hub struct {
	db       *db.DB
	log      *slog.Logger
	streams  string // folder of files that agents send
	identity *halibut.Identity
	client   *halibut.Client
	polls    *halibut.Polls

	mu           sync.Mutex
	capabilities map[string]known // by address and thumbprint
	trust        map[string]map[string]bool
}

type known struct {
	service Service
	until   time.Time
}

// New makes the hub of a node with the cluster's certificate. Files that agents send are kept in the folder streams while
// they are read; what a dead process left there goes after a day.
func New(d *db.DB, identity *halibut.Identity, streams string, log *slog.Logger) *Hub {
	sweepStreams(streams, log)
	return &Hub{
		db: d, log: log, streams: streams, identity: identity,
		client:       halibut.NewClient(halibut.ClientConfig{Identity: identity, StreamDir: streams, Log: log}),
		polls:        halibut.NewPolls(halibut.PollsConfig{StreamDir: streams}),
		capabilities: map[string]known{},
	}
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

// DialThrough has listening agents dialled through something else than the system's TCP, such as a network that a test
// makes. It is called before anything else.
func (h *Hub) DialThrough(dial halibut.DialFunc) {
	h.client = halibut.NewClient(halibut.ClientConfig{Identity: h.identity, StreamDir: h.streams, Dial: dial, Log: h.log})
}

// Thumbprint is what agents have to trust, SHA-1 in upper-case hex.
func (h *Hub) Thumbprint() string { return h.identity.Thumbprint }

// Identity is the cluster's certificate and key.
func (h *Hub) Identity() *halibut.Identity { return h.identity }

// trustPoll is how often trust is read without a hint: taken trust is in force within this time even then (I9).
const trustPoll = 5 * time.Second

// Serve accepts polling agents until ctx ends, and follows changes of trust.
func (h *Hub) Serve(ctx context.Context, listener net.Listener) error {
	if err := h.readTrust(ctx); err != nil {
		return err
	}
	accept := halibut.NewListener(halibut.ListenerConfig{Identity: h.identity, Authorize: h.authorize, Polls: h.polls, Log: h.log})
	changed, stop := h.db.Listen(TrustTopic)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	var followers sync.WaitGroup
	followers.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			case <-time.After(trustPoll): // the hint may be lost
			}
			if err := h.readTrust(ctx); err != nil && ctx.Err() == nil {
				h.log.Warn("cannot read which agents are trusted; using what was known", "err", err)
			}
			accept.Disconnect(func(p halibut.Peer) bool { return h.authorize(ctx, p) != nil })
		}
	})
	err := accept.Serve(ctx, listener)
	cancel()
	followers.Wait()
	return err
}

// authorize believes a polling agent whose thumbprint and subscription stand in one row. Trust given a moment ago,
// perhaps through another node, is looked up before anybody is sent away.
func (h *Hub) authorize(ctx context.Context, p halibut.Peer) error {
	if h.trusts(p) {
		return nil
	}
	if err := h.readTrust(ctx); err == nil && h.trusts(p) {
		return nil
	}
	return fmt.Errorf("no machine has thumbprint %s and subscription %q", p.Thumbprint, p.Subscription)
}

func (h *Hub) trusts(p halibut.Peer) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.trust[p.Thumbprint][canonical(p.Subscription)]
}

// Close ends all connections to listening agents, once nothing calls them any more.
func (h *Hub) Close() { h.client.Close() }

func (h *Hub) readTrust(ctx context.Context) error {
	return h.db.Read(ctx, func(tx *db.Tx) error {
		all, err := trusted(ctx, tx)
		if err != nil {
			return err
		}
		h.mu.Lock()
		h.trust = all
		h.mu.Unlock()
		return nil
	})
}

// Connected says whether a polling agent's link is held by this node.
func (h *Hub) Connected(subscription string) bool { return h.polls.Connected(canonical(subscription)) }

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
		return h.polls.Call(ctx, to.Address, service, method, result, params...)
	}
	address, err := halibut.ParseAddress(to.Address, tentacle.ListeningPort)
	if err != nil {
		return fault.InvalidField("Uri", "The agent's address %q is not of the form https://host:port/.", to.Address)
	}
	return h.client.Call(ctx, halibut.Endpoint{Address: address, Thumbprint: to.Thumbprint}, service, method, result, params...)
}

// Retried is told before each repeated try of a call.
type Retried func(err error, in time.Duration)

// Budget is how long a call is tried again (tentacle-protocol.md 2.7); a machine policy may set another.
const Budget = 150 * time.Second

// retry repeats a call that is safe to repeat.
func (h *Hub) retry(ctx context.Context, to Trust, tell Retried, service, method string, result any, params ...any) error {
	deadline := time.Now().Add(Budget)
	for n := 1; ; n++ {
		err := h.call(ctx, to, service, method, result, params...)
		wait := time.Duration(min(n, 10)) * time.Second
		if err == nil || !halibut.Retryable(err) || ctx.Err() != nil || time.Now().Add(wait).After(deadline) {
			return err
		}
		if tell != nil {
			tell(err, wait)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

// Capabilities says which service carries scripts on this agent. It is the first thing said to an agent,
// so it is also the test of the connection.
func (h *Hub) Capabilities(ctx context.Context, to Trust, tell Retried) (Service, error) {
	key := to.Address + to.Thumbprint
	h.mu.Lock()
	have := h.capabilities[key]
	h.mu.Unlock()
	if time.Now().Before(have.until) {
		return have.service, nil
	}
	service, err := h.ask(ctx, to, tell)
	if err != nil {
		return "", err
	}
	h.mu.Lock()
	h.capabilities[key] = known{service, time.Now().Add(tentacle.CapabilitiesTTL)}
	h.mu.Unlock()
	return service, nil
}

// Ping asks the agent itself, past the cache and without repeating.
func (h *Hub) Ping(ctx context.Context, to Trust) error {
	var answer tentacle.CapabilitiesResponseV2
	return h.call(ctx, to, tentacle.CapabilitiesServiceV2, tentacle.GetCapabilities, &answer)
}

func (h *Hub) ask(ctx context.Context, to Trust, tell Retried) (Service, error) {
	var answer tentacle.CapabilitiesResponseV2
	err := h.retry(ctx, to, tell, tentacle.CapabilitiesServiceV2, tentacle.GetCapabilities, &answer)
	var remote *halibut.RemoteError
	if errors.As(err, &remote) && remote.Class == halibut.NoService {
		return "", fault.Invalidf("The agent is too old: it offers no IScriptServiceV2. Upgrade it to Tentacle 6.3 or newer, or to octavo-agent.")
	}
	if err != nil {
		return "", err
	}
	var service Service
	for _, name := range answer.SupportedCapabilities {
		switch Service(name) {
		case Fenced:
			return Fenced, nil
		case Version2:
			service = Version2
		}
	}
	if service == "" {
		return "", fault.Invalidf("The agent offers no service we can run scripts with; it names %v.", answer.SupportedCapabilities)
	}
	return service, nil
}

// Command is a script to start.
type Command struct {
	Ticket    string // made and stored by the caller before it starts anything
	Task      string // other scripts' logs name it while they wait for this one
	Body      string // Bash
	Files     []File // saved beside it
	Isolation tentacle.ScriptIsolationLevel
	MutexWait time.Duration // for the isolation's lock; 0 is no limit
}

// File is a small file of a script's workspace.
type File struct {
	Name    string
	Content []byte
}

// quick is how long a start waits for the script's end: one that is quicker costs one call.
const quick = 200 * time.Millisecond

func (c Command) wire() tentacle.StartScriptCommandV2 {
	wait := halibut.TimeSpan(quick)
	start := tentacle.StartScriptCommandV2{
		ScriptTicket: tentacle.ScriptTicket{TaskId: c.Ticket}, ScriptBody: c.Body, TaskId: c.Task,
		DurationToWaitForScriptToFinish: &wait, Isolation: c.Isolation, ScriptIsolationMutexTimeout: halibut.TimeSpan(c.MutexWait),
		Scripts: map[string]string{tentacle.Bash: c.Body}, Files: []tentacle.ScriptFile{}, Arguments: []string{},
	}
	for _, file := range c.Files {
		start.Files = append(start.Files, tentacle.ScriptFile{Name: file.Name, Contents: halibut.BytesStream(file.Content)})
	}
	return start
}

// Start starts a script, at most once per ticket, and answers how far it is. A fenced agent refuses an
// owner that another one has followed: tentacle.IsFenced.
func (h *Hub) Start(ctx context.Context, to Trust, service Service, fence tentacle.Fence, script Command, tell Retried) (status tentacle.ScriptStatusResponseV2, err error) {
	command := script.wire()
	if service == Fenced {
		err = h.retry(ctx, to, tell, tentacle.FenceServiceV1, tentacle.StartScript, &status, tentacle.StartFencedScriptCommandV1{Fence: fence, Command: command})
	} else {
		err = h.retry(ctx, to, tell, tentacle.ScriptServiceV2, tentacle.StartScript, &status, command)
	}
	return status, err
}

// Adopt tells a fenced agent who owns the task now, so that no earlier owner starts anything any more.
func (h *Hub) Adopt(ctx context.Context, to Trust, service Service, fence tentacle.Fence, tell Retried) error {
	if service != Fenced {
		return nil
	}
	var answer tentacle.AdoptTaskResponseV1
	return h.retry(ctx, to, tell, tentacle.FenceServiceV1, tentacle.Adopt, &answer, tentacle.AdoptTaskCommandV1{Fence: fence})
}

// Status reads the log behind a cursor and the state.
func (h *Hub) Status(ctx context.Context, to Trust, ticket string, cursor int64, tell Retried) (status tentacle.ScriptStatusResponseV2, err error) {
	return status, h.retry(ctx, to, tell, tentacle.ScriptServiceV2, tentacle.GetStatus, &status,
		tentacle.ScriptStatusRequestV2{Ticket: tentacle.ScriptTicket{TaskId: ticket}, LastLogSequence: cursor})
}

// Cancel kills the script's processes and answers like Status; repeat it until the state is Complete.
func (h *Hub) Cancel(ctx context.Context, to Trust, ticket string, cursor int64, tell Retried) (status tentacle.ScriptStatusResponseV2, err error) {
	return status, h.retry(ctx, to, tell, tentacle.ScriptServiceV2, tentacle.CancelScript, &status,
		tentacle.CancelScriptCommandV2{Ticket: tentacle.ScriptTicket{TaskId: ticket}, LastLogSequence: cursor})
}

// Complete deletes the script's workspace. Once, at the end; its failure is only worth a warning.
func (h *Hub) Complete(ctx context.Context, to Trust, ticket string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return h.call(ctx, to, tentacle.ScriptServiceV2, tentacle.CompleteScript, nil, tentacle.CompleteScriptCommandV2{Ticket: tentacle.ScriptTicket{TaskId: ticket}})
}

// Upload stores a file on the target; open is called for each try.
func (h *Hub) Upload(ctx context.Context, to Trust, path string, size int64, open func() (io.ReadCloser, error), tell Retried) (result tentacle.UploadResult, err error) {
	return result, h.retry(ctx, to, tell, tentacle.FileTransferService, tentacle.UploadFile, &result, path, halibut.NewStream(size, open))
}

// Download opens a file of the target; nil without an error when there is no such file. Close removes the copy.
func (h *Hub) Download(ctx context.Context, to Trust, path string, tell Retried) (io.ReadCloser, int64, error) {
	var stream *halibut.DataStream
	if err := h.retry(ctx, to, tell, tentacle.FileTransferService, tentacle.DownloadFile, &stream, path); err != nil || stream == nil {
		return nil, 0, err
	}
	file, err := stream.Open()
	if err != nil {
		stream.Close()
		return nil, 0, err
	}
	return received{file, stream}, stream.Length, nil
}

type received struct {
	io.ReadCloser
	stream *halibut.DataStream
}

func (r received) Close() error { return errors.Join(r.ReadCloser.Close(), r.stream.Close()) }

// short is the innermost cause, for a person.
func short(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

// Unreachable says whether an error means that the agent could not be talked to, rather than that it refused.
func Unreachable(err error) bool {
	var connect *halibut.ConnectError
	var transfer *halibut.TransferError
	var certificate *halibut.CertificateError
	return errors.As(err, &connect) || errors.As(err, &transfer) || errors.As(err, &certificate)
}

// Answered says whether an error is the agent's own answer: the connection was fine.
func Answered(err error) bool {
	var remote *halibut.RemoteError
	return errors.As(err, &remote)
}
