//go:build unix

package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/octavo/octavo/internal/fault"
)

// An agent is upgraded by its server without anybody's help, and without touching a script (reliability-and-security.md M3).
// The installed program may belong to root or to a package manager, so the new one is put beside the data:
//
//	<data>/Program/octavo-agent   the new program; the installed one starts, sees it, and becomes it
//	<data>/Program/program.json   which programs these are, by SHA-256
//	<data>/Program/lock           held while program.json is changed, and by the one upgrade at a time
//
// The running agent sees the new file, lets go of its servers and becomes it by exec: the same process for systemd, and scripts
// belong to their supervisors anyhow. A new program that fails to serve three times is not tried again, and the installed one
// works on. When the installed program is replaced (a newer package), the one beside the data has had its day and is removed.

// maxTries is how often a new program may fail to serve.
const maxTries = 3

// replacedEvery is how soon an agent sees its new program.
const replacedEvery = time.Second

// programs is program.json.
type programs struct {
	Installed string // what was started last from outside the data directory
	Replaces  string // the Installed that the new program was put in place of
	Tries     int    // starts of the new program since one of them served
	Running   string // what served last
}

// Program is what a data directory knows of its agent's program.
type Program struct{ dir string }

// ProgramIn is the one of a data directory.
func ProgramIn(data string) Program { return Program{filepath.Join(data, "Program")} }

// Path is where the new program is, when there is one.
func (p Program) Path() string { return filepath.Join(p.dir, "octavo-agent") }

// change reads, changes and writes program.json while nobody else does.
func (p Program) change(do func(s *programs) error) error {
	unlock, err := p.lock("lock", syscall.LOCK_EX)
	if err != nil {
		return err
	}
	defer unlock()
	var s programs
	if _, err := readJSON(filepath.Join(p.dir, "program.json"), &s); err != nil {
		return err
	}
	before := s
	if err := do(&s); err != nil || s == before {
		return err
	}
	return writeJSON(filepath.Join(p.dir, "program.json"), s)
}

func (p Program) lock(name string, how int) (unlock func(), err error) {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(p.dir, name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), how); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil // its end is the lock's
}

// Choose is asked by a program before it works: should it become another? self is its own path.
func (p Program) Choose(self string, log *slog.Logger) (next string, err error) {
	if same(self, p.Path()) {
		return "", nil
	}
	// While another agent works here, this one will be refused; that is no try.
	if agent, err := os.OpenFile(filepath.Join(filepath.Dir(p.dir), "agent.lock"), os.O_RDWR, 0); err == nil {
		err = syscall.Flock(int(agent.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		_ = agent.Close() // and with it the lock
		if err != nil {
			return "", nil
		}
	}
	own, err := digestOf(self)
	if err != nil {
		return "", err
	}
	err = p.change(func(s *programs) error {
		s.Installed = own
		switch {
		case !exists(p.Path()):
		case s.Replaces != own:
			log.Info("this program was installed after the one the server sent, which is removed")
			return os.Remove(p.Path())
		case s.Tries >= maxTries:
			log.Error("the program the server sent failed to start; the installed one works on", "tries", s.Tries)
		default:
			s.Tries++
			next = p.Path()
		}
		return nil
	})
	return next, err
}

// Serves notes that a program serves.
func (p Program) Serves(self string) error {
	own, err := digestOf(self)
	if err != nil {
		return err
	}
	return p.change(func(s *programs) error {
		s.Running = own
		if same(self, p.Path()) {
			s.Tries = 0
		}
		return nil
	})
}

// Replaced returns nil when another program was put in place of the running one; otherwise when ctx ends, with its error.
func (p Program) Replaced(ctx context.Context) error {
	before, _ := os.Stat(p.Path()) // none is the usual case
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(replacedEvery):
		}
		if now, err := os.Stat(p.Path()); err == nil && (before == nil || !os.SameFile(before, now)) {
			return nil
		}
	}
}

// Upgrade puts the program in a file into place, and returns when the running agent has become it. It is called by the new
// program, in a script of the server. What cannot work is found before anything is changed.
func (p Program) Upgrade(ctx context.Context, from, digest string, patience time.Duration) error {
	unlock, err := p.lock("upgrade", syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fault.Conflictf("Another upgrade of this agent is under way.")
	}
	if err != nil {
		return err
	}
	defer unlock()
	got, err := digestOf(from)
	if err != nil {
		return err
	}
	if !strings.EqualFold(got, digest) {
		return fault.InvalidField("sha256", "The program %s has the SHA-256 %s, not %s; nothing was changed.", from, got, digest)
	}
	if err := os.Chmod(from, 0o755); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, from, "version").CombinedOutput(); err != nil {
		return fault.Because(fault.Invalidf("The new program does not run on this machine (%v: %s); nothing was changed.", err, strings.TrimSpace(string(out))), err)
	}
	err = p.change(func(s *programs) error {
		if s.Installed == "" {
			return fault.Conflictf("The agent that runs here is too old to become another program. Install the new one as it was installed; scripts go on meanwhile.")
		}
		if s.Running == got {
			return os.Remove(from)
		}
		s.Replaces, s.Tries = s.Installed, 0
		return errors.Join(os.Rename(from, p.Path()), syncDir(p.dir))
	})
	if err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	for {
		var now programs
		if _, err := readJSON(filepath.Join(p.dir, "program.json"), &now); err != nil {
			return err
		}
		switch {
		case now.Running == got:
			return nil
		case now.Tries >= maxTries:
			return fault.Conflictf("The new program failed to start %d times, so the installed one works on; the agent's log says why.", now.Tries)
		case time.Now().After(deadline):
			return fault.Busyf("The new program is in place, but the agent has not become it within %v; the agent's log says why.", patience)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func same(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

func digestOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the program: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read the program: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
