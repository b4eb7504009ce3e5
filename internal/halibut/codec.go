package halibut

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"

	"go.mongodb.org/mongo-driver/v2/bson"
)

const (
	requestType  = "Halibut.Transport.Protocol.RequestMessage, Halibut"
	responseType = "Halibut.Transport.Protocol.ResponseMessage, Halibut"
)

// request is a call as it goes over the wire (tentacle-protocol.md 1.11).
type request struct {
	ID       string          `bson:"id"`
	Activity GUID            `bson:"activityId"`
	Service  string          `bson:"service"`
	Method   string          `bson:"method"`
	Params   []bson.RawValue `bson:"params"`
}

// response answers the request of the same id.
type response struct {
	ID     string        `bson:"id"`
	Error  *wireError    `bson:"error"`
	Result bson.RawValue `bson:"result"`
}

// wireError is a failure of the service, as it goes over the wire.
type wireError struct {
	Message string  `bson:"message"`
	Details *string `bson:"details"`
	Type    *string `bson:"HalibutErrorType"`
}

// typed is a parameter or result that must begin with a $type (tentacle-protocol.md 1.10).
type typed interface{ HalibutType() string }

// Encode makes a parameter or a result of a Go value. Nil slices and maps become empty ones, since .NET
// contracts without setters take no null; nil pointers become null.
func Encode(v any) (bson.RawValue, error) {
	switch v := v.(type) {
	case nil:
		return bson.RawValue{Type: bson.TypeNull}, nil
	case bson.RawValue:
		return v, nil
	}
	if p := reflect.ValueOf(v); p.Kind() == reflect.Pointer && p.IsNil() {
		return bson.RawValue{Type: bson.TypeNull}, nil
	}
	var buf bytes.Buffer
	e := bson.NewEncoder(bson.NewDocumentWriter(&buf))
	e.NilSliceAsEmpty()
	e.NilMapAsEmpty()
	if err := e.Encode(bson.D{{Key: "v", Value: v}}); err != nil {
		return bson.RawValue{}, fmt.Errorf("encode %T: %w", v, err)
	}
	value := bson.Raw(buf.Bytes()).Lookup("v")
	if t, ok := v.(typed); ok && value.Type == bson.TypeEmbeddedDocument {
		value.Value = withType(t.HalibutType(), value.Value)
	}
	return value, nil
}

// withType puts the $type in front of a document's members; .NET does not look for it further behind.
func withType(name string, doc []byte) []byte {
	out := make([]byte, 0, len(doc)+len(name)+12)
	out = append(out, 0, 0, 0, 0, byte(bson.TypeString))
	out = append(out, "$type\x00"...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(name)+1))
	out = append(out, name...)
	out = append(out, 0)
	out = append(out, doc[4:]...)
	binary.LittleEndian.PutUint32(out, uint32(len(out)))
	return out
}

// encodeRequest makes the document of a call; endpoint and thumbprint only describe the service, for fidelity.
func encodeRequest(r request, endpoint, thumbprint string) ([]byte, error) {
	params := make(bson.A, len(r.Params))
	for i, p := range r.Params {
		params[i] = p
	}
	return bson.Marshal(bson.D{{Key: "Message", Value: bson.D{
		{Key: "$type", Value: requestType},
		{Key: "id", Value: r.ID},
		{Key: "activityId", Value: r.Activity},
		{Key: "endpoint", Value: bson.D{
			{Key: "PollingRequestQueueTimeout", Value: "00:02:00"},
			{Key: "RetryListeningSleepInterval", Value: "00:00:01"},
			{Key: "RetryCountLimit", Value: int32(5)},
			{Key: "ConnectionErrorRetryTimeout", Value: "00:05:00"},
			{Key: "TcpClientConnectTimeout", Value: "00:01:00"},
			{Key: "BaseUri", Value: endpoint},
			{Key: "RemoteThumbprint", Value: thumbprint},
			{Key: "Proxy", Value: nil}, // never the real one: it may hold a password
			{Key: "IsWebSocketEndpoint", Value: false},
		}},
		{Key: "service", Value: r.Service},
		{Key: "method", Value: r.Method},
		{Key: "params", Value: params},
	}}})
}

// encodeResponse makes the document of an answer.
func encodeResponse(r response) ([]byte, error) {
	if r.Result.Type == 0 {
		r.Result.Type = bson.TypeNull
	}
	var failure any
	if r.Error != nil {
		failure = r.Error
	}
	return bson.Marshal(bson.D{{Key: "Message", Value: bson.D{
		{Key: "$type", Value: responseType},
		{Key: "id", Value: r.ID},
		{Key: "error", Value: failure},
		{Key: "result", Value: r.Result},
	}}})
}

// nullMessage keeps an idle polling connection alive.
var nullMessage = []byte("\x0e\x00\x00\x00\x0aMessage\x00\x00")

// decodeEnvelope reads an inspected document into a request or a response; false is the null message.
func decodeEnvelope(doc []byte, into any) (bool, error) {
	message, err := bson.Raw(doc).LookupErr("Message")
	if err != nil {
		return false, errors.New("the message has no member Message")
	}
	if message.Type == bson.TypeNull {
		return false, nil
	}
	if message.Type != bson.TypeEmbeddedDocument {
		return false, fmt.Errorf("the message is of BSON type %#x", byte(message.Type))
	}
	if err := message.Unmarshal(into); err != nil {
		return false, fmt.Errorf("decode the envelope: %w", err)
	}
	return true, nil
}

// Decode reads a parameter or a result; missing and null give the zero value.
func Decode(v bson.RawValue, into any) error {
	if v.Type == 0 || v.Type == bson.TypeNull {
		return nil
	}
	if raw, ok := into.(*bson.RawValue); ok {
		*raw = v
		return nil
	}
	return v.Unmarshal(into)
}
