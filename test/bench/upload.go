package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // the wire's package hash
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/test/bench/measure"
)

const gib = 1 << 30

// uploads compares an upload with cp + sha256sum, and with what the processor and the disk can do at best.
func uploads(ctx context.Context, b *bench) error {
	if err := b.upload(ctx, 1, b.rounds); err != nil {
		return err
	}
	if b.long {
		return b.upload(ctx, 5, 1)
	}
	return nil
}

func (b *bench) upload(ctx context.Context, size int64, rounds int) error {
	w, err := b.started(ctx, db.SQLite) // the database takes two small transactions; which one it is does not matter
	if err != nil {
		return err
	}
	defer w.stop()
	dir := filepath.Join(b.dir, "upload")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "package.tar")
	bytes, err := makeTar(file, size*gib)
	if err != nil {
		return err
	}
	pause(ctx, 5*time.Second)
	var upload, copied, synced, sha, both, disk, memory measure.Sample
	for round := range rounds {
		sum, err := changeTar(file, round)
		if err != nil {
			return err
		}
		_ = exec.CommandContext(ctx, "sync").Run() // old writes shall not be paid for by the next

		idle, err := rss(w.server)
		if err != nil {
			return err
		}
		if err := resetPeak(w.server); err != nil {
			return fmt.Errorf("reset the peak of the memory: %w", err)
		}
		since := time.Now()
		if err := w.post(ctx, file, fmt.Sprintf("Bench.Package.1.0.%d.tar", round), sum); err != nil {
			return err
		}
		upload = append(upload, time.Since(since).Seconds())
		peak, err := status(w.server.Process.Pid, "VmHWM")
		if err != nil {
			return err
		}
		memory = append(memory, (peak-idle)/1024)
		if err := w.stored(sum, bytes); err != nil {
			return err
		}

		_ = exec.CommandContext(ctx, "sync").Run()
		target := filepath.Join(dir, "copy.tar")
		since = time.Now()
		if out, err := exec.CommandContext(ctx, "sh", "-c", `cp "$1" "$2" && sha256sum "$2"`, "sh", file, target).CombinedOutput(); err != nil || !hasPrefix(out, sum) {
			return fmt.Errorf("cp and sha256sum: %w\n%s", err, out)
		}
		copied = append(copied, time.Since(since).Seconds())
		if out, err := exec.CommandContext(ctx, "sync", target).CombinedOutput(); err != nil {
			return fmt.Errorf("sync: %w\n%s", err, out)
		}
		synced = append(synced, time.Since(since).Seconds())
		if err := os.Remove(target); err != nil {
			return err
		}

		one, two := hashing()
		sha, both = append(sha, one*float64(size)), append(both, two*float64(size))
		took, err := writing(filepath.Join(dir, "write"), size*gib)
		if err != nil {
			return err
		}
		disk = append(disk, took)
	}
	slower := make(measure.Sample, len(sha))
	for i := range slower {
		slower[i] = max(sha[i], disk[i])
	}
	name := fmt.Sprintf("%d GiB .tar over HTTP", size)
	b.Figure(name+": time", upload, "s", "")
	b.Figure("cp + sha256sum of the same file", copied, "s", "")
	b.Figure("cp + sha256sum + sync of the copy", synced, "s", "")
	b.Figure("upload / (cp + sha256sum)", upload.Over(copied), "x the time", "")
	b.Figure("upload / (cp + sha256sum + sync), the same durability", upload.Over(synced), "x the time", "")
	b.Figure("SHA-256 of as much in memory", sha, "s", "")
	b.Figure("SHA-256 and SHA-1 of as much in memory (the wire wants both)", both, "s", "")
	b.Figure("write + fsync of as much", disk, "s", "")
	b.Figure("upload's rate / min(SHA-256's, disk's)", slower.Over(upload), "", "P20 at least 0.6 (floor 0.4)")
	b.Steady("SHA-256 in memory", sha)
	b.Steady("write + fsync", disk)
	b.Figure("server's peak RSS over idle, during the upload", memory, "MiB", "P20 6 MiB (limit 64)")
	return nil
}

// makeTar writes an archive of files with random content that is n bytes long, and a bit.
func makeTar(path string, n int64) (int64, error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	t := tar.NewWriter(f)
	const each = 16 << 20
	for i := range n / each {
		if err := t.WriteHeader(&tar.Header{Name: fmt.Sprintf("data/%04d.bin", i), Mode: 0o644, Size: each, ModTime: time.Unix(1_700_000_000, 0)}); err != nil {
			return 0, err
		}
		if _, err := io.CopyN(t, rand.Reader, each); err != nil {
			return 0, err
		}
	}
	if err := errors.Join(t.Close(), f.Sync()); err != nil {
		return 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// changeTar changes the content of the first file, so that no round stores what is there already; it gives the SHA-256.
func changeTar(path string, round int) (string, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := f.WriteAt(fmt.Appendf(nil, "round %d ", round), 512); err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// post uploads as clients do: one part of a form, streamed.
func (w *world) post(ctx context.Context, file, name, sum string) error {
	from, err := os.Open(file)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	var head bytes.Buffer
	form := multipart.NewWriter(&head)
	if _, err := form.CreateFormFile("file", name); err != nil {
		return err
	}
	tail := "\r\n--" + form.Boundary() + "--\r\n"
	body := io.MultiReader(bytes.NewReader(head.Bytes()), bufferless{from}, bytes.NewReader([]byte(tail)))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/api/Spaces-1/packages/raw", body)
	if err != nil {
		return err
	}
	request.ContentLength = int64(head.Len()) + info.Size() + int64(len(tail))
	request.Header.Set("X-Octopus-ApiKey", w.key)
	request.Header.Set("Content-Type", form.FormDataContentType())
	client := &http.Client{Transport: &http.Transport{WriteBufferSize: 256 << 10}}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusCreated {
		err = fmt.Errorf("upload of %s (SHA-256 %s): %s: %.500s", name, sum, response.Status, text)
	}
	return err
}

// bufferless hides that a file can do more than Read, as a form's part in the middle of a body cannot.
type bufferless struct{ io.Reader }

// stored checks that the blob is there, whole, under its digest.
func (w *world) stored(sum string, size int64) error {
	found := ""
	err := filepath.Walk(filepath.Join(w.dir, "blobs"), func(path string, info os.FileInfo, err error) error {
		if err == nil && filepath.Base(path) == sum && info.Size() == size {
			found = path
		}
		return err
	})
	if err != nil {
		return err
	}
	if found == "" {
		return fmt.Errorf("no blob %s of %d bytes was stored", sum, size)
	}
	f, err := os.Open(found)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) != sum {
		return fmt.Errorf("the blob %s has another content", sum)
	}
	return nil
}

// hashing is the time of 1 GiB through SHA-256, and through SHA-256 and SHA-1, one after the other.
func hashing() (one, two float64) {
	block := make([]byte, 1<<20)
	_, _ = rand.Read(block)              // it never fails
	h256, h1 := sha256.New(), sha1.New() //nolint:gosec // see above
	since := time.Now()
	for range gib / len(block) {
		h256.Write(block)
	}
	one = time.Since(since).Seconds()
	since = time.Now()
	for range gib / len(block) {
		h1.Write(block)
	}
	return one, one + time.Since(since).Seconds()
}

// writing is the time to write n bytes and to fsync them.
func writing(path string, n int64) (float64, error) {
	block := make([]byte, 1<<20)
	_, _ = rand.Read(block)
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer os.Remove(path)
	since := time.Now()
	for range n / int64(len(block)) {
		if _, err := f.Write(block); err != nil {
			return 0, errors.Join(err, f.Close())
		}
	}
	err = errors.Join(f.Sync(), f.Close())
	return time.Since(since).Seconds(), err
}

func hasPrefix(text []byte, prefix string) bool { return bytes.HasPrefix(text, []byte(prefix)) }
