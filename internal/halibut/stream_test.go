package halibut

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func readAll(t testing.TB, s *DataStream) string {
	t.Helper()
	r, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func files(t testing.TB, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestStreamsBroken(t *testing.T) {
	id, other := NewGUID(), NewGUID()
	block := func(id GUID, first int64, data string, second int64) string {
		b := binary.LittleEndian.AppendUint64(id[:], uint64(first))
		return string(binary.LittleEndian.AppendUint64(append(b, data...), uint64(second)))
	}
	for name, wire := range map[string]string{
		"nothing":           "",
		"half a head":       block(id, 2, "hi", 2)[:20],
		"half the data":     block(id, 2, "hi", 2)[:25],
		"half the tail":     block(id, 2, "hi", 2)[:30],
		"other length":      block(id, 3, "hi!", 3),
		"other tail":        block(id, 2, "hi", 3),
		"other id":          block(other, 2, "hi", 2),
		"same twice":        block(id, 2, "hi", 2) + block(id, 2, "hi", 2),
		"negative length":   block(id, -1, "", -1),
		"gigantic and late": block(id, 1<<62, "hi", 2),
	} {
		dir := t.TempDir()
		_, err := readStreams(strings.NewReader(wire), []streamHead{{id, 2}, {NewGUID(), 1}}, dir)
		if err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
		if n := files(t, dir); n != 0 {
			t.Errorf("%s: %d files stay", name, n)
		}
	}
}

func TestStreamsInOtherOrder(t *testing.T) {
	a, b := BytesStream([]byte("first")), BytesStream(bytes.Repeat([]byte("x"), 200_000))
	var wire bytes.Buffer
	if err := errors.Join(writeStream(&wire, b), writeStream(&wire, a)); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	got, err := readStreams(&wire, []streamHead{{a.ID, 5}, {b.ID, 200_000}}, dir)
	if err != nil {
		t.Fatal(err)
	}
	if readAll(t, got[a.ID]) != "first" || len(readAll(t, got[b.ID])) != 200_000 {
		t.Error("the contents are mixed up")
	}
	closeStreams(got)
	if n := files(t, dir); n != 0 {
		t.Errorf("%d files stay after Close", n)
	}
}

func TestStreamShorterThanDeclared(t *testing.T) {
	s := BytesStream([]byte("hi"))
	s.Length = 3
	if err := writeStream(io.Discard, s); err == nil {
		t.Error("a short source was sent as if it were whole")
	}
	s.Length = 1 // it grew meanwhile
	var out bytes.Buffer
	if err := writeStream(&out, s); err != nil || out.Len() != 33 {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
}

func TestSaveAs(t *testing.T) {
	dir := t.TempDir()
	var wire bytes.Buffer
	sent := BytesStream([]byte("content"))
	if err := writeStream(&wire, sent); err != nil {
		t.Fatal(err)
	}
	got, err := readStreams(&wire, []streamHead{{sent.ID, 7}}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*DataStream{"received": got[sent.ID], "local": sent} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("older and longer content"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := s.SaveAs(path, 0o600); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(path)
		info, _ := os.Stat(path)
		if err != nil || string(content) != "content" || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %q, %v, %v", name, content, info.Mode(), err)
		}
		if err := s.Close(); err != nil || files(t, dir) == 0 {
			t.Errorf("%s: Close took the saved file away (%v)", name, err)
		}
		if readAll(t, s) != "content" {
			t.Errorf("%s: cannot be read any more", name)
		}
	}
	if _, err := FileStream(dir); err == nil {
		t.Error("a folder was taken as a file")
	}
}
