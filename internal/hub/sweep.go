package hub

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/db"
)

// partLife is how old a part in the blob store has to be before the absence of its row says that nobody needs it: it
// is stored before its row, and read after the row is gone.
const partLife = 12 * time.Hour

// sweepOwn removes the rows of calls that this node does not wait for any more. Those that are carried out just now are
// left to their carrier. It gives back the calls that this node took without knowing it, because it was told that the
// commit failed; only carryOut may call it, which is who takes calls.
func (h *Hub) sweepOwn(ctx context.Context, epoch int64) error {
	var ids []string
	var mine []taken
	err := h.db.Read(ctx, func(tx *db.Tx) (err error) {
		if ids, err = ownCalls(ctx, tx, h.node, epoch); err != nil {
			return err
		}
		mine, err = takenCalls(ctx, tx, h.node, epoch)
		return err
	})
	if err != nil {
		return err
	}
	for _, t := range mine {
		h.mu.Lock()
		_, carried := h.carrying[t.id]
		h.mu.Unlock()
		if carried {
			continue
		}
		err := h.db.InTx(ctx, func(tx *db.Tx) error {
			_, err := settleCall(ctx, tx, t, h.node, "waiting", nil, "")
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, id := range ids {
		h.mu.Lock()
		waited := h.calling[id]
		h.mu.Unlock()
		if waited {
			continue
		}
		err := h.db.InTx(ctx, func(tx *db.Tx) error {
			_, err := giveUpCall(ctx, tx, id)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func ownCalls(ctx context.Context, tx *db.Tx, node string, epoch int64) ([]string, error) {
	rows, err := tx.QueryContext(ctx, "SELECT id FROM call WHERE caller = $1 AND caller_epoch = $2", node, epoch)
	if err != nil {
		return nil, err
	}
	return scanIDs(rows)
}

func takenCalls(ctx context.Context, tx *db.Tx, node string, epoch int64) (mine []taken, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT id, subscription FROM call WHERE taker = $1 AND taker_epoch = $2 AND state = 'taken'", node, epoch)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		t := taken{epoch: epoch}
		if err := rows.Scan(&t.id, &t.subscription); err != nil {
			return nil, err
		}
		mine = append(mine, t)
	}
	return mine, rows.Err()
}

// Sweep removes what dead nodes left: calls, links, and parts of calls in the blob store. One node does it for all,
// row by row.
func (h *Hub) Sweep(ctx context.Context) error {
	var calls []string
	var gone [][2]string
	err := h.db.Read(ctx, func(tx *db.Tx) (err error) {
		if calls, err = orphans(ctx, tx); err != nil {
			return err
		}
		gone, err = deadLinks(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	for _, id := range calls {
		err := h.db.InTx(ctx, func(tx *db.Tx) error {
			_, err := tx.ExecContext(ctx, "DELETE FROM call WHERE id = $1", id)
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, l := range gone {
		err := h.db.InTx(ctx, func(tx *db.Tx) error { return removeDeadLink(ctx, tx, l[0], l[1]) })
		if err != nil {
			return err
		}
	}
	return h.sweepParts(ctx)
}

// orphans are calls whose caller is gone, and which nobody alive carries out: a carrier ends its own.
func orphans(ctx context.Context, tx *db.Tx) ([]string, error) {
	rows, err := tx.QueryContext(ctx, "SELECT id FROM call WHERE NOT "+callerLives+" AND NOT (state = 'taken' AND "+takerLives+")")
	if err != nil {
		return nil, err
	}
	return scanIDs(rows)
}

func deadLinks(ctx context.Context, tx *db.Tx) (out [][2]string, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT l.subscription, l.node FROM link l WHERE NOT "+livingLink+" LIMIT 1000")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var l [2]string
		if err := rows.Scan(&l[0], &l[1]); err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, rows.Err()
}

var livingRow = fmt.Sprintf(living, "link.node", "link.epoch")

func removeDeadLink(ctx context.Context, tx *db.Tx, subscription, node string) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM link WHERE subscription = $1 AND node = $2 AND NOT "+livingRow, subscription, node)
	return err
}

// sweepParts deletes parts of calls that are over.
func (h *Hub) sweepParts(ctx context.Context) error {
	if h.blobs == nil {
		return nil
	}
	for info, err := range h.blobs.List(ctx, blobPrefix) {
		if err != nil {
			return err
		}
		if time.Since(info.Modified) < partLife {
			continue
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(info.Key, blobPrefix), "-")
		var there bool
		err := h.db.Read(ctx, func(tx *db.Tx) error {
			return tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM call WHERE id = $1)", id).Scan(&there)
		})
		if err != nil {
			return err
		}
		if !there {
			if err := h.blobs.Delete(ctx, info.Key); err != nil {
				return err
			}
		}
	}
	return nil
}
