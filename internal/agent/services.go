//go:build unix

package agent

import (
	"context"
	"time"

	"github.com/octavo/octavo/internal/halibut"
	"github.com/octavo/octavo/internal/tentacle"
)

// startWait is the longest a StartScript is held back for its script to end, whatever the server asks for.
const startWait = 30 * time.Second

// Services offers the agent on the wire (tentacle-protocol.md 2).
func (a *Agent) Services() *halibut.Services {
	s := halibut.NewServices(a.log)
	s.Register(tentacle.CapabilitiesServiceV2, halibut.Methods{
		tentacle.GetCapabilities: func(context.Context) (tentacle.CapabilitiesResponseV2, error) {
			return tentacle.CapabilitiesResponseV2{SupportedCapabilities: []string{
				tentacle.ScriptServiceV2, tentacle.FileTransferService, tentacle.FenceServiceV1,
			}}, nil
		},
	})
	s.Register(tentacle.ScriptServiceV2, halibut.Methods{
		tentacle.StartScript: func(ctx context.Context, c tentacle.StartScriptCommandV2) (tentacle.ScriptStatusResponseV2, error) {
			return a.startAndWait(ctx, c, nil)
		},
		tentacle.GetStatus: func(_ context.Context, c tentacle.ScriptStatusRequestV2) (tentacle.ScriptStatusResponseV2, error) {
			return a.status(c.Ticket, c.LastLogSequence)
		},
		tentacle.CancelScript: func(_ context.Context, c tentacle.CancelScriptCommandV2) (tentacle.ScriptStatusResponseV2, error) {
			return a.cancelScript(c.Ticket, c.LastLogSequence)
		},
		tentacle.CompleteScript: func(_ context.Context, c tentacle.CompleteScriptCommandV2) error {
			key, err := checkTicket(c.Ticket)
			if err != nil {
				return err
			}
			return a.complete(key)
		},
	})
	s.Register(tentacle.FileTransferService, halibut.Methods{
		tentacle.UploadFile: func(_ context.Context, path string, content *halibut.DataStream) (tentacle.UploadResult, error) {
			return a.upload(path, content)
		},
		tentacle.DownloadFile: func(_ context.Context, path string) (*halibut.DataStream, error) {
			return a.download(path)
		},
	})
	s.Register(tentacle.FenceServiceV1, halibut.Methods{
		tentacle.StartScript: func(ctx context.Context, c tentacle.StartFencedScriptCommandV1) (tentacle.ScriptStatusResponseV2, error) {
			return a.startAndWait(ctx, c.Command, &c.Fence)
		},
		tentacle.Adopt: func(_ context.Context, c tentacle.AdoptTaskCommandV1) (tentacle.AdoptTaskResponseV1, error) {
			tickets, err := a.adopt(c.Fence)
			return tentacle.AdoptTaskResponseV1{Tickets: tickets}, err
		},
	})
	return s
}

// startAndWait gives a short script the chance to be over with the first answer.
func (a *Agent) startAndWait(ctx context.Context, c tentacle.StartScriptCommandV2, fence *tentacle.Fence) (tentacle.ScriptStatusResponseV2, error) {
	answer, err := a.start(c, fence)
	if err != nil || answer.State == tentacle.Complete || c.DurationToWaitForScriptToFinish == nil {
		return answer, err
	}
	r := a.find(ticketKey(c.ScriptTicket.TaskId))
	if r == nil {
		return answer, nil
	}
	select {
	case <-r.ended:
	case <-ctx.Done():
	case <-a.ctx.Done():
	case <-time.After(min(time.Duration(*c.DurationToWaitForScriptToFinish), startWait)):
	}
	return r.status(0)
}

func (a *Agent) status(t tentacle.ScriptTicket, last int64) (tentacle.ScriptStatusResponseV2, error) {
	key, err := checkTicket(t)
	if err != nil {
		return tentacle.ScriptStatusResponseV2{}, err
	}
	if r := a.find(key); r != nil {
		return r.status(last)
	}
	answer, known, err := a.answerFor(key)
	if !known && err == nil {
		answer = tentacle.ScriptStatusResponseV2{
			Ticket: t, Logs: []tentacle.ProcessOutput{}, NextLogSequence: last,
			State: tentacle.Complete, ExitCode: tentacle.ExitUnknownScript,
		}
	}
	return answer, err
}

func (a *Agent) cancelScript(t tentacle.ScriptTicket, last int64) (tentacle.ScriptStatusResponseV2, error) {
	key, err := checkTicket(t)
	if err != nil {
		return tentacle.ScriptStatusResponseV2{}, err
	}
	if r := a.find(key); r != nil && !r.isEnded() {
		if err := r.stop(); err != nil {
			return tentacle.ScriptStatusResponseV2{}, err
		}
	}
	return a.status(t, last)
}
