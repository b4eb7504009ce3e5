package db

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const channel = "octavo"

// hints carries topics to listeners. In this process it does so by itself; with a PostgreSQL
// connection it also tells the other nodes, from connections of its own, after the commit and
// gathered for 2 ms (performance.md 3.8).
type hints struct {
	mu        sync.Mutex
	listeners map[string]map[chan struct{}]struct{}
	pending   map[string]string // topic: "", or the query that gives another one
	kick      chan struct{}

	conf  *pgx.ConnConfig // nil: this process only
	start sync.Once
	stop  context.CancelFunc
	ctx   context.Context
	done  sync.WaitGroup
	pick  map[string]func() string // who answers HintOne without a query, by topic; under mu
	ownID sync.Map                 // process ids of our own notifying connection, whose messages we know already
}

func newHints(conf *pgx.ConnConfig) *hints {
	ctx, stop := context.WithCancel(context.Background())
	return &hints{
		listeners: map[string]map[chan struct{}]struct{}{}, pending: map[string]string{}, kick: make(chan struct{}, 1),
		conf: conf, ctx: ctx, stop: stop,
	}
}

// Listen gives a channel that gets a value when a topic was hinted at, here or on another node.
// Hints that come while one is unread are one; some get lost, so poll as well.
func (d *DB) Listen(topic string) (wake <-chan struct{}, stop func()) {
	h := d.hints
	h.begin()
	c := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners[topic] == nil {
		h.listeners[topic] = map[chan struct{}]struct{}{}
	}
	h.listeners[topic][c] = struct{}{}
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.listeners[topic], c)
		if len(h.listeners[topic]) == 0 {
			delete(h.listeners, topic)
		}
	}
}

// Hint wakes whoever listens on a topic without a transaction.
func (d *DB) Hint(topic string) { d.hints.send(map[string]string{topic: ""}) }

// Pick lets a function say who is woken by HintOne on a topic, "" for nobody, instead of the query, until stop: for who knows it
// without asking the database.
func (d *DB) Pick(topic string, who func() string) (stop func()) {
	h := d.hints
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pick == nil {
		h.pick = map[string]func() string{}
	}
	h.pick[topic] = who
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.pick, topic)
	}
}

func (h *hints) send(topics map[string]string) {
	if len(topics) == 0 {
		return
	}
	for t := range topics {
		h.wake(t)
	}
	if h.conf == nil {
		return
	}
	h.begin()
	h.mu.Lock()
	for t, query := range topics {
		if old, is := h.pending[t]; !is || old != "" {
			h.pending[t] = query
		}
	}
	h.mu.Unlock()
	select {
	case h.kick <- struct{}{}:
	default:
	}
}

func (h *hints) wake(topic string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.listeners[topic] {
		poke(c)
	}
}

func (h *hints) wakeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, cs := range h.listeners {
		for c := range cs {
			poke(c)
		}
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one hint is waiting already
	}
}

func (h *hints) begin() {
	if h.conf == nil {
		return
	}
	h.start.Do(func() {
		if h.ctx.Err() != nil {
			return // closed before the first use
		}
		h.done.Go(func() { h.keep(h.notify) })
		h.done.Go(func() { h.keep(h.listen) })
	})
}

func (h *hints) close() {
	h.stop()
	h.start.Do(func() {}) // nothing may begin from here on
	h.done.Wait()
}

// keep gives one connection to do, and a new one when that is lost.
func (h *hints) keep(do func(*pgx.Conn) error) {
	for h.ctx.Err() == nil {
		conn, err := pgx.ConnectConfig(h.ctx, h.conf.Copy())
		if err == nil {
			_ = do(conn) // ends only by a lost connection or by close; polling covers the gap
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_ = conn.Close(ctx)
			cancel()
		}
		select {
		case <-h.ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (h *hints) notify(conn *pgx.Conn) error {
	pid := conn.PgConn().PID()
	h.ownID.Store(pid, true)
	defer h.ownID.Delete(pid)
	for {
		select {
		case <-h.ctx.Done():
			return nil
		case <-h.kick:
		}
		h.mu.Lock()
		topics, pick := h.pending, maps.Clone(h.pick)
		h.pending = map[string]string{}
		h.mu.Unlock()
		for t, query := range topics {
			if query == "" {
				continue
			}
			delete(topics, t)
			if knows := pick[t]; knows != nil {
				if one := knows(); one != "" {
					topics[one] = ""
				}
				continue
			}
			var one, sent string
			err := conn.QueryRow(h.ctx, "SELECT y.topic, pg_notify($1, y.topic)::text FROM ("+query+") y (topic)", channel).Scan(&one, &sent)
			if err == nil {
				h.wake(one) // it may be this process
			} else if !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
		}
		if len(topics) > 0 {
			if _, err := conn.Exec(h.ctx, "SELECT pg_notify($1, t) FROM unnest($2::text[]) t", channel, pack(topics)); err != nil {
				return err
			}
		}
		time.Sleep(2 * time.Millisecond) // gathers what a burst of commits has to say; the first one is sent at once
	}
}

func (h *hints) listen(conn *pgx.Conn) error {
	if _, err := conn.Exec(h.ctx, "LISTEN "+channel); err != nil {
		return err
	}
	h.wakeAll() // whatever was said while nobody listened
	for {
		n, err := conn.WaitForNotification(h.ctx)
		if err != nil {
			return err
		}
		if _, own := h.ownID.Load(n.PID); !own {
			for topic := range strings.SplitSeq(n.Payload, "\n") {
				h.wake(topic)
			}
		}
	}
}

// pack puts topics into as few messages as there may be: each message costs every listening process a wake-up.
func pack(topics map[string]string) (messages []string) {
	const most = 7900 // PostgreSQL takes less than 8,000 bytes
	var b strings.Builder
	for t := range topics {
		if b.Len() > 0 && b.Len()+1+len(t) > most {
			messages = append(messages, b.String())
			b.Reset()
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(t)
	}
	if b.Len() > 0 {
		messages = append(messages, b.String())
	}
	return messages
}
