package archive

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/octavo/octavo/internal/fault"
)

// file is an entry of an archive a test makes.
type file struct {
	name string
	body string
	mode fs.FileMode
	link string // tar: link name
	typ  byte   // tar type flag; 0 = by name
}

var stamp = time.Date(2024, 2, 29, 12, 34, 56, 0, time.UTC)

func makeZip(t testing.TB, files ...file) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: stamp}
		if f.mode != 0 {
			h.SetMode(f.mode)
		}
		body, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(body, f.body); err != nil && !strings.HasSuffix(f.name, "/") {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func makeTar(t testing.TB, files ...file) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		typ := f.typ
		if typ == 0 && strings.HasSuffix(f.name, "/") {
			typ = tar.TypeDir
		} else if typ == 0 {
			typ = tar.TypeReg
		}
		h := &tar.Header{
			Name: f.name, Typeflag: typ, Linkname: f.link, Mode: int64(f.mode.Perm()), ModTime: stamp,
			Size: int64(len(f.body)), Uid: 1 << 30,
		}
		if f.mode&fs.ModeSetuid != 0 {
			h.Mode |= 0o4000
		}
		if f.mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gz(t testing.TB, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func verify(data []byte, name string) (Summary, error) {
	return Verify(context.Background(), bytes.NewReader(data), int64(len(data)), name, Limits{})
}

// save writes an archive and gives its path and a folder that does not exist yet.
func save(t testing.TB, name string, data []byte) (path, dir string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, filepath.Join(t.TempDir(), "out")
}

// listing gives what lies below dir: path to "mode content", or to "-> target".
func listing(t testing.TB, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			got[rel] = "-> " + target
			return err
		case d.IsDir():
			got[rel] = info.Mode().String()
		default:
			body, err := os.ReadFile(p)
			got[rel] = info.Mode().String() + " " + string(body)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestExtractKeepsModesAndTimes(t *testing.T) {
	files := []file{
		{name: "bin/", mode: fs.ModeDir | 0o755},
		{name: "bin/run.sh", body: "#!/bin/sh\n", mode: 0o755},
		{name: "secret.txt", body: "x", mode: 0o400},
		{name: "open.txt", body: strings.Repeat("y", 3), mode: 0o666},
		{name: "a/b/c.txt", body: ""},
	}
	want := map[string]string{
		"bin": "drwxr-xr-x", "bin/run.sh": "-rwxr-xr-x #!/bin/sh\n", "secret.txt": "-rw------- x",
		"open.txt": "-rw-r--r-- yyy", "a": "drwxr-xr-x", "a/b": "drwxr-xr-x", "a/b/c.txt": "-rw-r--r-- ",
	}
	plain := makeTar(t, append([]file{{name: "./", mode: 0o755}}, files...)...)
	for name, data := range map[string][]byte{
		"p.zip": makeZip(t, files...), "p.jar": makeZip(t, files...), "p.tar": plain, "p.tgz": gz(t, plain), "p.TAR.GZ": gz(t, plain),
		"p.tar.bz2": bz2(t, plain),
	} {
		t.Run(name, func(t *testing.T) {
			path, dir := save(t, name, data)
			sum, err := Extract(t.Context(), path, dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Summary{Files: 4, Folders: 1, Bytes: 14}, sum); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(want, listing(t, dir)); diff != "" {
				t.Error(diff)
			}
			for _, p := range []string{"bin", "bin/run.sh"} {
				if info, _ := os.Stat(filepath.Join(dir, p)); !info.ModTime().Equal(stamp) {
					t.Errorf("%s has time %v, want %v", p, info.ModTime(), stamp)
				}
			}
			verified, err := VerifyFile(t.Context(), path, Limits{})
			if err != nil || verified != sum {
				t.Errorf("Verify gave %v, %v; Extract gave %v", verified, err, sum)
			}
		})
	}
}

func bz2(t testing.TB, data []byte) []byte {
	t.Helper()
	cmd := exec.Command("python3", "-c", "import bz2,sys;sys.stdout.buffer.write(bz2.compress(sys.stdin.buffer.read()))")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("no python3 to pack bzip2 with: %v", err)
	}
	return out
}

func TestNupkgLeavesItsMetadataOut(t *testing.T) {
	path, dir := save(t, "Acme.Web.1.0.0.nupkg", makeZip(t,
		file{name: "_rels/.rels", body: "r"}, file{name: "[Content_Types].xml", body: "c"},
		file{name: "package/services/metadata/core-properties/1.psmdcp", body: "m"},
		file{name: "Acme.Web.1.0.0.nupkg.sha512", body: "h"},
		file{name: "Acme.Web.nuspec", body: "n"}, file{name: "content/my%20file%2B.txt", body: "1"}, file{name: "100%.txt", body: "2"}))
	sum, err := Extract(t.Context(), path, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if sum.Files != 3 {
		t.Errorf("%d files, want 3", sum.Files)
	}
	want := map[string]string{
		"Acme.Web.nuspec": "-rw-r--r-- n", "content": "drwxr-xr-x", "content/my file+.txt": "-rw-r--r-- 1", "100%.txt": "-rw-r--r-- 2",
	}
	if diff := cmp.Diff(want, listing(t, dir)); diff != "" {
		t.Error(diff)
	}
	if _, err := verify(makeZip(t, file{name: "%2e%2e/x", body: "1"}), "a.nupkg"); err == nil {
		t.Error("an encoded way out was taken")
	}
}

// refused holds every name and kind that must be turned down, in zip and tar alike, with a word of the reason.
func TestRefused(t *testing.T) {
	long := strings.Repeat("n", 4097)
	names := map[string]string{
		"../x": "leads out", "a/../../x": "leads out", "a/..": "leads out", "/etc/passwd": "absolute", `..\x`: "backslash", `C:\x`: "backslash",
		"C:/x": "colon", "a:b": "colon", `\\host\x`: "backslash", "a//b": "empty part", "a\nb": "control", "a\x01": "control",
		long: "longer", strings.Repeat("d/", 65) + "x": "deeper", "dot./x": "ends in a dot", "space ": "ends in", "CON": "device", "aux.txt": "device",
		"d/com1.log": "device", "LPT³": "device", "e\u0301": "composed", "a\xff": "UTF-8", "a/./b": "leads out",
	}
	for name, why := range names {
		f := file{name: name, body: "x"}
		wantRefused(t, "p.zip", rawZip(rawEntry{name: name, body: "x"}), why)
		if !strings.Contains(name, "\xff") {
			wantRefused(t, "p.tar", makeTar(t, f), why)
		}
	}
	trees := []struct {
		why   string
		files []file
	}{
		{"twice", []file{{name: "a", body: "1"}, {name: "a", body: "2"}}},
		{"case only", []file{{name: "README", body: "1"}, {name: "readme", body: "2"}}},
		{"case only", []file{{name: "straße", body: "1"}, {name: "STRASSE", body: "2"}}},
		{"case only", []file{{name: "Lib/a", body: "1"}, {name: "lib/b", body: "2"}}},
		{"twice", []file{{name: "a/", mode: fs.ModeDir | 0o755}, {name: "a", body: "1"}}},
		{"twice", []file{{name: "a", body: "1"}, {name: "a/", mode: fs.ModeDir | 0o755}}},
		{"not a folder", []file{{name: "a", body: "1"}, {name: "a/b", body: "1"}}},
		{"twice", []file{{name: "a/b", body: "1"}, {name: "a", body: "1"}}},
	}
	for _, tt := range trees {
		wantRefused(t, "p.zip", makeZip(t, tt.files...), tt.why)
		wantRefused(t, "p.tar.gz", gz(t, makeTar(t, tt.files...)), tt.why)
	}
	tars := []struct {
		why   string
		files []file
	}{
		{"leads out", []file{{name: "l", typ: tar.TypeSymlink, link: "../x"}}},
		{"leads out", []file{{name: "d/l", typ: tar.TypeSymlink, link: "../../x"}}},
		{"leads out", []file{{name: "l", typ: tar.TypeSymlink, link: "d/../../x"}}},
		{"leads out", []file{{name: "b", typ: tar.TypeSymlink, link: "."}, {name: "a", typ: tar.TypeSymlink, link: "b/.."}}},
		{"not inside", []file{{name: "l", typ: tar.TypeSymlink, link: "/etc"}}},
		{"not a folder", []file{{name: "l", typ: tar.TypeSymlink, link: "d"}, {name: "l/x", body: "1"}}},
		{"twice", []file{{name: "l", typ: tar.TypeSymlink, link: "x"}, {name: "l", body: "1"}}},
		{"leads out", []file{{name: "h", typ: tar.TypeLink, link: "../x"}}},
		{"not a file", []file{{name: "h", typ: tar.TypeLink, link: "none"}}},
		{"not a file", []file{{name: "s", typ: tar.TypeSymlink, link: "x"}, {name: "h", typ: tar.TypeLink, link: "s"}}},
		{"device", []file{{name: "d", typ: tar.TypeChar}}},
		{"device", []file{{name: "d", typ: tar.TypeBlock}}},
		{"pipe", []file{{name: "d", typ: tar.TypeFifo}}},
		{"setuid", []file{{name: "s", body: "x", mode: fs.ModeSetuid | 0o755}}},
	}
	for _, tt := range tars {
		wantRefused(t, "p.tar", makeTar(t, tt.files...), tt.why)
	}
	zips := []struct {
		why  string
		file file
	}{
		{"device", file{name: "d", mode: fs.ModeDevice | 0o644}},
		{"device", file{name: "d", mode: fs.ModeNamedPipe | 0o644}},
		{"socket", file{name: "d", mode: fs.ModeSocket | 0o644}},
		{"setuid", file{name: "s", mode: fs.ModeSetuid | 0o755}},
		{"leads out", file{name: "l", mode: fs.ModeSymlink | 0o777, body: "../x"}},
		{"not inside", file{name: "l", mode: fs.ModeSymlink | 0o777, body: "/x"}},
		{"not by both", file{name: "d", mode: fs.ModeDir | 0o755}},
	}
	for _, tt := range zips {
		wantRefused(t, "p.zip", makeZip(t, tt.file), tt.why)
	}
	wantRefused(t, "p.rar", nil, "we can read")
}

// wantRefused sees that both Verify and Extract refuse, say why, and leave nothing behind.
func wantRefused(t *testing.T, name string, data []byte, why string) {
	t.Helper()
	_, err := verify(data, name)
	if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), why) {
		t.Errorf("Verify %s, want a refusal with %q, got %v", name, why, err)
	}
	path, dir := save(t, name, data)
	if _, err := Extract(t.Context(), path, dir, Options{Links: true}); err == nil {
		t.Errorf("Extract %s (%s) took it", name, why)
	}
	if left, _ := os.ReadDir(filepath.Dir(dir)); len(left) > 0 {
		t.Errorf("Extract %s (%s) left %v behind", name, why, left)
	}
}

func TestLinks(t *testing.T) {
	data := makeTar(t, file{name: "d/real.txt", body: "1"}, file{name: "d/up", typ: tar.TypeSymlink, link: "../e"},
		file{name: "e/", mode: 0o755}, file{name: "hard", typ: tar.TypeLink, link: "d/real.txt"}, file{name: "new/l", typ: tar.TypeSymlink, link: "none"})
	path, dir := save(t, "p.tar", data)
	if _, err := Extract(t.Context(), path, dir, Options{}); err == nil || !strings.Contains(err.Error(), "links are not taken") {
		t.Errorf("links must be asked for, got %v", err)
	}
	sum, err := Extract(t.Context(), path, dir, Options{Links: true})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"d": "drwxr-xr-x", "d/real.txt": "-rw-r--r-- 1", "d/up": "-> ../e", "e": "drwxr-xr-x", "hard": "-rw-r--r-- 1", "new": "drwxr-xr-x", "new/l": "-> none",
	}
	if diff := cmp.Diff(want, listing(t, dir)); diff != "" || sum.Links != 3 {
		t.Error(sum, diff)
	}
}

func TestNeverOverWhatIsThere(t *testing.T) {
	path, dir := save(t, "p.zip", makeZip(t, file{name: "a", body: "1"}))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Extract(t.Context(), path, dir, Options{}); err != nil {
		t.Errorf("an empty folder is fine, got %v", err)
	}
	if _, err := Extract(t.Context(), path, dir, Options{}); fault.KindOf(err) != fault.Conflict {
		t.Errorf("want a conflict, got %v", err)
	}
}

func TestBombs(t *testing.T) {
	small := Limits{Total: 1 << 20, File: 1 << 19, Entries: 5, Names: 1000, Ratio: 20, RatioAfter: 1 << 15}
	zeros := strings.Repeat("\x00", 1<<16)
	many := make([]file, 6)
	for i := range many {
		many[i] = file{name: string(rune('a' + i)), body: "x"}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 1<<19)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	three := []file{{name: "a", body: string(noise)}, {name: "b", body: string(noise)}, {name: "c", body: string(noise)}}
	for _, tt := range []struct {
		why   string
		files []file
	}{
		{"bomb", []file{{name: "z", body: zeros}}},
		{"entries", many},
		{"names", []file{{name: strings.Repeat("long/", 60) + "a"}, {name: strings.Repeat("long/", 60) + "b"}, {name: strings.Repeat("long/", 60) + "c"}, {name: strings.Repeat("long/", 60) + "d"}}},
		{"larger than", []file{{name: "a", body: string(noise) + "!"}}},
		{"unpacks to more than 1048576 bytes", three},
	} {
		for name, data := range map[string][]byte{"p.zip": makeZip(t, tt.files...), "p.tgz": gz(t, makeTar(t, tt.files...))} {
			_, err := Verify(t.Context(), bytes.NewReader(data), int64(len(data)), name, small)
			if err == nil || !strings.Contains(err.Error(), tt.why) {
				t.Errorf("%s: want a refusal with %q, got %v", name, tt.why, err)
			}
		}
	}
}

// Every cut of a good archive must be seen, wherever it falls.
func TestTruncated(t *testing.T) {
	files := []file{{name: "d/", mode: fs.ModeDir | 0o755}, {name: "d/a.txt", body: strings.Repeat("hello ", 200)}, {name: "b", body: "x"}}
	plain := makeTar(t, files...)
	for name, data := range map[string][]byte{"p.zip": makeZip(t, files...), "p.tgz": gz(t, plain), "p.tar": plain} {
		if _, err := verify(data, name); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for n := range len(data) {
			if _, err := verify(data[:n], name); fault.KindOf(err) != fault.Invalid {
				t.Errorf("%s cut at %d of %d: got %v", name, n, len(data), err)
			}
		}
	}
}

// A flipped bit in packed data must be seen, or be one of the few that mean nothing (padding of the last block).
func TestFlippedBits(t *testing.T) {
	want := strings.Repeat("hello ", 50)
	zipped := makeZip(t, file{name: "a.txt", body: want})
	packed := gz(t, makeTar(t, file{name: "a.txt", body: want}))
	for _, tt := range []struct {
		name     string
		data     []byte
		from, to int
	}{
		{"a.zip", zipped, lenLocal + len("a.txt") + 9, bytes.Index(zipped, []byte("PK\x01\x02"))}, // behind the extra field
		{"a.tgz", packed, 10, len(packed)}, // behind the gzip header
	} {
		seen := 0
		for i := tt.from; i < tt.to; i++ {
			bad := bytes.Clone(tt.data)
			bad[i] ^= 0x10
			var got []byte
			_, err := walk(t.Context(), bytes.NewReader(bad), int64(len(bad)), tt.name, Options{}, func(_ entry, body io.Reader) (err error) {
				got, err = io.ReadAll(body)
				return err
			})
			if err != nil {
				seen++
			} else if string(got) != want {
				t.Errorf("%s: byte %d was changed and nobody saw it", tt.name, i)
			}
		}
		if seen < (tt.to-tt.from)*9/10 {
			t.Errorf("%s: only %d of %d changes were seen", tt.name, seen, tt.to-tt.from)
		}
	}
}

func TestTarOddities(t *testing.T) {
	good := makeTar(t, file{name: "a", body: "1"})
	wantRefused(t, "p.tar", append(bytes.Clone(good), makeTar(t, file{name: "b", body: "2"})...), "behind the end")
	wantRefused(t, "p.tgz", append(gz(t, good), "junk that is longer than a header"...), "behind its end")
	two := append(gz(t, good[:512]), gz(t, good[512:])...)
	if sum, err := verify(two, "p.tgz"); err != nil || sum.Files != 1 {
		t.Errorf("a gzip of two members is fine, got %v %v", sum, err)
	}
	if _, err := verify(append(bytes.Clone(good), make([]byte, 8192)...), "p.tar"); err != nil {
		t.Errorf("padding with zeros is fine, got %v", err)
	}
	pax := makeTar(t, file{name: strings.Repeat("long/", 40) + "ü", body: "1"})
	if _, err := verify(pax, "p.tar"); err != nil {
		t.Errorf("a long name is fine, got %v", err)
	}
	if tool, err := exec.LookPath("tar"); err == nil {
		dir := t.TempDir()
		sparse := filepath.Join(dir, "s")
		f, _ := os.Create(sparse)
		f.Truncate(1 << 20)
		f.WriteAt([]byte("x"), 1<<19)
		f.Close()
		for _, format := range []string{"gnu", "pax"} {
			out, err := exec.Command(tool, "-C", dir, "-S", "--format="+format, "-cf", "-", "s").Output()
			if err != nil {
				t.Skip(err)
			}
			wantRefused(t, "p.tar", out, "sparse")
		}
	}
}
