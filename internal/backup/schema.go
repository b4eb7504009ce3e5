package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
)

// left are tables that are not in a backup, with the reason.
var left = map[string]string{
	"migration":     "the database that it is restored to has its own",
	"number_source": "sources of numbers are kept apart, since PostgreSQL has sequences for them",
	"task_tally":    "derived: triggers count the tasks anew",
	"blob_place":    "local: where blobs are is said at the restore",
	"blob_version":  "local",
	"blob_follower": "local",
}

// seeded are tables in which a new database has rows; they are replaced.
var seeded = []string{"cluster"}

// Column is a column as both engines have it.
type Column struct {
	Name string
	Kind string // text, number, boolean or bytes
}

// table is a table of this database.
type table struct {
	name     string
	columns  []Column // by name
	parents  []string // tables it refers to
	identity string   // the column that counts by itself, or ""
}

var kinds = map[string]string{
	"text": "text", "bigint": "number", "integer": "number", "boolean": "boolean", "bytea": "bytes", "blob": "bytes",
}

// tables reads what tables there are, parents before their children.
func tables(ctx context.Context, tx *db.Tx) ([]table, error) {
	columns := `SELECT c.table_name, c.column_name, c.data_type, c.is_identity = 'YES' FROM information_schema.columns c
		JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name AND t.table_type = 'BASE TABLE'
		WHERE c.table_schema = current_schema() ORDER BY 1, 2`
	parents := `SELECT c.relname, p.relname FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_class p ON p.oid = f.confrelid
		WHERE f.contype = 'f' AND f.connamespace = current_schema()::regnamespace ORDER BY 1, 2`
	if tx.Engine() == db.SQLite {
		const from = " FROM sqlite_schema t, %s WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%%' ORDER BY 1, 2"
		columns = "SELECT t.name, c.name, c.type, c.pk = 1 AND t.sql LIKE '%%AUTOINCREMENT%%'" + from
		columns = fmt.Sprintf(columns, "pragma_table_info(t.name) c")
		parents = fmt.Sprintf(`SELECT t.name, c."table"`+from, "pragma_foreign_key_list(t.name) c")
	}
	byName := map[string]*table{}
	var names []string
	rows, err := tx.QueryContext(ctx, columns)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name, column, kind string
		var identity bool
		if err := rows.Scan(&name, &column, &kind, &identity); err != nil {
			return nil, err
		}
		t := byName[name]
		if t == nil {
			t = &table{name: name}
			byName[name] = t
			names = append(names, name)
		}
		known := kinds[strings.ToLower(kind)]
		if known == "" && left[name] == "" {
			return nil, fmt.Errorf("column %s of table %s has the type %s, which a backup does not know", column, name, kind)
		}
		t.columns = append(t.columns, Column{column, known})
		if identity {
			t.identity = column
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	links, err := tx.QueryContext(ctx, parents)
	if err != nil {
		return nil, err
	}
	defer links.Close()
	for links.Next() {
		var child, parent string
		if err := links.Scan(&child, &parent); err != nil {
			return nil, err
		}
		if child != parent {
			byName[child].parents = append(byName[child].parents, parent)
		}
	}
	if err := links.Err(); err != nil {
		return nil, err
	}
	var out []table
	done := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if done[name] {
			return
		}
		done[name] = true
		for _, p := range byName[name].parents {
			visit(p)
		}
		if left[name] == "" {
			out = append(out, *byName[name])
		}
	}
	slices.Sort(names)
	for _, name := range names {
		visit(name)
	}
	return out, nil
}

// CheckSchema refuses a database whose schema is not exactly the one of this binary.
func CheckSchema(ctx context.Context, d *db.DB) error {
	want, err := db.MigrationsHash()
	if err != nil {
		return err
	}
	return d.Read(ctx, func(tx *db.Tx) error {
		rows, err := tx.QueryContext(ctx, "SELECT name, hash FROM migration ORDER BY number")
		if err != nil {
			return err
		}
		defer rows.Close()
		h := sha256.New()
		for rows.Next() {
			var name, hash string
			if err := rows.Scan(&name, &hash); err != nil {
				return err
			}
			fmt.Fprintln(h, name, hash)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		if hex.EncodeToString(h.Sum(nil)) != want {
			return fault.Conflictf("The schema of the database %s is not the one of this Octavo. Use the octavo of the same version as the server.", d.Name())
		}
		return nil
	})
}
