package halibut

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// The files in testdata were made by the real Newtonsoft BSON writer (tentacle-protocol.md 1.22).

func vector(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func mustGUID(t testing.TB, text string) GUID {
	t.Helper()
	g, err := ParseGUID(text)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

const vectorActivity = "00112233-4455-6677-8899-aabbccddeeff"

func TestVectorsRead(t *testing.T) {
	str := func(s string) *string { return &s }
	null := bson.RawValue{Type: bson.TypeNull}
	for name, want := range map[string]any{
		"response-void":  &response{ID: "x", Result: null},
		"response-error": &response{ID: "x", Error: &wireError{"m", str("d"), nil}, Result: null},
	} {
		var got response
		if some, err := decodeEnvelope(vector(t, name), &got); err != nil || !some {
			t.Fatalf("%s: %v, %v", name, some, err)
		}
		got.Result.Value = nil // empty and nil alike
		if diff := cmp.Diff(want, &got, cmp.AllowUnexported(bson.RawValue{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if some, err := decodeEnvelope(vector(t, "null"), new(request)); some || err != nil {
		t.Errorf("the null message is read as %v, %v", some, err)
	}
	for name, want := range map[string]request{
		"request-capabilities": {Service: "ICapabilitiesServiceV2", Method: "GetCapabilities"},
		"request-upload":       {Service: "IFileTransferService", Method: "UploadFile"},
		"request-start":        {Service: "IScriptServiceV2", Method: "StartScript"},
	} {
		var got request
		if some, err := decodeEnvelope(vector(t, name), &got); err != nil || !some {
			t.Fatalf("%s: %v, %v", name, some, err)
		}
		if got.Service != want.Service || got.Method != want.Method || got.Activity != mustGUID(t, vectorActivity) {
			t.Errorf("%s is read as %+v", name, got)
		}
	}
}

func TestVectorsWritten(t *testing.T) {
	if !bytes.Equal(nullMessage, vector(t, "null")) {
		t.Errorf("null message: %x", nullMessage)
	}
	str := func(s string) *string { return &s }
	for name, r := range map[string]response{
		"response-void":  {ID: "x"},
		"response-error": {ID: "x", Error: &wireError{"m", str("d"), nil}},
	} {
		got, err := encodeResponse(r)
		if err != nil || !bytes.Equal(got, vector(t, name)) {
			t.Errorf("%s: %v\n%s", name, err, bson.Raw(got))
		}
	}
	// Read and written again, whatever the members are: results and parameters are kept as they are.
	for _, name := range []string{"response-capabilities", "response-status"} {
		var r response
		if _, err := decodeEnvelope(vector(t, name), &r); err != nil {
			t.Fatal(err)
		}
		if got, err := encodeResponse(r); err != nil || !bytes.Equal(got, vector(t, name)) {
			t.Errorf("%s: %v\n%s", name, err, bson.Raw(got))
		}
	}
	for _, name := range []string{"request-capabilities", "request-upload", "request-start"} {
		var r request
		if _, err := decodeEnvelope(vector(t, name), &r); err != nil {
			t.Fatal(err)
		}
		if got, err := encodeRequest(r, "poll://sub/", "AB12"); err != nil || !bytes.Equal(got, vector(t, name)) {
			t.Errorf("%s: %v\n%s\n%s", name, err, bson.Raw(got), bson.Raw(vector(t, name)))
		}
	}
}

func TestVectorsAnnounceStreams(t *testing.T) {
	id := mustGUID(t, "9a4b47b7-7463-4740-842e-eb1da0ade39b")
	for name, want := range map[string][]streamHead{
		"null": nil, "response-void": nil, "response-error": nil, "response-capabilities": nil, "response-status": nil,
		"request-capabilities": nil, "request-upload": {{id, 59}}, "request-start": {{id, 59}},
	} {
		got, err := inspect(vector(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(streamHead{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestVectorDeflated(t *testing.T) {
	in, _ := hex.DecodeString("e3636060e0f24d2d2e4e4c4f65600000")
	r := bytes.NewReader(append(in, "NEXT\r\n"...))
	doc, err := readMessage(r, 1000)
	if err != nil || !bytes.Equal(doc, nullMessage) {
		t.Fatalf("%x, %v", doc, err)
	}
	if word, err := readWord(r); word != nextWord || err != nil {
		t.Errorf("after the message: %q, %v", word, err)
	}
}

func TestVectorStream(t *testing.T) {
	want, _ := hex.DecodeString("b7474b9a63744047842eeb1da0ade39b0200000000000000" + "6869" + "0200000000000000")
	s := BytesStream([]byte("hi"))
	s.ID = mustGUID(t, "9a4b47b7-7463-4740-842e-eb1da0ade39b")
	var out bytes.Buffer
	if err := writeStream(&out, s); err != nil || !bytes.Equal(out.Bytes(), want) {
		t.Fatalf("%x, %v", out.Bytes(), err)
	}
	got, err := readStreams(&out, []streamHead{{s.ID, 2}}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if text := readAll(t, got[s.ID]); text != "hi" {
		t.Errorf("read %q", text)
	}
}
