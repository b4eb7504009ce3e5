package engine

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

func TestANodeTidiesItsOwnFolder(t *testing.T) { // P16, K26, K27
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		e := &Engine{DB: d, Work: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
		const day = 24 * time.Hour
		lay := func(name string, size int, age time.Duration) {
			t.Helper()
			path := filepath.Join(e.Work, name)
			err := os.MkdirAll(filepath.Dir(path), 0o700)
			if err == nil {
				err = os.WriteFile(path, make([]byte, size), 0o600)
			}
			for at := path; err == nil && at != e.Work; at = filepath.Dir(at) {
				err = os.Chtimes(at, time.Time{}, time.Now().Add(-age))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		left := func(pattern string) (names []string) {
			t.Helper()
			found, err := filepath.Glob(filepath.Join(e.Work, pattern))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				names = append(names, filepath.Base(f))
			}
			return names
		}
		if err := e.tidy(t.Context()); err != nil {
			t.Fatalf("a folder that is not there: %v", err)
		}
		lay("Work/runs/a", 1, 2*day)
		lay("Work/left/a", 1, 2*day)
		lay("Work/fresh/a", 1, time.Hour)
		in(t, d, func(tx *db.Tx) error {
			for ticket, state := range map[string]string{"runs": "started", "left": "completed"} {
				if _, err := tx.ExecContext(t.Context(), `INSERT INTO script_run (ticket, task, run, part, place, service, state, log_next, progress, exit_code, message, errors, warnings, incarnation, claim, created)
					VALUES ($1, 'ServerTasks-1', $1, 'p', '', 's', $2, 0, $3, 0, '', FALSE, FALSE, 1, 1, 1)`, ticket, state, []byte{}); err != nil {
					return err
				}
			}
			return nil
		})
		if err := e.tidyWork(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"fresh", "runs"}, left("Work/*")); diff != "" {
			t.Error(diff)
		}

		for name, age := range map[string]time.Duration{"ancient": 91 * day, "older": 9 * day, "old": 8 * day, "used": time.Hour} {
			lay("Files/"+name, 100, age)
		}
		lay("Files/.fetching-1", 100, 2*day)
		lay("Files/.octavo.json", 100, 200*day)
		roomy := func(string) (int64, int64, error) { return 900, 1000, nil }
		if err := e.tidyFiles(roomy); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{".octavo.json", "old", "older", "used"}, left("Files/*")); diff != "" {
			t.Error(diff)
		}
		full := func(string) (int64, int64, error) { return 140, 1000, nil } // 60 are short, so 78 go
		if err := e.tidyFiles(full); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{".octavo.json", "old", "used"}, left("Files/*")); diff != "" {
			t.Error(diff)
		}
		empty := func(string) (int64, int64, error) { return 0, 1000, nil }
		if err := e.tidyFiles(empty); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{".octavo.json", "used"}, left("Files/*")); diff != "" {
			t.Errorf("what was used today may be in use: %s", diff)
		}
		if free, total, err := diskSpace(e.Work); free <= 0 || total < free || err != nil {
			t.Errorf("%d of %d, %v", free, total, err)
		}
	})
}

func TestTidyKeepsWhatIsTouchedMeanwhile(t *testing.T) {
	e := &Engine{Work: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
	dir := filepath.Join(e.Work, "Files")
	old := time.Now().Add(-100 * 24 * time.Hour)
	err := os.Mkdir(dir, 0o700)
	for _, name := range []string{"used", "unused"} {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), nil, 0o600)
		}
		if err == nil {
			err = os.Chtimes(filepath.Join(dir, name), old, old)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	space := func(string) (free, total int64, err error) { // asked between the list and the removal
		return 1, 1, os.Chtimes(filepath.Join(dir, "used"), time.Now(), time.Now())
	}
	if err := e.tidyFiles(space); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{filepath.Join(dir, "used")}, left); diff != "" {
		t.Error(diff)
	}
}
