// Package peer runs an agent that shares no code with ours: C# on Mono, with the real Newtonsoft BSON, DeflateStream
// and SslStream (tentacle-protocol.md 6.3, tier 1). It was written from the protocol's description, so that a
// mistake in our Go code is not made twice. It offers ICapabilitiesServiceV2, IScriptServiceV2 with real bash, and
// IFileTransferService, and either listens or polls. With --old yes it is a Tentacle before 6.3: IScriptService, no capabilities.
//
//	./build FOLDER
//	mono FOLDER/peer.exe thumbprint --cert FILE
//	mono FOLDER/peer.exe listen --cert FILE --trust THUMBPRINT [--port PORT] [--home FOLDER]
//	mono FOLDER/peer.exe poll   --cert FILE --trust THUMBPRINT --server HOST:PORT --subscription poll://ID/ [--connections N] [--home FOLDER]
package peer

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

var build = sync.OnceValues(func() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	out, err := os.MkdirTemp("", "octavo-peer-*")
	if err != nil {
		return "", err
	}
	text, err := exec.Command(filepath.Join(filepath.Dir(here), "build"), out).CombinedOutput()
	if err != nil {
		os.RemoveAll(out)
		return "", fmt.Errorf("%w\n%s", err, text)
	}
	return out, nil
})

// Build compiles the peer, once per test process, and gives its folder. Where Mono cannot be installed the test is skipped.
func Build(t testing.TB) string {
	t.Helper()
	folder, err := build()
	if err == nil {
		return folder
	}
	if _, missing := exec.LookPath("mcs"); missing != nil {
		t.Skipf("NOT TESTED against the independent peer, because Mono cannot be installed here: %v", err)
	}
	t.Fatalf("build the peer: %v", err)
	return ""
}

// Clean removes what Build made; call it at the end of TestMain.
func Clean() {
	if folder, err := build(); err == nil {
		os.RemoveAll(folder)
	}
}

// Peer is a running agent.
type Peer struct {
	Home string

	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed and replaced with every line
	ended bool
}

// Certificate makes a certificate for a peer and tells its thumbprint, before the peer runs.
func Certificate(t testing.TB) (file, thumbprint string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "peer.pfx")
	out, err := exec.Command("mono", filepath.Join(Build(t), "peer.exe"), "thumbprint", "--cert", file).CombinedOutput()
	if err != nil {
		t.Fatalf("make a certificate: %v\n%s", err, out)
	}
	return file, strings.TrimSpace(strings.TrimPrefix(string(out), "thumbprint "))
}

// Start runs peer.exe with a home folder of its own until the test ends. Its output goes to the test's log if that fails.
func Start(t testing.TB, args ...string) *Peer {
	t.Helper()
	p := &Peer{Home: t.TempDir(), more: make(chan struct{})}
	cmd := exec.Command("mono", append([]string{filepath.Join(Build(t), "peer.exe")}, append(args, "--home", p.Home)...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the peer: %v", err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.add(lines.Text(), false)
		}
		p.add("", true)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("the peer said:\n%s", strings.Join(p.lines, "\n"))
		}
	})
	return p
}

func (p *Peer) add(line string, last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last {
		p.ended = true
	} else {
		p.lines = append(p.lines, line)
	}
	close(p.more)
	p.more = make(chan struct{})
}

// Await waits for a line that begins so and gives its rest.
func (p *Peer) Await(t testing.TB, prefix string) string {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		p.mu.Lock()
		lines, ended, more := p.lines, p.ended, p.more
		p.mu.Unlock()
		for _, line := range lines {
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return strings.TrimSpace(rest)
			}
		}
		if ended {
			t.Fatalf("the peer ended without saying %q:\n%s", prefix, strings.Join(lines, "\n"))
		}
		select {
		case <-more:
		case <-timeout:
			t.Fatalf("the peer did not say %q within a minute:\n%s", prefix, strings.Join(lines, "\n"))
		}
	}
}
