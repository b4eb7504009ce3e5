package halibut

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Limits for what a peer sends. Only trusted peers get far enough to send a message (tentacle-protocol.md 1.8).
const (
	maxMessage = 256 << 20 // bytes of a message, deflated and inflated
	maxDepth   = 64        // documents within documents
	maxStreams = 1000      // data streams behind one message
)

var errTruncated = errors.New("the message is truncated")

// streamHead announces a data stream.
type streamHead struct {
	id     GUID
	length int64
}

// inspect checks a BSON document before anything is decoded from it: its lengths, its depth, and that it has only
// the element types of the mapping. It returns the data streams it announces, depth first.
func inspect(doc []byte) ([]streamHead, error) {
	var heads []streamHead
	rest, err := inspectDocument(doc, 1, false, &heads)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes follow the document", len(rest))
	}
	if err != nil {
		return nil, err
	}
	seen := make(map[GUID]bool, len(heads))
	for _, h := range heads {
		if h.length < 0 {
			return nil, fmt.Errorf("data stream %s has the length %d", h.id, h.length)
		}
		if seen[h.id] {
			return nil, fmt.Errorf("data stream %s appears twice", h.id)
		}
		seen[h.id] = true
	}
	if len(heads) > maxStreams {
		return nil, fmt.Errorf("%d data streams in one message; at most %d are taken", len(heads), maxStreams)
	}
	return heads, nil
}

// inspectDocument checks one document or array at the beginning of b and returns what follows it.
func inspectDocument(b []byte, depth int, isArray bool, heads *[]streamHead) (rest []byte, err error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("documents are nested deeper than %d", maxDepth)
	}
	if len(b) < 5 {
		return nil, errTruncated
	}
	size := int64(int32(binary.LittleEndian.Uint32(b)))
	if size < 5 || size > int64(len(b)) {
		return nil, errTruncated
	}
	body, rest := b[4:size-1], b[size:]
	if b[size-1] != 0 {
		return nil, errors.New("a document does not end with a zero byte")
	}
	stream := streamShape{ok: !isArray}
	for len(body) > 0 {
		kind := bson.Type(body[0])
		name, value, found := bytes.Cut(body[1:], []byte{0})
		if !found {
			return nil, errTruncated
		}
		if body, err = inspectValue(kind, value, depth, heads); err != nil {
			return nil, err
		}
		stream.member(string(name), kind, value[:len(value)-len(body)])
	}
	if stream.hasID && stream.hasLength && stream.ok {
		*heads = append(*heads, stream.head)
	}
	return rest, nil
}

// inspectValue checks one value at the beginning of b and returns what follows it.
func inspectValue(kind bson.Type, b []byte, depth int, heads *[]streamHead) (rest []byte, err error) {
	size := int64(0)
	switch kind {
	case bson.TypeEmbeddedDocument, bson.TypeArray:
		return inspectDocument(b, depth+1, kind == bson.TypeArray, heads)
	case bson.TypeDouble, bson.TypeDateTime, bson.TypeInt64:
		size = 8
	case bson.TypeInt32:
		size = 4
	case bson.TypeBoolean:
		size = 1
	case bson.TypeNull:
	case bson.TypeString, bson.TypeBinary:
		if len(b) < 5 {
			return nil, errTruncated
		}
		n := int64(int32(binary.LittleEndian.Uint32(b)))
		size = 4 + n
		if kind == bson.TypeBinary {
			size++ // the subtype
		}
		if n < 0 || size > int64(len(b)) {
			return nil, errTruncated
		}
		if kind == bson.TypeString && (n < 1 || b[size-1] != 0) {
			return nil, errors.New("a string does not end with a zero byte")
		}
	default:
		return nil, fmt.Errorf("BSON type %#x is not part of the protocol", byte(kind))
	}
	if size > int64(len(b)) {
		return nil, errTruncated
	}
	return b[size:], nil
}

// streamShape finds out whether a document is a data stream: an id, a length, perhaps a $type, and nothing else.
type streamShape struct {
	head             streamHead
	ok               bool
	hasID, hasLength bool
}

func (s *streamShape) member(name string, kind bson.Type, value []byte) {
	raw := bson.RawValue{Type: kind, Value: value}
	switch name {
	case "$type":
	case "id":
		s.hasID = kind == bson.TypeBinary && s.head.id.UnmarshalBSONValue(byte(kind), value) == nil
		s.ok = s.ok && s.hasID
	case "length":
		s.head.length, s.hasLength = raw.AsInt64OK()
		s.hasLength = s.hasLength && (kind == bson.TypeInt32 || kind == bson.TypeInt64)
		s.ok = s.ok && s.hasLength
	default:
		s.ok = false
	}
}
