package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzhttp"

	"github.com/octavo/octavo/internal/access"
	"github.com/octavo/octavo/internal/control"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/resource"
)

// Version is what clients see; it passes every gate they have (rest-api.md 1: version string).
const Version = "2026.2.9999"

// maxBody bounds every body but a package's.
const maxBody = 64 << 20

// API is the REST face of one node.
type API struct {
	control  *control.Control
	logs     tasklog.Reader
	live     *tasklog.Live
	stopping context.Context // its end ends streams
	log      *slog.Logger
	routes   []route
	literals literals
	scoped   map[string]bool // first segments of what is in a space
	mux      *http.ServeMux
	document []byte // OpenAPI
}

// Server is the handler, and how to end the streams that would not end by themselves.
type Server struct {
	http.Handler
	Stop func()
}

// New makes the handler of everything below /api, and of the few paths clients look for beside it.
func New(c *control.Control, logs tasklog.Reader, log *slog.Logger) (*Server, error) {
	a := &API{control: c, logs: logs, live: &tasklog.Live{Reader: logs}, log: log, mux: http.NewServeMux(), scoped: map[string]bool{}}
	a.routes = a.table()
	a.literals = literalsOf(a.routes)
	for _, r := range a.routes {
		if r.permission == "" {
			return nil, fmt.Errorf("route %s %s has no permission", r.method, r.path)
		}
		if r.scope != server {
			a.scoped[strings.Split(strings.TrimPrefix(r.path, "/"), "/")[0]] = true
		}
		pattern := "/api" + r.path
		if r.path == "/" {
			pattern = "/api"
		}
		if strings.HasPrefix(r.path, "!") { // beside /api
			pattern = r.path[1:]
		}
		a.mux.Handle(r.method+" "+pattern, a.handler(r))
	}
	var err error
	if a.document, err = openAPI(a.routes); err != nil {
		return nil, err
	}
	compress, err := gzhttp.NewWrapper(gzhttp.MinSize(1024))
	if err != nil {
		return nil, err
	}
	stopping, stop := context.WithCancel(context.Background())
	a.stopping = stopping
	return &Server{compress(a.normalise(http.HandlerFunc(a.find))), stop}, nil
}

// spaceRoot is the path of a space's own root document; the normaliser makes it of /api/Spaces-1.
const spaceRoot = "/space-root"

// find hands a request to its route, or says in JSON that there is none.
func (a *API) find(w http.ResponseWriter, r *http.Request) {
	handler, pattern := a.mux.Handler(r)
	if pattern != "" {
		a.mux.ServeHTTP(w, r)
		return
	}
	probe := httptest.NewRecorder()
	handler.ServeHTTP(probe, r)
	if probe.Code == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", probe.Header().Get("Allow"))
		writeError(w, http.StatusMethodNotAllowed, fmt.Sprintf("The method %s is not allowed here; %s is.", r.Method, probe.Header().Get("Allow")), nil)
		return
	}
	writeError(w, http.StatusNotFound, "Octopus API resource not found. The resource you requested was not found.", nil)
}

// call is one request on its way.
type call struct {
	*API
	ctx     context.Context
	w       http.ResponseWriter
	r       *http.Request
	route   route
	space   string // id; "" where the route is the server's, or is about all spaces
	asked   url.Values
	project string // id, inside inProject
}

// id is the path's {id}.
func (c *call) id() string { return c.r.PathValue("id") }

// arg is a member of the query, whatever its case; "" when it is not there.
func (c *call) arg(name string) string {
	for k, v := range c.asked {
		if strings.EqualFold(k, name) && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

// args is a member of the query as a list: comma-joined, repeated, or both.
func (c *call) args(name string) []string {
	var out []string
	for k, v := range c.asked {
		if strings.EqualFold(k, name) {
			for _, s := range v {
				for _, e := range strings.Split(s, ",") {
					if e = strings.TrimSpace(e); e != "" {
						out = append(out, e)
					}
				}
			}
		}
	}
	return out
}

// page reads skip and take.
func (c *call) page() (skip, take int, err error) {
	number := func(name string, otherwise int) int {
		s := c.arg(name)
		if s == "" {
			return otherwise
		}
		n, wrong := strconv.Atoi(s)
		if wrong != nil || n < 0 {
			err = fault.InvalidField(name, "%s must be a whole number from 0 on, not '%s'.", name, s)
		}
		return min(n, 1<<31-1)
	}
	return number("skip", 0), number("take", resource.DefaultTake), err
}

// base is the path the space's resources are below: /api/Spaces-1, or /api.
func (c *call) base() string {
	if c.space == "" {
		return "/api"
	}
	return "/api/" + c.space
}

func (c *call) read() ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, &fault.Fault{Kind: fault.TooLarge, Text: fmt.Sprintf("The body is larger than %d MB.", maxBody>>20)}
	}
	if err != nil {
		return nil, fault.Because(fault.Invalidf("The body did not arrive whole."), err)
	}
	return b, nil
}

// handler is the choke point: nobody gets to a use case but through here.
func (a *API) handler(r route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		out, err := a.serve(r, w, q)
		switch {
		case err != nil:
			a.fail(w, q, err)
		case isDone(out):
		default:
			status := r.status
			if s, ok := out.(stated); ok {
				status, out = s.status, s.body
			}
			a.write(w, q, status, out)
		}
	})
}

// done is the answer of a handler that has written its own.
type done struct{}

func isDone(v any) bool { _, ok := v.(done); return ok }

// stated is an answer with a status of its own.
type stated struct {
	status int
	body   any
}

func (a *API) serve(r route, w http.ResponseWriter, q *http.Request) (any, error) {
	var actor access.Actor
	var err error
	if r.permission != access.Anonymous { // health checks are answered also when the database cannot say who asks
		if actor, err = a.control.Identify(q.Context(), keyOf(q), addressOf(q), q.UserAgent()); err != nil {
			return nil, err
		}
	}
	ctx := access.With(q.Context(), actor)
	if r.permission != access.Anonymous && actor.UserId == "" { // before anything can be learned from a 404
		return nil, a.control.Authorize(ctx, r.permission, "")
	}
	c := &call{API: a, ctx: ctx, w: w, r: q, route: r, asked: q.URL.Query()}
	if named := placeOf(q).space; named != "" || r.scope == space {
		if c.space, err = a.control.SpaceOf(ctx, named); err != nil {
			return nil, err
		}
		if r.scope == server && r.path != spaceRoot {
			c.space = ""
		}
	}
	if err := a.control.Authorize(ctx, r.permission, c.space); err != nil {
		return nil, err
	}
	return r.serve(c)
}

func keyOf(r *http.Request) string {
	for _, name := range []string{"X-Octopus-ApiKey", "X-NuGet-ApiKey"} {
		if v := r.Header.Get(name); v != "" {
			return v
		}
	}
	if scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	return ""
}

func addressOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// write encodes an answer: whole, so that its length is known and an error can still be told.
func (a *API) write(w http.ResponseWriter, r *http.Request, status int, v any) {
	b, err := encode(v)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	writeJSON(w, status, b)
}

// encode writes JSON in which no list and no map is null.
func encode(v any) ([]byte, error) {
	if v == nil {
		return []byte("{}"), nil
	}
	copied := reflect.New(reflect.TypeOf(v)).Elem()
	copied.Set(reflect.ValueOf(v))
	fill(copied)
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(copied.Interface()); err != nil {
		return nil, err
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}

// fill puts empty lists and maps where there are none (rest-api.md 1: null discipline).
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			fill(v.Elem())
		}
	case reflect.Interface: // objects are right already: Fold made them
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.IsNil() && v.CanSet() && v.Type().Elem().Kind() != reflect.Uint8 {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.Map:
		if v.IsNil() && v.CanSet() {
			v.Set(reflect.MakeMap(v.Type()))
		}
	}
}

func writeJSON(w http.ResponseWriter, status int, b []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(b) // a client that has gone is not our error
}

// failure is the one shape of an error (rest-api.md 1: errors).
type failure struct {
	ErrorMessage    string
	Errors          *[]string // null for a 404: clients look at it before the status
	FullException   *string
	HelpText        *string
	HelpLink        *string
	ParsedHelpLinks []string
	Details         map[string]any
}

func writeError(w http.ResponseWriter, status int, text string, all []string) {
	f := failure{ErrorMessage: text, ParsedHelpLinks: []string{}, Details: map[string]any{}}
	if all != nil {
		f.Errors = &all
	}
	b, err := json.Marshal(f)
	if err != nil {
		b = []byte(`{"ErrorMessage":"An error occurred."}`)
	}
	writeJSON(w, status, b)
}

// fail is the one place where a kind of fault becomes a status.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	var f *fault.Fault
	if !errors.As(err, &f) || f.Kind == fault.Internal {
		if r.Context().Err() != nil {
			return // the client has gone
		}
		reference := rand.Text()[:10]
		a.log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "reference", reference, "err", err)
		writeError(w, http.StatusInternalServerError, "Something went wrong on the server. Its log says more under the reference "+reference+".", nil)
		return
	}
	if f.Cause != nil {
		a.log.InfoContext(r.Context(), "request refused", "method", r.Method, "path", r.URL.Path, "text", f.Text, "cause", f.Cause)
	}
	switch f.Kind {
	case fault.Invalid:
		writeError(w, http.StatusBadRequest, "There was a problem with your request.", f.All())
	case fault.NotFound:
		writeError(w, http.StatusNotFound, f.Text, nil)
	case fault.Unauthenticated:
		writeError(w, http.StatusUnauthorized, f.Text, nil)
	case fault.Denied:
		writeError(w, http.StatusForbidden, f.Text, f.All())
	case fault.Conflict:
		writeError(w, http.StatusConflict, f.Text, f.All())
	case fault.TooLarge:
		writeError(w, http.StatusRequestEntityTooLarge, f.Text, f.All())
	default:
		w.Header().Set("Retry-After", "2")
		writeError(w, http.StatusServiceUnavailable, f.Text, f.All())
	}
}
