//go:build unix

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/octavo/octavo/internal/tentacle"
)

// run is one script that was accepted and not completed. All that must last is in its directory; doc.go has the states.
type run struct {
	order  order
	dir    string // under Spool
	reader reader

	cancel chan struct{} // closed by the first cancel, for as long as the run waits
	once   sync.Once

	ended chan struct{} // closed after exit was set
	exit  int32
}

func newRun(dir string, o order) *run {
	return &run{order: o, dir: dir, reader: reader{dir: dir}, cancel: make(chan struct{}), ended: make(chan struct{})}
}

func (r *run) file(name string) string { return filepath.Join(r.dir, name) }

func (r *run) isEnded() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// status answers a server. Lines before last count as received. Complete is said only with the last line given.
func (r *run) status(last int64) (tentacle.ScriptStatusResponseV2, error) {
	answer := tentacle.ScriptStatusResponseV2{
		Ticket: tentacle.ScriptTicket{TaskId: r.order.Ticket}, Logs: []tentacle.ProcessOutput{}, State: tentacle.Pending,
	}
	ended, started := r.isEnded(), exists(r.file("started")) // before the log is read, so that no line comes after
	logs, next, more, err := r.reader.page(last, true)
	if err != nil {
		return answer, err
	}
	answer.Logs, answer.NextLogSequence = append(answer.Logs, logs...), next
	switch {
	case ended && !more:
		answer.State, answer.ExitCode = tentacle.Complete, r.exit
	case started || ended:
		answer.State = tentacle.Running
	}
	return answer, nil
}

// stop asks the script to end; it says nothing about whether it has.
func (r *run) stop() error {
	r.once.Do(func() { close(r.cancel) })
	if !exists(r.file("started")) {
		return nil
	}
	control, err := os.OpenFile(r.file("control"), os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ENXIO) || errors.Is(err, os.ErrNotExist) {
		return nil // the supervisor is gone; whoever watches it will say so
	}
	if err != nil {
		return err
	}
	_, err = control.Write([]byte("c"))
	return errors.Join(err, control.Close())
}

// pursue gives a run its place at the isolation mutex now, and carries it to its end beside us.
func (a *Agent) pursue(r *run) {
	write := r.order.Level == tentacle.FullIsolation
	if exists(r.file("started")) {
		h := a.mutexes.take(r.order.Mutex, r.order.TaskId, write)
		a.wait.Go(func() { a.carry(a.ctx, r, h, nil) })
		return
	}
	h, blockers := a.mutexes.ask(r.order.Mutex, r.order.TaskId, write)
	a.wait.Go(func() { a.carry(a.ctx, r, h, blockers) })
}

// carry takes a run from where its files say it is to its end. It returns early when ctx ends: the script goes on.
func (a *Agent) carry(ctx context.Context, r *run, h *hold, blockers []string) {
	defer func() {
		if ctx.Err() == nil { // else nobody may start any more, and the next agent counts anew
			a.mutexes.release(h)
		}
	}()
	log := a.log.With("ticket", r.order.Ticket, "task", r.order.TaskId)
	if !exists(r.file("started")) {
		err := a.await(ctx, r, h, blockers)
		if err == nil {
			var supervisor *exec.Cmd
			supervisor, err = a.launch(ctx, r)
			defer reap(ctx, supervisor)
		}
		if err != nil && !exists(r.file("started")) {
			if ctx.Err() == nil {
				a.conclude(log, r, err)
			}
			return
		}
		select {
		case <-r.cancel: // it came while there was nobody to tell it to
			if err := r.stop(); err != nil {
				log.Warn("a cancel could not be passed on", "err", err)
			}
		default:
		}
	}
	if err := r.watch(ctx); err != nil {
		if ctx.Err() == nil {
			log.Error("a script cannot be watched", "err", err)
		}
		return
	}
	a.conclude(log, r, nil)
}

// await returns without error when the isolation mutex is held. What the script waits for is said in its log.
func (a *Agent) await(ctx context.Context, r *run, h *hold, blockers []string) error {
	told := len(blockers) > 0
	if told {
		for i, b := range blockers {
			blockers[i] = fmt.Sprintf("[%s](~/app#/tasks/%s)", b, b)
		}
		if err := r.say(tentacle.StdOut, "##octopus[stdout-wait]",
			"Cannot start this script yet, because on this machine it must not run beside "+strings.Join(blockers, ", ")+". Waiting.",
			"##octopus[stdout-default]"); err != nil {
			return err
		}
	}
	if err := h.wait(ctx, r.order.MutexWait, r.cancel); err != nil {
		return err
	}
	if told {
		return r.say(tentacle.Debug, "The wait is over; the script starts.")
	}
	return nil
}

// say writes to the log of a script whose supervisor is not there yet, or no more.
func (r *run) say(source tentacle.ProcessOutputSource, lines ...string) error {
	s, err := openSpool(r.dir)
	if err != nil {
		return err
	}
	for _, l := range lines {
		s.add(source, l)
	}
	return errors.Join(s.flush(), s.close())
}

// launch starts the supervisor and returns when the script runs. The supervisor is not a child to wait for: it outlives us.
func (a *Agent) launch(ctx context.Context, r *run) (*exec.Cmd, error) {
	ready, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	trouble, err := os.OpenFile(r.file("supervisor.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, errors.Join(err, theirs.Close())
	}
	defer trouble.Close()
	cmd := exec.Command(a.config.Supervisor[0], append(a.config.Supervisor[1:len(a.config.Supervisor):len(a.config.Supervisor)], r.dir)...)
	cmd.Dir = "/"
	cmd.Env = a.environment()
	cmd.Stderr = trouble
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = theirs.Close() // it has its own now
	if err != nil {
		return nil, err
	}
	// When we stop, the supervisor still gets the time to mark its script as started.
	stop := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Now().Add(5 * time.Second)) })
	defer stop()
	if _, err = ready.Read(make([]byte, 1)); err == io.EOF {
		text, _ := os.ReadFile(r.file("supervisor.log"))
		err = fmt.Errorf("the supervisor ended at once: %s", strings.TrimSpace(string(text)))
	}
	return cmd, err
}

// reap takes leave of a supervisor that is at its end. One that is not belongs to init when we are gone.
func reap(ctx context.Context, supervisor *exec.Cmd) {
	if supervisor != nil && ctx.Err() == nil {
		_ = supervisor.Wait() // its result is in a file
	}
}

// watch returns nil when the supervisor is gone.
func (r *run) watch(ctx context.Context) error {
	alive, err := os.OpenFile(r.file("alive"), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer alive.Close()
	stop := context.AfterFunc(ctx, func() { _ = alive.SetReadDeadline(time.Now()) })
	defer stop()
	_, err = alive.Read(make([]byte, 1))
	if err == io.EOF {
		return nil
	}
	return errors.Join(err, ctx.Err())
}

// conclude ends a run with its result; why says what went wrong before a supervisor was there.
func (a *Agent) conclude(log *slog.Logger, r *run, why error) {
	var o outcome
	if known, err := readJSON(r.file("result.json"), &o); known && err == nil {
		a.finish(log, r, o.ExitCode)
		return
	}
	said := "The script was cancelled while it waited to start."
	switch {
	case errors.Is(why, errCancelled):
		o.ExitCode = tentacle.ExitCanceled
	case errors.Is(why, errMutexTimeout):
		o.ExitCode = tentacle.ExitMutexTimeout
		said = fmt.Sprintf("The script could not start within %v, because other scripts hold the isolation mutex %q.", r.order.MutexWait, r.order.Mutex)
	case why != nil && isFull(why):
		o.ExitCode = tentacle.ExitFatal
		said = fmt.Sprintf("The script cannot be run because the disk of this machine is full: %v.", why)
	case why != nil:
		o.ExitCode = tentacle.ExitNoShell
		said = fmt.Sprintf("The script could not be started: %v.", why)
	default:
		o.ExitCode = tentacle.ExitUnknownResult
		said = "The process that watched this script was killed, so its result is unknown. What was left of the script was ended."
		var b begun
		if known, err := readJSON(r.file("started"), &b); known && err == nil && b.Cgroup != "" {
			left := joinTree(b.Cgroup)
			left.kill()
			left.close()
		}
	}
	log.Warn("a script did not end by itself", "exit", o.ExitCode, "reason", said)
	o.Ended = time.Now().UTC()
	err := r.say(tentacle.StdErr, said)
	if e := writeResult(r.dir, o); err != nil || e != nil {
		log.Error("the end of a script could not be recorded", "err", errors.Join(err, e))
	}
	a.finish(log, r, o.ExitCode)
}

func (a *Agent) finish(log *slog.Logger, r *run, exit int32) {
	r.exit = exit
	close(r.ended)
	log.Info("script ended", "exit", exit)
}
