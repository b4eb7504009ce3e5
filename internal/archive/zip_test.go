package archive

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"hash/crc32"
	"io"
	"strings"
	"testing"
)

// rawEntry is an entry of a zip made byte by byte, so that it can lie.
type rawEntry struct {
	name, localName  string // localName "" = name
	body             string
	flags, method    uint16
	size, packed     int64 // 0 = true ones
	localSize        int64
	crc              uint32 // 0 = true one
	at               int64
	extra            []byte
	skipLocal        bool
	madeBy, attrsTop uint16
}

func rawZip(entries ...rawEntry) []byte { return rawZipWith(nil, "", entries...) }

// rawZipWith makes a zip behind prefix and with a comment.
func rawZipWith(prefix []byte, comment string, entries ...rawEntry) []byte {
	buf := bytes.Clone(prefix)
	var central []byte
	for _, e := range entries {
		at := int64(len(buf) - len(prefix))
		if e.at != 0 {
			at = e.at - 1
		}
		size, packed, local := int64(len(e.body)), int64(len(e.body)), int64(len(e.body))
		if e.size != 0 {
			size, packed, local = e.size, e.size, e.size
		}
		if e.packed != 0 {
			packed = e.packed
		}
		if e.localSize != 0 {
			local = e.localSize
		}
		sum := crc32.ChecksumIEEE([]byte(e.body))
		if e.crc != 0 {
			sum = e.crc
		}
		name := e.localName
		if name == "" {
			name = e.name
		}
		if !e.skipLocal {
			buf = le.AppendUint32(buf, sigLocal)
			for _, v := range []uint16{20, e.flags, e.method, 0, 0x21} {
				buf = le.AppendUint16(buf, v)
			}
			buf = le.AppendUint32(buf, sum)
			buf = le.AppendUint32(buf, uint32(packed))
			buf = le.AppendUint32(buf, uint32(local))
			buf = le.AppendUint16(buf, uint16(len(name)))
			buf = le.AppendUint16(buf, 0)
			buf = append(append(buf, name...), e.body...)
		}
		central = le.AppendUint32(central, sigCentral)
		for _, v := range []uint16{e.madeBy<<8 | 20, 20, e.flags, e.method, 0, 0x21} {
			central = le.AppendUint16(central, v)
		}
		central = le.AppendUint32(central, sum)
		central = le.AppendUint32(central, uint32(packed))
		central = le.AppendUint32(central, uint32(size))
		for _, v := range []uint16{uint16(len(e.name)), uint16(len(e.extra)), 0, 0, 0, 0, e.attrsTop} {
			central = le.AppendUint16(central, v)
		}
		central = le.AppendUint32(central, uint32(at))
		central = append(append(central, e.name...), e.extra...)
	}
	start := len(buf) - len(prefix)
	buf = append(buf, central...)
	buf = le.AppendUint32(buf, sigEnd)
	for _, v := range []uint16{0, 0, uint16(len(entries)), uint16(len(entries))} {
		buf = le.AppendUint16(buf, v)
	}
	buf = le.AppendUint32(buf, uint32(len(central)))
	buf = le.AppendUint32(buf, uint32(start))
	buf = le.AppendUint16(buf, uint16(len(comment)))
	return append(buf, comment...)
}

func TestLyingZips(t *testing.T) {
	if _, err := verify(rawZip(rawEntry{name: "a", body: "hello"}), "p.zip"); err != nil {
		t.Fatalf("the honest one: %v", err)
	}
	inner := string(rawZip(rawEntry{name: "b", body: "other"}))
	for _, tt := range []struct {
		title, why string
		data       []byte
	}{
		{"local name differs", "is called", rawZip(rawEntry{name: "good.txt", localName: "evil.txt", body: "x"})},
		{"local size differs", "another size", rawZip(rawEntry{name: "a", body: "hello", localSize: 4})},
		{"size one more", "", rawZip(rawEntry{name: "a", body: "hello", size: 6})},
		{"size one less", "sum", rawZip(rawEntry{name: "a", body: "hello", size: 4})},
		{"sizes of a stored entry differ", "sizes differ", rawZip(rawEntry{name: "a", body: "hello", size: 4, packed: 5})},
		{"wrong sum", "sum", rawZip(rawEntry{name: "a", body: "hello", crc: 1})},
		{"encrypted", "encrypted", rawZip(rawEntry{name: "a", body: "hello", flags: flagEncrypted})},
		{"unknown method", "method 99", rawZip(rawEntry{name: "a", body: "hello", method: 99})},
		{"not deflated", "", rawZip(rawEntry{name: "a", body: "hello", method: methodDeflate})},
		{"overlap", "overlaps", rawZip(rawEntry{name: "a", body: "hello"}, rawEntry{name: "a", body: "hello", skipLocal: true, at: 1})},
		{"offset outside", "inside", rawZip(rawEntry{name: "a", body: "hello", at: 1 << 20})},
		{"prepended", "in front", rawZipWith([]byte("#!/bin/sh\n"), "", rawEntry{name: "a", body: "hello"})},
		{"two end records", "end record", rawZipWith(nil, inner, rawEntry{name: "a", body: "hello"})},
		{"folder with content", "folder with content", rawZip(rawEntry{name: "a/", body: "hello"})},
		{"second name", "second name", rawZip(rawEntry{name: "a", body: "hello", extra: append([]byte{0x75, 0x70, 6, 0, 1, 0, 0, 0, 0}, 'b')})},
		{"broken ZIP64 field", "ZIP64", rawZip(rawEntry{name: "a", body: "hello", size: 0xffffffff, extra: []byte{1, 0, 2, 0, 9, 9}})},
		{"data behind the packed data", "behind its end", rawZip(rawEntry{
			name: "a", body: string(deflated(t, "hello")) + "hidden", method: methodDeflate, size: 5, packed: int64(len(deflated(t, "hello")) + 6), crc: crc32.ChecksumIEEE([]byte("hello")),
		})},
		{"nothing", "not a zip", nil},
		{"text", "not a zip", []byte("hello, I am a text of more than twenty-two bytes")},
	} {
		t.Run(tt.title, func(t *testing.T) { wantRefused(t, "p.zip", tt.data, tt.why) })
	}
}

func deflated(t *testing.T, text string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(text))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestZipsThatAreFine(t *testing.T) {
	for title, tt := range map[string]struct {
		name string
		data []byte
	}{
		"comment":        {"p.zip", rawZipWith(nil, "made by hand", rawEntry{name: "a", body: "hello"})},
		"executable jar": {"p.jar", rawZipWith([]byte("#!/bin/sh\nexec java -jar $0\n"), "", rawEntry{name: "a", body: "hello"})},
		"large sizes":    {"p.zip", zip64(t)},
		"empty":          {"p.zip", makeZip(t)},
		"data between":   {"p.zip", rawZip(rawEntry{name: "a", body: "hello"}, rawEntry{name: "b", body: ""})},
	} {
		t.Run(title, func(t *testing.T) {
			if _, err := verify(tt.data, tt.name); err != nil {
				t.Error(err)
			}
		})
	}
}

// zip64 has so many entries that the large end record is needed.
func zip64(t *testing.T) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for i := range 66_000 {
		var name strings.Builder
		for ; i > 0; i /= 10 {
			name.WriteByte(byte('0' + i%10))
		}
		if _, err := w.CreateHeader(&zip.FileHeader{Name: "f" + name.String(), Method: zip.Store}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// Whatever our reader takes, the library's must see as the same files: a package means one thing only.
func FuzzZip(f *testing.F) {
	f.Add(makeZip(f, file{name: "d/"}, file{name: "d/a.txt", body: strings.Repeat("hello ", 20)}))
	f.Add(rawZip(rawEntry{name: "a", body: "hello"}, rawEntry{name: "b", body: "x"}))
	f.Add(rawZipWith(nil, string(rawZip(rawEntry{name: "b", body: "other"})), rawEntry{name: "a", body: "hello"}))
	f.Add(rawZip(rawEntry{name: "a", body: "hello"}, rawEntry{name: "b", body: "hello", skipLocal: true, at: 1}))
	f.Add(rawZip(rawEntry{name: "a", body: "hello", size: 0xffffffff, extra: []byte{1, 0, 8, 0, 5, 0, 0, 0, 0, 0, 0, 0}}))
	limits := Limits{Total: 1 << 22, File: 1 << 21, Entries: 100, Names: 1 << 16, Ratio: 200, RatioAfter: 1 << 16}
	f.Fuzz(func(t *testing.T, data []byte) {
		ours := map[string]string{}
		_, err := walk(t.Context(), bytes.NewReader(data), int64(len(data)), "p.zip", Options{Limits: limits}, func(e entry, body io.Reader) error {
			b, err := io.ReadAll(body)
			if e.kind == kindFile {
				ours[e.name] = string(b)
			}
			return err
		})
		if err != nil {
			return
		}
		r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatalf("we took what the library refuses: %v", err)
		}
		for _, z := range r.File {
			if z.FileInfo().IsDir() {
				continue
			}
			body, err := z.Open()
			if err != nil {
				t.Fatalf("%q: %v", z.Name, err)
			}
			b, err := io.ReadAll(body)
			if err != nil {
				t.Fatalf("%q: %v", z.Name, err)
			}
			if got, ok := ours[z.Name]; !ok || got != string(b) {
				t.Fatalf("%q: we read %q (%v), the library %q", z.Name, got, ok, b)
			}
			delete(ours, z.Name)
		}
		if len(ours) > 0 {
			t.Fatalf("the library does not see %v", ours)
		}
	})
}

// No stream makes the tar reader fail in a way that is not a refusal, or write outside.
func FuzzTar(f *testing.F) {
	plain := makeTar(f, file{name: "d/", mode: 0o755}, file{name: "d/a", body: "hello"}, file{name: "l", typ: '2', link: "d/a"}, file{name: "h", typ: '1', link: "d/a"})
	f.Add(plain, false)
	f.Add(gz(f, plain), true)
	f.Add(makeTar(f, file{name: strings.Repeat("long/", 40) + "ü", body: "1"}), false)
	limits := Limits{Total: 1 << 22, File: 1 << 21, Entries: 100, Names: 1 << 16, Ratio: 200, RatioAfter: 1 << 16}
	f.Fuzz(func(t *testing.T, data []byte, packed bool) {
		name := "p.tar"
		if packed {
			name = "p.tgz"
		}
		sum, err := Verify(t.Context(), bytes.NewReader(data), int64(len(data)), name, limits)
		path, dir := save(t, name, data)
		again, err2 := Extract(t.Context(), path, dir, Options{Limits: limits, Links: true})
		if (err == nil) != (err2 == nil) || sum != again {
			t.Fatalf("Verify said %v %v, Extract %v %v", sum, err, again, err2)
		}
	})
}
