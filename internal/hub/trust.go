package hub

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/octavo/octavo/internal/db"
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
