package backup

import (
	"bufio"
	"cmp"
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
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/storage"
)

// Format is the version of the files.
const Format = 1

// fresh is how long an interrupted backup's snapshot may be used: well within the time that blobs stay without a row.
const fresh = 12 * time.Hour

// Snapshot says what tables/ holds.
type Snapshot struct {
	Format   int
	Octavo   string    // version of the program
	Created  time.Time // of the rows' view
	Engine   db.Engine
	Cluster  string // whose blobs
	Schema   string // db.MigrationsHash
	Tables   []Table
	Numbers  map[string]int64 // the last number of each source
	Counters map[string]int64 // and of each column that counts by itself
}

// Table is one table's file.
type Table struct {
	Name    string
	Columns []Column
	Rows    int64
	Digest  string // of the rows, in any order
	File    string // SHA-256 of the file
}

// Complete ends a backup.
type Complete struct {
	Snapshot
	Blobs   int
	Bytes   int64
	List    string   // SHA-256 of blobs.jsonl
	Missing []string // blobs that rows name and that were not there, or damaged
}

// Blob is a line of blobs.jsonl.
type Blob struct {
	Key    string
	Size   int64
	SHA256 string
}

// Backup copies an installation into a folder.
type Backup struct {
	DB      *db.DB
	Blobs   blob.Store
	Cluster string
	Version string
	To      string
	Say     func(string)
}

// Run makes the backup, or goes on with one that was interrupted.
func (b Backup) Run(ctx context.Context) (Complete, error) {
	if err := CheckSchema(ctx, b.DB); err != nil {
		return Complete{}, err
	}
	if err := b.folder(); err != nil {
		return Complete{}, err
	}
	snapshot, err := b.snapshot(ctx)
	if err != nil {
		return Complete{}, err
	}
	return b.blobs(ctx, snapshot)
}

// folder takes an empty folder, or one with an interrupted backup.
func (b Backup) folder() error {
	if err := os.MkdirAll(b.To, 0o700); err != nil {
		return fault.Because(fault.InvalidField("to", "The folder %s cannot be made.", b.To), err)
	}
	names, err := os.ReadDir(b.To)
	if err != nil {
		return fault.Because(fault.InvalidField("to", "The folder %s cannot be read.", b.To), err)
	}
	for _, n := range names {
		switch n.Name() {
		case "snapshot.json", "snapshot.json.part", "tables", "tables.part", "blobs", "blobs.jsonl", "backup.json.part":
		case "backup.json":
			return fault.InvalidField("to", "The folder %s holds a complete backup already. Give a new one.", b.To)
		default:
			return fault.InvalidField("to", "The folder %s is not empty (it has %s). Give a new or an empty one.", b.To, n.Name())
		}
	}
	return nil
}

// snapshot reads all rows in one view, or takes those that are there.
func (b Backup) snapshot(ctx context.Context) (s Snapshot, err error) {
	if readJSON(filepath.Join(b.To, "snapshot.json"), &s) == nil {
		switch age := time.Since(s.Created); {
		case s.Cluster != b.Cluster:
			return s, fault.InvalidField("to", "The folder %s holds an interrupted backup of another installation. Give a new one.", b.To)
		case s.Format == Format && age < fresh:
			b.Say("The backup that was begun at " + s.Created.Format(time.RFC3339) + " goes on.")
			return s, nil
		}
		b.Say("The backup that was begun at " + s.Created.Format(time.RFC3339) + " is too old to go on with; rows are read anew.")
	}
	part, whole := filepath.Join(b.To, "tables.part"), filepath.Join(b.To, "tables")
	if err := errors.Join(remove(filepath.Join(b.To, "snapshot.json")), os.RemoveAll(part), os.RemoveAll(whole), os.Mkdir(part, 0o700)); err != nil {
		return s, err
	}
	schema, err := db.MigrationsHash()
	if err != nil {
		return s, err
	}
	var rows int64
	err = b.DB.Read(ctx, func(tx *db.Tx) error {
		rows = 0
		if tx.Engine() == db.Postgres {
			for _, text := range []string{"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SET LOCAL statement_timeout = 0", "SET LOCAL idle_in_transaction_session_timeout = 0"} {
				if _, err := tx.ExecContext(ctx, text); err != nil {
					return err
				}
			}
		}
		s = Snapshot{Format: Format, Octavo: b.Version, Created: tx.Now.UTC().Truncate(time.Second), Engine: tx.Engine(), Cluster: b.Cluster, Schema: schema}
		all, err := tables(ctx, tx)
		if err != nil {
			return err
		}
		for _, t := range all {
			to, err := dump(ctx, tx, t, part)
			if err != nil {
				return err
			}
			s.Tables = append(s.Tables, to)
			rows += to.Rows
		}
		// Sequences know no view; they are read last, so they are never behind the rows.
		s.Numbers, s.Counters, err = readNumbers(ctx, tx, all)
		return err
	})
	if err != nil {
		return s, err
	}
	if err := errors.Join(syncFolder(part), os.Rename(part, whole), writeJSON(filepath.Join(b.To, "snapshot.json"), s)); err != nil {
		return s, err
	}
	b.Say(fmt.Sprintf("%d rows of %d tables are copied.", rows, len(s.Tables)))
	return s, nil
}

// dump writes one table to a file.
func dump(ctx context.Context, tx *db.Tx, t table, folder string) (out Table, err error) {
	out = Table{Name: t.name, Columns: t.columns}
	f, err := os.OpenFile(filepath.Join(folder, t.name+".jsonl.zst"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	whole := sha256.New()
	z, err := zstd.NewWriter(io.MultiWriter(f, whole), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return out, err
	}
	var digest sum
	err = each(ctx, tx, t, func(line []byte) error {
		digest.add(line)
		_, err := z.Write(line)
		return err
	})
	if err = errors.Join(err, z.Close()); err != nil {
		return out, err
	}
	out.Rows, out.Digest, out.File = digest.rows, digest.String(), hex.EncodeToString(whole.Sum(nil))
	return out, f.Sync()
}

// blobs copies the content that is not there yet, and ends the backup.
func (b Backup) blobs(ctx context.Context, s Snapshot) (c Complete, err error) {
	c.Snapshot = s
	dir := filepath.Join(b.To, "blobs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return c, err
	}
	to, err := blob.OpenFolder(ctx, dir, blob.Options{LowBytes: -1, LowPercent: -1})
	if err != nil {
		return c, err
	}
	defer to.Close()
	var list []Blob
	have := map[string]bool{}
	told := time.Now()
	for info, err := range b.Blobs.List(ctx, "") {
		if err != nil {
			return c, fmt.Errorf("list the blobs: %w", err)
		}
		one, err := copyOne(ctx, b.Blobs, to, info)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since it was listed, so no row of the snapshot needs it
		}
		var damaged *blob.Damaged
		if errors.As(err, &damaged) { // the rest is worth more than a refusal
			b.Say("Left out, since it is damaged where it is: " + damaged.Error())
			continue
		}
		if err != nil {
			return c, fmt.Errorf("copy blob %s: %w", info.Key, err)
		}
		list = append(list, one)
		have[one.Key] = true
		c.Bytes += one.Size
		if time.Since(told) > 5*time.Second {
			told = time.Now()
			b.Say(fmt.Sprintf("%d blobs, %.1f MiB", len(list), float64(c.Bytes)/(1<<20)))
		}
	}
	c.Blobs = len(list)
	if c.List, err = writeList(filepath.Join(b.To, "blobs.jsonl"), list); err != nil {
		return c, err
	}
	if c.Missing, err = b.missing(s, have); err != nil {
		return c, err
	}
	return c, writeJSON(filepath.Join(b.To, "backup.json"), c)
}

// copyOne copies a blob and reads it back; one that an interrupted backup has copied is read only.
func copyOne(ctx context.Context, from, to blob.Store, info blob.Info) (one Blob, err error) {
	there, err := to.Stat(ctx, info.Key)
	if errors.Is(err, fs.ErrNotExist) || err == nil && there.Size != info.Size {
		if err := storage.CopyBlob(ctx, from, to, info); err != nil {
			return one, err
		}
	} else if err != nil {
		return one, err
	}
	r, err := to.Open(ctx, info.Key, 0)
	if err != nil {
		return one, err
	}
	defer r.Close()
	h := sha256.New()
	n, err := io.Copy(h, r)
	return Blob{info.Key, n, hex.EncodeToString(h.Sum(nil))}, err
}

// missing lists what rows name and is not there: columns called blob hold keys.
func (b Backup) missing(s Snapshot, have map[string]bool) (missing []string, err error) {
	for _, t := range s.Tables {
		at := slices.IndexFunc(t.Columns, func(c Column) bool { return c.Name == "blob" })
		if at < 0 {
			continue
		}
		err := lines(b.To, t, func(line []byte) error {
			var raw []json.RawMessage
			if err := json.Unmarshal(line, &raw); err != nil {
				return err
			}
			key, err := unpack("text", raw[at])
			if text, is := key.(string); is && text != "" && !have[text] {
				missing = append(missing, text)
				have[text] = true // once
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(missing)
	return missing, nil
}

// lines reads a table's file and holds it against its digests.
func lines(from string, t Table, do func(line []byte) error) error {
	damaged := func(why string) error {
		return fault.Conflictf("The backup is damaged: the file of table %s %s.", t.Name, why)
	}
	f, err := os.Open(filepath.Join(from, "tables", t.Name+".jsonl.zst"))
	if errors.Is(err, fs.ErrNotExist) {
		return damaged("is not there")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	whole := sha256.New()
	z, err := zstd.NewReader(io.TeeReader(f, whole), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer z.Close()
	in := bufio.NewReaderSize(z, 1<<20)
	var digest sum
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			break
		}
		if err != nil {
			return damaged("cannot be read: " + err.Error())
		}
		digest.add(line)
		if err := do(line); err != nil {
			return err
		}
	}
	if _, err := io.Copy(whole, f); err != nil {
		return err
	}
	if digest.rows != t.Rows || digest.String() != t.Digest || hex.EncodeToString(whole.Sum(nil)) != t.File {
		return damaged(fmt.Sprintf("has %d rows with another digest than the %d that were written", digest.rows, t.Rows))
	}
	return nil
}

func writeList(file string, list []Blob) (digest string, err error) {
	slices.SortFunc(list, func(a, b Blob) int { return cmp.Compare(a.Key, b.Key) })
	f, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	w := bufio.NewWriter(io.MultiWriter(f, h))
	e := json.NewEncoder(w)
	for _, one := range list {
		if err = e.Encode(one); err != nil {
			break
		}
	}
	err = errors.Join(err, w.Flush(), f.Sync(), f.Close())
	return hex.EncodeToString(h.Sum(nil)), err
}

// writeJSON writes a file whole or not at all.
func writeJSON(file string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file+".part", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(file+".part", file), syncFolder(filepath.Dir(file)))
}

func readJSON(file string, v any) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func remove(file string) error {
	if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
