package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestText(t *testing.T) {
	for _, c := range []struct {
		name    string
		secrets []string
		in, out string
	}{
		{"plain", []string{"hunter2"}, "password is hunter2, ok", "password is ********, ok"},
		{"twice", []string{"hunter2"}, "hunter2hunter2", "****************"},
		{"nothing", nil, "hunter2", "hunter2"},
		{"weak", []string{"abc", "", "    ", " a "}, "abc    a ", "abc    a "},
		{"four", []string{"abcd"}, "xabcdx YWJjZA==", "x********x YWJjZA=="},
		{"longest wins", []string{"secret", "secretary"}, "secretary secret", "******** ********"},
		{"inner first", []string{"bcde", "abcdef"}, "abcdef abcdex", "******** a********x"},
		{"overlap", []string{"abcd", "cdef"}, "abcdef", "********"},
		{"self overlap", []string{"abab"}, "ababab", "********"},
		{"trimmed", []string{" hunter2\n"}, "is:hunter2!", "is:********!"},
		{"with its line end", []string{"hunter2\n"}, "is hunter2\nnext", "is ********next"},
		{"line of many", []string{"first line\nsecond line\r\nno"}, "x second line y no", "x ******** y no"},
		{"windows ends", []string{"first\nsecond"}, "first\r\nsecond", "********"},
		{"colour inside", []string{"hunter2"}, "a hun\x1b[31mter2\x1b[0m b", "a ********\x1b[31m\x1b[0m b"},
		{"colour before", []string{"hunter2"}, "a \x1b[1;31mhunter2 b", "a \x1b[1;31m******** b"},
		{"no colour", []string{"12345678"}, "\x1b[12345678m", "\x1b[********m"},
		{"cut off", []string{"correct horse battery"}, "say correct ho", "say ********"},
		{"hardly begun", []string{"correct horse battery"}, "say correct", "say correct"},
		{"cut off with a secret inside", []string{"hunter2 and more", "hunter2"}, "say hunter2 a", "say ********"},
		{"not text", []string{"\xff\xfe\x00\x01\x02"}, "a\xff\xfe\x00\x01\x02b", "a********b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := NewSet(c.secrets).Text(c.in); got != c.out {
				t.Errorf("%q, want %q", got, c.out)
			}
		})
	}
}

// Every usual disguise of a secret is seen through, and the rest of the line stays.
func TestDisguises(t *testing.T) {
	secret := `P@ss "w'örd" <5> & $x+y/z`
	js, _ := json.Marshal(secret)
	cases := map[string]string{
		"json":        string(js[1 : len(js)-1]),
		"json ascii":  `P@ss \"w'\u00f6rd\" <5> & $x+y/z`,
		"query":       url.QueryEscape(secret),
		"path":        url.PathEscape(secret),
		"component":   strings.ReplaceAll(url.QueryEscape(secret), "+", "%20"),
		"lower query": "P%40ss+%22w%27%c3%b6rd%22+%3c5%3e+%26+%24x%2by%2fz",
		"xml":         `P@ss &quot;w&apos;örd&quot; &lt;5&gt; &amp; $x+y/z`,
		"html":        `P@ss &#34;w&#39;örd&#34; &lt;5&gt; &amp; $x+y/z`,
		"single":      `P@ss "w'\''örd" <5> & $x+y/z`,
		"double":      `P@ss \"w'örd\" <5> & \$x+y/z`,
		"printf %q":   `P@ss\ \"w\'örd\"\ \<5\>\ \&\ \$x+y/z`,
		"powershell":  `P@ss "w''örd" <5> & $x+y/z`,
		"hex":         hex.EncodeToString([]byte(secret)),
		"HEX":         strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"base64":      base64.StdEncoding.EncodeToString([]byte(secret)),
		"base64 url":  base64.URLEncoding.EncodeToString([]byte(secret)),
		"utf-16":      utf16le(secret),
		"encoded":     base64.StdEncoding.EncodeToString([]byte(utf16le(secret))),
	}
	set := NewSet([]string{secret})
	for name, in := range cases {
		if got := set.Text("<a>" + in + "</a>"); got != "<a>"+Mask+"</a>" {
			t.Errorf("%s: %q of %q", name, got, in)
		}
	}
	for before := range 6 { // inside a longer base64 text only the middle can be known
		for after := range 6 {
			plain := strings.Repeat("~", before) + secret + strings.Repeat("~", after)
			for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
				got := set.Text(e.EncodeToString([]byte(plain)))
				rest := strings.TrimRight(strings.ReplaceAll(got, Mask, ""), "=")
				if !strings.Contains(got, Mask) || len(rest) > (before*8+5)/6+(after*8+5)/6+1 {
					t.Errorf("base64 with %d before and %d after: %q", before, after, got)
				}
			}
		}
	}
}

// oracle masks the plain way: every place, every pattern, then the end.
func oracle(secrets []string, text string) string {
	var all []string
	for _, s := range secrets {
		all = append(all, patterns(s)...)
	}
	type area struct{ start, end int }
	var areas []area
	for _, p := range all {
		for i := 0; i+len(p) <= len(text); i++ {
			if text[i:i+len(p)] == p {
				areas = append(areas, area{i, i + len(p)})
			}
		}
		for n := min(len(p)-1, len(text)); n >= partial; n-- {
			if strings.HasSuffix(text, p[:n]) {
				areas = append(areas, area{len(text) - n, len(text)})
				break
			}
		}
	}
	slices.SortFunc(areas, func(a, b area) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return b.end - a.end
	})
	var out strings.Builder
	at := 0
	for i := 0; i < len(areas); {
		end := areas[i].end
		j := i + 1
		for ; j < len(areas) && areas[j].start < end; j++ {
			end = max(end, areas[j].end)
		}
		out.WriteString(text[at:areas[i].start] + Mask)
		at, i = end, j
	}
	return out.String() + text[at:]
}

func pieces(t *rapid.T, text string) []string {
	var out []string
	for len(text) > 0 {
		n := rapid.IntRange(1, len(text)).Draw(t, "piece")
		if rapid.Bool().Draw(t, "tiny") {
			n = min(n, 3)
		}
		out = append(out, text[:n])
		text = text[n:]
	}
	return out
}

// The output is what the plain way gives, however the stream is cut and however often it changes its owner.
func TestMaskerIsTheOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		few := rapid.StringOfN(rapid.SampledFrom([]rune("ab")), 0, 14, -1) // overlaps of all kinds
		any := rapid.StringOfN(rapid.SampledFrom([]rune("abcdé+\n'\" ")), 0, 20, -1)
		word := rapid.OneOf(few, few, any)
		secrets := rapid.SliceOfN(word, 0, 5).Draw(t, "secrets")
		var text strings.Builder
		for range rapid.IntRange(0, 8).Draw(t, "parts") {
			part := word.Draw(t, "part")
			if len(secrets) > 0 && rapid.Bool().Draw(t, "leak") {
				part = rapid.SampledFrom(secrets).Draw(t, "which")
				if p := patterns(part); len(p) > 0 {
					part = rapid.SampledFrom(p).Draw(t, "disguise")
				}
				part = part[:rapid.IntRange(0, len(part)).Draw(t, "of it")]
			}
			text.WriteString(part)
		}
		set := NewSet(secrets)
		want := oracle(secrets, text.String())
		if got := set.Text(text.String()); got != want {
			t.Fatalf("whole: %q, want %q", got, want)
		}
		m := New(set)
		var out []byte
		for _, p := range pieces(t, text.String()) {
			out = m.Append(out, []byte(p))
			if rapid.Bool().Draw(t, "moves") {
				b, err := json.Marshal(m.State())
				if err != nil {
					t.Fatal(err)
				}
				var s State
				if err := json.Unmarshal(b, &s); err != nil {
					t.Fatal(err)
				}
				m = Resume(NewSet(secrets), s)
			}
		}
		if got := string(m.End(out)); got != want {
			t.Fatalf("in pieces: %q, want %q", got, want)
		}
		for _, s := range secrets {
			for _, p := range patterns(s) {
				if strings.Contains(strings.ReplaceAll(want, Mask, "\x01"), p) {
					t.Fatalf("%q is in %q", p, want)
				}
			}
		}
	})
}

// With colour codes anywhere: cutting changes nothing, and the text without codes is masked as ever.
func TestColourCodesAreTransparent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secrets := []string{"hunter2", "correct horse", "\x1b[0mabc"}
		part := rapid.SampledFrom([]string{"hunter2", "hun", "ter2", "correct ", "horse", "\x1b[1m", "\x1b[38;5;12m", "\x1b[", "\x1b", "[0m", "m", "\x1b[12345m", "abc", "\n"})
		text := strings.Join(rapid.SliceOfN(part, 0, 12).Draw(t, "text"), "")
		set := NewSet(secrets)
		whole := set.Text(text)
		m := New(set)
		var out []byte
		for _, p := range pieces(t, text) {
			out = m.Append(out, []byte(p))
		}
		if got := string(m.End(out)); got != whole {
			t.Fatalf("in pieces %q, whole %q", got, whole)
		}
		plain, codes, _ := split([]byte(text), true)
		for _, c := range codes {
			if !strings.Contains(whole, string(c.raw)) {
				t.Fatalf("code %q is lost", c.raw)
			}
		}
		shown, _, _ := split([]byte(whole), true)
		if want := set.Text(string(plain)); string(shown) != want && !strings.Contains(string(plain), "\x1b") {
			t.Fatalf("%q, want %q", shown, want)
		}
	})
}

// A secret made on the way holds for all that comes after, even if its beginning is held back already.
func TestUseOfANewSecret(t *testing.T) {
	m := New(NewSet([]string{"first secret"}))
	out := m.Append(nil, []byte("a second first sec"))
	m.Use(NewSet([]string{"first secret", "second", "sec and more"}))
	out = m.Append(out, []byte("ret sec"))
	out = m.Append(out, []byte(" and more second"))
	if d := cmp.Diff("a second ******** ******** ********", string(m.End(out))); d != "" {
		t.Error(d)
	}
}

// Whatever cannot be part of a secret is shown at once.
func TestNothingIsHeldForLong(t *testing.T) {
	m := New(NewSet([]string{"hunter2"}))
	for in, want := range map[string]string{"Continue? [y/n] ": "Continue? [y/n] ", "is hunter2": "is ********"} {
		if got := string(m.Append(nil, []byte(in))); got != want {
			t.Errorf("%q shows %q", in, got)
		}
	}
}

func FuzzMasker(f *testing.F) {
	f.Add("hunter2", "password", "my hunter2 is \x1b[1mpass\x1b[0mword", byte(3))
	f.Add("aaaa", "aaaab", "aaaaaaaaab", byte(1))
	f.Add("\x1b[0m", "[0mx", "\x1b[0mx\x1b[0", byte(2))
	f.Fuzz(func(t *testing.T, a, b, text string, cut byte) {
		set := NewSet([]string{a, b})
		m := New(set)
		var out []byte
		size := int(cut) + 1
		for p := range slices.Chunk([]byte(text), size) {
			out = m.Append(out, p)
		}
		if got, want := string(m.End(out)), set.Text(text); got != want {
			t.Errorf("in pieces %q, whole %q", got, want)
		}
	})
}

func secrets(n int) []string {
	r := rand.New(rand.NewPCG(1, 1))
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!$%&/()=?+*#-_"
	out := make([]string, n)
	for i := range out {
		b := make([]byte, 12+r.IntN(30))
		for j := range b {
			b[j] = letters[r.IntN(len(letters))]
		}
		out[i] = string(b)
	}
	return out
}

// Goal G37: 150 MB/s on one core with 200 secrets, fed in pieces of 64 KiB.
func BenchmarkMasker(b *testing.B) {
	all := secrets(200)
	var log bytes.Buffer
	for i := 0; log.Len() < 8<<20; i++ {
		fmt.Fprintf(&log, "2026-11-21T10:%02d:%02d.%03d Information Deployed package Acme.Web.%d.%d to https://web-%d.example.org/app?id=%x\n", i/60%60, i%60, i%1000, i%7, i%31, i%13, i*7919)
		if i%500 == 0 {
			fmt.Fprintf(&log, "password=%s\n", all[i/500%len(all)])
		}
	}
	set := NewSet(all)
	b.SetBytes(int64(log.Len()))
	var out []byte
	for b.Loop() {
		m := New(set)
		out = out[:0]
		for p := range slices.Chunk(log.Bytes(), 64<<10) {
			out = m.Append(out[:0], p)
		}
		m.End(out)
	}
}

func BenchmarkNewSet(b *testing.B) {
	all := secrets(200)
	for b.Loop() {
		NewSet(all)
	}
}
