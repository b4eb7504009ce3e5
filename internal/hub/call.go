package hub

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/halibut"
	"github.com/octavo/octavo/internal/tentacle"
)

// ErrNotOwner is a call of a task that has another owner now: it was not made.
var ErrNotOwner = errors.New("the task has another owner now")

type fenceKey struct{}

// WithFence makes every call under the context carry its task's fence, which is checked again right before the call
// leaves the cluster through another node (architecture: "calls as rows").
func WithFence(ctx context.Context, fence tentacle.Fence) context.Context {
	return context.WithValue(ctx, fenceKey{}, fence)
}

const (
	callPoll = time.Second     // how often a waiting caller looks at least, and up to as much again
	patience = 5 * time.Second // for a statement that only tidies up
)

// callTopic is the hint to a caller, callsTopic that to a node that carries calls out.
func callTopic(id string) string    { return "call " + id }
func callsTopic(node string) string { return "calls " + node }

// send makes a call through whichever node holds a link of the agent, now or within the time to collect.
func (h *Hub) send(ctx context.Context, epoch int64, subscription string, c *halibut.Call) (*halibut.Answer, error) {
	id := rand.Text()
	h.mu.Lock()
	h.calling[id] = true
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.calling, id)
		h.mu.Unlock()
	}()
	wake, stop := h.db.Listen(callTopic(id))
	defer stop()
	doc, err := c.Document()
	if err != nil {
		return nil, err
	}
	request, err := h.pack(ctx, id, asked, doc, c.Streams())
	defer h.dropParts(ctx, id, request)
	if err != nil {
		return nil, &halibut.ConnectError{Endpoint: subscription, Err: err}
	}
	err = h.db.InTx(ctx, func(tx *db.Tx) error { return insertCall(ctx, tx, id, subscription, h.node, epoch, request.sealed) })
	if err != nil {
		if errors.Is(h.giveUp(ctx, id), errMaybeSent) { // the commit may have come through all the same
			return nil, &halibut.TransferError{Endpoint: subscription, Err: err}
		}
		return nil, &halibut.ConnectError{Endpoint: subscription, Err: err}
	}
	return h.await(ctx, epoch, id, subscription, wake)
}

func insertCall(ctx context.Context, tx *db.Tx, id, subscription, node string, epoch int64, request []byte) error {
	fence, _ := ctx.Value(fenceKey{}).(tentacle.Fence)
	to, err := holder(ctx, tx, subscription)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO call (id, subscription, state, caller, caller_epoch, taker, taker_epoch, given_up, task, incarnation, claim, request, error, created)
		VALUES ($1, $2, 'waiting', $3, $4, '', 0, FALSE, $5, $6, $7, $8, '', $9)`,
		id, subscription, node, epoch, fence.TaskId, fence.Incarnation, fence.Claim, request, tx.Ms())
	if err != nil {
		return fmt.Errorf("write call: %w", err)
	}
	if to != "" {
		tx.Hint(callsTopic(to))
	}
	return nil
}

// progress is what a caller sees of its row.
type progress struct {
	state  string // '' when there is no row
	taker  string
	alive  bool // the taker
	answer []byte
	err    string
}

var takerLives = fmt.Sprintf(living, "call.taker", "call.taker_epoch")

func readCall(ctx context.Context, tx *db.Tx, id string) (p progress, err error) {
	err = tx.QueryRowContext(ctx, "SELECT state, taker, "+takerLives+", answer, error FROM call WHERE id = $1", id).
		Scan(&p.state, &p.taker, &p.alive, &p.answer, &p.err)
	if errors.Is(err, sql.ErrNoRows) {
		return progress{}, nil
	}
	return p, err
}

// await waits until the call has an outcome. A database that does not answer is waited for: the call may be under way.
func (h *Hub) await(ctx context.Context, epoch int64, id, subscription string, wake <-chan struct{}) (*halibut.Answer, error) {
	connect := func(err error) error { return &halibut.ConnectError{Endpoint: subscription, Err: err} }
	transfer := func(err error) error { return &halibut.TransferError{Endpoint: subscription, Err: err} }
	collect := time.NewTimer(h.timeouts.Collect)
	defer collect.Stop()
	late := false
	for {
		select {
		case <-ctx.Done():
			why := context.Cause(ctx)
			if errors.Is(h.giveUp(ctx, id), errMaybeSent) {
				return nil, transfer(why)
			}
			return nil, connect(why)
		case <-wake:
		case <-collect.C:
			late = true
		case <-time.After(callPoll + mathrand.N(callPoll)):
		}
		var now progress
		err := h.db.Read(ctx, func(tx *db.Tx) (err error) {
			if now, err = readCall(ctx, tx, id); err != nil || now.state != "waiting" {
				return err
			}
			// The hint may be lost, or the agent may be linked elsewhere by now.
			to, err := holder(ctx, tx, subscription)
			if to != "" {
				tx.Hint(callsTopic(to))
			}
			return err
		})
		if err != nil {
			continue
		}
		switch now.state {
		case "waiting":
			if !late && h.epoch() == epoch {
				continue
			}
			// Only whoever removes the row knows that nobody takes it any more.
			removed, err := h.remove(ctx, id, "waiting")
			switch {
			case err != nil || !removed:
				continue
			case !late:
				return nil, connect(errOwnEpoch)
			}
			return nil, connect(&halibut.UncollectedError{Waited: h.timeouts.Collect})
		case "taken":
			if now.alive {
				continue
			}
			if removed, err := h.remove(ctx, id, "taken"); err != nil || !removed {
				continue
			}
			return nil, transfer(fmt.Errorf("node %s, which carried the call out, died", now.taker))
		case "answered":
			answer, err := h.unpackAnswer(ctx, id, now.answer)
			h.tidy(ctx, id, now.state)
			if err != nil {
				return nil, transfer(err)
			}
			return answer, nil
		case "broken":
			h.tidy(ctx, id, now.state)
			return nil, transfer(errors.New(now.err))
		case "unsent":
			h.tidy(ctx, id, now.state)
			return nil, connect(errors.New(now.err))
		case "refused":
			h.tidy(ctx, id, now.state)
			return nil, ErrNotOwner
		default:
			return nil, transfer(errOwnEpoch)
		}
	}
}

var (
	errOwnEpoch  = errors.New("this node lost its registration while it waited")
	errMaybeSent = errors.New("the call may have been taken")
)

// remove deletes a row that is still in a state.
func (h *Hub) remove(ctx context.Context, id, state string) (removed bool, err error) {
	err = h.db.InTx(ctx, func(tx *db.Tx) (err error) {
		removed, err = removeCall(ctx, tx, id, state)
		return err
	})
	return removed, err
}

func removeCall(ctx context.Context, tx *db.Tx, id, state string) (bool, error) {
	return one(tx.ExecContext(ctx, "DELETE FROM call WHERE id = $1 AND state = $2", id, state))
}

// one tells whether a statement found its row.
func one(res sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// tidy deletes a row whose outcome is known; if it cannot, the sweep does.
func (h *Hub) tidy(ctx context.Context, id, state string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if _, err := h.remove(ctx, id, state); err != nil {
		h.log.Debug("cannot remove an answered call; the sweep does", "err", err)
	}
}

// giveUp says that nobody waits for a call any more: it is removed, or whoever carries it out closes the link.
// errMaybeSent is a call that was taken, or may have been.
func (h *Hub) giveUp(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	var unsent bool
	err := h.db.InTx(ctx, func(tx *db.Tx) (err error) {
		unsent, err = giveUpCall(ctx, tx, id)
		return err
	})
	if err != nil || !unsent {
		return errors.Join(errMaybeSent, err)
	}
	return nil
}

// giveUpCall tells whether nobody took the call. Of a row that is not there nobody knows: the commit that writes it may
// still come, or the sweep of another node removed it with its outcome.
func giveUpCall(ctx context.Context, tx *db.Tx, id string) (unsent bool, err error) {
	if removed, err := removeCall(ctx, tx, id, "waiting"); removed || err != nil {
		return removed, err
	}
	var taker string
	err = tx.QueryRowContext(ctx, "UPDATE call SET given_up = TRUE WHERE id = $1 AND state = 'taken' AND "+takerLives+" RETURNING taker", id).Scan(&taker)
	switch {
	case err == nil:
		tx.Hint(callsTopic(taker))
		return false, nil
	case !errors.Is(err, sql.ErrNoRows):
		return false, err
	}
	// It has an outcome, which nobody reads, or will never have one.
	_, err = tx.ExecContext(ctx, "DELETE FROM call WHERE id = $1", id)
	return false, err
}
