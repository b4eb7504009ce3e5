package backup

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
)

// Restore makes an installation out of a backup: into an empty database of either engine, and an empty blob store.
type Restore struct {
	DB    *db.DB // migrated
	Blobs blob.Store
	From  string
	Say   func(string)
}

// Read reads what a backup says of itself.
func Read(from string) (c Complete, err error) {
	err = readJSON(filepath.Join(from, "backup.json"), &c)
	if errors.Is(err, fs.ErrNotExist) {
		why := "is no backup"
		if _, err := os.Stat(filepath.Join(from, "tables.part")); err == nil {
			why = "holds a backup that was interrupted"
		}
		if _, err := os.Stat(filepath.Join(from, "snapshot.json")); err == nil {
			why = "holds a backup that was interrupted"
		}
		return c, fault.Because(fault.InvalidField("from", "The folder %s %s: it has no file backup.json. End the backup with: octavo backup --to %s", from, why, from), err)
	}
	if err != nil {
		return c, fault.Because(fault.InvalidField("from", "The file backup.json in %s cannot be read: %v", from, err), err)
	}
	if c.Format != Format {
		return c, fault.InvalidField("from", "The backup has the format %d; this Octavo reads %d. It was made by Octavo %s.", c.Format, Format, c.Octavo)
	}
	schema, err := db.MigrationsHash()
	if err == nil && schema != c.Schema {
		err = fault.InvalidField("from", "The backup was made by Octavo %s, whose schema is not the one of this Octavo. Restore it with that version, then upgrade.", c.Octavo)
	}
	return c, err
}

// Run restores. Whatever interrupts it, it may be run again.
func (r Restore) Run(ctx context.Context) (Complete, error) {
	c, err := Read(r.From)
	if err != nil {
		return c, err
	}
	if err := CheckSchema(ctx, r.DB); err != nil {
		return c, err
	}
	if err := r.DB.Read(ctx, func(tx *db.Tx) error { return empty(ctx, tx) }); err != nil {
		return c, err
	}
	if err := r.blobs(ctx, c); err != nil {
		return c, err
	}
	err = r.DB.InTx(ctx, func(tx *db.Tx) error {
		if tx.Engine() == db.Postgres {
			for _, text := range []string{"SET LOCAL statement_timeout = 0", "SET LOCAL idle_in_transaction_session_timeout = 0"} {
				if _, err := tx.ExecContext(ctx, text); err != nil {
					return err
				}
			}
		}
		if err := empty(ctx, tx); err != nil { // still
			return err
		}
		return r.rows(ctx, tx, c)
	})
	if err != nil {
		return c, err
	}
	return c, r.DB.InTx(ctx, func(tx *db.Tx) error { // plans follow statistics
		_, err := tx.ExecContext(ctx, "ANALYZE")
		return err
	})
}

// empty refuses a database in which anything is.
func empty(ctx context.Context, tx *db.Tx) error {
	all, err := tables(ctx, tx)
	if err != nil {
		return err
	}
	for _, t := range all {
		if slices.Contains(seeded, t.name) {
			continue
		}
		var some bool
		if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM "`+t.name+`")`).Scan(&some); err != nil {
			return err
		}
		if some {
			return fault.InvalidField("database", "The database is not empty: table %s has rows. Restore into a new, empty one.", t.name)
		}
	}
	return nil
}

// blobs brings the content that is not there yet.
func (r Restore) blobs(ctx context.Context, c Complete) error {
	owner, err := blob.Owner(ctx, r.Blobs)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		for info, err := range r.Blobs.List(ctx, "") {
			if err != nil {
				return err
			}
			return fault.InvalidField("blobs", "The blob store is not empty: it has %s. Restore into an empty one.", info.Key)
		}
		if err := blob.Belongs(ctx, r.Blobs, c.Cluster, true); err != nil {
			return err
		}
	case err != nil:
		return err
	case owner != c.Cluster:
		return fault.InvalidField("blobs", "The blob store belongs to another cluster (%s; the backup is of cluster %s). Restore into an empty one.", owner, c.Cluster)
	}
	from, err := blob.OpenFolder(ctx, filepath.Join(r.From, "blobs"), blob.Options{LowBytes: -1, LowPercent: -1})
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.Open(filepath.Join(r.From, "blobs.jsonl"))
	if err != nil {
		return fault.Because(fault.Conflictf("The backup is damaged: the file blobs.jsonl is not there."), err)
	}
	defer f.Close()
	whole := sha256.New()
	d := json.NewDecoder(io.TeeReader(bufio.NewReader(f), whole))
	n := 0
	var bytes int64
	told := time.Now()
	for {
		var one Blob
		if err := d.Decode(&one); err == io.EOF {
			break
		} else if err != nil {
			return fault.Because(fault.Conflictf("The backup is damaged: blobs.jsonl cannot be read behind line %d.", n), err)
		}
		if err := bring(ctx, from, r.Blobs, one); err != nil {
			return fmt.Errorf("restore blob %s: %w", one.Key, err)
		}
		n++
		bytes += one.Size
		if time.Since(told) > 5*time.Second {
			told = time.Now()
			r.Say(fmt.Sprintf("%d of %d blobs", n, c.Blobs))
		}
	}
	if got := hex.EncodeToString(whole.Sum(nil)); got != c.List || n != c.Blobs {
		return fault.Conflictf("The backup is damaged: blobs.jsonl is not what was written.")
	}
	r.Say(fmt.Sprintf("%d blobs are there, %.1f MiB, each as its digest says.", n, float64(bytes)/(1<<20)))
	return nil
}

func bring(ctx context.Context, from, to blob.Store, one Blob) error {
	err := blob.Verify(ctx, to, one.Key, one.Size, one.SHA256)
	if err == nil {
		return nil
	}
	var damaged *blob.Damaged
	if !errors.Is(err, fs.ErrNotExist) && !errors.As(err, &damaged) {
		return err
	}
	if damaged != nil {
		if err := to.Delete(ctx, one.Key); err != nil {
			return err
		}
	}
	r, err := from.Open(ctx, one.Key, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	size, digest, err := to.Put(ctx, one.Key, r)
	if err != nil {
		return err
	}
	if size != one.Size || digest != one.SHA256 {
		d := &blob.Damaged{Key: one.Key, Size: size, WantSize: one.Size, SHA256: digest, WantSHA256: one.SHA256}
		return errors.Join(fault.Because(fault.Conflictf("The backup is damaged: %v.", d), d), to.Delete(ctx, one.Key))
	}
	return blob.Verify(ctx, to, one.Key, one.Size, one.SHA256)
}

// rows writes all rows, reads them back, and makes a new history of them.
func (r Restore) rows(ctx context.Context, tx *db.Tx, c Complete) error {
	all, err := tables(ctx, tx)
	if err != nil {
		return err
	}
	if len(all) != len(c.Tables) {
		return fault.Conflictf("The backup has %d tables, this database %d.", len(c.Tables), len(all))
	}
	for _, name := range seeded {
		if _, err := tx.ExecContext(ctx, `DELETE FROM "`+name+`"`); err != nil {
			return err
		}
	}
	var total int64
	for _, t := range all {
		at := slices.IndexFunc(c.Tables, func(b Table) bool { return b.Name == t.name })
		if at < 0 || !slices.Equal(t.columns, c.Tables[at].Columns) {
			return fault.Conflictf("The backup's table %s has other columns than this database's.", t.name)
		}
		in := &inserter{ctx: ctx, tx: tx, t: t}
		if err := lines(r.From, c.Tables[at], in.add); err != nil {
			return err
		}
		if err := in.flush(); err != nil {
			return err
		}
	}
	for _, t := range all {
		at := slices.IndexFunc(c.Tables, func(b Table) bool { return b.Name == t.name })
		var digest sum
		if err := each(ctx, tx, t, func(line []byte) error { digest.add(line); return nil }); err != nil {
			return err
		}
		if want := c.Tables[at]; digest.rows != want.Rows || digest.String() != want.Digest {
			return fmt.Errorf("table %s reads back with %d rows and another digest than the %d of the backup", t.name, digest.rows, want.Rows)
		}
		total += digest.rows
	}
	r.Say(fmt.Sprintf("%d rows of %d tables are written and read back.", total, len(all)))
	if err := writeNumbers(ctx, tx, all, c.Numbers, c.Counters); err != nil {
		return err
	}
	return cluster.Restored(ctx, tx)
}

// OpenTarget opens the store to restore into; a folder is made.
func OpenTarget(ctx context.Context, location, spool string) (blob.Store, error) {
	if !blob.IsS3(location) {
		if err := os.MkdirAll(strings.TrimSuffix(location, "/"), 0o700); err != nil {
			return nil, fault.Because(fault.InvalidField("blobs", "The blob folder %s cannot be made.", location), err)
		}
	}
	return blob.Open(ctx, location, spool, blob.Options{})
}
