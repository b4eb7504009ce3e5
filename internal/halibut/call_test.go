package halibut

import (
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// TestCalls is the agreement of both directions: whatever a call is, it does not matter who dialled.
func TestCalls(t *testing.T) {
	for name, direct := range directions {
		t.Run(name, func(t *testing.T) {
			r := direct(t, nil, testServices(t, nil, nil))
			for _, test := range []struct {
				name string
				run  func(t *testing.T, ctx context.Context)
			}{
				{"string", func(t *testing.T, ctx context.Context) {
					var got string
					if err := r.call(ctx, "Echo", &got, "grüße"); err != nil || got != "grüße" {
						t.Errorf("%q, %v", got, err)
					}
				}},
				{"method in other case", func(t *testing.T, ctx context.Context) {
					var got string
					if err := r.call(ctx, "eCHO", &got, "a"); err != nil || got != "a" {
						t.Errorf("%q, %v", got, err)
					}
				}},
				{"void", func(t *testing.T, ctx context.Context) {
					if err := r.call(ctx, "Void", nil); err != nil {
						t.Error(err)
					}
				}},
				{"large text", func(t *testing.T, ctx context.Context) {
					var text strings.Builder
					for i := range 100_000 {
						fmt.Fprintf(&text, "%x ", i*i*7919)
					}
					var got note
					if err := r.call(ctx, "Note", &got, note{Text: text.String()}); err != nil || got.Text != text.String()+"!" {
						t.Errorf("%d bytes, %v", len(got.Text), err)
					}
				}},
				{"stream there and back", func(t *testing.T, ctx context.Context) {
					var got note
					if err := r.call(ctx, "Note", &got, note{"n", BytesStream([]byte("bytes"))}); err != nil {
						t.Fatal(err)
					}
					if text := readAll(t, got.More); text != "bytes" || got.Text != "n!" {
						t.Errorf("%q %q", got.Text, text)
					}
					if err := got.More.Close(); err != nil {
						t.Error(err)
					}
				}},
				{"two streams", func(t *testing.T, ctx context.Context) {
					var got note
					err := r.call(ctx, "Notes", &got, note{"", BytesStream([]byte("a"))}, note{"", BytesStream([]byte("b"))})
					if err != nil || got.Text != "ab" {
						t.Errorf("%q, %v", got.Text, err)
					}
				}},
				{"upload", func(t *testing.T, ctx context.Context) {
					for _, size := range []int{0, 1, 3 << 20} {
						s, err := FileStream(zeroFile(t, size))
						if err != nil {
							t.Fatal(err)
						}
						sum := sha1.Sum(make([]byte, size))
						var got note
						if err := r.call(ctx, "Hash", &got, "zeros", s); err != nil || got.Text != "zeros "+hex.EncodeToString(sum[:]) {
							t.Errorf("%d bytes: %q, %v", size, got.Text, err)
						}
					}
				}},
				{"download", func(t *testing.T, ctx context.Context) {
					var got *DataStream
					if err := r.call(ctx, "Download", &got, "xy"); err != nil || got == nil {
						t.Fatal(err)
					}
					if text := readAll(t, got); text != strings.Repeat("xy", 100_000) {
						t.Errorf("%d bytes came", len(text))
					}
					if err := got.Close(); err != nil {
						t.Error(err)
					}
					got = nil
					if err := r.call(ctx, "Download", &got, ""); err != nil || got != nil {
						t.Errorf("a missing file is %v, %v", got, err)
					}
				}},
				{"errors", func(t *testing.T, ctx context.Context) {
					for method, want := range map[string]struct {
						class Class
						text  string
						typ   string
					}{
						"Fail":    {ServiceThrew, "it failed", typeThrew},
						"Typed":   {ServiceThrew, "wrapped: refused", "Octavo.TestRefusal"},
						"Panic":   {ServiceThrew, "an internal error", typeThrew},
						"Missing": {NoMethod, "Service IEcho::Missing not found", typeNoMethod},
						"Echo":    {Ambiguous, "0 parameters came, 1 are needed", typeAmbiguous},
					} {
						var remote *RemoteError
						err := r.call(ctx, method, nil)
						if !errors.As(err, &remote) || remote.Class != want.class || !strings.Contains(remote.Message, want.text) || remote.Type != want.typ {
							t.Errorf("%s: %#v", method, err)
						}
						if Retryable(err) || NeverSent(err) {
							t.Errorf("%s: worth a retry", method)
						}
					}
					if err := r.call(ctx, "Note", nil, 5); !isClass(err, Ambiguous) {
						t.Errorf("a number for a note: %v", err)
					}
				}},
				{"still works", func(t *testing.T, ctx context.Context) {
					var got string
					if err := r.call(ctx, "Echo", &got, "end"); err != nil || got != "end" {
						t.Errorf("%q, %v", got, err)
					}
				}},
			} {
				t.Run(test.name, func(t *testing.T) { test.run(t, soon(t)) })
			}
			if n := files(t, r.agentDir); n != 0 {
				t.Errorf("%d temporary files stay on the agent", n)
			}
		})
	}
}

func isClass(err error, class Class) bool {
	var remote *RemoteError
	return errors.As(err, &remote) && remote.Class == class
}

func TestUnknownService(t *testing.T) {
	r := listening(t, nil, testServices(t, nil, nil))
	err := r.client.Call(soon(t), r.endpoint, "INothing", "Do", nil, note{"", BytesStream([]byte("with a stream"))})
	if !isClass(err, NoService) {
		t.Errorf("%#v", err)
	}
	// The stream was read all the same, so the connection goes on.
	if err := r.call(soon(t), "Void", nil); err != nil {
		t.Error(err)
	}
}

func TestTLSVersions(t *testing.T) {
	for version, name := range map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"} {
		for direction, direct := range directions {
			t.Run(direction+" "+name, func(t *testing.T) {
				m := newMemory()
				r := direct(t, m, testServices(t, nil, nil))
				r.stop()
				ln := listenAt(t, m)
				// A listener of its own: the first one may still be shaking hands with its configuration.
				listener := NewListener(r.listener.config)
				listener.tls.MinVersion, listener.tls.MaxVersion = version, version
				within(t, func(ctx context.Context) { _ = listener.Serve(ctx, ln) })
				if r.polls != nil {
					within(t, func(ctx context.Context) { r.poll(t, ctx, m, testServices(t, nil, nil)) })
				}
				if err := r.call(soon(t), "Void", nil); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestConcurrentCalls is acceptance check 3 of tentacle-protocol.md 7.5, in one process.
func TestConcurrentCalls(t *testing.T) {
	for name, direct := range directions {
		t.Run(name, func(t *testing.T) {
			r := direct(t, nil, testServices(t, nil, nil))
			var calls sync.WaitGroup
			for i := range 20 {
				calls.Go(func() {
					for j := range 25 {
						var got note
						text := fmt.Sprintf("%d/%d", i, j)
						err := r.call(soon(t), "Note", &got, note{text, BytesStream([]byte(text))})
						if err != nil || got.Text != text+"!" || readAll(t, got.More) != text {
							t.Errorf("%s: %q, %v", text, got.Text, err)
							return
						}
						_ = got.More.Close()
					}
				})
			}
			calls.Wait()
		})
	}
}

// zeros is a source that is larger than any buffer we would accept.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
func (zeros) Close() error               { return nil }

func TestUploadInConstantMemory(t *testing.T) {
	const size = 256 << 20
	for name, direct := range directions {
		t.Run(name, func(t *testing.T) {
			r := direct(t, nil, testServices(t, nil, nil))
			if err := r.call(soon(t), "Void", nil); err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			s := NewStream(size, func() (io.ReadCloser, error) { return zeros{}, nil })
			if err := r.call(soon(t), "Hash", nil, "big", s); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			// Everything that was allocated on the way, garbage included, on both sides.
			if got := after.TotalAlloc - before.TotalAlloc; got > size/8 {
				t.Errorf("%d MiB were allocated for an upload of %d MiB", got>>20, size>>20)
			}
		})
	}
}

func TestRegisterRefusesOtherForms(t *testing.T) {
	for name, f := range map[string]any{
		"no context":  func() error { return nil },
		"no error":    func(context.Context) string { return "" },
		"no function": 5,
		"variadic":    func(context.Context, ...string) error { return nil },
		"two results": func(context.Context) (int, int, error) { return 0, 0, nil },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s was accepted", name)
				}
			}()
			NewServices(quiet()).Register("I", Methods{"M": f})
		}()
	}
}
