package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"regexp"
	"time"

	"github.com/octavo/octavo/internal/fault"
)

// Store is where blobs are: a folder that all nodes share, or an object store.
//
// A missing key is a NotFound fault that is also fs.ErrNotExist; a taken one is a Conflict that is also
// fs.ErrExist.
type Store interface {
	// Put stores all of r under a key that must be free.
	Put(ctx context.Context, key string, r io.Reader) (size int64, sha256 string, err error)

	// Stage receives all of r, without a key yet, so that it can be looked at first. The caller discards it
	// in the end, whether it was kept or not.
	Stage(ctx context.Context, r io.Reader) (*Staged, error)

	// Keep gives staged content a key, which must be free. Content that another store has staged is copied.
	Keep(ctx context.Context, s *Staged, key string) error

	// Open reads from offset to the end.
	Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error)

	Stat(ctx context.Context, key string) (Info, error)

	// List gives the keys that start with prefix, in no particular order.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]

	// Delete removes a key; that it is not there is no error.
	Delete(ctx context.Context, key string) error

	// Sweep removes what writers that died left for at least so long, and tells how much that was.
	Sweep(ctx context.Context, older time.Duration) (int, error)

	// Try writes something small, reads it back and removes it.
	Try(ctx context.Context) error

	// Low says why nothing more is taken, or nil while there is room.
	Low() error

	Close() error
}

// Open opens a store at a location: a folder that exists, or a bucket (OpenS3). spool is a local folder, made if need be,
// that only a bucket uses.
func Open(ctx context.Context, location, spool string, o Options) (Store, error) {
	if !IsS3(location) {
		return OpenFolder(ctx, location, o)
	}
	if err := os.MkdirAll(spool, 0o700); err != nil {
		return nil, err
	}
	return OpenS3(ctx, location, spool, o)
}

// put is Put of any store.
func put(ctx context.Context, s Store, key string, r io.Reader) (size int64, digest string, err error) {
	if err := checkKey(key); err != nil {
		return 0, "", err
	}
	st, err := s.Stage(ctx, r)
	if err != nil {
		return 0, "", err
	}
	defer func() { err = errors.Join(err, st.Discard()) }()
	return st.Size, st.SHA256, s.Keep(ctx, st, key)
}

// Info describes a blob.
type Info struct {
	Key      string
	Size     int64
	Modified time.Time
}

// Staged is content that was received whole, but has no key yet. It is a local file, whatever the store.
type Staged struct {
	Size   int64
	SHA256 string // in hex
	SHA1   string // in hex; the wire's package hash, nothing is trusted because of it

	in   *Folder
	file *os.File
	name string // where the driver put it
	drop func() error
}

// ReadAt reads from the staged content.
func (s *Staged) ReadAt(p []byte, off int64) (int, error) { return s.file.ReadAt(p, off) }

// Discard forgets the staged content. A key it was kept under stays.
func (s *Staged) Discard() error {
	if s.file == nil {
		return nil
	}
	err := errors.Join(s.file.Close(), s.drop())
	s.file = nil
	return err
}

// ContentKey is the key of content by its digest. Two letters of it make the folder, so that none grows large.
func ContentKey(prefix, sha256 string) string {
	return prefix + "/" + sha256[:2] + "/" + sha256
}

// PutContent stores r under the key of its content and gives that key. Content that is there already is
// stored once.
func PutContent(ctx context.Context, s Store, prefix string, r io.Reader) (key string, staged Staged, err error) {
	st, err := s.Stage(ctx, r)
	if err != nil {
		return "", Staged{}, err
	}
	defer func() { err = errors.Join(err, st.Discard()) }()
	key = ContentKey(prefix, st.SHA256)
	if err := KeepContent(ctx, s, st, key); err != nil {
		return "", Staged{}, err
	}
	return key, Staged{Size: st.Size, SHA256: st.SHA256, SHA1: st.SHA1}, nil
}

// KeepContent is Keep for a key that names the content. If the key is taken, what is there is read again: it
// is either the same, or damaged, and then replaced by the good copy we hold.
func KeepContent(ctx context.Context, s Store, st *Staged, key string) error {
	err := s.Keep(ctx, st, key)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := Verify(ctx, s, key, st.Size, st.SHA256); err == nil {
		return nil
	} else if ctx.Err() != nil {
		return err
	}
	if err := s.Delete(ctx, key); err != nil {
		return err
	}
	err = s.Keep(ctx, st, key)
	if errors.Is(err, fs.ErrExist) { // somebody else mended it in between
		return Verify(ctx, s, key, st.Size, st.SHA256)
	}
	return err
}

// Verify reads a blob back and holds it against its recorded size and digest.
func Verify(ctx context.Context, s Store, key string, size int64, digest string) error {
	r, err := s.Open(ctx, key, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	h := sha256.New()
	n, err := copyAll(ctx, h, r)
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); n != size || got != digest {
		return &Damaged{Key: key, Size: n, WantSize: size, SHA256: got, WantSHA256: digest}
	}
	return nil
}

// Damaged says that a blob is not what was stored.
type Damaged struct {
	Key            string
	Size, WantSize int64
	SHA256         string
	WantSHA256     string
}

func (d *Damaged) Error() string {
	return "blob " + d.Key + " is damaged: SHA-256 " + d.SHA256 + ", recorded " + d.WantSHA256
}

var goodKey = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$`)

func checkKey(key string) error {
	if len(key) > 512 || !goodKey.MatchString(key) {
		return fault.InvalidField("key", "%q cannot be the key of a blob.", key)
	}
	return nil
}

func notFound(key string, cause error) error {
	if cause == nil {
		cause = fs.ErrNotExist
	}
	return fault.Because(fault.NotFoundf("The stored content %q is not there.", key), cause)
}

func exists(key string) error {
	return fault.Because(fault.Conflictf("The stored content %q is there already.", key), fs.ErrExist)
}

// copyAll copies in large pieces and looks at the context between them.
func copyAll(ctx context.Context, w io.Writer, r io.Reader) (int64, error) {
	buf := make([]byte, 256<<10)
	var n int64
	for {
		if err := context.Cause(ctx); err != nil {
			return n, err
		}
		m, err := r.Read(buf)
		if m > 0 {
			if _, err := w.Write(buf[:m]); err != nil {
				return n, err
			}
			n += int64(m)
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
