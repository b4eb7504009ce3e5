package blob

import (
	"context"
	"errors"
	"io"
)

// Reader reads one blob and seeks in it, for answers to Range requests. It opens the store where reading
// begins and not before.
type Reader struct {
	ctx   context.Context //nolint:containedctx // io.ReadSeeker has no other way; it lives for one request
	store Store
	key   string
	size  int64
	at    int64
	open  io.ReadCloser
}

// NewReader makes a reader of a blob whose size is known from its row.
func NewReader(ctx context.Context, s Store, key string, size int64) *Reader {
	return &Reader{ctx: ctx, store: s, key: key, size: size}
}

// Read reads on. A blob that ends before its recorded size is an error, never a short answer.
func (r *Reader) Read(p []byte) (int, error) {
	if r.at >= r.size {
		return 0, io.EOF
	}
	if r.open == nil {
		o, err := r.store.Open(r.ctx, r.key, r.at)
		if err != nil {
			return 0, err
		}
		r.open = o
	}
	if left := r.size - r.at; int64(len(p)) > left {
		p = p[:left]
	}
	n, err := r.open.Read(p)
	r.at += int64(n)
	if errors.Is(err, io.EOF) && r.at < r.size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Seek moves to where the next Read begins.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, errors.New("blob: seek before the start")
	}
	if offset != r.at && r.open != nil {
		r.open.Close() // reading only: there is nothing to lose
		r.open = nil
	}
	r.at = offset
	return offset, nil
}

// Close ends the reading.
func (r *Reader) Close() error {
	if r.open == nil {
		return nil
	}
	err := r.open.Close()
	r.open = nil
	return err
}
