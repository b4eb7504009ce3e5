package engine_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

// The blob store goes away in the middle of a deployment: its artifact is set aside, its package is waited for, no line is lost, and when
// the store is back all of it is where it belongs (I18).
func TestShareGoesAwayRow84(t *testing.T) {
	t.Parallel()
	w := newWorld(t, dbtest.New(t, db.SQLite))
	w.target("web1", nil)
	w.upload("Acme.Web.1.0.0.zip", map[string]string{"run.sh": "echo from the package"})
	gate := filepath.Join(w.dir, "gate")
	w.save(
		step("Make", "web", bash("echo content > artifact.txt; echo waiting; until [ -e "+gate+" ]; do sleep 0.05; done; new_octopusartifact artifact.txt", nil), nil),
		step("Here", "", m{"Octopus.Action.Script.ScriptSource": "Package", "Octopus.Action.Script.ScriptFileName": "run.sh", "Octopus.Action.RunOnServer": "True"},
			m{"Packages": []any{m{"Name": "", "PackageId": "Acme.Web", "FeedId": "feeds-builtin", "AcquisitionLocation": "Server", "Properties": m{}}}}),
	)
	task, deployment := w.push(w.release(nil), nil)
	w.until("the script waits", func() (bool, string) { log := w.log(task); return strings.Contains(log, "waiting"), log })
	w.away.Store(true)
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.until("the artifact is set aside", func() (bool, string) {
		log := w.log(task)
		return strings.Contains(log, "The artifact artifact.txt (0.0 KB) waits on node n1"), log
	})
	w.until("the package is waited for", func() (bool, string) {
		log := w.log(task)
		return strings.Contains(log, "cannot be read: The share is away."), log
	})
	w.away.Store(false)
	e := w.ended(task, deployment)
	e.want(t, "Success", "waiting", "from the package", "The share is away.")

	count := func(query string) (n int) {
		t.Helper()
		err := w.d.Read(t.Context(), func(tx *db.Tx) error { return tx.QueryRowContext(t.Context(), query, task).Scan(&n) })
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	const artifacts, sealed = "SELECT count(*) FROM artifact WHERE task = $1 AND size = 8", "SELECT count(*) FROM log_sealed WHERE task = $1"
	if count(artifacts) != 0 {
		t.Error("an artifact is shown that is not stored")
	}
	ctx, stop := context.WithCancel(t.Context())
	var sweeps sync.WaitGroup
	sweeps.Go(func() { w.engines["n1"].Sweep(ctx) })
	w.until("all is stored", func() (bool, string) { return count(artifacts) == 1 && count(sealed) == 1, "" })
	stop()
	sweeps.Wait()
	left, err := filepath.Glob(filepath.Join(w.dir, "server", "n1", "Aside", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
	if log := w.log(task); log != e.log {
		t.Errorf("the log was:\n%s\nand is sealed as:\n%s", e.log, log)
	}
}
