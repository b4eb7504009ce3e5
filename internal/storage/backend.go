package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/fault"
)

// backend is one location, and what is known of it.
type backend struct {
	location string

	mu    sync.Mutex
	store blob.Store
	state verdict
	stuck chan struct{} // closed while it does not answer
}

// verdict is what a look at a location found; all nil is good.
type verdict struct {
	read  error // it cannot be read, or is not ours
	write error // it cannot be written
	low   error // it is nearly full
}

func (v verdict) trouble() error {
	for _, err := range []error{v.read, v.write, v.low} {
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *backend) set(v verdict) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = v
	select {
	case <-b.stuck:
		b.stuck = make(chan struct{})
	default:
	}
}

// hangs says that nobody is to wait for it any more.
func (b *backend) hangs(since time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := fault.Busyf("The blob store %s does not answer since %s. If it is a share, look at its server and the network.", b.location, since.UTC().Format("15:04:05 UTC"))
	b.state = verdict{read: err, write: err}
	close(b.stuck)
}

func (b *backend) now() (blob.Store, verdict, chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.store, b.state, b.stuck
}

// replace puts another opened store of the same location in place; what is under way with the old one fails or ends.
func (b *backend) replace(s blob.Store) error {
	b.mu.Lock()
	old := b.store
	b.store = s
	b.mu.Unlock()
	return old.Close()
}

// bounded calls a store and does not wait for it when it hangs or ctx ends. The call itself cannot be ended where a share hangs:
// its goroutine stays until the share is back, and late then lets go of what it still got.
func bounded[T any](ctx context.Context, b *backend, writes bool, late func(T), call func(context.Context, blob.Store) (T, error)) (v T, err error) {
	store, state, stuck := b.now()
	if state.read != nil {
		return v, state.read
	}
	if writes && state.write != nil {
		return v, state.write
	}
	ctx, stop := context.WithCancel(ctx)
	type answer struct {
		v   T
		err error
	}
	done := make(chan answer, 1)
	go func() {
		v, err := call(ctx, store)
		done <- answer{v, err}
	}()
	select {
	case a := <-done:
		stop()
		return a.v, a.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-stuck:
		_, state, _ := b.now()
		if err = state.read; err == nil {
			err = fault.Busyf("The blob store %s did not answer.", b.location)
		}
	}
	stop()
	go func() {
		if a := <-done; a.err == nil && late != nil {
			late(a.v)
		}
	}()
	return v, err
}

// open is bounded for a reader, whose every read is bounded too.
func (b *backend) open(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	store, _, _ := b.now()
	life, end := context.WithCancel(ctx) // a bucket's reader lives as long as its context
	r, err := bounded(ctx, b, false, func(r io.ReadCloser) { r.Close() }, func(context.Context, blob.Store) (io.ReadCloser, error) {
		return store.Open(life, key, offset)
	})
	if err != nil {
		end()
		return nil, err
	}
	return &reader{b: b, ctx: ctx, end: end, from: r}, nil
}

// reader lets go of a read that hangs.
type reader struct {
	b    *backend
	ctx  context.Context
	end  context.CancelFunc
	from io.ReadCloser
	buf  []byte
	lost error
}

const readBytes = 256 << 10

func (r *reader) Read(p []byte) (int, error) {
	if r.lost != nil {
		return 0, r.lost
	}
	if len(p) == 0 {
		return 0, nil
	}
	if r.buf == nil {
		r.buf = make([]byte, readBytes)
	}
	buf := r.buf[:min(len(p), len(r.buf))]
	ended := false
	n, err := bounded(r.ctx, r.b, false, nil, func(context.Context, blob.Store) (int, error) {
		n, err := r.from.Read(buf)
		if errors.Is(err, io.EOF) {
			ended, err = true, nil
		}
		return n, err
	})
	if err != nil {
		r.lost = fmt.Errorf("read blob: %w", err) // its buffer may still be written to
		return 0, r.lost
	}
	copy(p, buf[:n])
	if ended {
		r.lost = io.EOF
		if n == 0 {
			return 0, io.EOF
		}
	}
	return n, nil
}

// Close does not wait for a read that hangs; the file is closed when that is over.
func (r *reader) Close() error {
	r.end()
	if r.lost != nil && !errors.Is(r.lost, io.EOF) {
		go r.from.Close()
		return nil
	}
	return r.from.Close()
}
