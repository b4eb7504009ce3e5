package hub

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/octavo/octavo/internal/db"
)

// TestSweep: what dead nodes left goes, and nothing else.
func TestSweep(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.node("a"), w.node("b")
		w.exec("INSERT INTO node (name, machine, epoch, state, cap, draining, version, address, labels, registered) VALUES ('dead', 'm', 3, 'dead', 5, FALSE, '', '', '{}', 0)")
		call := func(id, state, caller string, epoch int, taker string) {
			w.exec(`INSERT INTO call (id, subscription, state, caller, caller_epoch, taker, taker_epoch, given_up, task, incarnation, claim, request, answer, error, created)
				VALUES ($1, 'poll://x/', $2, $3, $4, $5, 1, FALSE, '', 0, 0, $6, $7, $8, 0)`, id, state, caller, epoch, taker, []byte("r"),
				map[bool]any{true: []byte("a"), false: nil}[state == "answered"], map[bool]string{true: "why"}[state == "broken"])
		}
		call("waits", "waiting", "a", 1, "")
		call("old", "waiting", "a", 0, "")         // of an epoch that is over
		call("orphan", "waiting", "dead", 2, "")   //
		call("unread", "answered", "dead", 2, "b") //
		call("broken", "broken", "nobody", 1, "b") // its node is not even known
		call("carried", "taken", "dead", 2, "b")   // its carrier ends it
		call("doubly", "taken", "dead", 2, "dead") //
		call("unhappy", "taken", "a", 1, "dead")   // its caller sees to it
		for _, l := range [][3]any{{"poll://x/", "a", 1}, {"poll://x/", "b", 0}, {"poll://x/", "dead", 2}, {"poll://x/", "nobody", 1}} {
			w.exec("INSERT INTO link (subscription, node, epoch, number, since) VALUES ($1, $2, $3, 1, 0)", l[0], l[1], l[2])
		}
		for _, key := range []string{"calls/waits-request-x", "calls/gone-request-x", "calls/fresh-answer-x", "packages/gone"} {
			_, _, err := w.blobs.Put(t.Context(), key, strings.NewReader("x"))
			must(t, err)
			if !strings.Contains(key, "fresh") {
				old := time.Now().Add(-partLife - time.Minute)
				must(t, os.Chtimes(filepath.Join(w.dir, key), old, old))
			}
		}
		must(t, b.Sweep(t.Context()))
		var left []string
		must(t, w.d.Read(t.Context(), func(tx *db.Tx) error {
			rows, err := tx.QueryContext(context.Background(), "SELECT id FROM call UNION ALL SELECT node FROM link ORDER BY 1")
			if err != nil {
				return err
			}
			left, err = scanIDs(rows)
			return err
		}))
		if got, want := strings.Join(left, " "), "a carried unhappy waits"; got != want {
			t.Errorf("left: %s; want %s", got, want)
		}
		if got := strings.Join(w.parts(), " "); strings.Contains(got, "gone") || !strings.Contains(got, "waits") || !strings.Contains(got, "fresh") {
			t.Errorf("parts left: %s", got)
		}
		if _, err := w.blobs.Stat(t.Context(), "packages/gone"); err != nil {
			t.Error(err)
		}

		// A node forgets its own rows that it does not wait for; those it waits for stay.
		a.mu.Lock()
		a.calling["waits"] = true
		a.mu.Unlock()
		call("forgotten", "answered", "a", 1, "b")
		call("still", "taken", "a", 1, "b")
		call("lost", "taken", "a", 1, "dead")
		must(t, a.sweepOwn(t.Context(), 1))
		if n := w.count("SELECT count(*) FROM call WHERE id IN ('forgotten', 'lost')"); n != 0 {
			t.Error("a call that nobody waits for stays")
		}
		if n := w.count("SELECT count(*) FROM call WHERE id = 'still' AND given_up"); n != 1 {
			t.Error("the carrier of a forgotten call is not told")
		}
		if n := w.count("SELECT count(*) FROM call WHERE id = 'waits'"); n != 1 {
			t.Error("a call that is waited for was removed")
		}
	})
}
