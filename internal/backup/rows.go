package backup

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/bits"
	"strings"
	"unicode/utf8"

	"github.com/octavo/octavo/internal/db"
)

// odd is a text that JSON cannot hold as it is.
type odd struct{ Bytes []byte }

// sum is the digest of a table: its rows' SHA-256 added up.
type sum struct {
	words [4]uint64
	rows  int64
}

func (s *sum) add(line []byte) {
	d := sha256.Sum256(line)
	var carry uint64
	for i := range s.words {
		s.words[i], carry = bits.Add64(s.words[i], binary.LittleEndian.Uint64(d[8*i:]), carry)
	}
	s.rows++
}

func (s *sum) String() string {
	var out []byte
	for _, w := range s.words {
		out = binary.LittleEndian.AppendUint64(out, w)
	}
	return hex.EncodeToString(out)
}

// each reads a table, row by row as it is written to a file.
func each(ctx context.Context, tx *db.Tx, t table, do func(line []byte) error) error {
	var names []string
	for _, c := range t.columns {
		names = append(names, `"`+c.Name+`"`)
	}
	rows, err := tx.QueryContext(ctx, `SELECT `+strings.Join(names, ", ")+` FROM "`+t.name+`"`)
	if err != nil {
		return fmt.Errorf("read table %s: %w", t.name, err)
	}
	defer rows.Close()
	values, into := make([]any, len(names)), make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return fmt.Errorf("read table %s: %w", t.name, err)
		}
		for i, c := range t.columns {
			if values[i], err = pack(c.Kind, values[i]); err != nil {
				return fmt.Errorf("table %s, column %s: %w", t.name, c.Name, err)
			}
		}
		line, err := encode(values)
		if err != nil {
			return err
		}
		if err := do(line); err != nil {
			return err
		}
	}
	return rows.Err()
}

func encode(values []any) ([]byte, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(values)
	return []byte(b.String()), err
}

// pack makes a driver's value the same for both engines.
func pack(kind string, v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	switch x := v.(type) {
	case bool:
		if kind == "boolean" {
			return x, nil
		}
	case int64:
		switch kind {
		case "number":
			return x, nil
		case "boolean":
			return x != 0, nil
		}
	case string:
		switch {
		case kind == "bytes":
			return []byte(x), nil
		case kind == "text" && utf8.ValidString(x):
			return x, nil
		case kind == "text":
			return odd{[]byte(x)}, nil
		}
	case []byte:
		switch kind {
		case "bytes":
			return append([]byte{}, x...), nil
		case "text":
			return pack(kind, string(x))
		}
	}
	return nil, fmt.Errorf("a %T is no %s", v, kind)
}

// unpack reads one value of a line.
func unpack(kind string, raw json.RawMessage) (any, error) {
	if string(raw) == "null" {
		return nil, nil
	}
	switch kind {
	case "boolean":
		var v bool
		err := json.Unmarshal(raw, &v)
		return v, err
	case "number":
		var v int64
		err := json.Unmarshal(raw, &v)
		return v, err
	case "bytes":
		var v string
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, err
		}
		return base64.StdEncoding.DecodeString(v)
	case "text":
		if strings.HasPrefix(string(raw), "{") {
			var v odd
			err := json.Unmarshal(raw, &v)
			return string(v.Bytes), err
		}
		var v string
		err := json.Unmarshal(raw, &v)
		return v, err
	}
	return nil, fmt.Errorf("kind %q is unknown", kind)
}

// inserter puts rows into a table, many with one statement.
type inserter struct {
	ctx  context.Context
	tx   *db.Tx
	t    table
	args []any
}

// most bounds the values of one statement; PostgreSQL takes 65535, SQLite 32766.
const most = 4000

func (n *inserter) add(line []byte) error {
	var raw []json.RawMessage
	if err := json.Unmarshal(line, &raw); err != nil || len(raw) != len(n.t.columns) {
		return fmt.Errorf("a row of table %s is damaged (%d values): %v", n.t.name, len(raw), err)
	}
	for i, c := range n.t.columns {
		v, err := unpack(c.Kind, raw[i])
		if err != nil {
			return fmt.Errorf("a row of table %s is damaged in column %s: %w", n.t.name, c.Name, err)
		}
		n.args = append(n.args, v)
	}
	if len(n.args)+len(n.t.columns) > most {
		return n.flush()
	}
	return nil
}

func (n *inserter) flush() error {
	if len(n.args) == 0 {
		return nil
	}
	var text strings.Builder
	text.WriteString(`INSERT INTO "` + n.t.name + `" (`)
	for i, c := range n.t.columns {
		if i > 0 {
			text.WriteString(", ")
		}
		text.WriteString(`"` + c.Name + `"`)
	}
	text.WriteString(") VALUES ")
	for at := 0; at < len(n.args); at += len(n.t.columns) {
		if at > 0 {
			text.WriteString(", ")
		}
		text.WriteString("(" + db.List(at+1, len(n.t.columns)) + ")")
	}
	if _, err := n.tx.ExecContext(n.ctx, text.String(), n.args...); err != nil {
		return fmt.Errorf("write table %s: %w", n.t.name, err)
	}
	n.args = n.args[:0]
	return nil
}
