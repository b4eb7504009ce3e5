package engine

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/feed"
	"github.com/octavo/octavo/internal/id"
)

func zipped(t *testing.T, content string) io.Reader {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create("a.txt")
	if err == nil {
		_, err = io.WriteString(w, content)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return &b
}

func idNumber(s string) int64 {
	_, n, _ := id.Split(s)
	return n
}

func (h *house) push(name, mode string) {
	h.t.Helper()
	_, _, err := h.use.Upload(h.ctx, control.FirstSpace, name, zipped(h.t, name), mode)
	h.must(err)
}

// file is where a package's content lies.
func (h *house) file(packageID string) string {
	h.t.Helper()
	var key string
	h.must(h.d.Read(h.ctx, func(tx *db.Tx) error {
		return tx.QueryRowContext(h.ctx, "SELECT blob FROM package WHERE package_id = $1", packageID).Scan(&key)
	}))
	return filepath.Join(h.dir, filepath.FromSlash(key))
}

func TestCheckOfTheRepositoryRow19(t *testing.T) { // behaviour.md 2.16, P15
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		h := newHouse(t, d)
		for _, name := range []string{"Good.1.0.0.zip", "Gone.1.0.0.zip", "Bent.1.0.0.zip", "Fine.1.0.0.zip"} {
			h.push(name, "")
		}
		if task, log := h.run(KindRepository); task.State != cluster.Success || !strings.Contains(log, "Read 4 contents") {
			t.Fatalf("%s\n%s", task.State, log)
		}
		h.must(os.Remove(h.file("Gone")))
		h.must(os.Chmod(h.file("Bent"), 0o600))
		h.must(os.WriteFile(h.file("Bent"), []byte("something else"), 0o600))
		h.must(os.MkdirAll(filepath.Join(h.dir, "packages", "zz"), 0o700))
		h.must(os.WriteFile(filepath.Join(h.dir, "packages", "zz", "extra"), []byte("who am I"), 0o600))
		h.exec("UPDATE package SET sort_key = $1 WHERE package_id = 'Fine'", []byte("wrong"))

		h.stealAfter("INSERT", "log_chunk", "NEW.body LIKE '%2 of 4%'", KindRepository)
		task, log := h.run(KindRepository)
		if n := h.count("task_run WHERE task = $1", task.Id); n != 2 {
			t.Errorf("it was run %d times; it was to lose its node once", n)
		}
		if task.State != cluster.Failed || !strings.Contains(task.ErrorMessage, "2 contents of packages are missing or damaged") || !task.HasWarnings {
			t.Errorf("%s %q", task.State, task.ErrorMessage)
		}
		for _, line := range []string{
			"Error Gone 1.0.0 (Spaces-1) is missing: the file packages/", "Error Bent 1.0.0 (Spaces-1) is damaged: ", "packages/zz/extra", "Warning The index was wrong for these, and is mended: Fine 1.0.0 (Spaces-1).",
			"Read 4 contents", "2 are missing or damaged. 1 files",
		} {
			if strings.Count(log, line) != 1 {
				t.Errorf("the log has %q %d times\n%s", line, strings.Count(log, line), log)
			}
		}
		if n := h.count("event WHERE category = 'PackageContentTrouble'"); n != 2 {
			t.Errorf("%d events", n)
		}
		if h.count("package") != 4 {
			t.Error("a version was deleted")
		}
		if _, err := os.Stat(filepath.Join(h.dir, "packages", "zz", "extra")); err != nil {
			t.Errorf("the file nobody knows was removed: %v", err)
		}
		// Told once; mended by pushing again.
		if h.run(KindRepository); h.count("event WHERE category = 'PackageContentTrouble'") != 2 {
			t.Error("the same trouble was recorded again")
		}
		h.push("Gone.1.0.0.zip", string(feed.OverwriteExisting))
		h.push("Bent.1.0.0.zip", string(feed.OverwriteExisting))
		if task, log := h.run(KindRepository); task.State != cluster.Success {
			t.Errorf("%s\n%s", task.State, log)
		}
	})
}

func TestCheckOfARepositoryThatIsNotMounted(t *testing.T) {
	d := dbtest.New(t, db.SQLite)
	h := newHouse(t, d)
	h.push("Good.1.0.0.zip", "")
	h.must(os.Rename(filepath.Join(h.dir, "packages"), filepath.Join(h.dir, "elsewhere")))
	h.must(os.Rename(filepath.Join(h.dir, "octavo-cluster"), filepath.Join(h.dir, "elsewhere", "octavo-cluster")))
	task, err := h.use.PushTask(h.ctx, "", control.NewTask{Name: KindRepository})
	h.must(err)
	for h.count("task_run WHERE task = $1 AND ended IS NOT NULL", task.Id) == 0 { // until it is let go, to be tried again
		<-time.After(5 * time.Millisecond)
	}
	if h.count("package_blob WHERE trouble <> ''") != 0 || h.count("event WHERE category = 'PackageContentTrouble'") != 0 {
		t.Error("packages are called missing, but the whole store is")
	}
	h.must(os.Rename(filepath.Join(h.dir, "elsewhere", "octavo-cluster"), filepath.Join(h.dir, "octavo-cluster")))
	h.must(os.Rename(filepath.Join(h.dir, "elsewhere"), filepath.Join(h.dir, "packages")))
	if task, log := h.ends(task.Id); task.State != cluster.Success {
		t.Errorf("%s\n%s", task.State, log)
	}
}
