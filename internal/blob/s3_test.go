package blob

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/octavo/octavo/internal/fault"
)

// each runs a test on every kind of store.
func each(t *testing.T, test func(t *testing.T, s Store)) {
	t.Run("folder", func(t *testing.T) { test(t, open(t, t.TempDir())) })
	t.Run("s3", func(t *testing.T) { test(t, bucket(t, nil)) })
}

// bucket is a store in an S3 service of this process; between sees each request first.
func bucket(t *testing.T, between func(w http.ResponseWriter, r *http.Request, next http.Handler)) *S3 {
	t.Helper()
	s, err := OpenS3(t.Context(), service(t, between), t.TempDir(), never)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func service(t *testing.T, between func(w http.ResponseWriter, r *http.Request, next http.Handler)) (location string) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "octavo")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "a secret of the test")
	backend := s3mem.New()
	must(t, backend.CreateBucket("octavo-blobs"))
	next := gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if between != nil {
			between(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return "s3://octavo-blobs/cluster-1?path-style=true&endpoint=" + url.QueryEscape(server.URL)
}

// Large content goes in parts; a taken key is refused for it as well.
func TestS3Parts(t *testing.T) {
	s := bucket(t, nil)
	const size = 2*partSize + 12345
	n, digest, err := s.Put(t.Context(), "large", io.LimitReader(noise(3), size))
	if err != nil || n != size {
		t.Fatal(n, err)
	}
	must(t, Verify(t.Context(), s, "large", size, digest))
	if _, _, err := s.Put(t.Context(), "large", io.LimitReader(noise(4), size)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second put: %v", err)
	}
	must(t, Verify(t.Context(), s, "large", size, digest))
}

// A put whose answer got lost is tried again, and finds its own object: it has succeeded.
func TestS3LostAnswer(t *testing.T) {
	var mu sync.Mutex
	lose := false
	s := bucket(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		mu.Lock()
		lost := lose && r.Method == http.MethodPut
		lose = lose && !lost
		mu.Unlock()
		if lost {
			next.ServeHTTP(httptest.NewRecorder(), r)
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
	mu.Lock()
	lose = true
	mu.Unlock()
	if _, _, err := s.Put(t.Context(), "a", strings.NewReader("mine")); err != nil {
		t.Error(err)
	}
	if lose {
		t.Error("no answer was lost: the test proves nothing")
	}
	if _, _, err := s.Put(t.Context(), "a", strings.NewReader("mine")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("another's put: %v", err)
	}
}

func TestS3FailedPutLeavesNothing(t *testing.T) {
	s := bucket(t, nil)
	broken := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, _, err := s.Put(t.Context(), "a", broken); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("got %v", err)
	}
	for info := range s.List(t.Context(), "") {
		t.Errorf("%s is left", info.Key)
	}
	if n, err := s.Sweep(t.Context(), 0); n != 0 || err != nil {
		t.Errorf("%d left in the spool, %v", n, err)
	}
}

func TestOpenS3Refuses(t *testing.T) {
	good := service(t, nil)
	forgetful := service(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r.Header.Del("If-None-Match")
		next.ServeHTTP(w, r)
	})
	denied := service(t, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"))
	})
	for location, want := range map[string]string{
		"s3://":          "must be of the form s3://bucket/prefix",
		good + "&zone=1": "unknown member \"zone\"",
		strings.Replace(good, "=true", "=perhaps", 1): "path-style",
		"s3://b?endpoint=nowhere":                     "must be of the form https://host:port",
		strings.Replace(good, "-blobs", "-none", 1):   "NoSuchBucket",
		strings.Replace(good, "cluster-1", "a b", 1):  "cannot be the prefix",
		forgetful: "If-None-Match",
		denied:    "403 AccessDenied: Access Denied)",
	} {
		s, err := Open(t.Context(), location, t.TempDir(), never)
		if err == nil {
			s.Close()
		}
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", location, err, want)
		}
	}
}

func TestS3ReadsPart(t *testing.T) {
	s := bucket(t, nil)
	content := bytes.Repeat([]byte("0123456789"), 1000)
	_, _, err := s.Put(t.Context(), "a", bytes.NewReader(content))
	must(t, err)
	r, err := s.Open(t.Context(), "a", 9_995)
	must(t, err)
	defer r.Close()
	if got, err := io.ReadAll(r); string(got) != "56789" || err != nil {
		t.Errorf("%q %v", got, err)
	}
}
