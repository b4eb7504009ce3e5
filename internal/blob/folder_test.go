package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/octavo/octavo/internal/fault"
)

var never = Options{LowBytes: -1, LowPercent: -1}

func open(t testing.TB, dir string) *Folder {
	t.Helper()
	f, err := OpenFolder(t.Context(), dir, never)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestPutAndRead(t *testing.T) {
	each(t, func(t *testing.T, f Store) {
		ctx := t.Context()
		size, digest, err := f.Put(ctx, "logs/Tasks-1/a", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte("hello"))
		if size != 5 || digest != hex.EncodeToString(sum[:]) {
			t.Fatalf("size %d digest %s", size, digest)
		}
		if _, _, err := f.Put(ctx, "logs/Tasks-1/a", strings.NewReader("other")); !errors.Is(err, fs.ErrExist) || fault.KindOf(err) != fault.Conflict {
			t.Fatalf("second put: %v, want a conflict", err)
		}
		for offset, want := range map[int64]string{0: "hello", 2: "llo", 5: ""} {
			r, err := f.Open(ctx, "logs/Tasks-1/a", offset)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			r.Close()
			if string(got) != want || err != nil {
				t.Errorf("from %d: %q %v, want %q", offset, got, err, want)
			}
		}
		for _, offset := range []int64{-1, 6} {
			if _, err := f.Open(ctx, "logs/Tasks-1/a", offset); fault.KindOf(err) != fault.Invalid {
				t.Errorf("from %d: %v, want invalid", offset, err)
			}
		}
		if st, err := f.Stat(ctx, "logs/Tasks-1/a"); err != nil || st.Size != 5 || time.Since(st.Modified) > time.Hour {
			t.Errorf("stat: %+v %v", st, err)
		}
		if err := f.Delete(ctx, "logs/Tasks-1/a"); err != nil {
			t.Fatal(err)
		}
		if err := f.Delete(ctx, "logs/Tasks-1/a"); err != nil {
			t.Errorf("deleting twice: %v", err)
		}
		for name, err := range map[string]error{
			"open": second(f.Open(ctx, "logs/Tasks-1/a", 0)), "stat": second(f.Stat(ctx, "logs/Tasks-1/a")), "folder": second(f.Stat(ctx, "logs")),
		} {
			if !errors.Is(err, fs.ErrNotExist) || fault.KindOf(err) != fault.NotFound {
				t.Errorf("%s of a missing key: %v", name, err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestKeys(t *testing.T) {
	each(t, func(t *testing.T, f Store) {
		ctx := t.Context()
		for _, key := range []string{"", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/.b", ".incoming/x", "a b", "a\\b", "a\x00", "ä", strings.Repeat("a", 513)} {
			if _, _, err := f.Put(ctx, key, strings.NewReader("x")); fault.KindOf(err) != fault.Invalid {
				t.Errorf("key %q: %v, want invalid", key, err)
			}
		}
	})
}

func TestList(t *testing.T) {
	each(t, func(t *testing.T, f Store) {
		ctx := t.Context()
		for _, key := range []string{"packages/ab/abc", "packages/ab/abd", "packages/cd/cde", "logs/Tasks-1/x", "logs/Tasks-10/x"} {
			if _, _, err := f.Put(ctx, key, strings.NewReader(key)); err != nil {
				t.Fatal(err)
			}
		}
		for prefix, want := range map[string][]string{
			"":                {"logs/Tasks-1/x", "logs/Tasks-10/x", "packages/ab/abc", "packages/ab/abd", "packages/cd/cde"},
			"packages/":       {"packages/ab/abc", "packages/ab/abd", "packages/cd/cde"},
			"packages/a":      {"packages/ab/abc", "packages/ab/abd"},
			"packages/ab/abd": {"packages/ab/abd"},
			"logs/Tasks-1":    {"logs/Tasks-1/x", "logs/Tasks-10/x"},
			"logs/Tasks-1/":   {"logs/Tasks-1/x"},
			"none/":           nil,
			"../":             nil,
		} {
			var got []string
			for info, err := range f.List(ctx, prefix) {
				if err != nil {
					t.Fatal(err)
				}
				if info.Size != int64(len(info.Key)) {
					t.Errorf("%s has size %d", info.Key, info.Size)
				}
				got = append(got, info.Key)
			}
			slices.Sort(got)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("list %q: %s", prefix, d)
			}
		}
		for range f.List(ctx, "") {
			break // must not go on after the caller stopped
		}
	})
}

// A reader that fails must leave nothing: no key, no temporary.
func TestFailedPutLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir)
	broken := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, _, err := f.Put(t.Context(), "a", broken); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("drained")
	cancel(why)
	if _, _, err := f.Put(ctx, "a", strings.NewReader("x")); !errors.Is(err, why) {
		t.Fatalf("cancelled put: %v", err)
	}
	wantFiles(t, dir, nil)
}

func wantFiles(t *testing.T, dir string, want []string) {
	t.Helper()
	var got []string
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			got = append(got, rel)
		}
		return err
	})
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("files: %s %v", d, err)
	}
}

func TestContentIsKeptOnce(t *testing.T) {
	dir := t.TempDir()
	f, ctx := open(t, dir), t.Context()
	sum := sha256.Sum256([]byte("content"))
	digest := hex.EncodeToString(sum[:])
	want := "packages/" + digest[:2] + "/" + digest
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			key, st, err := PutContent(ctx, f, "packages", strings.NewReader("content"))
			if err != nil || key != want || st.Size != 7 || st.SHA256 != digest || st.SHA1 != "040f06fd774092478d450774f5ba30c5da78acc8" {
				t.Errorf("%s %+v %v", key, st, err)
			}
		})
	}
	wg.Wait()
	wantFiles(t, dir, []string{want})
}

// A blob that the disk spoilt is put right by the next upload of the same content, not trusted.
func TestDamagedContentIsReplaced(t *testing.T) {
	for name, spoil := range map[string]func(b []byte) []byte{
		"bit":   func(b []byte) []byte { b[3] ^= 1; return b },
		"short": func(b []byte) []byte { return b[:3] },
		"empty": func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f, ctx := open(t, dir), t.Context()
			key, st, err := PutContent(ctx, f, "p", strings.NewReader("content"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, key), spoil([]byte("content")), 0o600); err != nil {
				t.Fatal(err)
			}
			var damaged *Damaged
			if err := Verify(ctx, f, key, st.Size, st.SHA256); !errors.As(err, &damaged) {
				t.Fatalf("verify: %v", err)
			}
			if _, _, err := PutContent(ctx, f, "p", strings.NewReader("content")); err != nil {
				t.Fatal(err)
			}
			if err := Verify(ctx, f, key, st.Size, st.SHA256); err != nil {
				t.Error(err)
			}
		})
	}
}

// Only one of several writers of one key gets it, and what is there is all his.
func TestOneWriterWins(t *testing.T) {
	each(t, func(t *testing.T, f Store) {
		ctx := t.Context()
		const n = 12
		won := make(chan int, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				_, _, err := f.Put(ctx, "key", bytes.NewReader(bytes.Repeat([]byte{byte(i)}, 100_000)))
				if err == nil {
					won <- i
				} else if !errors.Is(err, fs.ErrExist) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("%d winners", len(won))
		}
		r, err := f.Open(ctx, "key", 0)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		got, _ := io.ReadAll(r)
		if !bytes.Equal(got, bytes.Repeat([]byte{byte(<-won)}, 100_000)) {
			t.Error("the content is not the winner's")
		}
	})
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir)
	for name, age := range map[string]time.Duration{"old": 25 * time.Hour, "young": time.Hour} {
		p := filepath.Join(dir, incoming, name)
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	f = open(t, dir) // the start sweeps
	wantFiles(t, dir, []string{".incoming/young"})
	if n, err := f.Sweep(t.Context(), 0); n != 1 || err != nil {
		t.Errorf("swept %d %v", n, err)
	}
}

func TestOpenFolderRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	spoilt := filepath.Join(dir, "spoilt")
	must(t, os.Mkdir(spoilt, 0o700))
	must(t, os.WriteFile(filepath.Join(spoilt, incoming), nil, 0o600))
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "does not exist. If it is a share, mount it",
		file:                       "is not a folder",
		spoilt:                     "cannot be written as user " + userName() + ": file exists",
	} {
		_, err := OpenFolder(t.Context(), path, Options{})
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

// The rights of the folder are tried for real, as an ordinary user.
func TestOpenFolderWithoutRights(t *testing.T) {
	runtime.LockOSThread() // and never unlocked: the thread's user is changed, so it ends with the test
	dir := t.TempDir()
	if os.Getuid() == 0 {
		for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
			must(t, os.Chmod(d, 0o711))
		}
		must(t, os.Chmod(dir, 0o777))
		must(t, unix.Setfsuid(65534))
		if r, _ := unix.SetfsuidRetUid(-1); r != 65534 {
			t.Fatal("the thread's user did not change")
		}
		defer unix.Setfsuid(0) //nolint:errcheck // for the removal of the folder
	}
	for name, mode := range map[string]os.FileMode{"unreadable": 0o300, "unwritable": 0o500, "closed": 0} {
		sub := filepath.Join(dir, name)
		must(t, os.Mkdir(sub, 0o700))
		must(t, os.Chmod(sub, mode))
		_, err := OpenFolder(t.Context(), sub, never)
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
		must(t, os.Chmod(sub, 0o700))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLowDisk(t *testing.T) {
	for name, o := range map[string]Options{"bytes": {LowBytes: 1 << 60, LowPercent: -1}, "percent": {LowBytes: -1, LowPercent: 101}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f, err := OpenFolder(t.Context(), dir, o) // what is stored can still be read
			must(t, err)
			defer f.Close()
			_, _, err = f.Put(t.Context(), "a", strings.NewReader("x"))
			if fault.KindOf(err) != fault.Busy || !strings.Contains(err.Error(), "low on space") {
				t.Errorf("put: %v", err)
			}
			wantFiles(t, dir, nil)
		})
	}
}

// Space that runs low, or out, in the middle of an upload ends it, with a reason and without a rest.
func TestDiskFullInTheMiddle(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=2m", "none", dir).CombinedOutput(); err != nil {
		t.Skipf("mount: %v %s", err, out)
	}
	t.Cleanup(func() { must(t, exec.Command("umount", dir).Run()) })
	f := open(t, dir)
	defer f.Close()
	_, _, err := f.Put(t.Context(), "a", io.LimitReader(noise(1), 4<<20))
	if fault.KindOf(err) != fault.Busy || !strings.Contains(err.Error(), "is full") {
		t.Errorf("put: %v", err)
	}
	wantFiles(t, dir, nil)
	if _, _, err := f.Put(t.Context(), "a", io.LimitReader(noise(1), 1<<20)); err != nil {
		t.Errorf("after the space was freed: %v", err)
	}
}

func noise(seed uint64) io.Reader {
	return rand.NewChaCha8([32]byte{byte(seed)})
}

// kill -9 at any moment of a stream of puts: what is visible is whole.
func TestKillInTheMiddle(t *testing.T) {
	if dir := os.Getenv("BLOB_KILL_DIR"); dir != "" {
		f := open(t, dir)
		for i := uint64(0); ; i++ {
			if _, _, err := PutContent(t.Context(), f, "p", io.LimitReader(noise(i), 3<<20)); err != nil {
				t.Fatal(err)
			}
			fmt.Println("stored")
		}
	}
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	for range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKillInTheMiddle$")
		cmd.Env = append(os.Environ(), "BLOB_KILL_DIR="+dir)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		buf := make([]byte, 1)
		for range 10 + r.IntN(40) { // bytes of "stored": a moment that differs each time
			if _, err := io.ReadFull(out, buf); err != nil {
				t.Fatal(err)
			}
		}
		must(t, cmd.Process.Kill())
		cmd.Wait() //nolint:errcheck // it was killed
	}
	f := open(t, dir)
	seen := 0
	for info, err := range f.List(t.Context(), "") {
		must(t, err)
		if err := Verify(t.Context(), f, info.Key, 3<<20, filepath.Base(info.Key)); err != nil {
			t.Error(err)
		}
		seen++
	}
	if seen == 0 {
		t.Error("nothing was stored: the test proves nothing")
	}
}

func TestReaderSeeks(t *testing.T) {
	each(t, func(t *testing.T, f Store) {
		ctx := t.Context()
		content, _ := io.ReadAll(io.LimitReader(noise(7), 10_000))
		_, _, err := f.Put(ctx, "a", bytes.NewReader(content))
		must(t, err)
		r := NewReader(ctx, f, "a", int64(len(content)))
		defer r.Close()
		if err := iotest.TestReader(r, content); err != nil {
			t.Error(err)
		}
		short := NewReader(ctx, f, "a", 20_000)
		defer short.Close()
		if _, err := io.ReadAll(short); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a blob shorter than its row: %v", err)
		}
	})
}

func FuzzKeys(f *testing.F) {
	for _, s := range []string{"a/b", "../x", "a/./b", ".incoming/a", "a\x00b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if checkKey(key) == nil && (!fs.ValidPath(key) || strings.HasPrefix(key, ".") || strings.Contains(key, "/.")) {
			t.Errorf("%q was taken", key)
		}
	})
}

func TestBelongs(t *testing.T) {
	each(t, func(t *testing.T, ours Store) { belongs(t, ours, open(t, t.TempDir())) })
}

func belongs(t *testing.T, ours, empty Store) {
	ctx := t.Context()
	for _, c := range []struct {
		name  string
		f     Store
		id    string
		isNew bool
		want  string
	}{
		{"first start", ours, "c1", true, ""},
		{"first start of another node", ours, "c1", true, ""},
		{"later", ours, "c1", false, ""},
		{"not mounted", empty, "c1", false, "Is the share mounted?"},
		{"other cluster's", ours, "c2", false, "belongs to another cluster (c1; the database is of cluster c2)"},
		{"other cluster's, new", ours, "c2", true, "belongs to another cluster"},
	} {
		err := Belongs(ctx, c.f, c.id, c.isNew)
		if c.want == "" && err != nil || c.want != "" && (fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
