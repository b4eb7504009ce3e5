package db

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"regexp"
	"sort"
	"strconv"

	"github.com/octavo/octavo/internal/fault"
)

//go:embed migrations/*.sql
var migrations embed.FS

type step struct {
	number int
	name   string
	text   string
	hash   string
	needs  int // the oldest binary, by its newest step, that may use the database after this one
}

var (
	stepName  = regexp.MustCompile(`^(\d{4})_[a-z0-9_]+\.sql$`)
	stepNeeds = regexp.MustCompile(`(?m)^-- needs-binary: (\d+)\s*$`)
)

func steps(from fs.FS) ([]step, error) {
	files, err := fs.Glob(from, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	sort.Strings(files)
	var out []step
	for _, f := range files {
		name := f[len("migrations/"):]
		m := stepName.FindStringSubmatch(name)
		if m == nil {
			return nil, fmt.Errorf("migration %s: name it NNNN_what.sql", name)
		}
		b, err := fs.ReadFile(from, f)
		if err != nil {
			return nil, err
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return nil, err
		}
		if len(out) > 0 && out[len(out)-1].number == n {
			return nil, fmt.Errorf("migrations %s and %s have the same number", out[len(out)-1].name, name)
		}
		sum := sha256.Sum256(b)
		s := step{number: n, name: name, text: string(b), hash: hex.EncodeToString(sum[:])}
		if m := stepNeeds.FindStringSubmatch(s.text); m != nil {
			if s.needs, err = strconv.Atoi(m[1]); err != nil {
				return nil, err
			}
		}
		out = append(out, s)
	}
	return out, nil
}

// MigrationsHash names the schema that this binary makes, as one text.
func MigrationsHash() (string, error) {
	all, err := steps(migrations)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, s := range all {
		fmt.Fprintln(h, s.name, s.hash)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Migrate brings the database to this binary's schema. Any number of nodes may do it at once: the
// steps are under one lock. It refuses a database that a newer binary has closed to this one, and
// one whose recorded steps are not the ones this binary knows.
func (d *DB) Migrate(ctx context.Context) error { return d.migrate(ctx, migrations) }

func (d *DB) migrate(ctx context.Context, from fs.FS) error {
	all, err := steps(from)
	if err != nil {
		return err
	}
	err = d.InTx(ctx, func(tx *Tx) error {
		if _, err := tx.ExecContext(ctx, d.dialect.lock); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS migration (
			number       BIGINT PRIMARY KEY,
			name         TEXT NOT NULL,
			hash         TEXT NOT NULL,
			needs_binary BIGINT NOT NULL,
			applied      BIGINT NOT NULL)`)
		return err
	})
	if err != nil {
		return fmt.Errorf("table migration: %w", err)
	}
	if err := d.checkBinary(ctx, all); err != nil {
		return err
	}
	for _, s := range all {
		if err := d.apply(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// CheckSchema refuses the database when its schema is not usable by this binary: it is used by
// commands that must not migrate.
func (d *DB) CheckSchema(ctx context.Context) error {
	all, err := steps(migrations)
	if err != nil {
		return err
	}
	return d.checkBinary(ctx, all)
}

func (d *DB) checkBinary(ctx context.Context, all []step) error {
	newest := 0
	if len(all) > 0 {
		newest = all[len(all)-1].number
	}
	var needs, has int
	err := d.Read(ctx, func(tx *Tx) error {
		return tx.QueryRowContext(ctx, "SELECT coalesce(max(needs_binary), 0), coalesce(max(number), 0) FROM migration").Scan(&needs, &has)
	})
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	if needs > newest {
		return fault.Conflictf("The database %s has schema %d, which needs an Octavo with schema %d or newer; this one has %d. Install the newer version on this node.", d.name, has, needs, newest)
	}
	return nil
}

func (d *DB) apply(ctx context.Context, s step) error {
	err := d.InTx(ctx, func(tx *Tx) error {
		if tx.engine == Postgres { // a big table takes its time; nobody else may be cut off by it
			if _, err := tx.ExecContext(ctx, "SET LOCAL statement_timeout = 0"); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "SET LOCAL lock_timeout = '60s'"); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, d.dialect.lock); err != nil {
			return err
		}
		var done string
		switch err := tx.QueryRowContext(ctx, "SELECT coalesce(max(hash), '') FROM migration WHERE number = $1", s.number).Scan(&done); {
		case err != nil:
			return err
		case done == s.hash:
			return nil
		case done != "":
			return fault.Conflictf("Migration %s of the database %s was made from another text than this Octavo has. Use the version that made it, or a database of its own.", s.name, d.name)
		}
		if _, err := tx.ExecContext(ctx, d.dialect.render(s.text)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO migration (number, name, hash, needs_binary, applied) VALUES ($1, $2, $3, $4, $5)",
			s.number, s.name, s.hash, s.needs, tx.Ms())
		return err
	})
	if err != nil {
		return fmt.Errorf("migration %s: %w", s.name, err)
	}
	return nil
}
