package hub

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/halibut"
)

// How calls are taken.
const (
	takeBatch  = 64              // calls that one look lists
	maxCarried = 512             // calls under way at once for other nodes
	roundLimit = 5 * time.Second // for one look; a database that hangs is asked again
	ownSweep   = time.Minute     // how often a node looks for rows that it forgot to remove
	linkPace   = time.Second     // how often at most the links elsewhere are looked at: many agents may come at once
)

// carryOut keeps the rows of this node's links, and carries out calls of any node to the agents that are linked here,
// until ctx ends. At rest it asks the database nothing: what hints did not tell, look finds.
func (h *Hub) carryOut(ctx context.Context) {
	called, stop := h.db.Listen(callsTopic(h.node))
	defer stop()
	moved, stopMoved := h.db.Listen(linkTopic)
	defer stopMoved()
	var carries sync.WaitGroup
	defer carries.Wait()
	swept, doubted, news := time.Now(), time.Time{}, false
	unsure := false // whether a call was taken
	calls := true   // there may be some to take
	for {
		calls = !h.round(ctx, "record links and take calls", func(ctx context.Context, epoch int64) error {
			err := h.recordLinks(ctx, epoch)
			if calls {
				err = errors.Join(err, h.takeCalls(ctx, epoch, &carries, &unsure))
			}
			return errors.Join(err, h.endGivenUp(ctx, epoch))
		})
		if news && time.Since(doubted) >= linkPace && h.links.any() {
			doubted, news = time.Now(), false
			h.round(ctx, "look at links elsewhere", h.doubtLinks)
		}
		if unsure || time.Since(swept) >= ownSweep {
			swept = time.Now()
			if h.round(ctx, "sweep own calls", h.sweepOwn) {
				unsure = false
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
			calls = true
		case <-called:
			calls = true
		case <-moved:
			news, calls = true, true
			if time.Since(doubted) < linkPace {
				// A storm of agents: the next look takes all of them, and recording ours needs no hint of others.
				select {
				case <-ctx.Done():
					return
				case <-h.wake:
				case <-called:
				case <-time.After(linkPace):
				}
			}
		case <-time.After(callPoll + mathrand.N(callPoll)): // there may be another epoch, and calls that nobody waits for
		}
	}
}

// round is one bounded piece of work under the present epoch; what fails is tried again in the next one.
func (h *Hub) round(ctx context.Context, what string, do func(ctx context.Context, epoch int64) error) (ok bool) {
	epoch := h.epoch()
	if epoch == 0 {
		return false
	}
	bounded, cancel := context.WithTimeout(ctx, roundLimit)
	defer cancel()
	err := do(bounded, epoch)
	if err != nil && ctx.Err() == nil {
		h.log.Warn("cannot "+what+"; links and calls over them go on", "err", err)
	}
	return err == nil
}

// takeCalls takes the calls to agents whose newest link is here. It sets unsure when a transaction failed that took one:
// its commit may have come through.
func (h *Hub) takeCalls(ctx context.Context, epoch int64, carries *sync.WaitGroup, unsure *bool) error {
	for h.links.any() {
		room := min(takeBatch, maxCarried-h.carried())
		if room <= 0 {
			return nil // the end of one of them wakes the loop
		}
		var waiting []string
		err := h.db.Read(ctx, func(tx *db.Tx) (err error) {
			waiting, err = waitingCalls(ctx, tx, h.node, epoch, room)
			return err
		})
		if err != nil {
			return err
		}
		some := false
		for _, id := range waiting {
			got, err := h.takeCall(ctx, epoch, id, carries)
			if err != nil {
				*unsure = true
				return err
			}
			some = some || got
		}
		if len(waiting) < room || !some {
			return nil
		}
	}
	return nil
}

func (h *Hub) carried() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.carrying)
}

// mineIsNewest joins a call to this node's link of its agent ($1 node, $2 epoch), unless another living node has a newer one.
var mineIsNewest = `JOIN link mine ON mine.subscription = call.subscription AND mine.node = $1 AND mine.epoch = $2
	WHERE NOT EXISTS (SELECT 1 FROM link l WHERE l.subscription = mine.subscription AND (l.number > mine.number OR l.number = mine.number AND l.node > mine.node) AND ` + livingLink + `)`

func waitingCalls(ctx context.Context, tx *db.Tx, node string, epoch int64, limit int) ([]string, error) {
	rows, err := tx.QueryContext(ctx, "SELECT call.id FROM call "+mineIsNewest+" AND call.state = 'waiting' AND "+callerLives+" ORDER BY call.number LIMIT $3", node, epoch, limit)
	if err != nil {
		return nil, err
	}
	return scanIDs(rows)
}

func scanIDs(rows *sql.Rows) (ids []string, err error) {
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// taken is a call that this node carries out.
type taken struct {
	id, subscription string
	epoch            int64
	request          []byte
}

// takeCall takes one call and carries it out beside the loop; nothing is taken that another node took.
func (h *Hub) takeCall(ctx context.Context, epoch int64, id string, carries *sync.WaitGroup) (got bool, err error) {
	t := taken{id: id, epoch: epoch}
	err = h.db.InTx(ctx, func(tx *db.Tx) (err error) {
		t.subscription, t.request, got, err = takeCall(ctx, tx, id, h.node, epoch)
		return err
	})
	if err != nil || !got {
		return false, err
	}
	carry, cancel := context.WithCancelCause(h.serving)
	h.mu.Lock()
	h.carrying[id] = cancel
	h.mu.Unlock()
	carries.Go(func() {
		defer cancel(nil)
		h.carry(carry, t)
		h.mu.Lock()
		full := len(h.carrying) >= maxCarried
		delete(h.carrying, id)
		h.mu.Unlock()
		if full {
			h.poke()
		}
	})
	return true, nil
}

// fenced is a condition on a call: it has no fence, or the fence holds. The table queue is cluster's; hub only reads it.
const fenced = `(call.task = '' OR EXISTS (SELECT 1 FROM queue q WHERE q.task = call.task AND q.incarnation = call.incarnation
	AND q.claim = call.claim AND q.state = 'running'))`

var callerLives, takerMayTake = fmt.Sprintf(living, "call.caller", "call.caller_epoch"), "EXISTS (SELECT 1 FROM node n WHERE n.name = $1 AND n.epoch = $2 AND n.state = 'up')"

// takeCall takes a waiting call if its caller lives, its fence holds and the taker is what it believes to be. One whose
// fence does not hold is refused instead.
func takeCall(ctx context.Context, tx *db.Tx, id, node string, epoch int64) (subscription string, request []byte, got bool, err error) {
	err = tx.QueryRowContext(ctx, "UPDATE call SET state = 'taken', taker = $1, taker_epoch = $2 WHERE id = $3 AND state = 'waiting' AND "+
		takerMayTake+" AND "+callerLives+" AND "+fenced+" RETURNING subscription, request", node, epoch, id).Scan(&subscription, &request)
	if !errors.Is(err, sql.ErrNoRows) {
		return subscription, request, err == nil, err
	}
	refused, err := one(tx.ExecContext(ctx, "UPDATE call SET state = 'refused' WHERE id = $1 AND state = 'waiting' AND NOT "+fenced, id))
	if refused {
		tx.Hint(callTopic(id))
	}
	return "", nil, false, err
}

// carry makes a call over a link of this node and writes down what came of it.
func (h *Hub) carry(ctx context.Context, t taken) {
	answer, err := h.carryOver(ctx, t)
	state, text := "answered", ""
	var reply packed
	if err == nil {
		reply, err = h.packAnswer(ctx, t.id, answer)
		answer.Drop()
	}
	switch {
	case err == nil:
	case errors.Is(err, halibut.ErrNoLink), halibut.NeverSent(err) && ctx.Err() != nil:
		state = "waiting" // nothing was sent, and the agent may link elsewhere
	case halibut.NeverSent(err):
		state, text = "unsent", reason(err)
	default:
		state, text = "broken", reason(err)
	}
	if !h.settle(t, state, reply.sealed, text) || state != "answered" {
		h.dropParts(ctx, t.id, reply)
	}
}

func (h *Hub) carryOver(ctx context.Context, t taken) (*halibut.Answer, error) {
	doc, open, err := h.unpack(ctx, t.id, asked, t.request)
	var c *halibut.Call
	if err == nil {
		c, err = halibut.ReadCall(doc, open)
	}
	if err != nil {
		return nil, &halibut.ConnectError{Endpoint: t.subscription, Err: err}
	}
	return h.polls.Carry(ctx, t.subscription, c)
}

func (h *Hub) packAnswer(ctx context.Context, id string, answer *halibut.Answer) (packed, error) {
	doc, err := answer.Document()
	if err != nil {
		return packed{}, err
	}
	return h.pack(ctx, id, answered, doc, answer.Streams())
}

// reason is an error without the name of the agent, which the caller adds. It may quote the agent, and a database takes
// neither NUL nor broken UTF-8.
func reason(err error) string {
	var connect *halibut.ConnectError
	var transfer *halibut.TransferError
	switch {
	case errors.As(err, &connect):
		err = connect.Err
	case errors.As(err, &transfer):
		err = transfer.Err
	}
	if text := strings.ToValidUTF8(strings.ReplaceAll(err.Error(), "\x00", ""), "\uFFFD"); text != "" {
		return text
	}
	return "no reason was given"
}

// settle writes an outcome. A database that does not answer is asked again while this node serves under the epoch,
// since the caller waits. It is false when nobody waits any more. A commit whose answer was lost may have told the caller,
// who may have read the outcome and removed the row since: then its parts are the caller's, and the sweep removes what it leaves.
func (h *Hub) settle(t taken, state string, answer []byte, text string) bool {
	for again := false; ; again = true {
		var told bool
		bounded, cancel := context.WithTimeout(context.WithoutCancel(h.serving), patience)
		err := h.db.InTx(bounded, func(tx *db.Tx) (err error) {
			if told, err = settleCall(bounded, tx, t, h.node, state, answer, text); err != nil || told || !again {
				return err
			}
			told, err = toldBefore(bounded, tx, t, h.node, state)
			return err
		})
		cancel()
		if err == nil {
			return told
		}
		if h.epoch() != t.epoch || h.serving.Err() != nil {
			h.log.Warn("cannot write the outcome of a call; its caller learns it from the end of this node's registration", "err", err)
			return false
		}
		select {
		case <-h.serving.Done(): // then once more
		case <-time.After(callPoll/2 + mathrand.N(callPoll/2)):
		}
	}
}

// toldBefore tells whether an earlier commit may have written the outcome.
func toldBefore(ctx context.Context, tx *db.Tx, t taken, node, state string) (bool, error) {
	var now, taker string
	var epoch int64
	err := tx.QueryRowContext(ctx, "SELECT state, taker, taker_epoch FROM call WHERE id = $1", t.id).Scan(&now, &taker, &epoch)
	if errors.Is(err, sql.ErrNoRows) {
		return true, nil
	}
	return err == nil && now == state && taker == node && epoch == t.epoch, err
}

func settleCall(ctx context.Context, tx *db.Tx, t taken, node, state string, answer []byte, text string) (bool, error) {
	if state == "waiting" {
		back, err := one(tx.ExecContext(ctx, `UPDATE call SET state = 'waiting', taker = '', taker_epoch = 0
			WHERE id = $1 AND state = 'taken' AND taker = $2 AND taker_epoch = $3 AND NOT given_up`, t.id, node, t.epoch))
		if err != nil || back {
			to, err := holder(ctx, tx, t.subscription)
			if to != "" {
				tx.Hint(callsTopic(to))
			}
			return back, err
		}
	} else {
		var content any // NULL unless it is answered
		if state == "answered" {
			content = answer
		}
		told, err := one(tx.ExecContext(ctx, `UPDATE call SET state = $4, answer = $5, error = $6
			WHERE id = $1 AND state = 'taken' AND taker = $2 AND taker_epoch = $3 AND NOT given_up`, t.id, node, t.epoch, state, content, text))
		if err != nil || told {
			tx.Hint(callTopic(t.id))
			return told, err
		}
	}
	_, err := tx.ExecContext(ctx, "DELETE FROM call WHERE id = $1 AND taker = $2 AND taker_epoch = $3 AND given_up", t.id, node, t.epoch)
	return false, err
}

var errGivenUp = errors.New("the caller gave up")

// endGivenUp closes the links of calls that nobody waits for any more: there is no cancel message (tentacle-protocol.md 1.17).
func (h *Hub) endGivenUp(ctx context.Context, epoch int64) error {
	if h.carried() == 0 {
		return nil
	}
	var ids []string
	err := h.db.Read(ctx, func(tx *db.Tx) (err error) {
		ids, err = givenUpCalls(ctx, tx, h.node, epoch)
		return err
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		if cancel := h.carrying[id]; cancel != nil {
			cancel(errGivenUp)
		}
	}
	return err
}

func givenUpCalls(ctx context.Context, tx *db.Tx, node string, epoch int64) ([]string, error) {
	rows, err := tx.QueryContext(ctx, "SELECT id FROM call WHERE taker = $1 AND taker_epoch = $2 AND state = 'taken' AND (given_up OR NOT "+callerLives+")", node, epoch)
	if err != nil {
		return nil, err
	}
	return scanIDs(rows)
}
