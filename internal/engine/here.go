package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/octavo/octavo/internal/convention"
	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/feed"
	"github.com/octavo/octavo/internal/hub"
	"github.com/octavo/octavo/internal/script"
	"github.com/octavo/octavo/internal/tentacle"
)

// here is the "service" of scripts that run on the server itself, as its built-in worker (deployments.md W2, W7).
const here hub.Service = "server"

// doHere runs a script on this node. It is marked as started before it starts, so that it never starts twice: a
// script that a dead node had started is interrupted, and Next decides what follows (W7).
func (w *work) doHere(ctx context.Context, j job, r *row) (outcome, error) {
	if r.state == "planned" && isClosed(w.run.Cancelled()) {
		if err := w.setState(ctx, r, "completed"); err != nil {
			return outcome{}, err
		}
		return outcome{}, errCancelled
	}
	if r.state == "started" {
		if err := w.setState(ctx, r, "interrupted"); err != nil {
			return outcome{}, err
		}
		w.say(ctx, j.activity, tasklog.Error, "The script ran on a server that stopped. It was ended there, and nobody can know how far it came.")
		return outcome{}, errInterrupted
	}
	c, err := w.open(r)
	if err != nil {
		return outcome{}, err
	}
	dir := filepath.Join(w.Work, "Work", r.ticket)
	if err := prepareHere(dir, c); err != nil {
		return outcome{}, err
	}
	defer os.RemoveAll(dir)
	if err := w.absorbLines(ctx, j, r, nil, 0); err != nil { // marks it as started
		return outcome{}, err
	}
	exit, err := w.runHere(ctx, j, r, dir)
	if err != nil {
		return outcome{}, err
	}
	w.collectArtifacts(ctx, j, r)
	if err := w.ended(ctx, j, r, exit); err != nil {
		return outcome{}, err
	}
	return r.outcome(), nil
}

// prepareHere fills a workspace as an agent does.
func prepareHere(dir string, c command) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, file := range append([]script.File{{Name: "Bootstrap.sh", Content: []byte(c.Body)}}, c.Files...) {
		if err := os.WriteFile(filepath.Join(dir, file.Name), file.Content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// runHere keeps the script under a supervisor that dies with us (see supervise.go) and stores its lines as they come.
func (w *work) runHere(ctx context.Context, j job, r *row, dir string) (exit int, err error) {
	home, err := filepath.Abs(w.Work)
	if err != nil {
		return 0, err
	}
	process := exec.Command(w.Supervise[0], append(w.Supervise[1:len(w.Supervise):len(w.Supervise)], "bash", "Bootstrap.sh")...)
	process.Dir = dir
	process.Env = append(inherited(), "OCTAVO_TOOL="+w.Supervise[0], "TentacleHome="+home, "TentacleApplications="+filepath.Join(home, "Applications"),
		"TentacleJournal="+filepath.Join(home, "DeploymentJournal.xml"), "TentacleInstanceName=server")
	lifeline, err := process.StdinPipe()
	if err != nil {
		return 0, err
	}
	// Our own pipes, since those of exec close at the process's end, whether all was read or not.
	lines := make(chan said, 1000)
	var readers sync.WaitGroup
	var outputs []*os.File
	for _, stream := range []script.Stream{script.Stdout, script.Stderr} {
		from, to, err := os.Pipe()
		if err != nil {
			return 0, err
		}
		defer from.Close()
		defer to.Close()
		if outputs = append(outputs, from, to); stream == script.Stdout {
			process.Stdout = to
		} else {
			process.Stderr = to
		}
		readers.Go(func() { readLines(from, stream, lines) })
	}
	go func() { readers.Wait(); close(lines) }()
	err = process.Start()
	outputs[1].Close()
	outputs[3].Close()
	if err != nil {
		readers.Wait()
		return 0, fmt.Errorf("start a script on the server: %w", err)
	}
	beating, still := context.WithCancel(ctx)
	defer still()
	go beat(beating, lifeline)
	ended := make(chan error, 1)
	go func() {
		ended <- process.Wait()
		// What the script left running may hold its output open; that is not the script's any more (E13).
		late := time.Now().Add(leftoverGrace)
		_ = outputs[0].SetReadDeadline(late) // a pipe always has deadlines
		_ = outputs[2].SetReadDeadline(late)
	}()

	var overdue <-chan time.Time
	if j.limit > 0 {
		overdue = time.After(j.limit)
	}
	cancelled, stopped, lost := w.run.Cancelled(), false, ctx.Done()
	for lines != nil {
		batch := gather(lines, cancelled, overdue, lost)
		if len(batch.lines) > 0 && ctx.Err() == nil && err == nil {
			if err = w.absorbLines(ctx, j, r, batch.lines, r.logNext+int64(len(batch.lines))); err != nil {
				lifeline.Close()
			}
		}
		switch {
		case batch.closed:
			lines = nil
		case batch.stop:
			stopped = true
			cancelled, overdue, lost = nil, nil, nil
			lifeline.Close()
		}
	}
	waited := <-ended
	lifeline.Close()
	if ctx.Err() != nil {
		// The node lets go of the task: the script was ended with it, and that is now certain.
		return 0, context.Cause(ctx)
	}
	if err != nil {
		return 0, err
	}
	var failed *exec.ExitError
	switch {
	case stopped:
		return int(tentacle.ExitCanceled), nil
	case errors.As(waited, &failed):
		return failed.ExitCode(), nil
	}
	return 0, waited
}

// leftoverGrace is how long output is read after a script's end from what it left running.
const leftoverGrace = 5 * time.Second

// beat tells the supervisor that this node lives; a stopped node cannot, and then its scripts are ended for it.
func beat(ctx context.Context, lifeline io.Writer) {
	for {
		if _, err := lifeline.Write([]byte{'.'}); err != nil {
			return // the supervisor is gone, or the script is being ended
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// inherited is our environment without our settings, of which some are secret.
func inherited() (env []string) {
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "OCTAVO_") {
			env = append(env, pair)
		}
	}
	return env
}

// batch is what a script said in a moment, and why gathering ended.
type batch struct {
	lines        []said
	closed, stop bool
}

// gather takes lines for a fifth of a second, or a thousand, or a megabyte, so that a talkative script costs few transactions.
func gather(lines <-chan said, cancelled <-chan struct{}, overdue <-chan time.Time, lost <-chan struct{}) (b batch) {
	var enough <-chan time.Time
	size := 0
	for len(b.lines) < 1000 && size < 1<<20 {
		select {
		case line, open := <-lines:
			if !open {
				b.closed = true
				return b
			}
			b.lines = append(b.lines, line)
			size += len(line.text)
			if enough == nil {
				enough = time.After(200 * time.Millisecond)
			}
		case <-enough:
			return b
		case <-cancelled:
			b.stop = true
			return b
		case <-overdue:
			b.stop = true
			return b
		case <-lost:
			b.stop = true
			return b
		}
	}
	return b
}

func readLines(from io.Reader, stream script.Stream, lines chan<- said) {
	reader := bufio.NewReaderSize(from, 64<<10)
	var long []byte
	for {
		piece, more, err := reader.ReadLine()
		long = append(long, piece...)
		if err != nil {
			if len(long) > 0 {
				lines <- said{stream, string(long), time.Now()}
			}
			return
		}
		if !more || len(long) > script.MaxLine {
			lines <- said{stream, string(long), time.Now()}
			long = nil
		}
	}
}

// bringHere puts packages into this node's own cache.
func (d *walk) bringHere(ctx context.Context, activity string, packages []deployment.Package) error {
	for _, pkg := range packages {
		file, err := d.packageFile(ctx, pkg)
		if err != nil {
			return err
		}
		path := filepath.Join(d.Work, filepath.FromSlash(file.Path()))
		if info, err := os.Stat(path); err == nil && info.Size() == file.Size {
			now := time.Now()
			if os.Chtimes(path, now, now) == nil { // when it was used last (tidy.go); gone just now, it is fetched again
				continue // it was renamed into place whole, and its name holds its hash
			}
		}
		if err := d.copyHere(ctx, pkg, file, path); err != nil {
			return err
		}
		d.say(ctx, activity, tasklog.Verbose, "Fetched %s %s to the server's cache.", file.Id, file.Version)
	}
	return nil
}

func (d *walk) copyHere(ctx context.Context, pkg deployment.Package, file convention.Package, path string) error {
	found, err := d.findPackage(ctx, pkg)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	waiting, done := d.calls(ctx, nil)
	defer done()
	err = d.whenStored(waiting, d.task.Id, found, func() error { return d.fetchHere(waiting, found, path) })
	if waiting.Err() != nil {
		return context.Cause(waiting)
	}
	return err
}

func (d *walk) fetchHere(ctx context.Context, found feed.Package, path string) error {
	from, err := d.Packages.Open(ctx, found, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.CreateTemp(filepath.Dir(path), ".fetching-*")
	if err != nil {
		return err
	}
	defer os.Remove(to.Name()) // gone already when all went well
	if _, err := io.Copy(to, from); err != nil {
		return errors.Join(err, to.Close())
	}
	if err := errors.Join(to.Sync(), to.Close()); err != nil {
		return err
	}
	return os.Rename(to.Name(), path)
}

// openHere opens a file of this node; nil without an error when it is not there.
func openHere(path string) (io.ReadCloser, int64, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}
