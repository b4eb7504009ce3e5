package peer

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/halibut"
	"github.com/octavo/octavo/internal/tentacle"
)

func TestMain(m *testing.M) {
	code := m.Run()
	Clean()
	os.Exit(code)
}

// caller calls a service of the peer, whichever way it is connected.
type caller func(ctx context.Context, service, method string, result any, params ...any) error

// listening connects to a peer that listens.
func listening(t *testing.T, options ...string) (*Peer, caller) {
	us := identity(t)
	file, thumbprint := Certificate(t)
	p := Start(t, append([]string{"listen", "--cert", file, "--trust", us.Thumbprint, "--port", "0"}, options...)...)
	to := halibut.Endpoint{Address: "127.0.0.1:" + p.Await(t, "listening on "), Thumbprint: thumbprint}
	client := halibut.NewClient(halibut.ClientConfig{Identity: us, StreamDir: t.TempDir()})
	t.Cleanup(client.Close)

	peer, err := halibut.Discover(t.Context(), to.Address, nil, nil)
	if err != nil || peer.Thumbprint != thumbprint {
		t.Fatalf("discovered %+v, %v", peer, err)
	}
	return p, func(ctx context.Context, service, method string, result any, params ...any) error {
		return client.Call(ctx, to, service, method, result, params...)
	}
}

const subscription = "poll://abcdefghij0123456789/"

// polling lets a peer connect to us. Null messages are sent after two seconds, so that the peer sees some.
func polling(t *testing.T, options ...string) (*Peer, caller) {
	us := identity(t)
	file, thumbprint := Certificate(t)
	polls := halibut.NewPolls(halibut.PollsConfig{StreamDir: t.TempDir(), Timeouts: halibut.Timeouts{Null: 2 * time.Second}})
	listener := halibut.NewListener(halibut.ListenerConfig{
		Identity: us, Polls: polls, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Authorize: func(_ context.Context, p halibut.Peer) error {
			if p.Thumbprint != thumbprint || p.Subscription != subscription {
				return errors.New("another peer")
			}
			return nil
		},
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = listener.Serve(ctx, ln) // it ends with the test
	}()
	t.Cleanup(func() { cancel(); <-done })
	p := Start(t, append([]string{
		"poll", "--cert", file, "--trust", us.Thumbprint, "--server", ln.Addr().String(),
		"--subscription", subscription, "--connections", "2",
	}, options...)...)
	return p, func(ctx context.Context, service, method string, result any, params ...any) error {
		return polls.Call(ctx, subscription, service, method, result, params...)
	}
}

func identity(t *testing.T) *halibut.Identity {
	t.Helper()
	us, err := halibut.NewIdentity("Octavo")
	if err != nil {
		t.Fatal(err)
	}
	return us
}

// TestPeer is acceptance check 2 of tentacle-protocol.md 7.5.
func TestPeer(t *testing.T) {
	for name, connect := range map[string]func(*testing.T, ...string) (*Peer, caller){"listening": listening, "polling": polling} {
		t.Run(name, func(t *testing.T) {
			p, call := connect(t)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			t.Run("capabilities", func(t *testing.T) { capabilities(t, ctx, call) })
			t.Run("script", func(t *testing.T) { script(t, ctx, call, p.Home) })
			t.Run("cancelled script", func(t *testing.T) { cancelledScript(t, ctx, call) })
			t.Run("unknown ticket", func(t *testing.T) { unknownTicket(t, ctx, call) })
			t.Run("files", func(t *testing.T) { transfers(t, ctx, call, p.Home) })
			t.Run("errors", func(t *testing.T) { failures(t, ctx, call) })
			if name == "polling" {
				p.Await(t, "null message")
			}
			t.Run("still there", func(t *testing.T) { capabilities(t, ctx, call) })
		})
	}
}

func capabilities(t *testing.T, ctx context.Context, call caller) {
	var got tentacle.CapabilitiesResponseV2
	err := call(ctx, tentacle.CapabilitiesServiceV2, tentacle.GetCapabilities, &got)
	if err != nil || strings.Join(got.SupportedCapabilities, " ") != "IScriptService IFileTransferService IScriptServiceV2" {
		t.Errorf("%v, %v", got, err)
	}
}

func command(ticket, body string, wait time.Duration) tentacle.StartScriptCommandV2 {
	return tentacle.StartScriptCommandV2{
		ScriptTicket: tentacle.ScriptTicket{TaskId: ticket}, TaskId: "ServerTasks-1",
		Scripts:                         map[string]string{tentacle.Bash: body},
		DurationToWaitForScriptToFinish: halibut.Span(wait),
		Isolation:                       tentacle.FullIsolation, ScriptIsolationMutexTimeout: tentacle.NoMutexTimeout,
	}
}

// finish follows a script to its end, as a server does, and gives its exit code and all its lines.
func finish(t *testing.T, ctx context.Context, call caller, status tentacle.ScriptStatusResponseV2) (int32, []tentacle.ProcessOutput) {
	t.Helper()
	lines := status.Logs
	for more := true; more; {
		more = status.State != tentacle.Complete // once more after the end: the last lines may be late
		request := tentacle.ScriptStatusRequestV2{Ticket: status.Ticket, LastLogSequence: status.NextLogSequence}
		status = tentacle.ScriptStatusResponseV2{}
		if err := call(ctx, tentacle.ScriptServiceV2, tentacle.GetStatus, &status, request); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, status.Logs...)
	}
	complete := tentacle.CompleteScriptCommandV2{Ticket: status.Ticket}
	if err := call(ctx, tentacle.ScriptServiceV2, tentacle.CompleteScript, nil, complete); err != nil {
		t.Fatal(err)
	}
	return status.ExitCode, lines
}

func script(t *testing.T, ctx context.Context, call caller, home string) {
	start := command("T1", "echo \"$1 grüße\"\ncat sub/data.txt\necho oops >&2\nfor i in 1 2 3; do sleep 0.3; echo line $i; done\nexit 7\n", 100*time.Millisecond)
	start.Files = []tentacle.ScriptFile{{Name: "sub/data.txt", Contents: halibut.BytesStream([]byte("from a file\n"))}}
	start.Arguments = []string{"hello"}
	var first, again tentacle.ScriptStatusResponseV2
	if err := call(ctx, tentacle.ScriptServiceV2, tentacle.StartScript, &first, start); err != nil {
		t.Fatal(err)
	}
	if first.Ticket.TaskId != "T1" || first.State == tentacle.Complete {
		t.Errorf("after the start: %+v", first)
	}
	// Started again, it does not run again.
	if err := call(ctx, tentacle.ScriptServiceV2, tentacle.StartScript, &again, start); err != nil {
		t.Fatal(err)
	}
	code, lines := finish(t, ctx, call, again)
	var out, errs strings.Builder
	for _, line := range lines {
		if line.Source == tentacle.StdErr {
			errs.WriteString(line.Text + "\n")
		} else {
			out.WriteString(line.Text + "\n")
		}
		if age := time.Since(line.Occurred); age < -time.Minute || age > 10*time.Minute {
			t.Errorf("the line %q is of %v", line.Text, line.Occurred)
		}
	}
	if want := "hello grüße\nfrom a file\nline 1\nline 2\nline 3\n"; code != 7 || out.String() != want || errs.String() != "oops\n" {
		t.Errorf("exit code %d, output %q, errors %q", code, out.String(), errs.String())
	}
	if _, err := os.Stat(filepath.Join(home, "Work", "T1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the workspace is still there: %v", err)
	}
}

func cancelledScript(t *testing.T, ctx context.Context, call caller) {
	var status tentacle.ScriptStatusResponseV2
	if err := call(ctx, tentacle.ScriptServiceV2, tentacle.StartScript, &status, command("T2", "echo begun; sleep 100", 0)); err != nil {
		t.Fatal(err)
	}
	for status.State != tentacle.Running {
		request := tentacle.ScriptStatusRequestV2{Ticket: status.Ticket}
		if err := call(ctx, tentacle.ScriptServiceV2, tentacle.GetStatus, &status, request); err != nil {
			t.Fatal(err)
		}
	}
	cancel := tentacle.CancelScriptCommandV2{Ticket: status.Ticket}
	if err := call(ctx, tentacle.ScriptServiceV2, tentacle.CancelScript, &status, cancel); err != nil {
		t.Fatal(err)
	}
	if code, _ := finish(t, ctx, call, status); code != tentacle.ExitCanceled {
		t.Errorf("exit code %d", code)
	}
}

func unknownTicket(t *testing.T, ctx context.Context, call caller) {
	var status tentacle.ScriptStatusResponseV2
	request := tentacle.ScriptStatusRequestV2{Ticket: tentacle.ScriptTicket{TaskId: "nobody"}, LastLogSequence: 5}
	err := call(ctx, tentacle.ScriptServiceV2, tentacle.GetStatus, &status, request)
	if err != nil || status.State != tentacle.Complete || status.ExitCode != tentacle.ExitUnknownScript || status.NextLogSequence != 5 {
		t.Errorf("%+v, %v", status, err)
	}
}

func transfers(t *testing.T, ctx context.Context, call caller, home string) {
	for _, size := range []int{0, 1, 3 << 20} {
		content := make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{1}).Read(content)
		sum := sha1.Sum(content)
		var up tentacle.UploadResult
		err := call(ctx, tentacle.FileTransferService, tentacle.UploadFile, &up, "Files/sub/a.bin", halibut.BytesStream(content))
		want := tentacle.UploadResult{FullPath: filepath.Join(home, "Files/sub/a.bin"), Hash: hex.EncodeToString(sum[:]), Length: int64(size)}
		if err != nil || up != want {
			t.Errorf("%d bytes up: %+v, %v", size, up, err)
		}
		var down *halibut.DataStream
		if err := call(ctx, tentacle.FileTransferService, tentacle.DownloadFile, &down, "Files/sub/a.bin"); err != nil || down == nil {
			t.Fatalf("%d bytes down: %v, %v", size, down, err)
		}
		r, err := down.Open()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d of %d bytes came down: %v", len(got), size, err)
		}
		if err := down.Close(); err != nil {
			t.Error(err)
		}
	}
	var none *halibut.DataStream
	if err := call(ctx, tentacle.FileTransferService, tentacle.DownloadFile, &none, "no/such/file"); err != nil || none != nil {
		t.Errorf("a missing file is %v, %v", none, err)
	}
}

func failures(t *testing.T, ctx context.Context, call caller) {
	for _, test := range []struct {
		service, method string
		params          []any
		class           halibut.Class
	}{
		{tentacle.FenceServiceV1, tentacle.StartScript, nil, halibut.NoService},
		{tentacle.ScriptServiceV2, "AbandonScript", nil, halibut.NoMethod},
		{tentacle.ScriptServiceV2, tentacle.GetStatus, []any{"a string"}, halibut.Ambiguous},
		{tentacle.FileTransferService, tentacle.UploadFile, []any{"/proc/nowhere/x", halibut.BytesStream([]byte("x"))}, halibut.ServiceThrew},
	} {
		err := call(ctx, test.service, test.method, nil, test.params...)
		var remote *halibut.RemoteError
		if !errors.As(err, &remote) || remote.Class != test.class || halibut.Retryable(err) {
			t.Errorf("%s.%s: %#v", test.service, test.method, err)
		}
	}
}

// TestLargeScript: a body that is large even when deflated, so that the message comes to the peer in several writes.
func TestLargeScript(t *testing.T) {
	_, call := listening(t)
	noise := make([]byte, 60_000)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(noise)
	body := ": " + hex.EncodeToString(noise) + "\necho end\n"
	var status tentacle.ScriptStatusResponseV2
	if err := call(t.Context(), tentacle.ScriptServiceV2, tentacle.StartScript, &status, command("T3", body, 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	code, lines := finish(t, t.Context(), call, status)
	if code != 0 || len(lines) != 1 || lines[0].Text != "end" {
		t.Errorf("exit code %d, %v", code, lines)
	}
}

// TestOldPeer speaks to a Tentacle before 6.3, whose contracts have other names on the wire.
func TestOldPeer(t *testing.T) {
	_, call := listening(t, "--old", "yes")
	ctx := t.Context()
	var remote *halibut.RemoteError
	if err := call(ctx, tentacle.CapabilitiesServiceV2, tentacle.GetCapabilities, nil); !errors.As(err, &remote) || remote.Class != halibut.NoService {
		t.Errorf("capabilities: %v", err)
	}
	task := "ServerTasks-77"
	start := tentacle.StartScriptCommand{
		Scripts: map[string]string{tentacle.Bash: "cat data.txt; exit 3"}, Isolation: tentacle.NoIsolation, TaskId: &task,
		Files: []tentacle.ScriptFile{{Name: "data.txt", Contents: halibut.BytesStream([]byte("from a file\n"))}},
	}
	var ticket tentacle.ScriptTicket
	if err := call(ctx, tentacle.ScriptServiceV1, tentacle.StartScript, &ticket, start); err != nil || !strings.Contains(ticket.TaskId, "-77-") {
		t.Fatalf("%+v, %v", ticket, err)
	}
	var status tentacle.ScriptStatusResponse
	var lines []tentacle.ProcessOutput
	for status.State != tentacle.Complete {
		request := tentacle.ScriptStatusRequest{Ticket: ticket, LastLogSequence: status.NextLogSequence}
		status = tentacle.ScriptStatusResponse{}
		if err := call(ctx, tentacle.ScriptServiceV1, tentacle.GetStatus, &status, request); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, status.Logs...)
	}
	complete := tentacle.CompleteScriptCommand{Ticket: ticket, LastLogSequence: status.NextLogSequence}
	status = tentacle.ScriptStatusResponse{}
	if err := call(ctx, tentacle.ScriptServiceV1, tentacle.CompleteScript, &status, complete); err != nil {
		t.Fatal(err)
	}
	lines = append(lines, status.Logs...)
	if status.ExitCode != 3 || len(lines) != 1 || lines[0].Text != "from a file" {
		t.Errorf("%+v, %v", status, lines)
	}
}

// TestPeerRefusesStrangers: the peer trusts one server; we see that as a failure to connect.
func TestPeerRefusesStrangers(t *testing.T) {
	file, thumbprint := Certificate(t)
	p := Start(t, "listen", "--cert", file, "--trust", strings.Repeat("AB", 20), "--port", "0")
	to := halibut.Endpoint{Address: "127.0.0.1:" + p.Await(t, "listening on "), Thumbprint: thumbprint}
	client := halibut.NewClient(halibut.ClientConfig{Identity: identity(t)})
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := client.Call(ctx, to, tentacle.CapabilitiesServiceV2, tentacle.GetCapabilities, nil); !halibut.NeverSent(err) {
		t.Errorf("%v", err)
	}
	p.Await(t, "untrusted client")
}
