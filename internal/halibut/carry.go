package halibut

import (
	"bytes"
	"errors"
	"io"
	"slices"
)

// What follows takes a call to another node and its answer back. Both travel as the document that goes over the wire;
// the bytes of their data streams travel beside it, in whichever way the caller has.

// Document is the call without the bytes of its data streams.
func (c *Call) Document() ([]byte, error) { return encodeRequest(c.request, "", "") }

// Streams are the call's data streams.
func (c *Call) Streams() []*DataStream { return c.streams }

// ReadCall reads a Document; open opens one of its data streams, once per attempt to send it.
func ReadCall(doc []byte, open func(id GUID, length int64) (io.ReadCloser, error)) (*Call, error) {
	c := &Call{}
	heads, err := readDocument(doc, &c.request)
	if err != nil {
		return nil, err
	}
	for _, h := range heads {
		c.streams = append(c.streams, &DataStream{ID: h.id, Length: h.length, open: func() (io.ReadCloser, error) { return open(h.id, h.length) }})
	}
	return c, nil
}

// Document is the answer without the bytes of its data streams.
func (a *Answer) Document() ([]byte, error) { return encodeResponse(a.response) }

// Streams are the answer's data streams.
func (a *Answer) Streams() []*DataStream {
	var all []*DataStream
	for _, s := range a.streams {
		all = append(all, s)
	}
	slices.SortFunc(all, func(x, y *DataStream) int { return bytes.Compare(x.ID[:], y.ID[:]) })
	return all
}

// ReadAnswer reads a Document; its data streams, which open gives, are copied into temporary files in dir. Drop the
// answer, or take it with Call.Result.
func ReadAnswer(doc []byte, dir string, open func(id GUID, length int64) (io.ReadCloser, error)) (_ *Answer, err error) {
	a := &Answer{streams: map[GUID]*DataStream{}}
	heads, err := readDocument(doc, &a.response)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			a.Drop()
		}
	}()
	for _, h := range heads {
		from, err := open(h.id, h.length)
		if err != nil {
			return nil, err
		}
		a.streams[h.id], err = keepStream(from, h.id, h.length, dir)
		from.Close() // it was only read
		if err != nil {
			return nil, err
		}
	}
	return a, nil
}

func readDocument(doc []byte, into any) ([]streamHead, error) {
	heads, err := inspect(doc)
	if err != nil {
		return nil, err
	}
	some, err := decodeEnvelope(doc, into)
	if err == nil && !some {
		err = errors.New("the document is the null message")
	}
	return heads, err
}
