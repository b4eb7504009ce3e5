//go:build unix

package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/octavo/octavo/internal/script"
	"github.com/octavo/octavo/internal/secret/mask"
	"github.com/octavo/octavo/internal/tentacle"
)

// order is run.json: all that a supervisor, or the agent after a restart, must know of a run.
type order struct {
	Ticket    string // as the server wrote it
	TaskId    string
	Level     tentacle.ScriptIsolationLevel
	Mutex     string
	MutexWait time.Duration // 0 = no limit
	Work      string        // the working directory
	Command   []string
	Grace     time.Duration // between SIGTERM and SIGKILL
	DiskWait  time.Duration // how long a full disk is waited for
	Accepted  time.Time
}

// outcome is result.json.
type outcome struct {
	ExitCode int32
	Ended    time.Time
	Lines    int64
}

// begun is the file "started".
type begun struct {
	Pid    int // the supervisor's
	Cgroup string
}

const (
	pipeWait = 5 * time.Second // for output to be closed after the script ended (reliability-and-security.md 4.10)
	maxLine  = 4 << 20         // the rest of a longer line follows as lines of their own
)

// What a supervisor says on its ready pipe.
const (
	saidStarted = 'R' // the script runs, or could not be started and has its result
	saidAlready = 'A' // another supervisor was first
)

// line is one line of the script on its way to the spool.
type line struct {
	source tentacle.ProcessOutputSource
	text   string
}

// Supervise is the life of a supervisor: it runs the script that dir describes, once, and leaves its output and result there.
// The agent is told over a pipe, descriptor 3, as soon as the script was started.
func Supervise(dir string) error {
	ready := readyPipe()
	keepToOurselves()
	runtime.LockOSThread() // the script dies with the thread that made it, so that must be the one that lives longest
	// Caught and dropped: an ignored signal would be ignored by the script as well.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	var o order
	if ok, err := readJSON(filepath.Join(dir, "run.json"), &o); !ok || err != nil {
		return fmt.Errorf("nothing to run in %s: %w", dir, errors.Join(err, os.ErrNotExist))
	}
	alive, err := os.OpenFile(filepath.Join(dir, "alive"), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer alive.Close()
	control, err := os.OpenFile(filepath.Join(dir, "control"), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer control.Close()
	t, err := newTree("octavo-" + ticketKey(o.Ticket) + fmt.Sprintf("-%d", os.Getpid()))
	if err != nil {
		return err
	}
	defer t.close()
	first, err := markStarted(dir, begun{os.Getpid(), t.cgroup})
	if !first {
		if err == nil {
			say(ready, saidAlready)
		}
		return err
	}
	s, err := openSpool(dir)
	if err != nil {
		return err
	}
	s.limit = o.DiskWait
	r := supervision{order: o, dir: dir, tree: t, spool: s, cancel: make(chan struct{})}
	go r.listen(control)
	code := r.run(ready)
	if err = r.write(); err != nil {
		code = tentacle.ExitFatal
		_ = os.Remove(filepath.Join(dir, "reserve"))
		err = errors.Join(err, s.lastWord(fmt.Sprintf("The output of this script cannot be stored on this machine, so the script was ended: %v.", err)))
	}
	return errors.Join(err, s.f.Sync(), s.close(), writeResult(dir, outcome{code, time.Now().UTC(), s.lines}))
}

// keepToOurselves sees to it that the script inherits no descriptor but those it is given, wherever ours came from.
func keepToOurselves() {
	entries, _ := os.ReadDir("/dev/fd") // where there is none, Go's own are closed anyway
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}

// readyPipe is nil when nobody gave us one; descriptor 3 is then the Go runtime's own.
func readyPipe() io.WriteCloser {
	var s syscall.Stat_t
	if syscall.Fstat(3, &s) != nil || s.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		return nil
	}
	return os.NewFile(3, "ready")
}

// markStarted is the moment after which the script is never started again.
func markStarted(dir string, b begun) (first bool, err error) {
	f, err := os.OpenFile(filepath.Join(dir, "started"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, err = fmt.Fprintf(f, `{"Pid":%d,"Cgroup":%q}`+"\n", b.Pid, b.Cgroup)
	return true, errors.Join(err, f.Sync(), f.Close(), syncDir(dir))
}

func say(to io.WriteCloser, what byte) {
	if to != nil {
		_, _ = to.Write([]byte{what}) // an agent that is gone will look by itself
		_ = to.Close()
	}
}

// writeResult uses the space kept back when the disk is full, and tries for a minute.
func writeResult(dir string, o outcome) error {
	for begun := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		err := writeJSON(filepath.Join(dir, "result.json"), o)
		if !isFull(err) || time.Since(begun) > time.Minute {
			return err
		}
		_ = os.Remove(filepath.Join(dir, "reserve")) // gone already at the second attempt
	}
}

// supervision is one script being watched.
type supervision struct {
	order  order
	dir    string
	tree   *tree
	spool  *spool
	failed error // why the spool cannot be written any more
	cancel chan struct{}

	secrets []string // what the script told to mask
	masks   *mask.Set
}

// listen closes cancel when the agent asks for it.
func (r *supervision) listen(control *os.File) {
	in := bufio.NewReader(control)
	for asked := false; ; {
		b, err := in.ReadByte()
		if err != nil {
			return
		}
		if b == 'c' && !asked {
			asked = true
			close(r.cancel)
		}
	}
}

func (r *supervision) note(format string, args ...any) {
	r.spool.add(tentacle.Debug, fmt.Sprintf(format, args...))
}

func (r *supervision) write() error {
	if r.failed == nil {
		r.failed = r.spool.flush()
	}
	return r.failed
}

// run starts the script and follows it to its end.
func (r *supervision) run(ready io.WriteCloser) int32 {
	select {
	case <-r.cancel:
		say(ready, saidStarted)
		return tentacle.ExitCanceled
	default:
	}
	out, err := r.start()
	if err != nil {
		r.spool.add(tentacle.StdErr, fmt.Sprintf("The script could not be started: %v.", err))
		err = r.write()
		say(ready, saidStarted)
		if err != nil {
			return tentacle.ExitFatal
		}
		return tentacle.ExitNoShell
	}
	say(ready, saidStarted)
	return r.follow(out)
}

// started is a script's process and its output.
type started struct {
	pid   int
	lines chan line // closed when both pipes are
	exit  chan syscall.WaitStatus
}

func (r *supervision) start() (*started, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	errRead, errWrite, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, outRead.Close(), outWrite.Close())
	}
	attr := &os.ProcAttr{Dir: r.order.Work, Env: os.Environ(), Files: []*os.File{null, outWrite, errWrite}, Sys: r.tree.attributes(true)}
	p, err := os.StartProcess(r.order.Command[0], r.order.Command, attr)
	if err != nil && r.tree.cgroup != "" { // a cgroup may exist and still refuse members
		r.tree.forget()
		attr.Sys = r.tree.attributes(false)
		p, err = os.StartProcess(r.order.Command[0], r.order.Command, attr)
	}
	_ = outWrite.Close() // the script has its own now
	_ = errWrite.Close()
	if err != nil {
		return nil, errors.Join(err, outRead.Close(), errRead.Close())
	}
	s := &started{pid: p.Pid, lines: make(chan line, 256), exit: make(chan syscall.WaitStatus, 1)}
	_ = p.Release() // waited for below, together with the orphans that come to us
	go s.reap()
	ended := make(chan struct{}, 2)
	go s.read(outRead, tentacle.StdOut, ended)
	go s.read(errRead, tentacle.StdErr, ended)
	go func() {
		<-ended
		<-ended
		close(s.lines)
	}()
	return s, nil
}

// reap waits for the script and for every orphan that comes back to this subreaper.
func (s *started) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil: // ECHILD: nobody is left
			return
		case pid == s.pid:
			s.exit <- status
		}
	}
}

// read cuts output into lines. Text that is not UTF-8 is made so, because the wire allows nothing else.
func (s *started) read(from *os.File, source tentacle.ProcessOutputSource, ended chan<- struct{}) {
	defer func() { ended <- struct{}{} }()
	defer from.Close()
	in := bufio.NewReaderSize(from, 64<<10)
	var text []byte
	for {
		piece, err := in.ReadSlice('\n')
		text = append(text, piece...)
		whole := err == nil
		if whole {
			text = text[:len(text)-1]
		}
		if whole || (err != bufio.ErrBufferFull && len(text) > 0) || len(text) >= maxLine {
			s.lines <- line{source, strings.TrimSuffix(strings.ToValidUTF8(string(text), "\uFFFD"), "\r")}
			text = text[:0]
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

// follow stores the output until the script has ended and its pipes are closed, one way or the other.
func (r *supervision) follow(s *started) int32 {
	var (
		lines     = s.lines
		exit      = s.exit
		cancel    = r.cancel
		status    *syscall.WaitStatus
		cancelled bool
		pipesTill <-chan time.Time // after the script's end
		killAt    <-chan time.Time // after a cancel
		killed    bool
		look      <-chan time.Time // now and then after a cancel
	)
	kill := func() {
		killed, killAt, pipesTill = true, nil, time.After(pipeWait)
		if left := r.tree.kill(); len(left) > 0 {
			r.note("These processes withstood being killed: %s.", describe(left))
		}
	}
	for lines != nil || status == nil || (cancelled && !killed && len(r.tree.members()) > 0) {
		select {
		case l, ok := <-lines:
			if !ok {
				lines = nil
				continue
			}
			r.store(l)
			r.drain(lines)
			if r.write() != nil && !killed {
				kill()
			}
		case st := <-exit:
			status = &st
			if !cancelled && !killed {
				pipesTill = time.After(pipeWait)
			}
		case <-pipesTill:
			if killed {
				lines = nil // a process nobody can kill holds the pipe
				if status == nil {
					return tentacle.ExitUnknownResult
				}
				continue
			}
			r.note("The script ended %v ago, but these processes hold its output open and are killed: %s.", pipeWait, describe(r.tree.members()))
			kill()
		case <-cancel:
			cancel, cancelled, pipesTill = nil, true, nil
			r.tree.signal(syscall.SIGTERM)
			killAt = time.After(r.order.Grace)
			ticker := time.NewTicker(50 * time.Millisecond)
			defer ticker.Stop()
			look = ticker.C
		case <-killAt:
			kill()
		case <-look: // whether those who were asked to end have done so
		}
	}
	switch {
	case r.failed != nil:
		return tentacle.ExitFatal
	case cancelled:
		return tentacle.ExitCanceled
	}
	if left := r.tree.members(); len(left) > 0 {
		r.note("The script left these processes running: %s.", describe(left))
	}
	if status.Signaled() {
		return 128 + int32(status.Signal())
	}
	return int32(status.ExitStatus())
}

// drain takes what is there already, so that one write carries many lines.
func (r *supervision) drain(lines <-chan line) {
	for len(r.spool.buf) < 256<<10 {
		select {
		case l, ok := <-lines:
			if !ok {
				return // follow sees it again
			}
			r.store(l)
		default:
			return
		}
	}
}

// store masks a line by what the script has told to mask so far, and keeps it. Lines with service messages stay whole:
// the server needs their values, and masks what it makes of them.
func (r *supervision) store(l line) {
	message := false
	if strings.Contains(l.text, "##octopus[") {
		for _, e := range new(script.Parser).Line(script.Stream(l.source), l.text) {
			switch e := e.(type) {
			case script.Output:
				continue
			case script.Mask:
				r.hide(e.Value)
			case script.SetVariable:
				if e.Sensitive {
					r.hide(e.Value)
				}
			}
			message = true
		}
	}
	if r.masks != nil && !message {
		l.text = r.masks.Text(l.text)
	}
	r.spool.add(l.source, l.text)
}

func (r *supervision) hide(secret string) {
	if !slices.Contains(r.secrets, secret) {
		r.secrets = append(r.secrets, secret)
		r.masks = mask.NewSet(r.secrets)
	}
}

func describe(pids []int) string {
	var said []string
	for i, pid := range pids {
		if i == 10 {
			said = append(said, fmt.Sprintf("and %d more", len(pids)-i))
			break
		}
		said = append(said, fmt.Sprintf("%s (%d)", nameOf(pid), pid))
	}
	if said == nil {
		return "none that can be seen"
	}
	return strings.Join(said, ", ")
}
