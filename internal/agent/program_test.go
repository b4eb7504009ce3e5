//go:build unix

package agent_test

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/agent"
	"github.com/octavo/octavo/internal/fault"
)

// put writes a program and gives its path and SHA-256.
func put(t *testing.T, dir, name, text string) (path, digest string) {
	t.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(text))
	return path, hex.EncodeToString(sum[:])
}

// TestProgram follows an agent from its first start over an upgrade, a new program that fails, and a new package.
func TestProgram(t *testing.T) {
	log, dir := slog.New(slog.DiscardHandler), t.TempDir()
	data := filepath.Join(dir, "data")
	p := agent.ProgramIn(data)
	refused := func(from, digest, says string) {
		t.Helper()
		if err := p.Upgrade(t.Context(), from, digest, time.Millisecond); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("not %q: %v", says, err)
		}
		if _, err := os.Stat(p.Path()); err == nil {
			t.Errorf("something was changed")
		}
	}
	chooses := func(self, want string) {
		t.Helper()
		if next, err := p.Choose(self, log); err != nil || next != want {
			t.Errorf("%s becomes %q, %v", self, next, err)
		}
	}
	serves := func(self string) {
		t.Helper()
		if err := p.Serves(self); err != nil {
			t.Error(err)
		}
	}
	installed, _ := put(t, dir, "installed", "#!/bin/sh\n# 1\n")
	second, digest := put(t, dir, "second", "#!/bin/sh\n# 2\n")
	broken, broke := put(t, dir, "broken", "#!/bin/sh\necho not here\nexit 1\n")
	refused(second, digest, "too old")
	chooses(installed, "")
	serves(installed)
	refused(second, broke, "has the SHA-256 "+digest)
	refused(broken, broke, "not here")
	refused(filepath.Join(dir, "none"), digest, "no such file")

	done, becomes := make(chan error, 1), make(chan error, 1)
	go func() { becomes <- p.Replaced(t.Context()) }()
	go func() { done <- p.Upgrade(t.Context(), second, digest, time.Minute) }()
	if err := <-becomes; err != nil {
		t.Fatal(err)
	}
	if err := p.Upgrade(t.Context(), broken, broke, time.Minute); fault.KindOf(err) != fault.Conflict {
		t.Errorf("two at once: %v", err)
	}
	chooses(p.Path(), "") // it is the new one
	serves(p.Path())
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	again, _ := put(t, dir, "again", "#!/bin/sh\n# 2\n")
	if err := p.Upgrade(t.Context(), again, digest, 0); err != nil {
		t.Errorf("what runs already: %v", err)
	}

	for range 3 { // started, and never served
		chooses(installed, p.Path())
	}
	chooses(installed, "")
	serves(installed)

	third, digest := put(t, dir, "third", "#!/bin/sh\n# 3\n")
	if err := p.Upgrade(t.Context(), third, digest, 0); fault.KindOf(err) != fault.Busy {
		t.Errorf("nobody became it: %v", err)
	}
	chooses(installed, p.Path())
	serves(p.Path())
	chooses(installed, p.Path())
	put(t, dir, "installed", "#!/bin/sh\n# a newer package\n")
	chooses(installed, "")
	if _, err := os.Stat(p.Path()); err == nil {
		t.Error("the older one is still there")
	}
}
