package backup

import (
	"context"
	"fmt"
	"strings"

	"github.com/octavo/octavo/internal/db"
)

// readNumbers gives the last number of each source, and of each column that counts by itself ("table.column").
func readNumbers(ctx context.Context, tx *db.Tx, all []table) (sources, counters map[string]int64, err error) {
	sources, counters = map[string]int64{}, map[string]int64{}
	read := func(into map[string]int64, name func(string) string, text string, args ...any) error {
		rows, err := tx.QueryContext(ctx, text, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var source string
			var last int64
			if err := rows.Scan(&source, &last); err != nil {
				return err
			}
			into[name(source)] = last
		}
		return rows.Err()
	}
	same := func(s string) string { return s }
	if tx.Engine() == db.SQLite {
		if err := read(sources, same, "SELECT name, last FROM number_source"); err != nil {
			return nil, nil, err
		}
	} else {
		err := read(sources, func(s string) string { return strings.TrimPrefix(s, "number_") },
			"SELECT sequencename, coalesce(last_value, 0) FROM pg_sequences WHERE schemaname = current_schema() AND sequencename LIKE 'number\\_%'")
		if err != nil {
			return nil, nil, err
		}
	}
	for _, t := range all {
		if t.identity == "" {
			continue
		}
		name := func(string) string { return t.name + "." + t.identity }
		text := "SELECT name, seq FROM sqlite_sequence WHERE name = $1"
		args := []any{t.name}
		if tx.Engine() == db.Postgres {
			text, args = "SELECT sequencename, coalesce(last_value, 0) FROM pg_sequences WHERE (schemaname || '.' || sequencename) = pg_get_serial_sequence($1, $2)", []any{t.name, t.identity}
		}
		if err := read(counters, name, text, args...); err != nil {
			return nil, nil, err
		}
	}
	return sources, counters, nil
}

// writeNumbers lets the sources go on behind those numbers.
func writeNumbers(ctx context.Context, tx *db.Tx, all []table, sources, counters map[string]int64) error {
	for name, last := range sources {
		if last == 0 {
			continue
		}
		if tx.Engine() == db.SQLite {
			if _, err := tx.ExecContext(ctx, "INSERT INTO number_source (name, last) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET last = max(last, excluded.last)", name, last); err != nil {
				return err
			}
			continue
		}
		if _, err := db.NextNumber(ctx, tx, name); err != nil { // makes the sequence
			return err
		}
		var now int64
		if err := tx.QueryRowContext(ctx, "SELECT setval(quote_ident('number_' || lower($1))::regclass, $2)", name, last).Scan(&now); err != nil {
			return fmt.Errorf("source of numbers %s: %w", name, err)
		}
	}
	for _, t := range all {
		last := counters[t.name+"."+t.identity]
		if t.identity == "" || last == 0 {
			continue
		}
		if tx.Engine() == db.SQLite {
			if _, err := tx.ExecContext(ctx, "DELETE FROM sqlite_sequence WHERE name = $1", t.name); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO sqlite_sequence (name, seq) VALUES ($1, $2)", t.name, last); err != nil {
				return err
			}
			continue
		}
		var now int64
		if err := tx.QueryRowContext(ctx, "SELECT setval(pg_get_serial_sequence($1, $2)::regclass, $3)", t.name, t.identity, last).Scan(&now); err != nil {
			return fmt.Errorf("counter of table %s: %w", t.name, err)
		}
	}
	return nil
}
