//go:build unix

package agent

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/script"
	"github.com/octavo/octavo/internal/tentacle"
)

// Config is what an Agent needs to know.
type Config struct {
	Data         string        // the directory doc.go describes
	Supervisor   []string      // command that calls Supervise with the directory appended
	Listen       string        // host:port; "" is what the settings say
	Applications string        // where packages are extracted; told to scripts as TentacleApplications
	Instance     string        // told to scripts as TentacleInstanceName
	Version      string        // told to scripts as TentacleVersion
	Grace        time.Duration // between SIGTERM and SIGKILL; 0 is 10 seconds
	DiskWait     time.Duration // how long a script is held back while the disk is full; 0 is a minute
	Log          *slog.Logger
}

// Agent runs scripts for servers. It is made by Open and used by the services that Services registers.
type Agent struct {
	config  Config
	log     *slog.Logger
	lock    *os.File
	fences  fences
	mutexes mutexes

	ctx  context.Context // of the goroutines below; it ends with Close
	end  context.CancelFunc
	wait sync.WaitGroup

	tasks, tickets [64]sync.Mutex // taken in this order; striped by name

	mu   sync.Mutex
	runs map[string]*run // by ticketKey
}

// Open takes possession of a data directory and picks up the scripts that run or wait in it.
func Open(c Config) (*Agent, error) {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Grace == 0 {
		c.Grace = 10 * time.Second
	}
	if c.DiskWait == 0 {
		c.DiskWait = time.Minute
	}
	for _, dir := range []string{"Work", "Spool", "Ended", "Fences", "Files"} {
		if err := os.MkdirAll(filepath.Join(c.Data, dir), 0o700); err != nil {
			return nil, fault.Because(fault.Invalidf("The data directory %s cannot be used: %v.", c.Data, err), err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(c.Data, "agent.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fault.Conflictf("Another agent runs with the data directory %s; stop it, or choose another --data.", c.Data), lock.Close())
	}
	a := &Agent{config: c, log: c.Log, lock: lock, fences: fences{dir: filepath.Join(c.Data, "Fences")}, runs: map[string]*run{}}
	a.ctx, a.end = context.WithCancel(context.Background())
	if err := a.pickUp(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	a.wait.Go(a.tidy)
	return a, nil
}

// Close stops watching. Scripts go on running, and the next agent picks them up.
func (a *Agent) Close() error {
	a.end()
	a.wait.Wait()
	return a.lock.Close()
}

// pickUp reads what earlier agents left.
func (a *Agent) pickUp() error {
	entries, err := os.ReadDir(filepath.Join(a.config.Data, "Spool"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		key := e.Name()
		dir := filepath.Join(a.config.Data, "Spool", key)
		var o order
		known, err := readJSON(filepath.Join(dir, "run.json"), &o)
		if err != nil {
			a.log.Error("a script's state cannot be read; it is left where it is", "err", err)
			continue
		}
		if !known || exists(a.tombstone(key)) {
			// It was never promised to anybody, or it was completed.
			if err := errors.Join(removeTree(filepath.Join(a.config.Data, "Work", key)), removeTree(dir)); err != nil {
				a.log.Warn("a script's files cannot be removed", "err", err)
			}
			continue
		}
		a.runs[key] = newRun(dir, o)
		a.log.Info("picked up a script", "ticket", o.Ticket, "task", o.TaskId)
	}
	// Those that run take their mutexes first; those that wait queue up as they did.
	byTurn := slices.SortedFunc(maps.Values(a.runs), func(x, y *run) int {
		if xs, ys := exists(x.file("started")), exists(y.file("started")); xs != ys {
			if xs {
				return -1
			}
			return 1
		}
		return x.order.Accepted.Compare(y.order.Accepted)
	})
	for _, r := range byTurn {
		a.pursue(r)
	}
	return nil
}

// tidy drops what is older than a tombstone's life, once an hour.
func (a *Agent) tidy() {
	for {
		now := time.Now()
		_, err := removeOld(filepath.Join(a.config.Data, "Ended"), now.Add(-tentacle.TombstoneLife))
		if err = errors.Join(err, a.fences.forget(now)); err != nil {
			a.log.Warn("old files cannot be removed", "err", err)
		}
		for key, r := range a.known() {
			var o outcome
			if known, err := readJSON(r.file("result.json"), &o); known && err == nil && now.Sub(o.Ended) > tentacle.TombstoneLife {
				if err := a.complete(key); err != nil {
					a.log.Warn("a forgotten script cannot be removed", "err", err)
				}
			}
		}
		select {
		case <-a.ctx.Done():
			return
		case <-time.After(time.Hour):
		}
	}
}

func (a *Agent) known() map[string]*run {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.runs)
}

func (a *Agent) find(key string) *run {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.runs[key]
}

// ended is a tombstone.
type ended struct {
	Ticket   string
	ExitCode int32
	Lines    int64
	Ended    time.Time
}

func (a *Agent) tombstone(key string) string {
	return filepath.Join(a.config.Data, "Ended", key+".json")
}

func (a *Agent) answerFor(key string) (tentacle.ScriptStatusResponseV2, bool, error) {
	var e ended
	known, err := readJSON(a.tombstone(key), &e)
	return tentacle.ScriptStatusResponseV2{
		Ticket: tentacle.ScriptTicket{TaskId: e.Ticket}, Logs: []tentacle.ProcessOutput{},
		NextLogSequence: e.Lines, State: tentacle.Complete, ExitCode: e.ExitCode,
	}, known, err
}

var ticketForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// ticketKey is a ticket's name on disk: tickets are compared without case (tentacle-protocol.md 2.3).
func ticketKey(ticket string) string { return strings.ToLower(ticket) }

func checkTicket(t tentacle.ScriptTicket) (string, error) {
	if !ticketForm.MatchString(t.TaskId) {
		return "", fault.InvalidField("ScriptTicket.TaskId", "A script ticket has 1 to 64 letters, digits, - or _; %q is none.", t.TaskId)
	}
	return ticketKey(t.TaskId), nil
}

func stripe(locks *[64]sync.Mutex, name string) *sync.Mutex {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	return &locks[h.Sum32()%64]
}

// start accepts a script at most once per ticket. fence is nil when the server knows no fences.
func (a *Agent) start(c tentacle.StartScriptCommandV2, fence *tentacle.Fence) (tentacle.ScriptStatusResponseV2, error) {
	defer closeFiles(c.Files)
	var none tentacle.ScriptStatusResponseV2
	key, err := checkTicket(c.ScriptTicket)
	if err != nil {
		return none, err
	}
	if fence != nil { // held until the script is in the list, so that an Adopt sees it or forbids it
		task := stripe(&a.tasks, fence.TaskId)
		task.Lock()
		defer task.Unlock()
		if err := a.fences.raise(*fence); err != nil {
			return none, err
		}
	}
	ticket := stripe(&a.tickets, key)
	ticket.Lock()
	defer ticket.Unlock()
	if r := a.find(key); r != nil {
		return r.status(0)
	}
	if answer, known, err := a.answerFor(key); known || err != nil {
		return answer, err
	}
	r, err := a.accept(key, c, fence)
	if err != nil {
		return none, err
	}
	a.mu.Lock()
	a.runs[key] = r
	a.mu.Unlock()
	a.log.Info("script accepted", "ticket", r.order.Ticket, "task", r.order.TaskId)
	a.pursue(r)
	return r.status(0)
}

// accept writes workspace and order. The order comes last: from then on the script is promised.
func (a *Agent) accept(key string, c tentacle.StartScriptCommandV2, fence *tentacle.Fence) (r *run, err error) {
	o := order{
		Ticket: c.ScriptTicket.TaskId, TaskId: c.TaskId, Level: c.Isolation, Mutex: tentacle.DefaultMutex,
		Work: filepath.Join(a.config.Data, "Work", key), Grace: a.config.Grace, DiskWait: a.config.DiskWait, Accepted: time.Now().UTC(),
	}
	if fence != nil {
		o.TaskId = fence.TaskId
	}
	if c.IsolationMutexName != nil && *c.IsolationMutexName != "" {
		o.Mutex = *c.IsolationMutexName
	}
	if t := c.ScriptIsolationMutexTimeout; t > 0 && t < tentacle.NoMutexTimeout {
		o.MutexWait = time.Duration(t)
	}
	dir := filepath.Join(a.config.Data, "Spool", key)
	defer func() {
		if err != nil {
			err = errors.Join(err, removeTree(dir), removeTree(o.Work))
		}
	}()
	if err := errors.Join(removeTree(dir), removeTree(o.Work)); err != nil { // half of an earlier attempt
		return nil, err
	}
	if err := errors.Join(os.Mkdir(o.Work, 0o700), os.Mkdir(dir, 0o700)); err != nil {
		return nil, err
	}
	body, ok := c.Scripts[tentacle.Bash]
	if !ok {
		body = c.ScriptBody
	}
	work, err := os.OpenRoot(o.Work)
	if err != nil {
		return nil, err
	}
	defer work.Close()
	if err := work.WriteFile("Bootstrap.sh", script.Normalize([]byte(body)), 0o600); err != nil {
		return nil, err
	}
	for _, f := range c.Files {
		if err := saveFile(work, f); err != nil {
			return nil, fmt.Errorf("file %q of the script: %w", f.Name, err)
		}
	}
	arguments, err := splitArguments(strings.Join(c.Arguments, " "))
	if err != nil {
		return nil, err
	}
	o.Command = append([]string{"/bin/bash", filepath.Join(o.Work, "Bootstrap.sh")}, arguments...)
	for _, fifo := range []string{"alive", "control"} {
		if err := syscall.Mkfifo(filepath.Join(dir, fifo), 0o600); err != nil {
			return nil, fmt.Errorf("make FIFO %s: %w", fifo, err)
		}
	}
	m, err := openMarks(dir)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(m.close(), os.WriteFile(filepath.Join(dir, "reserve"), make([]byte, 32<<10), 0o600)); err != nil {
		return nil, err
	}
	if err := errors.Join(writeJSON(filepath.Join(dir, "run.json"), o), syncDir(filepath.Dir(dir))); err != nil {
		return nil, err
	}
	return newRun(dir, o), nil
}

// complete replaces a run by its tombstone. A script that still runs is ended first.
func (a *Agent) complete(key string) error {
	r := a.find(key)
	if r == nil {
		return nil // completed before, or never known
	}
	if !r.isEnded() {
		if err := r.stop(); err != nil {
			return err
		}
		select {
		case <-r.ended:
		case <-a.ctx.Done():
			return fault.Busyf("The agent is stopping.")
		case <-time.After(r.order.Grace + 15*time.Second):
			return fault.Conflictf("The script %s cannot be ended, so its files are kept.", r.order.Ticket)
		}
	}
	ticket := stripe(&a.tickets, key)
	ticket.Lock()
	defer ticket.Unlock()
	if a.find(key) != r {
		return nil // another call was first
	}
	lines, err := r.reader.count()
	if err != nil {
		return err
	}
	if err := writeJSON(a.tombstone(key), ended{r.order.Ticket, r.exit, lines, time.Now().UTC()}); err != nil {
		return err
	}
	a.mu.Lock()
	delete(a.runs, key)
	a.mu.Unlock()
	return errors.Join(removeTree(r.order.Work), removeTree(r.dir))
}

// adopt raises a task's fence and lists the scripts it has here.
func (a *Agent) adopt(fence tentacle.Fence) ([]tentacle.ScriptTicket, error) {
	task := stripe(&a.tasks, fence.TaskId)
	task.Lock()
	defer task.Unlock()
	if err := a.fences.raise(fence); err != nil {
		return nil, err
	}
	tickets := []tentacle.ScriptTicket{}
	for _, r := range a.known() {
		if strings.EqualFold(r.order.TaskId, fence.TaskId) {
			tickets = append(tickets, tentacle.ScriptTicket{TaskId: r.order.Ticket})
		}
	}
	return tickets, nil
}

// environment is what scripts inherit: ours without our own settings, and what a Tentacle adds (tentacle-protocol.md 2.8).
func (a *Agent) environment() []string {
	var env []string
	for _, e := range os.Environ() { // scripts see none of our own settings
		if !strings.HasPrefix(e, "OCTAVO_") {
			env = append(env, e)
		}
	}
	self, err := os.Executable()
	if err != nil {
		self = ""
	}
	return append(env,
		"TentacleHome="+a.config.Data,
		"TentacleApplications="+a.config.Applications,
		"TentacleJournal="+filepath.Join(a.config.Data, "DeploymentJournal.xml"),
		"CalamariPackageRetentionJournalPath="+filepath.Join(a.config.Data, "PackageRetentionJournal.json"),
		"TentacleInstanceName="+a.config.Instance,
		"TentacleVersion="+a.config.Version,
		"TentacleExecutablePath="+self,
		"OCTAVO_TOOL="+self, // so that servers find the target-side tool in us
		"TentacleProgramDirectoryPath="+filepath.Dir(self),
		"AgentProgramDirectoryPath="+filepath.Dir(self),
		"TentacleUseDefaultProxy=False",
	)
}

func closeFiles(files []tentacle.ScriptFile) {
	for _, f := range files {
		_ = f.Contents.Close() // a temporary file at worst
	}
}
