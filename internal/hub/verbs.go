package hub

import (
	"context"
	"errors"
	"io"
	"time"

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

type known struct {
	service Service
	until   time.Time
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
	err = h.retry(ctx, to, tell, tentacle.ScriptServiceV2, tentacle.GetStatus, &status,
		tentacle.ScriptStatusRequestV2{Ticket: tentacle.ScriptTicket{TaskId: ticket}, LastLogSequence: cursor})
	return status, err
}

// Cancel kills the script's processes and answers like Status; repeat it until the state is Complete.
func (h *Hub) Cancel(ctx context.Context, to Trust, ticket string, cursor int64, tell Retried) (status tentacle.ScriptStatusResponseV2, err error) {
	err = h.retry(ctx, to, tell, tentacle.ScriptServiceV2, tentacle.CancelScript, &status,
		tentacle.CancelScriptCommandV2{Ticket: tentacle.ScriptTicket{TaskId: ticket}, LastLogSequence: cursor})
	return status, err
}

// Complete deletes the script's workspace. Once, at the end; its failure is only worth a warning.
func (h *Hub) Complete(ctx context.Context, to Trust, ticket string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return h.call(ctx, to, tentacle.ScriptServiceV2, tentacle.CompleteScript, nil, tentacle.CompleteScriptCommandV2{Ticket: tentacle.ScriptTicket{TaskId: ticket}})
}

// Upload stores a file on the target; open is called for each try.
func (h *Hub) Upload(ctx context.Context, to Trust, path string, size int64, open func() (io.ReadCloser, error), tell Retried) (result tentacle.UploadResult, err error) {
	err = h.retry(ctx, to, tell, tentacle.FileTransferService, tentacle.UploadFile, &result, path, halibut.NewStream(size, open))
	return result, err
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
