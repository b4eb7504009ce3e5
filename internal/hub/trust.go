package hub

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/halibut"
)

// Trust is one agent we talk to.
type Trust struct {
	Machine    string // id of the machine or worker
	Address    string // https://host:port/ or poll://subscription/
	Thumbprint string // SHA-1 of its certificate, upper-case hex
}

// Polling says whether the agent calls us.
func (t Trust) Polling() bool { return IsPolling(t.Address) }

// IsPolling says whether an address is a subscription.
func IsPolling(address string) bool { return strings.HasPrefix(strings.ToLower(address), "poll://") }

// SetTrust records how a machine's agent is reached and recognised, replacing what was there.
func SetTrust(ctx context.Context, tx *db.Tx, t Trust) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO agent_trust (machine, address, thumbprint, changed) VALUES ($1, $2, $3, $4)
		ON CONFLICT (machine) DO UPDATE SET address = excluded.address, thumbprint = excluded.thumbprint, changed = excluded.changed`,
		t.Machine, canonical(t.Address), strings.ToUpper(t.Thumbprint), tx.Ms())
	if err != nil {
		return fmt.Errorf("trust agent of %s: %w", t.Machine, err)
	}
	tx.Hint(TrustTopic)
	return nil
}

// RemoveTrust forgets a machine's agent; its links are cut.
func RemoveTrust(ctx context.Context, tx *db.Tx, machine string) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM agent_trust WHERE machine = $1`, machine); err != nil {
		return fmt.Errorf("forget agent of %s: %w", machine, err)
	}
	tx.Hint(TrustTopic)
	return nil
}

// TrustTopic is the hint that trust was given or taken.
const TrustTopic = "trust"

// trusted lists the thumbprints that polling agents may show, with the subscriptions each may use.
func trusted(ctx context.Context, tx *db.Tx) (map[string]map[string]bool, error) {
	rows, err := tx.QueryContext(ctx, `SELECT thumbprint, address FROM agent_trust WHERE address LIKE 'poll://%'`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[string]map[string]bool{}
	for rows.Next() {
		var thumbprint, address string
		if err := rows.Scan(&thumbprint, &address); err != nil {
			return nil, err
		}
		if all[thumbprint] == nil {
			all[thumbprint] = map[string]bool{}
		}
		all[thumbprint][address] = true
	}
	return all, rows.Err()
}

// find reads one machine's trust; ok is false when there is none.
func find(ctx context.Context, tx *db.Tx, machine string) (t Trust, ok bool, err error) {
	t.Machine = machine
	err = tx.QueryRowContext(ctx, `SELECT address, thumbprint FROM agent_trust WHERE machine = $1`, machine).Scan(&t.Address, &t.Thumbprint)
	if errors.Is(err, sql.ErrNoRows) {
		return t, false, nil
	}
	return t, err == nil, err
}

// canonical lowers a subscription, which is compared without case, and leaves other addresses alone.
func canonical(address string) string {
	if !IsPolling(address) {
		return address
	}
	address = strings.ToLower(address)
	if !strings.HasSuffix(address, "/") {
		address += "/"
	}
	return address
}

// trustPoll is how often trust is read without a hint: taken trust is in force within this time even then (I9). All else that hints
// tell a node at rest is looked at in the same transaction (performance.md P26).
const trustPoll = 5 * time.Second

// followTrust reads what changed and cuts the links that are not trusted any more. While the database does not answer,
// what was known stays in force: agents keep their links, and known ones come back.
func (h *Hub) followTrust(ctx context.Context, accept *halibut.Listener) {
	changed, stop := h.db.Listen(TrustTopic)
	defer stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-changed:
			err = h.readTrust(ctx, nil)
		case <-time.After(trustPoll): // the hint may be lost
			err = h.look(ctx)
		}
		if err != nil && ctx.Err() == nil {
			h.log.Warn("cannot read which agents are trusted; using what was known", "err", err)
		}
		if n := accept.Disconnect(func(p halibut.Peer) bool { return !h.trusts(p) }); n > 0 {
			h.log.Info("closed links of agents that are not trusted any more", "links", n)
		}
	}
}

// look reads trust, whether calls wait for this node, and whether its agents have linked elsewhere.
func (h *Hub) look(ctx context.Context) error {
	epoch := h.epoch()
	linked := epoch > 0 && h.links.any()
	var calls []string
	var newer map[string]int64
	err := h.readTrust(ctx, func(tx *db.Tx) (err error) {
		if !linked {
			return nil
		}
		if calls, err = waitingCalls(ctx, tx, h.node, epoch, 1); err != nil {
			return err
		}
		newer, err = newerLinks(ctx, tx, h.node, epoch)
		return err
	})
	if err != nil {
		return err
	}
	if len(calls) > 0 {
		h.poke()
	}
	if newer != nil {
		h.doubt(newer)
	}
	return nil
}

// authorize believes a polling agent whose thumbprint and subscription stand in one row. Trust given a moment ago,
// perhaps through another node, is looked up before anybody is sent away.
func (h *Hub) authorize(ctx context.Context, p halibut.Peer) error {
	if h.trusts(p) {
		return nil
	}
	if err := h.readTrust(ctx, nil); err == nil && h.trusts(p) {
		return nil
	}
	return fmt.Errorf("no machine has thumbprint %s and subscription %q", p.Thumbprint, p.Subscription)
}

func (h *Hub) trusts(p halibut.Peer) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.trust[p.Thumbprint][canonical(p.Subscription)]
}

// readTrust reads trust as it is now or later, and what else there is to read with it. Many who ask at once, such as strangers at
// the door, share a reading.
func (h *Hub) readTrust(ctx context.Context, also func(tx *db.Tx) error) error {
	asked := time.Now()
	h.reading.Lock()
	defer h.reading.Unlock()
	if also == nil && h.read.After(asked) {
		return nil // it began after we were asked
	}
	began := time.Now()
	err := h.db.Read(ctx, func(tx *db.Tx) error {
		all, err := trusted(ctx, tx)
		if err != nil {
			return err
		}
		h.mu.Lock()
		h.trust = all
		h.mu.Unlock()
		if also != nil {
			return also(tx)
		}
		return nil
	})
	if err == nil {
		h.read = began
	}
	return err
}
