package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/octavo/octavo/internal/fault"
)

var _ Store = (*S3)(nil)

// S3 is a Store in a bucket of an S3 service. Content is spooled to a local folder first, so that it is hashed and whole
// before its key appears; a conditional put (If-None-Match) refuses a key that is taken.
type S3 struct {
	client *minio.Core
	bucket string
	prefix string // of our keys in the bucket; "" or with a slash at its end
	spool  *Folder
}

// IsS3 says whether a location of blobs is a bucket rather than a folder.
func IsS3(location string) bool { return strings.HasPrefix(strings.ToLower(location), "s3://") }

// OpenS3 opens s3://bucket/prefix?endpoint=https://host:port&region=name&path-style=true. Keys come from the usual
// places: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws/credentials, or the machine's role. It tries at once all
// it will need, as OpenFolder does. spool is a local folder of this node's own.
func OpenS3(ctx context.Context, location, spool string, o Options) (*S3, error) {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" {
		return nil, fault.InvalidField("blobs", "The blob store %q must be of the form s3://bucket/prefix?endpoint=https://host:port&region=name.", location)
	}
	options := minio.Options{Region: "us-east-1", Secure: true, BucketLookup: minio.BucketLookupAuto, MaxRetries: 5}
	endpoint := ""
	for name, values := range u.Query() {
		switch name {
		case "endpoint":
			endpoint = values[0]
		case "region":
			options.Region = values[0]
		case "path-style":
			if yes, err := strconv.ParseBool(values[0]); err != nil {
				return nil, fault.InvalidField("blobs", "path-style of the blob store must be true or false, not %q.", values[0])
			} else if yes {
				options.BucketLookup = minio.BucketLookupPath
			}
		default:
			return nil, fault.InvalidField("blobs", "The blob store's address has the unknown member %q; endpoint, region and path-style are known.", name)
		}
	}
	if endpoint == "" {
		endpoint = "https://s3." + options.Region + ".amazonaws.com"
	}
	at, err := url.Parse(endpoint)
	if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" {
		return nil, fault.InvalidField("blobs", "The endpoint %q of the blob store must be of the form https://host:port.", endpoint)
	}
	options.Secure = at.Scheme == "https"
	options.Creds = credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{Client: &http.Client{Timeout: 5 * time.Second}},
	})
	client, err := minio.NewCore(at.Host, &options)
	if err != nil {
		return nil, fault.Because(fault.InvalidField("blobs", "The blob store %s cannot be used: %v.", location, err), err)
	}
	s := &S3{client: client, bucket: u.Host}
	if s.prefix = strings.Trim(u.Path, "/"); s.prefix != "" {
		if err := checkKey(s.prefix); err != nil {
			return nil, fault.InvalidField("blobs", "%q cannot be the prefix of blobs: letters, digits, '.', '_', '-' and '/' can.", s.prefix)
		}
		s.prefix += "/"
	}
	if s.spool, err = OpenFolder(ctx, spool, o); err != nil {
		return nil, err
	}
	if err := s.try(ctx); err != nil {
		s.spool.Close()
		return nil, fault.Because(fault.InvalidField("blobs",
			"The blob store %s (endpoint %s) %s. Its user must be allowed to list the bucket and to get, put and delete objects in it.", location, endpoint, reason(err)), err)
	}
	return s, nil
}

// try writes an object, is refused a second time, reads it back, lists and removes it.
func (s *S3) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	key := "try/" + rand.Text()
	if err := s.put(ctx, key, bytes.NewReader([]byte(key)), int64(len(key))); err != nil {
		return err
	}
	defer s.Delete(context.WithoutCancel(ctx), key) //nolint:errcheck // it is tried below
	if err := s.put(ctx, key, strings.NewReader(key), int64(len(key))); fault.KindOf(err) != fault.Conflict {
		return errors.New("does not refuse to replace an object (If-None-Match: *), so two nodes could overwrite each other's content")
	}
	r, err := s.Open(ctx, key, 0)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(r)
	r.Close()
	if err == nil && string(got) != key {
		err = errors.New("does not give back what was stored")
	}
	if err != nil {
		return err
	}
	listed := false
	for info, err := range s.List(ctx, key) {
		if err != nil {
			return err
		}
		listed = listed || info.Key == key
	}
	if !listed {
		return errors.New("does not list what was stored")
	}
	return s.Delete(ctx, key)
}

// Try writes an object, reads it back and removes it.
func (s *S3) Try(ctx context.Context) error {
	key := "try/" + rand.Text()
	if err := s.put(ctx, key, strings.NewReader(key), int64(len(key))); err != nil {
		return err
	}
	r, err := s.Open(ctx, key, 0)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err == nil && string(got) != key {
		err = errors.New("the bucket does not give back what was stored")
	}
	return errors.Join(err, s.Delete(ctx, key))
}

// reason is what the service said, for the middle of a sentence.
func reason(err error) string {
	if r := answered(err); r.StatusCode != 0 {
		return fmt.Sprintf("refuses (%d %s: %s)", r.StatusCode, r.Code, strings.TrimSuffix(r.Message, "."))
	}
	if text := err.Error(); strings.HasPrefix(text, "does not") {
		return text
	}
	return fmt.Sprintf("cannot be used (%s)", strings.TrimSuffix(err.Error(), "."))
}

// answered is what the service said, or nothing when it said nothing.
func answered(err error) (r minio.ErrorResponse) {
	errors.As(err, &r)
	return r
}

// Close lets go of the spool.
func (s *S3) Close() error { return s.spool.Close() }

// Put stores all of r under a key that must be free.
func (s *S3) Put(ctx context.Context, key string, r io.Reader) (size int64, digest string, err error) {
	return put(ctx, s, key, r)
}

// Stage receives all of r into the local spool.
func (s *S3) Stage(ctx context.Context, r io.Reader) (*Staged, error) { return s.spool.Stage(ctx, r) }

// Keep uploads staged content.
func (s *S3) Keep(ctx context.Context, st *Staged, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return s.put(ctx, key, io.NewSectionReader(st.file, 0, st.Size), st.Size)
}

// partSize of large uploads; 10,000 parts are allowed, so content may have 160 GB.
const partSize = 16 << 20

// writer's mark: whose put it was can be told when the answer to our own got lost and it was tried again.
const putMark = "Octavo-Put"

func (s *S3) put(ctx context.Context, key string, r io.Reader, size int64) error {
	if size > partSize { // what is there is not sent again; the condition of the put decides all the same
		if _, err := s.Stat(ctx, key); err == nil {
			return exists(key)
		}
	}
	mark := rand.Text()
	// The service checks an MD5 of each part. Signed chunks would do the same, but many S3 services do not decode them.
	o := minio.PutObjectOptions{
		ContentType: "application/octet-stream", PartSize: partSize, NumThreads: 2, UserMetadata: map[string]string{putMark: mark}, SendContentMd5: true, DisableContentSha256: true,
	}
	o.SetMatchETagExcept("*")
	_, err := s.client.Client.PutObject(ctx, s.bucket, s.prefix+key, r, size, o)
	switch answer := answered(err); {
	case err == nil:
		return nil
	case answer.StatusCode == http.StatusPreconditionFailed:
		if st, err := s.client.Client.StatObject(ctx, s.bucket, s.prefix+key, minio.StatObjectOptions{}); err == nil && st.UserMetadata[putMark] == mark {
			return nil
		}
		return exists(key)
	case answer.StatusCode == http.StatusConflict: // somebody else puts the same key at this moment
		return exists(key)
	default:
		return fmt.Errorf("put blob %s: %w", key, err)
	}
}

// Open reads from offset to the end.
func (s *S3) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	var o minio.GetObjectOptions
	if offset > 0 {
		if err := o.SetRange(offset, 0); err != nil {
			return nil, err
		}
	}
	refused := func(size int64) error {
		return fault.InvalidField("offset", "The content has %d bytes; it cannot be read from byte %d.", size, offset)
	}
	if offset < 0 {
		st, err := s.Stat(ctx, key)
		return nil, errors.Join(err, refused(st.Size))
	}
	r, _, _, err := s.client.GetObject(ctx, s.bucket, s.prefix+key, o)
	switch answer := answered(err); {
	case err == nil:
		return r, nil
	case answer.StatusCode == http.StatusNotFound:
		return nil, notFound(key, nil)
	case answer.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		st, err := s.Stat(ctx, key)
		if err == nil && st.Size == offset {
			return io.NopCloser(strings.NewReader("")), nil
		}
		return nil, errors.Join(err, refused(st.Size))
	default:
		return nil, fmt.Errorf("open blob %s: %w", key, err)
	}
}

// Stat tells size and age.
func (s *S3) Stat(ctx context.Context, key string) (Info, error) {
	if err := checkKey(key); err != nil {
		return Info{}, err
	}
	st, err := s.client.Client.StatObject(ctx, s.bucket, s.prefix+key, minio.StatObjectOptions{})
	if err != nil {
		if answered(err).StatusCode == http.StatusNotFound {
			return Info{}, notFound(key, nil)
		}
		return Info{}, fmt.Errorf("stat blob %s: %w", key, err)
	}
	return Info{Key: key, Size: st.Size, Modified: st.LastModified}, nil
}

// List gives the keys that start with prefix.
func (s *S3) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		for o := range s.client.Client.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true}) {
			if o.Err != nil {
				yield(Info{}, fmt.Errorf("list blobs %s: %w", prefix, o.Err))
				return
			}
			key := strings.TrimPrefix(o.Key, s.prefix)
			if checkKey(key) == nil && !yield(Info{Key: key, Size: o.Size, Modified: o.LastModified}, nil) {
				return
			}
		}
	}
}

// Delete removes a key; that it is not there is no error.
func (s *S3) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	err := s.client.Client.RemoveObject(ctx, s.bucket, s.prefix+key, minio.RemoveObjectOptions{})
	if err != nil && answered(err).StatusCode != http.StatusNotFound {
		return fmt.Errorf("delete blob %s: %w", key, err)
	}
	return nil
}

// Sweep ends uploads that nobody goes on with, and removes what they left in the spool.
func (s *S3) Sweep(ctx context.Context, older time.Duration) (int, error) {
	n, err := s.spool.Sweep(ctx, older)
	if err != nil {
		return n, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for upload := range s.client.Client.ListIncompleteUploads(ctx, s.bucket, s.prefix, true) {
		if answered(upload.Err).Code == minio.NoSuchUpload { // some say so when there is none
			break
		}
		if upload.Err != nil {
			return n, fmt.Errorf("list uploads that died: %w", upload.Err)
		}
		if time.Since(upload.Initiated) < older {
			continue
		}
		if err := s.client.AbortMultipartUpload(ctx, s.bucket, upload.Key, upload.UploadID); err != nil {
			return n, fmt.Errorf("end upload of %s: %w", path.Base(upload.Key), err)
		}
		n++
	}
	return n, nil
}

// Low says why nothing more is taken: the bucket has no end, the spool has.
func (s *S3) Low() error { return s.spool.Low() }
