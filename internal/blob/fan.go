package blob

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
)

// A stream is read in blocks that wait in a ring, so that memory does not depend on its length.
const (
	blockBytes = 512 << 10
	ringBlocks = 8
)

// block is a piece of the stream; the last of its users gives it back.
type block struct {
	data  []byte
	users atomic.Int32
}

// fan copies r to all of its writers. Each of them has a goroutine of its own, so that reading, hashing and writing
// take the time of the slowest of them and not the sum (performance.md P20).
func fan(ctx context.Context, r io.Reader, to ...io.Writer) (n int64, err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	free := make(chan *block, ringBlocks)
	queues := make([]chan *block, len(to))
	var writers sync.WaitGroup
	for i, w := range to {
		queues[i] = make(chan *block, ringBlocks)
		writers.Go(func() {
			for b := range queues[i] {
				if ctx.Err() == nil {
					if _, err := w.Write(b.data); err != nil {
						stop(err)
					}
				}
				if b.users.Add(-1) == 0 {
					free <- b
				}
			}
		})
	}
	made := 0
	for err == nil && ctx.Err() == nil {
		var b *block
		if made < ringBlocks && len(free) == 0 {
			made++
			b = &block{data: make([]byte, blockBytes)}
		} else {
			b = <-free
		}
		var m int
		m, err = readFull(ctx, r, b.data[:blockBytes])
		b.data = b.data[:m]
		b.users.Store(int32(len(to)))
		for _, queue := range queues {
			queue <- b // it has room for the whole ring
		}
		n += int64(m)
	}
	for _, queue := range queues {
		close(queue)
	}
	writers.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return n, cause
	}
	if err == io.EOF { // itself: a wrapped one is a reader that failed
		err = nil
	}
	return n, err
}

// readFull fills p if it can: readers that give little at a time shall not cost a write each. The error is the
// reader's own, so that a stream that broke off is not taken for one that ended.
func readFull(ctx context.Context, r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil && ctx.Err() == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}
