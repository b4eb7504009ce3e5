package blob

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"

	"github.com/octavo/octavo/internal/fault"
)

// Marker is the key under which a store says whose it is.
const Marker = "octavo-cluster"

// Belongs holds a store against the cluster whose id the database has, so that a node with another folder, or
// with an empty one because its share is not mounted, is told instead of losing packages and logs
// (behaviour.md 84, P37). New says that the cluster has no store yet: then it is marked. Ask at the start and
// once a minute.
func Belongs(ctx context.Context, s Store, cluster string, isNew bool) error {
	if isNew {
		if _, _, err := s.Put(ctx, Marker, strings.NewReader(cluster+"\n")); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	got, err := Owner(ctx, s)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.Because(fault.InvalidField("blobs",
			"The blob store is not the one of this cluster: it has no file %s. Is the share mounted? All nodes must be given the same store with --blobs.", Marker), err)
	}
	if err != nil {
		return err
	}
	if got != cluster {
		return fault.InvalidField("blobs", "The blob store belongs to another cluster (%s; the database is of cluster %s). All nodes of one database must be given the same store with --blobs.", got, cluster)
	}
	return nil
}

// Owner reads whose store it is, or gives fs.ErrNotExist.
func Owner(ctx context.Context, s Store) (cluster string, err error) {
	r, err := s.Open(ctx, Marker, 0)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, 1024))
	return strings.TrimSpace(string(b)), err
}

// Present tells whether the store is there at all, so that nobody takes an unmounted share for lost files.
func Present(ctx context.Context, s Store) error {
	_, err := s.Stat(ctx, Marker)
	return err
}
