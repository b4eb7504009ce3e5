//go:build unix

package agent

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/halibut"
	"github.com/octavo/octavo/internal/tentacle"
)

// caller is a server as the tests need it: it calls an agent, listening or polling.
type caller func(ctx context.Context, service, method string, result any, params ...any) error

// process is an agent of its own, which can be killed.
type process struct {
	cmd     *exec.Cmd
	address string
}

func startProcess(t *testing.T, data string, listens bool) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0], "agent", data)}
	p.cmd.Stderr = io.Discard
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if listens {
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		p.address = strings.TrimSpace(line)
	}
	t.Cleanup(p.kill)
	return p
}

// kill is kill -9.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// listening prepares a data directory that trusts a new server; call looks the agent up in *p each time.
func listening(t *testing.T, data string) (p **process, call caller) {
	t.Helper()
	server, err := halibut.NewIdentity("server")
	if err != nil {
		t.Fatal(err)
	}
	if err := UpdateSettings(data, func(s *Settings) error {
		s.Listen = "127.0.0.1:0"
		s.Trust(server.Thumbprint)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	id, err := LoadIdentity(data)
	if err != nil {
		t.Fatal(err)
	}
	client := halibut.NewClient(halibut.ClientConfig{Identity: server, Log: quietLog})
	t.Cleanup(client.Close)
	p = new(*process)
	*p = startProcess(t, data, true)
	return p, retrying(func(ctx context.Context, service, method string, result any, params ...any) error {
		return client.Call(ctx, halibut.Endpoint{Address: (*p).address, Thumbprint: id.Thumbprint}, service, method, result, params...)
	})
}

// retrying tries again what may do better later; all calls of these tests are safe to repeat.
func retrying(call caller) caller {
	return func(ctx context.Context, service, method string, result any, params ...any) error {
		for {
			err := call(ctx, service, method, result, params...)
			if !halibut.Retryable(err) || ctx.Err() != nil {
				return err
			}
		}
	}
}

// polling does the same for an agent that dials us.
func polling(t *testing.T, data string) (p **process, call caller) {
	t.Helper()
	server, err := halibut.NewIdentity("server")
	if err != nil {
		t.Fatal(err)
	}
	id, err := LoadIdentity(data)
	if err != nil {
		t.Fatal(err)
	}
	polls := halibut.NewPolls(halibut.PollsConfig{})
	l := halibut.NewListener(halibut.ListenerConfig{Identity: server, Polls: polls, Log: quietLog, Authorize: func(_ context.Context, peer halibut.Peer) error {
		if peer.Thumbprint != id.Thumbprint {
			return fmt.Errorf("who is %s", peer.Thumbprint)
		}
		return nil
	}})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() { _ = l.Serve(ctx, ln) })
	t.Cleanup(func() { stop(); served.Wait() })
	const subscription = "poll://abcdefghij0123456789/"
	if err := UpdateSettings(data, func(s *Settings) error {
		s.PollAt(Server{Thumbprint: server.Thumbprint, Address: ln.Addr().String(), SubscriptionId: subscription})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	p = new(*process)
	*p = startProcess(t, data, false)
	return p, retrying(func(ctx context.Context, service, method string, result any, params ...any) error {
		return polls.Call(ctx, subscription, service, method, result, params...)
	})
}

var styles = map[string]func(*testing.T, string) (**process, caller){"listening": listening, "polling": polling}

// The agent is killed with -9 in the middle of a script and started again: the script ran once, all its lines are
// there, and its exit code is known.
func TestAgentKilled(t *testing.T) {
	t.Parallel()
	for name, style := range styles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			p, call := style(t, data)
			const n = 300
			c := command("Killed", fmt.Sprintf("echo ran >> %s/witness; for i in $(seq %d); do echo $i; sleep 0.005; done; exit 17", data, n))
			c.Scripts, c.Files, c.Arguments = map[string]string{}, []tentacle.ScriptFile{}, []string{}
			start := tentacle.StartFencedScriptCommandV1{Fence: tentacle.Fence{TaskId: "ServerTasks-1", Incarnation: 1, Claim: 1}, Command: c}
			var s tentacle.ScriptStatusResponseV2
			if err := call(t.Context(), tentacle.FenceServiceV1, tentacle.StartScript, &s, start); err != nil {
				t.Fatal(err)
			}
			var lines []string
			for kills := 0; ; {
				for _, l := range s.Logs {
					lines = append(lines, l.Text)
				}
				if s.State == tentacle.Complete {
					break
				}
				if len(lines) > 40*(kills+1) && kills < 3 {
					kills++
					(*p).kill()
					*p = startProcess(t, data, name == "listening")
					// A new owner says the same again, and nothing starts twice.
					start.Fence.Claim++
					if err := call(t.Context(), tentacle.FenceServiceV1, tentacle.StartScript, &s, start); err != nil {
						t.Fatal(err)
					}
				}
				last := int64(len(lines))
				if err := call(t.Context(), tentacle.ScriptServiceV2, tentacle.GetStatus, &s, tentacle.ScriptStatusRequestV2{Ticket: c.ScriptTicket, LastLogSequence: last}); err != nil {
					t.Fatal(err)
				}
			}
			if s.ExitCode != 17 || len(lines) != n {
				t.Errorf("exit %d, %d lines", s.ExitCode, len(lines))
			}
			for i, l := range lines {
				if l != strconv.Itoa(i+1) {
					t.Fatalf("line %d is %q", i+1, l)
				}
			}
			if b, err := os.ReadFile(filepath.Join(data, "witness")); string(b) != "ran\n" || err != nil {
				t.Errorf("it ran: %q %v", b, err)
			}
			start.Fence.Claim = 1
			if err := call(t.Context(), tentacle.FenceServiceV1, tentacle.StartScript, &s, start); !tentacle.IsFenced(err) {
				t.Errorf("an earlier owner was not refused: %v", err)
			}
			if err := call(t.Context(), tentacle.ScriptServiceV2, tentacle.CompleteScript, nil, tentacle.CompleteScriptCommandV2{Ticket: c.ScriptTicket}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOverTheWire(t *testing.T) {
	t.Parallel()
	for name, style := range styles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			_, call := style(t, data)
			var caps tentacle.CapabilitiesResponseV2
			if err := call(t.Context(), tentacle.CapabilitiesServiceV2, tentacle.GetCapabilities, &caps); err != nil || len(caps.SupportedCapabilities) != 3 {
				t.Errorf("%v %v", caps, err)
			}
			wait := halibut.TimeSpan(5 * time.Second)
			c := command("short", "cat sub/in")
			c.DurationToWaitForScriptToFinish = &wait
			c.Scripts, c.Arguments = map[string]string{}, []string{}
			c.Files = []tentacle.ScriptFile{{Name: "sub/in", Contents: halibut.BytesStream([]byte("from a file\n"))}}
			var s tentacle.ScriptStatusResponseV2
			if err := call(t.Context(), tentacle.ScriptServiceV2, tentacle.StartScript, &s, c); err != nil {
				t.Fatal(err)
			}
			if s.State != tentacle.Complete || s.ExitCode != 0 || len(s.Logs) != 1 || s.Logs[0].Text != "from a file" {
				t.Errorf("%+v", s)
			}
			content := strings.Repeat("0123456789", 100_000)
			var r tentacle.UploadResult
			if err := call(t.Context(), tentacle.FileTransferService, tentacle.UploadFile, &r, "Files/x", halibut.BytesStream([]byte(content))); err != nil || r.Length != 1_000_000 {
				t.Errorf("%+v %v", r, err)
			}
			var back *halibut.DataStream
			if err := call(t.Context(), tentacle.FileTransferService, tentacle.DownloadFile, &back, "Files/x"); err != nil || back == nil {
				t.Fatal(err)
			}
			defer back.Close()
			f, err := back.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if b, err := io.ReadAll(f); string(b) != content || err != nil {
				t.Errorf("%d bytes came back: %v", len(b), err)
			}
		})
	}
}

// Trust that is withdrawn counts within seconds, also for a connection that is open.
func TestDistrust(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p, call := listening(t, data)
	var caps tentacle.CapabilitiesResponseV2
	if err := call(t.Context(), tentacle.CapabilitiesServiceV2, tentacle.GetCapabilities, &caps); err != nil {
		t.Fatal(err)
	}
	if err := UpdateSettings(data, func(s *Settings) error { s.Servers = nil; return nil }); err != nil {
		t.Fatal(err)
	}
	stranger, err := halibut.NewIdentity("stranger")
	if err != nil {
		t.Fatal(err)
	}
	id, err := LoadIdentity(data)
	if err != nil {
		t.Fatal(err)
	}
	client := halibut.NewClient(halibut.ClientConfig{Identity: stranger, Log: quietLog})
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := client.Call(ctx, halibut.Endpoint{Address: (*p).address, Thumbprint: id.Thumbprint}, tentacle.CapabilitiesServiceV2, tentacle.GetCapabilities, &caps); err == nil {
		t.Error("a stranger was served")
	}
	until(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		return call(ctx, tentacle.CapabilitiesServiceV2, tentacle.GetCapabilities, &caps) != nil
	})
}

// The agent is killed at any moment around the start of a script, and asked again: the script runs exactly once.
func TestAgentKilledAroundStart(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p, call := listening(t, data)
	for i := range 25 {
		witness := filepath.Join(data, fmt.Sprintf("witness-%d", i))
		c := command(fmt.Sprintf("Around-%d", i), "echo ran >> "+witness+"; sleep 0.05; exit 9")
		c.Scripts, c.Files, c.Arguments = map[string]string{}, []tentacle.ScriptFile{}, []string{}
		var first, s tentacle.ScriptStatusResponseV2
		ctx, give := context.WithCancel(t.Context())
		var asked sync.WaitGroup
		asked.Go(func() { _ = call(ctx, tentacle.ScriptServiceV2, tentacle.StartScript, &first, c) })
		moment := time.After(time.Duration(rand.Int64N(int64(40 * time.Millisecond))))
		<-moment
		(*p).kill()
		give()
		asked.Wait()
		*p = startProcess(t, data, true)
		if err := call(t.Context(), tentacle.ScriptServiceV2, tentacle.StartScript, &s, c); err != nil {
			t.Fatal(err)
		}
		for s.State != tentacle.Complete {
			if err := call(t.Context(), tentacle.ScriptServiceV2, tentacle.GetStatus, &s, tentacle.ScriptStatusRequestV2{Ticket: c.ScriptTicket}); err != nil {
				t.Fatal(err)
			}
		}
		if b, err := os.ReadFile(witness); string(b) != "ran\n" || s.ExitCode != 9 {
			t.Errorf("script %d: exit %d, witness %q %v", i, s.ExitCode, b, err)
		}
	}
}
