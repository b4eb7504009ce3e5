//go:build unix

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/octavo/octavo/internal/tentacle"
)

// Whatever is added, torn by a crash, reopened and asked for in whatever order: lines keep their numbers.
func TestSpoolKeepsNumbers(t *testing.T) {
	base := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		dir := filepath.Join(base, fmt.Sprint(n))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		r := reader{dir: dir}
		var want []string
		for range rapid.IntRange(1, 6).Draw(t, "sessions") {
			s, err := openSpool(dir)
			if err != nil {
				t.Fatal(err)
			}
			if s.lines != int64(len(want)) {
				t.Fatalf("%d lines counted, there are %d", s.lines, len(want))
			}
			for _, text := range rapid.SliceOfN(rapid.String(), 0, 20).Draw(t, "lines") {
				text = strings.ToValidUTF8(text, "?")
				s.add(tentacle.StdOut, text)
				want = append(want, text)
			}
			if err := s.flush(); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				after := rapid.Int64Range(0, int64(len(want))).Draw(t, "after")
				logs, next, more, err := r.page(after, true)
				if err != nil || more || next != int64(len(want)) || len(logs) != len(want)-int(after) {
					t.Fatalf("after %d of %d: %d lines, next %d, more %v, %v", after, len(want), len(logs), next, more, err)
				}
				for i, l := range logs {
					if l.Text != want[int(after)+i] {
						t.Fatalf("line %d is %q, not %q", int(after)+i, l.Text, want[int(after)+i])
					}
				}
			}
			if rapid.Bool().Draw(t, "given back") {
				s.giveBack()
				gone := s.marks.get(dropped).line
				logs, _, _, err := r.page(0, false)
				if err != nil || len(logs) != len(want)-int(gone) {
					t.Fatalf("%d of %d lines were dropped, %d are left: %v", gone, len(want), len(logs), err)
				}
			}
			if rapid.Bool().Draw(t, "torn") {
				if _, err := s.f.WriteString(`{"s":0,"t":1,"x":"ha`); err != nil {
					t.Fatal(err)
				}
			}
			gone := s.marks.get(dropped).line
			if err := s.close(); err != nil {
				t.Fatal(err)
			}
			if gone > 0 {
				return // lines from 0 on cannot be asked for any more
			}
		}
	})
}

func FuzzArguments(f *testing.F) {
	f.Add(`a "b c" \" \\"x"`)
	f.Add("\x00")
	f.Fuzz(func(t *testing.T, s string) {
		all, err := splitArguments(s)
		if (err != nil) != strings.ContainsRune(s, 0) {
			t.Fatal(err)
		}
		total := 0
		for _, a := range all {
			total += len(a)
		}
		if total > len(s) {
			t.Errorf("%q became %q", s, all)
		}
		if !strings.ContainsAny(s, "\"\\\x00") {
			if want := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' }); fmt.Sprint(want) != fmt.Sprint(all) {
				t.Errorf("%q became %q", s, all)
			}
		}
	})
}
