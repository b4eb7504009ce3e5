package hub

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/halibut"
)

// links is what this node knows of the links it holds. The rows follow it, as soon as the database answers.
type links struct {
	mu sync.Mutex
	of map[string]*held // by subscription
}

// held is one agent's links to this node, and what its row says of them.
type held struct {
	count  int
	made   int64 // counts the links there were
	noted  int64 // made, as it was when the row was written
	epoch  int64 // in the row; 0: there is none
	newest int64 // the highest number of a link elsewhere that made us doubt ours
}

// linked is told of every new link (halibut.PollsConfig).
func (h *Hub) linked(p halibut.Peer) (unlinked func()) {
	subscription := canonical(p.Subscription)
	h.links.mu.Lock()
	l := h.links.of[subscription]
	if l == nil {
		l = &held{}
		h.links.of[subscription] = l
	}
	l.count++
	l.made++
	h.links.mu.Unlock()
	h.poke()
	return func() {
		h.links.mu.Lock()
		l.count--
		h.links.mu.Unlock()
		h.poke()
	}
}

func (h *Hub) poke() {
	select {
	case h.wake <- struct{}{}:
	default: // it is awake
	}
}

// any tells whether agents are linked here.
func (l *links) any() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.of) > 0
}

// change is what one row of link has to become.
type change struct {
	subscription string
	made         int64
	do           string // new, again or gone
}

// changes lists what the rows do not say yet, up to a limit.
func (l *links) changes(epoch int64, limit int) []change {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []change
	for subscription, one := range l.of {
		c := change{subscription, one.made, ""}
		switch {
		case one.count == 0 && one.epoch == 0:
			delete(l.of, subscription)
		case one.count == 0:
			c.do = "gone"
		case one.noted != one.made:
			c.do = "new"
		case one.epoch != epoch:
			c.do = "again"
		}
		if c.do != "" && len(out) < limit {
			out = append(out, c)
		}
	}
	return out
}

// written takes what a committed transaction made of the rows.
func (l *links) written(epoch int64, done []change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range done {
		one := l.of[c.subscription]
		if one == nil {
			continue
		}
		one.noted, one.epoch = c.made, epoch
		if c.do == "gone" {
			one.epoch, one.noted = 0, 0
		}
	}
}

// linkBatch bounds a transaction; its rows are of this node, so no other node's transaction wants them.
const linkBatch = 100

// recordLinks brings the rows of link up to what this node holds. A link that is new here is the agent's newest; one
// that is recorded again, under a new epoch, keeps its number, since the agent may have gone elsewhere meanwhile.
func (h *Hub) recordLinks(ctx context.Context, epoch int64) error {
	for {
		todo := h.links.changes(epoch, linkBatch)
		if len(todo) == 0 {
			return nil
		}
		err := h.db.InTx(ctx, func(tx *db.Tx) error {
			for _, c := range todo {
				if err := writeLink(ctx, tx, h.node, epoch, c); err != nil {
					return fmt.Errorf("record the link of %s: %w", c.subscription, err)
				}
			}
			tx.Hint(linkTopic)
			return nil
		})
		if err != nil {
			return err
		}
		h.links.written(epoch, todo)
	}
}

// linkTopic is the hint that an agent linked somewhere, or unlinked.
const linkTopic = "link"

func writeLink(ctx context.Context, tx *db.Tx, node string, epoch int64, c change) error {
	var err error
	switch c.do {
	case "new":
		_, err = tx.ExecContext(ctx, `INSERT INTO link (subscription, node, epoch, number, since)
			VALUES ($1, $2, $3, (SELECT coalesce(max(number), 0) + 1 FROM link WHERE subscription = $1), $4)
			ON CONFLICT (subscription, node) DO UPDATE SET epoch = excluded.epoch, number = excluded.number, since = excluded.since
			WHERE link.epoch <= excluded.epoch`,
			c.subscription, node, epoch, tx.Ms())
	case "again":
		_, err = tx.ExecContext(ctx, `INSERT INTO link (subscription, node, epoch, number, since) VALUES ($1, $2, $3, 0, $4)
			ON CONFLICT (subscription, node) DO UPDATE SET epoch = excluded.epoch WHERE link.epoch <= excluded.epoch`, c.subscription, node, epoch, tx.Ms())
	case "gone":
		_, err = tx.ExecContext(ctx, "DELETE FROM link WHERE subscription = $1 AND node = $2 AND epoch <= $3", c.subscription, node, epoch)
	}
	return err
}

// unlinkAll takes this node's rows away once its listener is closed; if it cannot, its node's end does.
func (h *Hub) unlinkAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := h.recordLinks(ctx, h.epoch()); err != nil {
		h.log.Warn("cannot take back which agents were connected here; the end of this node does", "err", err)
	}
}

// living is a condition on a row with the columns %[1]s and %[2]s: the node of that name is up under that epoch. The
// table is cluster's; hub only reads it.
const living = "EXISTS (SELECT 1 FROM node n WHERE n.name = %[1]s AND n.epoch = %[2]s AND n.state = 'up')"

var livingLink = fmt.Sprintf(living, "l.node", "l.epoch")

// holder is the node of an agent's newest link, or "".
func holder(ctx context.Context, tx *db.Tx, subscription string) (node string, err error) {
	err = tx.QueryRowContext(ctx, "SELECT l.node FROM link l WHERE l.subscription = $1 AND "+livingLink+" ORDER BY l.number DESC, l.node DESC LIMIT 1", subscription).Scan(&node)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return node, err
}

// Connected tells whether a polling agent is linked to any node of the cluster. While the database does not answer,
// it tells what this node knows.
func (h *Hub) Connected(ctx context.Context, subscription string) (bool, error) {
	if h.polls.Connected(subscription) {
		return true, nil
	}
	var node string
	err := h.db.Read(ctx, func(tx *db.Tx) (err error) {
		node, err = holder(ctx, tx, canonical(subscription))
		return err
	})
	return node != "", err
}

// doubtLinks finds out whether agents that are linked here have linked elsewhere since. Those that poll several nodes
// answer at once; a link that was lost without a word is closed, so that no call is given to it.
func (h *Hub) doubtLinks(ctx context.Context, epoch int64) error {
	var newer map[string]int64
	err := h.db.Read(ctx, func(tx *db.Tx) (err error) {
		newer, err = newerLinks(ctx, tx, h.node, epoch)
		return err
	})
	if err != nil {
		return err
	}
	h.doubt(newer)
	return nil
}

func (h *Hub) doubt(newer map[string]int64) {
	for _, subscription := range h.links.news(newer) {
		h.polls.Doubt(subscription)
	}
}

// newerLinks gives, of the agents that are linked here and to another node that lives since, the number of that link.
func newerLinks(ctx context.Context, tx *db.Tx, node string, epoch int64) (map[string]int64, error) {
	rows, err := tx.QueryContext(ctx, `SELECT l.subscription, max(l.number) FROM link mine JOIN link l ON l.subscription = mine.subscription AND l.number > mine.number
		WHERE mine.node = $1 AND mine.epoch = $2 AND `+livingLink+` GROUP BY l.subscription`, node, epoch)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	newer := map[string]int64{}
	for rows.Next() {
		var subscription string
		var number int64
		if err := rows.Scan(&subscription, &number); err != nil {
			return nil, err
		}
		newer[subscription] = number
	}
	return newer, rows.Err()
}

// news tells for which agents there is a newer link elsewhere that was not known before. Where there is none any more all is
// forgotten, since the numbers of an agent begin anew once its last row is gone.
func (l *links) news(newer map[string]int64) (subscriptions []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for subscription, one := range l.of {
		number := newer[subscription]
		if number > one.newest {
			subscriptions = append(subscriptions, subscription)
		}
		if number == 0 || number > one.newest {
			one.newest = number
		}
	}
	return subscriptions
}
