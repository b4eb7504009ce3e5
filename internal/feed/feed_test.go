package feed

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
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
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/release"
)

const space = "Spaces-1"

func newRepository(t testing.TB, d *db.DB) (Repository, string) {
	t.Helper()
	dir := t.TempDir()
	return Repository{DB: d, Blobs: folder(t, dir)}, dir
}

func folder(t testing.TB, dir string) *blob.Folder {
	t.Helper()
	f, err := blob.OpenFolder(t.Context(), dir, blob.Options{LowBytes: -1, LowPercent: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// zipOf makes a zip with files by name.
func zipOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, content := range files {
		w, err := z.Create(name)
		if err == nil {
			_, err = io.WriteString(w, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func upload(t testing.TB, r Repository, name string, content []byte, mode Mode) Uploaded {
	t.Helper()
	u, err := r.Upload(t.Context(), space, name, bytes.NewReader(content), mode, nil)
	if err != nil {
		t.Fatalf("upload %s: %v", name, err)
	}
	return u
}

func read(t testing.TB, d *db.DB, fn func(ctx context.Context, tx *db.Tx) error) {
	t.Helper()
	if err := d.Read(t.Context(), func(tx *db.Tx) error { return fn(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, d *db.DB, fn func(ctx context.Context, tx *db.Tx) error) error {
	t.Helper()
	return d.InTx(t.Context(), func(tx *db.Tx) error { return fn(t.Context(), tx) })
}

func content(t testing.TB, r Repository, p Package) []byte {
	t.Helper()
	in, err := r.Open(t.Context(), p, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	b, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestUploadAndRead(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r, _ := newRepository(t, d)
		body := zipOf(t, map[string]string{"a.txt": "hello"})
		u := upload(t, r, `C:\build\Acme.Web.1.2.3-beta.zip`, body, "")
		sum1, sum256 := sha1.Sum(body), sha256.Sum256(body)
		if !u.Created || u.Package.Id != "packages-Acme.Web.1.2.3-beta" || u.Package.FeedId != BuiltIn || u.Package.SpaceId != space {
			t.Fatalf("%+v", u)
		}
		read(t, d, func(ctx context.Context, tx *db.Tx) error {
			for _, id := range []string{"packages-Acme.Web.1.2.3-beta", "Acme.Web.1.2.3-beta", "packages-acme.web.1.2.3-BETA"} {
				p, err := Get(ctx, tx, space, id)
				if err != nil {
					return err
				}
				if p.PackageId != "Acme.Web" || p.Version != "1.2.3-beta" || p.FileExtension != ".zip" || p.PackageSizeBytes != int64(len(body)) ||
					p.Hash != hex.EncodeToString(sum1[:]) || p.Sha256 != hex.EncodeToString(sum256[:]) || time.Since(p.Published.Time) > time.Minute {
					t.Errorf("%s: %+v", id, p)
				}
				if p.FileName() != "Acme.Web.1.2.3-beta.zip" || !bytes.Equal(content(t, r, p), body) {
					t.Errorf("%s: the content is not what was uploaded", id)
				}
				if err := r.Verify(ctx, p); err != nil {
					t.Error(err)
				}
				seeker := r.Reader(ctx, p)
				if err := iotest.TestReader(seeker, body); err != nil {
					t.Error(err)
				}
				seeker.Close()
			}
			for _, other := range []struct{ space, id string }{{"Spaces-2", "Acme.Web.1.2.3-beta"}, {space, "Acme.Web.1.2.3"}, {space, ""}, {space, "packages-"}} {
				if _, err := Get(ctx, tx, other.space, other.id); fault.KindOf(err) != fault.NotFound {
					t.Errorf("%v: %v", other, err)
				}
			}
			if _, err := Find(ctx, tx, space, "Acme", "Web.1.2.3-beta"); fault.KindOf(err) != fault.NotFound {
				t.Errorf("split elsewhere: %v", err)
			}
			return nil
		})
	})
}

func TestModes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r, _ := newRepository(t, d)
		first, second := zipOf(t, map[string]string{"a": "1"}), zipOf(t, map[string]string{"a": "2"})
		upload(t, r, "A.1.0.0.zip", first, FailIfExists)
		_, err := r.Upload(t.Context(), space, "a.1.0.0.ZIP", bytes.NewReader(second), FailIfExists, nil)
		if fault.KindOf(err) != fault.Conflict || !strings.Contains(err.Error(), "A package with the same name and version already exists") {
			t.Errorf("fail: %v", err)
		}
		u := upload(t, r, "A.1.0.0.zip", second, IgnoreIfExists)
		if u.Created || !bytes.Equal(content(t, r, u.Package), first) {
			t.Errorf("ignore: %+v", u)
		}
		u = upload(t, r, "A.1.0.0.zip", second, OverwriteExisting)
		if !u.Created || !bytes.Equal(content(t, r, u.Package), second) {
			t.Errorf("overwrite: %+v", u)
		}
		if _, err := r.Upload(t.Context(), space, "A.1.zip", bytes.NewReader(first), "Replace", nil); fault.KindOf(err) != fault.Invalid {
			t.Errorf("unknown mode: %v", err)
		}
		upload(t, r, "A.1.0.zip", first, FailIfExists) // another text is another version
		u2, err := r.Upload(t.Context(), "Spaces-2", "A.1.0.0.zip", bytes.NewReader(first), FailIfExists, nil)
		if err != nil || !u2.Created {
			t.Errorf("another space: %v", err)
		}
	})
}

// A caller's refusal in the last transaction, for lack of a right or an audit row, leaves nothing to be seen.
func TestThen(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r, _ := newRepository(t, d)
		body := zipOf(t, map[string]string{"a": "1"})
		no := errors.New("no")
		_, err := r.Upload(t.Context(), space, "A.1.0.0.zip", bytes.NewReader(body), "", func(context.Context, *db.Tx, Package) error { return no })
		if !errors.Is(err, no) {
			t.Fatal(err)
		}
		wantVisible(t, d, 0)
		seen := ""
		_, err = r.Upload(t.Context(), space, "A.1.0.0.zip", bytes.NewReader(body), "", func(_ context.Context, _ *db.Tx, p Package) error {
			seen = p.Id
			return nil
		})
		if err != nil || seen != "packages-A.1.0.0" {
			t.Errorf("%q %v", seen, err)
		}
	})
}

func wantVisible(t testing.TB, d *db.DB, want int) {
	t.Helper()
	read(t, d, func(ctx context.Context, tx *db.Tx) error {
		_, n, err := List(ctx, tx, space, Query{})
		if n != want {
			t.Errorf("%d versions can be seen, want %d", n, want)
		}
		return err
	})
}

func files(t testing.TB, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			out = append(out, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRefused(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r, dir := newRepository(t, d)
		r.MaxBytes = 2000
		good := zipOf(t, map[string]string{"a": "1"})
		big := make([]byte, 2001)
		flipped := bytes.Clone(good)
		flipped[32] ^= 0xff
		nuspec := func(text string) []byte { return zipOf(t, map[string]string{"A.nuspec": text}) }
		for name, c := range map[string]struct {
			file string
			body io.Reader
			kind fault.Kind
			want string
		}{
			"no version":      {"SqlServer.zip", bytes.NewReader(good), fault.Invalid, "does not say id and version"},
			"no package":      {"A.1.0.exe", bytes.NewReader(good), fault.Invalid, "not a package"},
			"no unpacker":     {"A.1.0.rar", bytes.NewReader(good), fault.Invalid, "cannot be unpacked"},
			"long id":         {strings.Repeat("a", 101) + ".1.0.zip", bytes.NewReader(good), fault.Invalid, "cannot be a package id"},
			"long version":    {"A.1.0-" + strings.Repeat("a", 350) + ".zip", bytes.NewReader(good), fault.Invalid, "at most"},
			"empty":           {"A.1.0.zip", strings.NewReader(""), fault.Invalid, "refused"},
			"not a zip":       {"A.1.0.zip", strings.NewReader("<html>login</html>"), fault.Invalid, "refused"},
			"cut":             {"A.1.0.zip", bytes.NewReader(good[:len(good)-5]), fault.Invalid, "refused"},
			"spoilt":          {"A.1.0.zip", bytes.NewReader(flipped), fault.Invalid, "refused"},
			"traversal":       {"A.1.0.zip", bytes.NewReader(zipOf(t, map[string]string{"../a": "1"})), fault.Invalid, "refused"},
			"too large":       {"A.1.0.zip", bytes.NewReader(big), fault.TooLarge, "larger"},
			"broken off":      {"A.1.0.zip", io.MultiReader(bytes.NewReader(good), iotest.ErrReader(io.ErrUnexpectedEOF)), fault.Internal, "unexpected EOF"},
			"bad nuspec":      {"A.1.0.nupkg", bytes.NewReader(nuspec("<package><metadata>")), fault.Invalid, "not a sound nuspec"},
			"nuspec bad id":   {"A.1.0.nupkg", bytes.NewReader(nuspec("<package><metadata><id>../x</id><version>1.0</version></metadata></package>")), fault.Invalid, "cannot be a package id"},
			"nuspec no id":    {"A.1.0.nupkg", bytes.NewReader(nuspec("<package><metadata><version>1.0</version></metadata></package>")), fault.Invalid, "cannot be a package id"},
			"nuspec bad vers": {"A.1.0.nupkg", bytes.NewReader(nuspec("<package><metadata><id>A</id><version>$v$</version></metadata></package>")), fault.Invalid, "is not a version"},
			"nuspec entities": {"A.1.0.nupkg", bytes.NewReader(nuspec(`<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><package><metadata><id>A</id><version>1.0</version><title>&x;</title></metadata></package>`)), fault.Invalid, "not a sound nuspec"},
		} {
			_, err := r.Upload(t.Context(), space, c.file, c.body, "", nil)
			if fault.KindOf(err) != c.kind || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
		}
		wantVisible(t, d, 0)
		if left := files(t, dir); left != nil {
			t.Errorf("left over: %v", left)
		}
	})
}

func TestNuspec(t *testing.T) {
	r, _ := newRepository(t, dbtest.New(t, db.SQLite))
	body := zipOf(t, map[string]string{
		"lib/other.nuspec": "not this one",
		"Acme.Web.nuspec": "\ufeff" + `<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd"><metadata>
  <id>Acme.2Go</id><version>1.0.0-rc.1</version><title> Acme &amp; Co </title><summary>Short</summary>
  <description>Long</description><releaseNotes>New: everything</releaseNotes></metadata></package>`,
	})
	p := upload(t, r, "whatever.9.9.nupkg", body, "").Package
	notes := "New: everything"
	want := Package{PackageId: "Acme.2Go", Version: "1.0.0-rc.1", Title: "Acme & Co", Summary: "Short", Description: "Long", ReleaseNotes: &notes}
	got := Package{PackageId: p.PackageId, Version: p.Version, Title: p.Title, Summary: p.Summary, Description: p.Description, ReleaseNotes: p.ReleaseNotes}
	if got.ReleaseNotes == nil || *got.ReleaseNotes != notes || got.Title != want.Title || got.PackageId != want.PackageId || got.Version != want.Version ||
		got.Summary != want.Summary || got.Description != want.Description {
		t.Errorf("%+v", got)
	}
	plain := upload(t, r, "Plain.2.0.nupkg", zipOf(t, map[string]string{"a": "1"}), "").Package
	if plain.Id != "packages-Plain.2.0" {
		t.Errorf("without nuspec: %+v", plain)
	}
}

func TestLists(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r, _ := newRepository(t, d)
		body := zipOf(t, map[string]string{"a": "1"})
		for _, v := range []string{"1.0.0", "1.10.0", "1.9.0", "1.10.0-beta.2", "1.10.0-beta.11", "2.0.0-alpha", "1.2"} {
			upload(t, r, "Acme.Web."+v+".zip", body, "")
		}
		upload(t, r, "acme_db.1.0.0.tar", tarOf(t), "")
		upload(t, r, "Zeta.1.0.0.zip", body, "")
		read(t, d, func(ctx context.Context, tx *db.Tx) error {
			ids := func(ps []Package) (out []string) {
				for _, p := range ps {
					out = append(out, strings.TrimPrefix(p.Id, "packages-"))
				}
				return out
			}
			for _, c := range []struct {
				q     Query
				want  []string
				total int
			}{
				{Query{}, []string{"Acme.Web.2.0.0-alpha", "Acme.Web.1.10.0", "Acme.Web.1.10.0-beta.11", "Acme.Web.1.10.0-beta.2", "Acme.Web.1.9.0", "Acme.Web.1.2", "Acme.Web.1.0.0", "acme_db.1.0.0", "Zeta.1.0.0"}, 9},
				{Query{Latest: true}, []string{"Acme.Web.2.0.0-alpha", "acme_db.1.0.0", "Zeta.1.0.0"}, 3},
				{Query{PackageID: "ACME.web", Take: 2, Skip: 1}, []string{"Acme.Web.1.10.0", "Acme.Web.1.10.0-beta.11"}, 7},
				{Query{Filter: "_"}, []string{"acme_db.1.0.0"}, 1},
				{Query{Filter: "ACME", Latest: true, Take: 1}, []string{"Acme.Web.2.0.0-alpha"}, 2},
				{Query{Filter: "%"}, nil, 0},
				{Query{Skip: 100}, nil, 9},
			} {
				got, total, err := List(ctx, tx, space, c.q)
				if diff := cmp.Diff(c.want, ids(got)); diff != "" || total != c.total || err != nil {
					t.Errorf("%+v: %s total %d %v", c.q, diff, total, err)
				}
			}
			for _, c := range []struct {
				q     VersionQuery
				want  []string
				total int
			}{
				{VersionQuery{PackageID: "acme.web", Take: 3}, []string{"2.0.0-alpha", "1.10.0", "1.10.0-beta.11"}, 7},
				{VersionQuery{PackageID: "Acme.Web", ExcludePreRelease: true}, []string{"1.10.0", "1.9.0", "1.2", "1.0.0"}, 4},
				{VersionQuery{PackageID: "Acme.Web", VersionRange: "[1.0,1.9.0]"}, []string{"1.9.0", "1.2", "1.0.0"}, 3},
				{VersionQuery{PackageID: "Acme.Web", PreReleaseTag: "^beta"}, []string{"1.10.0-beta.11", "1.10.0-beta.2"}, 2},
				{VersionQuery{PackageID: "Acme.Web", Filter: "BETA.1"}, []string{"1.10.0-beta.11"}, 1},
				{VersionQuery{PackageID: "Acme.Web", Strategy: release.MostRecentlyPublished, VersionTagRegex: `^1\.\d+`, Take: 1, Skip: 99}, nil, 6},
				{VersionQuery{PackageID: "Acme"}, nil, 0},
			} {
				got, total, err := Versions(ctx, tx, space, c.q)
				var vs []string
				for _, p := range got {
					vs = append(vs, p.Version)
				}
				if diff := cmp.Diff(c.want, vs); diff != "" || total != c.total || err != nil {
					t.Errorf("%+v: %s total %d %v", c.q, diff, total, err)
				}
			}
			if _, _, err := Versions(ctx, tx, space, VersionQuery{PackageID: "Acme.Web", VersionRange: "[1.0"}); fault.KindOf(err) != fault.Invalid {
				t.Errorf("bad range: %v", err)
			}
			found, total, err := Search(ctx, tx, space, "web", 0, 10)
			if err != nil || total != 1 || found[0].Id != "Acme.Web" || found[0].LatestVersion != "2.0.0-alpha" {
				t.Errorf("search: %+v %d %v", found, total, err)
			}
			offers, err := Offers(ctx, tx, space, "Acme.Web")
			if v, ok := release.Pick(offers, release.Rule{}, ""); err != nil || !ok || v != "1.10.0" {
				t.Errorf("pick: %q %v %v", v, ok, err)
			}
			list, _, err := List(ctx, tx, space, Query{Take: 1})
			if err != nil || list[0].ReleaseNotes != nil {
				t.Error("notes must be null in lists, unless asked for")
			}
			return err
		})
	})
}

func tarOf(t testing.TB) []byte {
	t.Helper()
	out, err := exec.Command("tar", "-cf", "-", "-C", t.TempDir(), ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDeleteAndSweep(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r, dir := newRepository(t, d)
		body := zipOf(t, map[string]string{"a": "1"})
		upload(t, r, "A.1.0.zip", body, "")
		upload(t, r, "B.1.0.zip", body, "") // the same content
		sweep := func(grace time.Duration, want int) {
			t.Helper()
			if n, err := r.Sweep(t.Context(), grace); n != want || err != nil {
				t.Errorf("swept %d %v, want %d", n, err, want)
			}
		}
		del := func(id string) error {
			return write(t, d, func(ctx context.Context, tx *db.Tx) error { return Delete(ctx, tx, space, id) })
		}
		if err := del("packages-A.1.0"); err != nil {
			t.Fatal(err)
		}
		if err := del("packages-A.1.0"); fault.KindOf(err) != fault.NotFound {
			t.Errorf("twice: %v", err)
		}
		sweep(0, 0) // B still uses it
		if err := del("B.1.0"); err != nil {
			t.Fatal(err)
		}
		sweep(Grace, 0)
		if len(files(t, dir)) != 1 {
			t.Error("the content must stay for the grace")
		}
		sweep(0, 1)
		if left := files(t, dir); left != nil {
			t.Errorf("left over: %v", left)
		}
		u := upload(t, r, "A.1.0.zip", body, "")
		if !bytes.Equal(content(t, r, u.Package), body) {
			t.Error("uploaded again, it is not whole")
		}
	})
}

// A blob that is being removed is never given to a new version.
func TestUploadWhileDropping(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r, _ := newRepository(t, d)
		body := zipOf(t, map[string]string{"a": "1"})
		upload(t, r, "A.1.0.zip", body, "")
		if err := write(t, d, func(ctx context.Context, tx *db.Tx) error { return Delete(ctx, tx, space, "A.1.0") }); err != nil {
			t.Fatal(err)
		}
		keys, err := r.drop(t.Context(), 0) // and here the sweeping node stands still
		if err != nil || len(keys) != 1 {
			t.Fatal(keys, err)
		}
		u := upload(t, r, "A.1.0.zip", body, "")
		if err := r.Blobs.Delete(t.Context(), keys[0]); err != nil { // and goes on
			t.Fatal(err)
		}
		if err := r.Verify(t.Context(), u.Package); err != nil {
			t.Error(err)
		}
	})
}

// Uploads, deletes and sweeps of one content at the same time: whatever can be seen is whole.
func TestSweepAgainstUploads(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r, _ := newRepository(t, d)
		body := zipOf(t, map[string]string{"a": "1"})
		ctx, cancel := context.WithCancel(t.Context())
		var sweeper, users sync.WaitGroup
		sweeper.Go(func() {
			for ctx.Err() == nil {
				if _, err := r.Sweep(t.Context(), 0); err != nil {
					t.Error(err)
					return
				}
			}
		})
		for i := range 3 {
			users.Go(func() {
				for n := range 8 {
					name := fmt.Sprintf("P%d.1.%d", i, n)
					u, err := r.Upload(t.Context(), space, name+".zip", bytes.NewReader(body), "", nil)
					if err != nil {
						t.Error(err)
						return
					}
					if err := r.Verify(t.Context(), u.Package); err != nil {
						t.Error(err)
					}
					if n%2 == 0 {
						if err := write(t, d, func(ctx context.Context, tx *db.Tx) error { return Delete(ctx, tx, space, name) }); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		users.Wait()
		cancel()
		sweeper.Wait()
		read(t, d, func(ctx context.Context, tx *db.Tx) error {
			all, n, err := List(ctx, tx, space, Query{Take: 100})
			if n != 12 {
				t.Errorf("%d versions left, want 12", n)
			}
			for _, p := range all {
				if err := r.Verify(ctx, p); err != nil {
					t.Error(err)
				}
			}
			return err
		})
	})
}

// Of uploads of one version at once one wins, and what is there is all the winner's.
func TestConcurrentUploads(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		r, _ := newRepository(t, d)
		const n = 6
		var mu sync.Mutex
		var won []byte
		wins := 0
		var wg sync.WaitGroup
		for i := range n {
			body := zipOf(t, map[string]string{"a": fmt.Sprint(i)})
			wg.Go(func() {
				u, err := r.Upload(t.Context(), space, "A.1.0.0.zip", slowly(body), FailIfExists, nil)
				switch {
				case err == nil && u.Created:
					mu.Lock()
					defer mu.Unlock()
					wins, won = wins+1, body
				case fault.KindOf(err) != fault.Conflict:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if wins != 1 {
			t.Fatalf("%d uploads won", wins)
		}
		read(t, d, func(ctx context.Context, tx *db.Tx) error {
			p, err := Get(ctx, tx, space, "A.1.0.0")
			if err == nil && !bytes.Equal(content(t, r, p), won) {
				t.Error("the content is not the winner's")
			}
			return err
		})
	})
}

// slowly gives one byte at a time, so that uploads run into each other.
func slowly(b []byte) io.Reader { return iotest.OneByteReader(bytes.NewReader(b)) }

// kill -9 in the middle of uploads: whatever can be seen is whole, and the rest goes away.
func TestKillInTheMiddleOfUploads(t *testing.T) {
	if where := os.Getenv("FEED_KILL_DB"); where != "" {
		d, err := db.Open(t.Context(), where)
		if err != nil {
			t.Fatal(err)
		}
		r := Repository{DB: d, Blobs: folder(t, os.Getenv("FEED_KILL_BLOBS"))}
		for i := os.Getpid() * 10_000; ; i++ {
			body := zipOf(t, map[string]string{"a": strings.Repeat(fmt.Sprint(i), 100_000)})
			if _, err := r.Upload(t.Context(), space, fmt.Sprintf("A.1.%d.zip", i), io.TeeReader(bytes.NewReader(body), dot{}), "", nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			where, dir := dbtest.Create(t, engine), t.TempDir()
			rng := rand.New(rand.NewPCG(3, 4))
			for range 4 {
				cmd := exec.Command(os.Args[0], "-test.run=^TestKillInTheMiddleOfUploads$")
				cmd.Env = append(os.Environ(), "FEED_KILL_DB="+where, "FEED_KILL_BLOBS="+dir)
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				dots := bufio.NewReader(out)
				for range 4 + rng.IntN(20) {
					if b, err := dots.ReadByte(); err != nil || b != '.' {
						rest, _ := io.ReadAll(dots)
						t.Fatalf("the uploader: %q%s %v", b, rest, err)
					}
				}
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				cmd.Wait() //nolint:errcheck // it was killed
			}
			d := dbtest.Open(t, where)
			f := folder(t, dir)
			r := Repository{DB: d, Blobs: f}
			read(t, d, func(ctx context.Context, tx *db.Tx) error {
				all, n, err := List(ctx, tx, space, Query{Take: 10_000})
				if n == 0 {
					t.Error("nothing was stored: the test proves nothing")
				}
				for _, p := range all {
					if err := r.Verify(ctx, p); err != nil {
						t.Error(err)
					}
				}
				return err
			})
			// A day later nothing is left but what can be seen.
			if _, err := r.Sweep(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Sweep(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			read(t, d, func(ctx context.Context, tx *db.Tx) error {
				_, n, err := List(ctx, tx, space, Query{})
				if left := files(t, dir); len(left) != n {
					t.Errorf("%d versions, but %d files", n, len(left))
				}
				return err
			})
		})
	}
}

// dot writes a dot for each piece that was read.
type dot struct{}

func (dot) Write(p []byte) (int, error) {
	_, err := os.Stdout.WriteString(".")
	return len(p), err
}

// A gigabyte goes through in constant memory (G29: at most 64 MiB more).
func TestLargeUploadInConstantMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("one gigabyte")
	}
	const size = 1 << 30
	d := dbtest.New(t, db.SQLite)
	dir, err := os.MkdirTemp("/dev/shm", "octavo-feed-")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := Repository{DB: d, Blobs: folder(t, dir)}
	in, out := io.Pipe()
	go func() {
		z := zip.NewWriter(out)
		w, err := z.CreateHeader(&zip.FileHeader{Name: "large.bin", Method: zip.Store})
		piece := make([]byte, 1<<20)
		rand.NewChaCha8([32]byte{1}).Read(piece) //nolint:errcheck // never fails
		for n := 0; n < size && err == nil; n += len(piece) {
			piece[0]++
			_, err = w.Write(piece)
		}
		out.CloseWithError(errors.Join(err, z.Close()))
	}()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before, peak := m.HeapInuse, uint64(0)
	watch := &every{r: in, n: 32 << 20, do: func() {
		runtime.ReadMemStats(&m)
		peak = max(peak, m.HeapInuse)
	}}
	began := time.Now()
	u, err := r.Upload(t.Context(), space, "Large.1.0.0.zip", watch, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	watch.do()
	t.Logf("%d MiB in %.1f s, %d MiB more memory", u.Package.PackageSizeBytes>>20, time.Since(began).Seconds(), (max(peak, before)-before)>>20)
	if u.Package.PackageSizeBytes < size || peak > before+64<<20 {
		t.Errorf("heap grew from %d to %d MiB", before>>20, peak>>20)
	}
}

// every calls do after each n bytes.
type every struct {
	r    io.Reader
	n    int
	seen int
	do   func()
}

func (e *every) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if e.seen/e.n != (e.seen+n)/e.n {
		e.do()
	}
	e.seen += n
	return n, err
}

// The key in the database orders as versions do.
func TestSortKey(t *testing.T) {
	number := rapid.SampledFrom([]string{"0", "1", "2", "9", "10", "100", "007", "2147483647"})
	word := rapid.SampledFrom([]string{"0", "1", "2", "11", "a", "A", "alpha", "beta", "rc", "rc1", "1a", "a-b", "-", "z"})
	version := rapid.Custom(func(t *rapid.T) string {
		v := strings.Join(rapid.SliceOfN(number, 1, 4).Draw(t, "numbers"), ".")
		if rapid.Bool().Draw(t, "pre-release") {
			v += "-" + strings.Join(rapid.SliceOfN(word, 1, 3).Draw(t, "words"), ".")
		}
		if rapid.Bool().Draw(t, "metadata") {
			v += "+" + word.Draw(t, "metadata")
		}
		return v
	})
	rapid.Check(t, func(t *rapid.T) {
		a, errA := release.ParseVersion(version.Draw(t, "a"))
		b, errB := release.ParseVersion(version.Draw(t, "b"))
		if errA != nil || errB != nil {
			t.Skip("not versions")
		}
		if got, want := bytes.Compare(sortKey(a.String()), sortKey(b.String())), a.Compare(b); got != want {
			t.Fatalf("%s against %s: %d, want %d", a, b, got, want)
		}
	})
}

func FuzzNuspec(f *testing.F) {
	f.Add([]byte(`<package><metadata><id>A</id><version>1.0</version></metadata></package>`))
	f.Add([]byte(`<!DOCTYPE a [<!ENTITY x "y">]><package>&x;</package>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := parseNuspec(bytes.NewReader(b))
		if err == nil && len(n.ID)+len(n.Title)+len(n.Description) > 4*len(b) {
			t.Errorf("%d bytes grew", len(b))
		}
	})
}
