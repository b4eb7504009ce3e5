package quickstart

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// process is a program that runs beside us; its own words go to a file.
type process struct {
	*exec.Cmd
	end  syscall.Signal // how it is asked to end
	done chan struct{}  // closed when it has ended
}

// start runs a program beside us.
func (s *show) start(name string, command *exec.Cmd) (*process, error) {
	log, err := os.OpenFile(filepath.Join(s.Data, "logs", name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command.Stdout, command.Stderr = log, log
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	command.SysProcAttr.Setpgid = true // Ctrl-C is ours to pass on, in the right order
	p := &process{Cmd: command, end: syscall.SIGTERM, done: make(chan struct{})}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = command.Wait() // how it ended stands in its log
		close(p.done)
	}()
	s.processes = append(s.processes, p)
	return p, nil
}

// wait polls until a started program is ready, or has died.
func (s *show) wait(ctx context.Context, p *process, what string, ready func() bool) error {
	deadline := time.After(60 * time.Second)
	broken := fmt.Errorf("%s did not start; its last words are in %s", what, filepath.Join(s.Data, "logs"))
	for !ready() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.done:
			return broken
		case <-deadline:
			return broken
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// kill ends a program as a power cut does.
func (p *process) kill() error {
	err := p.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("process %d ended by itself", p.Process.Pid)
	}
	<-p.done
	return err
}

// stop ends what was started, the last first: the agents, then the nodes, then the database.
func (s *show) stop() {
	for i := len(s.processes) - 1; i >= 0; i-- {
		p := s.processes[i]
		_ = p.Process.Signal(p.end) // it may be gone already
		select {
		case <-p.done:
		case <-time.After(15 * time.Second):
			_ = p.Process.Kill()
			<-p.done
		}
	}
	for _, b := range s.balancers {
		b.Close()
	}
}

// freeAddress is the wanted one or, if that port is taken, the next free one.
func freeAddress(wanted string) (string, error) {
	listener, err := listenFrom(wanted)
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// listenFrom listens on the wanted address or, if that port is taken, on the next free one.
func listenFrom(wanted string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(wanted)
	if err != nil {
		return nil, fmt.Errorf("%q is not host:port", wanted)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("%q is not host:port", wanted)
	}
	for try := range 100 {
		if listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(n+try))); err == nil {
			return listener, nil
		}
	}
	return nil, fmt.Errorf("no free port from %s on", wanted)
}
