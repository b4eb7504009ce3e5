package world

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/octavo/octavo/internal/halibut"
	"github.com/octavo/octavo/internal/script"
	"github.com/octavo/octavo/internal/tentacle"
)

// agent speaks an agent's side of the wire and keeps its promises (internal/agent does so with real processes; a process
// waits in real time, which a bubble has none of). A script is one that counts: "count to 5 as Web 1" says a line a second.
//
// It is one of ours, with tombstones and fences, or an unmodified Tentacle, which forgets a script once it was completed.
type agent struct {
	w        *world
	name     string
	tentacle bool
	polls    string // its subscription, if it dials the servers
	stop     func() // of the process; scripts go on

	mu      sync.Mutex
	scripts map[string]*process // by ticket
	ended   map[string]*process // tombstones
	fences  map[string]tentacle.Fence
	order   []*process // those that were asked for, in the order of asking: the isolation mutex is fair
}

// process is one script. Its fields are guarded by the agent's lock.
type process struct {
	agent        *agent
	ticket, task string
	what         string // "Web 1": which step of which project; "" for a health check
	count        int
	exclusive    bool
	lines        []tentacle.ProcessOutput
	began, over  time.Time
	exit         int32
	fence        tentacle.Fence
	kill         context.CancelFunc
}

func (p *process) running() bool { return !p.began.IsZero() && p.over.IsZero() }

func (p *process) String() string {
	return fmt.Sprintf("%s of %s on %s (ticket %.6s, claim %d)", p.what, p.task, p.agent.name, p.ticket, p.fence.Claim)
}

func (w *world) newAgent(name string, isTentacle bool, polls string) *agent {
	a := &agent{w: w, name: name, tentacle: isTentacle, polls: polls, scripts: map[string]*process{}, ended: map[string]*process{}, fences: map[string]tentacle.Fence{}}
	a.start()
	return a
}

// start starts the agent's process, for the first time or again; what it ran is its supervisors'.
func (a *agent) start() {
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	a.stop = func() {
		cancel()
		a.w.net.hangUp(a.name, false)
		served.Wait()
	}
	if a.polls != "" { // through a load balancer: whichever node it gets
		served.Go(func() {
			_ = halibut.Poll(ctx, halibut.PollConfig{
				Server: halibut.Endpoint{Address: "any:10943", Thumbprint: a.w.subject.identity.Thumbprint}, Subscription: a.polls, Identity: agentIdentity(),
				Services: a.services(), Dial: a.w.net.dialer(a.name, ctx.Done()), Log: slog.New(slog.DiscardHandler),
			})
		})
		return
	}
	listener := halibut.NewListener(halibut.ListenerConfig{
		Identity: agentIdentity(), Services: a.services(), Log: slog.New(slog.DiscardHandler),
		Authorize: func(context.Context, halibut.Peer) error { return nil },
	})
	door := a.w.net.listen(a.name + ":10933")
	served.Go(func() { _ = listener.Serve(ctx, door) })
}

func (a *agent) services() *halibut.Services {
	s := halibut.NewServices(slog.New(slog.DiscardHandler))
	s.Register(tentacle.CapabilitiesServiceV2, halibut.Methods{
		tentacle.GetCapabilities: func(context.Context) (tentacle.CapabilitiesResponseV2, error) {
			can := []string{tentacle.ScriptServiceV2, tentacle.FileTransferService}
			if !a.tentacle {
				can = append(can, tentacle.FenceServiceV1)
			}
			return tentacle.CapabilitiesResponseV2{SupportedCapabilities: can}, nil
		},
	})
	s.Register(tentacle.ScriptServiceV2, halibut.Methods{
		tentacle.StartScript: func(_ context.Context, c tentacle.StartScriptCommandV2) (tentacle.ScriptStatusResponseV2, error) {
			return a.begin(c, tentacle.Fence{})
		},
		tentacle.GetStatus: func(_ context.Context, c tentacle.ScriptStatusRequestV2) (tentacle.ScriptStatusResponseV2, error) {
			return a.status(c.Ticket.TaskId, c.LastLogSequence), nil
		},
		tentacle.CancelScript: func(_ context.Context, c tentacle.CancelScriptCommandV2) (tentacle.ScriptStatusResponseV2, error) {
			a.mu.Lock()
			p := a.scripts[c.Ticket.TaskId]
			a.mu.Unlock()
			if p != nil {
				p.kill()
			}
			return a.status(c.Ticket.TaskId, c.LastLogSequence), nil
		},
		tentacle.CompleteScript: func(_ context.Context, c tentacle.CompleteScriptCommandV2) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			p := a.scripts[c.Ticket.TaskId]
			delete(a.scripts, c.Ticket.TaskId)
			if p != nil {
				p.kill()
				if !a.tentacle {
					a.ended[p.ticket] = p
				}
			}
			return nil
		},
	})
	if !a.tentacle {
		s.Register(tentacle.FenceServiceV1, halibut.Methods{
			tentacle.StartScript: func(_ context.Context, c tentacle.StartFencedScriptCommandV1) (tentacle.ScriptStatusResponseV2, error) {
				return a.begin(c.Command, c.Fence)
			},
			tentacle.Adopt: func(_ context.Context, c tentacle.AdoptTaskCommandV1) (tentacle.AdoptTaskResponseV1, error) {
				a.mu.Lock()
				defer a.mu.Unlock()
				return tentacle.AdoptTaskResponseV1{Tickets: []tentacle.ScriptTicket{}}, a.raise(c.Fence)
			},
		})
	}
	return s
}

// raise keeps the highest fence of a task; the lock is held.
func (a *agent) raise(f tentacle.Fence) error {
	if f.Below(a.fences[f.TaskId]) {
		a.w.note("a start or an adoption was fenced by its agent")
		return &tentacle.FencedError{Asked: f, Highest: a.fences[f.TaskId]}
	}
	a.fences[f.TaskId] = f
	return nil
}

// begin starts a script, once per ticket that is known.
func (a *agent) begin(c tentacle.StartScriptCommandV2, fence tentacle.Fence) (tentacle.ScriptStatusResponseV2, error) {
	what, count, err := read(c)
	if err != nil {
		return tentacle.ScriptStatusResponseV2{}, err
	}
	ticket := c.ScriptTicket.TaskId
	a.mu.Lock()
	if fence.TaskId != "" {
		if err := a.raise(fence); err != nil {
			a.mu.Unlock()
			return tentacle.ScriptStatusResponseV2{}, err
		}
	}
	if a.scripts[ticket] == nil && a.ended[ticket] == nil {
		ctx, kill := context.WithCancel(context.Background())
		p := &process{agent: a, ticket: ticket, task: c.TaskId, what: what, count: count, fence: fence, exclusive: c.Isolation == tentacle.FullIsolation, kill: kill}
		a.scripts[ticket] = p
		a.order = append(a.order, p)
		a.w.processes.Go(func() { a.run(ctx, p) })
	}
	a.mu.Unlock()
	time.Sleep(10 * time.Millisecond)
	return a.status(ticket, 0), nil
}

// run is the script's life: it waits for the mutex, counts, and ends.
func (a *agent) run(ctx context.Context, p *process) {
	defer p.kill()
	for !a.turn(p) {
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
			continue
		}
		break
	}
	for i := 1; i <= p.count && ctx.Err() == nil; i++ {
		a.mu.Lock()
		p.lines = append(p.lines, tentacle.ProcessOutput{Occurred: time.Now(), Text: fmt.Sprintf("%s: %d of %d", p.what, i, p.count)})
		a.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p.over = time.Now()
	if ctx.Err() != nil {
		p.exit = tentacle.ExitCanceled
	}
}

// turn tells whether a script may begin, and lets it.
func (a *agent) turn(p *process) bool {
	a.mu.Lock()
	for _, before := range a.order {
		if before == p {
			break
		}
		if before.over.IsZero() && (before.exclusive || p.exclusive) {
			a.mu.Unlock()
			return false
		}
	}
	p.began = time.Now()
	a.mu.Unlock()
	a.w.began(p)
	return true
}

func (a *agent) status(ticket string, after int64) tentacle.ScriptStatusResponseV2 {
	a.mu.Lock()
	defer a.mu.Unlock()
	answer := tentacle.ScriptStatusResponseV2{Ticket: tentacle.ScriptTicket{TaskId: ticket}, Logs: []tentacle.ProcessOutput{}, NextLogSequence: after, State: tentacle.Complete}
	if p := a.ended[ticket]; p != nil {
		answer.NextLogSequence, answer.ExitCode = int64(len(p.lines)), p.exit
		return answer
	}
	p := a.scripts[ticket]
	if p == nil {
		answer.ExitCode = tentacle.ExitUnknownScript
		return answer
	}
	answer.Logs = append(answer.Logs, p.lines[min(int(after), len(p.lines)):]...)
	answer.NextLogSequence = int64(len(p.lines))
	switch {
	case !p.over.IsZero():
		answer.ExitCode = p.exit
	case p.began.IsZero():
		answer.State = tentacle.Pending
	default:
		answer.State = tentacle.Running
	}
	return answer
}

// all gives every script that was ever asked for.
func (a *agent) all() []process {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]process, len(a.order))
	for i, p := range a.order {
		all[i] = *p
	}
	return all
}

var counting = regexp.MustCompile(`count to (\d+) as (\w+ \d+)`)

// read finds the script in a command: as text, or among the variables of our own tool.
func read(c tentacle.StartScriptCommandV2) (what string, count int, err error) {
	files := map[string]string{}
	for _, f := range c.Files {
		r, err := f.Contents.Open()
		if err != nil {
			return "", 0, err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return "", 0, err
		}
		r.Close()
		f.Contents.Close()
		files[f.Name] = string(content)
	}
	text := c.ScriptBody
	for _, content := range files {
		text += content
	}
	if sealed := files["Octopus.vars"]; sealed != "" && !counting.MatchString(text) {
		variables, err := script.OpenVariables([]byte(sealed), files["Octopus.key"])
		if err != nil {
			return "", 0, err
		}
		for _, v := range variables {
			if v.Name == "Octopus.Action.Script.ScriptBody" {
				text += v.Text()
			}
		}
	}
	found := counting.FindStringSubmatch(text)
	if found == nil {
		if strings.Contains(text, "OperatingSystem") { // a health check
			return "", 0, nil
		}
		return "", 0, fmt.Errorf("no script that an agent of this world knows: %.200q", text)
	}
	count, err = strconv.Atoi(found[1])
	return found[2], count, err
}
