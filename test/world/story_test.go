package world

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/octavo/octavo/internal/db"
)

func TestStory(t *testing.T) {
	p := newPlace(t, db.SQLite)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, p)
		defer w.leave()
		t0 := time.Now()
		a := w.boot("a", 2)
		w.boot("b", 2)
		w.boot("c", 2)
		time.Sleep(5 * time.Second)
		r := ask(t.Context(), a.api, "POST", "/api/deployments", m{"ReleaseId": p.subject.releases[0], "EnvironmentId": p.subject.environments[0]})
		t.Log(r.status, string(r.body))
		w.until(time.Minute, "over", func() bool { return len(w.query("SELECT task FROM queue")) == 0 })
		w.checkEnd()
		t.Log(time.Since(t0), w.notes)
		t.Log(w.picture())
	})
}
