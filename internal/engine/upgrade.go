package engine

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/hub"
	"github.com/octavo/octavo/internal/tentacle"
)

// KindUpgrade gives agents the octavo-agent of this server (reliability-and-security.md M3). It stops no script: the agent becomes
// the new program while its supervisors work on, also the one of the script that does it. So this needs no lock of the machine.
const KindUpgrade = "Upgrade"

// upgradesAtOnce is how many agents get their program at a time.
var upgradesAtOnce = 2 * runtime.NumCPU()

const upgradeLimit = 5 * time.Minute // of one script

//go:embed upgrade.sh
var upgradeScript string

func (e *Engine) upgrade(ctx context.Context, w *work) (cluster.Outcome, error) {
	arguments, _, _, err := control.ReadHealthArguments(w.task.Arguments)
	if err != nil {
		return nil, err
	}
	all, _, err := w.chosen(ctx, arguments)
	if err != nil {
		return nil, err
	}
	if err := w.opens(ctx, "upgrade begin", fmt.Sprintf("Upgrading the agents of %d machines.", len(all))); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var upgrades sync.WaitGroup
	var bad []string
	var lost error
	slots := make(chan struct{}, upgradesAtOnce)
	for _, c := range all {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		case <-w.run.Cancelled():
		}
		if ctx.Err() != nil || isClosed(w.run.Cancelled()) {
			break
		}
		upgrades.Go(func() {
			defer func() { <-slots }()
			defer func() {
				if p := recover(); p != nil {
					w.Log.Error("panic while an agent was upgraded", "task", w.task.Id, "machine", c.id, "panic", p, "stack", string(debug.Stack()))
					mu.Lock()
					lost = errPanicked
					mu.Unlock()
				}
			}()
			well, err := w.upgradeOne(ctx, c)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				lost = err
			} else if !well {
				bad = append(bad, c.name)
			}
		})
	}
	upgrades.Wait()
	switch {
	case ctx.Err() != nil:
		return cluster.Released{}, nil
	case isClosed(w.run.Cancelled()):
		return w.end(ctx, cluster.Canceled, "The task was cancelled. Agents that were upgraded until then stay so."), nil
	case lost != nil:
		return nil, lost
	case len(bad) > 0:
		slices.Sort(bad)
		return w.end(ctx, cluster.Failed, "Not upgraded: "+strings.Join(bad, ", ")+"."), nil
	}
	return w.end(ctx, cluster.Success, ""), nil
}

// upgradeOne upgrades one agent and writes down how that ended.
func (w *work) upgradeOne(ctx context.Context, c checked) (well bool, err error) {
	activity := w.task.Id + "/" + c.id
	if err := w.store(ctx, "upgrade one", func(tx *db.Tx) error {
		return tasklog.Append(ctx, tx, w.fence, tasklog.Open(activity, w.task.Id, c.name, tasklog.Running))
	}); err != nil {
		return false, err
	}
	said, failed := w.renew(ctx, c, activity)
	if ctx.Err() != nil || isClosed(w.run.Cancelled()) {
		return false, errCancelled
	}
	line, status := tasklog.Line(activity, tasklog.Info, said), tasklog.Success
	if failed != nil {
		line, status = tasklog.Line(activity, tasklog.Error, cause(failed)), tasklog.Failed
	}
	return failed == nil, w.store(ctx, "upgrade end", func(tx *db.Tx) error {
		return tasklog.Append(ctx, tx, w.fence, line, tasklog.Set(activity, status))
	})
}

var (
	digestForm   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	platformForm = regexp.MustCompile(`^[a-z0-9]+-[a-z0-9_]+$`)
)

// renew asks an agent which program it is, and if it is another than ours, sends ours and has the agent become it.
func (w *work) renew(ctx context.Context, c checked, activity string) (said string, err error) {
	trust, err := w.Hub.Agent(ctx, c.id)
	if err != nil {
		return "", err
	}
	service, err := w.Hub.Capabilities(ctx, trust, w.retried(ctx, activity))
	if err != nil {
		return "", err
	}
	if service != hub.Fenced {
		return "", fault.Invalidf("%s has an unmodified Tentacle, which only its own installer upgrades. Its scripts get the newest tool from this server as it is.", c.name)
	}
	at := place{machine: c.id, name: c.name, trust: trust, target: c.id, targetName: c.name}
	run := func(part, body string) error {
		result, err := w.do(ctx, job{
			run: c.id, part: part, activity: activity, action: "Upgrade", place: at, limit: upgradeLimit,
			command: func(context.Context, hub.Service) (command, error) {
				return command{Body: body, Isolation: tentacle.NoIsolation}, nil
			},
		})
		if err == nil && result.exit != 0 {
			err = fault.Invalidf("The script on %s ended with exit code %d; its log above says why.", c.name, result.exit)
		}
		return err
	}
	if err := run("which", upgradeScript); err != nil {
		return "", err
	}
	var outputs []output
	err = w.DB.Read(ctx, func(tx *db.Tx) (err error) {
		outputs, err = w.readOutputs(ctx, tx)
		return err
	})
	if err != nil {
		return "", err
	}
	facts := map[string]string{}
	for _, o := range outputs {
		if o.machineID == c.id {
			facts[o.name] = o.value
		}
	}
	platform := facts["AgentPlatform"]
	if !digestForm.MatchString(facts["AgentDigest"]) || !platformForm.MatchString(platform) {
		return "", fault.Invalidf("%s did not say which program it is, and for which platform.", c.name)
	}
	file := filepath.Join(w.Tools, platform, "octavo-agent")
	digest, length, err := fileDigest(file)
	if errors.Is(err, os.ErrNotExist) {
		return "", fault.Because(fault.Invalidf("The server has no octavo-agent for %s. Put it at %s on each node.", platform, file), err)
	}
	if err != nil {
		return "", err
	}
	if digest == facts["AgentDigest"] {
		return "The agent is up to date.", nil
	}
	path := "Program/new-" + digest[:16] // below the agent's data
	w.say(ctx, activity, tasklog.Info, "Sending octavo-agent for %s (%s).", platform, size(length))
	if _, err := w.Hub.Upload(ctx, trust, path, length, func() (io.ReadCloser, error) { return os.Open(file) }, w.retried(ctx, activity)); err != nil {
		return "", err
	}
	// The new program is asked to do it, so that it decides how it takes over.
	body := fmt.Sprintf("chmod 700 \"$TentacleHome/%[1]s\" && \"$TentacleHome/%[1]s\" upgrade --data \"$TentacleHome\" --from \"$TentacleHome/%[1]s\" --sha256 %[2]s\n", path, digest)
	if err := run("upgrade "+digest[:16], body); err != nil {
		return "", err
	}
	return "The agent was upgraded; no script was stopped.", nil
}

func fileDigest(path string) (digest string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}
