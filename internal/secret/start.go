package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
)

// Source is where the master key comes from: Text (a setting, an environment variable) or, without one, File.
type Source struct {
	Text string
	File string
}

// Start reads the master key, makes it if this is the very first start of all, and holds it against the
// database (behaviour.md 85).
func Start(ctx context.Context, d *db.DB, src Source) (*Ring, error) {
	if src.Text != "" {
		ring, err := NewRing(src.Text)
		if err != nil {
			return nil, err
		}
		return ring, check(ctx, d, ring)
	}
	ring, err := ReadFile(src.File)
	if err == nil {
		return ring, check(ctx, d, ring)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	known, kerr := keysOf(ctx, d)
	if kerr != nil {
		return nil, kerr
	}
	if len(known) > 0 {
		// A node that starts at the same moment with the same file makes first the file, then the row that we now see.
		if ring, err := ReadFile(src.File); err == nil {
			return ring, check(ctx, d, ring)
		}
		return nil, fault.Because(fault.InvalidField("master-key-file",
			"There is no master key in %s, but the database was set up with master key %s. Copy the file from another node (show-master-key prints it there), or set it with --master-key-file.",
			src.File, strings.Join(known, ", ")), err)
	}
	ring, err = makeFile(src.File)
	if err != nil {
		return nil, err
	}
	if err := check(ctx, d, ring); err != nil {
		// Another node was first at the same moment. The key just made has sealed nothing.
		return nil, errors.Join(err, os.Remove(src.File))
	}
	return ring, nil
}

func check(ctx context.Context, d *db.DB, ring *Ring) error {
	return d.InTx(ctx, func(tx *db.Tx) error { return Check(ctx, tx, ring) })
}

func keysOf(ctx context.Context, d *db.DB) (ids []string, err error) {
	err = d.Read(ctx, func(tx *db.Tx) error {
		ids = nil
		rows, err := readKeys(ctx, tx)
		for _, k := range rows {
			ids = append(ids, k.id)
		}
		return err
	})
	return ids, err
}

// ReadFile reads a master key file. One that everybody may read is refused: it is no secret any more.
func ReadFile(name string) (*Ring, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, fault.Because(fault.InvalidField("master-key-file", "The master key file %s cannot be read.", name), err)
	}
	if !st.Mode().IsRegular() || st.Size() > 4096 {
		return nil, fault.InvalidField("master-key-file", "%s is not a master key file: it must hold one key in base64, 44 letters.", name)
	}
	if mode := st.Mode().Perm(); mode&0o027 != 0 {
		return nil, fault.InvalidField("master-key-file",
			"The master key file %s has mode %04o: others may read or change it. Run chmod 600 on it; if it lay open for long, rotate the key.", name, mode)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fault.Because(fault.InvalidField("master-key-file", "The master key file %s cannot be read.", name), err)
	}
	ring, err := NewRing(string(b))
	if err != nil {
		return nil, fault.Because(fault.InvalidField("master-key-file", "%s: %s", name, err), err)
	}
	return ring, nil
}

// makeFile writes a new key, whole or not at all, and never over another one.
func makeFile(name string) (*Ring, error) {
	refuse := func(err error) error {
		return fault.Because(fault.InvalidField("master-key-file", "The master key file %s cannot be made. Set a place the user may write with --master-key-file.", name), err)
	}
	ring, err := NewRing(NewKey())
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, refuse(err)
	}
	f, err := os.CreateTemp(dir, ".master-key-*") // mode 0600
	if err != nil {
		return nil, refuse(err)
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(ring.Reveal())
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, refuse(err)
	}
	err = os.Link(f.Name(), name)
	if errors.Is(err, fs.ErrExist) {
		return ReadFile(name) // another process was first
	}
	if err != nil {
		return nil, refuse(err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, refuse(err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return nil, refuse(err)
	}
	return ring, nil
}

type keyRow struct {
	id    string
	slot  int64
	proof []byte
}

func readKeys(ctx context.Context, tx *db.Tx) ([]keyRow, error) {
	rows, err := tx.QueryContext(ctx, "SELECT id, slot, proof FROM master_key ORDER BY slot")
	if err != nil {
		return nil, fmt.Errorf("read master keys: %w", err)
	}
	defer rows.Close()
	var out []keyRow
	for rows.Next() {
		var k keyRow
		if err := rows.Scan(&k.id, &k.slot, &k.proof); err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	return out, rows.Err()
}

var proof = []byte("this is the right key")

func proofPlace(id string) Place { return Place{Table: "master_key", Column: "proof", Row: id} }

// Check holds the ring against the keys the database was set up with, and enters the ring's first key if it
// is new. A node that cannot open everything must not start.
func Check(ctx context.Context, tx *db.Tx, ring *Ring) error {
	known, err := readKeys(ctx, tx)
	if err != nil {
		return err
	}
	if err := ring.opens(known); err != nil {
		return err
	}
	id := ring.KeyID()
	if slices.ContainsFunc(known, func(k keyRow) bool { return k.id == id }) {
		return nil
	}
	sealed, err := ring.Seal(proofPlace(id), proof)
	if err != nil {
		return err
	}
	slot := int64(1)
	for _, k := range known {
		slot = max(slot, k.slot+1)
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO master_key (id, slot, proof, created) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING", id, slot, sealed, tx.Ms())
	if err != nil {
		return fmt.Errorf("enter master key: %w", err)
	}
	// If another node took the slot at the same moment, its key is the one that counts.
	if known, err = readKeys(ctx, tx); err != nil {
		return err
	}
	return ring.opens(known)
}

// opens refuses a ring that lacks one of the keys in use.
func (r *Ring) opens(known []keyRow) error {
	var missing []string
	for _, k := range known {
		if r.find(k.id) == nil {
			missing = append(missing, k.id)
			continue
		}
		got, err := r.Open(proofPlace(k.id), k.proof)
		if err != nil || !bytes.Equal(got, proof) {
			return fault.Because(fault.InvalidField("master-key", "The database's proof of master key %s was changed. Restore the table master_key from a backup.", k.id), err)
		}
	}
	if len(missing) > 0 {
		return fault.InvalidField("master-key",
			"The master key is the wrong one: the database was set up with master key %s, and this node has %s. Copy the key from another node (show-master-key prints it there) or from your backup.",
			strings.Join(missing, ", "), strings.Join(r.KeyIDs(), ", "))
	}
	return nil
}
