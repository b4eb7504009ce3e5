package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/octavo/octavo/internal/api"
	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/feed"
	"github.com/octavo/octavo/internal/halibut"
	"github.com/octavo/octavo/internal/hub"
	"github.com/octavo/octavo/internal/secret"
)

const adminKey = "API-ADMIN0123456789"

// client is a client of a server of its own, on a database of its own.
type client struct {
	t       *testing.T
	db      *db.DB
	control *control.Control
	server  *httptest.Server
	key     string
	asked   int // how many questions

	document *document
}

// each runs a test against a fresh server on both engines.
func each(t *testing.T, test func(t *testing.T, c *client)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, d *db.DB) { test(t, start(t, d)) })
}

func start(t *testing.T, d *db.DB) *client {
	t.Helper()
	ring, err := secret.Start(t.Context(), d, secret.Source{Text: secret.NewKey()})
	must(t, err)
	identity, err := halibut.NewIdentity("Octopus Portal")
	must(t, err)
	blobs, err := blob.OpenFolder(t.Context(), t.TempDir(), blob.Options{})
	must(t, err)
	log := slog.New(slog.NewTextHandler(testWriter{t}, nil))
	use := &control.Control{
		DB: d, Ring: ring, Hub: hub.New(hub.Config{DB: d, Identity: identity, Ring: ring, Streams: t.TempDir(), Log: log}), Packages: feed.Repository{DB: d, Blobs: blobs}, Node: "n1",
		Served: control.Served{InstallationID: "79af4d4a-dc7f-479c-b0c5-8bf30cb0a827", Thumbprint: identity.Thumbprint},
	}
	must(t, use.Bootstrap(t.Context()))
	_, err = use.Admin(t.Context(), "admin", "secret password", adminKey)
	must(t, err)
	handler, err := api.New(use, tasklog.Reader{DB: d, Blobs: blobs}, log)
	must(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &client{t, d, use, server, adminKey, 0, documentOf(t, handler)}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) object() map[string]any {
	var o map[string]any
	_ = json.Unmarshal(a.body, &o)
	return o
}

func (a answer) list() []any {
	var l []any
	_ = json.Unmarshal(a.body, &l)
	return l
}

// text gives a member at a path such as "Items.0.Id".
func (a answer) text(path string) string {
	var v any
	_ = json.Unmarshal(a.body, &v)
	for _, p := range strings.Split(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[p]
		case []any:
			var i int
			if _, err := fmt.Sscan(p, &i); err != nil || i >= len(at) {
				return "<no " + path + ">"
			}
			v = at[i]
		}
	}
	if v == nil {
		return "<nil>"
	}
	return fmt.Sprint(v)
}

// try sends a request; body may be nil, a string, or anything that becomes JSON.
func (c *client) try(method, path string, body any) answer {
	c.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	default:
		j, err := json.Marshal(b)
		must(c.t, err)
		r = bytes.NewReader(j)
	}
	q, err := http.NewRequestWithContext(c.t.Context(), method, c.server.URL+path, r)
	must(c.t, err)
	if c.key != "" {
		q.Header.Set("X-Octopus-ApiKey", c.key)
	}
	return c.send(q)
}

func (c *client) send(q *http.Request) answer {
	c.t.Helper()
	resp, err := c.server.Client().Do(q)
	must(c.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(c.t, err)
	a := answer{resp.StatusCode, resp.Header, b}
	c.document.check(c.t, q.Method, q.URL.EscapedPath(), a)
	return a
}

func newRequest(t *testing.T, method, path string) *http.Request {
	q := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	q.Header.Set("X-Octopus-ApiKey", adminKey)
	return q
}

func record(h http.Handler, q *http.Request) []byte {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, q)
	return w.Body.Bytes()
}

// startNode enters this node into the cluster's table, as the cluster does at its start.
func startNode(c *client) {
	c.t.Helper()
	must(c.t, c.db.InTx(c.t.Context(), func(tx *db.Tx) error {
		_, err := tx.ExecContext(c.t.Context(), `INSERT INTO node (name, machine, epoch, state, cap, draining, version, address, labels, registered) VALUES ('n1', 'm', 1, 'up', 5, FALSE, '1', '', '[]', $1)`, tx.Ms())
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(c.t.Context(), `INSERT INTO duty (name, next, started, ended, term, error, node, every) VALUES ('Sweep', $1, $1, $1, 1, '', 'n1', 1000)`, tx.Ms())
		return err
	}))
}

// do is try that must succeed.
func (c *client) do(method, path string, body any) answer {
	c.t.Helper()
	a := c.try(method, path, body)
	if a.status >= 300 {
		c.t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
	}
	return a
}

func (c *client) get(path string) answer            { c.t.Helper(); return c.do("GET", path, nil) }
func (c *client) post(path string, body any) answer { c.t.Helper(); return c.do("POST", path, body) }

func (c *client) put(path string, body any) answer { c.t.Helper(); return c.do("PUT", path, body) }

func (c *client) delete(path string) answer { c.t.Helper(); return c.do("DELETE", path, nil) }

type m = map[string]any
