package hub

import (
	"errors"
	"fmt"
	"io"

	"github.com/octavo/octavo/internal/secret"
)

// A part in the blob store is a row of pieces, each sealed for its call, its part and its number, so that none can be
// changed, left out or taken elsewhere. Its end is known from the stream's length.
const (
	pieceSize   = 256 << 10
	pieceSealed = pieceSize + 1 + 8 + 12 + 16 // form, key id, nonce, tag (see package secret)
)

func partPlace(id, column, part string) secret.Place {
	return secret.Place{Table: "call", Column: column + " part", Row: id + "/" + part}
}

// piece is the place of the piece with a number.
func piece(at secret.Place, n int) secret.Place {
	at.Row = fmt.Sprintf("%s/%d", at.Row, n)
	return at
}

// sealing reads a stream's sealed form.
type sealing struct {
	ring  *secret.Ring
	place secret.Place
	from  io.Reader

	plain []byte
	n     int
	rest  []byte
	err   error
}

func (s *sealing) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		s.fill()
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *sealing) fill() {
	if s.plain == nil {
		s.plain = make([]byte, pieceSize)
	}
	n, err := io.ReadFull(s.from, s.plain)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	s.err = err
	if n == 0 {
		return
	}
	sealed, err := s.ring.Seal(piece(s.place, s.n), s.plain[:n])
	if err != nil {
		s.err = err
		return
	}
	s.rest = sealed
	s.n++
}

// opening reads a stream from its sealed form.
type opening struct {
	ring  *secret.Ring
	place secret.Place
	from  io.ReadCloser

	sealed []byte
	n      int
	rest   []byte
	err    error
}

func (o *opening) Read(p []byte) (int, error) {
	for len(o.rest) == 0 {
		if o.err != nil {
			return 0, o.err
		}
		o.fill()
	}
	n := copy(p, o.rest)
	o.rest = o.rest[n:]
	return n, nil
}

func (o *opening) fill() {
	if o.sealed == nil {
		o.sealed = make([]byte, pieceSealed)
	}
	n, err := io.ReadFull(o.from, o.sealed)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	o.err = err
	if n == 0 {
		return
	}
	o.rest, err = o.ring.Open(piece(o.place, o.n), o.sealed[:n])
	if err != nil {
		o.err = err
		return
	}
	o.n++
}

func (o *opening) Close() error { return o.from.Close() }
