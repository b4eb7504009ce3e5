package hub

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"

	"github.com/octavo/octavo/internal/halibut"
	"github.com/octavo/octavo/internal/secret"
)

// parcel is what one row holds of a request or an answer, before it is sealed. What is large lies sealed in the blob
// store, under a key that has the call's id in it.
type parcel struct {
	Document []byte            // empty when it is in a blob
	Size     int64             // of a document in a blob
	Streams  map[string][]byte // the small ones, by id; all others are in blobs
}

// How much of a parcel may be in its row. With what sealing and gob add it stays below 1 MiB.
const (
	rowDocument = 512 << 10
	rowTotal    = 768 << 10
)

// The two parcels of a call; each is a column.
const (
	asked    = "request"
	answered = "answer"
)

// packed is a parcel ready for its row, and the keys of what is beside it.
type packed struct {
	sealed []byte
	keys   []string
}

const blobPrefix = "calls/"

func partKey(id, column, part string) string { return blobPrefix + id + "-" + column + "-" + part }

const documentPart = "document"

// pack seals a document with its streams. What was put into the blob store is in the result, even with an error.
func (h *Hub) pack(ctx context.Context, id, column string, doc []byte, streams []*halibut.DataStream) (p packed, err error) {
	var content parcel
	room := int64(rowTotal)
	if len(doc) <= rowDocument {
		content.Document = doc
		room -= int64(len(doc))
	} else {
		content.Size = int64(len(doc))
		if err := h.putPart(ctx, id, column, documentPart, bytes.NewReader(doc), &p); err != nil {
			return p, err
		}
	}
	content.Streams = map[string][]byte{}
	for _, s := range streams {
		if err := h.packStream(ctx, id, column, s, &room, content.Streams, &p); err != nil {
			return p, err
		}
	}
	var plain bytes.Buffer
	if err := gob.NewEncoder(&plain).Encode(content); err != nil {
		return p, fmt.Errorf("pack call: %w", err)
	}
	p.sealed, err = h.ring.Seal(secret.Place{Table: "call", Column: column, Row: id}, plain.Bytes())
	return p, err
}

func (h *Hub) packStream(ctx context.Context, id, column string, s *halibut.DataStream, room *int64, small map[string][]byte, p *packed) error {
	from, err := s.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	whole := io.LimitReader(from, s.Length)
	if s.Length > *room {
		return h.putPart(ctx, id, column, s.ID.String(), whole, p)
	}
	content, err := io.ReadAll(whole)
	if err != nil {
		return err
	}
	*room -= s.Length
	small[s.ID.String()] = content
	return nil
}

var errNoBlobs = errors.New("the call is too large for the database, and this node has no blob store")

func (h *Hub) putPart(ctx context.Context, id, column, part string, from io.Reader, p *packed) error {
	if h.blobs == nil {
		return errNoBlobs
	}
	key := partKey(id, column, part)
	p.keys = append(p.keys, key) // even if storing fails halfway
	_, _, err := h.blobs.Put(ctx, key, &sealing{ring: h.ring, place: partPlace(id, column, part), from: from})
	return err
}

// dropParts deletes what a parcel had beside its row; if it cannot, the sweep does.
func (h *Hub) dropParts(ctx context.Context, id string, p packed) {
	if len(p.keys) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	for _, key := range p.keys {
		if err := h.blobs.Delete(ctx, key); err != nil {
			h.log.Debug("cannot delete a part of a call; the sweep does", "call", id, "err", err)
		}
	}
}

// unpack opens a parcel: its document, a way to open its streams, and the keys of what is beside it.
func (h *Hub) unpack(ctx context.Context, id, column string, sealed []byte) (doc []byte, open func(halibut.GUID, int64) (io.ReadCloser, error), err error) {
	plain, err := h.ring.Open(secret.Place{Table: "call", Column: column, Row: id}, sealed)
	if err != nil {
		return nil, nil, err
	}
	var content parcel
	if err := gob.NewDecoder(bytes.NewReader(plain)).Decode(&content); err != nil {
		return nil, nil, fmt.Errorf("unpack call: %w", err)
	}
	doc = content.Document
	if content.Size > 0 {
		if doc, err = h.readPart(ctx, id, column, documentPart, content.Size); err != nil {
			return nil, nil, err
		}
	}
	return doc, func(stream halibut.GUID, _ int64) (io.ReadCloser, error) {
		if small, ok := content.Streams[stream.String()]; ok {
			return io.NopCloser(bytes.NewReader(small)), nil
		}
		return h.openPart(ctx, id, column, stream.String())
	}, nil
}

func (h *Hub) openPart(ctx context.Context, id, column, part string) (io.ReadCloser, error) {
	if h.blobs == nil {
		return nil, errNoBlobs
	}
	from, err := h.blobs.Open(ctx, partKey(id, column, part), 0)
	if err != nil {
		return nil, err
	}
	return &opening{ring: h.ring, place: partPlace(id, column, part), from: from}, nil
}

func (h *Hub) readPart(ctx context.Context, id, column, part string, size int64) ([]byte, error) {
	from, err := h.openPart(ctx, id, column, part)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	content, err := io.ReadAll(io.LimitReader(from, size+1))
	if err == nil && int64(len(content)) != size {
		err = fmt.Errorf("%s of call %s has %d bytes instead of %d", part, id, len(content), size)
	}
	return content, err
}

// unpackAnswer copies an answer to this node, and deletes what it had in the blob store.
func (h *Hub) unpackAnswer(ctx context.Context, id string, sealed []byte) (*halibut.Answer, error) {
	doc, open, err := h.unpack(ctx, id, answered, sealed)
	if err != nil {
		return nil, err
	}
	answer, err := halibut.ReadAnswer(doc, h.streams, open)
	if err != nil {
		return nil, err
	}
	h.dropParts(ctx, id, packed{keys: h.answerKeys(id, answer)})
	return answer, nil
}

// answerKeys names all that an answer may have had beside its row.
func (h *Hub) answerKeys(id string, answer *halibut.Answer) []string {
	if h.blobs == nil {
		return nil
	}
	keys := []string{partKey(id, answered, documentPart)}
	for _, s := range answer.Streams() {
		keys = append(keys, partKey(id, answered, s.ID.String()))
	}
	return keys
}
