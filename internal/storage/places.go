package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
)

// Kind is a kind of content that may have a place of its own (behaviour.md 75, 78, 82).
type Kind struct {
	Name   string
	Prefix string // of its keys
}

// Kinds are those there are. What belongs to none, such as the parts of a call to an agent, is where the kind "" is.
var Kinds = []Kind{
	{"TaskLogs", "logs/"},
	{"Artifacts", "artifacts/"},
	{"Packages", "packages/"},
	{"Imports", "imports/"},
	{"EventExports", "eventexports/"},
	{"Telemetry", "telemetry/"},
}

// kindOf gives the name of a key's kind, or "".
func kindOf(key string) string {
	for _, k := range Kinds {
		if strings.HasPrefix(key, k.Prefix) {
			return k.Name
		}
	}
	return ""
}

// Place is where a kind of content is. The location "" is the node's own setting.
type Place struct {
	Location string
	Other    *string // while content moves, the second place
}

// Places are all of them at one version.
type Places struct {
	Version int64
	Of      map[string]Place // by kind
}

const topic = "blob-places"

// ReadPlaces reads them.
func ReadPlaces(ctx context.Context, tx *db.Tx) (Places, error) {
	p := Places{Of: map[string]Place{}}
	if err := tx.QueryRowContext(ctx, "SELECT version FROM blob_version").Scan(&p.Version); err != nil {
		return p, fmt.Errorf("version of the places of blobs: %w", err)
	}
	rows, err := tx.QueryContext(ctx, "SELECT kind, location, other FROM blob_place")
	if err != nil {
		return p, err
	}
	defer rows.Close()
	for rows.Next() {
		var kind string
		var at Place
		if err := rows.Scan(&kind, &at.Location, &at.Other); err != nil {
			return p, err
		}
		p.Of[kind] = at
	}
	return p, rows.Err()
}

// setPlace changes one and raises the version; nil forgets it.
func setPlace(ctx context.Context, tx *db.Tx, kind string, at *Place) (version int64, err error) {
	if err := tx.QueryRowContext(ctx, "UPDATE blob_version SET version = version + 1 RETURNING version").Scan(&version); err != nil {
		return 0, err
	}
	if at == nil {
		_, err = tx.ExecContext(ctx, "DELETE FROM blob_place WHERE kind = $1", kind)
	} else {
		_, err = tx.ExecContext(ctx, `INSERT INTO blob_place (kind, location, other) VALUES ($1, $2, $3)
			ON CONFLICT (kind) DO UPDATE SET location = $2, other = $3`, kind, at.Location, at.Other)
	}
	tx.Hint(topic)
	return version, err
}

// follow says that a node acts upon a version.
func follow(ctx context.Context, tx *db.Tx, node string, version int64) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO blob_follower (node, version) VALUES ($1, $2) ON CONFLICT (node) DO UPDATE SET version = $2`, node, version)
	return err
}

// late is a node that is up, as far as its row says, and does not act upon a version yet.
type late struct {
	name    string
	trouble string
	seen    time.Time // stands still when it is dead
}

func (l late) String() string {
	if l.trouble != "" {
		return l.name + " (" + l.trouble + ")"
	}
	return l.name
}

// behind lists the nodes that are up and do not act upon a version yet.
func behind(ctx context.Context, tx *db.Tx, version int64) (list []late, err error) {
	nodes, err := cluster.Nodes(ctx, tx)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if n.IsOffline() {
			continue
		}
		var at int64
		err := tx.QueryRowContext(ctx, "SELECT version FROM blob_follower WHERE node = $1", n.Name).Scan(&at)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		if at < version {
			list = append(list, late{n.Name, n.Trouble, n.LastSeen})
		}
	}
	return list, nil
}

// pulse tells which nodes still beat: one whose row has stood still for long, while we looked, is dead, also if no other node is there
// to say so.
type pulse struct {
	dead  time.Duration
	first map[string]beat
}

type beat struct {
	seen  time.Time // as its row says
	since time.Time // on our own clock
	moved bool
}

// look takes what a read gave and leaves the nodes that may be alive; sure are those that beat while we looked.
func (p *pulse) look(list []late) (maybe, sure []late) {
	if p.first == nil {
		p.first = map[string]beat{}
	}
	for _, l := range list {
		b, known := p.first[l.name]
		if !known || !b.seen.Equal(l.seen) {
			b = beat{seen: l.seen, since: time.Now(), moved: known}
			p.first[l.name] = b
		}
		if time.Since(b.since) >= p.dead {
			continue
		}
		maybe = append(maybe, l)
		if b.moved {
			sure = append(sure, l)
		}
	}
	return maybe, sure
}

func names(list []late) string {
	var out []string
	for _, l := range list {
		out = append(out, l.String())
	}
	return strings.Join(out, ", ")
}
