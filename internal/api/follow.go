package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/fault"
)

// heartbeat keeps proxies from ending a quiet stream, and slow is how long one write may take.
const (
	heartbeat = 15 * time.Second
	slow      = 10 * time.Second
)

// taskFollow streams a task's log as server-sent events: "log" for each entry behind ?after= (or Last-Event-ID, which
// browsers send when they come back, to whichever node), then one "end" with the task. Ours, beside the reference's API.
func (c *call) taskFollow() (done, error) {
	t, err := c.control.Task(c.ctx, c.space, c.id())
	if err != nil {
		return done{}, err
	}
	after := int64(0)
	from := c.r.Header.Get("Last-Event-ID")
	if from == "" {
		from = c.arg("after")
	}
	if from != "" {
		if after, err = strconv.ParseInt(from, 10, 64); err != nil || after < 0 {
			return done{}, fault.InvalidField("after", "after must be the number of a log entry, not '%s'.", from)
		}
	}
	h := c.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Set(gzhttp.HeaderNoCompression, "1")
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	defer context.AfterFunc(c.stopping, cancel)() // the client comes back, to another node, and goes on where it was
	stream := http.NewResponseController(c.w)
	var mu sync.Mutex
	write := func(events ...string) error {
		mu.Lock()
		defer mu.Unlock()
		if err := stream.SetWriteDeadline(time.Now().Add(slow)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		for _, e := range events {
			if _, err := io.WriteString(c.w, e); err != nil {
				return err
			}
		}
		return stream.Flush()
	}
	var beating sync.WaitGroup
	defer beating.Wait()
	defer cancel()
	beating.Go(func() {
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(heartbeat):
				if write(": still here\n\n") != nil {
					cancel()
				}
			}
		}
	})
	err = write("retry: 1000\n\n")
	if err == nil {
		err = c.live.Follow(ctx, t.Id, after, func(events []tasklog.Event) error {
			text := make([]string, len(events))
			for i, e := range events {
				text[i] = fmt.Sprintf("id: %d\nevent: log\ndata: %s\n\n", e.Number, e.JSON)
			}
			return write(text...)
		})
	}
	if err == nil {
		t, err = c.control.Task(ctx, c.space, c.id())
	}
	if err == nil {
		var b []byte
		if b, err = json.Marshal(t); err == nil {
			err = write("event: end\ndata: " + string(b) + "\n\n")
		}
	}
	if err != nil && ctx.Err() == nil {
		c.log.Debug("a follower of a log was lost", "task", t.Id, "err", err)
	}
	return done{}, nil
}
