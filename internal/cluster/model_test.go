package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/db/dbtest"
)

// check holds the queue's invariants against the rows themselves.
func check(t interface{ Errorf(string, ...any) }, d *db.DB) {
	var query, or string
	for what, q := range map[string]string{
		"a turn without a holder that others wait for": `SELECT count(*) FROM queue q WHERE NOT q.head AND q.due AND q.state IN ('queued', 'released')
			AND NOT EXISTS (SELECT 1 FROM queue a WHERE a.turn = q.turn AND a.head)`,
		"a turn with two that run":           `SELECT count(*) FROM (SELECT turn FROM queue WHERE state = 'running' AND NOT cancel AND turn IS NOT NULL GROUP BY turn HAVING count(*) > 1) x`,
		"a live task that is not queued":     `SELECT count(*) FROM task t WHERE t.state = 'live' AND NOT EXISTS (SELECT 1 FROM queue q WHERE q.task = t.id)`,
		"an ended task in the queue":         `SELECT count(*) FROM task t JOIN queue q ON q.task = t.id WHERE t.state <> 'live'`,
		"a queued head that is not first":    `SELECT count(*) FROM queue a JOIN queue b ON b.turn = a.turn WHERE a.head AND a.state = 'queued' AND b.due AND b.state = 'queued' AND (b.lane, b.place) < (a.lane, a.place)`,
		"a task without a turn that waits":   `SELECT count(*) FROM queue WHERE turn IS NULL AND due AND NOT head`,
		"a node that runs more than its cap": `SELECT count(*) FROM node n WHERE n.cap < (SELECT count(*) FROM queue q WHERE q.node = n.name AND q.state = 'running' AND NOT q.cancel)`,
	} {
		query += or + "SELECT '" + what + "' AS what, (" + q + ") AS n"
		or = " UNION ALL "
	}
	var what string
	var n int
	err := d.Read(context.Background(), func(tx *db.Tx) error {
		return tx.QueryRowContext(context.Background(), "SELECT what, n FROM ("+query+") x ORDER BY n DESC LIMIT 1").Scan(&what, &n)
	})
	if err != nil || n != 0 {
		t.Errorf("%s: %d (%v)", what, n, err)
	}
}

// model does random things and knows what must come out.
type model struct {
	d     *db.DB
	epoch int64
	at    time.Time
	runs  map[string]Task  // what the node runs
	old   []Task           // fences that are over
	ended map[string]State // ends never change

	labels  []string        // of the node
	stopped map[string]bool // spaces
}

// served is what a claim may take of the queued tasks: all that the node has the labels for, in spaces that are not stopped.
func (m *model) served(t Task) bool {
	return has(m.labels, strings.Join(t.Labels, " ")) && !m.stopped[t.SpaceId]
}

func (m *model) tx(t *rapid.T, fn func(ctx context.Context, tx *db.Tx) error) {
	err := m.d.InTx(context.Background(), func(tx *db.Tx) error {
		tx.Now = m.at
		return fn(context.Background(), tx)
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
}

func (m *model) live(t *rapid.T, states ...string) []Task {
	var out []Task
	m.tx(t, func(ctx context.Context, tx *db.Tx) (err error) {
		out, err = List(ctx, tx, Filter{States: states})
		return err
	})
	return out
}

func TestQueueAsAStateMachine(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		runs := 0
		rapid.Check(t, func(t *rapid.T) {
			runs++
			m := &model{d: d, at: time.Now(), runs: map[string]Task{}, ended: map[string]State{}, stopped: map[string]bool{}}
			m.tx(t, func(ctx context.Context, tx *db.Tx) (err error) {
				for _, q := range []string{"DELETE FROM queue", "DELETE FROM task", "DELETE FROM queue_stop", "UPDATE node SET labels = '[]'"} {
					if _, err := tx.ExecContext(ctx, q); err != nil {
						return err
					}
				}
				m.epoch, _, err = register(ctx, tx, Config{Name: "n", Cap: 3}, settings{cap: 3}, "m", false)
				return err
			})
			turns, spaces, labels := []string{"", "a", "b"}, []string{"Spaces-1", "Spaces-2"}, [][]string{nil, nil, {"gpu"}, {"eu", "gpu"}}
			pick := func(t *rapid.T, from []Task) Task {
				if len(from) == 0 {
					t.Skip()
				}
				return rapid.SampledFrom(from).Draw(t, "task")
			}
			mine := func(t *rapid.T) Task {
				var out []Task
				for _, r := range m.runs {
					out = append(out, r)
				}
				slices.SortFunc(out, func(a, b Task) int { return int(a.Number - b.Number) })
				return pick(t, out)
			}
			t.Repeat(map[string]func(*rapid.T){
				"": func(t *rapid.T) {
					check(t, d)
					for _, got := range m.live(t, "Success", "Failed", "Canceled", "TimedOut") {
						if was := m.ended[got.Id]; got.State != was {
							t.Errorf("%s was %s and is %s", got.Id, was, got.State)
						}
					}
				},
				"push": func(t *rapid.T) {
					n := NewTask{
						Kind: "Deploy", Turn: rapid.SampledFrom(turns).Draw(t, "turn"), Priority: rapid.IntRange(0, 4).Draw(t, "priority") == 0,
						SpaceId: rapid.SampledFrom(spaces).Draw(t, "space"), Labels: rapid.SampledFrom(labels).Draw(t, "labels"),
					}
					if rapid.IntRange(0, 4).Draw(t, "later") == 0 {
						n.QueueTime = m.at.Add(time.Minute)
					}
					if rapid.IntRange(0, 4).Draw(t, "expires") == 0 {
						n.QueueTimeExpiry = m.at.Add(2 * time.Minute)
					}
					m.tx(t, func(ctx context.Context, tx *db.Tx) error { _, err := Push(ctx, tx, n); return err })
				},
				"claim": func(t *rapid.T) {
					m.tx(t, func(ctx context.Context, tx *db.Tx) error {
						text, err := labelsText(m.labels)
						if err != nil {
							return err
						}
						serves, err := served(ctx, tx, text)
						if err != nil {
							return err
						}
						got, err := claim(ctx, tx, claimer{node: "n", epoch: m.epoch, busy: len(m.runs), most: 1000, kinds: []string{"Deploy"}, serves: serves})
						if err != nil {
							return err
						}
						for _, g := range got {
							if !has(m.labels, strings.Join(g.Labels, " ")) || g.Claims == 1 && !m.served(g) {
								t.Errorf("%s was claimed: labels %v of %v, space %s of the stopped %v", g.Id, g.Labels, m.labels, g.SpaceId, m.stopped)
							}
						}
						more, err := claimEnding(ctx, tx, "n", m.epoch, []string{"Deploy"})
						for _, g := range append(got, more...) {
							if _, twice := m.runs[g.Id]; twice {
								t.Errorf("%s was claimed twice", g.Id)
							}
							if g.QueueTime.After(m.at) || g.Claims == 1 && g.QueueTimeExpiry != nil && !g.QueueTimeExpiry.After(m.at) {
								t.Errorf("%s was claimed out of its time", g.Id)
							}
							m.runs[g.Id] = g
						}
						return err
					})
					if room := 3 - len(m.runs); room > 0 {
						for _, q := range m.live(t, "Queued") {
							if q.Head && m.served(q) && (q.QueueTimeExpiry == nil || q.QueueTimeExpiry.After(m.at)) {
								t.Errorf("%s is ready, there is room for %d, and it was not claimed", q.Id, room)
							}
						}
					}
				},
				"finish": func(t *rapid.T) {
					r := mine(t)
					state := rapid.SampledFrom([]State{Success, Failed, Canceled, TimedOut}).Draw(t, "state")
					m.tx(t, func(ctx context.Context, tx *db.Tx) error { return finish(ctx, tx, r.fence, r.Turn, state, "") })
					delete(m.runs, r.Id)
					m.ended[r.Id] = state
					m.old = append(m.old, r)
				},
				"wait": func(t *rapid.T) {
					r := mine(t)
					keep := rapid.Bool().Draw(t, "keep")
					m.tx(t, func(ctx context.Context, tx *db.Tx) error { return wait(ctx, tx, r.fence, r.Turn, keep) })
					delete(m.runs, r.Id)
					m.old = append(m.old, r)
				},
				"release": func(t *rapid.T) {
					r := mine(t)
					m.tx(t, func(ctx context.Context, tx *db.Tx) error { return release(ctx, tx, r.fence) })
					delete(m.runs, r.Id)
					m.old = append(m.old, r)
				},
				"resume": func(t *rapid.T) {
					r := pick(t, m.live(t, "Queued", "Executing", "Cancelling"))
					m.tx(t, func(ctx context.Context, tx *db.Tx) error { return Resume(ctx, tx, r.Id) })
				},
				"cancel": func(t *rapid.T) {
					r := pick(t, m.live(t, "Queued", "Executing", "Cancelling"))
					m.tx(t, func(ctx context.Context, tx *db.Tx) error {
						got, err := Cancel(ctx, tx, r.Id, "")
						if err == nil && (r.State == StateQueued) != (got.State == Canceled) {
							t.Errorf("cancel of %s (%s) gave %s", r.Id, r.State, got.State)
						}
						if err == nil && got.State == Canceled {
							m.ended[r.Id] = Canceled
						}
						return err
					})
				},
				"move to top": func(t *rapid.T) {
					r := pick(t, m.live(t, "Queued"))
					m.tx(t, func(ctx context.Context, tx *db.Tx) error { _, err := MoveToTop(ctx, tx, r.Id); return err })
				},
				"a space is stopped or goes on": func(t *rapid.T) {
					space := rapid.SampledFrom(spaces).Draw(t, "space")
					m.stopped[space] = !m.stopped[space]
					m.tx(t, func(ctx context.Context, tx *db.Tx) error { return SetSpaceStopped(ctx, tx, space, m.stopped[space]) })
				},
				"park": func(t *rapid.T) {
					m.tx(t, func(ctx context.Context, tx *db.Tx) error {
						list, err := unfinished(ctx, tx)
						for _, space := range list {
							if _, err := park(ctx, tx, space); err != nil {
								return err
							}
							if _, err := unpark(ctx, tx, space); err != nil {
								return err
							}
						}
						return err
					})
				},
				"other labels": func(t *rapid.T) {
					m.labels = rapid.SampledFrom(labels).Draw(t, "labels")
					m.tx(t, func(ctx context.Context, tx *db.Tx) error { return SetLabels(ctx, tx, "n", m.labels) })
				},
				"supersede": func(t *rapid.T) {
					by := pick(t, m.live(t, "Queued"))
					if by.Turn == "" || by.QueueTime.After(m.at) {
						t.Skip()
					}
					m.tx(t, func(ctx context.Context, tx *db.Tx) error {
						all, err := Queued(ctx, tx, by.Turn)
						if err != nil {
							return err
						}
						var older []string
						for _, o := range all {
							if o.Number < by.Number {
								older = append(older, o.Id)
							}
						}
						cancelled, err := Supersede(ctx, tx, by, older)
						if len(cancelled) != len(older) {
							t.Errorf("superseded %v of %v", cancelled, older)
						}
						for _, c := range cancelled {
							m.ended[c] = Canceled
						}
						return err
					})
				},
				"an old owner speaks": func(t *rapid.T) {
					r := pick(t, m.old)
					m.tx(t, func(ctx context.Context, tx *db.Tx) error {
						if err := r.fence.Hold(ctx, tx); !errors.Is(err, ErrFenced) {
							t.Errorf("%+v still holds: %v", r.fence, err)
						}
						return nil
					})
				},
				"restart": func(t *rapid.T) {
					m.tx(t, func(ctx context.Context, tx *db.Tx) (err error) {
						m.epoch, _, err = register(ctx, tx, Config{Name: "n", Cap: 3}, settings{cap: 3}, "m", false)
						return err
					})
					for _, r := range m.runs {
						m.old = append(m.old, r)
					}
					clear(m.runs)
				},
				"time passes": func(t *rapid.T) {
					m.at = m.at.Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
					m.tx(t, func(ctx context.Context, tx *db.Tx) error {
						late, err := laters(ctx, tx, whereExpired)
						if err != nil {
							return err
						}
						for _, l := range late {
							if ended, err := expire(ctx, tx, l); err != nil || !ended {
								return fmt.Errorf("expire %s: %v, %w", l.task, ended, err)
							}
							m.ended[l.task] = TimedOut
						}
						ripe, err := laters(ctx, tx, whereRipe)
						if err != nil {
							return err
						}
						for _, l := range ripe {
							if err := ripen(ctx, tx, l); err != nil {
								return err
							}
						}
						return nil
					})
				},
			})
		})
		if runs < 10 {
			t.Errorf("only %d runs", runs)
		}
	})
}

// Many at once on few turns: whatever meets whatever, no turn gets stuck, none has two holders, and in
// the end everything ends. SQLite has one writer; the races are PostgreSQL's.
func TestManyAtOnceLeaveNoTurnStuck(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		const nodes, each = 3, 60
		var epochs [nodes]int64
		for i := range nodes {
			epochs[i] = node(t, d, fmt.Sprint("n", i), 4)
		}
		tx := func(fn func(ctx context.Context, tx *db.Tx) error) error {
			return d.InTx(context.Background(), func(tx *db.Tx) error { return fn(context.Background(), tx) })
		}
		var pushers, others sync.WaitGroup
		pushed := make(chan string, 2*each)
		for p := range 2 {
			pushers.Go(func() {
				r := rand.New(rand.NewPCG(uint64(p), 1))
				for range each {
					var task Task
					err := tx(func(ctx context.Context, tx *db.Tx) (err error) {
						task, err = Push(ctx, tx, NewTask{Kind: "Deploy", Turn: fmt.Sprint(r.IntN(3)), Priority: r.IntN(4) == 0})
						return err
					})
					if err != nil {
						t.Error("push:", err)
					}
					pushed <- task.Id
				}
			})
		}
		others.Go(func() {
			r := rand.New(rand.NewPCG(9, 9))
			for task := range pushed {
				err := tx(func(ctx context.Context, tx *db.Tx) error {
					switch r.IntN(3) {
					case 0:
						if _, err := Cancel(ctx, tx, task, ""); err == nil {
							return nil
						}
					case 1:
						if _, err := MoveToTop(ctx, tx, task); err == nil {
							return nil
						}
					case 2:
						return Resume(ctx, tx, task)
					}
					return nil // it had ended or begun: refused in words, and that is fine
				})
				if err != nil && !db.IsRetryable(err) {
					t.Error("disturb:", err)
				}
			}
		})
		stop := make(chan struct{})
		var workers sync.WaitGroup
		for i := range nodes {
			workers.Go(func() {
				r := rand.New(rand.NewPCG(uint64(i), 2))
				name := fmt.Sprint("n", i)
				for idle := 0; idle < 3; {
					var got []Task
					err := d.Queue(context.Background(), func(tx *db.Tx) (err error) {
						if got, err = claim(context.Background(), tx, claimer{node: name, epoch: epochs[i], most: 1000, kinds: []string{"Deploy"}}); err != nil {
							return err
						}
						more, err := claimEnding(context.Background(), tx, name, epochs[i], []string{"Deploy"})
						got = append(got, more...)
						return err
					})
					if err != nil {
						t.Error("claim:", err)
					}
					for _, g := range got {
						err := tx(func(ctx context.Context, tx *db.Tx) error {
							switch {
							case g.Claims < 3 && r.IntN(5) == 0:
								return release(ctx, tx, g.fence)
							case g.Claims < 3 && r.IntN(5) == 0:
								if err := wait(ctx, tx, g.fence, g.Turn, false); err != nil {
									return err
								}
								return Resume(ctx, tx, g.Id)
							default:
								return finish(ctx, tx, g.fence, g.Turn, Success, "")
							}
						})
						if err != nil {
							t.Error("settle:", err)
						}
					}
					select {
					case <-stop:
						if len(got) == 0 {
							idle++
						}
					default:
					}
				}
			})
		}
		pushers.Wait()
		close(pushed)
		others.Wait()
		close(stop)
		workers.Wait()
		check(t, d)
		for _, left := range in(t, d, func(ctx context.Context, tx *db.Tx) ([]Task, error) { return List(ctx, tx, Filter{Active: ref(true)}) }) {
			t.Errorf("%s is left: %s, head %v, turn %s", left.Id, left.State, left.Head, left.Turn)
		}
	})
}
