package halibut

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func FuzzPreamble(f *testing.F) {
	for _, s := range []string{"MX\r\n\r\n", "MX\n\nMX-CLIENT 1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n\r\n", "MX", strings.Repeat("a", maxPreamble)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		isPeer, err := readPreamble(r)
		used := b[:len(b)-r.Len()]
		if len(used) > maxPreamble {
			t.Errorf("%d bytes were read", len(used))
		}
		if isPeer && (err != nil || !bytes.HasPrefix(bytes.TrimLeft(used, "\r\n"), []byte("M")) || !bytes.HasSuffix(used, []byte("\n"))) {
			t.Errorf("%q is taken for a peer", used)
		}
	})
}

func FuzzIdentity(f *testing.F) {
	for _, s := range []string{"MX-CLIENT 1.0\r\n\r\n", "MX-SUBSCRIBER 1.0 poll://ABC/\r\n\r\n", "MX-SERVER\r\n\r\n", "MX-SERVER 1.0\r\n\n", "\r\n\r\n", "MX-SUBSCRIBER 1.0 poll:///\r\n\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		who, err := readIdentity(r)
		if used := len(b) - r.Len(); used > 2*maxLine+4 {
			t.Errorf("%d bytes were read", used)
		}
		if err != nil {
			return
		}
		if who.kind == "MX-SUBSCRIBER" {
			again, err := NormalSubscription(who.subscription)
			if err != nil || again != who.subscription {
				t.Errorf("the subscription %q is not in normal form: %q, %v", who.subscription, again, err)
			}
		} else if who.kind != "MX-CLIENT" && who.kind != "MX-SERVER" {
			t.Errorf("kind %q", who.kind)
		}
	})
}

func FuzzWord(f *testing.F) {
	for _, s := range []string{"NEXT\r\n", "\r\n\r\nPROCEED\r\n", "END\r\n", "NEXT\n", "NEXT\rx", strings.Repeat("\r\n", 200)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		word, err := readWord(bytes.NewReader(b))
		if err == nil && !bytes.HasPrefix(bytes.TrimLeft(b, "\r\n"), []byte(word+"\r\n")) {
			t.Errorf("%q is read as %q", b, word)
		}
	})
}

func vectorNames(f *testing.F) []string {
	entries, err := os.ReadDir("testdata")
	if err != nil {
		f.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".hex"); ok {
			names = append(names, name)
		}
	}
	return names
}

// FuzzMessage reads what a peer deflated: neither its size nor its end may be believed.
func FuzzMessage(f *testing.F) {
	for _, name := range vectorNames(f) {
		var wire bytes.Buffer
		if err := writeMessage(&wire, vector(f, name)); err != nil {
			f.Fatal(err)
		}
		f.Add(append(wire.Bytes(), "NEXT\r\n"...))
	}
	var bomb bytes.Buffer
	w, _ := flate.NewWriter(&bomb, 9)
	_, _ = w.Write(make([]byte, 1<<20))
	_ = w.Close()
	f.Add(bomb.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 64 << 10
		r := bytes.NewReader(b)
		doc, err := readMessage(r, limit)
		if len(doc) > limit || len(b)-r.Len() > limit {
			t.Errorf("%d bytes became %d", len(b)-r.Len(), len(doc))
		}
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := writeMessage(&again, doc); err != nil {
			t.Fatal(err)
		}
		again.WriteString("END\r\n")
		in := bytes.NewReader(again.Bytes())
		if got, err := readMessage(in, limit); err != nil || !bytes.Equal(got, doc) {
			t.Errorf("written and read again: %v", err)
		}
		if word, err := readWord(in); word != endWord || err != nil {
			t.Errorf("behind the message: %q, %v", word, err)
		}
	})
}

// FuzzEnvelope: whatever passes inspect can be decoded, or is refused with an error, in every way that we decode.
func FuzzEnvelope(f *testing.F) {
	for _, name := range vectorNames(f) {
		f.Add(vector(f, name))
	}
	services := NewServices(quiet())
	services.Register("IScriptServiceV2", Methods{
		"StartScript": func(_ context.Context, n note) (note, error) { return n, nil },
	})
	services.Register("IFileTransferService", Methods{
		"UploadFile": func(_ context.Context, _ string, s *DataStream) (*DataStream, error) { return s, nil },
	})
	services.Register("ICapabilitiesServiceV2", Methods{"GetCapabilities": func(context.Context) error { return nil }})
	f.Fuzz(func(t *testing.T, doc []byte) {
		heads, err := inspect(doc)
		if err != nil {
			return
		}
		streams := map[GUID]*DataStream{}
		for _, h := range heads {
			streams[h.id] = NewStream(h.length, func() (io.ReadCloser, error) { return zeros{}, nil })
		}
		var q request
		if some, err := decodeEnvelope(doc, &q); err == nil && some {
			answer, _ := services.answer(context.Background(), &q, streams)
			if _, err := encodeResponse(answer); err != nil {
				t.Errorf("cannot answer: %v", err)
			}
			if _, err := encodeRequest(q, "", ""); err != nil {
				t.Errorf("cannot write the request again: %v", err)
			}
		}
		var a response
		if some, err := decodeEnvelope(doc, &a); err == nil && some {
			c := Call{}
			_ = c.Result(&Answer{response: a, streams: streams}, new(note))
			if _, err := encodeResponse(a); err != nil {
				t.Errorf("cannot write the response again: %v", err)
			}
		}
	})
}

func FuzzStreams(f *testing.F) {
	id := GUID{1}
	var wire bytes.Buffer
	s := BytesStream([]byte("hello"))
	s.ID = id
	if err := writeStream(&wire, s); err != nil {
		f.Fatal(err)
	}
	f.Add(wire.Bytes(), int64(5))
	f.Add(binary.LittleEndian.AppendUint64(id[:], 1<<63), int64(-1<<63))
	f.Fuzz(func(t *testing.T, b []byte, length int64) {
		if length < 0 {
			return // inspect refuses it before
		}
		dir := t.TempDir()
		got, err := readStreams(bytes.NewReader(b), []streamHead{{id, length}}, dir)
		if err == nil {
			if text := readAll(t, got[id]); int64(len(text)) != length || text != string(b[24:24+length]) {
				t.Errorf("%d bytes came instead of %d", len(text), length)
			}
			closeStreams(got)
		}
		if n := files(t, dir); n != 0 {
			t.Errorf("%d files stay", n)
		}
	})
}

func FuzzProxyAnswer(f *testing.F) {
	f.Add("HTTP/1.0 200 OK\r\nVia: x\r\n\r\nTLS")
	f.Add("HTTP/1.1 407\n\n")
	f.Add("\r\n\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := strings.NewReader(text)
		status, err := readProxyAnswer(r)
		if err == nil && (strings.ContainsAny(status, "\n") || !strings.HasSuffix(text[:len(text)-r.Len()], "\n")) {
			t.Errorf("status %q, %d bytes left", status, r.Len())
		}
	})
}

func FuzzTimeSpan(f *testing.F) {
	for _, s := range []string{"00:02:00", "00:00:01.5000000", "1.06:00:00", "24.20:31:23.6470000", "-1.00:00:00.0000001", "99999.23:59:59"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		span, err := ParseTimeSpan(text)
		if err != nil {
			return
		}
		again, err := ParseTimeSpan(span.String())
		if err != nil || again != span {
			t.Errorf("%q is %q, which is %q (%v)", text, span, again, err)
		}
	})
}

func FuzzGUID(f *testing.F) {
	f.Add(vectorActivity)
	f.Fuzz(func(t *testing.T, text string) {
		g, err := ParseGUID(text)
		if err != nil {
			return
		}
		if again, err := ParseGUID(g.String()); err != nil || again != g {
			t.Errorf("%q is %s, which is %s (%v)", text, g, again, err)
		}
	})
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{"https://host:1/", "host", "[::1]:5", "::1", "https://a b/", "host:99999", "http://x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		address, err := ParseAddress(text, 10933)
		if err != nil {
			return
		}
		if again, err := ParseAddress(address, 1); err != nil || again != address {
			t.Errorf("%q is %q, which is %q (%v)", text, address, again, err)
		}
	})
}

func TestTexts(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"00:02:00": 2 * time.Minute, "00:00:01.5000000": 1500 * time.Millisecond, "1.06:00:00": 30 * time.Hour,
		"24.20:31:23.6470000": 2147483647 * time.Millisecond, "-00:00:01": -time.Second, "00:00:00": 0,
	} {
		if got, err := ParseTimeSpan(text); err != nil || got.Duration() != want || got.String() != text {
			t.Errorf("%q: %v, %q, %v", text, got.Duration(), got, err)
		}
	}
	for _, text := range []string{"", "1", "24:00:00", "00:60:00", "00:00:00.12345678", "9999999.00:00:00"} {
		if _, err := ParseTimeSpan(text); err == nil {
			t.Errorf("%q is a time span", text)
		}
	}
	for text, want := range map[string]string{
		"https://host:10933/": "host:10933", "host": "host:7", "https://Host": "Host:7", "[::1]:5": "[::1]:5", "1.2.3.4:5": "1.2.3.4:5",
	} {
		if got, err := ParseAddress(text, 7); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "http://host:1/", "host:x", "host:0", "https://host:1/path", "a b"} {
		if got, err := ParseAddress(text, 7); err == nil {
			t.Errorf("%q is the address %q", text, got)
		}
	}
	g := mustGUID(t, vectorActivity)
	if want := []byte("\x33\x22\x11\x00\x55\x44\x77\x66\x88\x99\xaa\xbb\xcc\xdd\xee\xff"); !bytes.Equal(g[:], want) || g.String() != vectorActivity {
		t.Errorf("%x, %s", g[:], g)
	}
	for _, subtype := range []byte{3, 4} {
		var got GUID
		err := Decode(bson.RawValue{Type: bson.TypeBinary, Value: append([]byte{16, 0, 0, 0, subtype}, g[:]...)}, &got)
		if err != nil || got != g {
			t.Errorf("subtype %d: %s, %v", subtype, got, err)
		}
	}
	var fromText GUID
	if v, err := Encode(vectorActivity); err != nil || Decode(v, &fromText) != nil || fromText != g {
		t.Errorf("from text: %s, %v", fromText, err)
	}
}

// TestHostileDocuments: a small message must not cost much, nor overflow the stack.
func TestHostileDocuments(t *testing.T) {
	deep := []byte{5, 0, 0, 0, 0}
	for range 100_000 {
		next := binary.LittleEndian.AppendUint32(nil, uint32(len(deep)+8))
		deep = append(append(append(next, 3, 'a', 0), deep...), 0)
		if len(deep) > 2<<20 {
			break
		}
		if len(deep) > 10_000 {
			break // quadratic to build, and deep enough
		}
	}
	if _, err := inspect(deep); err == nil || !strings.Contains(err.Error(), "nested deeper than 64") {
		t.Errorf("%v", err)
	}
	id, _ := Encode(GUID{1})
	stream := bson.D{{Key: "id", Value: id}, {Key: "length", Value: int64(-1)}}
	for name, doc := range map[string]bson.D{
		"negative stream": {{Key: "a", Value: stream}},
		"odd type":        {{Key: "a", Value: bson.Regex{Pattern: "a"}}},
		"same stream twice": {{Key: "a", Value: bson.D{{Key: "id", Value: id}, {Key: "length", Value: int64(1)}}}, {
			Key: "b", Value: bson.D{{Key: "id", Value: id}, {Key: "length", Value: int64(1)}},
		}},
	} {
		b, err := bson.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := inspect(b); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// What only looks like a stream is none.
	b, err := bson.Marshal(bson.D{{Key: "a", Value: bson.D{{Key: "id", Value: id}, {Key: "length", Value: int64(1)}, {Key: "more", Value: true}}}})
	if heads, err2 := inspect(b); err != nil || err2 != nil || len(heads) != 0 {
		t.Errorf("%v, %v", heads, errors.Join(err, err2))
	}
	var bomb bytes.Buffer
	w, _ := flate.NewWriter(&bomb, 9)
	_, _ = w.Write(make([]byte, 10<<20))
	_ = w.Close()
	if _, err := readMessage(&bomb, 1<<20); !errors.Is(err, errTooLarge) {
		t.Errorf("a bomb: %v", err)
	}
}

// TestLargeMessageShape: .NET loses the end of a large message when it comes alone in a small piece (tentacle-protocol.md 1.8).
func TestLargeMessageShape(t *testing.T) {
	doc := make([]byte, 300_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(doc) // so that it stays large when deflated
	var sizes []int
	w := writerFunc(func(p []byte) (int, error) { sizes = append(sizes, len(p)); return len(p), nil })
	if err := writeMessage(w, doc); err != nil {
		t.Fatal(err)
	}
	if last := sizes[len(sizes)-1]; len(sizes) < 2 || last < 512 || last > 8192 {
		t.Errorf("writes of %v bytes", sizes)
	}
	sizes = nil
	if err := writeMessage(w, nullMessage); err != nil || len(sizes) != 1 {
		t.Errorf("a small message took writes of %v bytes (%v)", sizes, err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestClasses(t *testing.T) {
	text := func(s string) *string { return &s }
	for want, errs := range map[Class][]wireError{
		NoService: {
			{"Service not found: X", nil, nil},
			{"m", nil, text(typeNoService)},
			{"m", text("Octopus.Tentacle.Communications.UnknownServiceNameException: x"), nil},
			{"x has not been registered through an IAutofacServiceSource", nil, nil},
			{"m", text("at Foo.CreateService(String name)"), nil},
		},
		NoMethod:  {{"m", nil, text(typeNoMethod)}, {"Service X::Y not found", nil, nil}},
		Ambiguous: {{"m", text("System.Reflection.AmbiguousMatchException: x"), nil}, {"m", nil, text(typeAmbiguous)}},
		ServiceThrew: {
			{"m", text("System.Reflection.TargetInvocationException: x"), nil}, {"m", nil, text(typeThrew)},
		},
		Other: {
			{"m", nil, nil},
			{"The Tentacle service is shutting down and cannot process this request.", text("at CreateService("), nil},
			{"m", text("System.ObjectDisposedException at CreateService("), nil},
		},
	} {
		for _, e := range errs {
			got := remoteError("I", "M", &e)
			if got.Class != want {
				t.Errorf("%q %v %v is of class %d, not %d", e.Message, e.Details, e.Type, got.Class, want)
			}
			if Retryable(got) != (want == Other) {
				t.Errorf("%q: retryable is %v", e.Message, Retryable(got))
			}
		}
	}
	missing := remoteError("I", "M", &wireError{"m", text("System.IO.FileNotFoundException: x"), nil})
	if Retryable(missing) {
		t.Error("a missing file is worth a retry")
	}
}
