package storage

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/fault"
)

var (
	lookSeconds = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "octavo_blobs_look_seconds", Help: "How long the last look at a place of blobs took: its marker is read, its free space asked for, something small written, read and removed."}, []string{"location"})
	lookGood    = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "octavo_blobs_up", Help: "1 when a place of blobs can be used by this node."}, []string{"location"})
)

func init() { prometheus.MustRegister(lookSeconds, lookGood) }

// Watch follows the places and looks at them until ctx ends.
func (l *Live) Watch(ctx context.Context) {
	var loops sync.WaitGroup
	defer loops.Wait()
	watched := map[*backend]context.CancelFunc{}
	hint, stop := l.conf.DB.Listen(topic)
	defer stop()
	last := ""
	for {
		wait := l.conf.Timing.Follow
		if err := l.follow(ctx); err != nil && ctx.Err() == nil {
			if text := err.Error(); text != last {
				l.conf.Log.Warn("cannot follow where blobs are; will try again", "err", err)
				last = text
			}
		} else {
			last = ""
		}
		l.mu.Lock()
		if l.now.version != l.told && l.conf.Node != "" {
			wait = min(wait, 200*time.Millisecond) // somebody may wait for our word
		}
		l.mu.Unlock()
		used := map[*backend]bool{}
		for _, b := range l.all() {
			used[b] = true
			if watched[b] == nil {
				life, end := context.WithCancel(ctx)
				watched[b] = end
				loops.Go(func() { l.watch(life, b) })
			}
		}
		for b, end := range watched {
			if !used[b] {
				end()
				delete(watched, b)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-hint:
		case <-time.After(wait):
		}
	}
}

// watch looks at one location again and again, never twice at once.
func (l *Live) watch(ctx context.Context, b *backend) {
	t := l.conf.Timing
	up, took := lookGood.WithLabelValues(b.location), lookSeconds.WithLabelValues(b.location)
	defer func() {
		lookGood.DeleteLabelValues(b.location)
		lookSeconds.DeleteLabelValues(b.location)
	}()
	said := ""
	for wait := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		began := time.Now()
		found := make(chan verdict, 1)
		go func() { // is not waited for at the end: a share that hangs may hold it for ever
			looking, cancel := context.WithTimeout(ctx, t.Patience)
			defer cancel()
			found <- l.look(looking, b)
		}()
		var v verdict
		select {
		case <-ctx.Done():
			return
		case v = <-found:
		case <-time.After(t.Patience + t.Patience/10):
			b.hangs(began)
			up.Set(0)
			l.conf.Log.Error("the blob store does not answer", "location", b.location)
			said = "hangs"
			select {
			case <-ctx.Done():
				return
			case v = <-found:
			}
		}
		if ctx.Err() != nil {
			return
		}
		b.set(v)
		took.Set(time.Since(began).Seconds())
		wait = t.Look
		text := ""
		if err := v.trouble(); err != nil {
			wait, text = t.Relook, err.Error()
			up.Set(0)
		} else {
			up.Set(1)
		}
		switch {
		case text == said:
		case text == "":
			l.conf.Log.Info("the blob store is well again", "location", b.location)
		default:
			l.conf.Log.Error("the blob store cannot be used", "location", b.location, "reason", text)
		}
		said = text
	}
}

// look is one look at a location.
func (l *Live) look(ctx context.Context, b *backend) (v verdict) {
	store, _, _ := b.now()
	if f, is := store.(interface{ Moved() bool }); is && f.Moved() {
		// What is open leads to what was there before. The path decides, as it would after a restart; but only to our own share.
		again, err := l.store(ctx, b.location)
		if err == nil {
			if err = blob.Belongs(ctx, again, l.conf.Cluster, false); err != nil {
				err = errors.Join(err, again.Close())
			}
		}
		if err != nil {
			return verdict{read: told(b, err)}
		}
		l.conf.Log.Info("the blob store is opened anew: its path leads elsewhere", "location", b.location)
		if err := b.replace(again); err != nil {
			l.conf.Log.Warn("close the blob store that was there before", "err", err)
		}
		store = again
	}
	if err := blob.Belongs(ctx, store, l.conf.Cluster, false); err != nil {
		return verdict{read: told(b, err)}
	}
	if v.low = store.Low(); v.low != nil {
		return v
	}
	if err := store.Try(ctx); err != nil {
		v.write = told(b, err)
	}
	return v
}

// told makes a sentence of an error that is none. The cause is left out: that the whole store is missing must not look like a
// missing blob (fs.ErrNotExist).
func told(b *backend, err error) error {
	if fault.KindOf(err) != fault.Internal {
		return fault.Busyf("%s", err.Error())
	}
	return fault.Busyf("The blob store %s cannot be used: %s.", b.location, err.Error())
}
