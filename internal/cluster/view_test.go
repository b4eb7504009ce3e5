package cluster

import (
	"context"
	"testing"

	"github.com/octavo/octavo/internal/db"
)

// laters is what a view finds of them.
func laters(ctx context.Context, tx *db.Tx, where string) (found []later, err error) {
	err = tx.Send(ctx, laterStatement(tx, where, &found))
	return found, err
}

func TestEachNodeGuardsTheNextOne(t *testing.T) {
	var beats []seenBeat
	for _, name := range []string{"c", "a", "d"} {
		beats = append(beats, seenBeat{beatRow: beatRow{node: name}})
	}
	for name, next := range map[string]string{"a": "c", "b": "c", "c": "d", "d": "a", "e": "a"} {
		if got := nextOf(beats, name).node; got != next {
			t.Errorf("%s guards %q, want %q", name, got, next)
		}
	}
	if got := nextOf(nil, "a").node; got != "" {
		t.Errorf("a node alone guards %q", got)
	}
}
