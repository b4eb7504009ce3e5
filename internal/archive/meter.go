package archive

import (
	"context"
	"io"
)

// meter counts what comes out of an archive against what went in.
type meter struct {
	ctx     context.Context
	limits  Limits
	out, in int64
	entries int
	names   int64
}

// addOut counts n bytes that came out of the archive.
func (m *meter) addOut(n int64) error {
	m.out += n
	if m.out > m.limits.Total {
		return refuse("it unpacks to more than %d bytes, the most we take.", m.limits.Total)
	}
	if m.out > m.limits.RatioAfter && m.out/m.limits.Ratio > m.in {
		return refuse("it unpacks to more than %d times its size, as a decompression bomb does.", m.limits.Ratio)
	}
	return m.ctx.Err()
}

func (m *meter) addEntry(name string) error {
	m.entries++
	m.names += int64(len(name))
	if m.entries > m.limits.Entries {
		return refuse("it has more than %d entries, the most we take.", m.limits.Entries)
	}
	if m.names > m.limits.Names {
		return refuse("the names of its entries take more than %d bytes.", m.limits.Names)
	}
	return m.ctx.Err()
}

// inReader counts the compressed bytes.
type inReader struct {
	r io.Reader
	m *meter
}

func (r inReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.m.in += int64(n)
	return n, err
}

// outReader counts the bytes of one file, or of a whole tar stream.
type outReader struct {
	r    io.Reader
	m    *meter
	name string
	left int64 // what this one file may still hold
}

func (r *outReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.left -= int64(n)
	if r.left < 0 {
		return 0, refuse("entry %q is larger than %d bytes, the most we take.", shorten(r.name), r.m.limits.File)
	}
	if over := r.m.addOut(int64(n)); over != nil {
		return 0, over
	}
	return n, err
}
